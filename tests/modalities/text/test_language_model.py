from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import seeds
import torch
import transformers

from jenga.config.peft import LoraConfig
from jenga.errors import ConfigError, SetupError
from jenga.modalities.text.backbone import TextBackbone
from jenga.modalities.text.language_model import check_packing, load_language_model
from jenga.modalities.text.settings import ModelConfig

SMALL: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "intermediate_size": 48, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 63,
}  # fmt: skip
NEOX = {name: value for name, value in SMALL.items() if name not in ("num_key_value_heads", "head_dim")}
MODELS = {
    "gpt2": lambda: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64, eos_token_id=63)
    ),
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL)),
    "tied llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL, tie_word_embeddings=True)),
    "qwen2": lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SMALL)),
    "neox": lambda: transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**NEOX)),
    "mistral": lambda: transformers.MistralForCausalLM(transformers.MistralConfig(**SMALL, sliding_window=4)),
}


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[Any], str]:
    def save(model: Any) -> str:
        model.save_pretrained(tmp_path / "model")
        return str(tmp_path / "model")

    return save


def made(kind: str) -> Any:
    torch.manual_seed(seeds.derived(0))
    return MODELS[kind]()


def backbone_of(folder: str, **options: Any) -> TextBackbone:
    return TextBackbone(folder, ModelConfig(base_model=folder, **options).for_language())


@pytest.mark.parametrize("kind", MODELS)
def test_hidden_states_times_the_output_layer_are_the_models_logits(kind: str, saved: Callable[[Any], str]) -> None:
    backbone = backbone_of(saved(made(kind))).eval()
    ids = torch.arange(3, 13)[None]
    with torch.no_grad():
        encoded = backbone(input_ids=ids, attention_mask=torch.ones_like(ids))
        weight, bias = backbone.output_layer
        logits = torch.nn.functional.linear(encoded.last_hidden_state, weight, bias)
        torch.testing.assert_close(logits, backbone.language_model(ids).logits)


@pytest.mark.parametrize("kind", MODELS)
def test_packed_texts_do_not_see_one_another(kind: str, saved: Callable[[Any], str]) -> None:
    backbone = backbone_of(saved(made(kind))).eval()
    texts = [torch.arange(3, 12), torch.arange(20, 31), torch.arange(40, 45)]
    positions = torch.cat([torch.arange(len(each)) for each in texts])[None]
    packed = torch.cat(texts)[None]
    with torch.no_grad():
        together = backbone(
            input_ids=packed, attention_mask=torch.ones_like(packed), position_ids=positions
        ).last_hidden_state[0]
        alone = [
            backbone(input_ids=each[None], attention_mask=torch.ones_like(each)[None]).last_hidden_state[0]
            for each in texts
        ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-5)
    check_packing(backbone.encoder)


def test_a_model_in_which_they_would_is_refused(saved: Callable[[Any], str]) -> None:
    backbone = backbone_of(saved(made("llama")))
    run = type(backbone.encoder).forward

    class Blind(type(backbone.encoder)):  # type: ignore[misc]
        def forward(self, position_ids: Any = None, **inputs: Any) -> Any:
            return run(self, **inputs)

    backbone.encoder.__class__ = Blind
    with pytest.raises(ConfigError, match="packing: texts laid end to end would see one another in a llama model"):
        check_packing(backbone.encoder)


