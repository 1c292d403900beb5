"""LoRA and DoRA in every architecture: what is trained, files, merging."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from jenga.config.peft import DoraConfig, LoraConfig
from jenga.errors import SetupError
from jenga.peft import inject, load_adapters

KINDS = ("bert", "distilbert", "gpt2", "llama", "roberta", "vit", "whisper")
Encoder = Callable[[str], Any]
CASES = [(kind, LoraConfig(type="lora", rank=4)) for kind in KINDS] + [
    ("bert", LoraConfig(type="lora", rank=4, target="auto")),
    ("bert", LoraConfig(type="lora", rank=4, alpha=3, rslora=True)),
    ("bert", DoraConfig(type="dora", rank=4)),
    ("gpt2", DoraConfig(type="dora", rank=4, rslora=True)),
]


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Equal but for the order of float32 sums: the fused op and a merged weight add up what PEFT adds in turn."""
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


def base_at(folder: Path, model: Any) -> str:
    model.save_pretrained(folder / "base")
    return str(folder / "base")


@pytest.mark.parametrize(("kind", "config"), CASES, ids=lambda each: each if isinstance(each, str) else each.type)
def test_adapters_survive_saving_and_merging(
    kind: str, config: Any, encoder: Encoder, hidden: Any, shake: Any, tmp_path: Path
) -> None:
    plain = encoder(kind)
    before, base = hidden(plain), base_at(tmp_path, plain)
    adapters = inject(plain, config, base_name=base)
    close(hidden(plain), before)  # new adapters change nothing
    shake(plain)
    wanted = hidden(plain)
    assert (wanted - before).abs().max() > 0.05
    adapters.save(tmp_path / "adapters")
    assert {each.name for each in (tmp_path / "adapters").iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors", "base.json",
    }  # fmt: skip
    again = load_adapters(encoder(kind), tmp_path / "adapters", base_name=base)
    assert torch.equal(hidden(again.encoder.eval()), wanted)
    merged = again.merge()
    assert not [name for name, _ in merged.named_modules() if "lora" in name]
    merged.save_pretrained(tmp_path / "merged")
    reloaded = type(plain).from_pretrained(tmp_path / "merged").eval()
    # Both round each sum once; how far that goes through the layers, the same model in float64 says.
    exact = hidden(copy.deepcopy(plain).double())
    assert (hidden(reloaded) - exact).abs().max() <= 4 * (wanted - exact).abs().max() + 1e-6 * exact.abs().max()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # PEFT's own
@pytest.mark.parametrize("kind", KINDS)
def test_plain_peft_loads_what_is_saved(kind: str, encoder: Encoder, hidden: Any, shake: Any, tmp_path: Path) -> None:
    from peft import PeftModel

    plain = encoder(kind)
    base = base_at(tmp_path, plain)
    if kind == "bert":  # as the backbone does with a pooler that it does not read; AutoModel makes one again
        plain.pooler = None
    adapters = inject(plain, LoraConfig(type="lora", rank=3), base_name=base)
    shake(plain)
    adapters.save(tmp_path / "adapters")
    saved = json.loads((tmp_path / "adapters" / "adapter_config.json").read_text())
    assert (saved["base_model_name_or_path"], saved["r"], saved["lora_alpha"]) == (base, 3, 6)
    theirs = PeftModel.from_pretrained(type(plain).from_pretrained(base), tmp_path / "adapters").eval()
    close(hidden(theirs), hidden(plain))


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_adapters_are_trained(kind: str, encoder: Encoder) -> None:
    plain = encoder(kind)
    total = sum(each.numel() for each in plain.parameters())
    inject(plain, LoraConfig(type="lora"), base_name="base")
    trained = {name for name, each in plain.named_parameters() if each.requires_grad}
    assert trained
    assert all("lora_A" in name or "lora_B" in name for name in trained)
    assert sum(each.numel() for each in plain.parameters() if not each.requires_grad) == total


def test_no_gradient_reaches_the_frozen_base(encoder: Encoder) -> None:
    plain = encoder("bert")
    inject(plain, LoraConfig(type="lora", target=["query"]), base_name="base")
    plain(input_ids=torch.tensor([[5, 6, 7]])).last_hidden_state.sum().backward()
    assert {name for name, each in plain.named_parameters() if each.grad is not None} == {
        name for name, each in plain.named_parameters() if "lora_" in name
    }


def test_weights_merged_in_bf16_are_the_merged_weights_rounded(
    encoder: Encoder, hidden: Any, shake: Any, tmp_path: Path
) -> None:
    adapters = inject(encoder("bert"), LoraConfig(type="lora"), base_name="base")
    shake(adapters.encoder)
    wanted = hidden(adapters.encoder)
    merged = adapters.merge()
    rounded = copy.deepcopy(merged).to(torch.bfloat16)
    rounded.save_pretrained(tmp_path / "merged")
    reloaded = type(merged).from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()
    for name, each in merged.named_parameters():
        # bfloat16 keeps 8 bits of a number: rounding to the nearest moves it by 2^-9 of itself at most, and only once.
        torch.testing.assert_close(reloaded.get_parameter(name), each, rtol=2**-8, atol=1e-38)
    # The sums are float32 again: nothing but the rounding of the weights stands between the two.
    assert torch.equal(hidden(reloaded), hidden(rounded.float()))
    assert not torch.equal(hidden(reloaded), wanted)


def test_adapters_of_another_layout_are_refused(encoder: Encoder, tmp_path: Path) -> None:
    adapters = inject(encoder("bert"), LoraConfig(type="lora", rank=2), base_name="base")
    adapters.save(tmp_path)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    lost = min(weights)
    save_file({name: each for name, each in weights.items() if name != lost}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(SetupError, match=r"the adapters do not fit 'base', for example at .*lora_A"):
        load_adapters(encoder("bert"), tmp_path, base_name="base")
    save_file(
        {name: each[:, :1].contiguous() for name, each in weights.items()}, tmp_path / "adapter_model.safetensors"
    )
    with pytest.raises(SetupError, match="the adapters do not fit 'base'"):
        load_adapters(encoder("bert"), tmp_path, base_name="base")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "PROMPT_TUNING"}, r"peft_type: Input should be 'LORA'"),
        ({"r": "2"}, "r: Input should be a valid integer"),
        ({"target_modules": {}}, "target_modules: Input should be a valid list"),
        ({"megatron_config": {"a": 1}, "megatron_core": "os"}, "megatron_config is {'a': 1}, which Jenga never sets"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa', which Jenga never sets"),
        ({"alpha_pattern": {"query": 9}}, "alpha_pattern is {'query': 9}, which Jenga never sets"),
    ],
)
def test_settings_that_jenga_never_writes_are_refused_before_peft_reads_them(
    change: dict[str, Any], message: str, encoder: Encoder, tmp_path: Path
) -> None:
    plain = encoder("bert")
    inject(plain, LoraConfig(type="lora", rank=2), base_name="here").save(tmp_path)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(SetupError, match=message) as caught:
        load_adapters(encoder("bert"), tmp_path, base_name="here")
    assert str(caught.value).startswith(str(file))
