"""What each feature contributes to a score."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import seeds
import torch
from torch import nn

from jenga.fusion import AttentionFusion
from jenga.modalities import BaseBackbone
from jenga.model import MultiTaskModel
from jenga.tasks.anomaly.config import AnomalyConfig
from jenga.tasks.anomaly.explain import CHUNK_ROWS, FEW_STEPS, STEPS, TOLERANCE, contributions
from jenga.tasks.anomaly.task import AnomalyDetectionTask
from jenga.types import BackboneOutput

N_FEATURES, WIDTH = 7, 8


class Layers(BaseBackbone):
    """Stands in for a backbone that reads features; `drawn`: after it has drawn them together."""

    modality = "events"

    def __init__(self, activation: nn.Module | None = None, *, drawn: bool = False) -> None:
        super().__init__("layers", type("Config", (), {"n_features": N_FEATURES}))
        self.drawn = drawn
        self.layers = nn.Sequential(nn.Linear(N_FEATURES, WIDTH), activation or nn.GELU(), nn.Linear(WIDTH, WIDTH))

    @property
    def hidden_size(self) -> int:
        return WIDTH

    def forward(self, *, features: torch.Tensor) -> BackboneOutput:  # type: ignore[override]
        read = features.tanh() if self.drawn else features
        hidden = self.layers(read)
        mask = torch.ones(len(hidden), 1).long()
        return BackboneOutput(hidden.unsqueeze(1), hidden, mask, read, given=features if self.drawn else None)


def model_of(*, activation: nn.Module | None = None, drawn: bool = False, fusion: bool = False, **settings: Any) -> Any:
    torch.manual_seed(seeds.derived(0))
    heads = settings.pop("heads", [{"name": "threat", "num_labels": 3, "labels": ["normal", "dos", "probe"]}])
    config = AnomalyConfig.model_validate(
        {"name": "t", "type": "anomaly_detection", "data_path": "x", "heads": heads, **settings}
    )
    fused = {"shared": AttentionFusion(WIDTH, ["t"], dropout=0.0)} if fusion else {}
    model = MultiTaskModel(
        {"shared": Layers(activation, drawn=drawn)}, fused, {"t": AnomalyDetectionTask(config, WIDTH)}
    )
    for each in fused.values():
        nn.init.normal_(each.update_weight)
    task, batch = model.tasks["t"], {"features": rows(64, seed=1) + 0.5}
    for stage in ("start", "evaluation"):
        observer = task.observer(stage)  # type: ignore[arg-type]
        if observer is not None:
            with torch.no_grad():
                observer.see(model.encode(batch, ["t"])["t"], dict.fromkeys(task.heads.sizes, torch.zeros(64).long()))
            observer.finish()
    return model.eval()


def rows(count: int, *, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, N_FEATURES, generator=seeds.generator(seed))


def raw_score(model: Any, features: torch.Tensor, head: str = "threat") -> np.ndarray:
    """The error of an unsupervised head, the log-odds of a supervised one."""
    with torch.no_grad():
        logits = model({"features": features}, ["t"])["t"].logits[head]
    task = model.tasks["t"]
    return np.asarray(task.scores(head, logits) if task.supervised else logits[:, 0].double().numpy())


INTEGRATED: list[dict[str, Any]] = [
    {}, {"loss": "focal"}, {"mode": "unsupervised", "method": "deep_svdd"},
    {"mode": "unsupervised", "method": "mahalanobis"},
]  # fmt: skip


@pytest.mark.parametrize("settings", INTEGRATED)
@pytest.mark.parametrize("activation", [nn.GELU(), nn.ReLU()])
def test_integrated_gradients_add_up_to_the_score_less_that_of_the_mean(
    settings: dict[str, Any], activation: nn.Module
) -> None:
    model = model_of(activation=activation, **settings)
    task, features = model.tasks["t"], rows(20)
    found = contributions(task, model.encoders["shared"], features)
    assert found.shape == (20, N_FEATURES)
    assert found.dtype == np.float32
    start = raw_score(model, task.feature_mean.unsqueeze(0))
    wanted = raw_score(model, features) - start
    # The midpoint rule's error, larger where the path crosses the kinks of ReLU.
    np.testing.assert_allclose(found.sum(1), wanted, atol=0.03 * np.abs(wanted).max(), rtol=0.01)
    finer = contributions(task, model.encoders["shared"], features, steps=2000)
    np.testing.assert_allclose(finer.sum(1), wanted, atol=1e-3 * np.abs(wanted).max(), rtol=1e-3)


def test_a_path_begins_at_the_mean_of_what_an_encoder_is_given_and_not_of_what_it_makes_of_it() -> None:
    model, given = model_of(drawn=True), rows(64, seed=1) + 0.5
    torch.testing.assert_close(model.tasks["t"].feature_mean, given.mean(0))
    features = rows(20)
    features[:, 0] = given[:, 0].mean()
    found = contributions(model.tasks["t"], model.encoders["shared"], features)
    np.testing.assert_allclose(found[:, 0], 0, atol=1e-6)
    assert np.abs(found[:, 1:]).min(0).max() > 0


def test_only_rows_whose_few_points_miss_their_score_get_more_of_them() -> None:
    model = model_of(activation=nn.ReLU())
    task, features = model.tasks["t"], rows(60)
    found, few, many = (
        contributions(task, model.encoders["shared"], features, steps=n) for n in (None, FEW_STEPS, STEPS)
    )
    wanted = raw_score(model, features) - raw_score(model, task.feature_mean.unsqueeze(0))
    off = np.abs(few.sum(1) - wanted) > TOLERANCE * np.abs(wanted)
    assert 0 < off.sum() < len(off)
    # Rows of another batch, which may move the last digits of float32.
    np.testing.assert_allclose(found, np.where(off[:, None], many, few), rtol=1e-4, atol=1e-6)


def test_no_more_points_are_taken_where_no_row_misses_its_score() -> None:
    model = model_of(activation=nn.Identity(), heads=[{"name": "threat", "num_labels": 2, "labels": ["normal", "dos"]}])
    passes: list[int] = []

    def backbone(*, features: torch.Tensor) -> BackboneOutput:
        passes.append(len(features))
        return model.encoders["shared"](features=features)

    contributions(model.tasks["t"], backbone, rows(5))
    # The points of the path, and one pass that compares.
    assert passes == [5] * FEW_STEPS + [6]


def test_an_autoencoders_parts_are_its_error() -> None:
    model = model_of(mode="unsupervised")
    features = rows(20)
    found = contributions(model.tasks["t"], model.encoders["shared"], features)
    np.testing.assert_allclose(found.sum(1), raw_score(model, features), rtol=1e-5)
    assert (found >= 0).all()
    worst = features.clone()
    worst[:, 3] += 100.0
    moved = contributions(model.tasks["t"], model.encoders["shared"], worst)
    assert (moved.argmax(1) == 3).all()


def test_a_feature_that_the_model_does_not_read_contributes_nothing() -> None:
    model = model_of()
    with torch.no_grad():
        model.encoders["shared"].layers[0].weight[:, 2] = 0.0
    found = contributions(model.tasks["t"], model.encoders["shared"], rows(5))
    assert np.abs(found[:, 2]).max() == 0
    assert np.abs(np.delete(found, 2, axis=1)).min(0).max() > 0


def test_the_mean_of_the_normal_rows_has_nothing_to_explain() -> None:
    model = model_of()
    found = contributions(model.tasks["t"], model.encoders["shared"], model.tasks["t"].feature_mean.unsqueeze(0))
    assert np.abs(found).max() == 0


def test_a_function_takes_the_fusion_along() -> None:
    model = model_of(fusion=True)
    features = rows(9)

    def encode(features: torch.Tensor) -> BackboneOutput:
        return model.encode({"features": features}, ["t"])["t"]  # type: ignore[no-any-return]

    found = contributions(model.tasks["t"], encode, features, steps=500)
    wanted = raw_score(model, features) - raw_score(model, model.tasks["t"].feature_mean.unsqueeze(0))
    np.testing.assert_allclose(found.sum(1), wanted, atol=1e-2)
    without = contributions(model.tasks["t"], model.encoders["shared"], features)
    assert np.abs(found - without).max() > 0.01


def test_a_head_is_chosen_by_name() -> None:
    heads = [{"name": name, "num_labels": 2, "labels": ["normal", "bad"]} for name in ("a", "b")]
    model = model_of(heads=heads)
    first, a, b = (
        contributions(model.tasks["t"], model.encoders["shared"], rows(4), head=head) for head in (None, "a", "b")
    )
    np.testing.assert_array_equal(first, a)
    assert np.abs(a - b).max() > 0


@pytest.mark.parametrize("settings", [{}, {"mode": "unsupervised"}])
def test_chunks_numpy_and_inference_mode_change_nothing(settings: dict[str, Any]) -> None:
    model = model_of(**settings)
    features = rows(CHUNK_ROWS + 3)
    with torch.inference_mode():
        whole = contributions(model.tasks["t"], model.encoders["shared"], features.numpy(), steps=4)
    parts = [contributions(model.tasks["t"], model.encoders["shared"], part, steps=4) for part in features.split(500)]
    np.testing.assert_allclose(whole, np.concatenate(parts), rtol=1e-4, atol=1e-6)
    assert contributions(model.tasks["t"], model.encoders["shared"], features[:0]).shape == (0, N_FEATURES)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_task_without_features_is_refused() -> None:
    config = AnomalyConfig.model_validate(
        {
            "name": "t", "type": "anomaly_detection", "data_path": "x", "mode": "unsupervised", "method": "deep_svdd",
            "heads": [{"name": "threat", "num_labels": 2, "labels": ["normal", "bad"]}],
        }
    )  # fmt: skip
    task = AnomalyDetectionTask(config, WIDTH)
    task.attach(SimpleNamespace(n_features=None))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="task 't' reads no features"):
        contributions(task, Layers(), rows(2))


def test_the_drivers_of_an_alert_are_fields_of_its_event_with_their_raw_values() -> None:
    from jenga.refinery import SecurityRefinery
    from jenga.refinery.explain import explain_rows
    from jenga.tasks.anomaly.explain import DRIVERS

    events = [{"sent": float(row), "flag": "SF" if row % 2 else "REJ"} for row in range(40)]
    refinery = SecurityRefinery(
        schema={"fields": [{"path": "sent", "kind": "numeric"}, {"path": "flag", "kind": "categorical"}]}
    ).fit(events)
    features = np.zeros((len(events), N_FEATURES), np.float32)
    width = refinery.n_features_out_
    assert width == 4
    features[:, :width] = refinery.transform(events)
    model = model_of()
    answers = [{"threat": {"alert": row in (3, 39)}} for row in range(len(events))]

    class Padded:
        """The refinery, of whose columns the model stands in for the rest."""

        def __getattr__(self, name: str) -> Any:
            return getattr(refinery, name)

        n_features_out_ = N_FEATURES
        feature_sources_ = (*refinery.feature_sources_, *["sent"] * (N_FEATURES - width))

    def tell(rows: Any, parts: Any, top: int) -> Any:
        told = explain_rows(Padded(), [events[row] for row in rows], parts, top=top)  # type: ignore[arg-type]
        return [[each.to_dict() for each in drivers] for drivers in told]

    model.tasks["t"].explain(answers, features, lambda some: model.encode({"features": some}, ["t"])["t"], tell)
    assert [row for row, answer in enumerate(answers) if "drivers" in answer["threat"]] == [3, 39]
    told = {each["field"]: each for each in answers[39]["threat"]["drivers"]}
    assert told.keys() == {"sent", "flag"}
    assert len(told) <= DRIVERS
    assert told["sent"]["value"] == 39.0
    assert told["sent"]["quantile"] > 0.95
    assert told["flag"]["value"] == "SF"
    assert told["flag"]["share"] == 0.5
    assert told["flag"]["quantile"] is None
    parts = contributions(
        model.tasks["t"], lambda features: model.encode({"features": features}, ["t"])["t"], features[[39]]
    )
    assert sum(each["contribution"] for each in told.values()) == pytest.approx(float(parts.sum()), abs=1e-5)
