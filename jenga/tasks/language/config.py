"""The blocks of language modelling: what is learnt of which columns, and what is generated to judge it."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from jenga.config.strict import NAME, Fraction, PositiveInt, Strict
from jenga.config.tasks import Columns, TaskConfig


class LanguageColumns(Columns):
    """Where a row's text stands: in one column, as a prompt with its completion, or as the messages of a chat."""

    whole: ClassVar[bool] = True

    text: str | None = Field(None, description="Plain text, all of it learnt. Default: text.")
    prompt: str | None = Field(None, description="What is asked. Default: prompt, question or instruction.")
    completion: str | None = Field(None, description="What is to be answered. Default: completion, answer or output.")
    messages: str | None = Field(
        None,
        description="List of {role, content}, as chat templates read it, or of {from, value}. Default: messages, else "
        "conversations.",
    )

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        forms = {"text": self.text, "prompt": self.prompt or self.completion, "messages": self.messages}
        given = [name for name, column in forms.items() if column is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} name different forms of rows; keep one of them")
        return self


class GenerationConfig(Strict):
    """Answers that are generated after training, to be read in the report and judged."""

    rows: int = Field(4, ge=0, description="Rows of a split whose prompts are answered; 0: none.")
    max_new_tokens: PositiveInt = Field(128, description="Longest answer.")
    exact_match: bool = Field(False, description="Count how many answers equal the row's own.")
    answer_pattern: str | None = Field(
        None,
        min_length=1,
        description="Regular expression that finds what exact_match compares, in either answer: the last place where "
        "it matches, the first group of it where it has one. Default: the whole answer.",
    )

    @field_validator("answer_pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"'{pattern}' is no regular expression ({error})") from None
        return pattern

    @model_validator(mode="after")
    def _judged(self) -> Self:
        if self.answer_pattern is not None and not self.exact_match:
            raise ValueError("answer_pattern: only exact_match reads it; set exact_match: true, or remove it")
        if self.exact_match and not self.rows:
            raise ValueError("exact_match: no row is answered; raise rows, or remove it")
        return self


class TextHead(Strict):
    """The one output of a language model: its next token."""

    name: str = Field("text", min_length=1, pattern=NAME, description="Name in metrics and predictions.")
    weight: ClassVar[float] = 1.0
    num_labels: ClassVar[None] = None
    labels: ClassVar[None] = None
    column: ClassVar[None] = None


class CausalLMConfig(TaskConfig):
    """The next token, learnt from texts, prompts with completions, or chats."""

    columns: LanguageColumns = Field(
        default_factory=LanguageColumns, description="Where column names are not the default."
    )
    dropout: Fraction = Field(0.0, description="Dropout on what the output layer reads.")
    loss_on: Literal["completion", "all"] = Field(
        "completion", description="completion: learn the completions and the assistant's messages; all: prompts too."
    )
    template: Literal["auto", "plain", "chat"] = Field(
        "auto",
        description="How a prompt and its completion become one text. plain: with `separator` between them; chat: as "
        "a user's and an assistant's message, by the tokenizer's chat template. auto: plain.",
    )
    separator: str = Field("\n", description="Between a prompt and its completion, where the template is plain.")
    packing: bool = Field(
        False,
        description="Lay several training rows end to end, up to max_length tokens; they do not see one another.",
    )
    generation: GenerationConfig = Field(
        default_factory=GenerationConfig, description="Answers that are generated after training."
    )
    heads: list[TextHead] = Field(default_factory=lambda: [TextHead()], min_length=1, max_length=1)

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        columns: Any = self.columns
        if self.template == "plain" and columns.messages is not None:
            raise ValueError("template: messages are joined by the tokenizer's chat template; remove it, or set chat")
        return self
