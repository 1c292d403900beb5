"""What a run goes on from."""

from __future__ import annotations

import hashlib
import json
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jenga.errors import SetupError
from jenga.processes import Processes
from jenga.trainer import checkpoint
from jenga.trainer.memory import pack, unpack
from jenga.trainer.state import State


def save(parent: Path, step: int, value: float = 0.0) -> Path:
    folder = checkpoint.checkpoint_folder(parent, step)
    checkpoint.save_checkpoint(folder, tensors={"model": {"w": torch.full((3,), value)}}, state={"step": step})
    return folder


def harm(folder: Path) -> None:
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))


def steps(parent: Path) -> list[int]:
    return sorted(int(folder.name.removeprefix("step-")) for folder in parent.iterdir())


def test_tensors_and_state_come_back_as_they_were(tmp_path: Path) -> None:
    shared = torch.arange(6.0).reshape(2, 3)
    tensors = {
        "model": {"a": shared.T, "b": shared[0], "n": torch.tensor(3)},
        "random": {"r": torch.tensor([1], dtype=torch.uint8)},
    }
    state = {"x": 0.1, "big": 2**63, "none": None, "list": [1, "é"]}
    checkpoint.save_checkpoint(tmp_path / "c", tensors=tensors, state=state)
    found, found_state = checkpoint.load_checkpoint(tmp_path / "c")
    assert found_state == state
    assert {name: set(group) for name, group in found.items()} == {"model": {"a", "b", "n"}, "random": {"r"}}
    for name, group in tensors.items():
        for key, value in group.items():
            assert torch.equal(found[name][key], value)
            assert found[name][key].dtype == value.dtype


@pytest.mark.parametrize("lost", ["tasks.mood.heads.mood.weight", "adapters"])
def test_a_checkpoint_of_another_model_is_refused(make_trainer: Callable[..., Any], lost: str, tmp_path: Path) -> None:
    model = make_trainer("mood", peft={"type": "lora"}).model
    tensors, bases = checkpoint.model_tensors(model), model.bases
    checkpoint.load_model(model, tensors, tmp_path, bases=bases)
    kept = {name: each for name, each in tensors.items() if name != lost and ("lora_B" not in name or lost[0] != "a")}
    assert len(kept) < len(tensors)
    with pytest.raises(SetupError, match=r"it is of another model, for example at .*; start a new run"):
        checkpoint.load_model(model, kept, tmp_path, bases=bases)
    with pytest.raises(SetupError, match=r"for example at encoders\.shared\.more; start"):
        checkpoint.load_model(model, {**tensors, "encoders.shared.more": torch.zeros(1)}, tmp_path, bases=bases)
    with pytest.raises(SetupError, match=r"trained on other weights than model.base_model has now; bring"):
        checkpoint.load_model(model, tensors, tmp_path, bases={"shared": {**bases["shared"], "values": "other"}})


def test_the_newest_checkpoint_is_found_by_number(tmp_path: Path) -> None:
    assert checkpoint.newest_checkpoint(tmp_path / "none") is None
    for step in (9, 100, 20):
        save(tmp_path, step)
    assert checkpoint.newest_checkpoint(tmp_path) == checkpoint.checkpoint_folder(tmp_path, 100)


def test_a_harmed_checkpoint_is_passed_over_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path, 1)
    harm(save(tmp_path, 2))
    with caplog.at_level(logging.WARNING):
        assert checkpoint.newest_checkpoint(tmp_path) == checkpoint.checkpoint_folder(tmp_path, 1)
    assert "step-00000002 is passed over" in caplog.text
    assert "model.safetensors has another checksum" in caplog.text


def test_where_all_checkpoints_are_harmed_it_is_told_that_all_steps_are_done_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2):
        (save(tmp_path, step) / "state.json").unlink()
    assert checkpoint.newest_checkpoint(tmp_path) is None
    assert caplog.text.count("the steps since the one before it are done again") == 1
    assert caplog.text.count("there is none before it: all steps are done again") == 1


@pytest.mark.parametrize("text", ["[]", "null", ""])
def test_a_manifest_that_is_no_object_is_passed_over_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    save(tmp_path, 1)
    (save(tmp_path, 2) / "manifest.json").write_text(text)
    assert checkpoint.newest_checkpoint(tmp_path) == checkpoint.checkpoint_folder(tmp_path, 1)
    assert "step-00000002 is passed over" in caplog.text


def test_a_file_with_the_name_of_a_checkpoint_is_passed_over_and_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    newest = save(tmp_path, 1)
    stray = checkpoint.checkpoint_folder(tmp_path, 2)
    stray.touch()
    assert checkpoint.newest_checkpoint(tmp_path) == newest
    assert "step-00000002 is passed over" in caplog.text
    checkpoint.retain(newest, 1)
    checkpoint.forget_after(tmp_path, 1)
    assert stray.is_file()


