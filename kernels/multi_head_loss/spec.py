"""What a head's loss is, and what the op returns."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

HeadKind = Literal["ce", "bce", "mse", "focal", "soft"]
KINDS: tuple[HeadKind, ...] = get_args(HeadKind)
CLASS_KINDS: tuple[HeadKind, ...] = ("ce", "focal", "soft")
"""Kinds that choose one class a row: their predictions are int64 (M,)."""
LABEL_KINDS: tuple[HeadKind, ...] = ("ce", "focal")
"""Kinds whose targets are class indices; the others take floats."""
IGNORED_LABEL = -100
DEFAULT_GAMMA = 2.0


# eq=False: comparing tensors field by field has no single truth value.
@dataclass(frozen=True, eq=False)
class HeadSpec:
    """One head of `multi_head_loss`.

    Args:
        kind: `"ce"`, cross-entropy over `size` classes; `"focal"`, the same weighted by (1 - p)^gamma; `"soft"`,
            cross-entropy with probabilities of the classes as targets; `"bce"`, `size` independent binary labels;
            `"mse"`, squared error of `size` values.
        size: outputs of the head (K), at least 1.
        class_weight: (K,) floating, for `ce`, `focal` and `soft`: the weight of each class, as in `F.cross_entropy`.
        pos_weight: (K,) floating, for `bce` only: the weight of positive labels, as in
            `F.binary_cross_entropy_with_logits`.
        label_smoothing: in [0, 1], for `ce` and `soft`, as in `F.cross_entropy` (Szegedy et al. 2016, section 7).
        gamma: 0 or more, for `focal` only; None for 2 (Lin et al. 2017, equation 5). 0 gives `ce`.
        task: the id that `rows` holds where a row belongs to this head; None for the head's place among the heads.
            Read in routed mode only.

    Raises:
        ValueError: an unknown kind, a size below 1, a weight of another shape or for another kind, a
            label_smoothing outside [0, 1], a gamma that is negative or not finite, either for another kind, or a task
            that is no integer.
    """

    kind: HeadKind
    size: int
    class_weight: Tensor | None = None
    pos_weight: Tensor | None = None
    label_smoothing: float = 0.0
    gamma: float | None = None
    task: int | None = None
    # Read for every head of every step, hence no properties: a cached one is nothing that torch.compile can trace.
    label_weight: Tensor | None = field(init=False, repr=False)
    """(K,): `pos_weight` of a bce head, `class_weight` of any other; None for all ones."""
    parameter: float = field(init=False, repr=False)
    """The one number of the head's loss: gamma of a focal head, label_smoothing of ce and soft, else 0."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"HeadSpec.kind: got {self.kind!r}; allowed: {', '.join(KINDS)}")
        if self.size < 1:
            raise ValueError(f"HeadSpec.size: got {self.size}; allowed: 1 or more")
        self._check_weight("class_weight", self.class_weight, CLASS_KINDS)
        self._check_weight("pos_weight", self.pos_weight, ("bce",))
        if not 0.0 <= self.label_smoothing <= 1.0:
            raise ValueError(f"HeadSpec.label_smoothing: got {self.label_smoothing}; allowed: 0 to 1")
        if self.label_smoothing:
            self._check_kind("label_smoothing", ("ce", "soft"))
        if self.gamma is not None:
            self._check_kind("gamma", ("focal",))
            if not (self.gamma >= 0.0 and math.isfinite(self.gamma)):
                raise ValueError(f"HeadSpec.gamma: got {self.gamma}; allowed: 0 or more, finite")
        if self.task is not None and (isinstance(self.task, bool) or not isinstance(self.task, int)):
            raise ValueError(f"HeadSpec.task: got {self.task!r}; allowed: an integer, or None for the head's place")
        object.__setattr__(self, "label_weight", self.pos_weight if self.kind == "bce" else self.class_weight)
        gamma = DEFAULT_GAMMA if self.gamma is None else self.gamma
        object.__setattr__(self, "parameter", gamma if self.kind == "focal" else self.label_smoothing)

    def _check_kind(self, name: str, kinds: tuple[HeadKind, ...]) -> None:
        if self.kind not in kinds:
            raise ValueError(f"HeadSpec.{name}: only a {' or '.join(kinds)} head takes it; this head is {self.kind}")

    def _check_weight(self, name: str, weight: Tensor | None, kinds: tuple[HeadKind, ...]) -> None:
        if weight is None:
            return
        self._check_kind(name, kinds)
        if weight.shape != (self.size,) or not weight.is_floating_point():
            raise ValueError(
                f"HeadSpec.{name}: got shape {tuple(weight.shape)}, {weight.dtype}; allowed: ({self.size},), floating"
            )


def head_tasks(heads: Sequence[HeadSpec]) -> list[int]:
    """The task id of each head: its own, or its place among the heads."""
    return [place if head.task is None else head.task for place, head in enumerate(heads)]


class MultiHeadLoss(NamedTuple):
    """What `multi_head_loss` returns, for N heads over M rows.

    Attributes:
        loss_sum: (N,) float32 (float64 for float64 logits), each head's loss summed over its unmasked labels;
            differentiable. 0 for a head with every label masked.
        count: (N,) float32, each head's unmasked labels: rows for ce, focal and soft, elements for bce and mse.
        predictions: for each head int64 (M,) argmax (ce, focal, soft), bool (M, K) logit > 0 (bce), or (M, K) values
            in the logits' dtype (mse). Masked rows are predicted too; in routed mode rows of other tasks are not, and
            hold -100, False or NaN. Not differentiable.
        logits: (M, sum K), what the losses are of. Not differentiable.
    """

    loss_sum: Tensor
    count: Tensor  # type: ignore[assignment]  # hides tuple.count, which nobody asks of three tensors
    predictions: list[Tensor]
    logits: Tensor

    def mean(self, head_weight: Tensor | None = None) -> Tensor:
        """Sum over heads of weight x mean loss, (): a head without a label adds 0.

        head_weight: (N,), in the dtype of `loss_sum`; None for all ones. Differentiable, the weights included.
        """
        count = self.count.clamp_min(1)
        if count.dtype != self.loss_sum.dtype:
            count = count.to(self.loss_sum.dtype)
        # Not `@`, which autocast would run in half precision.
        return torch.dot(self.loss_sum, count.reciprocal() if head_weight is None else head_weight / count)
