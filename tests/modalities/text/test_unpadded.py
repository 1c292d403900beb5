"""Encoders without padding: the same outputs and gradients as with it, in each kind of model."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, PreTrainedModel

from jenga.config.peft import BottleneckConfig, DoraConfig, LoraConfig, PeftConfig
from jenga.modalities.text import unpadded
from jenga.modalities.text.backbone import TextBackbone
from jenga.modalities.text.settings import ModelConfig

KINDS = (
    "bert", "camembert", "data2vec-text", "distilbert", "electra", "ernie", "eurobert", "gte", "modernbert",
    "nomic_bert", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl",
)  # fmt: skip
CLOSE = 1e-5
"""Products of matrices of other sizes, which may sum in another order, of values about 1."""


def make(kind: str) -> PreTrainedModel:
    sizes: dict[str, Any] = {"vocab_size": 60, "max_position_embeddings": 64, "pad_token_id": 1}
    if kind == "distilbert":
        sizes |= {"dim": 32, "n_heads": 2, "n_layers": 2, "hidden_dim": 48, "dropout": 0.0}
        sizes |= {"attention_dropout": 0.0}
    else:
        sizes |= {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 48}
        sizes |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    if kind in ("eurobert", "nomic_bert", "gte"):
        sizes |= {"attention_dropout": 0.0, "num_key_value_heads": 2}
    if kind == "eurobert":
        sizes |= {"bos_token_id": 2, "eos_token_id": 3, "mask_token_id": 4}
    if kind == "modernbert":
        # Windows of two tokens to either side in every second layer.
        sizes |= {"num_hidden_layers": 3, "local_attention": 4, "global_attn_every_n_layers": 2}
        sizes |= {"embedding_dropout": 0.0, "mlp_dropout": 0.0, "attention_dropout": 0.0}
    elif kind != "distilbert":
        sizes |= {"type_vocab_size": 2}
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModel.from_config(AutoConfig.for_model(kind, **sizes))
    return model


def rows(*lengths: int, types: bool = False) -> dict[str, torch.Tensor]:
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)).long()
    ids = torch.randint(5, 60, mask.shape, generator=torch.Generator().manual_seed(1))
    inputs = {"input_ids": ids.where(mask == 1, torch.tensor(1)), "attention_mask": mask}
    if types:
        inputs["token_type_ids"] = (torch.arange(max(lengths)) > 3).long() * mask
    return inputs


SOME = rows(3, 9, 2, 7)


def both(model: PreTrainedModel, inputs: Mapping[str, torch.Tensor]) -> tuple[Any, Any]:
    """Return what the model makes with padding, and without."""
    padded = model(**inputs)
    unpadded.lay_tokens_end_to_end(model)
    found = unpadded.encoded_without_padding(model, inputs)
    assert found is not None
    return padded, found


def test_every_kind_that_is_called_exact_is_tested() -> None:
    assert frozenset(KINDS) == unpadded._EXACT


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_poolers_and_gradients_are_those_of_the_padded_pass(kind: str) -> None:
    model = make(kind).train()
    inputs = rows(3, 11, 1, 7, types=getattr(model.config, "type_vocab_size", 0) > 1)
    mask = inputs["attention_mask"].unsqueeze(-1)
    padded, found = both(model, inputs)
    torch.testing.assert_close(found.last_hidden_state, padded.last_hidden_state * mask, atol=CLOSE, rtol=0)
    assert (found.pooler_output is None) == (getattr(model, "pooler", None) is None)
    expected, got = [padded.last_hidden_state * mask], [found.last_hidden_state]
    if found.pooler_output is not None:
        torch.testing.assert_close(found.pooler_output, padded.pooler_output, atol=CLOSE, rtol=0)
        expected, got = [*expected, padded.pooler_output], [*got, found.pooler_output]
    for (name, _), one, other in zip(
        model.named_parameters(), _gradients(model, expected), _gradients(model, got), strict=True
    ):
        torch.testing.assert_close(other, one, atol=CLOSE, rtol=CLOSE, msg=name)


def _gradients(model: PreTrainedModel, outputs: list[torch.Tensor]) -> list[torch.Tensor | None]:
    # Weighted by place, so that no symmetry hides a token that went to another row.
    loss = sum((each * torch.linspace(-1, 1, each.numel()).view_as(each)).sum() for each in outputs)
    assert isinstance(loss, torch.Tensor)
    return list(torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, materialize_grads=True))


def test_a_model_that_attends_its_own_way_keeps_the_padded_pass_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    model = make("mpnet").train()
    with caplog.at_level(logging.INFO, logger=unpadded.__name__):
        unpadded.lay_tokens_end_to_end(model)
    assert "mpnet" in caplog.text
    assert unpadded.encoded_without_padding(model, rows(2, 20)) is None


def test_the_padded_pass_is_the_same_before_and_after(tmp_path: Path) -> None:
    model = make("bert").eval()
    inputs = rows(3, 11)
    expected = model(**inputs).last_hidden_state
    unpadded.lay_tokens_end_to_end(model)
    torch.testing.assert_close(model(**inputs).last_hidden_state, expected, atol=0, rtol=0)
    model.save_pretrained(tmp_path)
    assert "unpadded" not in (tmp_path / "config.json").read_text()


def test_batches_with_little_padding_and_rows_without_a_first_token_are_padded() -> None:
    model = make("bert").train()
    unpadded.lay_tokens_end_to_end(model)
    assert unpadded.encoded_without_padding(model, rows(9, 9)) is None
    assert unpadded.encoded_without_padding(model, rows(20, 9)) is None  # 11 places
    assert unpadded.encoded_without_padding(model, rows(20, 8)) is not None
    assert unpadded.encoded_without_padding(model, rows(*[40] * 4, 26)) is None  # a fourteenth
    inputs = rows(20, 2)
    assert unpadded.encoded_without_padding(model, inputs) is not None
    inputs["attention_mask"] = inputs["attention_mask"].flip(1)
    assert unpadded.encoded_without_padding(model, inputs) is None


def test_who_asks_what_each_token_did_sees_rows() -> None:
    model = make("bert").eval()
    unpadded.lay_tokens_end_to_end(model)
    assert unpadded.encoded_without_padding(model, rows(20, 2)) is None
    assert unpadded.encoded_without_padding(model.train(), rows(20, 2)) is not None
    with torch.no_grad():
        assert unpadded.encoded_without_padding(model.eval(), rows(20, 2)) is not None


@pytest.mark.parametrize("pooling", ["pooler", "cls", "mean", "max", "last"])
def test_a_backbone_pools_tokens_alone_as_it_does_padded_ones(checkpoint: Callable[[str], str], pooling: str) -> None:
    backbone = TextBackbone(checkpoint("bert"), ModelConfig(base_model="bert", pooling=pooling)).eval()
    calls = counted(backbone)
    with torch.inference_mode():
        found = backbone(**SOME)
        backbone.encoder.set_attn_implementation("sdpa")
        padded = backbone(**SOME)
    assert calls == [(1, 21), (4, 9)]
    torch.testing.assert_close(found.pooler_output, padded.pooler_output, atol=CLOSE, rtol=0)
    assert torch.equal(found.attention_mask, SOME["attention_mask"])


@pytest.mark.parametrize("peft", [LoraConfig(type="lora"), DoraConfig(type="dora"), BottleneckConfig(type="adapter")])
def test_adapters_learn_the_same_from_tokens_alone(checkpoint: Callable[[str], str], peft: PeftConfig) -> None:
    backbone = TextBackbone(checkpoint("bert"), ModelConfig(base_model="bert", pooling="mean", dropout=0.0)).train()
    backbone.adapt(peft)
    learnt = [each for each in backbone.parameters() if each.requires_grad]
    with torch.no_grad():
        for each in learnt:  # adapters begin as nothing, and then some have no gradient
            each.copy_(torch.linspace(-0.1, 0.1, each.numel()).view_as(each))
    calls = counted(backbone)
    found = torch.autograd.grad(backbone(**SOME).pooler_output.square().sum(), learnt)
    backbone.encoder.set_attn_implementation("sdpa")
    padded = torch.autograd.grad(backbone(**SOME).pooler_output.square().sum(), learnt)
    assert calls == [(1, 21), (4, 9)]
    for one, other in zip(found, padded, strict=True):
        assert one.abs().max() > 0
        torch.testing.assert_close(one, other, atol=CLOSE, rtol=CLOSE)


def test_dropout_and_computed_again_activations_work_on_tokens_alone(checkpoint: Callable[[str], str]) -> None:
    backbone = TextBackbone(checkpoint("bert"), ModelConfig(base_model="bert", pooling="mean", dropout=0.3)).train()
    calls, gradients = counted(backbone), []
    for again in (False, True):
        if again:
            backbone.checkpoint_activations()
        torch.manual_seed(0)
        backbone.zero_grad()
        backbone(**SOME).pooler_output.square().sum().backward()
        gradients.append([each.grad.clone() for each in backbone.parameters() if each.grad is not None])
    assert calls == [(1, 21)] * 2
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


def test_layers_that_a_teacher_is_matched_to_are_those_of_rows(checkpoint: Callable[[str], str]) -> None:
    backbone = TextBackbone(checkpoint("bert"), ModelConfig(base_model="bert")).train()
    backbone.keep_states(hidden_states=True, attentions=False)
    states = backbone(**SOME).states
    assert states is not None
    assert states.hidden_states is not None
    assert {tuple(each.shape[:2]) for each in states.hidden_states} == {(4, 9)}


def counted(backbone: TextBackbone) -> list[tuple[int, ...]]:
    """Return a list that gets the shape of the tokens of each call of the encoder."""
    calls: list[tuple[int, ...]] = []
    backbone.encoder.register_forward_pre_hook(
        lambda _, args, kwargs: calls.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    return calls
