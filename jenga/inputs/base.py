"""What every kind of inputs offers to the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from jenga.backbones import BaseBackbone
from jenga.data.collate import EncodedSplit, Source
from jenga.data.readers import BadRow, RawRows
from jenga.data.rows import LoadedSource, Rows, SourceSpec
from jenga.types import HeadSpace

Spaces = Mapping[tuple[str, str], HeadSpace]
Keep = Callable[[LoadedSource], np.ndarray]


@dataclass(frozen=True)
class Encoder:
    """Encodes rows of some files, or of one call; `bad` of their rows cannot be encoded.

    `encode`: called with parsed rows, how they are read, and the label spaces to judge them by (none: {}).
    """

    encode: Callable[[Rows, SourceSpec, Spaces], EncodedSplit]
    bad: list[BadRow]


class Facts(NamedTuple):
    """What a model card says of how rows are read. `data`: lines of its table of data; `limits`: a sentence each."""

    data: dict[str, str]
    limits: list[str]


class Inputs(ABC):
    """What turns parsed rows into what a backbone reads, saved beside its weights."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write everything to `folder`."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, config: Any) -> Self:
        """Read what `save` wrote; config: the experiment."""

    @abstractmethod
    def model_config(self, model: Any) -> Any:
        """Return the model's block with what the inputs decide of it."""

    @abstractmethod
    def sources(
        self, loaded: list[LoadedSource], config: Any, backbone: BaseBackbone
    ) -> tuple[list[Source], list[str]]:
        """Return the rows of every split ready for batches, and warnings. Raises where they do not fit `backbone`."""

    @abstractmethod
    def read(self, path: str, specs: Sequence[SourceSpec], *, split: str) -> RawRows:
        """Return the rows of a file as far as `specs` read them; `split` picks the part of a hub data set."""

    @abstractmethod
    def encoder(self, files: Sequence[RawRows]) -> Encoder:
        """Return what encodes rows that were parsed from `files`, which `read` gave."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return what a bundle's description says of the inputs, for readers that do not load it."""

    @abstractmethod
    def facts(self, specs: Sequence[SourceSpec]) -> Facts:
        """Return what a person should know of how the rows of `specs`, as they were read in training, are read."""


@dataclass
class Prepared:
    """The rows as read, what makes inputs of them, and the model's block as the backbone is to be made from it."""

    inputs: Inputs
    loaded: list[LoadedSource]
    model_config: Any
    warnings: list[str]
