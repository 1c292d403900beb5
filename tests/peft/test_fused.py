"""One LoRA layer at a time: what its fused forward takes, and what it leaves to PEFT's."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import logging
from collections.abc import Callable
from typing import Any

import pytest
import seeds
import torch
from torch import Tensor, nn

from jenga import accelerate, acceleration
from jenga.peft import fused
from jenga.peft.fused import fused_class, is_fused, least_tokens, why_not

Calls = list[Tensor]


class One(nn.Module):
    def __init__(self, layer: nn.Module | None = None) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 10) if layer is None else layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def lora(**options: Any) -> Any:
    from peft import LoraConfig

    return LoraConfig(**{"r": 3, "target_modules": ["layer"], "init_lora_weights": False} | options)


def twins(layer: nn.Module | None = None, *, dtype: torch.dtype = torch.float64, **options: Any) -> tuple[Any, Any]:
    """A fused LoRA layer, and the same one as PEFT runs it; random adapters."""
    from peft import get_peft_model

    torch.manual_seed(seeds.derived(0))
    theirs = get_peft_model(One(layer).to(dtype), lora(**options))
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "magnitude" in name:
                parameter.mul_(torch.linspace(0.5, 2.0, parameter.numel()))
    ours = accelerate(copy.deepcopy(theirs))
    return ours.base_model.model.layer, theirs.base_model.model.layer


def inputs(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    dice = seeds.generator(1)
    return torch.randn(*(shape or (6, 12)), generator=dice, dtype=torch.float64).to(dtype).requires_grad_()


def results(layer: nn.Module, x: Tensor, **more: Any) -> list[Tensor]:
    """The output, and the gradients of x and of every parameter that is trained."""
    trained = [each for each in layer.parameters() if each.requires_grad]
    output = layer(x, **more)
    weights = torch.linspace(-1.0, 2.0, output.numel(), dtype=output.dtype).view_as(output)
    return [output, *torch.autograd.grad((output * weights).sum(), [x, *trained])]


def same(ours: Any, theirs: Any) -> None:
    # float64, in another order of sums
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The x of each call of the kernel."""
    from jenga.peft import fused

    found: Calls = []
    run = fused.run

    def counted(x: Tensor, layers: Any, rows: Any) -> Any:
        found.append(x)
        return run(x, layers, rows)

    monkeypatch.setattr(fused, "run", counted)
    return found


def conv1d() -> nn.Module:
    from transformers.pytorch_utils import Conv1D

    return Conv1D(10, 12)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(12, 10), "no-bias": lambda: nn.Linear(12, 10, bias=False), "conv1d": conv1d,
}  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"use_dora": True}, {"lora_bias": True}], ids=["lora", "dora", "lora-bias"])
@pytest.mark.parametrize("shape", [(6, 12), (12,), (0, 12), (2, 0, 12), (2, 3, 4, 12)], ids=str)
@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_and_its_gradients_are_those_of_peft(
    kind: str, shape: tuple[int, ...], options: dict[str, Any], calls: Calls
) -> None:
    if shape == (12,) and "use_dora" in options:
        pytest.skip("PEFT's result has a dimension of 1 too many")
    if kind == "no-bias" and "lora_bias" in options:
        pytest.skip("PEFT refuses a bias for the update of a layer without one")
    ours, theirs = twins(LAYERS[kind](), fan_in_fan_out=kind == "conv1d", **options)
    x = inputs(*shape)
    same(results(ours, x), results(theirs, x))
    assert len(calls) == 1


def test_a_trained_base_weight_gets_its_gradient(calls: Calls) -> None:
    ours, theirs = twins()
    for layer in (ours, theirs):
        layer.base_layer.weight.requires_grad_()
    found = results(ours, inputs())
    same(found, results(theirs, inputs()))
    assert len(found) == 5
    assert calls


def test_a_strided_input_is_taken_as_it_is(calls: Calls) -> None:
    ours, theirs = twins()
    x = inputs(12, 6).t()
    same(results(ours, x), results(theirs, x))
    assert calls[0] is x


