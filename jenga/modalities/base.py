"""What a modality is: what it brings to a configuration, how its rows are read, and what makes inputs of them."""

from __future__ import annotations

import copy
import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Self, cast

import numpy as np
import torch

from jenga.config.explain import Finding
from jenga.config.schema import ExperimentConfig
from jenga.config.strict import Strict
from jenga.config.tasks import TaskConfig
from jenga.config.yaml12 import Document
from jenga.errors import ConfigError, DataError
from jenga.labels.cells import is_missing
from jenga.modalities.backbone import BackboneManager, BaseBackbone
from jenga.modalities.baseline import Baseline
from jenga.modalities.frames import learnable
from jenga.modalities.quick import Quick
from jenga.registry import Registry
from jenga.rows.batches import Encoded, EncodedSplit, RowEncoder, Source
from jenga.rows.columns import lookup
from jenga.rows.content import CellColumns, Content, ContentSpec
from jenga.rows.given import LineBatch, RowsLike, given_rows, read_stream
from jenga.rows.load import by_place
from jenga.rows.loaded import LoadedSource
from jenga.rows.parse import Rows, SourceSpec
from jenga.rows.raw import BadRow, RawRows
from jenga.rows.read_once import ReadOnce
from jenga.rows.readers import read_rows
from jenga.rows.split import TRAIN
from jenga.types import HeadSpace

logger = logging.getLogger(__name__)
Spaces = Mapping[tuple[str, str], HeadSpace]
Autocast = Callable[[], AbstractContextManager[Any]]


class Facts(NamedTuple):
    """What a model card says of how rows are read. `data`: lines of its table of data; `limits`: a sentence each."""

    data: dict[str, str]
    limits: list[str]


class Shown(NamedTuple):
    """What a person sees of a row. `pictures`: PNG files. `places`: the characters of each position that is read."""

    text: str = ""
    pictures: tuple[bytes, ...] = ()
    places: Sequence[tuple[int, int]] = ()


class Tell(Protocol):
    """Says in the terms of rows what their features mean."""

    def __call__(self, rows: Sequence[int], contributions: np.ndarray, top: int) -> list[list[dict[str, Any]]]:
        """Return the `top` parts of each of `rows` that contribute most; contributions: ``(M, F)``."""


class Generates(Protocol):
    """Answers rows with texts."""

    def answer(self, rows: Rows, *, max_new_tokens: int, batch_size: int) -> list[dict[str, str]]:
        """Return ``{"text"}`` for each row, or ``{"error"}``: why it has none."""

    def judge(
        self, rows: Rows, *, max_new_tokens: int, pattern: str | None, compare: bool, batch_size: int
    ) -> list[dict[str, Any]]:
        """Return ``{"id", "prompt", "expected", "answer"}`` of each row, ready for JSON.

        compare: tell by ``"match"`` whether the answer is the expected one, in what `pattern` finds last in both; of
        rows that have one.
        """


