"""What a configuration asks of the parts that it is made of, which it knows by no other name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from jenga.config.explain import Finding
from jenga.config.strict import Strict
from jenga.config.yaml12 import Document, KeyPath

if TYPE_CHECKING:
    from jenga.config.schema import ExperimentConfig


class ModalityChoices(Protocol):
    """A kind of rows that models read; `jenga.modalities.base.Modality` says what each of these is."""

    @property
    def noun(self) -> str: ...
    @property
    def settings(self) -> type[Strict]: ...
    @property
    def columns(self) -> type[Strict]: ...
    @property
    def keys(self) -> frozenset[str]: ...
    @property
    def words(self) -> bool: ...

    @property
    def by_row(self) -> bool: ...
    @property
    def frames(self) -> bool: ...
    @property
    def baselines(self) -> Mapping[str, Any]: ...

    def complete(self, model: dict[str, Any]) -> None:
        """Fill in what the unchecked block `model` says without naming it."""

    def checks(self, document: Document) -> Iterable[Finding]:
        """Return what the settings of a model of this modality contradict."""


class ShortForm(Protocol):
    """Another way to write an experiment; `data_paths`: where it names the files of rows."""

    @property
    def data_paths(self) -> tuple[KeyPath, ...]: ...

    def used_in(self, data: Any) -> bool:
        """Return whether the content of a document, which may be anything, is of this form."""

    def schema(self, experiment: type[ExperimentConfig]) -> type[Strict]:
        """Return the schema of this form of experiments of `experiment`."""

    def whole(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return valid content of this form as that of an experiment."""
