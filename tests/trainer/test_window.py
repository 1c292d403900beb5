"""The losses of the steps since the last record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from jenga.balance import Part
from jenga.labels.classes import ClassHead
from jenga.tasks import BaseTask
from jenga.tasks.base import ClassificationConfig
from jenga.trainer.window import Window
from jenga.types import TaskOutput

CPU = torch.device("cpu")


def tasks(**weights: float) -> dict[str, BaseTask]:
    return {
        name: BaseTask(
            ClassificationConfig(
                name=name, type="classification", data_path="x", weight=weight,
                heads=[ClassHead(name="a", num_labels=2), ClassHead(name="b", num_labels=2, weight=0.5)],
            ),
            2,
        )
        for name, weight in weights.items()
    }  # fmt: skip


def built_in(*pairs: tuple[float, float]) -> TaskOutput:
    """An output with the given (loss sum, count) of each head."""
    sums, counts = torch.tensor([list(pair) for pair in pairs]).T
    return TaskOutput(torch.tensor(0.0), {}, sums.clone().requires_grad_(), counts)


def own(loss: float) -> TaskOutput:
    return TaskOutput(torch.tensor(loss, requires_grad=True), {})


def close(window: Window, norm: float = 1.0) -> None:
    window.add_norm(torch.tensor(norm), scaled=False)


def total_of(parts: Mapping[str, Part]) -> torch.Tensor:
    return torch.stack([part.loss for part in parts.values()]).sum()


def test_the_total_is_over_tasks_and_heads_weight_times_mean() -> None:
    window = Window(CPU)
    parts = window.add({"t": built_in((6.0, 3.0), (8.0, 2.0)), "u": own(5.0)}, tasks(t=2.0, u=3.0), None, 1.0)
    total = total_of(parts)
    assert {name: float(part.share) for name, part in parts.items()} == {"t": 1.0, "u": 1.0}
    assert float(total.detach()) == 2.0 * (2.0 + 0.5 * 4.0) + 3.0 * 5.0
    close(window, 7.0)
    assert window.take() == {
        "loss": 23.0,
        "task_loss": {"t": 4.0, "u": 5.0},
        "head_loss": {"t": {"a": 2.0, "b": 4.0}},
        "grad_norm": 7.0,
    }


def test_micro_batches_are_divided_by_the_labels_of_the_whole_step() -> None:
    window, parts = Window(CPU), tasks(t=1.0)
    counts = {"t": torch.tensor([4.0, 1.0])}
    first = window.add({"t": built_in((6.0, 3.0), (0.0, 0.0))}, parts, counts, 0.5)
    second = window.add({"t": built_in((2.0, 1.0), (3.0, 1.0))}, parts, counts, 0.5)
    close(window)
    assert float(first["t"].loss.detach()) == 6.0 / 4
    assert float(second["t"].loss.detach()) == 2.0 / 4 + 0.5 * 3.0
    # By labels, not by rows.
    assert [float(each["t"].share) for each in (first, second)] == pytest.approx([3 / 5, 2 / 5])
    found = window.take()
    assert found["loss"] == 8.0 / 4 + 1.5
    assert found["head_loss"] == {"t": {"a": 2.0, "b": 3.0}}


def test_a_loss_of_the_tasks_own_is_weighed_by_rows() -> None:
    window, parts = Window(CPU), tasks(t=1.0)
    added = [window.add({"t": own(4.0)}, parts, {}, 0.75), window.add({"t": own(8.0)}, parts, {}, 0.25)]
    total = sum(map(total_of, added), torch.zeros(()))
    assert [float(each["t"].share) for each in added] == [0.75, 0.25]
    close(window)
    assert float(total.detach()) == 5.0
    assert window.take()["task_loss"] == {"t": 5.0}


def test_a_head_or_task_without_a_label_is_left_out_never_zero() -> None:
    window = Window(CPU)
    outputs = {"t": built_in((6.0, 3.0), (0.0, 0.0)), "u": built_in((0.0, 0.0), (0.0, 0.0))}
    added = window.add(outputs, tasks(t=1.0, u=1.0), None, 1.0)
    assert float(total_of(added).detach()) == 2.0
    assert {name: float(part.share) for name, part in added.items()} == {"t": 1.0, "u": 0.0}
    close(window)
    found = window.take()
    assert found["head_loss"] == {"t": {"a": 2.0}}
    assert found["task_loss"] == {"t": 2.0}


def test_a_record_is_the_mean_over_its_steps_and_labels() -> None:
    window, parts = Window(CPU), tasks(t=1.0)
    for pair, norm in (((6.0, 3.0), 1.0), ((1.0, 1.0), 3.0)):
        window.add({"t": built_in(pair, (0.0, 0.0))}, parts, None, 1.0)
        close(window, norm)
    found = window.take()
    assert (found["loss"], found["grad_norm"]) == (1.5, 2.0)
    assert found["head_loss"] == {"t": {"a": 7.0 / 4}}


def test_taking_starts_anew() -> None:
    window, parts = Window(CPU), tasks(t=1.0)
    for _ in range(2):
        window.add({"t": built_in((6.0, 3.0), (8.0, 2.0))}, parts, None, 1.0)
        close(window)
        first = window.take()
    window.add({"t": built_in((9.0, 3.0), (0.0, 0.0))}, parts, None, 1.0)
    close(window)
    assert window.take()["loss"] == 3.0
    assert first["loss"] == 4.0


def test_a_step_that_loss_scaling_skips_does_not_spoil_the_norm() -> None:
    window, parts = Window(CPU), tasks(t=1.0)
    for norm in (float("inf"), float("nan"), 6.0):
        window.add({"t": built_in((6.0, 3.0), (0.0, 0.0))}, parts, None, 1.0)
        window.add_norm(torch.tensor(norm), scaled=True)
    assert window.take()["grad_norm"] == 2.0


def test_a_task_that_returns_no_loss_is_named() -> None:
    with pytest.raises(TypeError, match="task 't' returned no loss in training"):
        Window(CPU).add({"t": TaskOutput(None, {})}, tasks(t=1.0), None, 1.0)


def test_gradients_flow_through_the_total() -> None:
    output = built_in((6.0, 3.0), (8.0, 2.0))
    total_of(Window(CPU).add({"t": output}, tasks(t=2.0), None, 1.0)).backward()
    assert output.loss_sum is not None
    assert output.loss_sum.grad is not None
    assert output.loss_sum.grad.tolist() == pytest.approx([2.0 / 3, 2.0 * 0.5 / 2])


def test_a_restored_window_goes_on_as_if_it_had_never_stopped() -> None:
    parts = tasks(t=1.0, u=1.0)

    def step(window: Window, value: float) -> None:
        window.add({"t": built_in((value, 3.0), (0.1, 1.0)), "u": own(value)}, parts, None, 1.0)
        close(window, value)

    straight, stopped = Window(CPU), Window(CPU)
    for window in (straight, stopped):
        step(window, 0.1)
        step(window, 0.7)
    tensors, state = stopped.state()
    resumed = Window(CPU)
    step(resumed, 99.0)
    saved: Any = json.loads(json.dumps(state))
    resumed.restore({name: value.clone() for name, value in tensors.items()}, saved)
    for window in (straight, resumed):
        step(window, 0.3)
    assert resumed.take() == straight.take()


def test_a_restored_window_writes_the_same_bytes() -> None:
    """Tensors come back from a checkpoint sorted by name; the record keeps the order of the turns."""
    windows = []
    for _ in range(2):
        window = Window(CPU)
        window.add({"z": built_in((6.0, 3.0), (8.0, 2.0))}, tasks(z=1.0), None, 1.0)
        window.add({"a": built_in((1.0, 3.0), (8.0, 2.0)), "own": own(5.0)}, tasks(a=1.0, own=1.0), None, 1.0)
        close(window)
        windows.append(window)
    tensors, state = windows[1].state()
    restored = Window(CPU)
    restored.restore(dict(sorted(tensors.items())), json.loads(json.dumps(state)))
    assert json.dumps(restored.take()) == json.dumps(windows[0].take())


def test_what_came_after_a_snapshot_is_forgotten() -> None:
    window, parts = Window(CPU), tasks(t=1.0, u=1.0)
    window.add({"t": built_in((6.0, 3.0), (8.0, 2.0))}, parts, None, 1.0)
    close(window)
    before = window.snapshot()
    window.add({"t": built_in((float("nan"), 1.0), (1.0, 1.0)), "u": own(5.0)}, parts, None, 1.0)
    window.go_back(before)
    window.add({"t": built_in((3.0, 3.0), (0.0, 2.0))}, parts, None, 1.0)
    close(window, 3.0)
    assert window.take() == {
        "loss": (4.0 + 1.0) / 2, "task_loss": {"t": 1.5 + 0.5 * 2.0},
        "head_loss": {"t": {"a": 1.5, "b": 2.0}}, "grad_norm": 2.0,
    }  # fmt: skip


def test_what_is_not_finite_is_of_no_mean() -> None:
    window = Window(CPU)
    for value in (1.0, float("inf"), 3.0, float("nan")):
        window.add_means("task_grad_norm", {"x": value, "y": float("nan")})
        close(window)
    assert window.take()["task_grad_norm"] == {"x": 2.0}
