"""A teacher's largest logits, kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from jenga.distillation import top_k
from jenga.distillation.running import RunningTeacher
from jenga.errors import ConfigError, SetupError
from jenga.modalities.text.pieces import EncodedLanguage
from jenga.run import build, experiment

pytestmark = pytest.mark.usefixtures("without_report")

Make = Callable[..., Any]


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top_k, "_SHARD_PIECES", 7)
    monkeypatch.setattr(top_k, "_BATCH_TOKENS", 60)


def vocabulary(models: dict[str, str]) -> int:
    return int(json.loads((Path(models["small"]) / "config.json").read_text())["vocab_size"])


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def loss_and_gradient(made: build.Experiment, rows: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    batch = made.sources[0].splits["train"].batch(rows)
    if made.teacher is not None:
        made.teacher.teach(batch)
    model = made.bundle.model.eval()
    output = model(batch.inputs, ["lm"], batch.labels, batch.teacher)["lm"]
    model.zero_grad()
    output.loss.backward()
    return output.loss.detach(), model.encoders["shared"].output_layer[0].grad.clone()


ROWS = [5, 2, 9, 0]


@pytest.mark.parametrize("packing", [False, True])
def test_all_logits_teach_as_the_teacher_itself_does(
    language: Make, built: Make, models: dict[str, str], tmp_path: Path, packing: bool
) -> None:
    found = []
    for extra in ({}, {"top_k": vocabulary(models), "top_k_dir": str(tmp_path / "kept")}):
        settings = language(teacher=extra)
        settings["tasks"][0]["packing"] = packing
        made = built(settings)
        assert (made.teacher is None) == bool(extra)
        part = made.sources[0].splits["train"]
        assert isinstance(part.encoded, EncodedLanguage)
        assert (part.encoded.packs is not None and max(map(len, part.encoded.packs)) > 1) == packing
        found.append(loss_and_gradient(made, range(len(part))[::-1] if packing else ROWS))
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)


def test_few_logits_teach_nearly_the_same(language: Make, built: Make, tmp_path: Path) -> None:
    whole, _ = loss_and_gradient(built(language(teacher={"distillation_alpha": 1.0})), ROWS)
    few, _ = loss_and_gradient(
        built(language(teacher={"distillation_alpha": 1.0, "top_k": 5, "top_k_dir": str(tmp_path / "k")})), ROWS
    )
    assert few.isfinite()
    assert not torch.equal(few, whole)


def test_a_complete_cache_needs_no_teacher(
    language: Make, built: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = language(teacher={"top_k": 5, "top_k_dir": str(tmp_path / "kept")})
    first = loss_and_gradient(built(settings), ROWS)
    kept = files(tmp_path / "kept")
    monkeypatch.setattr(RunningTeacher, "__init__", None)  # a teacher would fail to be made
    again = loss_and_gradient(built(settings), ROWS)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert files(tmp_path / "kept") == kept
    assert len(kept) == 1 + -(-32 // 7)


def test_what_was_made_when_it_stopped_is_kept_and_the_rest_comes_out_the_same(
    language: Make, built: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = language(teacher={"top_k": 5, "top_k_dir": str(tmp_path / "straight")})
    built(straight)
    stopped = language(teacher={"top_k": 5, "top_k_dir": str(tmp_path / "stopped")})
    real, calls = top_k.TopKCache._shard, []

    def dies_at_the_third(self: Any, number: int, *rest: Any) -> Any:
        calls.append(number)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, number, *rest)

    monkeypatch.setattr(top_k.TopKCache, "_shard", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        built(stopped)
    half = files(tmp_path / "stopped")
    assert sum(name.endswith(".safetensors") for name in half) == 2
    (tmp_path / "stopped" / "lm" / "000003.new").write_bytes(b"half a shard")
    built(stopped)
    assert calls == [0, 1, 2, 2, 3, 4]
    (tmp_path / "stopped" / "lm" / "000003.new").unlink(missing_ok=True)
    assert files(tmp_path / "stopped") == files(tmp_path / "straight")


@pytest.mark.parametrize("harm", ["cut", "gone", "changed"])
def test_a_harmed_shard_is_told_and_made_again(
    language: Make, built: Make, tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = language(teacher={"top_k": 5, "top_k_dir": str(tmp_path / "kept")})
    built(settings)
    whole = files(tmp_path / "kept")
    shard = tmp_path / "kept" / "lm" / "000001.safetensors"
    if harm == "gone":
        shard.unlink()
    else:
        shard.write_bytes(whole["lm/000001.safetensors"][:-9] + (b"" if harm == "cut" else b"x" * 9))
    built(settings)
    assert "000001.safetensors is gone or harmed" in caplog.text
    assert files(tmp_path / "kept") == whole


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"teacher": "other"}, "another teacher"),
        ({"k": 6}, "another top_k"),
        ({"max_length": 12}, "other training rows"),
        ({"dtype": "bf16"}, "another teacher"),
    ],
)
def test_logits_of_something_else_are_refused_and_left_alone(
    language: Make, built: Make, models: dict[str, str], tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    kept = str(tmp_path / "kept")
    built(language(teacher={"top_k": 5, "top_k_dir": kept}))
    before = files(tmp_path / "kept")
    other = {
        "top_k": change.get("k", 5), "top_k_dir": kept, "teacher_model": models[change.get("teacher", "big")],
        "teacher_dtype": change.get("dtype", "fp32"),
    }  # fmt: skip
    settings = language(teacher=other)
    settings["data"]["max_length"] = change.get("max_length", 64)
    if "max_length" in change:
        settings["tasks"][0]["columns"] = {"text": "prompt"}
    with pytest.raises(ConfigError, match=words):
        built(settings)
    assert files(tmp_path / "kept") == before


def test_logits_of_another_tokenizer_are_refused(
    language: Make, built: Make, models: dict[str, str], tmp_path: Path
) -> None:
    kept = {"top_k": 5, "top_k_dir": str(tmp_path / "kept")}
    built(language(teacher=kept))
    twin = tmp_path / "twin"
    shutil.copytree(models["small"], twin)
    described = json.loads((twin / "tokenizer.json").read_text())
    described["normalizer"] = {"type": "Lowercase"}
    (twin / "tokenizer.json").write_text(json.dumps(described))
    settings = language(teacher=kept)
    settings["model"]["base_model"] = str(twin)
    with pytest.raises(ConfigError, match="another tokenizer"):
        built(settings)


def test_another_teacher_or_k_finds_a_place_of_its_own_by_itself(
    language: Make, built: Make, models: dict[str, str], tmp_path: Path
) -> None:
    for extra in ({"top_k": 5}, {"top_k": 6}, {"top_k": 5, "teacher_model": models["other"]}, {"top_k": 5}):
        built(language(teacher=extra))
    assert len(list((tmp_path / "cache" / "teachers").iterdir())) == 3


def test_one_changed_weight_makes_another_teacher(models: dict[str, str], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(models["big"], tmp_path / "twin")
    assert top_k.identity(tmp_path / "twin", "fp32") == top_k.identity(Path(models["big"]), "fp32")
    assert top_k.identity(tmp_path / "twin", "fp32") != top_k.identity(tmp_path / "twin", "bf16")
    weights = load_file(tmp_path / "twin" / "model.safetensors")
    next(iter(weights.values())).view(-1)[3] += 1
    save_file(weights, tmp_path / "twin" / "model.safetensors", metadata={"format": "pt"})
    assert top_k.identity(tmp_path / "twin", "fp32") != top_k.identity(Path(models["big"]), "fp32")


def test_a_full_disk_is_told_before_anything_is_computed(
    language: Make, built: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(top_k.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(SetupError, match=r"top_k: .* GB are needed in .*, which has 0.0 GB free"):
        built(language(teacher={"top_k": 5}))


def test_more_logits_than_tokens_are_refused(language: Make, built: Make) -> None:
    with pytest.raises(ConfigError, match=r"top_k: 100000, but there are \d+ tokens"):
        built(language(teacher={"top_k": 100_000}))


def test_a_teacher_of_more_embeddings_than_tokens_keeps_to_those_of_both(
    language: Make, built: Make, models: dict[str, str], tmp_path: Path
) -> None:
    kept = {"top_k": vocabulary(models), "top_k_dir": str(tmp_path / "kept"), "teacher_model": models["padded"]}
    built(language(teacher=kept))
    shard = top_k.safe_open(tmp_path / "kept" / "lm" / "000000.safetensors", "pt")
    assert int(shard.get_tensor("indices").max()) == vocabulary(models) - 1


def test_training_from_the_cache_is_resumed_bit_by_bit(language: Make, tmp_path: Path) -> None:
    from jenga.trainer import Trainer

    settings = language(teacher={"top_k": 5}, max_steps=4)
    settings["checkpoint"] = {"every_steps": 2}
    straight = experiment.train({**settings, "output_dir": str(tmp_path / "a")}, device="cpu")
    real = Trainer.step

    def dies(self: Trainer, *turn: Any) -> Any:
        if self.state.step == 3:
            raise MemoryError
        return real(self, *turn)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", dies)
        with pytest.raises(MemoryError):
            experiment.train({**settings, "output_dir": str(tmp_path / "b")}, device="cpu")
    again = experiment.train({**settings, "output_dir": str(tmp_path / "b")}, device="cpu", resume="auto")
    one, other = (files(each.run / "best" / "backbone") for each in (straight, again))
    assert one["model.safetensors"] == other["model.safetensors"]
