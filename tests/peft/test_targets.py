"""Which layers get an update."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest

from jenga.errors import ConfigError
from jenga.peft.targets import USUAL, linear_layers, resolve

Encoder = Callable[[str], Any]
USUAL_ENDS = {
    "bert": {"query", "value"},
    "roberta": {"query", "value"},
    "distilbert": {"q_lin", "v_lin"},
    "gpt2": {"c_attn"},
    "llama": {"q_proj", "v_proj"},
    "whisper": {"q_proj", "v_proj"},
    "vit": {"q_proj", "v_proj"},
}


@pytest.mark.parametrize("kind", USUAL_ENDS)
def test_auto_targets_what_is_usual_for_the_architecture(
    kind: str, encoder: Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    assert {name.rsplit(".")[-1] for name in resolve(encoder(kind), "auto")} == USUAL_ENDS[kind]
    assert caplog.records == []


def test_auto_targets_all_linear_layers_of_an_unknown_architecture_and_says_so_once(
    encoder: Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    model = encoder("albert")
    with caplog.at_level(logging.INFO):
        assert resolve(model, "auto") == linear_layers(model)
    assert [each.message for each in caplog.records] == [
        "peft.target: auto knows no usual layers of a albert model; all 8 linear ones it is"
    ]


def test_no_architecture_of_our_table_is_in_pefts() -> None:
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as PEFTS

    assert USUAL.keys() & PEFTS.keys() == set()


@pytest.mark.parametrize("kind", USUAL_ENDS)
def test_all_linear_targets_every_matrix_of_the_layers(kind: str, encoder: Encoder) -> None:
    model = encoder(kind)
    matrices = {
        name.removesuffix(".weight")
        for name, each in model.named_parameters()
        if each.ndim == 2 and not re.search(r"embed|wte|wpe", name)
    }
    assert matrices
    assert set(resolve(model, "all-linear")) == matrices


def test_a_pooler_that_is_not_there_is_not_targeted(encoder: Encoder) -> None:
    model = encoder("bert")
    assert "pooler.dense" in resolve(model, "all-linear")
    model.pooler = None
    assert "pooler.dense" not in resolve(model, "all-linear")


def test_a_regular_expression_matches_whole_names(encoder: Encoder) -> None:
    model = encoder("bert")
    assert resolve(model, r".*\.1\..*\.(query|key)") == [
        "encoder.layer.1.attention.self.query", "encoder.layer.1.attention.self.key",
    ]  # fmt: skip
    assert len(resolve(model, r"encoder\.layer\.0\..*")) == 6


def test_a_name_is_whole_or_an_end_from_a_dot_on(encoder: Encoder) -> None:
    model = encoder("bert")
    assert resolve(model, ["output.dense"]) == [
        f"encoder.layer.{number}.{part}output.dense" for number in (0, 1) for part in ("attention.", "")
    ]
    assert resolve(model, ["encoder.layer.0.output.dense"]) == ["encoder.layer.0.output.dense"]


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (["query", "valeu"], r"no linear layer is named 'valeu', or ends in '.valeu'; did you mean 'value'"),
        (["uery"], "no linear layer is named 'uery'"),
        (["dropout"], "'dropout' is embeddings.dropout, a Dropout, which is no linear layer"),
        ("query", r"matches no whole name; for the ends of names write \[query\]"),
        (".*LayerNorm", "matches embeddings.LayerNorm, a LayerNorm, which is no linear layer"),
        (".*querry", "matches the whole name of no linear layer"),
    ],
)
def test_what_matches_nothing_is_refused_with_what_there_is(target: Any, says: str, encoder: Encoder) -> None:
    with pytest.raises(ConfigError, match=f"peft.target: .*{says}") as caught:
        resolve(encoder("bert"), target)
    assert "Linear layers (N: a number): encoder.layer.N.attention.self.query, " in str(caught.value)


@pytest.mark.parametrize("target", [["lm_head"], "lm_head"])
def test_the_output_layer_is_refused_for_what_it_is(target: Any, encoder: Encoder) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=11, n_positions=8))
    with pytest.raises(ConfigError, match="lm_head, the output layer, whose weight the loss"):
        resolve(model, target)


def test_torchs_own_attention_is_left_out_since_its_layer_is_never_called() -> None:
    from torch import nn

    model = nn.Sequential(nn.MultiheadAttention(8, 2), nn.Linear(8, 8))
    assert linear_layers(model) == ["1"]