class Encoder(ABC):
    """What turns parsed rows into what a backbone reads. It travels with the model, saved beside its weights.

    `rows_at_once`: rows of a forward pass where a caller does not say how many; `tokens_at_once`: its most tokens
    then, which count instead. `decodes`: whether making a batch is so much work that a GPU would wait for it, where
    `data.workers` does not say. `workers`: how many of them there are. `progress`: called with a line on how far long
    work is. `keep`: columns kept beside what is read of rows. `told`: what a session has warned of, None outside it.
    `ordered`: whether what is made of a row follows from those before it too. `row_cost`: its tokens where it has none.
    """

    rows_at_once: int = 64
    tokens_at_once: int | None = None
    row_cost: ClassVar[int] = 256
    decodes: ClassVar[bool] = False
    workers: int = 0
    progress: Callable[[str], None] | None = None
    keep: tuple[str, ...] = ()
    told: set[str] | None = None
    ordered: bool = False

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write everything to `folder`, which the backbone's weights are in."""

    def encode(self, rows: Rows, spec: SourceSpec) -> Encoded:
        """Return what a backbone reads of `rows`, read as `spec` says; not there where `sources` and `encoder` are."""
        raise TypeError(f"{type(self).__name__} has no encode(rows, spec)")

    def unusable(self, rows: Rows, spec: SourceSpec) -> Mapping[int, str]:
        """Return which of `rows`, by their place, cannot be encoded, and why; called before `encode`, default: none."""
        return {}

    def split_of(self, rows: Rows, spec: SourceSpec, spaces: Spaces) -> tuple[EncodedSplit, list[BadRow]]:
        """Return `rows` encoded, and those of them that cannot be, which are left out."""
        reasons = self.unusable(rows, spec)
        bad = [BadRow(rows.files[at], rows.numbers[at], why, rows.ids[at]) for at, why in reasons.items()]
        if bad:
            rows = rows.take([at for at in range(len(rows)) if at not in reasons])
        return EncodedSplit(spec.name, rows, self.encode(rows, spec), spaces), bad

    def model_config(self, model: Any) -> Any:
        """Return the model's block with what the encoder decides of it; default: as it is."""
        return model

    def read(self, source: str | bytes, specs: Sequence[SourceSpec], *, split: str) -> RawRows:
        """Return the rows of a file, or of bytes as standard input holds them, as far as `specs` read them.

        split: the part of a hub data set.
        """
        if isinstance(source, bytes):
            rows = read_stream(source, {name for spec in specs for name in spec.content.readable})
            return rows if isinstance(rows, RawRows) else self.given(rows, specs)
        raw = read_rows(source, split=split, form=specs[0].form)
        for words in raw.told:
            logger.warning("%s", words)
        return raw

    def given(self, rows: RowsLike, specs: Sequence[SourceSpec]) -> RawRows:
        """Return rows that a caller has in hand, numbered from 1. Raises TypeError where they are none."""
        return given_rows(rows, [spec.content for spec in specs])

    def lines(self, batch: LineBatch, specs: Sequence[SourceSpec]) -> RawRows:
        """Return lines of standard input as rows."""
        return batch.rows([spec.content for spec in specs])

    def counter(self, specs: Sequence[SourceSpec]) -> Callable[[Sequence[RawRows]], list[int]]:
        """Return what tells about how many units, such as tokens, each of several callers' rows cost together."""
        return lambda raws: [self.row_cost * len(raw.rows) for raw in raws]

    def by_backbone(self, name: str) -> Mapping[str, Encoder]:
        """Return the encoders that it consists of by the backbone that each is for; name: its own."""
        return {name: self}

    def reads(self, row: Mapping[str, Any], specs: Sequence[SourceSpec]) -> bool:
        """Return whether a row of a model of several encoders has something of what this one reads by `specs`."""
        columns = (name for spec in specs for name in spec.content.readable)
        return any(not is_missing(lookup(row, name)) for name in columns)

    def wanted(self, specs: Sequence[SourceSpec]) -> str:
        """Return the columns that `reads` looks for, for messages."""
        return ", ".join(dict.fromkeys(repr(name) for spec in specs for name in spec.content.wanted))

    def session(self, keep: Sequence[str] = ()) -> Self:
        """Return an encoder of rows that come one after the other in many calls; it says each warning once."""
        made = copy.copy(self)
        made.keep, made.told = tuple(keep), set()
        return made

    def warn(self, subject: str, words: str) -> None:
        """Log a warning, in a session only the first one of its `subject`."""
        if self.told is not None and subject in self.told:
            return
        if self.told is not None:
            self.told.add(subject)
        logger.warning("%s", words, extra={"subject": subject})

    def sources(
        self, loaded: list[LoadedSource], config: ExperimentConfig, backbone: BaseBackbone
    ) -> tuple[list[Source], list[str]]:
        """Return the rows of every split ready for batches, and warnings. Raises where they do not fit `backbone`."""
        sources, warnings = [], []
        for each in loaded:
            splits, bad = {}, []
            for name, rows in each.splits.items():
                splits[name], own = self.split_of(rows, each.spec, each.spaces)
                bad += own
            each.set_aside(bad, config.data.max_bad_fraction)
            if not len(splits[TRAIN]):
                raise DataError(f"{each.spec.name}: no training row is left: none can be encoded")
            for name, split in splits.items():
                warnings += [f"{each.spec.name}, {name}: {words}" for words in self._cut(split)]
                splits[name], told = learnable(split, backbone, of=name)
                warnings += told
            sources.append(each.source(splits))
        return sources, warnings

    def encoder(self, files: Sequence[RawRows]) -> RowEncoder:
        """Return what encodes rows that were parsed from `files`, which `read` or `given` gave."""
        unread: list[BadRow] = []

        def encode(rows: Rows, spec: SourceSpec, spaces: Spaces) -> EncodedSplit:
            split, bad = self.passing().split_of(rows, spec, spaces)
            unread.extend(bad)
            for words in self._cut(split):
                self.warn("rows that are cut", words)
            return split

        return RowEncoder(encode, unread)

    @property
    def longest(self) -> str:
        """How much of a row is read at most, with its unit."""
        return "what is read of one"

    def _cut(self, split: EncodedSplit) -> list[str]:
        count = 0 if split.encoded.truncated is None else int(split.encoded.truncated.sum())
        words = f"{count} of {len(split)} rows are longer than {self.longest}; only that much of them is read"
        return [words] if count else []

    def passing(self) -> Self:
        """Return an encoder of rows that no run learns from, of which nothing is to stay behind; default: itself."""
        return self

    def describe(self) -> dict[str, Any]:
        """Return what a saved model's description says of the encoder, for readers that do not load it."""
        return {}

    def facts(self, specs: Sequence[SourceSpec]) -> Facts:
        """Return what a person should know of how the rows of `specs`, as they were read in training, are read."""
        return Facts({}, [])

    def shown(self, content: Content, row: int) -> Shown:
        """Return what a person sees of the row at `row` of `content`; default: its text, where it has one."""
        return Shown(content.texts[row] if len(content.texts) else "")

    def tell(self, raw: RawRows, numbers: Sequence[int]) -> Tell | None:
        """Return what explains features of the rows `numbers` of `raw`; None where rows have no fields to name."""
        return None

    def generator(
        self, backbone: BaseBackbone, content: ContentSpec, *, device: torch.device, autocast: Autocast
    ) -> Generates:
        """Return what answers rows that are read as `content` says. Raises ConfigError where nothing does."""
        raise ConfigError("this model generates nothing; use jenga predict")

    def from_bytes(self) -> torch.nn.Module | None:
        """Return what makes features of bytes, as `jenga.modalities.events.raw.Refined` does; None: nothing does."""
        return None

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of texts. Raises ConfigError where there is none."""
        raise ConfigError(f"{type(self).__name__} has no tokens")


@dataclass
class Prepared:
    """What makes inputs of rows, and the model's block as the backbone is to be made from it."""

    encoder: Encoder
    model_config: Any
    warnings: list[str]


