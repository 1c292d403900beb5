"""Layers that are computed together: when they are, and that nothing of one call reaches another."""

from __future__ import annotations

import copy
import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import seeds
import torch
from torch import Tensor, nn

from jenga import accelerate, acceleration
from jenga.peft.groups import groups_of

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # PEFT's own
NAMES = ("q_proj", "k_proj", "v_proj")


class Attention(nn.Module):
    """Three projections that are called in the order of `order`, with what `inputs` says of each."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = nn.Linear(8, 8), nn.Linear(8, 4), nn.Linear(8, 6)
        self.order = list(NAMES)

    def forward(self, x: Tensor, other: Tensor | None = None) -> list[Tensor]:
        outputs = {}
        for name in self.order:
            source = x if other is None or name == "q_proj" else other
            outputs[name] = getattr(self, name)(source)
        return [outputs[name] for name in NAMES if name in outputs]


def make(**options: Any) -> tuple[Any, Any]:
    """An accelerated attention in float64, and the same one as PEFT runs it."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seeds.derived(0))
    config = LoraConfig(r=2, target_modules=list(NAMES), init_lora_weights=False, **options)
    theirs = get_peft_model(Attention().double(), config)
    return accelerate(copy.deepcopy(theirs)), theirs


def inputs(seed: int = 1) -> Tensor:
    return torch.randn(5, 8, dtype=torch.float64, generator=seeds.generator(seed))


