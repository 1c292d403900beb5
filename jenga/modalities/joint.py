"""Several inputs of one row: each part read by the modality of its own backbone, a row having all or some of them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch

from jenga.config.schema import ExperimentConfig
from jenga.config.tasks import TaskConfig
from jenga.errors import DataError
from jenga.labels.column import BlankError, HeadColumn
from jenga.modalities.base import Encoder, Facts, Modality, Shown, Spaces
from jenga.rows.batches import Encoded, EncodedSplit, RowEncoder, Source
from jenga.rows.content import Content, ContentReader, ContentSpec, Item
from jenga.rows.loaded import LoadedSource
from jenga.rows.parse import Rows, SourceSpec
from jenga.rows.raw import BadRow, RawRows
from jenga.rows.split import TRAIN
from jenga.types import PART, PLACE

_COST = 1000
"""What a usual entry of one part costs; the units of parts differ."""


@dataclass
class JointContent(Content):
    """The content of M rows by part: that of the rows which have it, and where each row's stands there.

    `places`: int64 ``(M,)`` a part, -1 where a row lacks it.
    """

    shared: ClassVar[str] = "content that is"

    parts: dict[str, Content]
    places: dict[str, np.ndarray]

    @property
    def texts(self) -> Sequence[str]:  # type: ignore[override]
        """The texts of the first part that has some, blank where a row lacks it."""
        for name, part in self.parts.items():
            if len(part.texts):
                return [part.texts[at] if at >= 0 else "" for at in self.places[name].tolist()]
        return ()

    def take(self, at: np.ndarray) -> Self:
        """Return the content of the rows at `at`."""
        parts, places = {}, {}
        for name, part in self.parts.items():
            chosen = self.places[name][at]
            there = chosen >= 0
            parts[name], places[name] = part.take(chosen[there]), _places(there)
        return replace(self, parts=parts, places=places)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the content of `parts` one after the other; a part that one of them lacks is missing of its rows."""
        names = dict.fromkeys(name for each in parts for name in each.parts)
        found: dict[str, Content] = {}
        places: dict[str, np.ndarray] = {}
        for name in names:
            having = [each.parts[name] for each in parts if name in each.parts]
            found[name] = type(having[0]).joined(having)
            places[name] = _places(np.concatenate([each.having(name) for each in parts]))
        return cls(found, places)

    def having(self, name: str) -> np.ndarray:
        """Return which rows, bool ``(M,)``, have the part `name`."""
        if name in self.places:
            return self.places[name] >= 0
        return np.zeros(len(next(iter(self.places.values()))), bool)

    def keys(self) -> Sequence[Hashable]:
        """Return the keys of all parts of each row; () where one's are not known."""
        of_parts = []
        for name, part in self.parts.items():
            keys = part.keys()
            if len(keys) < int(self.having(name).sum()):
                return ()
            of_parts.append([keys[at] if at >= 0 else None for at in self.places[name].tolist()])
        return list(zip(*of_parts, strict=True))


def _places(there: np.ndarray) -> np.ndarray:
    """Return where each row stands among those that are `there`, -1 for the others."""
    return np.where(there, np.cumsum(there) - 1, -1).astype(np.int64)


