"""The losses and predictions of all heads that read one hidden state: one GEMM, one pass over the logits."""

from .op import multi_head_loss
from .spec import HeadSpec, MultiHeadLoss

__all__ = ["HeadSpec", "MultiHeadLoss", "multi_head_loss"]
