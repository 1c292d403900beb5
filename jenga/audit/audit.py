"""The audit of an experiment's rows: read as training reads them, judged by quick models, nothing trained."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from jenga.audit.findings import Audit, Finding
from jenga.audit.labels import suspects, triggers
from jenga.audit.pool import Pool, pools
from jenga.audit.spread import drift, strangers
from jenga.audit.twins import twins
from jenga.bundle import modality_for
from jenga.config.schema import ExperimentConfig
from jenga.detectors.out_of_sample import Linear
from jenga.modalities.quick import Quick
from jenga.run.build import Experiment, build
from jenga.run.experiment import load_config
from jenga.trainer.evaluate import choose_device

Features = Literal["auto", "encoder"]
Tell = Callable[[str], None]


def audit(
    config: ExperimentConfig | str | os.PathLike[str] | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    features: Features = "auto",
    device: str = "auto",
    tell: Tell = lambda line: None,
) -> Audit:
    """Look at all rows of an experiment and return what is wrong with them.

    features: what quick models read of rows: what their modality has for that, or, where it has nothing or `encoder` is
    asked for, what the frozen encoder makes of them. device: where that encoder runs. tell: called with a line on how
    far it is. Raises a `JengaError` for whatever a user can mend, SetupError where cleanlab is missing.
    """
    begun = time.perf_counter()
    given = load_config(config, overrides)
    # Rows that a training leaves out are looked at too: else the list of them would shrink to what is new.
    resolved = given.model_copy(update={"data": given.data.model_copy(update={"exclude": None})})
    with tempfile.TemporaryDirectory(prefix="jenga-") as scratch:
        experiment = build(resolved, Path(scratch), tell=tell)
        findings, told = _looked_at(experiment, features, choose_device(device), tell)
    rows: Counter[str] = Counter()
    for source in experiment.sources:
        for name, split in source.splits.items():
            rows[name] += len(split.rows)
    seconds = time.perf_counter() - begun
    aside = [] if given.data.exclude is None else ["data.exclude is left aside: all rows are looked at"]
    told = [*aside, *experiment.warnings, *told]
    return Audit(
        str(resolved.project_name), findings, dict(rows), told, len(experiment.bad), round(seconds, 1),
        experiment.fingerprint["files"],
    )  # fmt: skip


def _looked_at(
    experiment: Experiment, features: Features, device: torch.device, tell: Tell
) -> tuple[list[Finding], list[str]]:
    findings: list[Finding] = []
    told: list[str] = []
    for pool in pools(experiment.sources, experiment.bundle.inputs):
        name = pool.source.name
        tell(f"{name}: {len(pool.rows):,} rows")
        same, unknown = twins(pool)
        findings, told = [*findings, *same], [*told, *unknown]
        told += [f"{head}: its labels were not looked at: they are of parts of a row" for head in pool.unasked]
        if not pool.asked:
            told.append(f"{name}: triggers, outliers and drift were not looked for: no label is of a whole row")
            continue
        own = modality_for(experiment.bundle.config, pool.source.encoder).quick(pool.splits, pool.encoder)
        quick = _embedded(experiment, pool, device) if own is None or features == "encoder" else own
        told.append(f"{name}: labels were judged by {quick.model.words} over {quick.words}")
        wrong, known = suspects(pool, quick)
        findings, told = [*findings, *wrong], [*told, *known]
        findings += strangers(pool, quick)
        findings += drift(pool, () if own is None else own.names)
        if own is None or own.predictor is None:
            told.append(f"{name}: triggers were not looked for: rows have no words that could be taken away")
        else:
            findings += triggers(pool, own)
    return findings, told


def _embedded(experiment: Experiment, pool: Pool, device: torch.device) -> Quick:
    """Return what the frozen encoder makes of rows, pooled, for linear models."""
    model, task = experiment.bundle.model, pool.source.tasks[0]
    model.to(device).eval()
    size = pool.encoder.rows_at_once
    found = []
    for split in pool.splits:
        vectors: list[Any] = [None] * len(split)
        order = np.argsort(split.lengths, kind="stable")
        with torch.inference_mode():
            for begin in range(0, len(order), size):
                index = order[begin : begin + size].tolist()
                pooled = model.encode(split.batch(index).to(device).inputs, [task])[task].pooler_output
                for row, vector in zip(index, pooled.float().cpu().numpy(), strict=True):
                    vectors[row] = vector
        found.append(np.stack(vectors))
    features = np.concatenate(found)
    centred = features - features.mean(axis=0)
    scaled = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)
    pretrained = all(experiment.bundle.model.encoders[name].pretrained for name in _backbones(experiment, pool))
    words = "what the frozen encoder makes of rows" + ("" if pretrained else ", which nothing has taught yet")
    return Quick(scaled, Linear(), words)


def _backbones(experiment: Experiment, pool: Pool) -> Sequence[str]:
    return experiment.bundle.config.encoders[pool.source.encoder]
