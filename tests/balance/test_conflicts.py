"""Gradients of several tasks reconciled."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from jenga.balance.conflicts import METHODS, Conflicts
from jenga.errors import ConfigError


class Two:
    """Two tasks over one shared vector, with a number of their own each: loss = g . shared + own ** 2."""

    def __init__(self, first: list[float], second: list[float]) -> None:
        self.shared = [torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(1))]
        self.own = [torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.full((1,), 3.0))]
        self.slopes = {"a": torch.tensor(first), "b": torch.tensor(second)}

    def losses(self, share: float = 1.0) -> dict[str, torch.Tensor]:
        flat = torch.cat(self.shared)
        return {
            name: share * ((slope * flat).sum() + own.square().sum())
            for (name, slope), own in zip(self.slopes.items(), self.own, strict=True)
        }

    def gradient(self) -> list[float]:
        return torch.cat([p.grad for p in self.shared if p.grad is not None]).tolist()


def settled(method: str, first: list[float], second: list[float]) -> tuple[Two, dict[str, float]]:
    two = Two(first, second)
    conflicts = Conflicts(method, {"text": two.shared})
    conflicts.add(two.losses(), two.own)
    return two, conflicts.settle()


@pytest.mark.parametrize("method", ["sum", "upgrad", "pcgrad"])
def test_gradients_that_agree_are_summed(method: str) -> None:
    two, cosines = settled(method, [1.0, 0.0, 2.0], [0.0, 3.0, 1.0])
    assert two.gradient() == pytest.approx([1.0, 3.0, 3.0], rel=1e-5)
    assert cosines == {"a|b": pytest.approx(2 / (5**0.5 * 10**0.5))}
    assert [p.grad.item() for p in two.own if p.grad is not None] == [2.0, 6.0]


def test_a_conflict_is_projected_away_as_pcgrad_has_it() -> None:
    a, b = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([-1.0, 1.0, 0.0])
    two, cosines = settled("pcgrad", a.tolist(), b.tolist())
    # Yu et al. 2020, algorithm 1: each is projected onto the normal plane of the other.
    expected = (a - (a @ b) / (b @ b) * b) + (b - (b @ a) / (a @ a) * a)
    assert two.gradient() == pytest.approx(expected.tolist(), abs=1e-6)
    assert cosines["a|b"] == pytest.approx(-(0.5**0.5))


@pytest.mark.parametrize("method", ["upgrad", "mgda", "pcgrad"])
def test_no_task_gets_worse_by_what_is_made_of_a_conflict(method: str) -> None:
    two, _ = settled(method, [1.0, 0.2, 0.0], [-0.9, 1.0, 0.5])
    made = torch.tensor(two.gradient())
    assert all(float(slope @ made) >= -1e-5 for slope in two.slopes.values())
    plain = sum(two.slopes.values(), torch.zeros(3))
    assert not torch.allclose(made, plain)


@pytest.mark.parametrize("method", METHODS)
def test_gradients_that_are_not_finite_are_left_to_be_seen(method: str) -> None:
    two, _ = settled(method, [float("nan"), 0.0, 2.0], [0.0, 3.0, 1.0])
    assert two.gradient() == pytest.approx([float("nan"), 3.0, 3.0], nan_ok=True)


def test_mgda_takes_the_shortest_convex_combination() -> None:
    # Désidéri 2012: of orthogonal gradients with lengths 1 and 2 it is (4/5, 1/5).
    two, _ = settled("mgda", [1.0, 0.0, 0.0], [0.0, 2.0, 0.0])
    assert two.gradient() == pytest.approx([4 / 5, 2 / 5, 0.0], abs=1e-2)


@pytest.mark.parametrize("method", ["upgrad", "pcgrad"])
def test_a_step_in_batches_is_the_step_at_once(method: str) -> None:
    whole, _ = settled(method, [1.0, 0.0, 1.0], [-2.0, 1.0, 0.5])
    two = Two([1.0, 0.0, 1.0], [-2.0, 1.0, 0.5])
    conflicts = Conflicts(method, {"text": two.shared})
    for share in (0.25, 0.75):
        conflicts.add(two.losses(share), two.own)
    conflicts.settle()
    assert two.gradient() == pytest.approx(whole.gradient())
    assert [p.grad.item() for p in two.own if p.grad is not None] == pytest.approx([2.0, 6.0])


def test_a_task_alone_keeps_its_gradient_and_a_step_that_is_dropped_leaves_none() -> None:
    two = Two([1.0, 0.0, 1.0], [-2.0, 1.0, 0.5])
    conflicts = Conflicts("upgrad", {"text": two.shared})
    conflicts.add({"a": two.losses()["a"]}, two.own)
    conflicts.forget()
    conflicts.add({"b": two.losses()["b"]}, two.own)
    assert conflicts.settle() == {}
    assert two.gradient() == [-2.0, 1.0, 0.5]


def test_each_encoder_is_settled_among_the_tasks_that_read_it() -> None:
    first, second = Two([1.0, 0.0, 1.0], [-2.0, 1.0, 0.5]), Two([1.0, 1.0, 1.0], [0.0, 2.0, 0.0])
    alone = torch.nn.Parameter(torch.ones(1))
    conflicts = Conflicts("mgda", {"text": first.shared, "audio": second.shared})
    losses = {**first.losses(), **{f"{name}2": loss for name, loss in second.losses().items()}, "c": 4 * alone.sum()}
    conflicts.add(losses, [*first.own, *second.own, alone])
    assert set(conflicts.settle()) == {"text: a|b", "audio: a2|b2"}
    for two, slopes in ((first, ([1.0, 0.0, 1.0], [-2.0, 1.0, 0.5])), (second, ([1.0, 1.0, 1.0], [0.0, 2.0, 0.0]))):
        assert two.gradient() == pytest.approx(settled("mgda", *slopes)[0].gradient())
    assert alone.grad is not None
    assert alone.grad.item() == 4.0


def test_a_method_that_there_is_not_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="unknown 'pcgrat'; did you mean 'pcgrad'"):
        Conflicts("pcgrat", {})
    assert {"upgrad", "pcgrad", "cagrad", "mgda", "nash_mtl", "aligned_mtl"} <= METHODS.keys()


class Parabolas:
    """Two tasks over a point in the plane: its squared distance to (-1, 0), and that to (1, 0) times `steepness`.

    The Pareto front is the line between the two places.
    """

    def __init__(self, steepness: float, start: tuple[float, float]) -> None:
        self.point = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
        self.steepness = steepness

    def losses(self) -> dict[str, torch.Tensor]:
        places = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
        first, second = (self.point - places).square().sum(dim=1)
        return {"a": first, "b": self.steepness * second}

    def descend(self, method: str, *, steps: int = 100, rate: float = 0.2) -> list[list[float]]:
        """Return the losses on the way."""
        conflicts = Conflicts(method, {"plane": [self.point]})
        way = []
        for _ in range(steps):
            losses = self.losses()
            way.append([each.item() for each in losses.values()])
            conflicts.add(losses)
            conflicts.settle()
            assert self.point.grad is not None
            with torch.no_grad():
                self.point -= rate / self.steepness * self.point.grad
        return way


@pytest.mark.parametrize("method", sorted(METHODS))
def test_each_method_lands_on_the_pareto_front(method: str) -> None:
    plane = Parabolas(3.0, (-0.6, 1.5))
    plane.descend(method, steps=50)
    x, y = plane.point.tolist()
    assert abs(y) < 0.05  # Nash-MTL slows down there
    assert -1 <= x <= 1


@pytest.mark.parametrize("method", ["sum", "cagrad", "aligned_mtl"])
def test_what_ends_where_the_sum_is_least_does(method: str) -> None:
    # CAGrad with c < 1 (Liu et al. 2021, theorem 3.2) and Aligned-MTL with equal weights (Senushkin et al. 2023)
    # reach what the sum has: x + 1 + 3 (x - 1) = 0.
    plane = Parabolas(3.0, (-0.6, 1.5))
    plane.descend(method)
    assert plane.point.tolist() == pytest.approx([0.5, 0.0], abs=0.02)


@pytest.mark.parametrize("method", ["upgrad", "mgda"])
def test_neither_loss_rises_on_the_way(method: str) -> None:
    way = Parabolas(3.0, (-0.6, 1.5)).descend(method)
    # The sum makes the first task worse from here on; a step that is not infinitely small, a little.
    plain = Parabolas(3.0, (-0.6, 1.5)).descend("sum")
    assert max(after[0] - before[0] for before, after in pairwise(plain)) > 0.2
    for before, after in pairwise(way):
        assert all(b <= a + 1e-3 for a, b in zip(before, after, strict=True))


def test_the_bargain_of_nash_does_not_ask_how_large_a_loss_is() -> None:
    # Navon et al. 2022: the weights solve G G' w = 1 / w, so scaled losses are weighed the less.
    made = []
    for scale in (1.0, 10.0):
        two, _ = settled("nash_mtl", [1.0, 0.0, 0.0], [-0.5 * scale, 1.0 * scale, 0.0])
        made.append(torch.nn.functional.normalize(torch.tensor(two.gradient()), dim=0))
    torch.testing.assert_close(made[0], made[1], rtol=0, atol=2e-2)
    of_sum = torch.nn.functional.normalize(torch.tensor([-4.0, 10.0, 0.0]), dim=0)
    assert not torch.allclose(made[1], of_sum, atol=0.1)
