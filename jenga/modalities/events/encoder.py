"""Events as features, made by a refinery that is fitted on the training rows of all sources."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from torch import nn

from jenga.errors import DataError, SetupError
from jenga.modalities.backbone import BaseBackbone
from jenga.modalities.base import Encoder, Facts, Spaces, Tell
from jenga.modalities.events.events import (
    Events,
    events_of,
    label_columns,
    read_events,
    refine_events,
    taken,
    unwarned,
)
from jenga.modalities.events.features import RefinedFile, features_of
from jenga.refinery.packed import PackedRows
from jenga.refinery.paths import parts_of, values_in
from jenga.rows.batches import EncodedSplit, RowEncoder, Source
from jenga.rows.given import LineBatch, RowsLike, of_table
from jenga.rows.loaded import LoadedSource, stop_if_many_bad
from jenga.rows.parse import Rows, SourceSpec
from jenga.rows.raw import GIVEN, BadRow, RawRows
from jenga.rows.split import TRAIN, leak_warning, shared_with

if TYPE_CHECKING:
    from jenga.refinery import SecurityRefinery
    from jenga.refinery.engine import Pace
    from jenga.refinery.fields import AnyField

logger = logging.getLogger(__name__)
REFINERY_FILE = "refinery.safetensors"
FIGURE_DIGITS = 6
"""Digits behind the point of what is told of an answer."""
_NO_PACE = "the time since the event before, of '%s', is not known of a single event and counts as the usual one"
_NO_HISTORY = "'%s' tells of the events before, and of a single event no other is known since the training rows"
_FIELDS_SHOWN = 12
_LISTED = 3


class EventEncoder(Encoder):
    """Features by a fitted refinery.

    `files`: the events behind the rows that training reads, by name; empty in a model that was loaded. `max_missing`:
    as `RefineryConfig` has it.
    """

    rows_at_once = 1024
    row_cost = 1

    def __init__(
        self, refinery: SecurityRefinery, files: Mapping[str, Events] | None = None, *, max_missing: float = 1.0
    ) -> None:
        self.refinery, self.max_missing = refinery, max_missing
        self.files = dict(files or {})
        self._pace: Pace | None = None
        self._told_pace = False
        self.ordered = bool(self._paced)

    def save(self, folder: Path) -> None:
        """Write the refinery's fitted state beside the encoder's weights."""
        self.refinery.save(folder / REFINERY_FILE)

    def from_bytes(self) -> nn.Module | None:
        """Return the refinery's op with its plan; None where what came before a row is read too."""
        from jenga.modalities.events.raw import Refined

        return None if self.ordered else Refined(self.refinery)

    @classmethod
    def load(cls, folder: Path, config: Any) -> Self:
        """Read the refinery's state in `folder`. Raises SetupError where it is harmed, or none."""
        from jenga.refinery import SecurityRefinery

        try:
            refinery = tolerant_of(SecurityRefinery.load(folder / REFINERY_FILE))
            return cls(refinery, max_missing=config.model.refinery.max_missing)
        except DataError as error:  # no data of the user's: a part of the model
            raise SetupError(f"{error}; restore the model's folder from a copy or train again") from error

    def model_config(self, model: Any) -> Any:
        """Return the model's block for features of the refinery's width, field by field."""
        fields = [len(list(columns)) for _, columns in itertools.groupby(self.refinery.feature_sources_)]
        return model.with_features(self.refinery.n_features_out_, fields)

    def read(self, source: str | bytes, specs: Sequence[SourceSpec], *, split: str) -> Events:
        """Return the events of a file, or of bytes of JSON, with the cells of labels and ids that `specs` name."""
        found = read_events(
            source, columns=self._columns(specs), refinery=self.refinery, split=split, form=specs[0].form
        )
        for words in found.told:
            logger.warning("%s", words)
        return found

    def lines(self, batch: LineBatch, specs: Sequence[SourceSpec]) -> Events:
        """Return lines of JSON as events; blank ones are none."""
        from jenga.kernels.refinery import pack_rows

        raw = RawRows(batch.file)
        whole = [(number, line) for number, line in batch.whole(raw) if line.strip()]
        numbers = [number for number, _ in whole]
        # Packed once, for all that reads them.
        data, offsets = pack_rows([line for _, line in whole])
        return self._events(raw.file, PackedRows(data.numpy(), offsets.numpy()), numbers, raw.bad, specs)

    def reads(self, row: Mapping[str, Any], specs: Sequence[SourceSpec]) -> bool:
        """Return whether a row has one of the fields of the refinery's schema, at any of its paths."""
        paths = (path for field in self.refinery.schema_.fields for path in field.all_paths)
        return any(value is not None for path in paths for value in values_in(row, parts_of(path)))

    def wanted(self, specs: Sequence[SourceSpec]) -> str:
        """Return the first of these fields."""
        paths = [field.path for field in self.refinery.schema_.fields]
        return ", ".join(map(repr, paths[:_LISTED])) + (", ..." if len(paths) > _LISTED else "")

    def session(self, keep: Sequence[str] = ()) -> Self:
        """Return an encoder that counts the time since the event before, and what came before, from call to call."""
        made = super().session(keep)
        made._pace = self.refinery.carried()
        return made

    def _columns(self, specs: Sequence[SourceSpec]) -> tuple[str, ...]:
        slices = (name for spec in specs for name in spec.slices)
        return tuple(dict.fromkeys([*label_columns(specs), *slices, *self.keep]))

    def given(self, rows: RowsLike, specs: Sequence[SourceSpec]) -> Events:
        """Return events given as JSON (text or bytes) or mappings, one or several, or a table, numbered from 1.

        Raises TypeError where they are none.
        """
        if isinstance(rows, Events):
            return rows
        if isinstance(rows, RawRows):
            return self._events(rows.file, rows.rows, rows.numbers, rows.bad, specs)
        given = [rows] if isinstance(rows, str | bytes | Mapping) else of_table(rows)
        if not isinstance(given, Sequence):
            advice = "give an event, or a list of events, as mappings or JSON, or a table"
            raise TypeError(f"rows: got {type(rows).__name__}; {advice}")
        events: dict[int, Any] = {}
        others = RawRows(GIVEN)
        for number, row in enumerate(given, start=1):
            if isinstance(row, str | bytes | Mapping):
                events[number] = dict(row) if isinstance(row, Mapping) else row
            else:
                others.add(number, row)
        return self._events(GIVEN, list(events.values()), list(events), others.bad, specs)

    def _events(
        self,
        file: str,
        events: Sequence[Any],
        numbers: Sequence[int],
        bad: Sequence[BadRow],
        specs: Sequence[SourceSpec],
    ) -> Events:
        return events_of(file, events, numbers, bad, columns=self._columns(specs), refinery=self.refinery)

    def encoder(self, files: Sequence[RawRows]) -> RowEncoder:
        """Return what looks up the features of rows; all are made here, file by file in the order of their events.

        Warns of fields that a file's events lack. Raises DataError where they have none.
        """
        refined = {}
        for events in files:
            assert isinstance(events, Events)
            pace, whole = self._pace or self.refinery.carried(), self._pace is None
            refined[events.file] = refine_events(
                events, self.refinery, pace=pace, whole=whole, max_missing=self.max_missing
            )
            for warning in refined[events.file].warnings:
                self.warn(warning, f"{events.file}: {warning}")
            self._warn_of_pace(events)

        return _encoder(refined)

    @property
    def _paced(self) -> list[AnyField]:
        """The fields whose features depend on the events before."""
        fields = self.refinery.schema_.fields
        return [field for field in fields if field.kind == "history" or getattr(field, "inter_arrival", False)]

    def _warn_of_pace(self, events: Events) -> None:
        """Warn once of events that are scored one by one: what training knew of those before, they do not have."""
        if self._pace is None and self.ordered and len(events.rows) == 1 and not self._told_pace:
            self._told_pace = True
            paced = self._paced[0]
            words = _NO_HISTORY if paced.kind == "history" else _NO_PACE
            logger.warning(f"{words}; score events that come one by one through Predictor.session()", paced.path)

    def tell(self, raw: RawRows, numbers: Sequence[int]) -> Tell:
        """Return what says by which fields of its event a row's features differ; its figures have six digits."""
        assert isinstance(raw, Events)
        at = np.searchsorted(raw.numbers, numbers)
        events, histories = raw.events, raw.histories

        def tell(rows: Sequence[int], contributions: np.ndarray, top: int) -> list[list[dict[str, Any]]]:
            from jenga.refinery.explain import explain_as_dicts

            with unwarned():
                places = at[np.asarray(rows, np.int64)]
                return explain_as_dicts(
                    self.refinery, taken(events, places), contributions, top=top, digits=FIGURE_DIGITS,
                    histories=None if histories is None else histories[places],
                )  # fmt: skip

        return tell

    def sources(
        self, loaded: list[LoadedSource], config: Any, backbone: BaseBackbone
    ) -> tuple[list[Source], list[str]]:
        """Return the features of every split; what the refinery sets aside joins the bad rows of its source.

        The events are let go: `files` is empty afterwards. Raises DataError where that is more than
        data.max_bad_fraction of a file, or nothing is left to train on.
        """
        # Training rows have nothing before them but one another; rows of other files may follow them.
        trained = {name for each in loaded for name in each.splits[TRAIN].files}
        refined = {
            name: refine_events(
                events, self.refinery, pace=None if name in trained else self.refinery.carried(),
                max_missing=self.max_missing,
            )
            for name, events in self.files.items()
        }  # fmt: skip
        for name, events in self.files.items():
            stop_if_many_bad(events, [*events.bad, *refined[name].bad], config.data.max_bad_fraction)
        warnings = [f"{name}: {each}" for name, found in refined.items() for each in found.warnings]
        sources = []
        for each in loaded:
            splits = {name: _split(rows, each.spec, refined, each.spaces) for name, rows in each.splits.items()}
            if not len(splits[TRAIN]):
                raise DataError(f"{each.spec.name}: no training row is left; the refinery set all of them aside")
            files = {name for rows in each.splits.values() for name in rows.files}
            each.bad += [bad for name in sorted(files) for bad in refined[name].bad]
            warnings += _leaks(each.spec, splits)
            sources.append(each.source(splits))
        self.files.clear()
        return sources, warnings

    def describe(self) -> dict[str, Any]:
        """Return the paths of the fields that the refinery reads, with their kinds."""
        # A history stands in no event.
        fields = [field for field in self.refinery.schema_.fields if field.kind != "history"]
        return {"fields": [[field.path, field.kind] for field in fields]}

    def facts(self, specs: Sequence[SourceSpec]) -> Facts:
        """Return the fields that are read, and how many features they make."""
        paths = [field.path for field in self.refinery.schema_.fields]
        more = f" and {len(paths) - _FIELDS_SHOWN} more" if len(paths) > _FIELDS_SHOWN else ""
        fields = f"{len(paths)}: {', '.join(paths[:_FIELDS_SHOWN])}{more}"
        data = {"fields of an event": fields, "features": str(self.refinery.n_features_out_)}
        return Facts(data, ["Of an event, only the fields above are read."])


