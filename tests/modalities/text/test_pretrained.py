"""Checkpoints as they are read. (What becomes of them: test_text.py and test_language.py.)"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from jenga.errors import ConfigError, SetupError
from jenga.modalities.text.pretrained import (
    UnknownPoolingError,
    checkpoint_folder,
    checkpoint_of,
    load_encoder,
    load_tokenizer,
    published_pooling,
)
from jenga.modalities.text.settings import ModelConfig


def test_a_tokenizer_that_cannot_be_reached_is_named_by_its_own_key(checkpoint: Callable[[str], str]) -> None:
    with pytest.raises(SetupError, match=r"model.tokenizer: cannot load 'nobody/no-such-model'"):
        load_tokenizer(ModelConfig(base_model=checkpoint("bert"), tokenizer="nobody/no-such-model"))


def test_a_tokenizer_without_padding_pads_with_its_end_token(checkpoint: Callable[[str], str]) -> None:
    tokenizer = load_tokenizer(ModelConfig(base_model=checkpoint("gpt2")))
    assert tokenizer.pad_token == tokenizer.eos_token == "<|end|>"


def test_a_tokenizer_with_neither_is_refused(make_tokenizer: Callable[[str], Any], tmp_path: Path) -> None:
    tokenizer = make_tokenizer("byte_level")
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="neither a padding nor an end token"):
        load_tokenizer(ModelConfig(base_model=str(tmp_path)))


def test_a_language_model_is_not_told_of_the_preset_for_encoders() -> None:
    config = ModelConfig(base_model="nobody/no-such-model").for_language()
    with pytest.raises(SetupError, match="cannot load 'nobody/no-such-model'") as caught:
        load_tokenizer(config)
    assert "tiny-text" not in str(caught.value)


def test_a_run_folder_stands_for_its_best_encoder(checkpoint: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "run" / "best").mkdir(parents=True)
    (tmp_path / "run" / "best" / "backbone").symlink_to(checkpoint("bert"))
    for name in (tmp_path / "run", tmp_path / "run" / "best"):
        found = load_encoder(str(name), ModelConfig(base_model=str(name)))[0]
        assert found.config.model_type == "bert"
        assert Path(checkpoint_of(str(name))).name == "backbone"
    assert checkpoint_of("nobody/model") == "nobody/model"


def test_the_folder_of_a_checkpoint_that_cannot_be_reached_is_a_setup_error(tmp_path: Path) -> None:
    assert checkpoint_folder(str(tmp_path), key="here") == tmp_path
    with pytest.raises(SetupError, match=r"^here: cannot load 'nobody/no-such-model'"):
        checkpoint_folder("nobody/no-such-model", key="here")


def test_a_student_of_an_encoder_keeps_the_layers_that_it_names(make_bert: Callable[..., Path], tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    teacher = BertModel(
        BertConfig(
            vocab_size=20, hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16
        )
    )  # fmt: skip
    teacher.save_pretrained(tmp_path)
    settings = {"teacher_model": str(tmp_path), "student": {"from_teacher": [1, 3]}}
    config = ModelConfig(base_model=str(tmp_path), teacher_student_config=settings)
    student = load_encoder(str(tmp_path), config)[0]
    assert len(student.encoder.layer) == 2
    for mine, theirs in zip(student.encoder.layer, (teacher.encoder.layer[1], teacher.encoder.layer[3]), strict=True):
        for name, value in mine.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[name])


def test_a_sentence_encoders_own_pooling_is_known(tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(tiny_bert, folder)
    assert published_pooling(str(folder)) is None
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        '{"pooling_mode_mean_tokens": true, "word_embedding_dimension": 16}'
    )
    assert published_pooling(str(folder)) == "mean"
    (folder / "1_Pooling" / "config.json").write_text(
        '{"pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": true}'
    )
    with pytest.raises(UnknownPoolingError, match=r"pools by mean_tokens and max_tokens \(1_Pooling/config.json\)"):
        published_pooling(str(folder))


@pytest.mark.parametrize("content", ["[]", "null", "{", ""])
def test_a_pooling_that_cannot_be_read_is_a_setup_error_with_its_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(content)
    with pytest.raises(SetupError, match=r"1_Pooling/config.json: (cannot be read|holds) .*set model.pooling"):
        published_pooling(str(tmp_path))


def test_a_hub_that_cannot_be_asked_is_told_from_a_checkpoint_that_says_no_pooling(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(error: Exception) -> Callable[..., str]:
        def download(*_: Any, **__: Any) -> str:
            raise error

        return download

    unreached = LocalEntryNotFoundError("no connection")
    for error in (unreached, OSError("timed out"), RuntimeError("proxy")):
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail(error))
        with pytest.raises(UnknownPoolingError, match=rf"could not be asked how it pools \({error}\)"):
            published_pooling("nobody/no-such-model")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail(EntryNotFoundError("no such file")))
    assert published_pooling("nobody/no-such-model") is None
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail(unreached))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: huggingface_hub._CACHED_NO_EXIST)
    assert published_pooling("nobody/no-such-model") is None, "it was asked before, and said so"


def test_adapters_inside_a_whole_model_are_refused_before_peft_reads_them(
    checkpoint: Callable[[str], str], tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoint("bert"), tmp_path / "model")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "nobody/model"}')
    with pytest.raises(SetupError, match=r"^here: '.*' is a whole model with adapters in it \(adapter_config.json\)"):
        load_encoder(str(folder), ModelConfig(base_model=str(folder)), key="here")


@pytest.mark.parametrize("content", ["[]", '{"model_type": "bert", "hidden_size": "wide"}', '{"model_type": 7}'])
def test_a_checkpoint_that_makes_transformers_stumble_is_a_setup_error(
    checkpoint: Callable[[str], str], tmp_path: Path, content: str
) -> None:
    folder = shutil.copytree(checkpoint("bert"), tmp_path / "model")
    (folder / "config.json").write_text(content)
    with pytest.raises(SetupError, match=r"^here: cannot load '.*model'"):
        load_encoder(str(folder), ModelConfig(base_model=str(folder)), key="here")


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["[]", "null", "{"])
def test_a_tokenizer_beside_a_file_that_holds_no_object_names_the_file(
    checkpoint: Callable[[str], str], tmp_path: Path, file: str, content: str
) -> None:
    folder = shutil.copytree(checkpoint("bert"), tmp_path / "model")
    (folder / file).write_text(content)
    with pytest.raises(SetupError, match=rf"^model.base_model: cannot load '.*': {file} (is no JSON|holds) .*Restore"):
        load_tokenizer(ModelConfig(base_model=str(folder)))
