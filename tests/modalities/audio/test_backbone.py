"""Encoders of sound: Whisper at a clip's own length, and what pools its frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import ASTConfig, ASTModel, Wav2Vec2BertConfig, Wav2Vec2BertModel, WhisperModel

from jenga.config.peft import LoraConfig
from jenga.errors import ConfigError, SetupError
from jenga.modalities.audio.backbone import AudioBackbone
from jenga.modalities.audio.settings import AudioConfig


def features(*frames: int, width: int = 0) -> dict[str, torch.Tensor]:
    """Return spectra ``(B, 20, T)`` of clips of so many frames, with silence behind, and their mask."""
    width = max(width, *frames)
    made = torch.randn(len(frames), 20, width)
    mask = (torch.arange(width) < torch.tensor(frames)[:, None]).long()
    return {"input_features": torch.where(mask[:, None] == 1, made, made.amin()), "attention_mask": mask}


def test_at_full_length_it_is_transformers_own_encoder(whisper: str) -> None:
    backbone = AudioBackbone(whisper, AudioConfig(base_model=whisper, max_seconds=5)).eval()
    inputs = features(500)
    expected = WhisperModel.from_pretrained(whisper).encoder(inputs["input_features"]).last_hidden_state
    output = backbone(**inputs)
    torch.testing.assert_close(output.last_hidden_state, expected)
    torch.testing.assert_close(output.pooler_output, expected.mean(1))


def test_a_clip_is_encoded_alike_whatever_stands_beside_it(whisper: str) -> None:
    backbone = AudioBackbone(whisper, AudioConfig(base_model=whisper, min_seconds=1)).eval()
    both = features(60, 300)
    alone = {"input_features": both["input_features"][:1, :, :100], "attention_mask": both["attention_mask"][:1, :100]}
    together, single = backbone(**both), backbone(**alone)
    torch.testing.assert_close(together.pooler_output[:1], single.pooler_output, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        together.last_hidden_state[:1, :30], single.last_hidden_state[:, :30], rtol=1e-4, atol=1e-5
    )
    assert together.attention_mask.sum(1).tolist() == [30, 150]


def test_silence_behind_a_clip_is_read_up_to_min_seconds_but_never_pooled(whisper: str) -> None:
    inputs = features(60, width=200)
    changed = {**inputs, "input_features": inputs["input_features"].clone()}
    changed["input_features"][:, :, 80:100] += 1.0
    for least, differs in ((1.0, True), (0.7, False)):
        backbone = AudioBackbone(whisper, AudioConfig(base_model=whisper, min_seconds=least)).eval()
        same = torch.equal(backbone(**inputs).pooler_output, backbone(**changed).pooler_output)
        assert same is not differs


def test_a_clip_beyond_the_models_positions_is_refused(whisper: str) -> None:
    backbone = AudioBackbone(whisper, AudioConfig(base_model=whisper))
    with pytest.raises(ConfigError, match=r"max_seconds: a clip has 251 frames, and the model positions for 250"):
        backbone(**features(502))


def test_the_mask_of_samples_is_that_of_the_frames_that_are_made_of_them(wav2vec: str) -> None:
    backbone = AudioBackbone(wav2vec, AudioConfig(base_model=wav2vec)).eval()
    values = torch.randn(2, 8000)
    mask = (torch.arange(8000) < torch.tensor([8000, 3200])[:, None]).long()
    output = backbone(input_values=values * mask, attention_mask=mask)
    assert output.last_hidden_state.shape[:2] == (2, 50)
    assert output.attention_mask.sum(1).tolist() == [50, 20]
    alone = backbone(input_values=values[1:, :3200], attention_mask=mask[1:, :3200])
    torch.testing.assert_close(output.pooler_output[1:], alone.pooler_output, rtol=1e-3, atol=1e-4)


def test_attention_pooling_weighs_real_frames_alone_and_comes_back_from_disk(whisper: str, tmp_path: Path) -> None:
    config = AudioConfig(base_model=whisper, pooling="attention")
    backbone = AudioBackbone(whisper, config).eval()
    inputs = features(60, 300)
    output = backbone(**inputs)
    scores = backbone.score(output.last_hidden_state[0, :30]).softmax(0)
    expected = (output.last_hidden_state[0, :30] * scores).sum(0)
    torch.testing.assert_close(output.pooler_output[0], expected)
    backbone.save(tmp_path / "saved")
    again = AudioBackbone.load(tmp_path / "saved", "gone", config).eval()
    assert torch.equal(again(**inputs).pooler_output, output.pooler_output)


def test_adapters_in_whisper_come_back_on_their_base_and_merge(whisper: str, tmp_path: Path) -> None:
    config = AudioConfig(base_model=whisper)
    backbone = AudioBackbone(whisper, config)
    backbone.adapt(LoraConfig(type="lora", rank=2))
    trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    assert 0 < len(trained) < len(list(backbone.parameters()))
    for parameter in trained:
        torch.nn.init.normal_(parameter, std=0.2)
    inputs = features(60, 300)
    expected = backbone.eval()(**inputs).pooler_output
    backbone.save(tmp_path / "saved")
    again = AudioBackbone.load(tmp_path / "saved", whisper, config).eval()
    assert torch.equal(again(**inputs).pooler_output, expected)
    again.merge()
    torch.testing.assert_close(again(**inputs).pooler_output, expected, rtol=1e-4, atol=1e-5)


def test_a_model_of_texts_is_refused(tiny_bert: Path) -> None:
    with pytest.raises(ConfigError, match="is a bert model, which reads no sound"):
        AudioBackbone(str(tiny_bert), AudioConfig(base_model=str(tiny_bert)))


def test_frames_are_told_before_they_are_made_with_their_seconds(whisper: str, wav2vec: str) -> None:
    made = AudioBackbone(whisper, AudioConfig(base_model=whisper)).eval()
    assert made.frame_seconds == 0.02
    assert made.frames(np.array([1, 60, 61])).tolist() == made(**features(1, 60, 61)).attention_mask.sum(1).tolist()
    other = AudioBackbone(wav2vec, AudioConfig(base_model=wav2vec)).eval()
    assert other.frame_seconds == 160 / 16_000
    lengths = np.array([8000, 3210])
    mask = (torch.arange(8000) < torch.from_numpy(lengths)[:, None]).long()
    output = other(input_values=torch.randn(2, 8000) * mask, attention_mask=mask)
    assert other.frames(lengths).tolist() == output.attention_mask.sum(1).tolist()
    assert other.frames(np.array([3])).tolist() == [0]
    small = ASTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_length=32)
    other.encoder = ASTModel(small)
    assert (other.frame_seconds, other.frames(lengths)) == (None, None)


@pytest.mark.parametrize("harm", ["gone", "cut", "another"])
def test_a_score_that_cannot_be_read_is_told_with_its_file(whisper: str, tmp_path: Path, harm: str) -> None:
    config = AudioConfig(base_model=whisper, pooling="attention")
    AudioBackbone(whisper, config).save(tmp_path)
    path = tmp_path / "jenga_pooling.safetensors"
    if harm == "gone":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:30])
    else:
        save_file({"weight": torch.zeros(1, 3), "bias": torch.zeros(1)}, path)
    with pytest.raises(SetupError, match=r"jenga_pooling\.safetensors: .*restore the folder"):
        AudioBackbone.load(tmp_path, "gone", config)


@pytest.mark.parametrize("content", ['{"model_type": "none-such"}', "{", "[]"])
def test_a_checkpoint_that_is_none_is_told_by_its_key(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(SetupError, match=r"model\.base_model: cannot load"):
        AudioBackbone(str(tmp_path), AudioConfig(base_model=str(tmp_path)))


def test_spectra_of_another_layout_than_whispers_are_refused(tmp_path: Path) -> None:
    Wav2Vec2BertModel(
        Wav2Vec2BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
                           feature_projection_input_dim=16, conv_depthwise_kernel_size=3)
    ).save_pretrained(tmp_path)  # fmt: skip
    with pytest.raises(ConfigError, match=r"is a wav2vec2-bert model, whose spectra are not read here; choose Whisper"):
        AudioBackbone(str(tmp_path), AudioConfig(base_model=str(tmp_path)))


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_windows_are_heard_alone_and_pooled_over_the_frames_of_all(whisper: str, pooling: str) -> None:
    config = AudioConfig(base_model=whisper, window_seconds=1, min_seconds=0, pooling=pooling)
    backbone = AudioBackbone(whisper, config).eval()
    windows = features(100, 100, 40, 70)
    frames = [backbone(**{name: each[[at]] for name, each in windows.items()}) for at in range(4)]
    rows = {
        name: torch.stack([each[:3], torch.stack([each[3], each[3] * 0, each[3] * 0])])
        for name, each in windows.items()
    }
    output = backbone(**rows)
    for found, parts in zip(output.pooler_output, (frames[:3], frames[3:]), strict=True):
        own = torch.cat([each.last_hidden_state[0][each.attention_mask[0] == 1] for each in parts])
        weights = torch.ones(len(own), 1) if backbone.score is None else backbone.score(own).softmax(0)
        torch.testing.assert_close(found, (own * weights).sum(0) / weights.sum(), rtol=1e-4, atol=1e-5)
    assert output.attention_mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_windows_are_no_moments_and_hand_on_no_states(wav2vec: str) -> None:
    backbone = AudioBackbone(wav2vec, AudioConfig(base_model=wav2vec, window_seconds=1))
    assert backbone.frame_seconds is None
    with pytest.raises(ConfigError, match=r"model\.window_seconds: windows are pooled"):
        backbone.keep_states(hidden_states=True, attentions=False)
