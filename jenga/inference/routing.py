"""Which encoder of a model reads which rows: each of them those that have something of what it reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from jenga.bundle import Bundle
from jenga.errors import DataError
from jenga.inference.reading import Reasons
from jenga.modalities import Encoder
from jenga.rows.parse import SourceSpec
from jenga.rows.raw import RawRows


class Router(Encoder):
    """Reads the rows of a model of several encoders, as all of their columns stand there, and hands them on."""

    def __init__(self, bundle: Bundle) -> None:
        self.encoders = bundle.inputs
        self.specs = {name: [spec for spec in bundle.specs if spec.encoder == name] for name in self.encoders}
        self.ordered = any(encoder.ordered for encoder in self.encoders.values())

    def save(self, folder: Path) -> None:
        """Raise TypeError: a bundle saves each encoder beside its backbone."""
        raise TypeError("a Router is no part of a saved model")

    def session(self, keep: Sequence[str] = ()) -> Self:
        """Return one whose encoders remember, too; the columns to keep stand in its rows already."""
        made = super().session(keep)
        made.encoders = {name: encoder.session() for name, encoder in self.encoders.items()}
        return made

    def counter(self, specs: Sequence[SourceSpec]) -> Callable[[Sequence[RawRows]], list[int]]:
        """Return what adds up what rows cost the encoders."""
        of_each = [encoder.counter(self.specs[name]) for name, encoder in self.encoders.items()]
        return lambda raws: [sum(costs) for costs in zip(*(count(raws) for count in of_each), strict=True)]

    def readers(self, row: Mapping[str, Any]) -> list[str]:
        """Return the names of the encoders that find something in `row`."""
        return [name for name, encoder in self.encoders.items() if encoder.reads(row, self.specs[name])]

    def routed(self, raw: RawRows) -> Iterator[tuple[str, RawRows]]:
        """Yield by encoder its own of the rows, as it reads them, in their order; nothing for one that has none."""
        found = [self.readers(row) for row in raw.rows]
        for name, encoder in self.encoders.items():
            at = [place for place, names in enumerate(found) if name in names]
            if at:
                rows, numbers = [raw.rows[place] for place in at], [raw.numbers[place] for place in at]
                yield name, encoder.given(replace(raw, rows=rows, numbers=numbers, bad=[]), self.specs[name])

    def answers(
        self, piece: RawRows, predict: Callable[[str, RawRows], list[dict[str, Any]]]
    ) -> list[Mapping[int, Mapping[str, Any]]]:
        """Return the answers that each encoder's part of the model gives to its own of the rows, by their numbers.

        predict: called with an encoder's name and its rows.
        """
        found: list[Mapping[int, Mapping[str, Any]]] = []
        reasons = Reasons({bad.number: bad.reason for bad in piece.bad})
        unread = ((number, self.unread(row)) for number, row in zip(piece.numbers, piece.rows, strict=True))
        reasons.add((number, reason) for number, reason in unread if reason is not None)
        for name, own in self.routed(piece):
            numbers = sorted([*own.numbers, *(bad.number for bad in own.bad)])
            try:
                answers = predict(name, own)
            except DataError as error:
                answers = [{"error": str(error)} for _ in numbers]
            for number, answer in zip(numbers, answers, strict=True):
                answer.pop("id", None)
                if (reason := answer.pop("error", None)) is not None:
                    reasons.add([(number, f"{name}: {reason}")])
            found.append(dict(zip(numbers, answers, strict=True)))
        return [*found, reasons.told()]

    def unread(self, row: Mapping[str, Any]) -> str | None:
        """Return why no encoder reads `row`; None where one does."""
        return None if self.readers(row) else f"the row has nothing that the model reads: {self.columns}"

    def check(self, raw: RawRows) -> None:
        """Raise DataError where no encoder reads any of the rows."""
        if raw.rows and not any(self.readers(row) for row in raw.rows):
            raise DataError(f"{raw.file}: no row has anything that the model reads: {self.columns}")

    @property
    def columns(self) -> str:
        """What rows should have, for messages."""
        return "; ".join(f"{name}: {encoder.wanted(self.specs[name])}" for name, encoder in self.encoders.items())
