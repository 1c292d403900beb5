"""The block `peft`."""

from __future__ import annotations

from typing import Any

import pytest

from jenga.config.load import load_text
from jenga.config.peft import BottleneckConfig, DoraConfig, LoraConfig
from jenga.errors import ConfigError
from jenga.run.build import schema

TEXT = """\
model: {{base_model: m}}
tasks: [{{name: mood, type: classification, data_path: a.jsonl}}]
peft: {peft}
"""


def peft_of(text: str) -> Any:
    return load_text(TEXT.format(peft=text), file="cfg.yml", schema=schema()).peft


def test_each_type_has_its_settings_and_defaults() -> None:
    assert peft_of("{type: lora}") == LoraConfig(type="lora", rank=8, alpha=None, target="all-linear")
    assert peft_of("{type: dora, target: [query]}") == DoraConfig(type="dora", target=["query"])
    assert peft_of("{type: adapter}") == BottleneckConfig(type="adapter", style="pfeiffer", bottleneck=64)


def test_without_the_block_the_whole_encoder_is_trained() -> None:
    assert peft_of("null") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{type: lora, rank: 0}", "cfg.yml:3:26: peft.rank: must be at least 1, got 0"),
        ("{type: lora, dropout: 1}", "peft.dropout: must be less than 1, got 1"),
        ("{type: lora, alpha: 0}", "peft.alpha: must be greater than 0, got 0"),
        ("{type: lra}", "peft.type: unknown 'lra'; did you mean 'lora'? Known: adapter, dora, lora"),
        ("{rank: 8}", "peft.type: required key is missing. Known: adapter, dora, lora"),
        ("lora", "cfg.yml:3:7: peft: needs a mapping (key: value), got text 'lora'"),
        ("{type: adapter, rank: 8}", "peft.rank: unknown key; it belongs under peft of type 'dora' or 'lora'."),
        ("{type: lora, target: []}", "peft.target: needs at least 1 item, got none"),
        ("{type: lora, target: '*q'}", "peft.target: '*q' is no regular expression (nothing to repeat"),
        ("{type: adapter, style: houlsy}", "peft.style: unknown 'houlsy'; did you mean 'houlsby'?"),
    ],
)
def test_a_mistake_is_refused_with_its_place_and_the_fix(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        peft_of(text)
    assert says in str(caught.value)
    assert len(caught.value.problems) == 1