def _encoder(refined: Mapping[str, RefinedFile]) -> RowEncoder:
    """Return what looks up the features of rows in those of their files."""

    def piece(raw: RawRows) -> RowEncoder:
        own = refined[raw.file].of(raw)
        return RowEncoder(partial(_looked_up, {raw.file: own}), own.bad)

    return RowEncoder(partial(_looked_up, refined), [bad for each in refined.values() for bad in each.bad], piece)


def _looked_up(refined: Mapping[str, RefinedFile], rows: Rows, spec: SourceSpec, spaces: Spaces) -> EncodedSplit:
    return _split(rows, spec, refined, spaces)


def tolerant_of(refinery: SecurityRefinery) -> SecurityRefinery:
    """Return `refinery` without a limit of its own: bad rows are judged by file, by `stop_if_many_bad`."""
    tolerant: SecurityRefinery = refinery.set_params(max_bad_fraction=1.0)
    return tolerant


def _split(rows: Rows, spec: SourceSpec, refined: Mapping[str, RefinedFile], spaces: Spaces) -> EncodedSplit:
    """Return rows with their features. Rows that the refinery set aside are left out."""
    kept, features = features_of(rows, refined)
    return EncodedSplit(spec.name, kept, features, spaces)


def _leaks(spec: SourceSpec, splits: Mapping[str, EncodedSplit]) -> Iterable[str]:
    rows = {
        name: [row.tobytes() for row in split.encoded.features]
        for name, split in splits.items()
        if split.encoded.features is not None
    }
    shared = shared_with(rows.get(TRAIN, []))
    for name in rows.keys() - {TRAIN}:
        what = "the same features as a row that is"
        warning = leak_warning(shared(rows[name]), len(rows[name]), split=name, source=spec.name, what=what)
        if warning:
            yield warning
