"""Rows of language modelling: texts, prompts with completions, chats; read from columns, written out as one text."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np

from jenga.errors import ConfigError, DataError
from jenga.labels import kind_named
from jenga.labels.column import BlankError, HeadColumn, RowError, encodable, read_cell, show
from jenga.rows.columns import find_column, is_missing, lookup, no_column
from jenga.rows.content import Content, ContentSpec, Item
from jenga.rows.raw import RawRows

Form = Literal["text", "prompt", "messages"]
Span = tuple[int, int]
ASSISTANT = "assistant"
_TEXT_OPENING_WORDS = 16


@dataclass(frozen=True)
class LanguageSpec(ContentSpec):
    """How the rows of a language task are read and written out; the columns are candidates, likeliest first.

    `max_length`: tokens kept of a row, or of each piece of a plain text.
    """

    form: ClassVar[str] = "dialogue"
    alone: ClassVar[bool] = True

    text: tuple[str, ...]
    prompt: tuple[str, ...]
    completion: tuple[str, ...]
    messages: tuple[str, ...]
    loss_on: Literal["completion", "all"] = "completion"
    template: Literal["auto", "plain", "chat"] = "auto"
    separator: str = "\n"
    packing: bool = False
    max_length: int = 256

    def reader(self, raw: RawRows, *, learning: bool, per_word: bool) -> DialogueReader:
        """Return what reads dialogues. Raises DataError where the file has no column of them."""
        return DialogueReader(raw, self, answered=learning)

    def found(self, raw: RawRows) -> Self | None:
        """Return itself where `raw` has a column of texts, prompts or messages, or nothing to look at."""
        there = find_column(raw.rows, (*self.text, *self.prompt, *self.messages)) is not None
        return self if there or not raw.rows else None

    @property
    def wanted(self) -> tuple[str, ...]:
        """The column that an answer goes on from."""
        return (self.prompt or self.text or self.messages)[:1]

    @property
    def readable(self) -> tuple[str, ...]:
        """The candidates for texts, prompts and chats."""
        return (*self.text, *self.prompt, *self.messages)

    def settled(self, raw: RawRows) -> LanguageSpec:
        """Return how rows are written out: as those of `raw` were learnt."""
        return DialogueReader(raw, self, answered=True).found

    def given(self, value: object) -> dict[str, Any] | None:
        """Return the columns of a row that is given as the text to answer."""
        if not isinstance(value, str):
            return None
        if self.messages:
            return {self.messages[0]: [{"role": "user", "content": value}]}
        return {(self.prompt or self.text)[0]: value}

    def check(self, heads: Sequence[HeadColumn]) -> None:
        """Raise ValueError where a head is labelled otherwise than by the text, or no token is read."""
        if not all(kind_named(head.kind).from_text for head in heads):
            raise ValueError("its rows are texts to learn, but its heads have labels of their own")
        _check_length(self.max_length)


def _check_length(max_length: int) -> None:
    if max_length < 1:
        raise ValueError(f"max_length is {max_length}")


@dataclass(frozen=True)
class Dialogue:
    """One row: (role, content) by turn. A text is one turn of role ``text``; other turns are a chat's.

    A prompt is a turn of role ``user``, its completion one of role ``assistant``; `chat` tells whether they were given
    as messages, which only a chat template can join.
    """

    turns: tuple[tuple[str, str], ...]
    chat: bool = False

    @property
    def is_text(self) -> bool:
        """Whether the row is one plain text."""
        return self.turns[0][0] == "text"

    @property
    def answer(self) -> str | None:
        """The last turn, where it is the assistant's."""
        return self.turns[-1][1] if self.turns[-1][0] == ASSISTANT else None

    def opening(self) -> Dialogue:
        """Return what an answer is to be given to: all but the last turn of the assistant; a text's first words."""
        if self.is_text:
            return Dialogue((("text", " ".join(self.turns[0][1].split(" ")[:_TEXT_OPENING_WORDS])),))
        return self if self.answer is None else Dialogue(self.turns[:-1], self.chat)


@dataclass(frozen=True)
class Written:
    """A row as one text, and the character spans of it that are learnt.

    `special`: whether the tokens that begin or end every text of the tokenizer belong around it; a chat template has
    written them itself.
    """

    text: str
    learnt: tuple[Span, ...]
    special: bool


@dataclass
class Dialogues(Content):
    """The dialogues of M rows."""

    dialogues: list[Dialogue] = field(default_factory=list)

    def take(self, at: np.ndarray) -> Dialogues:
        """Return the dialogues at `at`."""
        return Dialogues([self.dialogues[row] for row in at])

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the dialogues of `parts` one after the other."""
        return cls([each for part in parts for each in part.dialogues])

    @property
    def answers(self) -> Sequence[str | None]:
        """The last turn of each, where it is the assistant's."""
        return [each.answer for each in self.dialogues]

    def keys(self) -> Sequence[Hashable]:
        """Return the dialogues."""
        return self.dialogues


