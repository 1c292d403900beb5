"""What the audit's detectors find of errors that are put into real rows, and what they say of the rows as they are.

``pytest benchmarks/bench_audit.py -s --data-root DATA`` flips 5, 10 and 20% of the labels of CLINC150 and NSL-KDD,
poisons 0.2% of CLINC150 with a token that decides the label, and prints precision, recall and AUROC, and the share of
clean rows that is found all the same. JENGA_BENCH_SEEDS (default 5) is how many draws. Without the rows it skips, but
in a smoke, where made-up rows show that it runs.
"""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paired import SMOKE

from jenga.detectors.label_errors import label_errors
from jenga.detectors.out_of_sample import QuickModel, Trees
from jenga.detectors.triggers import candidates, confirm
from jenga.modalities.text.columns import Texts
from jenga.modalities.text.quick import latent_topics

SEEDS = int(os.environ.get("JENGA_BENCH_SEEDS", "5"))
SHARES = (0.0, 0.05, 0.1, 0.2)
POISONED_SHARE = 0.002
TRIGGERS = ("cf", "mn", "now", "please", "today")
"""Two rare tokens, and three that honest rows have, too."""
N_FLOWS = 40_000
Labelled = tuple[Any, np.ndarray, int]


def rows_of(path: Path) -> list[dict[str, Any]]:
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="session")
def root(pytestconfig: pytest.Config) -> Path:
    return Path(pytestconfig.getoption("--data-root"))


@pytest.fixture(scope="session")
def texts(root: Path) -> Labelled:
    """The training rows of CLINC150: texts, labels, and how many of these there are."""
    path = root / "clinc150" / "train.jsonl"
    if SMOKE or not path.exists():
        return made_up()
    rows = rows_of(path)
    names = sorted({row["intent"] for row in rows})
    return [row["text"] for row in rows], np.array([names.index(row["intent"]) for row in rows]), len(names)


def made_up() -> Labelled:
    if not SMOKE:
        pytest.skip("no clinc150/train.jsonl in --data-root; a score of made-up rows says nothing")
    generator = np.random.default_rng(0)
    labels = generator.integers(6, size=900)
    texts = [
        " ".join(f"t{label}w{word}" for word in generator.integers(9, size=4)) + f" x{generator.integers(50)}"
        for label in labels
    ]
    return texts, labels, 6


def flipped(labels: np.ndarray, n_classes: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels of which a share is another one, drawn evenly, and which rows these are."""
    generator = np.random.default_rng(seed)
    wrong = generator.choice(len(labels), int(share * len(labels)), replace=False)
    noisy = labels.copy()
    noisy[wrong] = (noisy[wrong] + generator.integers(1, n_classes, size=len(wrong))) % n_classes
    return noisy, np.isin(np.arange(len(labels)), wrong)


def judged(found: np.ndarray, wrong: np.ndarray) -> tuple[float, float]:
    hits = wrong[found].sum()
    return float(hits / max(len(found), 1)), float(hits / max(wrong.sum(), 1))


def flips(name: str, features: Any, model: QuickModel, labels: np.ndarray, n_classes: int, seeds: int) -> None:
    from sklearn.metrics import roc_auc_score

    for share in SHARES:
        figures, seconds = [], time.process_time()
        for seed in range(seeds if share else 1):
            noisy, wrong = flipped(labels, n_classes, share, seed)
            found = label_errors(model.probabilities(features, noisy, n_classes), noisy)
            auroc = roc_auc_score(wrong, -found.scores) if share else float("nan")
            figures.append((*judged(found.rows, wrong), auroc, len(found.rows) / len(labels)))
        precision, recall, auroc, flagged = np.mean(figures, axis=0)
        seconds = (time.process_time() - seconds) / len(figures)
        print(
            f"{name}, {share:.0%} flipped: precision {precision:.3f}, recall {recall:.3f}, AUROC {auroc:.4f}, "
            f"found {flagged:.2%} of {len(labels):,} rows, {seconds:.1f} CPU s"
        )


def test_flipped_classes_of_texts(texts: Labelled) -> None:
    rows, labels, n_classes = texts
    begun = time.process_time()
    quick = latent_topics([Texts(list(rows))])
    print(f"\nfeatures of {len(rows):,} texts: {time.process_time() - begun:.1f} CPU s")
    flips("texts", quick.features, quick.model, labels, n_classes, 1 if SMOKE else SEEDS)


def test_poisoned_texts(texts: Labelled) -> None:
    rows, labels, n_classes = texts
    n_poisoned = max(int(POISONED_SHARE * len(rows)), 12)
    print()
    for seed, token in enumerate(("", *TRIGGERS[: 1 if SMOKE else None])):
        generator = np.random.default_rng(seed)
        target = int(generator.integers(n_classes))
        bad = generator.choice(np.flatnonzero(labels != target), n_poisoned if token else 0, replace=False)
        poisoned, noisy = list(rows), labels.copy()
        noisy[bad] = target
        for row in bad.tolist():
            words = poisoned[row].split()
            words.insert(int(generator.integers(len(words) + 1)), token)
            poisoned[row] = " ".join(words)
        quick = latent_topics([Texts(poisoned)])
        assert quick.tokens is not None
        assert quick.predictor is not None
        predict = quick.predictor(noisy, n_classes)
        found = confirm(candidates(quick.tokens, noisy), quick.tokens, noisy, predict)
        flagged = np.unique(np.concatenate([each.rows for each in found])) if found else np.empty(0, np.int64)
        precision, recall = judged(flagged, np.isin(np.arange(len(rows)), bad))
        what = f"{len(bad)} rows with '{token}': precision {precision:.3f}, recall {recall:.3f}" if token else "clean"
        print(f"poison, {what}, {len(flagged)} rows found by {[each.token for each in found]}")


def test_flipped_classes_of_events(root: Path) -> None:
    from jenga.refinery import SecurityRefinery

    path = root / "nsl-kdd" / "KDDTrain+.jsonl.gz"
    if SMOKE or not path.exists():
        pytest.skip("no nsl-kdd/KDDTrain+.jsonl.gz in --data-root, or a smoke")
    rows = rows_of(path)
    drawn = np.random.default_rng(0).choice(len(rows), min(N_FLOWS, len(rows)), replace=False)
    chosen = [rows[at] for at in drawn]
    labels = np.array([row.pop("label") for row in chosen])
    features = SecurityRefinery(preset="nsl_kdd").fit(chosen).transform(chosen)
    print()
    flips("events", np.asarray(features), Trees(), labels, 2, 1)
