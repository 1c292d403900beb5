"""A metric and which way it is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

KNOWN_DIRECTIONS: Mapping[str, bool] = {
    **dict.fromkeys(("accuracy", "auprc", "auroc", "bleu", "f1", "kappa", "macro_f1", "micro_f1", "precision"), True),
    **dict.fromkeys(("r2", "recall", "spearman", "token_accuracy", "weighted_f1"), True),
    **dict.fromkeys(("cer", "ece", "fpr", "loss", "mae", "mape", "mse", "perplexity", "rmse", "wer"), False),
}
"""Whether greater is better, of metrics whose whole name says what they are."""


@dataclass(frozen=True)
class Metric:
    """A metric of a head as its task declares it.

    `greater_is_better`: needed but for the names in `KNOWN_DIRECTIONS`; None: nobody has said.
    """

    name: str
    greater_is_better: bool | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.greater_is_better is None:
            object.__setattr__(self, "greater_is_better", KNOWN_DIRECTIONS.get(self.name))
