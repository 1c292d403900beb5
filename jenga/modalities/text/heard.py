"""An answer heard while it is generated: cut where it is to stop, and told piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

_HALF = "\ufffd"
"""What stands for a character of which some bytes are in a token that is still to come."""


@dataclass(frozen=True)
class Said:
    """What was generated. `ended`: ``stop``, by itself or at a word that ends it, or ``length``, where there was no
    room for more, or nobody listened.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    ended: Literal["stop", "length"]


class Heard:
    """What transformers asks after each token whether to go on, of one answer behind a prompt of `width` tokens.

    stops: words that end it, and are no part of it; hear: as in `Generator.say`; ends: tokens that end it.
    """

    def __init__(
        self, tokenizer: Any, width: int, stops: Sequence[str], hear: Callable[[str], bool], *, ends: Collection[int]
    ) -> None:
        self._tokenizer, self._width, self._stops, self._hear = tokenizer, width, [s for s in stops if s], hear
        self._ends = frozenset(ends)
        self._text, self._told = "", 0
        self._tokens, self._ended = 0, False

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Return whether the answer, the one row of `input_ids`, is to end here, bool ``(1,)``."""
        made = input_ids[0, self._width :].tolist()
        self._tokens = len(made)
        self._text = self._tokenizer.decode(made, skip_special_tokens=True)
        self._ended = bool(made) and made[-1] in self._ends
        at = min((place for stop in self._stops if (place := self._text.find(stop)) >= 0), default=-1)
        if at >= 0:
            self._text, self._ended = self._text[:at], True
        goes_on = self._tell(self._text if self._ended else self._text[: len(self._text) - self._held()])
        return torch.tensor([self._ended or not goes_on], device=input_ids.device)

    def said(self) -> Said:
        """Return what was generated, and tell the rest of it."""
        self._tell(self._text)
        return Said(self._text, self._width, self._tokens, "stop" if self._ended else "length")

    def _tell(self, text: str) -> bool:
        more = text[self._told :]
        self._told += len(more)
        return self._hear(more)

    def _held(self) -> int:
        """Return how many characters at the end are not told yet: half ones, and such as may begin a stop."""
        halves = len(self._text) - len(self._text.rstrip(_HALF))
        begun = [
            size
            for stop in self._stops
            for size in range(1, min(len(stop), len(self._text) + 1))
            if self._text.endswith(stop[:size])
        ]
        return max([halves, *begun])