class NoColumns(Strict):
    """A modality whose rows are read whole, without naming a column."""


class Modality(ABC):
    """All that is known of one kind of rows: registered by its name, it is what backbones that read it stand on.

    `noun`: what its rows are called. `inputs`: parameters of a backbone's ``forward`` by which it is known to read
    them, where it does not say so. `settings`: the block of `model:` where a backbone brings none. `columns`: the keys
    that the `columns` of every task gain; by default a row's content is the cells of all of them, each standing in the
    column of the key's own name unless another is given. `content_specs`: the ways its rows are read. `keys`: of the
    general blocks, dotted, those that only this modality reads (``tasks[].max_length``). `types_vary`: whether a
    column may hold other types from row to row. `words`: whether rows have words, which tasks may label; `frames`:
    whether their encoders' positions are moments, which others label. `by_row`: whether a row is read by itself, so
    that a task can read it beside what other backbones read. `baselines`: by name, what its models can be compared
    with. `extra`: of pip, for what reads its rows. `hub_noun`: its rows in names of the hub's tasks (``image-...``).
    """

    noun: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]] = ()
    settings: ClassVar[type[Strict]]
    columns: ClassVar[type[Strict]] = NoColumns
    content_specs: ClassVar[tuple[type[ContentSpec], ...]] = (CellColumns,)
    keys: ClassVar[frozenset[str]] = frozenset()
    types_vary: ClassVar[bool] = False
    words: ClassVar[bool] = False
    frames: ClassVar[bool] = False
    by_row: ClassVar[bool] = True
    baselines: ClassVar[Mapping[str, type[Baseline]]] = {}
    extra: ClassVar[str] = ""
    hub_noun: ClassVar[str] = ""

    def complete(self, model: dict[str, Any]) -> None:
        """Fill in what the block `model`, which is not checked yet, says without naming it."""
        return

    def checks(self, document: Document) -> Iterable[Finding]:
        """Return what the settings of a model of this modality contradict; values may still have wrong types."""
        return ()

    def model_block(self, model: Any, *, generates: bool) -> Any:
        """Return the block of `model:` as its backbone is to be made. Raises ConfigError where it cannot generate."""
        if generates:
            raise ConfigError(
                f"model.backbone_type: '{model.backbone_type}' predicts no tokens; use one that reads texts"
            )
        return model

    def group(self, task: TaskConfig, config: ExperimentConfig) -> Hashable:
        """Return what tasks that can share an encoder's pass have in common, beside their files and ids."""
        return self.content([task], config)

    def content(self, tasks: Sequence[TaskConfig], config: ExperimentConfig) -> ContentSpec:
        """Return how the rows of tasks of one `group` are read."""
        columns = tasks[0].columns
        names = {key: getattr(columns, key) for key in self.columns.model_fields}
        # A modality whose rows are no cells overrides this.
        kind = cast(type[CellColumns], self.content_specs[0])
        return kind(columns=tuple((key, (name or key,)) for key, name in names.items()))

    def reads(self, config: ExperimentConfig, specs: Sequence[SourceSpec]) -> ReadOnce[Any]:
        """Return what reads the files of `specs`, the sources of this modality's tasks in `config`."""
        return ReadOnce(partial(read_rows, form=specs[0].form), by_place=by_place(specs))

    def prepare(
        self, loaded: list[LoadedSource], files: Sequence[Any], config: ExperimentConfig, workdir: Path
    ) -> Prepared:
        """Make what turns rows into inputs of the backbone.

        loaded: the sources, in training only the rows that some task learns from; files: what `reads` read. workdir:
        keeps what is made of the training rows, once a run. Raises ConfigError, DataError or SetupError.
        """
        return Prepared(self.fit(loaded, config, workdir), config.model, [])

    def fit(self, loaded: Sequence[LoadedSource], config: ExperimentConfig, workdir: Path) -> Encoder:
        """Return the encoder, made of the training rows."""
        raise TypeError(f"{type(self).__name__} has neither fit nor prepare")

    @abstractmethod
    def load(self, folder: Path, config: ExperimentConfig) -> Encoder:
        """Read what `Encoder.save` wrote."""

    def quick(self, splits: Sequence[EncodedSplit], encoder: Encoder) -> Quick | None:
        """Return the rows of `splits` for quick models; default: None, they read what the backbone makes of rows."""
        return None

    def example(self, specs: Sequence[ContentSpec], described: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row such as models of this modality read; described: what `Encoder.describe` said.

        It has only columns of the content, each with a value of its type.
        """
        return {column: "example" for spec in specs for column in spec.wanted}


MODALITIES: Registry[Modality] = Registry("modality", entry_point_group="jenga.modalities")


def modality_of(backbone_type: str) -> Modality:
    """Return what backbones of this type read: as they say, else by the parameters of their ``forward``.

    A ``forward`` that only takes ``**inputs`` reads texts. Raises ConfigError for an unknown type, or where no modality
    gives what ``forward`` takes.
    """
    backbone = BackboneManager.class_of(backbone_type)
    if backbone.modality is not None:
        return modality_named(backbone.modality)
    MODALITIES.load_entry_points()
    taken = inspect.signature(backbone.forward).parameters.items()
    named = [name for name, each in taken if name != "self" and each.kind is not inspect.Parameter.VAR_KEYWORD]
    fitting = {name: each for name, each in MODALITIES.items() if set(each.inputs) & set(named)}
    if len(fitting) > 1:
        raise ConfigError(
            f"model.backbone_type: the forward of {backbone.__name__} takes inputs of {' and '.join(fitting)}; set the "
            "class attribute `modality` to one of them"
        )
    for modality in fitting.values():
        return modality()
    if named:
        known = ", ".join(f"{', '.join(each.inputs)} ({name})" for name, each in MODALITIES.items() if each.inputs)
        raise ConfigError(
            f"model.backbone_type: the forward of {backbone.__name__} takes {', '.join(named)}, which no modality "
            f"gives; known: {known}. Name one of them, or set the class attribute `modality`"
        )
    return modality_named("text")


def modality_named(name: str) -> Modality:
    """Return the modality that is registered as `name`. Raises KeyError where there is none."""
    MODALITIES.load_entry_points()
    return MODALITIES[name]()
