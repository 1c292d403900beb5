"""Accelerated models against PEFT's own forward pass, on whole models and through all that PEFT does to them."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import seeds
import torch
from torch import Tensor, nn

from jenga import accelerate, acceleration, restore

Encoder = Callable[[str], Any]
KINDS = ("bert", "distilbert", "gpt2", "llama", "vit", "whisper")
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # PEFT's own


def lora(**options: Any) -> Any:
    from peft import LoraConfig

    return LoraConfig(**{"r": 4, "lora_alpha": 6, "target_modules": "all-linear"} | options)


def inputs_of(model: nn.Module) -> dict[str, Tensor]:
    kind, dtype = model.config.model_type, next(model.parameters()).dtype
    dice = seeds.generator(1)
    ids = torch.randint(3, 50, (3, 9), generator=dice)
    if kind == "vit":
        return {"pixel_values": torch.randn(3, 3, 8, 8, generator=dice).to(dtype)}
    if kind == "whisper":
        return {"input_features": torch.randn(3, 8, 20, generator=dice).to(dtype), "decoder_input_ids": ids}
    return {"input_ids": ids}


def results(model: nn.Module, **more: Any) -> dict[str, Tensor]:
    """The model's output, and the gradient of every parameter that has one."""
    model.zero_grad()
    output = model(**inputs_of(model), **more).last_hidden_state
    found = {"output": output.detach()}
    if output.requires_grad:
        dice = seeds.generator(5)
        (output * torch.randn(output.shape, generator=dice, dtype=torch.float64).to(output)).sum().backward()
        found |= {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
    return found


def close(ours: dict[str, Tensor], theirs: dict[str, Tensor], *, rtol: float = 1e-9) -> None:
    """In float64, whose sums differ in their order only; a tensor is measured by its largest element.

    Some gradients are sums that cancel to 0, such as that of a key's bias: nothing is left to measure those by.
    """
    assert theirs
    nothing = torch.zeros(())
    for name in ours.keys() | theirs.keys():
        mine, wanted = ours.get(name, nothing), theirs.get(name, nothing)
        assert float((mine - wanted).abs().max()) <= rtol * float(wanted.abs().max()) + 1e-12, name


def stir(model: nn.Module) -> None:
    """Give adapters, biases and magnitudes random values, so that each of them shows."""
    dice = seeds.generator(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or parameter.requires_grad:
                parameter += torch.randn(parameter.shape, generator=dice) * 0.2


@pytest.fixture
def twins(encoder: Encoder) -> Callable[..., tuple[Any, Any]]:
    """Return a function that makes an accelerated PEFT model in float64, and the same one as PEFT runs it."""
    from peft import get_peft_model

    def make(kind: str = "bert", *adapters: Any, dtype: torch.dtype = torch.float64) -> tuple[Any, Any]:
        first, *others = adapters or (lora(),)
        plain = get_peft_model(encoder(kind).to(dtype), first)
        for number, each in enumerate(others):
            plain.add_adapter(f"other{number or ''}", each)
        stir(plain)
        return accelerate(copy.deepcopy(plain)), plain

    return make


@pytest.fixture
def fused_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of layers in each call of the kernel."""
    from jenga.peft import fused

    calls: list[int] = []
    run = fused.run

    def counted(x: Tensor, layers: Any, rows: Any) -> Any:
        calls.append(len(layers))
        return run(x, layers, rows)

    monkeypatch.setattr(fused, "run", counted)
    return calls


# --------------------------------------------------------------------------------------------- results and gradients


@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_and_gradients_are_those_of_peft(kind: str, dora: bool, twins: Any, fused_calls: list[int]) -> None:
    ours, theirs = twins(kind, lora(use_dora=dora, fan_in_fan_out=kind == "gpt2"))
    found = acceleration(ours)
    assert not found.kept
    close(results(ours), results(theirs))
    assert sum(fused_calls) >= len(found.fused) >= 8


@pytest.mark.parametrize(
    "options",
    [
        {"use_rslora": True},
        {"lora_bias": True},
        {"bias": "all"},
        {"bias": "lora_only"},
        {"modules_to_save": ["pooler"]},
        {"rank_pattern": {"query": 2, "intermediate.dense": 7}, "alpha_pattern": {"value": 1}},
        {"use_dora": True, "use_rslora": True, "target_modules": ["query", "output.dense"]},
        {"layers_to_transform": [1], "target_modules": ["key", "query"]},
        {"init_lora_weights": "orthogonal"},
        {"r": 1},
    ],
    ids=lambda options: "-".join(options),
)
def test_every_option_of_lora_is_pefts(options: dict[str, Any], twins: Any, fused_calls: list[int]) -> None:
    ours, theirs = twins("bert", lora(**options))
    close(results(ours), results(theirs))
    assert fused_calls
    assert not acceleration(ours).kept


def test_trained_biases_of_the_base_get_their_gradient(twins: Any) -> None:
    ours, _ = twins("bert", lora(bias="all"))
    found = results(ours)
    trained = [name for name in acceleration(ours).fused if "pooler" not in name]  # which the output does not hang on
    assert len(trained) == 12
    assert all(found[f"{name}.base_layer.bias"].any() for name in trained if not name.endswith("key"))


def two_active(model: Any) -> None:
    model.base_model.set_adapter(["default", "other"])


def switched(model: Any) -> None:
    model.set_adapter("other")


def merged(model: Any) -> None:
    model.merge_adapter()


def unmerged(model: Any) -> None:
    model.merge_adapter()
    model.unmerge_adapter()


def deleted(model: Any) -> None:
    model.set_adapter("other")
    model.delete_adapter("default")


def weighted(model: Any) -> None:
    model.add_weighted_adapter(["default", "other"], [0.5, 2.0], "mixture", combination_type="cat")
    model.set_adapter("mixture")


def added(model: Any) -> None:
    model.add_adapter("third", lora(r=3, target_modules=["query", "output.dense"]))
    stir(model)
    model.base_model.set_adapter(["third", "other"])


def nothing_for_most_layers(model: Any) -> None:
    model.add_adapter("third", lora(r=3, target_modules=["query"]))
    stir(model)
    model.set_adapter("third")


def scaled(model: Any) -> None:
    for layer in model.modules():
        if hasattr(layer, "set_scale"):
            layer.set_scale("default", 3.0)


CHANGES = [two_active, switched, merged, unmerged, deleted, weighted, added, nothing_for_most_layers, scaled]


@pytest.mark.parametrize("change", CHANGES, ids=lambda each: each.__name__)
def test_what_peft_does_to_adapters_shows(change: Callable[[Any], None], twins: Any, fused_calls: list[int]) -> None:
    ours, theirs = twins("bert", lora(), lora(r=2, use_rslora=True))
    before = results(ours)
    fused_calls.clear()
    for model in (ours, theirs):
        torch.manual_seed(seeds.derived(0))
        change(model)
    after = results(theirs)
    close(results(ours), after)
    assert bool(fused_calls) == (change is not merged)
    if change is not unmerged and change is not merged:
        assert not torch.allclose(after["output"], before["output"], rtol=1e-3)


def test_disabled_adapters_leave_the_base(twins: Any, encoder: Encoder, fused_calls: list[int]) -> None:
    ours, _ = twins()
    base = encoder("bert").double()
    with ours.disable_adapter():
        assert torch.equal(results(ours)["output"], results(base)["output"])
    assert not fused_calls
    results(ours)
    assert fused_calls


@pytest.mark.parametrize("names", [["default", "__base__", "other"], ["other"] * 3, ["__base__"] * 3], ids="-".join)
def test_each_sample_of_a_batch_may_have_its_own_adapter(names: list[str], twins: Any, fused_calls: list[int]) -> None:
    ours, theirs = twins("bert", lora(), lora(r=2))
    close(results(ours.eval(), adapter_names=names), results(theirs.eval(), adapter_names=names))
    assert fused_calls


def test_adapters_that_differ_in_dropout_train_as_pefts_with_one_reason(
    twins: Any, fused_calls: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = twins("bert", lora(lora_dropout=0.3), lora(lora_dropout=0.1))
    for model in (ours.train(), theirs.train()):
        two_active(model)
    with caplog.at_level(logging.INFO, logger="jenga.peft"):
        found = []
        for model in (ours, theirs, ours):
            torch.manual_seed(seeds.derived(3))
            found.append(results(model))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[1])
    told = [each.getMessage() for each in caplog.records if "differ in dropout" in each.message]
    assert len(told) == 1
    assert "layer.0.attention.self.query" in told[0]
    assert not fused_calls
    close(results(ours.eval()), results(theirs.eval()))
    assert fused_calls


# ------------------------------------------------------------------------------------------------ precision and modes


def errors(model: nn.Module, exact: dict[str, Tensor], **more: Any) -> dict[str, float]:
    found = results(model, **more)
    return {name: float((found[name].double() - each).norm() / each.norm()) for name, each in exact.items()}


@pytest.mark.parametrize("autocast", [False, True], ids=["bf16-base", "autocast"])
def test_in_bfloat16_errors_are_at_most_twice_those_of_peft(autocast: bool, twins: Any) -> None:
    ours, theirs = twins("bert", lora(), dtype=torch.float32 if autocast else torch.bfloat16)
    assert {each.dtype for name, each in ours.named_parameters() if "lora_" in name} == {torch.float32}
    exact = results(copy.deepcopy(theirs).double())
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        mine, other = errors(ours, exact), errors(theirs, exact)
        assert ours(**inputs_of(ours)).last_hidden_state.dtype == theirs(**inputs_of(ours)).last_hidden_state.dtype
    # One number of 8 bits rounds to 2^-9 of itself; where PEFT happens to be much better than that, so need not we. The
    # error of one small gradient is a draw, which either side may lose: all of them together are compared.
    ours_together, theirs_together = (sum(error**2 for error in each.values()) ** 0.5 for each in (mine, other))
    assert ours_together < 2 * theirs_together + 2**-9, (mine, other)
    assert {name: error for name, error in mine.items() if error >= 8 * other[name] + 2**-9} == {}
    assert max(other.values()) > 2**-12, "bfloat16 showed nowhere"


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated")  # and its successor is PEFT's not
@pytest.mark.parametrize("reentrant", [False, True], ids=["new", "reentrant"])
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_gradient_checkpointing_recomputes_the_same_dropout(kind: str, reentrant: bool, twins: Any) -> None:
    ours, _ = twins(kind, lora(lora_dropout=0.3))
    ours.train()
    for module in ours.modules():  # Whose masks are torch's, and not our subject
        if isinstance(module, nn.Dropout) and module.p != 0.3:
            module.p = 0.0
    ours.enable_input_require_grads()
    torch.manual_seed(seeds.derived(4))
    wanted = results(ours)
    ours.gradient_checkpointing_enable({"use_reentrant": reentrant})
    torch.manual_seed(seeds.derived(4))
    close(results(ours), wanted)
    torch.manual_seed(seeds.derived(5))
    assert not torch.allclose(results(ours)["output"], wanted["output"])


def test_dropout_follows_torchs_seed_and_stops_in_evaluation(twins: Any) -> None:
    ours, theirs = twins("bert", lora(lora_dropout=0.5))
    for model in (ours, theirs):
        for module in model.modules():
            if isinstance(module, nn.Dropout) and module.p != 0.5:
                module.p = 0.0
    ours.train()
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(seeds.derived(seed))
        found.append(results(ours))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert not torch.allclose(found[0]["output"], found[2]["output"])
    close(results(ours.eval()), results(theirs.eval()))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"use_dora": True}, {"lora_dropout": 0.1}], ids=["lora", "dora", "dropout"])
def test_a_compiled_model_is_one_graph_and_computes_the_same(options: dict[str, Any], twins: Any) -> None:
    ours, theirs = twins("bert", lora(**options))
    compiled = torch.compile(ours.eval(), backend="aot_eager", fullgraph=True)
    wanted = results(theirs.eval())
    found = {name.removeprefix("_orig_mod."): each for name, each in results(compiled).items()}
    close(found, wanted)
    torch._dynamo.reset()


@pytest.mark.slow
def test_dropout_trains_in_a_compiled_model(twins: Any) -> None:
    ours, _ = twins("bert", lora(lora_dropout=0.5))
    compiled = torch.compile(ours.train(), backend="aot_eager", fullgraph=True)
    first, second = results(compiled), results(compiled)
    assert not torch.allclose(first["output"], second["output"])
    assert len(first) > 20
    torch._dynamo.reset()


# ------------------------------------------------------------------------------------------- copies, files and undoing


def test_a_copy_is_accelerated_and_apart(twins: Any, fused_calls: list[int]) -> None:
    ours, _ = twins()
    before = results(ours)
    other = copy.deepcopy(ours)
    assert acceleration(other) == acceleration(ours)
    fused_calls.clear()
    close(results(other), before)
    assert 3 in fused_calls
    stir(other)
    close(results(ours), before)
    assert not torch.allclose(results(other)["output"], before["output"])


def test_files_go_from_us_to_peft_and_back(twins: Any, encoder: Encoder, tmp_path: Path) -> None:
    from peft import PeftModel

    ours, theirs = twins("bert", lora(use_dora=True, lora_bias=False))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    assert (tmp_path / "ours" / "adapter_model.safetensors").read_bytes() == (
        tmp_path / "theirs" / "adapter_model.safetensors"
    ).read_bytes()
    wanted = results(theirs)["output"]
    loaded = PeftModel.from_pretrained(encoder("bert").double(), tmp_path / "ours")
    assert torch.equal(results(loaded)["output"], wanted)
    fused = accelerate(PeftModel.from_pretrained(encoder("bert").double(), tmp_path / "theirs"))
    assert torch.equal(results(fused)["output"], results(ours)["output"])
    again, _ = twins()
    again.load_adapter(tmp_path / "theirs", "loaded")
    again.set_adapter("loaded")
    close({"output": results(again)["output"]}, {"output": wanted})


def test_a_merged_and_unloaded_model_is_pefts_to_the_bit(twins: Any) -> None:
    ours, theirs = twins()
    mine, other = ours.merge_and_unload(), theirs.merge_and_unload()
    assert repr(mine) == repr(other)
    assert mine.state_dict().keys() == other.state_dict().keys()
    assert all(torch.equal(each, other.state_dict()[name]) for name, each in mine.state_dict().items())


def test_restore_leaves_no_trace(twins: Any) -> None:
    ours, theirs = twins("bert", lora(use_dora=True))
    results(ours)
    assert restore(ours) is ours
    assert repr(ours) == repr(theirs)
    for mine, other in zip(ours.modules(), theirs.modules(), strict=True):
        assert type(mine) is type(other)
        assert mine.__dict__.keys() == other.__dict__.keys()
    mine, other = results(ours), results(theirs)
    assert all(torch.equal(mine[name], other[name]) for name in other)
    assert acceleration(ours).kept == dict.fromkeys(
        acceleration(theirs).kept, "accelerate was not called since it was added"
    )
    accelerate(ours)
    assert acceleration(ours).fused


def test_what_peft_tells_of_a_model_is_as_before(twins: Any) -> None:
    ours, theirs = twins()
    assert repr(ours) == repr(theirs)
    assert ours.get_layer_status() == theirs.get_layer_status()
    assert ours.get_model_status() == theirs.get_model_status()


def test_a_second_call_changes_nothing_but_new_layers(twins: Any) -> None:
    ours, _ = twins("bert", lora(target_modules=["query", "value"]))
    before = acceleration(ours)
    layers = {name: (type(each), getattr(each, "_jenga_group", None)) for name, each in ours.named_modules()}
    ours.add_adapter("wider", lora(target_modules=["query", "intermediate.dense"]))
    added = {name for name in acceleration(ours).kept if "intermediate" in name}
    assert len(added) == 2
    assert set(acceleration(ours).kept.values()) == {"accelerate was not called since it was added"}
    accelerate(ours)
    assert set(acceleration(ours).fused) == {*before.fused, *added}
    assert acceleration(ours).groups == before.groups
    for name, each in ours.named_modules():
        if name not in added and name in layers:
            assert (type(each), getattr(each, "_jenga_group", None)) == layers[name]


def replicated(model: nn.Module) -> nn.Module:
    """A replica as nn.DataParallel makes it: copied objects, parameters that are plain tensors."""
    modules = list(model.modules())
    copies = {id(module): module._replicate_for_data_parallel() for module in modules}
    for module in modules:
        mine = copies[id(module)]
        for name, child in module._modules.items():
            mine._modules[name] = None if child is None else copies[id(child)]
        for name, parameter in module._parameters.items():
            mine._parameters.pop(name, None)
            setattr(mine, name, None if parameter is None else parameter * 1.0)
    return copies[id(model)]


def test_replicas_of_data_parallel_run_fused(twins: Any, fused_calls: list[int]) -> None:
    ours, theirs = twins()
    replica = replicated(ours.base_model.model)
    output = replica(**inputs_of(ours)).last_hidden_state
    close({"output": output.detach()}, {"output": results(theirs)["output"]})
    assert set(fused_calls) == {1}, "a replica's layers are none of the group's"
    output.sum().backward()
    assert all(
        each.grad is not None for name, each in ours.named_parameters() if "lora_" in name and "pooler" not in name
    )


# --------------------------------------------------------------------------------------------------- what is accepted


def test_a_config_puts_adapters_in(encoder: Encoder) -> None:
    from peft import PeftModel

    model = accelerate(encoder("bert"), lora(target_modules=["query"]))
    assert isinstance(model, PeftModel)
    assert [name.rpartition(".")[2] for name in acceleration(model).fused] == ["query"] * 2
    assert str(acceleration(model)) == "2 LoRA layers fused, 0 groups of them computed together"


def test_adapters_that_transformers_added_are_fused(encoder: Encoder, fused_calls: list[int]) -> None:
    model = encoder("llama").double()
    model.add_adapter(lora(target_modules=["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"]))
    stir(model)
    wanted = results(model)
    accelerate(model)
    assert [len(each) for each in acceleration(model).groups] == [3, 2] * 2
    close(results(model), wanted)
    assert fused_calls == [3, 2] * 2
    model.disable_adapters()
    assert torch.equal(results(model)["output"], results(encoder("llama").double())["output"])


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2.0 * super().forward(x)


class Mixed(nn.Module):
    """Layers that PEFT adapts, of which one is a plain linear one."""

    def __init__(self) -> None:
        super().__init__()
        self.plain, self.doubled = nn.Linear(8, 8), Doubled(8, 8)
        self.embedding, self.convolution = nn.Embedding(5, 8), nn.Conv2d(1, 2, 3)
        self.attention = nn.MultiheadAttention(8, 2)
        self.offloaded = nn.Linear(8, 8)
        self.parametrised = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))


def test_layers_without_a_fused_form_are_named_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    from peft import get_peft_model

    names = ["plain", "doubled", "embedding", "convolution", "attention", "offloaded", "parametrised"]
    model = get_peft_model(Mixed(), lora(target_modules=names))
    model.base_model.model.offloaded.forward = lambda x: x
    with caplog.at_level(logging.WARNING, logger="jenga.peft"):
        accelerate(model)
    found = acceleration(model)
    assert "base_model.model.plain" in found.fused
    reasons = {name.removeprefix("base_model.model."): reason for name, reason in found.kept.items()}
    assert reasons == {
        "doubled": "its base layer, a Doubled, has a forward of its own",
        "embedding": "Embedding is no linear layer that the kernel knows",
        "convolution": "Conv2d is no linear layer that the kernel knows",
        "attention": "MultiheadAttention is no linear layer that the kernel knows",
        "offloaded": "its forward is another library's",
        "parametrised": "its base weight is parametrised",
    }
    [record] = caplog.records
    assert "not fused: base_model.model.embedding: Embedding is no linear layer" in record.getMessage()


@pytest.mark.filterwarnings("ignore:aLoRA is currently only supported")
def test_variants_of_lora_are_left_to_peft(encoder: Encoder, fused_calls: list[int]) -> None:
    from peft import get_peft_model

    model = get_peft_model(encoder("llama"), lora(alora_invocation_tokens=[5]))
    accelerate(model)
    found = acceleration(model)
    assert not found.fused
    assert set(found.kept.values()) == {"its adapter is a ALoraLinearVariant, which has no fused form"}
    model.add_adapter("usual", lora())
    model.set_adapter("usual")
    accelerate(model)
    assert not acceleration(model).kept


def test_adapters_of_another_kind_are_named(encoder: Encoder) -> None:
    from peft import LoHaConfig, PeftMixedModel

    model = PeftMixedModel(encoder("bert"), lora(target_modules=["query"]), "default")
    model.add_adapter("other", LoHaConfig(target_modules=["value"]))
    accelerate(model)
    assert len(acceleration(model).fused) == 2
    assert set(acceleration(model).kept.values()) == {"peft.tuners.loha.Linear is no layer of LoRA"}


@pytest.fixture
def model(encoder: Encoder) -> Iterator[Any]:
    made = encoder("bert")
    return made


def test_a_model_without_lora_layers_is_refused(model: Any) -> None:
    with pytest.raises(ValueError, match="model: has no LoRA layers; give a config"):
        accelerate(model)


def test_a_config_for_a_model_with_adapters_is_refused(model: Any) -> None:
    from peft import get_peft_model

    with pytest.raises(ValueError, match="has adapters already"):
        accelerate(get_peft_model(model, lora()), lora())
    with pytest.raises(ValueError, match="has adapters already"):
        accelerate(model, lora())


def test_a_config_that_is_not_of_lora_is_refused_before_it_changes_the_model(model: Any) -> None:
    from peft import IA3Config

    before = repr(model)
    with pytest.raises(ValueError, match=r"config: got a IA3Config; allowed: a peft.LoraConfig"):
        accelerate(model, IA3Config(target_modules=["query"]))
    assert repr(model) == before


def test_wrong_targets_and_ranks_are_refused_in_pefts_words(model: Any) -> None:
    with pytest.raises(ValueError, match="not found in the base model"):
        accelerate(model, lora(target_modules=["quary"]))


def test_a_rank_of_0_is_refused(model: Any) -> None:
    with pytest.raises(ValueError, match="`r` should be a positive integer"):
        accelerate(model, lora(r=0))
