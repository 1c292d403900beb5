"""Jenga's own training of a configuration, for benchmarks of whole steps."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jenga.callbacks.configured import named_callbacks
from jenga.run.build import Experiment, build
from jenga.run.experiment import load_config, make_accelerator
from jenga.trainer import Trainer
from jenga.trainer.run import RunFolder


def experiment_of(settings: Mapping[str, Any], folder: Path) -> Experiment:
    """The experiment of a configuration, whose files are made in `folder`."""
    return build(load_config({"output_dir": str(folder / "runs"), **settings}), folder)


def trainer_of(experiment: Experiment, folder: Path) -> Trainer:
    """The trainer as the command line makes it, with the callbacks that are configured; its run is in `folder`."""
    run = RunFolder.create(folder / "runs", "bench", {"digest": "bench"})
    run.release()  # nobody else looks for it
    return Trainer(
        experiment.bundle.model,
        experiment.sources,
        experiment.bundle.config,
        run=run,
        accelerator=make_accelerator("fp32", "cpu"),
        callbacks=named_callbacks(experiment.bundle.config),
        write_best=lambda path: None,
        workers=experiment.workers,
    )


@contextmanager
def steps_of(settings: Mapping[str, Any], folder: Path) -> Iterator[Callable[[], object]]:
    """Yield what takes the next step of training at each call; its worker processes end with it.

    Only steps of full batches are taken. Files are made in `folder`.
    """
    trainer = trainer_of(experiment_of(settings, folder), folder)
    turns = [turn for epoch in range(20) for turn in trainer.sampler.epoch(epoch)]
    most = max(len(turn.rows) for turn in turns)
    turns = [turn for turn in turns if len(turn.rows) == most]
    coming = iter(turns)
    with trainer.feed:
        trainer.feed.begin(lambda: ((0, turn) for turn in turns))
        yield lambda: trainer.step(next(coming))
