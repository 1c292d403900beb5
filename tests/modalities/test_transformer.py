"""What all backbones of transformers share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModel

from jenga.errors import ConfigError, SetupError
from jenga.modalities.transformer import TransformerBackbone, load_whole


class Plain(TransformerBackbone):
    def __init__(self, name: str) -> None:
        super().__init__(name, None)
        self.encoder = AutoModel.from_pretrained(name, trust_remote_code=False)


def test_weights_that_find_no_place_in_the_network_are_an_error(tiny_bert: Path, tmp_path: Path) -> None:
    backbone = Plain(str(tiny_bert))
    backbone.save(tmp_path / "saved")
    assert isinstance(load_whole(tmp_path / "saved", Plain), Plain)
    # What we put beside it is not the network's.
    save_file({"x": torch.ones(10**6)}, tmp_path / "saved" / "jenga_own.safetensors")
    load_whole(tmp_path / "saved", Plain)
    save_file({"x": torch.ones(10**6)}, tmp_path / "saved" / "more.safetensors")
    with pytest.raises(SetupError, match="are stored beside it; restore the folder"):
        load_whole(tmp_path / "saved", Plain)


def test_a_number_that_the_other_type_has_not_stops_the_conversion(tiny_bert: Path) -> None:
    backbone = Plain(str(tiny_bert))
    weight: Any = next(backbone.parameters())
    with torch.no_grad():
        weight[0] = 1e6
    with pytest.raises(ConfigError, match="holds numbers that fp16 has not"):
        backbone.convert(torch.float16)