@dataclass(frozen=True)
class JointSpec(ContentSpec):
    """How each part of a row is read, by the name of its backbone."""

    form: ClassVar[str] = "joint"

    parts: tuple[tuple[str, ContentSpec], ...] = ()

    @property
    def by_place(self) -> bool:  # type: ignore[override]
        """Whether that holds for a part."""
        return any(part.by_place for _, part in self.parts)

    def by_backbone(self, encoder: str) -> dict[str, ContentSpec]:
        """Return how the parts are read."""
        return dict(self.parts)

    def reader(self, raw: RawRows, *, learning: bool, per_word: bool) -> JointReader:
        """Return what reads the parts whose columns the file has. Raises DataError where it has those of none."""
        there = self.found(raw)
        if there is None and raw.rows:
            for _, part in self.parts:
                part.reader(raw, learning=learning, per_word=per_word)  # raises, with what is missing
        kept = there.parts if there is not None else self.parts
        return JointReader({name: part.reader(raw, learning=learning, per_word=per_word) for name, part in kept})

    def found(self, raw: RawRows) -> Self | None:
        """Return the parts whose columns the rows have; None where there are none."""
        found = [(name, part.found(raw)) for name, part in self.parts]
        kept = tuple((name, part) for name, part in found if part is not None)
        return replace(self, parts=kept) if kept else None

    @property
    def wanted(self) -> tuple[str, ...]:
        """The columns of all parts."""
        return tuple(dict.fromkeys(column for _, part in self.parts for column in part.wanted))

    @property
    def readable(self) -> tuple[str, ...]:
        """The columns that any part may stand in."""
        return tuple(dict.fromkeys(column for _, part in self.parts for column in part.readable))

    def settled(self, raw: RawRows) -> Self:
        """Return how rows are read after training."""
        return replace(self, parts=tuple((name, part.settled(raw)) for name, part in self.parts))

    def given(self, value: object) -> dict[str, Any] | None:
        """Return the columns that a bare content, such as a text, fills of any part."""
        filled = [columns for _, part in self.parts if (columns := part.given(value)) is not None]
        return {name: cell for columns in filled for name, cell in columns.items()} or None

    def check(self, heads: Sequence[HeadColumn]) -> None:
        """Raise ValueError where a part cannot be read with such heads."""
        for _, part in self.parts:
            part.check(heads)


class JointReader:
    """Reads the parts of a row; one that is blank is missing."""

    def __init__(self, readers: Mapping[str, ContentReader]) -> None:
        self.readers = readers

    def read(self, row: Mapping[str, Any]) -> Item:
        """Return the row's parts. Raises BlankError where it has none, RowError where one cannot be used."""
        found: dict[str, Item] = {}
        blank = []
        for name, reader in self.readers.items():
            try:
                found[name] = reader.read(row)
            except BlankError as error:
                blank.append(f"{name}: {error}")
        if not found:
            raise BlankError("; ".join(blank))
        return Item(found, text=next((item.text for item in found.values() if item.text), ""))

    def collect(self, items: Sequence[Item]) -> JointContent:
        """Return the content of rows by part."""
        parts, places = {}, {}
        for name, reader in self.readers.items():
            there = np.array([name in item.value for item in items], bool)
            parts[name] = reader.collect([item.value[name] for item in items if name in item.value])
            places[name] = _places(there)
        return JointContent(parts, places)


def view(rows: Rows, name: str) -> tuple[Rows, np.ndarray]:
    """Return the rows that have the part `name` with it as their content, and which of `rows` they are, int64."""
    content = rows.content
    assert isinstance(content, JointContent)
    at = np.flatnonzero(content.having(name))
    own = rows.take(at)
    assert isinstance(own.content, JointContent)
    return replace(own, content=own.content.parts[name], labels={}), at


def part_of(loaded: LoadedSource, name: str) -> LoadedSource:
    """Return the source as the backbone `name` sees it. Raises DataError where no training row has that part."""
    contents = loaded.spec.content.by_backbone(loaded.spec.encoder)
    spec = replace(loaded.spec, content=contents[name], encoder=name, heads=())
    splits = {split: _view_or_none(rows, name) for split, rows in loaded.splits.items()}
    found = {split: rows for split, rows in splits.items() if rows is not None}
    if TRAIN not in found or not len(found[TRAIN]):
        columns = " or ".join(map(repr, spec.content.wanted))
        raise DataError(
            f"{loaded.spec.name}: no training row has the input '{name}' (column {columns}), so nothing learns from "
            "it; fill the column, name another one (`columns`), or take it out of `inputs`"
        )
    return replace(loaded, spec=spec, splits=found, spaces={}, bad=list(loaded.bad), warnings=[])


def _view_or_none(rows: Rows, name: str) -> Rows | None:
    content = rows.content
    if not isinstance(content, JointContent) or name not in content.parts:
        return None
    return view(rows, name)[0]


