"""Rows of language modelling: texts, prompts with completions, chats; read from columns, written out as one text."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np

from jenga.errors import DataError
from jenga.labels import kind_named
from jenga.labels.column import BlankError, HeadColumn, RowError, encodable, read_cell, show
from jenga.modalities.text.messages import ASSISTANT, CALLS, Turn, has_answer, read_messages, read_tools
from jenga.rows.columns import find_column, is_missing, lookup, no_column
from jenga.rows.content import Content, ContentSpec, Item
from jenga.rows.raw import RawRows

Form = Literal["text", "prompt", "messages"]
INSTRUCTION, CONTEXT = "instruction", "input"
"""The columns of Alpaca's form: what is asked, and what it is asked of where there is something."""
_TOOLS = "tools"
_TEXT_OPENING_WORDS = 16


@dataclass(frozen=True)
class LanguageSpec(ContentSpec):
    """How the rows of a language task are read and written out; the columns are candidates, likeliest first.

    `context`: the column of what a prompt in the column ``instruction`` is asked of, behind which it is put.
    `max_length`: tokens kept of a row, or of each piece of a plain text.
    """

    form: ClassVar[str] = "dialogue"
    alone: ClassVar[bool] = True

    text: tuple[str, ...]
    prompt: tuple[str, ...]
    completion: tuple[str, ...]
    messages: tuple[str, ...]
    context: str | None = None
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
    """One row, turn by turn. A text is one turn of role ``text``; other turns are a chat's.

    A prompt is a turn of role ``user``, its completion one of role ``assistant``; `chat` tells whether they were given
    as messages, which only a chat template can join. `tools`: what the assistant may call, a JSON list; "" for nothing.
    """

    turns: tuple[Turn, ...]
    chat: bool = False
    tools: str = ""

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Return the row that is one plain text."""
        return cls((Turn("text", text),))

    @property
    def is_text(self) -> bool:
        """Whether the row is one plain text."""
        return self.turns[0].role == "text"

    @property
    def answered(self) -> bool:
        """Whether the assistant has the last word."""
        return self.turns[-1].role == ASSISTANT

    @property
    def answer(self) -> str | None:
        """The last turn, where it is the assistant's and calls nothing: what it says is then its content."""
        last = self.turns[-1]
        return last.content if self.answered and CALLS not in last.said_otherwise else None

    def opening(self) -> Dialogue:
        """Return what an answer is to be given to: all but the last turn of the assistant; a text's first words."""
        if self.is_text:
            return Dialogue.of_text(" ".join((self.turns[0].content or "").split(" ")[:_TEXT_OPENING_WORDS]))
        return replace(self, turns=self.turns[:-1]) if self.answered else self


@dataclass
class Dialogues(Content):
    """The dialogues of M rows."""

    shared: ClassVar[str] = "a text that is"

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
    def context(self) -> str | None:
        """The column of what a prompt is asked of, where the prompts are instructions."""
        return self.spec.context if self.form == "prompt" and self.column == INSTRUCTION else None

    @property
    def found(self) -> LanguageSpec:
        """How the file is read, with the columns that it has and no other form."""
        text, prompt, messages = (
            (self.column,) if self.form == form else () for form in ("text", "prompt", "messages")
        )
        completion = () if self.completion is None else (self.completion,)
        return replace(
            self.spec, text=text, prompt=prompt, completion=completion, messages=messages, context=self.context
        )

    def read(self, row: Mapping[str, Any]) -> Item:
        """Return the dialogue of a row. Raises RowError where it holds none."""
        return Item(self.dialogue(row))

    def collect(self, items: Sequence[Item]) -> Dialogues:
        """Return the dialogues of rows."""
        return Dialogues([item.value for item in items])

    def dialogue(self, row: Mapping[str, Any]) -> Dialogue:
        """Return the dialogue of a row. Raises RowError where it holds none."""
        if self.form == "messages":
            turns = read_messages(read_cell(lookup(row, self.column), f"column '{self.column}'"), self.column)
            return self._chat(row, turns, self.column)
        if self.form == "text":
            return Dialogue.of_text(_text(row, self.column))
        asked, answers = self._prompt(row), self._completion(row)
        turns = (*asked.turns, *answers.turns)
        if asked.chat or answers.chat:
            return self._chat(row, turns, self.completion or self.column)
        return Dialogue(turns)

    def _chat(self, row: Mapping[str, Any], turns: tuple[Turn, ...], column: str) -> Dialogue:
        if self.answered and not has_answer(turns):
            raise RowError(f"column '{column}': no message is the assistant's to learn, so there is nothing to learn")
        return Dialogue(turns, chat=True, tools=read_tools(lookup(row, _TOOLS), _TOOLS))

    def _prompt(self, row: Mapping[str, Any]) -> _Part:
        if isinstance(value := lookup(row, self.column), list):
            # What the assistant has said before is part of the question.
            muted = self.spec.loss_on == "completion"
            return _Part(tuple(t._replace(muted=t.muted or muted) for t in read_messages(value, self.column)), True)
        text = _text(row, self.column)
        if self.context is not None and not is_missing(lookup(row, self.context)):
            text = f"{text}\n\n{_text(row, self.context)}"
        return _Part((Turn("user", text),), False)

    def _completion(self, row: Mapping[str, Any]) -> _Part:
        value = None if self.completion is None else lookup(row, self.completion)
        if self.completion is None or (not self.answered and is_missing(value)):
            return _Part((), False)
        if isinstance(value, list):
            return _Part(read_messages(value, self.completion), True)
        return _Part((Turn(ASSISTANT, _text(row, self.completion)),), False)


class _Part(NamedTuple):
    turns: tuple[Turn, ...]
    chat: bool


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