def test_parameters_that_lie_in_one_buffer_are_taken_as_they_are(calls: Calls) -> None:
    ours, theirs = twins()
    flat = torch.cat([each.detach().flatten() for each in ours.parameters()])  # as FSDP keeps them
    begin = 0
    for parameter in ours.parameters():
        parameter.data = flat[begin : begin + parameter.numel()].view_as(parameter)
        begin += parameter.numel()
    assert ours.lora_B["default"].weight.storage_offset() > 0
    same(results(ours, inputs()), results(theirs, inputs()))
    assert calls


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_adapters_in_float32_on_a_half_precision_base_err_at_most_twice_as_pefts(dtype: torch.dtype) -> None:
    ours, theirs = twins(dtype=dtype, lora_bias=True)
    assert ours.lora_A["default"].weight.dtype == torch.float32
    x = inputs(64, 12, dtype=dtype)
    exact = results(copy.deepcopy(theirs).double(), x.detach().double().requires_grad_())
    for mine, other, wanted in zip(results(ours, x), results(theirs, x), exact, strict=True):
        assert mine.dtype == other.dtype
        error, allowed = ((each.double() - wanted).norm() / wanted.norm() for each in (mine, other))
        # Ours rounds the gradient of a float32 bias to x's type, once.
        assert error < 2 * allowed + torch.finfo(dtype).eps / 2


def test_several_adapters_are_one_call(calls: Calls) -> None:
    ours, theirs = twins()
    for layer in (ours, theirs):
        torch.manual_seed(seeds.derived(1))
        layer.update_layer("other", r=2, lora_alpha=5, config=lora(r=2))
        layer.to(torch.float64)
        layer.set_adapter(["default", "other"])
    same(results(ours, inputs()), results(theirs, inputs()))
    assert len(calls) == 1


def test_adapters_with_biases_cannot_be_mixed_in_a_batch_and_are_left_to_peft(
    calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = twins(lora_bias=True)
    names = ["default", "__base__"]
    x = inputs(2, 12)
    with caplog.at_level(logging.WARNING, logger="jenga.peft"):
        same(ours(x, adapter_names=names), theirs(x, adapter_names=names))
    assert not calls
    assert "adapters of single rows have biases" in caplog.text


def test_a_batch_of_another_length_than_its_names_is_refused() -> None:
    ours, _ = twins()
    with pytest.raises(ValueError, match="Length of `adapter_names` should be the same as the number of inputs"):
        ours(inputs(), adapter_names=["default"])


def test_dora_cannot_be_mixed_in_a_batch() -> None:
    ours, _ = twins(use_dora=True)
    with pytest.raises(ValueError, match="Cannot pass `adapter_names` when DoRA is enabled"):
        ours(inputs(2, 12), adapter_names=["default", "__base__"])


# ----------------------------------------------------------------------------------------------------------------- DoRA


def test_dropout_of_dora_reaches_the_update_alone() -> None:
    ours, theirs = twins(use_dora=True, lora_dropout=0.5)
    x = inputs()
    for layer in (ours, theirs):
        with torch.no_grad():
            layer.lora_B["default"].weight.zero_()
    wanted = theirs.eval()(x)
    same(ours.train()(x), wanted)
    # PEFT's drops elements of the base weight's share too.
    assert not torch.allclose(theirs.train()(x), wanted)


@pytest.mark.parametrize("use_dora", [False, True])
def test_dropout_keeps_the_mean_and_does_nothing_in_evaluation(use_dora: bool) -> None:
    ours, theirs = twins(lora_dropout=0.25, use_dora=use_dora)
    x = inputs(1, 12).detach()
    wanted = theirs.eval()(x).detach()
    same(ours.eval()(x).detach(), wanted)
    torch.manual_seed(seeds.derived(0))
    drawn = ours.train()(x.expand(20_000, 12)).detach()
    # The mean of 20,000 draws errs by their deviation / 141; five of those, at a chance of 1 in a million an output.
    assert bool(((drawn.mean(0) - wanted).abs() <= 5 * drawn.std(0) / 20_000**0.5).all())
    assert float(drawn.std(0).min()) > 0.01


def test_norms_of_dora_follow_a_base_that_changes() -> None:
    ours, theirs = twins(use_dora=True)
    same(ours(inputs()), theirs(inputs()))
    for layer in (ours, theirs):
        with torch.no_grad():
            layer.base_layer.weight.mul_(3.0)
    same(ours(inputs()), theirs(inputs()))
    for layer in (ours, theirs):
        layer.base_layer.weight.data = layer.base_layer.weight.data.flip(0).clone()
    same(ours(inputs()), theirs(inputs()))
    for layer in (ours, theirs):
        layer.merge()
        layer.unmerge()
    same(ours(inputs()), theirs(inputs()))


def test_norms_of_dora_follow_a_base_that_takes_the_memory_of_the_one_before() -> None:
    ours, theirs = twins(nn.Linear(256, 256), use_dora=True)
    x = inputs(6, 256)
    same(ours(x), theirs(x))
    for factor in (2.0, 3.0, 5.0):
        for layer in (ours, theirs):
            weight = layer.base_layer.weight
            changed = weight.data.numpy() * factor
            # An allocator gives freed memory of the same size out again.
            weight.data = torch.empty(0, dtype=torch.float64)
            weight.data = torch.tensor(changed)
        same(ours(x), theirs(x))


def test_dora_runs_on_a_model_that_was_made_in_inference_mode() -> None:
    with torch.inference_mode():
        ours, theirs = twins(use_dora=True)
        same(ours(inputs().detach()), theirs(inputs().detach()))


def test_hooks_on_all_modules_see_the_base_layer_as_with_peft(calls: Calls) -> None:
    ours, _ = twins()
    seen: list[nn.Module] = []
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(module))
    try:
        ours(inputs())
    finally:
        handle.remove()
    assert any(module is ours.base_layer for module in seen)
    assert not calls