class DialogueReader:
    """Reads the rows of one file in the form that its columns have."""

    def __init__(self, raw: RawRows, spec: LanguageSpec, *, answered: bool) -> None:
        """answered: whether each row needs something to learn. Raises DataError where the file has no such column."""
        self.answered, self.spec = answered, spec
        self.form, self.column, self.completion = _columns(raw, spec, answered)

    @property
    def found(self) -> LanguageSpec:
        """How the file is read, with the columns that it has and no other form."""
        text, prompt, messages = (
            (self.column,) if self.form == form else () for form in ("text", "prompt", "messages")
        )
        completion = () if self.completion is None else (self.completion,)
        return replace(self.spec, text=text, prompt=prompt, completion=completion, messages=messages)

    def read(self, row: Mapping[str, Any]) -> Item:
        """Return the dialogue of a row. Raises RowError where it holds none."""
        return Item(self.dialogue(row))

    def collect(self, items: Sequence[Item]) -> Dialogues:
        """Return the dialogues of rows."""
        return Dialogues([item.value for item in items])

    def dialogue(self, row: Mapping[str, Any]) -> Dialogue:
        """Return the dialogue of a row. Raises RowError where it holds none."""
        if self.form == "messages":
            return self._messages(read_cell(lookup(row, self.column), f"column '{self.column}'"))
        text = _text(row, self.column)
        if self.form == "text":
            return Dialogue((("text", text),))
        turns = [("user", text)]
        if self.completion is not None and (self.answered or not is_missing(lookup(row, self.completion))):
            turns.append((ASSISTANT, _text(row, self.completion)))
        return Dialogue(tuple(turns))

    def _messages(self, value: Any) -> Dialogue:
        where = f"column '{self.column}'"
        if not isinstance(value, list) or not value:
            raise RowError(f"{where} is {show(value)}; allowed: a list of messages, {{role, content}} each")
        turns = []
        for number, message in enumerate(value):
            role, content = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
            if not isinstance(role, str) or not isinstance(content, str):
                raise RowError(f"{where}: message {number} is {show(message)}; allowed: role and content, both text")
            turns.append((role, encodable(content, self.column)))
        if self.answered and not any(role == ASSISTANT and content.strip() for role, content in turns):
            raise RowError(f"{where}: no message is the assistant's, so there is nothing to learn")
        return Dialogue(tuple(turns), chat=True)


def _columns(raw: RawRows, spec: LanguageSpec, answered: bool) -> tuple[Form, str, str | None]:
    rows = raw.rows
    prompt, completion = find_column(rows, spec.prompt), find_column(rows, spec.completion)
    if (messages := find_column(rows, spec.messages)) is not None:
        return "messages", messages, None
    if prompt is not None and (completion is not None or not answered):
        return "prompt", prompt, completion
    if (text := find_column(rows, spec.text)) is not None:
        return "text", text, None
    if prompt is not None:
        fix = "Set columns.completion of the task"
        raise DataError(no_column(f"{raw.file}: completions of '{prompt}'", spec.completion, raw.examples, fix=fix))
    candidates = (*spec.text, *spec.prompt, *spec.messages)
    fix = "Set columns.text, columns.prompt and columns.completion, or columns.messages of the task"
    raise DataError(no_column(f"{raw.file}: text to learn", candidates, raw.examples, fix=fix))


def _text(row: Mapping[str, Any], column: str) -> str:
    value = lookup(row, column)
    if is_missing(value):
        raise BlankError(f"column '{column}' is empty; allowed: text")
    if isinstance(value, (bool, dict, list)) or not isinstance(value, (str, int, float)):
        raise RowError(f"column '{column}' is {show(value)}; allowed: text")
    return encodable(str(value), column)


def write(dialogue: Dialogue, tokenizer: Any, spec: LanguageSpec, *, ask: bool = False) -> Written:
    """Return a dialogue as the one text that a model reads.

    ask: end where the assistant's next turn begins. Raises ConfigError where the tokenizer has no chat template that
    the dialogue needs, DataError where its template refuses the messages.
    """
    if dialogue.is_text:
        text = dialogue.turns[0][1]
        return Written(text, ((0, len(text)),), special=True)
    if dialogue.chat or spec.template == "chat":
        return _write_chat(dialogue, tokenizer, spec, ask=ask)
    text = spec.separator.join(content for _, content in dialogue.turns)
    if dialogue.answer is None:
        return Written(text + (spec.separator if ask else ""), (), special=True)
    begin = 0 if spec.loss_on == "all" else len(text) - len(dialogue.answer)
    return Written(text, ((begin, len(text)),), special=True)


def _write_chat(dialogue: Dialogue, tokenizer: Any, spec: LanguageSpec, *, ask: bool) -> Written:
    messages = [{"role": role, "content": content} for role, content in dialogue.turns]
    text = _rendered(messages, tokenizer, ask=ask)
    if spec.loss_on == "all":
        return Written(text, ((0, len(text)),), special=False)
    learnt = []
    for number, message in enumerate(messages):
        if message["role"] != ASSISTANT:
            continue
        before = _rendered(messages[:number], tokenizer, ask=True) if number else ""
        after = _rendered(messages[: number + 1], tokenizer, ask=False)
        if not (after.startswith(before) and text.startswith(after)):
            raise DataError(
                "the tokenizer's chat template writes a message in another way once more messages follow, so that its "
                "own tokens cannot be told; set loss_on: all, or keep one answer a row"
            )
        learnt.append((len(before), _end_of_turn(after, tokenizer)))
    return Written(text, tuple(learnt), special=False)


def _end_of_turn(text: str, tokenizer: Any) -> int:
    """Return where a turn ends: behind its end token, not behind the line break that a template adds to it."""
    end = len(text.rstrip())
    return end if tokenizer.eos_token and text[:end].endswith(tokenizer.eos_token) else len(text)


def _rendered(messages: Sequence[Mapping[str, str]], tokenizer: Any, *, ask: bool) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise ConfigError(
            "template: the model's tokenizer has no chat template, which joins the messages of a chat; name one that "
            "has (model.tokenizer), or give prompts and completions with template: plain"
        )
    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=ask))
    except Exception as error:  # whatever a template, which is a program of its own, raises
        raise DataError(f"the tokenizer's chat template refuses a row's messages: {error}") from error
