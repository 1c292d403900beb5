"""The one way in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jenga.config.peft import BottleneckConfig, DoraConfig, LoraConfig
from jenga.errors import SetupError
from jenga.peft import base_of, inject, load_adapters
from jenga.peft.adapters import BottleneckAdapters
from jenga.peft.lora import LoraAdapters

Encoder = Callable[[str], Any]


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (LoraConfig(type="lora"), LoraAdapters),
        (DoraConfig(type="dora"), LoraAdapters),
        (BottleneckConfig(type="adapter"), BottleneckAdapters),
    ],
    ids=["lora", "dora", "adapter"],
)
def test_each_type_is_injected_and_found_again(config: Any, kind: type, encoder: Encoder, tmp_path: Path) -> None:
    adapters = inject(encoder("bert"), config, base_name="hub/name")
    assert type(adapters) is kind
    adapters.save(tmp_path)
    assert base_of(tmp_path) == "hub/name"
    assert type(load_adapters(encoder("bert"), tmp_path, base_name="hub/name")) is kind


def test_a_base_in_a_folder_is_named_by_its_whole_path(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base").mkdir()
    monkeypatch.chdir(tmp_path)
    inject(encoder("bert"), LoraConfig(type="lora"), base_name="base").save(tmp_path / "adapters")
    assert base_of(tmp_path / "adapters") == str(tmp_path / "base")


def test_a_folder_without_adapters_has_no_base(tmp_path: Path) -> None:
    assert base_of(tmp_path) is None
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4}))
    with pytest.raises(SetupError, match=r"adapter_config.json: says no base_model_name_or_path"):
        base_of(tmp_path)


@pytest.mark.parametrize("settings", [{"bottleneck": "wide"}, {"bottleneck": -1}, {"unknown": 1}])
def test_settings_of_bottlenecks_that_are_none_are_refused_with_their_file(
    encoder: Encoder, tmp_path: Path, settings: dict[str, Any]
) -> None:
    inject(encoder("bert"), BottleneckConfig(type="adapter"), base_name="hub/name").save(tmp_path)
    file = tmp_path / "bottleneck_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    with pytest.raises(SetupError, match=r"bottleneck_config.json: no settings of adapters of Jenga: .*"):
        load_adapters(encoder("bert"), tmp_path, base_name="hub/name")


@pytest.mark.parametrize("file", ["adapter_config.json", "bottleneck_config.json"])
@pytest.mark.parametrize("content", ["[]", "{", "null"])
def test_settings_that_are_no_object_are_refused_with_their_file(tmp_path: Path, file: str, content: str) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(SetupError, match=rf"{file}: (cannot be read|holds)"):
        base_of(tmp_path)
