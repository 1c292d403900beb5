"""A trained model as a folder of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import jenga
from jenga.errors import ConfigError, SetupError
from jenga.files import damage
from jenga.inference.export import export
from jenga.run.build import build
from jenga.run.experiment import load_config

TEXTS = ["the agent was kind", "line dropped after two minutes", "please thank you"]


@pytest.fixture
def saved(settings: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that saves a model of random adapters and heads and returns its folder."""

    def make(peft: dict[str, Any] | None, **blocks: Any) -> Path:
        bundle = build(load_config(settings("mood", "names", peft=peft, **blocks)), tmp_path / "work").bundle
        with torch.no_grad():
            for parameter in bundle.model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.2)
        bundle.save(tmp_path / "best")
        return tmp_path / "best"

    return make


def logits(folder: Path) -> np.ndarray:
    found = jenga.load(folder, device="cpu").logits(TEXTS)
    return np.concatenate([row.numpy().ravel() for rows in found.values() for row in rows])


@pytest.mark.parametrize("kind", ["bert", "distilbert", "gpt2"])
@pytest.mark.parametrize("peft", [{"type": "lora"}, {"type": "dora", "target": "auto"}], ids=["lora", "dora"])
def test_a_merged_model_answers_like_its_adapters_and_needs_no_base(
    saved: Callable[..., Path], checkpoint: Callable[[str], str], kind: str, peft: dict[str, Any], tmp_path: Path
) -> None:
    from transformers import AutoModel

    best = saved(peft, model={"base_model": checkpoint(kind)})
    merged = export(best, tmp_path / "merged", merge=True)
    wanted, found = logits(best), logits(merged)
    # One product a layer in place of two: float32 sums differ in their last bits.
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())
    encoder = AutoModel.from_pretrained(merged / "backbone")
    plain = AutoModel.from_pretrained(checkpoint(kind))
    assert {name for name, _ in encoder.named_parameters()} == {name for name, _ in plain.named_parameters()}
    assert jenga.load(merged).bundle.config.peft is None
    assert not list((merged / "backbone").glob("adapter_*"))


def test_a_model_in_bf16_is_the_merged_one_with_its_weights_rounded(saved: Callable[..., Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file

    best = saved({"type": "lora"})
    export(best, tmp_path / "exact", merge=True, dtype="fp32")
    export(best, tmp_path / "rounded", merge=True, dtype="bf16")
    exact, rounded = (load_file(tmp_path / name / "backbone" / "model.safetensors") for name in ("exact", "rounded"))
    for name, each in exact.items():
        assert torch.equal(rounded[name], each.to(torch.bfloat16)), name
    wanted, found = logits(tmp_path / "exact"), logits(tmp_path / "rounded")
    # A rounded weight is off by 2^-9 of itself at most, evenly to both sides; the sums are float32. One layer of width
    # 32 and its heads: the errors add up to a few times one of them.
    assert 0 < np.abs(found - wanted).max() < 8 * 2**-9 * np.abs(wanted).max()


def test_without_merging_the_files_stay_as_they_are(saved: Callable[..., Path], tmp_path: Path) -> None:
    best = saved({"type": "lora"})
    copied = export(best, tmp_path / "copied")
    files = sorted(path.relative_to(best) for path in best.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(copied) for path in copied.rglob("*") if path.is_file())
    assert all((copied / each).read_bytes() == (best / each).read_bytes() for each in files)
    assert np.array_equal(logits(copied), logits(best))


def test_an_encoder_that_was_trained_whole_can_be_kept_in_half_the_bits(
    saved: Callable[..., Path], tmp_path: Path
) -> None:
    best = saved(None)
    small = export(best, tmp_path / "small", dtype="fp16")
    sizes = [(folder / "backbone" / "model.safetensors").stat().st_size for folder in (best, small)]
    assert sizes[1] < 0.6 * sizes[0]
    np.testing.assert_allclose(logits(small), logits(best), rtol=0.05, atol=0.01)


@pytest.mark.parametrize(
    ("peft", "options", "says"),
    [
        ({"type": "adapter"}, {"merge": True}, r"bottleneck adapters \(peft.type: adapter\) cannot be merged"),
        (None, {"merge": True}, "--merge: there are no adapters to merge"),
        ({"type": "lora"}, {"dtype": "bf16"}, "--dtype: adapters are kept as they are; add --merge"),
        (None, {"dtype": "fp16"}, r"--dtype: embeddings\S* holds numbers that fp16 has not; use bf16 or fp32"),
        (None, {"merge": True, "base_model": "x"}, "--base-model: .* holds its whole encoder"),
        (None, {"dtype": "bf16", "base_model": "x"}, "--base-model: only --merge reads the base"),
        ({"type": "lora"}, {"base_model": "x"}, "--base-model: only --merge reads the base"),
    ],
)
def test_what_cannot_be_written_is_refused_and_nothing_is(
    saved: Callable[..., Path], tmp_path: Path, peft: Any, options: dict[str, Any], says: str
) -> None:
    best = saved(peft)
    if options.get("dtype") == "fp16":
        bundle = jenga.load(best).bundle
        with torch.no_grad():
            next(bundle.model.encoders["shared"].parameters()).fill_(1e6)
        bundle.save(best)
    with pytest.raises(ConfigError, match=says):
        export(best, tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_exists_is_left_alone(saved: Callable[..., Path], tmp_path: Path) -> None:
    best = saved({"type": "lora"})
    (tmp_path / "there").mkdir()
    for merge in (False, True):
        with pytest.raises(ConfigError, match=r"there is there already and is left alone; choose another name"):
            export(best, tmp_path / "there", merge=merge)
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.parametrize("merge", [False, True])
def test_a_place_inside_the_model_is_refused_and_the_model_stays_whole(
    saved: Callable[..., Path], tmp_path: Path, merge: bool
) -> None:
    best = saved({"type": "lora"})
    with pytest.raises(ConfigError, match=r"new lies inside the model .*best, whose files have checksums"):
        export(best, best / "new", merge=merge)
    assert damage(best) is None


def test_a_harmed_model_is_not_copied(saved: Callable[..., Path], tmp_path: Path) -> None:
    best = saved({"type": "lora"})
    (best / "heads.safetensors").unlink()
    with pytest.raises(SetupError, match=r"heads.safetensors is missing; restore"):
        export(best, tmp_path / "new")