def test_padding_behind_the_tokens_changes_nothing(saved: Callable[[Any], str]) -> None:
    backbone = backbone_of(saved(made("llama"))).eval()
    ids = torch.arange(3, 13)[None]
    padded = torch.cat([ids, torch.zeros(1, 5, dtype=torch.int64)], 1)
    with torch.no_grad():
        alone = backbone(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        beside = backbone(input_ids=padded, attention_mask=(padded > 0).long()).last_hidden_state
    torch.testing.assert_close(beside[:, :10], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["tied llama", "llama"])
def test_a_tied_output_layer_is_one_parameter_and_another_its_own(kind: str, saved: Callable[[Any], str]) -> None:
    backbone = backbone_of(saved(made(kind)))
    state = backbone.state_dict()
    assert ("lm_head.weight" in state) == (kind == "llama")
    assert sum(value.shape == (64, 32) for value in state.values()) == (2 if kind == "llama" else 1)


def test_an_output_layer_is_no_hidden_matrix_and_as_deep_as_the_last_layer(saved: Callable[[Any], str]) -> None:
    backbone = backbone_of(saved(made("llama")))
    matrices, depths = backbone.hidden_matrices(), backbone.depths()
    assert matrices == {name for name in depths if ".layers." in name and name.endswith("proj.weight")}
    assert depths.keys() == dict(backbone.named_parameters()).keys()
    assert depths["lm_head.weight"] == depths["encoder.norm.weight"] == max(depths.values())
    assert depths["encoder.embed_tokens.weight"] == 0


@pytest.mark.parametrize("adapted", [False, True])
def test_what_is_saved_is_a_causal_model_with_equal_logits(
    adapted: bool, saved: Callable[[Any], str], tmp_path: Path
) -> None:
    folder = saved(made("llama"))
    backbone = backbone_of(folder)
    if adapted:
        backbone.adapt(LoraConfig(type="lora", rank=2))
        assert not any("lm_head" in name for name, each in backbone.named_parameters() if each.requires_grad)
    with torch.no_grad():
        for each in backbone.parameters():
            if each.requires_grad:
                each.add_(0.01)
    ids = torch.arange(3, 13)[None]
    expected = backbone.eval().language_model(ids).logits
    backbone.save(tmp_path / "again")
    config = ModelConfig(base_model=folder).for_language()
    again = TextBackbone.load(tmp_path / "again", folder, config).eval()
    torch.testing.assert_close(again.language_model(ids).logits, expected, rtol=0, atol=0)
    if adapted:
        from peft import PeftModel

        plain = PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(folder), tmp_path / "again")
        assert plain.peft_config["default"].task_type == "CAUSAL_LM"
        torch.testing.assert_close(plain.eval()(ids).logits, expected, rtol=1e-5, atol=1e-6)
        again.merge()
        again.save(tmp_path / "merged")
        folder = str(tmp_path / "merged")
    else:
        folder = str(tmp_path / "again")
    merged = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    torch.testing.assert_close(merged(ids).logits, expected, rtol=1e-5, atol=1e-5)


def test_gradient_checkpointing_leaves_gradients_as_they_are(saved: Callable[[Any], str]) -> None:
    folder = saved(made("llama"))
    ids = torch.arange(3, 13)[None]
    found = []
    for checkpointing in (False, True):
        backbone = backbone_of(folder).train()
        if checkpointing:
            backbone.checkpoint_activations()
            assert backbone.encoder.is_activation_checkpointing
        backbone(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.square().sum().backward()
        found.append([each.grad for each in backbone.parameters() if each.grad is not None])
    assert found[0]
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second)


def test_a_model_that_predicts_no_next_token_is_refused(checkpoint: Callable[[str], str]) -> None:
    folder = checkpoint("distilbert")
    with pytest.raises(ConfigError, match="is a distilbert model, which predicts no next token"):
        load_language_model(folder, ModelConfig(base_model=folder))


def test_an_encoder_with_an_output_layer_is_refused_for_what_it_is(
    checkpoint: Callable[[str], str], saved: Callable[[Any], str]
) -> None:
    whole = saved(transformers.BertForMaskedLM(transformers.BertConfig(**SMALL)))
    for folder in (checkpoint("bert"), whole):
        with pytest.raises(ConfigError, match=r"\(bert\) reads each token with those behind it"):
            load_language_model(folder, ModelConfig(base_model=folder))


def test_a_checkpoint_without_its_output_layer_is_refused(saved: Callable[[Any], str]) -> None:
    folder = saved(made("llama").model)
    with pytest.raises(SetupError, match=r"lacks 1 weights, such as lm_head.weight"):
        load_language_model(folder, ModelConfig(base_model=folder))


@pytest.mark.parametrize("kind", ["Gemma2", "Granite", "Cohere"])
def test_a_model_that_changes_its_logits_is_refused_with_the_key_that_named_it(
    kind: str, saved: Callable[[Any], str]
) -> None:
    own = {
        "Gemma2": {"final_logit_softcapping": 0.05},
        "Granite": {"logits_scaling": 3.0},
        "Cohere": {"logit_scale": 0.1},
    }
    config = getattr(transformers, f"{kind}Config")(**SMALL, **own[kind])
    folder = saved(getattr(transformers, f"{kind}ForCausalLM")(config))
    with pytest.raises(ConfigError, match=r"^the.key: '.*' \(\w+\) does more to its logits"):
        load_language_model(folder, ModelConfig(base_model=folder), key="the.key")


def test_a_backbone_of_an_encoder_has_no_output_layer(checkpoint: Callable[[str], str]) -> None:
    folder = checkpoint("bert")
    with pytest.raises(ConfigError, match="was loaded without its output layer"):
        _ = TextBackbone(folder, ModelConfig(base_model=folder)).output_layer