@pytest.mark.parametrize("register", ["register_module_full_backward_hook", "register_module_full_backward_pre_hook"])
def test_backward_hooks_on_all_modules_fire_as_often_as_with_peft(register: str, calls: Calls) -> None:
    fired = []
    for layer in twins():
        seen: list[nn.Module] = []
        handle = getattr(nn.modules.module, register)(lambda module, *_, seen=seen: seen.append(module))
        try:
            layer(inputs().requires_grad_()).sum().backward()
        finally:
            handle.remove()
        fired.append(len(seen))
    assert fired[0] == fired[1] > 1
    assert not calls


# ------------------------------------------------------------------------------------------------ where it does not pay

LEAST_TOKENS = least_tokens
"""As it is: the tests around run the kernel at every size."""


@pytest.mark.parametrize(
    ("width", "rank", "tokens", "options", "pays"),
    [
        (64, 4, 255, {}, False),
        (64, 4, 256, {}, True),
        (64, 5, 4096, {}, False),
        (640, 40, 319, {}, False),
        (640, 40, 320, {}, True),
        (64, 32, 1, {"use_dora": True}, True),
    ],
)
def test_the_kernel_is_called_only_where_it_pays(
    width: int, rank: int, tokens: int, options: dict[str, Any], pays: bool, calls: Calls,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(fused, "least_tokens", LEAST_TOKENS)
    ours, theirs = twins(nn.Linear(width, width), dtype=torch.float32, r=rank, **options)
    x = inputs(1, tokens, width, dtype=torch.float32).detach()
    output = ours(x)
    assert bool(calls) == pays
    if not pays:
        assert torch.equal(output, theirs(x)), "PEFT's own pass, to the bit"


def changed_state(layer: Any, state: str) -> None:
    if state == "second":
        layer.update_layer("other", 4, lora_alpha=8, config=lora(r=4, lora_alpha=8))
        for parameter in (layer.lora_A["other"].weight, layer.lora_B["other"].weight):
            torch.nn.init.normal_(parameter.data, generator=seeds.generator(2))
        layer.set_adapter(["default", "other"])
    elif state == "unknown":
        layer._active_adapter = "nobody"
    elif state == "off":
        layer.enable_adapters(False)
    elif state == "merged":
        layer.merge()
    elif state == "scaled":
        layer.scale_layer(3.0)
    elif state == "hooked":
        layer.lora_A["default"].register_forward_hook(lambda module, args, output: output * 2.0)


@pytest.mark.parametrize("state", ["as made", "second", "unknown", "off", "merged", "scaled", "hooked"])
def test_below_it_a_layer_is_pefts_to_the_bit_whatever_has_become_of_it(
    state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "least_tokens", LEAST_TOKENS)
    ours, theirs = twins(nn.Linear(64, 64), dtype=torch.float32, r=4)
    for layer in (ours, theirs):
        changed_state(layer, state)
    x = inputs(1, 5, 64, dtype=torch.float32).detach()
    assert torch.equal(ours(x), theirs(x))
    if state != "unknown":
        assert torch.equal(ours(x), ours.base_layer(x)) == (state in ("off", "merged"))


def test_adapters_in_float32_on_a_half_precision_base_are_cast_below_it_as_peft_casts_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fused, "least_tokens", LEAST_TOKENS)
    ours, theirs = twins(nn.Linear(64, 64), dtype=torch.bfloat16, r=4)
    assert ours.lora_A["default"].weight.dtype == torch.float32
    x = inputs(1, 5, 64, dtype=torch.bfloat16).detach()
    assert torch.equal(ours(x), theirs(x))


