"""Cross-entropy of a linear layer over a large vocabulary, chunked: the logits of all rows are never held."""

from .op import linear_cross_entropy

__all__ = ["linear_cross_entropy"]
