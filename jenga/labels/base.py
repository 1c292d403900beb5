"""What every kind of label is, and the registry of kinds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from jenga.config.tasks import HeadConfig
from jenga.labels.cells import CellReader as CellReader  # handed on to kinds of others
from jenga.labels.certain import Additive, Evidence, Unlike
from jenga.labels.metric import Metric
from jenga.labels.shapes import ANYTHING, Shape
from jenga.labels.thresholds import ThresholdRule
from jenga.registry import Registry
from jenga.types import HeadSpace

if TYPE_CHECKING:
    from jenga.labels.column import HeadColumn

Span = tuple[int, int]
"""The first character of a word, and the one after its last."""
Answers = list[dict[str, Any]]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Moments:
    """What an encoder makes of M rows, whose positions are moments.

    `counts`: positions of each, int64 (M,). `seconds`: of a position. `truncated`: which rows are not read to their
    end, bool (M,).
    """

    counts: NDArray[np.int64]
    seconds: float
    truncated: Mask


class Errors(NamedTuple):
    """How wrong answers are: `sizes` float64 ``(M,)``, 0 where one is right, or the row has no label.

    `name`: what is measured, for the head of a column. `distance`: every answer is off by some, and none simply right.
    """

    name: str
    sizes: NDArray[np.float64]
    distance: bool = False


class Plausible(NamedTuple):
    """What may be true of M rows, as people and programs read it, and how large each set or interval is, ``(M, D)``."""

    answers: Answers
    sizes: NDArray[np.float64]


class Question(NamedTuple):
    """One thing that each of M rows is labelled with, for models that answer one thing.

    `name`: of the item or number, "" where it is the head itself. `classes`: the names of the K possible labels; () of
    a number. `answers`: int64 ``(M,)``, 0 to K - 1, -100 where missing; float64, NaN where missing, of a number.
    """

    name: str
    classes: tuple[str, ...]
    answers: NDArray[Any]


class Reader(Protocol):
    """Reads the cells of one head. `notes` counts what it repaired, by the sentence that tells of it, with ``{}``.

    `unseen` counts labels that no training row has, by their words in messages; `unseen_do`: what they do to scores.
    """

    where: str
    notes: Counter[str]
    unseen: Counter[str]
    unseen_do: str

    def read(self, value: Any, text: str, words: Sequence[Span]) -> Any:
        """Return the label in a cell, a missing one included; `words` of `text` are there where a head labels words.

        Raises RowError.
        """

    def by_space(self, value: Any) -> bool:
        """Return whether a cell labels each word of a text, and takes words to be parted by spaces."""

    def stack(self, codes: Sequence[Any]) -> Any:
        """Return what `read` gave for M rows as one column, with M entries."""


class Tokens(Protocol):
    """A text's tokens, on which labels of words are laid."""

    def spread(self, by_word: Sequence[NDArray[np.int64]], fill: int) -> NDArray[np.int64]:
        """Put the value of each word of each row on the word's first token, and `fill` on every other one."""

    def padded(self, by_token: NDArray[np.int64], index: Sequence[int], fill: int) -> torch.Tensor:
        """Return ``(B, T)`` of the rows at `index`, with `fill` behind the shorter ones."""

    def words(self, row: int) -> NDArray[np.int32]:
        """Return the first token of each word of `row`, ``(W,)``, -1 where it has none."""


class Encoding(Protocol):
    """Rows as a backbone reads them, as far as labels are laid on them; `tokens`: None where rows are no texts."""

    @property
    def tokens(self) -> Tokens | None:
        """The tokens of the rows."""

    def next_tokens(self, index: Sequence[int]) -> torch.Tensor:
        """Return the token to predict behind each token of the rows at `index`, ``(B, T)``."""


class Texts(Protocol):
    """Rows with a text and, where some head labels them, its words."""

    @property
    def texts(self) -> Sequence[str]:
        """The text of each row."""

    @property
    def words(self) -> Sequence[list[Span]] | None:
        """The words of each text."""


