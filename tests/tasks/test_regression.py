"""Numbers, learnt scaled and predicted in their own units."""

from __future__ import annotations

import numpy as np
import pytest
import seeds
import torch

from jenga.labels.numbers import NumberHead
from jenga.tasks.regression import RegressionConfig, RegressionTask
from jenga.types import BackboneOutput, TaskOutput

MEAN, STD = np.array([100.0, -3.0], np.float32), np.array([10.0, 0.5], np.float32)


@pytest.fixture
def task() -> RegressionTask:
    torch.manual_seed(seeds.derived(0))
    heads = [NumberHead(name="other", num_labels=1), NumberHead(name="price", num_labels=2)]
    made = RegressionTask(RegressionConfig(name="r", type="regression", data_path="x", dropout=0.0, heads=heads), 4)
    made.set_scale("price", MEAN, STD)
    return made.eval()


def test_the_loss_is_on_scaled_targets(task: RegressionTask) -> None:
    given = BackboneOutput(torch.randn(2, 3, 4), torch.randn(2, 4), torch.ones(2, 3).long())
    price = torch.tensor([[120.0, -3.0], [float("nan"), -2.0]])
    output = task.get_forward_output(given, {"other": torch.full((2, 1), float("nan")), "price": price})
    assert isinstance(output, TaskOutput)
    logits = task.heads(given.pooler_output)["price"]
    scaled = torch.tensor([[2.0, 0.0], [float("nan"), 2.0]])
    labelled = ~scaled.isnan()
    torch.testing.assert_close(output.loss, (logits - scaled)[labelled].square().mean())
    assert output.count is not None
    assert output.count.tolist() == [0, 3]


def test_predictions_are_in_the_targets_units(task: RegressionTask) -> None:
    found = task.predict("price", torch.tensor([[0.0, 0.0], [1.0, -2.0]]))
    np.testing.assert_allclose(found, [[100.0, -3.0], [110.0, -4.0]])
    np.testing.assert_allclose(task.predict("other", torch.tensor([[2.5]])), [[2.5]])


def test_the_scale_travels_with_the_weights(task: RegressionTask) -> None:
    again = RegressionTask(task.config, 4)
    again.load_state_dict(task.state_dict())
    np.testing.assert_allclose(again.predict("price", torch.zeros(1, 2)), [[100.0, -3.0]])
