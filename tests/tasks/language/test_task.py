"""The language task, through whole models."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from jenga.config.peft import LoraConfig
from jenga.errors import ConfigError
from jenga.labels.metric import Metric
from jenga.modalities.text.backbone import TextBackbone
from jenga.modalities.text.dialogue import Dialogue, Dialogues, LanguageSpec
from jenga.modalities.text.messages import Turn
from jenga.modalities.text.pieces import EncodedLanguage, encode_language
from jenga.modalities.text.settings import ModelConfig
from jenga.model import MultiTaskModel
from jenga.rows.batches import EncodedSplit
from jenga.rows.parse import Rows
from jenga.tasks.language.config import CausalLMConfig
from jenga.tasks.language.task import CausalLMTask
from jenga.trainer.evaluate import label_counts
from jenga.trainer.window import Window
from jenga.types import IGNORE_INDEX, HeadSpace

SPEC = LanguageSpec(("text",), ("prompt",), ("completion",), ("messages",), max_length=64)
KEY = ("lm", "text")
SPACE = HeadSpace(*KEY, "text", 0, ())
ROWS = [
    Dialogue((Turn("user", prompt), Turn("assistant", answer)))
    for prompt, answer in [
        ("the agent was kind", "good line"),
        ("music", "a refund please and thank you never again"),
        ("two minutes of music", "bad"),
        ("her bill which nobody could explain", "the line dropped after two minutes"),
    ]
]


@pytest.fixture(scope="module")
def gpt2(make_gpt2: Callable[..., Path]) -> str:
    return str(make_gpt2())


def model_of(folder: str, **settings: Any) -> MultiTaskModel:
    backbone = TextBackbone(folder, ModelConfig(base_model=folder, dropout=0.0).for_language())
    if "peft" in settings:
        backbone.adapt(settings.pop("peft"))
    task = CausalLMTask(CausalLMConfig(name="lm", type="causal_lm", data_path="x", **settings), backbone.hidden_size)
    return MultiTaskModel({"shared": backbone}, {}, {"lm": task})


def backbone_of(model: MultiTaskModel) -> TextBackbone:
    backbone = model.encoders["shared"]
    assert isinstance(backbone, TextBackbone)
    return backbone


def split_of(folder: str, *, packed: bool = False) -> EncodedSplit:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    rows = Rows(ids=[f"r{at}" for at in range(len(ROWS))], content=Dialogues(ROWS))
    return EncodedSplit("lm", rows, encode_language(ROWS, tokenizer, SPEC, packed=packed), {KEY: SPACE})


def plain_loss(model: MultiTaskModel, batch: Any) -> torch.Tensor:
    """The mean cross-entropy of full logits, as transformers takes it."""
    logits = (
        backbone_of(model)
        .language_model(batch.inputs["input_ids"], attention_mask=batch.inputs["attention_mask"])
        .logits
    )
    return F.cross_entropy(logits.flatten(0, 1), batch.labels["lm"]["text"].flatten(), ignore_index=IGNORE_INDEX)


def gradients(model: MultiTaskModel, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


@pytest.mark.parametrize("adapted", [False, True])
def test_loss_and_gradients_are_those_of_full_logits(gpt2: str, adapted: bool) -> None:
    model = model_of(gpt2, **({"peft": LoraConfig(type="lora", rank=2)} if adapted else {})).train()
    batch = split_of(gpt2).batch(range(4))
    output = model(batch.inputs, ["lm"], batch.labels)["lm"]
    expected = plain_loss(model, batch)
    torch.testing.assert_close(output.loss, expected, rtol=1e-5, atol=1e-6)
    assert output.loss_sum is not None
    assert output.count is not None
    assert output.count.tolist() == [int((batch.labels["lm"]["text"] != IGNORE_INDEX).sum())]
    torch.testing.assert_close(output.loss_sum / output.count, expected[None], rtol=1e-5, atol=1e-6)
    ours, theirs = gradients(model, (output.loss_sum / output.count).sum()), gradients(model, expected)
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-6)


def test_packed_loss_equals_unpacked_for_each_token(gpt2: str) -> None:
    model = model_of(gpt2).eval()
    found = []
    for packed in (False, True):
        part = split_of(gpt2, packed=packed)
        pieces = part.encoded
        assert isinstance(pieces, EncodedLanguage)
        assert packed == (pieces.packs is not None and len(pieces.packs) < len(ROWS))
        losses: dict[int, list[float]] = {}
        for row in range(len(part)):
            batch = part.batch([row])
            with torch.no_grad():
                hidden = model.encode(batch.inputs, ["lm"])["lm"].last_hidden_state
                weight, _ = backbone_of(model).output_layer
                targets = batch.labels["lm"]["text"]
                each = F.cross_entropy((hidden @ weight.T).flatten(0, 1), targets.flatten(), reduction="none")
            at = 0
            for piece in pieces.pieces([row]):
                size = int(pieces.text.lengths[piece])
                learnt = targets.flatten()[at : at + size] != IGNORE_INDEX
                losses[piece] = each[at : at + size][learnt].tolist()
                at += size
        found.append(losses)
    assert found[0].keys() == found[1].keys() == set(range(len(ROWS)))
    for piece in found[0]:
        np.testing.assert_allclose(found[0][piece], found[1][piece], rtol=1e-5, atol=1e-5)


def test_the_loss_knows_no_padding_and_no_shape_of_batches(gpt2: str) -> None:
    model = model_of(gpt2).eval()
    part = split_of(gpt2)
    whole = part.batch(range(4))
    with torch.no_grad():
        together = model(whole.inputs, ["lm"], whole.labels)["lm"].loss_sum
        alone = [model(b.inputs, ["lm"], b.labels)["lm"].loss_sum for b in (part.batch([row]) for row in range(4))]
    torch.testing.assert_close(together, torch.stack(alone).sum(0), rtol=1e-6, atol=1e-6)


def test_micro_batches_with_unequal_numbers_of_tokens_make_the_step_of_one_batch(gpt2: str) -> None:
    model = model_of(gpt2).train()
    part = split_of(gpt2)
    found = []
    for groups in ([[0, 1, 2, 3]], [[0, 2], [1, 3]], [[0], [1, 2, 3]]):
        batches = [part.batch(group) for group in groups]
        counts = label_counts(batches, model.tasks) if len(batches) > 1 else None
        window = Window(torch.device("cpu"))
        model.zero_grad()
        for batch in batches:
            outputs = model(batch.inputs, ["lm"], batch.labels)
            window.add(outputs, model.tasks, counts, len(batch.rows) / 4)["lm"].loss.backward()
        found.append([each.grad.clone() for each in model.parameters() if each.grad is not None])
        window.steps = 1
        assert window.take()["head_loss"]["lm"]["text"] > 0
    for other in found[1:]:
        for first, second in zip(found[0], other, strict=True):
            torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)


def test_a_batch_without_a_learnt_token_has_loss_and_gradient_zero(gpt2: str) -> None:
    model = model_of(gpt2).train()
    batch = split_of(gpt2).batch([0])
    batch.labels["lm"]["text"].fill_(IGNORE_INDEX)
    output = model(batch.inputs, ["lm"], batch.labels)["lm"]
    assert (output.loss.item(), output.count.tolist()) == (0.0, [0.0])
    assert not any(each.any() for each in gradients(model, output.loss).values())


def test_without_labels_there_is_nothing_since_answers_are_generated(gpt2: str) -> None:
    batch = split_of(gpt2).batch([0])
    output = model_of(gpt2)(batch.inputs, ["lm"])["lm"]
    assert (output.loss, output.logits) == (None, {})


def test_bf16_autocast_is_near_float32(gpt2: str) -> None:
    model = model_of(gpt2).eval()
    batch = split_of(gpt2).batch(range(4))
    with torch.no_grad():
        exact = model(batch.inputs, ["lm"], batch.labels)["lm"].loss
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(batch.inputs, ["lm"], batch.labels)["lm"].loss
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=2e-2, atol=2e-2)  # 8 bits of each weight and state


def test_a_copy_of_the_model_has_an_output_layer_of_its_own(gpt2: str) -> None:
    model = model_of(gpt2)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for each in twin.parameters():
            each.zero_()
    assert backbone_of(model).output_layer[0].any()
    batch = split_of(gpt2).batch([0])
    loss = twin(batch.inputs, ["lm"], batch.labels)["lm"].loss
    assert loss.item() == pytest.approx(np.log(len(backbone_of(twin).output_layer[0])))


def test_the_task_adds_no_weights_of_its_own(gpt2: str) -> None:
    model = model_of(gpt2)
    assert not list(model.tasks["lm"].parameters())
    assert not [name for name in model.state_dict() if not name.startswith("encoders.shared.")]


def test_a_backbone_without_an_output_layer_is_refused(checkpoint: Callable[[str], str]) -> None:
    folder = checkpoint("bert")
    backbone = TextBackbone(folder, ModelConfig(base_model=folder))
    task = CausalLMTask(CausalLMConfig(name="lm", type="causal_lm", data_path="x"), backbone.hidden_size)
    with pytest.raises(ConfigError, match="without its output layer"):
        MultiTaskModel({"shared": backbone}, {}, {"lm": task})


def test_perplexity_is_the_exponential_of_the_loss_as_far_as_that_says_anything(gpt2: str) -> None:
    task = model_of(gpt2).tasks["lm"]
    assert task.metrics_of_loss(SPACE, 2.0) == {"perplexity": pytest.approx(np.exp(2.0))}
    assert np.isfinite(task.metrics_of_loss(SPACE, 1e9)["perplexity"])
    assert task.declared_metrics(SPACE) == (Metric("perplexity", greater_is_better=False),)
