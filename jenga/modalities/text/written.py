"""Dialogues written out as the texts that a model reads, by a separator or by the tokenizer's chat template."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jenga.errors import ConfigError
from jenga.labels.column import RowError
from jenga.modalities.text.dialogue import Dialogue, LanguageSpec
from jenga.modalities.text.messages import ASSISTANT, SAID_OTHERWISE

Span = tuple[int, int]
_MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")
_PROBE = "\x00"
"""A content that no template has a word of its own for."""


@dataclass(frozen=True)
class Written:
    """A row, or one answer of it, as one text, and the character spans of it that are learnt.

    `special`: whether the tokens that begin or end every text of the tokenizer belong around it; a chat template has
    written them itself. `begins`: where answers begin, each the end of a text that is asked in the same words.
    `open_end`: whether the tokenizer's end token is still to be put behind it, and learnt.
    """

    text: str
    learnt: tuple[Span, ...]
    special: bool
    begins: tuple[int, ...] = ()
    open_end: bool = False


def write(dialogue: Dialogue, tokenizer: Any, spec: LanguageSpec) -> list[Written]:
    """Return a dialogue as the texts to learn: one; one an answer where the chat template rewrites what was said.

    Raises ConfigError where the tokenizer has no chat template that the dialogue needs, RowError where its template
    refuses the messages, or leaves out what they say.
    """
    if dialogue.is_text:
        text = dialogue.turns[0].content or ""
        return [Written(text, ((0, len(text)),), special=True, open_end=True)]
    if dialogue.chat or spec.template == "chat":
        return _Chat(dialogue, tokenizer).written(everything=spec.loss_on == "all")
    prompt = _joined(dialogue.opening(), spec)
    if not dialogue.answered:
        return [Written(prompt, (), special=True)]
    text = prompt + (dialogue.turns[-1].content or "")
    begin = 0 if spec.loss_on == "all" else len(prompt)
    return [Written(text, ((begin, len(text)),), special=True, begins=(len(prompt),), open_end=True)]


def write_question(dialogue: Dialogue, tokenizer: Any, spec: LanguageSpec) -> Written:
    """Return a dialogue as the text that an answer is to follow, with which `write` begins. Raises as `write` does."""
    if dialogue.is_text:
        return Written(dialogue.turns[0].content or "", (), special=True)
    if dialogue.chat or spec.template == "chat":
        return _Chat(dialogue, tokenizer).question()
    return Written(_joined(dialogue, spec), (), special=True)


def _joined(dialogue: Dialogue, spec: LanguageSpec) -> str:
    return "".join((turn.content or "") + spec.separator for turn in dialogue.turns)


class _Chat:
    """The messages of one dialogue before a chat template; what it makes of the first so many is kept."""

    def __init__(self, dialogue: Dialogue, tokenizer: Any) -> None:
        self.turns, self.tokenizer = dialogue.turns, tokenizer
        self.messages = [turn.message for turn in dialogue.turns]
        self.tools = json.loads(dialogue.tools) if dialogue.tools else None
        self._found: dict[tuple[int, bool], str] = {}
        if not getattr(tokenizer, "chat_template", None):
            raise ConfigError(
                "template: the model's tokenizer has no chat template, which joins the messages of a chat; name one "
                "that has (model.tokenizer), or give prompts and completions with template: plain"
            )
        self._refuse_what_is_left_out()

    def question(self) -> Written:
        text = self.first(len(self.turns), ask=True)
        return Written(text, (), special=False, begins=self._begins(text))

    def written(self, *, everything: bool) -> list[Written]:
        text = self.first(len(self.turns))
        answers = [at for at, turn in enumerate(self.turns) if turn.role == ASSISTANT]
        if everything:
            return [self._whole(text, self._but_muted(text), answered=self.turns[-1].role == ASSISTANT)]
        learnt = [at for at in answers if not self.turns[at].muted]
        if (marked := self._marked(answers)) is not None:
            return [self._whole(text, [span for at, span in marked if at is None or at in learnt])]
        if all(text.startswith(self.first(at + 1)) and self._asked(at) for at in answers):
            spans = [(len(self.first(at, ask=True)), self._end_of_turn(self.first(at + 1))) for at in learnt]
            return [self._whole(text, spans)]
        return [self._alone(at) for at in learnt]

    def first(self, n_messages: int, *, ask: bool = False) -> str:
        """Return the first messages, written out; "" for none."""
        if (n_messages, ask) not in self._found:
            messages = self.messages[:n_messages]
            self._found[n_messages, ask] = self._rendered(messages, ask=ask) if messages else ""
        return self._found[n_messages, ask]

    def _whole(self, text: str, spans: Sequence[Span], *, answered: bool = True) -> Written:
        last_is_learnt = bool(spans) and spans[-1][1] >= len(text.rstrip())
        open_end = last_is_learnt and answered and not self._ends(text)
        spans = [*spans[:-1], (spans[-1][0], len(text))] if open_end else spans
        return Written(text, tuple(spans), special=False, begins=self._begins(text), open_end=open_end)

    def _alone(self, at: int) -> Written:
        """Return the answer at `at` behind what stood before it, as it is asked, learnt alone."""
        asked, text = self.first(at, ask=True), self.first(at + 1)
        if text.startswith(asked):
            return self._whole(text, [(len(asked), self._end_of_turn(text))])
        header = _common(asked, self._rendered([*self.messages[:at], _probe()], ask=False))
        if not text.startswith(header) or len(header) <= len(self.first(at)):
            raise RowError(
                f"the tokenizer's chat template asks for message {at} in other words than it writes it in, so that "
                "its own tokens cannot be told; set loss_on: all, or choose another template"
            )
        answer, opening = text[len(header) :], asked[len(header) :]
        # What the question ends in, such as an empty thought, goes before an answer that has nothing like it.
        if (opening.split() or [""])[0] in answer:
            return self._whole(text, [(len(header), self._end_of_turn(text))])
        return self._whole(asked + answer, [(len(asked), self._end_of_turn(asked + answer))])

    def _asked(self, at: int) -> bool:
        return self.first(at + 1).startswith(self.first(at, ask=True))

    def _begins(self, text: str) -> tuple[int, ...]:
        asked = [self.first(at, ask=True) for at, turn in enumerate(self.turns) if at and turn.role == ASSISTANT]
        return tuple(sorted({len(each) for each in asked if text.startswith(each)} - {len(text)}))

    def _but_muted(self, text: str) -> list[Span]:
        """Return all of `text` but the messages that are not learnt."""
        spans, begin = [], 0
        for at, turn in enumerate(self.turns):
            if not turn.muted:
                continue
            before, after = self.first(at, ask=turn.role == ASSISTANT), self.first(at + 1)
            if not (after.startswith(before) and text.startswith(after)):
                raise RowError(
                    f"message {at} has weight 0, but the tokenizer's chat template writes it in another way once more "
                    "messages follow, so that its own tokens cannot be told"
                )
            spans.append((begin, len(before)))
            begin = len(after)
        return [span for span in (*spans, (begin, len(text))) if span[0] < span[1]]

    def _marked(self, answers: Sequence[int]) -> list[tuple[int | None, Span]] | None:
        """Return the spans that the template itself marks as the assistant's, with the message that each is of.

        None where it marks none, or where it is not known which span is of a message that is not learnt.
        """
        template = self.tokenizer.get_chat_template(None, self.tools)
        if not _MARKS.search(template):
            return None
        from transformers.utils.chat_template_utils import render_jinja_template

        # As `apply_chat_template` calls it, which gives the marks by tokens only.
        messages = [{key: value for key, value in each.items() if value is not None} for each in self.messages]
        _, spans = render_jinja_template(
            [messages], tools=self.tools, chat_template=template, return_assistant_tokens_mask=True,
            **self.tokenizer.special_tokens_map,
        )  # fmt: skip
        if len(spans[0]) == len(answers):
            return list(zip(answers, map(tuple, spans[0]), strict=True))
        return None if any(self.turns[at].muted for at in answers) else [(None, (a, b)) for a, b in spans[0]]

    def _ends(self, text: str) -> bool:
        end = self.tokenizer.eos_token
        return bool(end) and text.rstrip().endswith(end)

    def _end_of_turn(self, text: str) -> int:
        """Return where a turn ends: behind its end token, not behind the line break that a template adds to it."""
        return len(text.rstrip()) if self._ends(text) else len(text)

    def _refuse_what_is_left_out(self) -> None:
        """Raise RowError where the template writes nothing of what a message says, which would be lost in silence."""
        for at, turn in enumerate(self.turns):
            said = turn.said_otherwise
            for keys in SAID_OTHERWISE:
                if not (given := [key for key in keys if key in said]):
                    continue
                without = {key: value for key, value in self.messages[at].items() if key not in keys}
                without["content"] = turn.content or ""
                if self.first(at + 1) == self._rendered([*self.messages[:at], without], ask=False):
                    raise RowError(
                        f"the tokenizer's chat template writes nothing of {given[0]} of message {at}; choose a "
                        "template that does (model.tokenizer), or put it into the content"
                    )
        if self.tools and self.first(len(self.turns)) == self._rendered(self.messages, ask=False, tools=None):
            raise RowError(
                "the tokenizer's chat template writes nothing of the row's tools; choose a template that does "
                "(model.tokenizer), or leave the column out"
            )

    def _rendered(self, messages: Sequence[dict[str, Any]], *, ask: bool, tools: Any = ...) -> str:
        tools = self.tools if tools is ... else tools
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    list(messages), tools=tools, tokenize=False, add_generation_prompt=ask
                )
            )
        except Exception as error:  # whatever a template, which is a program of its own, raises
            raise RowError(f"the tokenizer's chat template refuses a row's messages: {error}") from error


def _probe() -> dict[str, Any]:
    return {"role": ASSISTANT, "content": _PROBE}


def _common(first: str, second: str) -> str:
    """Return what both begin with."""
    at = next((at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), None)
    return min(first, second, key=len) if at is None else first[:at]
