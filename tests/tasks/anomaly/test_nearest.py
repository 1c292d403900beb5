"""The distance from the nearest normal row, beside the reconstruction."""

from __future__ import annotations

from typing import Any

import pytest
import seeds
import torch

from jenga.tasks.anomaly import nearest
from jenga.tasks.anomaly.config import AnomalyConfig
from jenga.tasks.anomaly.detectors import Autoencoder
from jenga.tasks.anomaly.nearest import LEAST_DISTANCE, Kept, Nearest, make_detector
from jenga.types import BackboneOutput

WIDTH, N_FEATURES = 6, 10


def detector(**settings: Any) -> Any:
    task = {"name": "t", "type": "anomaly_detection", "data_path": "x", "mode": "unsupervised", "method": "nearest"}
    config = AnomalyConfig.model_validate({**task, **settings})
    made = make_detector(config, WIDTH)
    made.attach(N_FEATURES)
    return made


def encoded(rows: int = 5) -> BackboneOutput:
    generator = seeds.generator(0)
    hidden = torch.randn(rows, WIDTH, generator=generator)
    features = torch.randn(rows, N_FEATURES, generator=generator)
    return BackboneOutput(hidden.unsqueeze(1), hidden, torch.ones(rows, 1).long(), features)


def remembering(rows: torch.Tensor, **settings: Any) -> Nearest:
    made, kept = detector(**settings), Kept(settings.get("memory", 100))
    kept.add(rows)
    made.remember(kept)
    made.spread.uniform_(0.5, 2)
    assert isinstance(made, Nearest)
    return made


def test_the_nearest_row_counts_beside_the_reconstruction() -> None:
    known, given = torch.randn(30, N_FEATURES), encoded()
    made = remembering(known)
    assert given.features is not None
    distance = torch.cdist(given.features.double(), known.double()).min(1).values.square() / N_FEATURES
    wanted = Autoencoder.parts(made, given).sum(1)
    torch.testing.assert_close(made.error(given).double(), wanted.double() * (distance + LEAST_DISTANCE))
    torch.testing.assert_close(made.parts(given).sum(1), made.error(given))


def test_rows_that_were_seen_before_still_differ_by_their_reconstruction() -> None:
    given = encoded()
    assert given.features is not None
    made = remembering(given.features.clone())
    assert len(made.error(given).unique()) == len(given.features)


def test_half_precision_around_it_moves_no_neighbour() -> None:
    known = torch.randn(200, N_FEATURES) * 0.05 + 5
    made = remembering(known, memory=200)
    given = BackboneOutput(torch.zeros(200, 1, WIDTH), torch.zeros(200, WIDTH), torch.ones(200, 1).long(), known)
    with torch.autocast("cpu", torch.bfloat16):
        distances = made._distances(given)
    torch.testing.assert_close(distances, torch.full_like(distances, LEAST_DISTANCE / N_FEATURES), atol=1e-7, rtol=0)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_each_row_of_the_memory_finds_itself_in_whichever_block(offset: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "BLOCK", 64)
    rows = torch.randn(300, N_FEATURES, generator=seeds.generator(3))
    rows[:, 0] += offset
    made = remembering(rows, memory=300)
    found = made._distances(BackboneOutput(rows.unsqueeze(1), rows, torch.ones(300, 1), rows))
    assert float(found.max()) == pytest.approx(LEAST_DISTANCE / N_FEATURES)


def test_no_training_row_goes_into_a_model_that_was_not_asked_to_hold_them() -> None:
    assert type(detector(method=None)) is Autoencoder


def test_the_memory_travels_in_the_state_dict() -> None:
    made, again = remembering(torch.randn(30, N_FEATURES)), detector()
    again.load_state_dict(made.state_dict())
    torch.testing.assert_close(again.error(encoded()), made.error(encoded()))


@pytest.mark.parametrize("n_rows", [1, 7, 8, 15, 16, 1000])
def test_what_is_kept_are_rows_from_everywhere(n_rows: int) -> None:
    kept, all_at_once = Kept(8), Kept(8)
    rows = torch.arange(n_rows).float().unsqueeze(1)
    for part in rows.split(3):
        kept.add(part)
    all_at_once.add(rows)
    assert kept.n == n_rows
    assert len(kept.rows) == min(8, n_rows)
    assert (kept.rows[:, 0].diff() <= n_rows / 8 * 2.5 + 1).all()
    assert kept.rows[-1, 0] >= n_rows * 0.8 - 1
    assert kept._held < 16
