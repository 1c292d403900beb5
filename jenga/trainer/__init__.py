"""Training: the loop, its state on disk, and evaluation."""

from jenga.trainer.loop import Trainer

__all__ = ["Trainer"]
