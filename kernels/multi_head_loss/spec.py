"""What a head's loss is, and what the op returns."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from torch import Tensor

HeadKind = Literal["ce", "bce", "mse"]
KINDS: tuple[HeadKind, ...] = get_args(HeadKind)
IGNORED_LABEL = -100


# eq=False: comparing tensors field by field has no single truth value.
@dataclass(frozen=True, eq=False)
class HeadSpec:
    """One head of `multi_head_loss`.

    Args:
        kind: `"ce"`, cross-entropy over `size` classes; `"bce"`, `size` independent binary labels; `"mse"`, squared
            error of `size` values.
        size: outputs of the head (K), at least 1.
        class_weight: (K,) floating, for `ce` only: the weight of each class, as in `F.cross_entropy`.
        pos_weight: (K,) floating, for `bce` only: the weight of positive labels, as in
            `F.binary_cross_entropy_with_logits`.
        label_smoothing: in [0, 1], for `ce` only, as in `F.cross_entropy` (Szegedy et al. 2016, section 7).

    Raises:
        ValueError: an unknown kind, a size below 1, a weight of another shape or for another kind, or a
            label_smoothing outside [0, 1] or for another kind.
    """

    kind: HeadKind
    size: int
    class_weight: Tensor | None = None
    pos_weight: Tensor | None = None
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"HeadSpec.kind: got {self.kind!r}; allowed: {', '.join(KINDS)}")
        if self.size < 1:
            raise ValueError(f"HeadSpec.size: got {self.size}; allowed: 1 or more")
        self._check_weight("class_weight", self.class_weight, "ce")
        self._check_weight("pos_weight", self.pos_weight, "bce")
        if not 0.0 <= self.label_smoothing <= 1.0:
            raise ValueError(f"HeadSpec.label_smoothing: got {self.label_smoothing}; allowed: 0 to 1")
        if self.label_smoothing and self.kind != "ce":
            raise ValueError(f"HeadSpec.label_smoothing: only a ce head takes it; this head is {self.kind}")

    def _check_weight(self, name: str, weight: Tensor | None, kind: HeadKind) -> None:
        if weight is None:
            return
        if self.kind != kind:
            raise ValueError(f"HeadSpec.{name}: only a {kind} head takes it; this head is {self.kind}")
        if weight.shape != (self.size,) or not weight.is_floating_point():
            raise ValueError(
                f"HeadSpec.{name}: got shape {tuple(weight.shape)}, {weight.dtype}; allowed: ({self.size},), floating"
            )

    @property
    def label_weight(self) -> Tensor | None:
        """(K,): `class_weight` of a ce head, `pos_weight` of a bce head; None for all ones."""
        return self.class_weight if self.kind == "ce" else self.pos_weight


class MultiHeadLoss(NamedTuple):
    """What `multi_head_loss` returns, for N heads over M rows.

    Attributes:
        loss_sum: (N,) float32 (float64 for float64 logits), each head's loss summed over its unmasked labels;
            differentiable. 0 for a head with every label masked.
        count: (N,) float32, each head's unmasked labels: rows for ce, elements for bce and mse.
        predictions: for each head int64 (M,) argmax (ce), bool (M, K) logit > 0 (bce), or (M, K) values in the
            logits' dtype (mse). Masked rows are predicted too. Not differentiable.
    """

    loss_sum: Tensor
    count: Tensor  # type: ignore[assignment]  # hides tuple.count, which nobody asks of three tensors
    predictions: list[Tensor]
