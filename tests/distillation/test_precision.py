from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from jenga.distillation.precision import reduce_precision
from jenga.errors import SetupError


@pytest.fixture
def model(make_gpt2: Callable[..., Path]) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(make_gpt2()).eval()


def hidden(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.base_model(torch.arange(20)[None], use_cache=False).last_hidden_state.float()


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "int8"])
def test_a_teacher_in_fewer_bits_says_nearly_the_same(model: Any, dtype: Any) -> None:
    if dtype == "int8" and importlib.util.find_spec("torchao") is None:
        pytest.skip("torchao is not installed")
    exact = hidden(model)
    reduce_precision(model, dtype)
    found = hidden(model)
    assert torch.equal(found, exact) == (dtype == "fp32")
    # 8 bits of each weight, in states of about 1.
    torch.testing.assert_close(found, exact, rtol=0.05, atol=0.05)


@pytest.mark.skipif(importlib.util.find_spec("torchao") is not None, reason="torchao is installed")
def test_int8_without_torchao_says_what_to_install(model: Any) -> None:
    with pytest.raises(SetupError, match="int8 needs torchao, which is not installed here: pip install torchao"):
        reduce_precision(model, "int8")
