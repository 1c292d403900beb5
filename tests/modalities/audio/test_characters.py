"""The output layer of a checkpoint that was made to write what is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from jenga.errors import SetupError
from jenga.modalities.audio.backbone import AudioBackbone
from jenga.modalities.audio.characters import read_characters
from jenga.modalities.audio.settings import AudioConfig
from jenga.tasks.transcription import TranscriptionConfig, TranscriptionTask


@pytest.fixture
def speller(wav2vec: str) -> str:
    """The folder of the Wav2Vec2 with an output layer of five characters."""
    from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2ForCTC

    vocabulary = {"<pad>": 0, "<unk>": 1, "|": 2, "A": 3, "B": 4}
    config = Wav2Vec2Config.from_pretrained(wav2vec, vocab_size=len(vocabulary), pad_token_id=0)
    Wav2Vec2ForCTC(config).save_pretrained(wav2vec)
    file = Path(wav2vec) / "vocab.json"
    file.write_text(json.dumps(vocabulary), encoding="utf-8")
    Wav2Vec2CTCTokenizer(str(file), bos_token=None, eos_token=None).save_pretrained(wav2vec)
    return wav2vec


def test_the_layer_is_read_by_character_and_a_head_starts_from_it(speller: str) -> None:
    from transformers import Wav2Vec2ForCTC

    layer = Wav2Vec2ForCTC.from_pretrained(speller).lm_head
    config = AudioConfig(base_model=speller)
    assert read_characters(speller, config).keys() == {"", " ", "A", "B"}
    block = TranscriptionConfig(
        name="t", type="transcription", data_path="x",
        heads=[{"name": "h", "labels": ["␣", "b", "c"], "num_labels": 3}],
    )  # fmt: skip
    task = TranscriptionTask(block, 16)
    before = task.heads.weight.detach().clone()
    task.attach(AudioBackbone(speller, config))
    torch.testing.assert_close(task.heads.weight[[0, 1, 2]], layer.weight[[0, 2, 4]])
    torch.testing.assert_close(task.heads.bias[[0, 1, 2]], layer.bias[[0, 2, 4]])
    assert torch.equal(task.heads.weight[3], before[3])


def test_a_checkpoint_that_was_made_for_something_else_has_none(wav2vec: str) -> None:
    assert read_characters(wav2vec, AudioConfig(base_model=wav2vec)) == {}


def test_a_vocabulary_that_is_not_there_is_an_error(speller: str) -> None:
    for file in Path(speller).glob("*.json"):
        if "vocab" in file.name or "token" in file.name:
            file.unlink()
    with pytest.raises(SetupError, match=r"model.base_model: cannot load"):
        read_characters(speller, AudioConfig(base_model=speller))
