"""The frozen encoder is recognised."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from jenga.config.peft import LoraConfig
from jenga.errors import SetupError
from jenga.peft import inject, load_adapters
from jenga.peft.base import check_base, fingerprint, read_object

Encoder = Callable[[str], Any]


def test_a_fingerprint_is_of_the_weights_and_not_of_how_they_are_kept(encoder: Encoder, tmp_path: Path) -> None:
    model = encoder("bert")
    found = fingerprint(model)
    assert found == fingerprint(encoder("bert"))
    assert found["parameters"] == sum(each.numel() for each in model.parameters())
    model.save_pretrained(tmp_path)
    assert fingerprint(type(model).from_pretrained(tmp_path)) == found
    rounded = fingerprint(model.to(torch.bfloat16))
    assert rounded == fingerprint(model.float())
    assert (rounded["layout"], rounded["values"] != found["values"]) == (found["layout"], True)


def test_another_base_is_refused_with_what_differs(encoder: Encoder, tmp_path: Path) -> None:
    inject(encoder("bert"), LoraConfig(type="lora"), base_name="first").save(tmp_path)
    assert check_base(encoder("bert"), tmp_path, base_name="first")["parameters"] > 0
    trained = encoder("bert")
    with torch.no_grad():
        trained.encoder.layer[1].output.dense.weight.mul_(1.01)
    with pytest.raises(SetupError, match=r"'second' has other weights than 'first' had .* with --base-model"):
        load_adapters(trained, tmp_path, base_name="second")
    with pytest.raises(SetupError, match=r"'second' has parameters of other names or shapes than 'first' had"):
        load_adapters(encoder("roberta"), tmp_path, base_name="second")


@pytest.mark.parametrize("content", ["[]", "null", "{", "", "[" * 100_000])
def test_a_file_that_holds_no_object_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(SetupError, match=r"a.json: (cannot be read|holds \w+, not an object).*restore the folder"):
        read_object(tmp_path / "a.json")


def test_adapters_that_do_not_say_what_they_stand_on_are_refused(encoder: Encoder, tmp_path: Path) -> None:
    inject(encoder("bert"), LoraConfig(type="lora"), base_name="first").save(tmp_path)
    (tmp_path / "base.json").write_text('{"name": "first", "values": ""}')
    with pytest.raises(SetupError, match=r"base.json: says no layout; restore"):
        check_base(encoder("bert"), tmp_path, base_name="first")
