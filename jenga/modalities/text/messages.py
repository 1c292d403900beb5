"""The messages of a chat as rows hold them: of OpenAI's form or ShareGPT's, with calls of tools and their schemas."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from jenga.labels.cells import json_text
from jenga.labels.column import RowError, encodable, read_cell, show

ASSISTANT = "assistant"
CALLS = "tool_calls"
SAID_OTHERWISE = ((CALLS,), ("function_call",), ("reasoning_content", "reasoning", "thinking"))
"""Keys in which an assistant says something beside its content; those of a group are names for one thing."""

_SHAREGPT_ROLES = {
    "human": "user", "user": "user", "gpt": ASSISTANT, "assistant": ASSISTANT, "system": "system", "tool": "tool",
}  # fmt: skip
_OURS = ("role", "content", "weight")


class Turn(NamedTuple):
    """One message.

    `content`: None where the message says all in its other keys. `more`: these, as a JSON object; "" for none.
    `muted`: whether it is never learnt, whoever says it.
    """

    role: str
    content: str | None
    more: str = ""
    muted: bool = False

    @property
    def said_otherwise(self) -> dict[str, Any]:
        """The keys beside its content in which an assistant's turn says something, with their values."""
        others = self.others if self.more and self.role == ASSISTANT else {}
        return {key: others[key] for group in SAID_OTHERWISE for key in group if others.get(key)}

    @property
    def others(self) -> dict[str, Any]:
        """The message's keys but role and content."""
        found: dict[str, Any] = json.loads(self.more) if self.more else {}
        return found

    @property
    def message(self) -> dict[str, Any]:
        """The message as a chat template reads it."""
        return {"role": self.role, "content": self.content, **self.others}

    @property
    def says_something(self) -> bool:
        """Whether it is an assistant's that has something to learn."""
        return self.role == ASSISTANT and not self.muted and bool((self.content or "").strip() or self.said_otherwise)

    @property
    def readable(self) -> str:
        """What it says, for people."""
        said = [json_text({key: value}) for key, value in self.said_otherwise.items()]
        return "\n".join([*([self.content] if self.content else []), *said])


def read_messages(value: Any, column: str) -> tuple[Turn, ...]:
    """Return the turns in the cell `value` of `column`. Raises RowError where they are none."""
    if not isinstance(value, list) or not value:
        raise RowError(f"column '{column}' is {show(value)}; allowed: a list of messages, {{role, content}} each")
    return tuple(_turn(message, f"column '{column}': message {at}", column) for at, message in enumerate(value))


def _turn(message: Any, where: str, column: str) -> Turn:
    if isinstance(message, Mapping) and "role" not in message and {"from", "value"} <= set(message):
        message = _of_sharegpt(message, where)
    role, content = (message.get("role"), message.get("content")) if isinstance(message, Mapping) else (None, None)
    if not isinstance(role, str) or not isinstance(content, str | None):
        raise RowError(f"{where} is {show(message)}; allowed: role and content, both text")
    # A null is how a table writes a key that other messages have.
    others = {key: each for key, each in message.items() if key not in _OURS and each is not None}
    turn = Turn(
        encodable(role, column),
        None if content is None else encodable(content, column),
        encodable(json.dumps(others, ensure_ascii=False, default=str), column) if others else "",
        _muted(message, where),
    )
    if content is None and not turn.said_otherwise:
        raise RowError(
            f"{where} is {show(message)}; allowed: role and content, both text; without content an assistant's {CALLS}"
        )
    return turn


def _of_sharegpt(message: Mapping[str, Any], where: str) -> dict[str, Any]:
    role = _SHAREGPT_ROLES.get(str(message["from"]))
    if role is None:
        raise RowError(f"{where} is from {show(message['from'])}; allowed: {', '.join(_SHAREGPT_ROLES)}")
    others = {key: each for key, each in message.items() if key not in ("from", "value")}
    return {"role": role, "content": message["value"], **others}


def _muted(message: Mapping[str, Any], where: str) -> bool:
    weight = message.get("weight")
    if weight is None:
        return False
    if not isinstance(weight, int | float) or weight not in (0, 1):
        raise RowError(f"{where} has weight {show(weight)}; allowed: 1, or 0 for a message that is not learnt")
    return not weight


def read_tools(value: Any, column: str) -> str:
    """Return the tools in the cell `value` of `column` as JSON, "" where there are none. Raises RowError."""
    tools = read_cell(value, f"column '{column}'")
    if tools in (None, "", []):
        return ""
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise RowError(f"column '{column}' is {show(tools)}; allowed: a list of tools, a JSON schema each")
    return encodable(json.dumps(tools, ensure_ascii=False, default=str), column)


def has_answer(turns: Iterable[Turn]) -> bool:
    """Whether some turn is one of the assistant's to learn."""
    return any(turn.says_something for turn in turns)
