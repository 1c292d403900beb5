"""Taking back a turn before its step is taken, and going back to a checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from jenga.callbacks.chain import Asked, Chain
from jenga.errors import DivergedError
from jenga.files import link_folder
from jenga.processes import Processes
from jenga.trainer import checkpoint
from jenga.trainer.learner import Learner
from jenga.trainer.run import RunFolder

logger = logging.getLogger(__name__)


class BeforeTurn:
    """What a turn changes before its step is taken: random states, buffers, the loss scale, memories of callbacks.

    Weights and optimizer stay as they are until then; the gradients and the losses are dropped by whoever took them.
    """

    def __init__(self, learner: Learner, chain: Chain) -> None:
        self._learner = learner
        self._random = checkpoint.random_state()
        # Those that stand in checkpoints: what else a forward pass changes, a resumed run does not know either.
        self._buffers = [(buffer, buffer.clone()) for buffer in learner.lasting_buffers()]
        scaler = learner.accelerator.scaler
        self._scale = None if scaler is None else scaler.state_dict()
        self._memories = chain.before_turn()

    @torch.no_grad()
    def take_back(self) -> None:
        """Let all be as it was."""
        for buffer, before in self._buffers:
            buffer.copy_(before)
        scaler = self._learner.accelerator.scaler
        if scaler is not None and self._scale is not None:
            scaler.load_state_dict(self._scale)
        for callback, memory in self._memories:
            if memory is not None:
                callback.load_state_dict(memory)
        checkpoint.set_random_state(*self._random)


def go_back_to(run: RunFolder, asked: Asked, before: int, processes: Processes) -> Path:
    """Make the checkpoint that `asked` is for the newest one of `run`, and return its folder; all processes ask for it.

    It is that of step `before` or an earlier one. Raises DivergedError where there is none.
    """
    folder = processes.from_first(_made_newest(run, asked, before) if processes.first else None)
    assert folder is not None
    return folder


def _made_newest(run: RunFolder, asked: Asked, before: int) -> Path:
    checkpoint.forget_after(run.checkpoints, before)
    if asked.back is None:
        folder = checkpoint.newest_checkpoint(run.checkpoints)
        if folder is None:
            raise DivergedError(
                f"step {before + 1}: {asked.by} asked to go back, and there is no checkpoint yet; save one with "
                "trainer.save() in on_train_begin, or set checkpoint.every_steps"
            )
        return folder
    step = checkpoint.step_of(asked.back.checkpoint)
    if step > before:
        raise DivergedError(f"step {before + 1}: {asked.by} asked to go back to step {step}, which is no earlier one")
    logger.warning("step %d: %s asked to go back to step %d", before + 1, asked.by, step)
    folder = checkpoint.checkpoint_folder(run.checkpoints, step)
    if not folder.exists():
        link_folder(asked.back.checkpoint, folder)
    # In this order: whatever ends the process in between, a resumed run has a best model from no later step.
    run.put_best(None)
    checkpoint.forget_after(run.checkpoints, step)
    run.put_best(asked.back.best)
    return folder
