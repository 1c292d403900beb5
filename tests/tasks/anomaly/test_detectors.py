"""Distances from normal: reconstruction, deep SVDD, Mahalanobis."""

from __future__ import annotations

from typing import Any

import pytest
import seeds
import torch
from torch import nn

from jenga.errors import ConfigError
from jenga.tasks.anomaly.config import AnomalyConfig
from jenga.tasks.anomaly.detectors import (
    LEAST_SPREAD,
    PROJECTION,
    SHRINKAGE,
    Autoencoder,
    DeepSvdd,
    Detector,
    Mahalanobis,
    Moments,
)
from jenga.tasks.anomaly.nearest import Nearest, make_detector
from jenga.types import BackboneOutput

WIDTH, N_FEATURES = 6, 10


def config(**settings: Any) -> AnomalyConfig:
    return AnomalyConfig.model_validate(
        {"name": "t", "type": "anomaly_detection", "data_path": "x", "mode": "unsupervised", **settings}
    )


def detector(**settings: Any) -> Any:
    made = make_detector(config(**settings), WIDTH)
    made.attach(N_FEATURES)
    return made


def encoded(rows: int = 5, *, seed: int = 0, features: bool = True) -> BackboneOutput:
    generator = seeds.generator(seed)
    hidden = torch.randn(rows, WIDTH, generator=generator)
    read = torch.randn(rows, N_FEATURES, generator=generator) if features else None
    return BackboneOutput(hidden.unsqueeze(1), hidden, torch.ones(rows, 1).long(), read)


def widths(module: nn.Module) -> list[int]:
    return [each.out_features for each in module.modules() if isinstance(each, nn.Linear)]


def moments_of(rows: torch.Tensor) -> Moments:
    moments = Moments(covariance=True)
    for part in rows.split(3):
        moments.add(part)
    return moments


@pytest.mark.parametrize(
    ("settings", "kind", "expected"),
    [
        ({}, Autoencoder, [N_FEATURES]),
        ({"method": "nearest"}, Nearest, [N_FEATURES]),
        ({"bottleneck": 3, "decoder": [7, 9]}, Autoencoder, [3, 7, 9, N_FEATURES]),
        ({"decoder": [7]}, Autoencoder, [7, N_FEATURES]),
        ({"method": "mahalanobis"}, Mahalanobis, [N_FEATURES]),
        ({"method": "mahalanobis", "bottleneck": 2, "decoder": [4]}, Mahalanobis, [2, 4, N_FEATURES]),
        ({"method": "deep_svdd"}, DeepSvdd, [PROJECTION]),
        ({"method": "deep_svdd", "projection": 4}, DeepSvdd, [4]),
    ],
)
def test_the_layers_are_those_of_the_configuration(
    settings: dict[str, Any], kind: type[Detector], expected: list[int]
) -> None:
    made = detector(**settings)
    assert type(made) is kind
    assert widths(made) == expected
    assert made.sizes == {"anomaly": 1}


@pytest.mark.parametrize("method", ["autoencoder", "mahalanobis"])
def test_a_reconstruction_without_features_is_refused_with_the_fix(method: str) -> None:
    with pytest.raises(ConfigError, match=r"tasks\[t\]: there are no features .*backbone_type: sequential"):
        make_detector(config(method=method), WIDTH).attach(None)


def test_a_backbone_that_keeps_its_features_to_itself_is_named() -> None:
    with pytest.raises(TypeError, match=r"tasks\[t\]: the backbone reads features, but does not hand them on"):
        detector().error(encoded(features=False))


# ---------------------------------------------------------------------------------------------------------- autoencoder


@pytest.mark.parametrize(("loss", "kind"), [("mse", nn.functional.mse_loss), ("huber", nn.functional.huber_loss)])
def test_the_loss_of_a_reconstruction_is_the_mean_over_its_features(loss: str, kind: Any) -> None:
    made, given = detector(loss=loss), encoded()
    assert given.features is not None
    expected = kind(made.decoder(given.pooler_output), given.features, reduction="none").mean(1)
    torch.testing.assert_close(made.loss(given, given.pooler_output), expected)