class Estimators(Protocol):
    """Simple models of a library that a baseline is made of; each is called with features to fit and to answer.

    Targets have no missing ones among them; features may be anything that is indexed by rows.
    """

    def classes(self, train: Any, targets: NDArray[np.int64], test: Any) -> NDArray[np.int64]:
        """Return the class of each test row."""

    def numbers(self, train: Any, targets: NDArray[np.float64], test: Any) -> NDArray[np.float64]:
        """Return a number for each test row."""


class LabelKind(ABC):
    """How labels of one kind are found in rows, read, laid in batches, judged, written as answers, given a baseline.

    `block`: the settings that a head of this kind has. `metrics`: what `judge` may return, the one that stands for a
    head first. `loss`: by `multi_head_loss`; None: the task brings its own. `noun`: what its labels are called in
    messages. `per_word`: each word of a text has a label. `from_text`: the labels are the row's own text, in no column
    of their own, and are judged by their loss. `strata`: a split keeps the shares of its labels. `hub_task`: what the
    Hugging Face hub calls a task of them, with ``{}`` for what is read (`Modality.hub_noun`); empty: it has no name.

    Targets are the column that `Reader.stack` made, with M rows: -100 or NaN where a label is missing.
    """

    block: ClassVar[type[HeadConfig]] = HeadConfig
    metrics: ClassVar[tuple[Metric, ...]]
    loss: ClassVar[Literal["ce", "bce", "mse"] | None] = None
    noun: ClassVar[str] = "labels"
    per_word: ClassVar[bool] = False
    from_text: ClassVar[bool] = False
    strata: ClassVar[bool] = False
    hub_task: ClassVar[str] = ""

    # ------------------------------------------------------------------------------------------- finding and reading

    def columns(self, head: str) -> tuple[str, ...]:
        """Return the columns in which labels of this kind stand of old, beside those that any kind is looked for in."""
        return ()

    @abstractmethod
    def settle(self, column: HeadColumn, cells: Sequence[Any]) -> tuple[HeadColumn, list[str]]:
        """Return `column` with its reading decided by the training cells that are not null, and what to tell of it."""

    @abstractmethod
    def infer(self, column: HeadColumn, values: Sequence[Any], *, max_bad_fraction: float) -> tuple[str, ...]:
        """Return the labels that `values`, those of the training rows, hold; () where none has a form of this kind.

        A few rows, at most `max_bad_fraction`, may be mistakes. Raises DataError where they contradict `column`.
        """

    @abstractmethod
    def reader(self, column: HeadColumn, space: HeadSpace) -> Reader:
        """Return what reads the cells of a head."""

    # --------------------------------------------------------------------------------------------------- whole columns

    @abstractmethod
    def labelled(self, space: HeadSpace, targets: Any) -> Mask:
        """Return which rows, ``(M,)``, have a label."""

    def known(self, space: HeadSpace, targets: Any) -> Mask:
        """Return which rows, ``(M,)``, have a label that training rows have; default: all that have one."""
        return self.labelled(space, targets)

    def counts(self, space: HeadSpace, targets: Any) -> NDArray[np.int64] | None:
        """Return how many times each label occurs, ``(K,)``; None where labels are no names."""
        return None

    def balanced(self, space: HeadSpace, targets: Any) -> dict[str, list[float]]:
        """Return what ``balanced`` stands for, by key of a head, for its training rows."""
        return {}

    def expected(self, space: HeadSpace) -> Mask:
        """Return which labels, ``(K,)``, training rows ought to hold."""
        return np.ones(space.size, bool)

    def names(self, space: HeadSpace) -> Sequence[str]:
        """Return the names that people give the labels."""
        return space.labels

    def fitting(self, targets: Any, moments: Moments) -> tuple[Any, Mapping[str, Mask]]:
        """Return `targets` without those that cannot be learnt of the `moments` that an encoder makes of their rows.

        And which rows these are, ``(M,)``, by the reason, which ends "n of m rows ...". Default: all can be learnt.
        """
        return targets, {}

    # ---------------------------------------------------------------------------------------------------------- batches

    def batches(self, targets: Any, encoding: Encoding) -> Callable[[Sequence[int]], torch.Tensor]:
        """Return what makes the targets of a batch from the numbers of its rows, of which `encoding` is made."""
        return lambda index: torch.from_numpy(targets[list(index)])

    # ---------------------------------------------------------------------------------------------------------- answers

    @abstractmethod
    def predict(self, logits: torch.Tensor, threshold: NDArray[np.float64] | float) -> NDArray[Any]:
        """Return predictions, shaped as targets are, of logits ``(M, K)``.

        Of a kind that is per word, M are the words of one row. threshold: of a probability, one or ``(K,)``.
        """

    def scores(self, logits: torch.Tensor) -> NDArray[np.float64] | None:
        """Return what ranks rows, float64, by their logits ``(M, K)``; None where predictions say all."""
        return None

    def tuned(self, scores: NDArray[np.float64], targets: Any) -> NDArray[np.float64] | None:
        """Return the thresholds ``(K,)`` that are best for `scores` of rows; None where there are none to tune."""
        return None

    def untuned(self, space: HeadSpace, threshold: float) -> NDArray[np.float64] | None:
        """Return `threshold` for each label, ``(K,)``; None where there are none."""
        return None

    def chosen(
        self, space: HeadSpace, scores: NDArray[np.float64], targets: Any, rule: ThresholdRule
    ) -> tuple[NDArray[np.float64], list[str]] | None:
        """Return the thresholds ``(K,)`` that `rule` asks for, and what it cannot have; None where there are none."""
        return None

    def conditions(self, space: HeadSpace) -> frozenset[str]:
        """Return what a policy's rule may ask of an answer: ``label``, ``probability``, ``value``; default: nothing."""
        return frozenset()

    @abstractmethod
    def decode(
        self, space: HeadSpace, predictions: Any, logits: Sequence[torch.Tensor], rows: Texts, *,
        as_words: Sequence[bool], probabilities: bool,
    ) -> Answers:  # fmt: skip
        """Return each row's answer as people and programs read it; arguments as of `BaseTask.answers`."""

    def shape(self, space: HeadSpace) -> Shape:
        """Return the JSON schema of what `decode` gives of a row; default: of anything."""
        return ANYTHING

    # -------------------------------------------------------------------------------------------------------- certainty

    def evidence(self, space: HeadSpace, logits: Sequence[torch.Tensor], targets: Any) -> Evidence | None:
        """Return logits beside what is right, of a kind whose logits stand for probabilities; default: None, of none.

        logits: each row's, as in `decode`.
        """
        return None

    def strangeness(
        self, space: HeadSpace, predictions: Any, logits: Sequence[torch.Tensor], targets: Any
    ) -> NDArray[np.float64] | None:
        """Return how strange the label of each row is beside its answer, ``(M, D)``, NaN where it has none.

        Infinite where no set can hold it. None where the kind has no sets of labels, or intervals, that are plausible
        for a row.
        """
        return None

    def plausible(
        self, space: HeadSpace, predictions: Any, logits: Sequence[torch.Tensor], limits: Sequence[float]
    ) -> Plausible:
        """Return what is no stranger for each row than `limits` ``(D,)``; of a kind that has `strangeness`."""
        raise TypeError(f"{type(self).__name__} has no sets of labels")

    def unlikeness(self, space: HeadSpace, logits: Sequence[torch.Tensor], score: Unlike) -> NDArray[np.float64] | None:
        """Return how little each row looks like what the head has learnt, ``(M,)``; None of a kind that cannot tell.

        logits: those of the model, not calibrated. score: how it is told.
        """
        return None

    def additive(self, space: HeadSpace, predictions: Any, targets: Any) -> Additive | None:
        """Return the metrics of the labelled rows as functions of sums over them; default: None, none is one."""
        return None

    # ---------------------------------------------------------------------------------------------------------- judging

    @abstractmethod
    def judge(self, space: HeadSpace, predictions: Any, targets: Any) -> dict[str, float]:
        """Return the metrics of rows of which some have a label; what is undefined is left out."""

    @abstractmethod
    def details(self, space: HeadSpace, predictions: Any, targets: Any) -> dict[str, Any]:
        """Return tables of rows of which some have a label, ready for JSON, ``warnings`` (sentences) among them."""

    def errors(self, space: HeadSpace, predictions: Any, targets: Any, logits: Sequence[torch.Tensor]) -> Errors | None:
        """Return how wrong the answer to each row is, by which a report picks what it shows; default: None, of none."""
        return None

    def curves(self, space: HeadSpace, targets: Any, logits: Sequence[torch.Tensor]) -> dict[str, Any] | None:
        """Return how rows are ranked and how far probabilities can be believed, as `jenga.labels.curves` has it.

        None, the default: answers have no probabilities, or no row is labelled.
        """
        return None

    def said(self, logits: torch.Tensor) -> torch.Tensor | None:
        """Return what stands for the answers of rows, ``(M,)``, of logits ``(M, K)`` with a gradient.

        The more it is, the surer the answer. None, the default: no one number stands for it.
        """
        return None

    def spans(self, space: HeadSpace, labels: Any, rows: Texts) -> list[list[tuple[int, int, str]]] | None:
        """Return the parts of each row's text that `labels` name: first character, the one after the last, and name.

        None, the default: labels are not of parts of a text.
        """
        return None

    def written(self, space: HeadSpace, labels: Any, rows: Texts) -> list[str]:
        """Return each row's label, a target or a prediction, in words; of a kind that has `errors`."""
        raise TypeError(f"{type(self).__name__} does not write its labels in words")

    def agreement(self, predictions: Any, targets: Any) -> float | None:
        """Return chance-corrected agreement, -1 to 1, with people; None where the kind has none, or it is undefined."""
        return None

    def points(self, size: int) -> NDArray[np.float64]:
        """Return what each of K labels counts in a score where nothing else is said."""
        raise TypeError(f"{type(self).__name__} has no score")

    def reached(
        self, points: NDArray[np.float64], values: NDArray[Any], applicable: Mask
    ) -> tuple[NDArray[np.float64], float]:
        """Return the share of `points` that each row reaches, NaN where none applies, and how many there are in all."""
        raise TypeError(f"{type(self).__name__} has no score")

    # --------------------------------------------------------------------------------------------- teachers, baselines

    def distilled(
        self, student: torch.Tensor, teacher: torch.Tensor,
        divergence: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:  # fmt: skip
        """Return the loss ``()`` of a head's logits beside a teacher's, a mean over rows.

        divergence: of the distributions of logits ``(..., K)``, ``(...)``.
        """
        raise TypeError(f"{type(self).__name__} is not taught by a teacher's logits")

    def questions(self, space: HeadSpace, targets: Any) -> list[Question]:
        """Return what the labels of rows answer, one by one; default: nothing, of labels of parts of a row."""
        return []

    @abstractmethod
    def majority(self, space: HeadSpace, train: Any, test: Any) -> Any:
        """Return for every test row what is most frequent in the labelled training rows; both are targets."""

    def learnt(self, space: HeadSpace, features: tuple[Any, Any], targets: Any, estimators: Estimators) -> Any:
        """Return predictions for test rows by simple models; None where the kind has no such baseline.

        features: of train and test rows; targets: of train.
        """
        return None


LABEL_KINDS: Registry[LabelKind] = Registry("kind of label", entry_point_group="jenga.label_kinds")


def kind_named(name: str) -> LabelKind:
    """Return the kind of label that is registered as `name`. Raises KeyError where there is none."""
    LABEL_KINDS.load_entry_points()
    return LABEL_KINDS[name]()
