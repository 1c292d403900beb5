"""Clips as features: the extractor's own, computed once, and what cannot be read set aside."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import seeds
import soundfile
import torch
from tones import RATE, tone
from transformers import SeamlessM4TFeatureExtractor

from jenga.errors import ConfigError, SetupError
from jenga.modalities.audio.backbone import AudioBackbone
from jenga.modalities.audio.clips import AudioColumns, Clip
from jenga.modalities.audio.encoder import AudioEncoder
from jenga.modalities.audio.settings import AudioConfig
from jenga.modalities.audio.spectrogram import spectrogram
from jenga.modalities.media import Media
from jenga.modalities.store import FeatureStore, PassingStore
from jenga.rows.content import Cells
from jenga.rows.parse import Rows, SourceSpec

EVERY_KIND = ["whisper", "wav2vec", "ast"]
SPEC = SourceSpec("s", (), (), (), "id", (), AudioColumns(columns=(("audio", ("audio",)),)))


def rows(*sounds: np.ndarray) -> Rows:
    names = [str(at) for at in range(len(sounds))]
    clips = [Clip(Media(name, values=sound, rate=RATE)) for name, sound in zip(names, sounds, strict=True)]
    return Rows(names, ["f"] * len(names), list(range(len(names))), Cells({"audio": clips}))


def encoder(folder: str, tmp_path: Path, **settings: Any) -> AudioEncoder:
    return AudioEncoder.of(AudioConfig(base_model=folder, **settings), FeatureStore(tmp_path / "cache"))


def test_whispers_features_are_those_of_its_own_extractor_padded_with_its_own_silence(
    whisper: str, tmp_path: Path
) -> None:
    made = encoder(whisper, tmp_path)
    sounds = [tone(440, 1.0), tone(900, 0.5)]
    assert made.unusable(rows(*sounds), SPEC) == {}
    encoded = made.encode(rows(*sounds), SPEC)
    assert encoded.lengths.tolist() == [100, 50]
    inputs = encoded.inputs([1, 0])
    assert inputs["attention_mask"].sum(1).tolist() == [50, 100]
    # A batch is as long as min_seconds, 2 s of 100 frames each.
    assert inputs["input_features"].shape == (2, 20, 200)
    for row, sound in zip(inputs["input_features"], reversed(sounds), strict=True):
        expected = made.extractor(sound, sampling_rate=RATE, padding="max_length", return_tensors="np")
        # float16 on disk; where a clip ends, silence begins a frame sooner or later.
        difference = np.abs(row.numpy() - expected["input_features"][0][:, :200])
        assert np.median(difference) < 1e-3
        assert np.quantile(difference, 0.97) < 2e-3


def test_samples_are_handed_on_with_their_mask(wav2vec: str, tmp_path: Path) -> None:
    made = encoder(wav2vec, tmp_path)
    sounds = [tone(440, 0.5), tone(900, 0.2)]
    made.unusable(rows(*sounds), SPEC)
    inputs = made.encode(rows(*sounds), SPEC).inputs([0, 1])
    assert inputs["input_values"].shape == (2, RATE // 2)
    assert inputs["attention_mask"].sum(1).tolist() == [8000, 3200]
    assert not inputs["input_values"][1, 3200:].any()
    normal = (sounds[1] - sounds[1].mean()) / sounds[1].std()
    np.testing.assert_allclose(inputs["input_values"][1, :3200].numpy(), normal, atol=5e-3)


def test_features_are_computed_once(whisper: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sounds = [tone(440, 0.3), tone(900, 0.3)]
    encoder(whisper, tmp_path).unusable(rows(*sounds), SPEC)
    again = encoder(whisper, tmp_path)
    computed: list[Clip] = []
    features = again._features
    monkeypatch.setattr(again, "_features", lambda clip: computed.append(clip) or features(clip))
    again.unusable(rows(*sounds, tone(500, 0.3)), SPEC)
    assert [clip.media.name for clip in computed] == ["2"]
    # Other settings are other features.
    other = encoder(whisper, tmp_path, max_seconds=2.0)
    assert other._key(computed[0]) != again._key(computed[0])


def test_a_longer_clip_is_read_up_to_max_seconds(whisper: str, tmp_path: Path) -> None:
    made = encoder(whisper, tmp_path, max_seconds=2.0)
    long = rows(tone(440, 3.0))
    made.unusable(long, SPEC)
    assert made.encode(long, SPEC).lengths.tolist() == [200]
    assert "the first 2 seconds" in made.facts([SPEC]).limits[0]


def test_what_cannot_be_read_is_told_by_row(whisper: str, tmp_path: Path) -> None:
    found = encoder(whisper, tmp_path).unusable(rows(tone(440, 0.3), np.array([np.nan])), SPEC)
    assert found == {1: "1: it holds values that are no numbers"}


def test_the_extractor_travels_with_the_model(whisper: str, tmp_path: Path) -> None:
    made = encoder(whisper, tmp_path)
    (tmp_path / "saved").mkdir()
    made.save(tmp_path / "saved")
    again = AudioEncoder.of(AudioConfig(base_model="gone"), PassingStore(), str(tmp_path / "saved"))
    clip = Clip(Media("x", values=tone(440, 0.3), rate=RATE))
    assert again._key(clip) == made._key(clip)
    torch.testing.assert_close(torch.from_numpy(again._features(clip)), torch.from_numpy(made._features(clip)))


def test_a_model_that_reads_no_sound_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"model\.base_model"):
        encoder(str(tiny_bert), tmp_path)


@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.parametrize("length", [1, 50, 399])
def test_the_shortest_clip_is_filled_up_to_what_the_model_takes(
    kind: str, length: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = request.getfixturevalue(kind)
    made, short = encoder(folder, tmp_path), rows(tone(440, 0.1)[:length])
    assert made.unusable(short, SPEC) == {}
    config = AudioConfig(base_model=folder)
    output = AudioBackbone(folder, config).eval()(**made.encode(short, SPEC).inputs([0]))
    assert output.pooler_output.isfinite().all()
    assert output.attention_mask.sum() >= 1


def test_a_clip_without_samples_stays_bad(whisper: str, tmp_path: Path) -> None:
    assert encoder(whisper, tmp_path).unusable(rows(tone(440, 0.1)[:0]), SPEC) == {0: "0: it has no samples there"}


@pytest.mark.parametrize(("kind", "readable"), [("whisper", 5.0), ("ast", 0.32), ("wav2vec", 30.0)])
def test_seconds_beyond_what_the_model_reads_are_refused_and_none_are_asked_for_by_default(
    kind: str, readable: float, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = request.getfixturevalue(kind)
    assert encoder(folder, tmp_path, min_seconds=0.1).seconds == readable
    if kind == "wav2vec":
        assert encoder(folder, tmp_path, max_seconds=600.0).seconds == 600
        return
    with pytest.raises(ConfigError, match=rf"model\.max_seconds: 30 is more than the {readable:g} seconds that"):
        encoder(folder, tmp_path, max_seconds=30.0)


def test_spectra_of_another_layout_than_whispers_are_refused_with_what_is_supported(tmp_path: Path) -> None:
    SeamlessM4TFeatureExtractor().save_pretrained(tmp_path / "seamless")
    with pytest.raises(ConfigError, match=r"is a SeamlessM4TFeatureExtractor; choose Whisper, Wav2Vec2"):
        encoder(str(tmp_path / "seamless"), tmp_path)


def test_what_passes_leaves_nothing_in_the_cache(whisper: str, tmp_path: Path) -> None:
    made, cache = encoder(whisper, tmp_path), tmp_path / "cache"
    split = made.encoder([]).encode(rows(tone(440, 0.3)), SPEC, {})
    assert split.encoded.inputs([0])["input_features"].shape[0] == 1
    assert not cache.exists()
    made.unusable(rows(tone(440, 0.3)), SPEC)
    assert len(list(cache.rglob("*.safetensors"))) == 1


@pytest.mark.parametrize("kind", ["whisper", "ast"])
def test_whole_frames_of_a_spectrum_are_blanked_or_whole_bands(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    given = rows(tone(440, 0.3), tone(900, 0.3))
    inputs: dict[str, dict[str, torch.Tensor]] = {}
    for axis, masks in {"time": (1, 0), "frequency": (0, 1)}.items():
        augment = {"time_masks": masks[0], "time_share": 0.5, "frequency_masks": masks[1], "frequency_share": 0.5}
        made = encoder(request.getfixturevalue(kind), tmp_path, min_seconds=0.1, augment=augment)
        assert made.unusable(given, SPEC) == {}
        encoded = made.encode(given, SPEC)
        inputs["plain"] = encoded.inputs([0, 1])
        inputs[axis] = encoded.changed(dict(inputs["plain"]), torch.Generator().manual_seed(1))
    bands = {"whisper": 1, "ast": 2}[kind]
    for axis, across in {"time": bands, "frequency": 3 - bands}.items():
        changed = inputs[axis][made.name] != inputs["plain"][made.name]
        assert changed.any()
        assert not changed.all()
        assert torch.equal(changed.any(across), changed.all(across))
        assert torch.equal(inputs[axis]["attention_mask"], inputs["plain"]["attention_mask"])


def test_clips_are_changed_in_training_alone_and_alike_from_one_seed(whisper: str, tmp_path: Path) -> None:
    made = encoder(whisper, tmp_path, augment={})
    given = rows(tone(440, 1.0))
    assert made.unusable(given, SPEC) == {}
    encoded = made.encode(given, SPEC)
    inputs = encoded.inputs([0])
    assert torch.equal(encoded.inputs([0])["input_features"], inputs["input_features"])
    one, other, third = (
        encoded.changed(dict(inputs), torch.Generator().manual_seed(seed))["input_features"] for seed in (0, 0, 1)
    )
    assert torch.equal(one, other)
    assert not torch.equal(one, third)
    plain = encoder(whisper, tmp_path).encode(given, SPEC)
    assert plain.changed(inputs, torch.Generator())["input_features"] is inputs["input_features"]


def test_rows_that_are_not_read_to_their_end_are_told(
    wav2vec: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = encoder(wav2vec, tmp_path, max_seconds=0.5, min_seconds=0)
    split = made.encoder([]).encode(rows(tone(440, 0.5), tone(440, 0.6)), SPEC, {})
    assert split.encoded.truncated is not None
    assert split.encoded.truncated.tolist() == [False, True]
    assert "1 of 2 rows are longer than 0.5 s; only that much of them is read" in caplog.text


def test_a_long_recording_is_read_in_windows_each_of_which_is_a_clip(whisper: str, tmp_path: Path) -> None:
    sound = np.concatenate([tone(440, 1.0), tone(900, 1.0), tone(300, 0.5)])
    made = encoder(whisper, tmp_path, window_seconds=1.0, min_seconds=0)
    both = rows(sound, tone(440, 0.4))
    assert made.unusable(both, SPEC) == {}
    encoded = made.encode(both, SPEC)
    assert encoded.lengths.tolist() == [250, 40]
    inputs = encoded.inputs([1, 0])
    assert inputs["input_features"].shape == (2, 3, 20, 100)
    assert inputs["attention_mask"].sum(2).tolist() == [[40, 0, 0], [100, 100, 50]]
    alone = encoder(whisper, tmp_path, min_seconds=0)
    parts = rows(sound[:RATE], sound[RATE : 2 * RATE], sound[2 * RATE :])
    alone.unusable(parts, SPEC)
    expected = alone.encode(parts, SPEC).inputs([0, 1, 2])["input_features"]
    torch.testing.assert_close(inputs["input_features"][1], expected)
    assert (
        encoder(whisper, tmp_path, window_seconds=1.0, window_stride_seconds=0.5).encode(both, SPEC).keys[0][::2]
        == (encoded.keys[0][:2])
    )


def test_windows_end_with_the_clip_and_with_max_seconds(wav2vec: str, tmp_path: Path) -> None:
    made = encoder(wav2vec, tmp_path, window_seconds=0.5, max_seconds=1.2, min_seconds=0)
    path = tmp_path / "long.wav"
    soundfile.write(path, np.concatenate([tone(440, 1.0), tone(900, 1.0)]), RATE)
    bounds = [{}, {"start": 1.5}, {"start": 0.2, "end": 1.0}]
    clips = [Clip(Media("long", path=path), **each) for each in bounds]
    given = Rows(["a", "b", "c"], ["f"] * 3, [1, 2, 3], Cells({"audio": clips}))
    assert made.unusable(given, SPEC) == {}
    encoded = made.encode(given, SPEC)
    assert encoded.inputs([0, 1, 2])["attention_mask"].sum(2).tolist() == [
        [8000, 8000, 3200],
        [8000, 0, 0],
        [8000, 4800, 0],
    ]
    assert encoded.truncated is not None
    assert encoded.truncated.tolist() == [True, False, False]
    assert encoded.extent(encoded.inputs([0])) == 3 * 8000
    path.write_bytes(path.read_bytes()[:40_000])
    again = Rows(["a"], ["f"], [1], Cells({"audio": [Clip(Media("long", path=path))]}))
    assert "it breaks off" in made.unusable(again, SPEC)[0]


def test_training_blanks_parts_of_each_window(whisper: str, tmp_path: Path) -> None:
    augment = {"time_masks": 1, "time_share": 0.9, "frequency_masks": 0}
    made = AudioEncoder.of(
        AudioConfig.model_validate(
            {"base_model": whisper, "window_seconds": 1.0, "min_seconds": 0, "augment": augment}
        ), FeatureStore(tmp_path / "cache"),
    )  # fmt: skip
    both = rows(tone(440, 2.0), tone(900, 0.5))
    made.unusable(both, SPEC)
    encoded = made.encode(both, SPEC)
    inputs = encoded.inputs([0, 1])
    changed = encoded.changed(inputs, seeds.generator(1))
    differs = (changed["input_features"] != inputs["input_features"]).any(2)
    assert differs.any(2).tolist() == [[True, True], [True, False]]
    assert not differs[0, 0].equal(differs[0, 1])
    assert not differs[1, 0, 50:].any()


def test_windows_beyond_what_the_model_reads_are_refused(whisper: str, tmp_path: Path) -> None:
    made = encoder(whisper, tmp_path, window_seconds=2.0)
    assert made.seconds == 600
    assert made.facts([SPEC]).data["seconds of a window"] == "2, one each 2"
    with pytest.raises(ConfigError, match=r"model\.window_seconds: 40 is more than the 5 seconds that .*; lower it$"):
        encoder(whisper, tmp_path, window_seconds=40.0)


def test_a_person_sees_a_clip_as_its_spectrogram(wav2vec: str, tmp_path: Path) -> None:
    content = rows(tone(300, 0.2), tone(900, 0.2)).content
    made = encoder(wav2vec, tmp_path)
    (picture,) = made.shown(content, 1).pictures
    assert picture == spectrogram(content.columns["audio"][1], made.rate) != made.shown(content, 0).pictures[0]


def test_a_person_is_told_of_a_clip_that_is_gone(wav2vec: str, tmp_path: Path) -> None:
    content = Cells({"audio": [Clip(Media("call.wav", path=tmp_path / "call.wav"))]})
    told = encoder(wav2vec, tmp_path).shown(content, 0)
    assert told.text.startswith("call.wav: ")
    assert told.pictures == ()


def test_without_matplotlib_a_person_is_told_instead_of_shown(
    wav2vec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, content = encoder(wav2vec, tmp_path), rows(tone(300, 0.2)).content
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert made.shown(content, 0).text.endswith(
        "not drawn, as matplotlib is not installed here: pip install 'jenga[report]'"
    )
