"""The weights that are judged and saved, beside those that are trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from jenga.trainer.judged import Average, Judged, judged_tensors, statistics_kept


class Swapping(torch.optim.SGD):
    """Shows the mean of the weights and of what they were at first; coming back it rounds."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr)
        self.first = [p.detach().clone() for p in self.param_groups[0]["params"]]
        self.swaps: list[str] = []

    @torch.no_grad()
    def eval(self) -> None:
        self.swaps.append("eval")
        torch._foreach_lerp_(self.param_groups[0]["params"], self.first, 0.3)

    @torch.no_grad()
    def train(self) -> None:
        self.swaps.append("train")
        torch._foreach_lerp_(self.param_groups[0]["params"], self.first, 1 - 1 / 0.7)


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))


def moved(tensors: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for each in tensors.values():
            each.add_(torch.randn(each.shape))


def values(tensors: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    return [each.detach().clone() for each in tensors.values()]


def made(decay: float | None, *, swapping: bool = False) -> tuple[dict[str, torch.Tensor], Judged]:
    model = network()
    kind: Any = Swapping if swapping else torch.optim.SGD
    tensors = judged_tensors(model)
    judged = Judged(tensors, kind(model.parameters(), lr=0.1), decay=decay)
    moved({name: p for name, p in tensors.items() if p.is_floating_point()})
    if judged.average is not None:
        judged.average.add()
    return tensors, judged


def test_a_long_average_is_that_of_torch() -> None:
    weight = {"weight": torch.nn.Parameter(torch.randn(4, 3))}
    average, torchs = Average(weight, 0.9), [weight["weight"].detach().clone()]
    average.updates = 1_000
    for _ in range(5):
        moved(weight)
        average.add()
        get_ema_multi_avg_fn(0.9)(torchs, [weight["weight"].detach()], 0)
    torch.testing.assert_close(average.values["weight"], torchs[0])


def test_a_short_average_forgets_the_first_weights_by_one_plus_t_over_ten_plus_t() -> None:
    weight = {"weight": torch.nn.Parameter(torch.zeros(1))}
    average, expected = Average(weight, 0.999), 0.0
    for t in range(20):
        with torch.no_grad():
            weight["weight"].fill_(t + 1.0)
        average.add()
        decay = min(0.999, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * (t + 1.0)
        assert average.values["weight"].item() == pytest.approx(expected)
    assert expected > 15, "not near the zero that it began with"


def test_an_average_of_half_precision_moves_by_less_than_its_steps() -> None:
    weight = {"weight": torch.nn.Parameter(torch.ones(1, dtype=torch.bfloat16))}
    average = Average(weight, 0.999)
    average.updates = 10**6
    with torch.no_grad():
        weight["weight"].fill_(2.0)
    average.add()
    assert average.values["weight"].item() == pytest.approx(1.001)


@pytest.mark.parametrize(("decay", "swapping"), [(0.9, False), (None, True)])
def test_trained_weights_come_back_bit_for_bit_and_are_there_to_be_saved_in_between(
    decay: float | None, swapping: bool
) -> None:
    tensors, judged = made(decay, swapping=swapping)
    trained = values(tensors)
    with judged.shown() as changed:
        shown = values(tensors)
        assert changed
        assert not all(map(torch.equal, shown, trained))
        with judged.shown() as again, judged.hidden():
            assert not again
            assert all(map(torch.equal, values(tensors), trained))
            with judged.hidden():
                assert all(map(torch.equal, values(tensors), trained))
        assert all(map(torch.equal, values(tensors), shown))
    assert all(map(torch.equal, values(tensors), trained))
    if swapping:
        assert judged.swapping.swaps == ["eval", "train"] * 2  # type: ignore[union-attr]


def test_what_is_shown_is_the_average_of_weights_and_of_statistics() -> None:
    tensors, judged = made(0.9)
    assert {"0.weight", "1.running_mean", "1.running_var", "1.num_batches_tracked"} <= tensors.keys()
    assert judged.average is not None
    assert judged.average.values.keys() == tensors.keys() - {"1.num_batches_tracked"}
    with judged.shown():
        for name, value in judged.average.values.items():
            assert torch.equal(tensors[name], value), name


def test_weights_come_back_after_an_error() -> None:
    tensors, judged = made(0.9)
    trained = values(tensors)
    with pytest.raises(KeyError), judged.shown():
        raise KeyError
    assert all(map(torch.equal, values(tensors), trained))


def test_where_nothing_differs_nothing_is_copied() -> None:
    _, judged = made(None)
    with judged.shown() as changed, judged.hidden():
        assert not changed
        assert judged._trained is None


def test_frozen_weights_are_not_averaged() -> None:
    model = network()
    model[0].requires_grad_(False)
    assert not {"0.weight", "0.bias"} & judged_tensors(model).keys()


def test_statistics_are_kept_whatever_the_model_is_shown() -> None:
    model = network()
    before = values(judged_tensors(model))
    with statistics_kept(model):
        model(torch.randn(8, 3)).sum().backward()
    assert all(map(torch.equal, before, values(judged_tensors(model))))