def same(ours: list[Tensor], theirs: list[Tensor]) -> None:
    # float64, in another order of sums
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def group_of(model: Any) -> Any:
    return model.base_model.model.q_proj._jenga_group


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of layers in each call of the kernel."""
    from jenga.peft import fused

    found: list[int] = []
    run = fused.run

    def counted(x: Tensor, layers: Any, rows: Any) -> Any:
        found.append(len(layers))
        return run(x, layers, rows)

    monkeypatch.setattr(fused, "run", counted)
    return found


@pytest.mark.parametrize("order", [NAMES, NAMES[::-1], ("k_proj", "q_proj", "v_proj")], ids=lambda names: names[0])
def test_layers_of_one_input_are_one_call_whichever_comes_first(order: tuple[str, ...], calls: list[int]) -> None:
    ours, theirs = make()
    ours.base_model.model.order = list(order)
    for seed in (1, 2):
        same(ours(inputs(seed)), theirs(inputs(seed)))
    assert calls == [3, 3]


def test_a_group_has_the_gradients_of_its_layers_alone(calls: list[int]) -> None:
    ours, theirs = make(use_rslora=True)
    alone = copy.deepcopy(ours)
    group_of(alone).given_up = True
    found = []
    for model in (ours, alone, theirs):
        x = inputs().requires_grad_()
        # Each gradient is then a slice of one tensor.
        torch.cat(model(x), dim=1).pow(3).sum().backward()
        found.append([x.grad, *(each.grad for each in model.parameters() if each.requires_grad)])
    assert calls == [3, 1, 1, 1]
    same(found[0], found[1])
    same(found[0], found[2])


@pytest.mark.parametrize("options", [{"use_dora": True}, {"lora_bias": True}, {"lora_dropout": 0.5}], ids=str)
def test_groups_hold_for(options: dict[str, Any], calls: list[int]) -> None:
    ours, theirs = make(**options)
    same(ours.eval()(inputs()), theirs.eval()(inputs()))
    ours.train()(inputs())
    assert calls == [3, 3]


def test_the_layers_of_a_group_drop_the_same_elements() -> None:
    ours, _ = make(lora_dropout=0.5)
    layers = [getattr(ours.base_model.model, name) for name in NAMES]
    with torch.no_grad():
        for layer in layers:  # The update is then the first columns of the dropped x
            layer.lora_A["default"].weight.copy_(torch.eye(8)[:2])
            layer.lora_B["default"].weight.copy_(torch.eye(layer.out_features)[:, :2] / layer.scaling["default"])
    x = inputs() + 10.0
    outputs = ours.train()(x)
    shown = [(output - layer.base_layer(x))[:, :2] for output, layer in zip(outputs, layers, strict=True)]
    assert 0 < int((shown[0].abs() < 1e-9).sum()) < shown[0].numel()
    same(shown[1:], shown[:1] * 2)


# ----------------------------------------------------------------------------------------------- when they are given up


def test_cross_attention_gives_the_group_up(calls: list[int], caplog: pytest.LogCaptureFixture) -> None:
    ours, theirs = make()
    with caplog.at_level(logging.INFO, logger="jenga.peft"):
        for seed in (1, 2):
            same(ours(inputs(seed), inputs(7)), theirs(inputs(seed), inputs(7)))
    # The others' outputs of the first call are lost, once.
    assert calls == [3, 1, 1, 1, 1, 1]
    assert [each.getMessage() for each in caplog.records] == [
        "layers that were to be computed together do not read the same input; each computes its own"
    ]
    assert acceleration(ours).groups == []
    accelerate(ours)
    assert acceleration(ours).groups == [], "a second call tried again"


def test_a_layer_that_is_never_called_lets_the_group_rest(calls: list[int]) -> None:
    ours, theirs = make()
    for model in (ours, theirs):
        model.base_model.model.order = ["q_proj", "k_proj"]
    for seed in (1, 2, 3):
        same(ours(inputs(seed)), theirs(inputs(seed)))
    assert calls == [3, 3, 1, 1]
    assert not group_of(ours).together
    assert acceleration(ours).groups == []
    calls.clear()
    for seed in range(100):
        same(ours(inputs(seed)), theirs(inputs(seed)))
    assert calls.count(3) == 4, "each rest is twice as long as the one before"


def test_a_group_recovers_from_exceptions_between_its_calls(calls: list[int]) -> None:
    ours, theirs = make()
    for seed in range(4):
        ours.base_model.model.order = ["q_proj", "none"]
        with pytest.raises(AttributeError, match="none"):
            ours(inputs(seed))
    ours.base_model.model.order = list(NAMES)
    calls.clear()
    for seed in range(20):
        same(ours(inputs(seed)), theirs(inputs(seed)))
    assert calls[-5:] == [3] * 5
    assert group_of(ours).together


def test_an_exception_between_calls_leaves_nothing_stale(calls: list[int]) -> None:
    ours, theirs = make()
    x = inputs()
    ours.base_model.model.order = ["q_proj", "none"]
    with pytest.raises(AttributeError, match="none"):
        ours(x)
    ours.base_model.model.order = list(NAMES)
    with torch.no_grad():  # and the retry, with the very same tensor, sees other weights
        for model in (ours, theirs):
            model.base_model.model.v_proj.lora_B["default"].weight.mul_(2.0)
    for seed in (0, 1, 2):
        same(ours(x), theirs(x))
        x = inputs(seed)
    assert calls == [3, 3, 3, 3], "one exception gives no group up"


def test_layers_that_differ_in_dropout_compute_their_own(calls: list[int]) -> None:
    ours, theirs = make(lora_dropout=0.5)
    ours.base_model.model.k_proj.eval()
    ours.train(False).base_model.model.q_proj.train()
    ours(inputs())
    assert calls == [1, 1, 1]
    same(ours.eval()(inputs()), theirs.eval()(inputs()))
    assert calls[3:] == [3]


def test_a_merged_or_disabled_sibling_leaves_the_others_alone(calls: list[int]) -> None:
    ours, theirs = make()
    for model in (ours, theirs):
        model.base_model.model.k_proj.merge()
        model.base_model.model.v_proj.enable_adapters(False)
    same(ours(inputs()), theirs(inputs()))
    assert calls == [1]


def test_tensors_of_inference_mode_are_not_grouped(calls: list[int]) -> None:
    ours, theirs = make()
    with torch.inference_mode():
        same(ours(inputs()), theirs(inputs()))
    assert calls == [1, 1, 1], "nothing counts the writes to such tensors"


# ------------------------------------------------------------------------------------------- what changes between calls


def change_input(model: Any, x: Tensor) -> None:
    x += 1.0


def change_adapter(model: Any, x: Tensor) -> None:
    with torch.no_grad():
        model.base_model.model.k_proj.lora_A["default"].weight.mul_(3.0)


def change_base(model: Any, x: Tensor) -> None:
    with torch.no_grad():
        model.base_model.model.k_proj.base_layer.weight.mul_(3.0)


def change_scale(model: Any, x: Tensor) -> None:
    model.base_model.model.k_proj.set_scale("default", 5.0)


def change_active(model: Any, x: Tensor) -> None:
    model.base_model.model.k_proj.set_adapter([])


@pytest.mark.parametrize(
    "change", [change_input, change_adapter, change_base, change_scale, change_active], ids=lambda each: each.__name__
)
def test_an_output_from_before_a_change_is_not_handed_out(change: Callable[[Any, Tensor], None]) -> None:
    ours, theirs = make()
    found = []
    for model in (ours, theirs):
        x, layers = inputs(), model.base_model.model
        layers.q_proj(x)
        change(model, x)
        found.append([layers.k_proj(x), layers.v_proj(x)])
    same(*found)


def test_an_output_without_a_graph_is_not_handed_out_to_training() -> None:
    ours, _ = make()
    x, layers = inputs(), ours.base_model.model
    with torch.no_grad():
        layers.q_proj(x)
    layers.k_proj(x).sum().backward()
    assert layers.k_proj.lora_B["default"].weight.grad is not None


def test_an_output_is_handed_out_once(calls: list[int]) -> None:
    ours, _ = make()
    x, layers = inputs(), ours.base_model.model
    layers.q_proj(x)
    first, second = layers.k_proj(x), layers.k_proj(x)
    assert first is not second
    assert calls == [3, 3]


# --------------------------------------------------------------------------------------------- memory, copies, threads


def test_nothing_is_kept_after_a_step() -> None:
    ours, _ = make()
    x = inputs().requires_grad_()
    outputs = ours(x)
    sum(each.sum() for each in outputs).backward()
    alive = [weakref.ref(each) for each in (x, *outputs)]
    del x, outputs
    assert [each() for each in alive] == [None] * 4


def test_a_copy_between_calls_begins_anew(calls: list[int]) -> None:
    ours, theirs = make()
    with torch.no_grad():
        ours.base_model.model.q_proj(inputs())
    other = copy.deepcopy(ours)
    assert group_of(other) is not group_of(ours)
    assert group_of(other).layers[0] is other.base_model.model.q_proj
    same(other(inputs()), theirs(inputs()))
    assert calls == [3, 3]


def test_threads_that_share_a_model_do_not_share_outputs(calls: list[int]) -> None:
    ours, theirs = make()
    wanted = {seed: theirs(inputs(seed)) for seed in range(4)}
    ready, found = threading.Barrier(4), {}

    def work(seed: int) -> None:
        x, layers, outputs = inputs(seed), ours.base_model.model, []
        for name in NAMES:  # each thread's call stands between two of every other
            ready.wait(timeout=30)
            outputs.append(getattr(layers, name)(x))
        found[seed] = outputs

    threads = [threading.Thread(target=work, args=(seed,)) for seed in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.keys() == wanted.keys()
    for seed, outputs in found.items():
        same(outputs, wanted[seed])
    assert calls == [3] * 4


# ---------------------------------------------------------------------------------------------------------------- names


def test_siblings_are_found_by_name_and_width() -> None:
    layers: dict[str, nn.Module] = {
        "a.query": nn.Linear(4, 4), "a.key": nn.Linear(4, 2), "a.value": nn.Linear(4, 2),
        "b.q_proj": nn.Linear(4, 4), "b.v_proj": nn.Linear(4, 4),
        "c.gate_proj": nn.Linear(4, 4), "c.up_proj": nn.Linear(4, 4), "c.down_proj": nn.Linear(4, 4),
        "d.query": nn.Linear(4, 4), "e.key": nn.Linear(4, 4),
        "f.q_proj": nn.Linear(4, 4), "f.k_proj": nn.Linear(3, 4),
        "query": nn.Linear(4, 4), "value": nn.Linear(4, 4),
    }  # fmt: skip
    assert groups_of(layers) == [
        ("a.query", "a.key", "a.value"), ("b.q_proj", "b.v_proj"), ("c.gate_proj", "c.up_proj"), ("query", "value"),
    ]  # fmt: skip


def test_a_layer_of_a_group_whose_output_is_unused_gets_no_gradient_as_with_peft() -> None:
    for model in make():
        query, _, value = model(inputs())
        (query.sum() + value.sum()).backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters() if "lora_" in name}
        assert {name for name, gradient in gradients.items() if gradient is None} == {
            name for name in gradients if "k_proj" in name
        }


def test_a_group_is_computed_together_only_where_the_kernel_pays_for_all(
    calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from jenga.peft import fused

    monkeypatch.setattr(fused, "least_tokens", lambda layer: 9 if layer.out_features == layer.in_features else 2)
    ours, theirs = make()
    same(ours(inputs(1)), theirs(inputs(1)))
    assert len(inputs(1)) < 9
    assert calls == []