# ------------------------------------------------------------------------------------------------- what is left to PEFT


def hook_base(layer: Any) -> None:
    layer.base_layer.register_forward_hook(lambda module, args, output: output + 1.0)


def hook_before_base(layer: Any) -> None:
    layer.base_layer.register_forward_pre_hook(lambda module, args: (args[0] * 2.0,))


def hook_gradient_of_base(layer: Any) -> None:
    layer.base_layer.register_full_backward_hook(lambda module, grads_in, grads_out: (grads_in[0] * 2.0,))


def hook_gradient_before_base(layer: Any) -> None:
    layer.base_layer.register_full_backward_pre_hook(lambda module, grads_out: (grads_out[0] * 2.0,))


def hook_adapter(layer: Any) -> None:
    layer.lora_A["default"].register_forward_hook(lambda module, args, output: output * 2.0)


def replace_forward_of_base(layer: Any) -> None:
    forward = layer.base_layer.forward
    layer.base_layer.forward = lambda x: forward(x) * 2.0


def parametrise_adapter(layer: Any) -> None:
    nn.utils.parametrizations.weight_norm(layer.lora_B["default"])


def other_dropout(layer: Any) -> None:
    layer.lora_dropout["default"] = nn.ReLU()


def all_dropped(layer: Any) -> None:
    layer.lora_dropout["default"] = nn.Dropout(1.0)


CASES: dict[Callable[[Any], None], str] = {
    hook_base: "its base layer has hooks",
    hook_before_base: "its base layer has hooks",
    hook_gradient_of_base: "its base layer has hooks",
    hook_gradient_before_base: "its base layer has hooks",
    replace_forward_of_base: "its base layer has hooks",
    hook_adapter: "adapter 'default' has hooks",
    parametrise_adapter: "adapter 'default' is no pair of linear layers",
    other_dropout: "its dropout is a ReLU",
    all_dropped: "its dropout is 1",
}


