"""A whole experiment: from a configuration to a finished run folder."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.state import AcceleratorState
from rich.console import Console

from jenga.balance import make_balance
from jenga.bundle import Bundle, modality_for, schema
from jenga.callbacks import BaseCallback
from jenga.callbacks.base import Outcome
from jenga.callbacks.chain import Chain
from jenga.callbacks.configured import beside_callbacks, configured_callbacks
from jenga.config.load import from_mapping, load
from jenga.config.render import config_digest
from jenga.config.schema import ExperimentConfig
from jenga.config.training import resolved
from jenga.continual.methods import check_stages, continual_callbacks
from jenga.errors import ConfigError, DataError, InterruptedRun, SetupError
from jenga.files import copy_folder, write_atomic
from jenga.labels import kind_named
from jenga.launched import end_with_launcher, launch_id, restarted, size
from jenga.modalities import MODALITIES
from jenga.processes import Processes, meeting
from jenga.report.baselines import baselines
from jenga.report.card import write_card
from jenga.report.errors import write_errors
from jenga.report.html import write_report
from jenga.rows.fingerprint import Fingerprint, changes
from jenga.rows.split import TRAIN
from jenga.run.build import Experiment, build
from jenga.run.describe import describe, resolved_of, steps_of
from jenga.run.precision import AUTO, precision_of, with_precision
from jenga.run.resume import find_run, record
from jenga.trainer import Trainer
from jenga.trainer.answers import add_answers
from jenga.trainer.calibrate import calibrate
from jenga.trainer.certain import add_certainty, settle
from jenga.trainer.checkpoint import forget_harmed_best, newest_checkpoint
from jenga.trainer.directions import metric_directions
from jenga.trainer.evaluate import Runner, SplitResult, choose_device, describe_split
from jenga.trainer.optim import Maker, all_groups
from jenga.trainer.recipe import evaluation_batch_sizes, evaluation_batch_tokens, trainings_of
from jenga.trainer.rehearse import rehearse
from jenga.trainer.run import RunFolder, SeenRun
from jenga.trainer.shards import check_layers
from jenga.trainer.slices import check_slices
from jenga.trainer.together import check_balance, check_chain, check_shards
from jenga.trainer.worst import add_worst, rows_apart

logger = logging.getLogger(__name__)

WAIT_S = 1800.0
"""How long a process waits for another one of the run in training. One that has ended is noticed at once."""
_READING = 12
"""Times as long others wait for the first one, which reads and makes all that they need."""


@dataclass
class Result:
    """A finished run: its folder, ``evaluation.json``, and the metrics of valid (``eval_``) and test (``test_``)."""

    run: Path
    evaluation: dict[str, Any]
    metrics: dict[str, float]


def load_config(
    config: ExperimentConfig | str | os.PathLike[str] | Mapping[str, Any], overrides: Sequence[str] = ()
) -> ExperimentConfig:
    """Return the resolved experiment in a YAML file or a mapping, with ``key=value`` overrides."""
    if isinstance(config, ExperimentConfig):
        if overrides:
            raise ConfigError("overrides need a file or a mapping; this configuration is resolved already")
        return config
    if isinstance(config, Mapping):
        return from_mapping(config, schema=schema(), overrides=overrides)
    return load(config, schema=schema(), overrides=overrides)


def train(
    config: ExperimentConfig | str | os.PathLike[str] | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    callbacks: Sequence[BaseCallback] = (),
    device: str = "auto",
    resume: str | None = None,
    changed_rows: bool = False,
    folder: str | os.PathLike[str] | None = None,
    wait_s: float = WAIT_S,
    console: Console | None = None,
) -> Result:
    """Run an experiment to its end and return where its results are.

    resume: ``auto`` goes on with the newest unfinished run of the same configuration (and starts one if there is none);
    a run's folder goes on with that run. changed_rows: go on though its rows are no longer those that it began with,
    which DataError tells otherwise. folder: of a new run, in place of one named by the time. console: where progress is
    shown; default: nowhere. Where a launcher has started several processes, which share each step's rows, all call
    this, and the first one's result alone has an evaluation: the others return once training is done. Each waits for
    the others for `wait_s` seconds at most, twelve times as long for the first one to read the rows.
    Raises a `JengaError` for whatever a user can mend.
    """
    console = console or Console(quiet=True)
    config = load_config(config, overrides)
    end_with_launcher()
    accelerator = make_accelerator(config.training.precision, device, wait_s=wait_s)
    processes = Processes.of_run(accelerator.device)
    processes.wait_at_most(_READING * wait_s)
    check_shards(config.training, processes)
    run = _found(config, resume, processes)
    try:
        resumed = run
        precision = precision_of(config, run, processes, console)
        if config.training.precision == AUTO:
            accelerator = make_accelerator(precision, device, wait_s=wait_s)
        own = configured_callbacks(config, console) if processes.first else beside_callbacks(config)
        chain = Chain([*own, *callbacks])
        experiment, run = _open(config, run, folder, processes, console, chain, precision)
        if resumed is not None:
            _check_rows(run, experiment.fingerprint, accepted=changed_rows)
        processes.wait_at_most(wait_s)
        return _carry_out(config, experiment, run, accelerator, chain, console)
    finally:
        if run is not None:
            run.release()


def _found(config: ExperimentConfig, resume: str | None, processes: Processes) -> RunFolder | None:
    """Return the run to go on with, which the first process holds; None: a new one is asked for."""
    run = None
    if processes.first:
        if restarted() and launch_id() is None:
            resume = resume or "auto"  # torchrun's own restart: nothing tells its run from an older one
        run = find_run(config, resume, launch=launch_id() if restarted() else None)
    path = processes.from_first(None if run is None else str(run.path))
    return run if processes.first or path is None else SeenRun(Path(path))


def _open(
    config: ExperimentConfig,
    run: RunFolder | None,
    folder: str | os.PathLike[str] | None,
    processes: Processes,
    console: Console,
    chain: Chain,
    precision: str,
) -> tuple[Experiment, RunFolder]:
    """Build the experiment in `run`; in a new one where it is None, made only once nothing is wrong.

    Other processes wait for the first one, whose run has the tokenizer and the encoder that are made of rows.
    """
    device = processes.device
    given = config
    config = with_precision(config, precision)
    if not processes.first:
        seen = SeenRun(Path(processes.from_first("")))
        return build(config, seen.path, device=device), seen

    def tell(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True)

    if run is not None:
        experiment = build(config, run.path, device=device, tell=tell)
        run.update(**_resolved(config, experiment))
        processes.from_first(str(run.path))
        return experiment, run
    with tempfile.TemporaryDirectory(prefix="jenga-") as scratch:
        experiment = build(config, Path(scratch), device=device, tell=tell)
        metric_directions(config.evaluation, experiment.bundle.model, experiment.sources)
        check_slices(experiment.bundle.config.evaluation, experiment.sources)
        check_stages(experiment.bundle.config, experiment.bundle.model, experiment.sources)
        training = resolved(experiment.bundle.config.training)
        model, make = experiment.bundle.model, Maker(training, chain)
        balance = make_balance(training.loss_balance, list(model.tasks))
        groups, names = all_groups(model, balance, trainings_of(experiment.bundle.config))
        rehearse(groups, names, training, torch.device("cpu"), make=make, total_steps=steps_of(experiment))
        check_chain(chain, processes)
        if training.fsdp:
            check_layers(model)
        check_balance(balance, training)
        run = _new_run(given, folder)
        try:
            run.update(precision=precision)
            run.update(**_resolved(config, experiment))
            for made in Path(scratch).rglob("preset"):
                copy_folder(made, run.path / made.relative_to(scratch))
        except BaseException:
            run.discard()
            raise
    processes.from_first(str(run.path))
    return experiment, run


def _resolved(config: ExperimentConfig, experiment: Experiment) -> dict[str, str]:
    resolved = resolved_of(config, experiment)
    return {"resolved_digest": config_digest(resolved), "metric": resolved.evaluation.metric}


def _new_run(config: ExperimentConfig, folder: str | os.PathLike[str] | None) -> RunFolder:
    if folder is None:
        return RunFolder.create(Path(config.output_dir), str(config.project_name), record(config))
    try:
        return RunFolder.make(Path(folder), record(config))
    except FileExistsError:
        raise ConfigError(f"folder: {folder} is there already; name another one, or resume it") from None


def _carry_out(
    config: ExperimentConfig,
    experiment: Experiment,
    run: RunFolder,
    accelerator: Accelerator,
    chain: Chain,
    console: Console,
) -> Result:
    bundle = experiment.bundle
    own = continual_callbacks(bundle.config, bundle.model, experiment.sources, accelerator)
    chain = Chain([*own, *chain.callbacks])
    outcome: Outcome = "failed"
    processes = Processes.of_run(accelerator.device)
    try:
        if processes.first:
            describe(run, config, experiment, accelerator, console)
        _train(experiment, run, accelerator, chain.callbacks)
        if not processes.first:
            outcome = "finished"
            return Result(run.path, {"splits": {}}, {})
        result = _finish(experiment, run, accelerator, console)
        chain.result(run.path, result.evaluation)
        run.update(status="finished")
        outcome = "finished"
    except BaseException as error:
        outcome = "interrupted" if isinstance(error, InterruptedRun | KeyboardInterrupt) else "failed"
        run.end(outcome, str(error) or type(error).__name__)
        raise
    finally:
        chain.close(outcome)
    return result


def make_accelerator(precision: str, device: str, *, wait_s: float = WAIT_S) -> Accelerator:
    """Return accelerate's view of the machine. Raises SetupError for a device that is not there.

    wait_s: how long processes of one run wait for one another to begin; LostProcessError names who did not.
    """
    chosen = choose_device(device)
    AcceleratorState._reset_state(reset_partial_state=True)
    if chosen.type == "cuda" and size() > 1 and int(os.environ.get("LOCAL_RANK", "0")) >= torch.cuda.device_count():
        raise SetupError(
            f"device: this machine has {torch.cuda.device_count()} GPUs; start one process for each at most"
        )
    limit = [InitProcessGroupKwargs(timeout=timedelta(seconds=wait_s))] if size() > 1 else []
    with meeting(wait_s):
        accelerator = Accelerator(
            cpu=chosen.type == "cpu",
            mixed_precision="no" if precision in ("fp32", AUTO) else precision,
            kwargs_handlers=limit,
        )
    if Processes.of_run(accelerator.device).size != size():
        raise SetupError(f"device: {chosen.type} cannot be used by several processes; start one, or use cpu")
    if precision == "fp16" and accelerator.device.type == "cpu":
        raise SetupError("training.precision: fp16 needs a GPU; on a CPU use bf16 or fp32")
    return accelerator


def _check_rows(run: RunFolder, found: Fingerprint, *, accepted: bool) -> None:
    """Refuse rows that are not those of `run`, which would judge it by what it was trained on; accepted: warn."""
    known = run.info().get("fingerprint")
    changed = changes(known, found) if known is not None else []
    if not changed:
        return
    what = f"the rows are not those that {run.path} began with: {'; '.join(changed)}"
    if not accepted:
        raise DataError(
            f"--resume: {what}. Rows that it was trained on may judge it now. Bring them back as they were, start a "
            "new run (without --resume), or go on all the same with --changed-rows"
        )
    logger.warning("%s. Rows that it was trained on may judge it now; scores before and after differ", what)


def _train(experiment: Experiment, run: RunFolder, accelerator: Accelerator, callbacks: Sequence[BaseCallback]) -> None:
    bundle = experiment.bundle
    if experiment.teacher is not None:
        experiment.teacher.to(accelerator.device)
    trainer = Trainer(
        bundle.model, experiment.sources, bundle.config,
        run=run, accelerator=accelerator, callbacks=callbacks, write_best=bundle.save, teacher=experiment.teacher,
        workers=experiment.workers,
    )  # fmt: skip
    newest = newest_checkpoint(run.checkpoints) if trainer.processes.first else None
    trainer.load(trainer.processes.from_first(newest))
    forget_harmed_best(trainer.state, run.best, trainer.processes)
    trainer.train()
    run.update(best_step=trainer.state.best_step, seconds=round(trainer.state.seconds, 3))


def _finish(experiment: Experiment, run: RunFolder, accelerator: Accelerator, console: Console) -> Result:
    """Judge the best model on valid and test, beside the baselines, and write the results."""
    blocks = experiment.bundle.config.backbones.values()
    allowed = any(getattr(block, "trust_remote_code", False) for block in blocks)
    bundle = Bundle.load(run.best, trust_remote_code=allowed)
    bundle.model.to(accelerator.device)
    config = bundle.config
    sizes = evaluation_batch_sizes(config)
    runner = Runner(
        bundle.model, accelerator.device, accelerator.autocast, sizes, bundle.thresholds, workers=experiment.workers,
        batch_tokens=evaluation_batch_tokens(config),
    )  # fmt: skip
    warnings = calibrate(runner, experiment.sources)
    valid = runner.evaluate(experiment.sources, "valid", logits=True)
    settled = settle(valid, bundle.model, bundle.spaces, config.evaluation)
    warnings += settled.warnings
    for warning in warnings:
        logger.warning("%s", warning)
    run.update(warnings=[*run.info()["warnings"], *warnings])
    runner.thresholds = bundle.thresholds = settled.thresholds
    runner.certainty = bundle.certainty = settled.certainty
    bundle.save(run.best)
    splits, errors = {}, {}
    known: SplitResult | None = valid
    del valid
    for split in ("valid", "test"):
        result = runner.evaluate(
            experiment.sources, split, report=True, logits=True, known=known if split == "valid" else None
        )
        known = None  # all logits of the validation rows, beside which those of the test rows need no room
        if result.rows:
            splits[split] = describe_split(
                result, bundle.model, experiment.sources, split,
                metric=config.evaluation.metric, slices=config.evaluation.slices,
            )  # fmt: skip
            add_answers(splits[split], runner, bundle.inputs, experiment.sources, split)
            add_worst(
                splits[split], runner, result, bundle.inputs, experiment.sources, split,
                most=config.evaluation.worst_errors, run=run.path,
            )  # fmt: skip
            add_certainty(splits[split], bundle.model, result, bundle.certainty, config.evaluation)
            _add_baselines(splits[split], experiment, split)
            errors[split] = rows_apart(result)
        del result
    write_errors(run.path, errors)
    evaluation = {
        "project": config.project_name,
        "best_step": run.info()["best_step"],
        "metric": config.evaluation.metric,
        "splits": splits,
    }
    write_atomic(run.path / "evaluation.json", json.dumps(evaluation, indent=1, ensure_ascii=False) + "\n")
    write_card(run.path)
    write_report(run.path)
    console.print(f"report: {run.path / 'report.html'}", highlight=False, soft_wrap=True)
    prefixes = {"valid": "eval", "test": "test"}
    metrics = {f"{prefixes[s]}_{name}": v for s, found in splits.items() for name, v in found["metrics"].items()}
    return Result(run.path, evaluation, metrics)


def _add_baselines(description: dict[str, Any], experiment: Experiment, split: str) -> None:
    """Fit the configured baselines on the training rows and put their metrics beside the model's."""
    known = baselines()
    for source in experiment.sources:
        if split not in source.splits:
            continue
        part = source.splits[split]
        spaces = {key: space for key, space in part.spaces.items() if not kind_named(space.kind).from_text}
        heads = [(head, (head["task"], head["head"])) for head in description["heads"]]
        # What one backbone's rows can be compared with says nothing of another one's.
        own = modality_for(experiment.bundle.config, source.encoder).baselines
        others = {name for modality in MODALITIES.values() for name in modality.baselines} - set(own)
        for name in (each for each in experiment.bundle.config.evaluation.baselines if each not in others):
            baseline = known[name](source.splits[TRAIN], part)
            for head, key in heads:
                if key in spaces:
                    normal = experiment.bundle.model.tasks[key[0]].reference_class(key[1])
                    head["baselines"][name] = baseline.metrics(spaces[key], normal=normal)