def test_an_autoencoders_error_is_the_mean_square_in_units_of_the_normal_rows() -> None:
    made, given, normal = detector(), encoded(), encoded(40, seed=1)
    made.fit(moments_of(made.squares(normal)))
    assert given.features is not None
    assert normal.features is not None
    spread = (made.decoder(normal.pooler_output) - normal.features).square().mean(0)
    expected = ((made.decoder(given.pooler_output) - given.features).square() / (spread + LEAST_SPREAD)).mean(1)
    torch.testing.assert_close(made(given)["anomaly"], expected.unsqueeze(1))
    torch.testing.assert_close(made.parts(given).sum(1), made.error(given))


def test_a_feature_that_was_always_right_does_not_make_the_error_infinite() -> None:
    made = detector()
    made.fit(moments_of(torch.zeros(4, N_FEATURES)))
    assert made.error(encoded()).isfinite().all()


# ---------------------------------------------------------------------------------------------------------- mahalanobis


def test_the_distance_is_that_of_the_shrunk_covariance() -> None:
    made, normal, given = detector(method="mahalanobis"), torch.randn(40, WIDTH).double() * 3 + 1, encoded()
    made.fit(moments_of(normal))
    covariance = torch.cov(normal.T, correction=0)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * covariance.diagonal().mean() * torch.eye(WIDTH).double()
    offset = given.pooler_output.double() - normal.mean(0)
    expected = (offset @ torch.linalg.inv(shrunk) * offset).sum(1)
    torch.testing.assert_close(made.error(given).double(), expected, rtol=1e-4, atol=1e-5)


def test_a_hidden_unit_that_never_moves_is_no_obstacle() -> None:
    made, normal, given = detector(method="mahalanobis"), torch.randn(40, WIDTH), encoded()
    normal[:, 2] = 0.0
    made.fit(moments_of(normal))
    assert made.error(given).isfinite().all()
    made.fit(moments_of(torch.zeros(5, WIDTH)))
    assert made.error(given).isfinite().all()


# ------------------------------------------------------------------------------------------------------------ deep svdd


def test_deep_svdd_has_no_bias_that_could_reach_the_centre_alone() -> None:
    made = detector(method="deep_svdd")
    assert made.project.bias is None
    assert not [name for name, _ in made.named_parameters() if "bias" in name]


def test_the_centre_is_the_mean_kept_away_from_zero() -> None:
    made = detector(method="deep_svdd", projection=4)
    made.fit(moments_of(torch.tensor([[1.0, -1.0, 0.02, -0.02], [3.0, -3.0, 0.04, -0.04]])))
    torch.testing.assert_close(made.centre, torch.tensor([2.0, -2.0, 0.1, -0.1]))


def test_the_error_is_the_squared_distance_from_the_centre() -> None:
    made, given = detector(method="deep_svdd"), encoded(features=False)
    made.fit(moments_of(made.projected(encoded(seed=1))))
    expected = (given.pooler_output @ made.project.weight.T - made.centre).pow(2).sum(1)
    torch.testing.assert_close(made.error(given), expected)
    torch.testing.assert_close(made.loss(given, given.pooler_output), expected)


# -------------------------------------------------------------------------------------------------------------- moments


def test_moments_are_those_of_all_rows_at_once() -> None:
    rows = torch.randn(31, 4) + torch.tensor([1e3, 0.0, -5.0, 0.0])
    moments = moments_of(rows)
    assert moments.n == 31
    torch.testing.assert_close(moments.mean, rows.double().mean(0))
    torch.testing.assert_close(moments.covariance, torch.cov(rows.double().T, correction=0), atol=1e-8, rtol=1e-8)


def test_fitted_state_travels_in_the_state_dict() -> None:
    for method in ("deep_svdd", "mahalanobis"):
        made, again = detector(method=method), detector(method=method)
        made.fit(moments_of(torch.randn(20, PROJECTION if method == "deep_svdd" else WIDTH)))
        again.load_state_dict(made.state_dict())
        torch.testing.assert_close(again.error(encoded()), made.error(encoded()))