@pytest.mark.parametrize("change", CASES, ids=lambda each: each.__name__)
def test_what_changes_a_layers_parts_is_honoured_with_one_reason(
    change: Callable[[Any], None], calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = twins()
    before = results(ours, inputs())
    calls.clear()
    for layer in (ours, theirs):
        change(layer)
    with caplog.at_level(logging.WARNING, logger="jenga.peft"):
        found = results(ours, inputs())
        results(ours, inputs())
    same(found, results(theirs, inputs()))
    assert not calls
    assert [each.getMessage() for each in caplog.records] == [
        f"LoRA layers run PEFT's own forward pass, at its cost, such as base_model.model.layer: {CASES[change]}"
    ]
    assert any(not torch.equal(one, other) for one, other in zip(found, before, strict=True))


class Scaled(Tensor):
    """A weight that is more than its numbers, as those of torch's distributed tensors are."""


def test_a_weight_of_an_unknown_kind_is_left_to_peft(calls: Calls, caplog: pytest.LogCaptureFixture) -> None:
    ours, theirs = twins()
    for layer in (ours, theirs):
        weight = layer.base_layer.weight.detach().as_subclass(Scaled)
        layer.base_layer.weight = nn.Parameter(weight, requires_grad=False)
    same(Tensor(ours(inputs())), Tensor(theirs(inputs())))
    assert not calls
    assert "its base weight is a Scaled of torch.float64" in caplog.text


def test_what_peft_refuses_is_refused_in_its_words() -> None:
    ours, theirs = twins()
    for layer in (ours, theirs):
        with pytest.raises(TypeError, match="unexpected keyword argument 'mask'"):
            layer(inputs(), mask=inputs())


def test_an_input_of_another_type_fails_as_in_torch() -> None:
    ours, theirs = twins()
    with pytest.raises(RuntimeError, match="same dtype"):
        theirs(inputs(dtype=torch.float32))
    with pytest.raises(
        ValueError, match=r"weight 0: is torch.float64, x torch.float32; cast one, or use torch.autocast"
    ):
        ours(inputs(dtype=torch.float32))


# ------------------------------------------------------------------------------------------------ classes and compiling


def test_a_fused_class_is_made_once_and_found_by_name() -> None:
    from peft.tuners.lora import Linear

    made = fused_class(Linear)
    assert made is fused_class(Linear)
    assert made is getattr(importlib.import_module(made.__module__), made.__qualname__)
    assert issubclass(made, Linear)
    ours, theirs = twins()
    assert is_fused(ours)
    assert not is_fused(theirs)
    assert why_not(ours) is None
    assert why_not(theirs) is None
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("options", [{}, {"use_dora": True}, {"lora_bias": True}], ids=["lora", "dora", "lora-bias"])
def test_a_compiled_layer_is_one_graph(options: dict[str, Any]) -> None:
    ours, theirs = twins(**options)
    compiled = torch.compile(ours, backend="aot_eager", fullgraph=True)
    same(results(compiled, inputs()), results(theirs, inputs()))
    torch._dynamo.reset()


def test_a_compiled_layer_that_is_left_to_peft_is_one_graph_too() -> None:
    ours, theirs = twins()
    for layer in (ours, theirs):
        layer.lora_dropout["default"] = nn.ReLU()
    compiled = torch.compile(ours, backend="aot_eager", fullgraph=True)
    same(results(compiled, inputs()), results(theirs, inputs()))
    torch._dynamo.reset()


# ------------------------------------------------------------------------------------------------------ quantised bases


def library(name: str) -> Any:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    return importlib.import_module(name)


def quantised(kind: str) -> nn.Module:
    """A model of one quantised layer of 64 to 32, with what PEFT and transformers note on such a model."""
    plain = nn.Linear(64, 32)
    if kind == "torchao-int8":
        quantization = library("torchao.quantization") if library("torchao") else None
        quantization.quantize_(plain, quantization.Int8WeightOnlyConfig())
        return One(plain)
    bnb = library("bitsandbytes")
    made = (
        bnb.nn.Linear4bit(64, 32, compute_dtype=torch.float32, quant_type="nf4")
        if kind == "nf4"
        else bnb.nn.Linear8bitLt(64, 32, has_fp16_weights=False)
    )
    made.load_state_dict(plain.state_dict())
    model = One(made).to("cpu")
    model.is_loaded_in_4bit, model.is_loaded_in_8bit = kind == "nf4", kind == "int8"
    return model


@pytest.mark.filterwarnings("ignore")  # Of two other libraries
@pytest.mark.parametrize("options", [{}, {"lora_dropout": 0.1}, {"use_dora": True}], ids=["lora", "dropout", "dora"])
@pytest.mark.parametrize("kind", ["nf4", "int8", "torchao-int8"])
def test_a_quantised_base_is_computed_with_as_peft_dequantises_it(
    kind: str, options: dict[str, Any], calls: Calls
) -> None:
    from peft import get_peft_model
    from peft.utils.integrations import dequantize_module_weight

    torch.manual_seed(seeds.derived(0))
    theirs = get_peft_model(quantised(kind), lora(**options)).eval()
    ours = accelerate(copy.deepcopy(theirs))
    assert acceleration(ours).fused == ["base_model.model.layer"]
    layer = theirs.base_model.model.layer
    weight = dequantize_module_weight(layer.base_layer).detach().clone()
    assert weight.unique().numel() < 20 * 32 or kind != "nf4"
    dense = nn.Linear(64, 32)
    dense.load_state_dict({"weight": weight, "bias": layer.base_layer.bias.detach().float()})
    exact = get_peft_model(One(dense), lora(**options)).eval()
    exact.load_state_dict({name: each for name, each in theirs.state_dict().items() if "lora_" in name}, strict=False)
    x = inputs(40, 64, dtype=torch.float32)
    found, wanted = results(ours, x), results(exact.double(), x.detach().double().requires_grad_())
    # Sums of 64 products in float32.
    for mine, each in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine.double(), each, rtol=0, atol=1e-5 * float(each.abs().max()))
    assert len(calls) == 1