@dataclass
class JointEncoded(Encoded):
    """Rows by part as its backbone reads them. `places`: int64 ``(M,)`` a part: where a row stands there, or -1."""

    parts: dict[str, Encoded]
    places: dict[str, np.ndarray]

    unit: ClassVar[str] = "tokens"

    @property
    def lengths(self) -> np.ndarray:
        """The cost of each row, summed over its parts, each in thousandths of its usual one."""
        total = np.zeros(len(next(iter(self.places.values()))), np.float64)
        for name, part in self.parts.items():
            if len(part):
                own = part.lengths / max(1.0, float(part.lengths.mean())) * _COST
                total += np.where(self.places[name] >= 0, own[self.places[name]], 0.0)
        return total.astype(np.int64)

    @property
    def truncated(self) -> np.ndarray | None:  # type: ignore[override]
        """Which rows have a part that was not read to its end."""
        found = None
        for name, part in self.parts.items():
            if part.truncated is not None and len(part):
                cut = (self.places[name] >= 0) & np.asarray(part.truncated)[self.places[name]]
                found = cut if found is None else found | cut
        return found

    def inputs(self, index: Sequence[int]) -> dict[str, torch.Tensor]:
        """Return the inputs of the parts that some of the rows have, and where in them each row stands, or -1."""
        found: dict[str, torch.Tensor] = {}
        for name, part in self.parts.items():
            chosen = self.places[name][np.asarray(index, np.int64)]
            there = chosen >= 0
            found[f"{name}{PART}{PLACE}"] = torch.from_numpy(_places(there))
            if there.any():
                own = part.inputs(chosen[there].tolist())
                found |= {f"{name}{PART}{key}": tensor for key, tensor in own.items()}
        return found

    def changed(self, inputs: dict[str, torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Return the inputs with those of each part as training changes them."""
        found = dict(inputs)
        for name, own in self._own(inputs):
            found |= {f"{name}{PART}{key}": each for key, each in self.parts[name].changed(own, generator).items()}
        return found

    def extent(self, inputs: Mapping[str, torch.Tensor]) -> int:
        """Return the units of the longest entry, over all parts."""
        return sum(self.parts[name].extent(own) for name, own in self._own(inputs))

    def _own(self, inputs: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
        """Yield the inputs of the parts that a batch has, by their own names."""
        for name in self.parts:
            start = f"{name}{PART}"
            own = {key.removeprefix(start): each for key, each in inputs.items() if key.startswith(start)}
            if own.pop(PLACE, None) is not None and own:
                yield name, own


class JointEncoder(Encoder):
    """Encodes each part of a row as the encoder of its backbone does. `parts`: these, by the names of the backbones."""

    def __init__(self, parts: Mapping[str, Encoder]) -> None:
        self.parts = dict(parts)
        self.rows_at_once = min(each.rows_at_once for each in parts.values())

    def save(self, folder: Path) -> None:
        """Raise TypeError: each part is saved beside its backbone."""
        raise TypeError("the parts of a JointEncoder are saved one by one")

    def by_backbone(self, name: str) -> Mapping[str, Encoder]:
        """Return the parts."""
        return self.parts

    def reads(self, row: Mapping[str, Any], specs: Sequence[SourceSpec]) -> bool:
        """Return whether a row has something of what some part reads."""
        return any(
            encoder.reads(row, [_part_spec(spec, name) for spec in specs]) for name, encoder in self.parts.items()
        )

    def session(self, keep: Sequence[str] = ()) -> Self:
        """Return one whose parts say each warning once."""
        made = super().session(keep)
        made.parts = {name: encoder.session() for name, encoder in self.parts.items()}
        return made

    def shown(self, content: Content, row: int) -> Shown:
        """Return what a person sees of the parts that a row has."""
        assert isinstance(content, JointContent)
        places = {name: int(places[row]) for name, places in content.places.items()}
        parts = [self.parts[name].shown(content.parts[name], at) for name, at in places.items() if at >= 0]
        text = "\n".join(part.text for part in parts if part.text)
        return Shown(text, tuple(picture for part in parts for picture in part.pictures))

    def encoder(self, files: Sequence[RawRows]) -> RowEncoder:
        """Return what encodes rows by part; a row of which one part cannot be encoded is bad."""
        encoders = {name: part.encoder(files) for name, part in self.parts.items()}
        unread = [bad for each in encoders.values() for bad in each.bad]

        def encode(rows: Rows, spec: SourceSpec, spaces: Spaces) -> EncodedSplit:
            content = rows.content
            assert isinstance(content, JointContent)
            splits = {}
            for name in content.parts:
                own, _ = view(rows, name)
                known = len(encoders[name].bad)
                splits[name] = encoders[name].encode(own, _part_spec(spec, name), {})
                unread.extend(encoders[name].bad[known:])
            return assembled(spec.name, rows, splits, spaces)

        return RowEncoder(encode, unread)

    def facts(self, specs: Sequence[SourceSpec]) -> Facts:
        """Return what the parts say of themselves."""
        found = [each.facts([_part_spec(spec, name) for spec in specs]) for name, each in self.parts.items()]
        data = {name: value for each in found for name, value in each.data.items()}
        return Facts(data, [limit for each in found for limit in each.limits])


def _part_spec(spec: SourceSpec, name: str) -> SourceSpec:
    parts = spec.content.by_backbone(spec.encoder)
    # Rows that lack a part altogether are not read by it.
    return replace(spec, content=parts.get(name, spec.content), encoder=name, heads=())


def assembled(source: str, rows: Rows, splits: Mapping[str, EncodedSplit], spaces: Spaces) -> EncodedSplit:
    """Return `rows` with their parts as they were encoded, but for those of which a part was set aside."""
    content = rows.content
    assert isinstance(content, JointContent)
    kept = np.ones(len(rows), bool)
    places: dict[str, np.ndarray] = {}
    names = list(zip(rows.files, rows.numbers, strict=True))
    for name, split in splits.items():
        having = content.having(name)
        known = {key: at for at, key in enumerate(zip(split.rows.files, split.rows.numbers, strict=True))}
        found = [known.get(key, -1) if there else -1 for key, there in zip(names, having, strict=True)]
        places[name] = np.array(found, np.int64)
        kept &= ~having | (places[name] >= 0)
    at = np.flatnonzero(kept)
    parts = {name: split.encoded for name, split in splits.items()}
    encoded = JointEncoded(parts, {name: found[at] for name, found in places.items()})
    return EncodedSplit(source, rows.take(at), encoded, spaces)


def assembled_source(loaded: LoadedSource, parts: Mapping[str, Source], views: Mapping[str, LoadedSource]) -> Source:
    """Return the source `loaded` of the sources that its parts made; `views`: as `part_of` gave them.

    What a part set aside joins the bad rows. Raises DataError where nothing is left to train on.
    """
    known: set[BadRow] = set(loaded.bad)
    for each in views.values():
        loaded.bad += [bad for bad in each.bad if bad not in known]
        known |= set(each.bad)
    splits = {}
    for split, rows in loaded.splits.items():
        own = {name: part.splits[split] for name, part in parts.items() if split in part.splits}
        splits[split] = assembled(loaded.spec.name, rows, own, loaded.spaces)
    if not len(splits[TRAIN]):
        raise DataError(f"{loaded.spec.name}: no training row is left: none can be encoded")
    return loaded.source(splits)


class JointModality(Modality):
    """What tasks of several inputs read. It is of one experiment, whose backbones bring their own modalities."""

    noun = "several inputs"
    content_specs = (JointSpec,)

    def __init__(self, parts: Mapping[str, Modality], config: ExperimentConfig) -> None:
        self.parts, self.config = dict(parts), config

    def group(self, task: TaskConfig, config: ExperimentConfig) -> Hashable:
        """Return what the parts ask of tasks that share a pass."""
        return tuple(part.group(task, self.config.of_backbone(name)) for name, part in self.parts.items())

    def content(self, tasks: Sequence[TaskConfig], config: ExperimentConfig) -> JointSpec:
        """Return how the parts of the tasks' rows are read."""
        return JointSpec(
            tuple((name, part.content(tasks, self.config.of_backbone(name))) for name, part in self.parts.items())
        )

    def load(self, folder: Path, config: ExperimentConfig) -> Encoder:
        """Raise TypeError: each part is saved beside its backbone."""
        raise TypeError("the parts of a joint input are loaded one by one")