def test_a_state_that_is_no_object_says_what_to_do(tmp_path: Path) -> None:
    folder = save(tmp_path, 1)
    (folder / "state.json").write_text("[]")
    digest = hashlib.sha256(b"[]").hexdigest()
    manifest = json.loads((folder / "manifest.json").read_text()) | {"state.json": digest}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        SetupError, match=r"cannot be read \(.*state.json: a JSON object is wanted.*Resume from another"
    ):
        checkpoint.load_checkpoint(folder)


def test_loading_a_harmed_checkpoint_says_what_to_do(tmp_path: Path) -> None:
    folder = save(tmp_path, 1)
    harm(folder)
    with pytest.raises(SetupError, match=r"has another checksum. Resume from another one"):
        checkpoint.load_checkpoint(folder)


def test_what_a_crash_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    whole = save(tmp_path, 1)
    (tmp_path / ".step-00000002.new").mkdir()
    (tmp_path / ".step-00000002.new" / "model.safetensors").write_bytes(b"half")
    whole.rename(tmp_path / ".step-00000001.old")
    assert checkpoint.newest_checkpoint(tmp_path) == whole
    assert steps(tmp_path) == [1]


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 10):
        save(tmp_path, step)
    checkpoint.retain(checkpoint.checkpoint_folder(tmp_path, 10), 2)
    assert steps(tmp_path) == [3, 10]


def test_a_harmed_later_checkpoint_does_not_displace_the_one_just_written(tmp_path: Path) -> None:
    """A run that passed over step 10 and went on from step 4 must not lose step 5 to it."""
    save(tmp_path, 4)
    harm(save(tmp_path, 10))
    newest = save(tmp_path, 5)
    checkpoint.retain(newest, 1)
    assert steps(tmp_path) == [5]
    assert checkpoint.newest_checkpoint(tmp_path) == newest


def draw() -> list[float]:
    return [float(torch.rand(1)), random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn()]


def test_random_generators_go_on_where_they_were(tmp_path: Path) -> None:
    draw()  # gauss and randn make two numbers at a time; the second one waits
    tensors, state = checkpoint.random_state()
    checkpoint.save_checkpoint(tmp_path / "c", tensors={"random": tensors}, state=state)
    wanted = [draw() for _ in range(3)]
    draw()
    found, found_state = checkpoint.load_checkpoint(tmp_path / "c")
    checkpoint.set_random_state(found["random"], found_state)
    assert [draw() for _ in range(3)] == wanted


def test_a_gpu_that_was_not_there_when_the_checkpoint_was_made_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tensors, state = checkpoint.random_state()
    had = {0: torch.tensor([1], dtype=torch.uint8), 1: torch.tensor([2], dtype=torch.uint8)}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda value, device: had.update({device: value}))
    new = torch.tensor([3], dtype=torch.uint8)
    checkpoint.set_random_state({**tensors, "cuda0": new}, state)
    assert [int(value) for value in had.values()] == [3, 2]


def test_an_optimizer_goes_on_bit_by_bit(tmp_path: Path) -> None:
    def made() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        groups = [{"params": [model.weight], "lr": 0.1, "name": "a"}, {"params": [model.bias], "lr": 0.2, "name": "b"}]
        return model, torch.optim.AdamW(groups, fused=True)

    def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        model(torch.randn(4, 3, generator=generator)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    straight, optimizer = made()
    step(straight, optimizer, 1)
    optimizer.param_groups[1]["lr"] = 0.05
    tensors: dict[str, dict[str, torch.Tensor]] = {"model": straight.state_dict(), "optimizer": {}}
    packed = pack(optimizer.state_dict(), "optimizer", tensors["optimizer"])
    checkpoint.save_checkpoint(tmp_path / "c", tensors=tensors, state={"optimizer": packed})
    found, state = checkpoint.load_checkpoint(tmp_path / "c")
    resumed, other = made()
    resumed.load_state_dict(found["model"])
    checkpoint.load_optimizer(other, checkpoint.mapping(unpack(state["optimizer"], found["optimizer"])))
    for seed in (2, 3):
        step(straight, optimizer, seed)
        step(resumed, other, seed)
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))
    assert [group["lr"] for group in other.param_groups] == [0.1, 0.05]


def test_the_checkpoints_after_a_step_are_forgotten(tmp_path: Path) -> None:
    for step in (1, 2, 9, 10):
        save(tmp_path, step)
    checkpoint.forget_after(tmp_path, 2)
    assert steps(tmp_path) == [1, 2]
    checkpoint.forget_after(tmp_path / "none", 2)


@pytest.mark.parametrize("harmed", [False, True])
def test_a_harmed_best_model_is_replaced_by_the_next_evaluation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harmed: bool
) -> None:
    best = save(tmp_path, 1)
    if harmed:
        harm(best)
    state = State(best_value=0.5, evaluated_step=1)
    checkpoint.forget_harmed_best(state, best, Processes())
    assert (state.best_value, state.evaluated_step) == ((None, -1) if harmed else (0.5, 1))
    assert ("the best model so far is harmed" in caplog.text) == harmed
    checkpoint.forget_harmed_best(State(), tmp_path / "none", Processes())
    assert "none" not in caplog.text
