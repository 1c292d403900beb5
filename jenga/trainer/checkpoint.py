"""What a run needs to go on bit by bit where it stopped: weights, optimizer, schedule, random states, progress."""

from __future__ import annotations

import json
import logging
import random
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from jenga.errors import SetupError
from jenga.files import atomic_folder, damage, json_object, recover_folder
from jenga.model import MultiTaskModel
from jenga.processes import Processes
from jenga.trainer.state import State

logger = logging.getLogger(__name__)


def save_checkpoint(folder: Path, *, tensors: dict[str, dict[str, torch.Tensor]], state: dict[str, Any]) -> None:
    """Write groups of named tensors and a JSON state to `folder`, whole or not at all."""
    with atomic_folder(folder) as staging:
        for name, group in tensors.items():
            save_file(
                {key: value.detach().contiguous().clone() for key, value in group.items()},
                staging / f"{name}.safetensors",
            )
        (staging / "state.json").write_text(json.dumps(state) + "\n")


def load_checkpoint(folder: Path) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]]:
    """Read what `save_checkpoint` wrote. Raises SetupError when a checksum differs, or it is none."""
    if harm := damage(folder):
        raise SetupError(f"checkpoint {folder}: {harm}. Resume from another one with --resume PATH")
    try:
        tensors = {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
        return tensors, json_object(folder / "state.json")
    except (OSError, ValueError, SafetensorError) as error:
        raise SetupError(f"checkpoint {folder}: cannot be read ({error}). Resume from another one") from error


def checkpoint_folder(parent: Path, step: int) -> Path:
    """Return where the checkpoint of `step` stands."""
    return parent / f"step-{step:08d}"


def step_of(folder: Path) -> int:
    """Return the step that a checkpoint is of."""
    return int(folder.name.removeprefix("step-"))


def forget_after(parent: Path, step: int) -> None:
    """Delete the checkpoints of steps after `step`: the run goes another way from there."""
    for folder in parent.glob("step-*"):
        if folder.is_dir() and folder.name > checkpoint_folder(parent, step).name:
            shutil.rmtree(folder)


def newest_checkpoint(parent: Path) -> Path | None:
    """Return the newest unharmed checkpoint, with a warning for each harmed one that is passed over."""
    for leftover in parent.glob(".step-*"):
        recover_folder(parent / leftover.name[1:].split(".", 1)[0])
    folders = sorted(parent.glob("step-*"), reverse=True)
    for folder in folders:
        harm = damage(folder)
        if harm is None:
            return folder
        lost = "the steps since the one before it" if folder != folders[-1] else "there is none before it: all steps"
        logger.warning("checkpoint %s is passed over: %s; %s are done again", folder, harm, lost)
    return None


def forget_harmed_best(state: State, best: Path, processes: Processes) -> None:
    """Let the next evaluation keep a best model where the one so far is harmed: no run is to end without one."""
    known = processes.first and state.best_value is not None
    harm = processes.from_first(damage(best) if known else None)
    if harm is not None:
        logger.warning("the best model so far is harmed: %s; the best one from here on takes its place", harm)
        state.best_value, state.evaluated_step = None, -1


def retain(newest: Path, keep: int) -> None:
    """Delete all but `newest` and the `keep` - 1 checkpoints before it; those after it were passed over as harmed."""
    folders = sorted((each for each in newest.parent.glob("step-*") if each.is_dir()), reverse=True)
    at = folders.index(newest)
    for folder in folders[:at] + folders[at + keep :]:
        shutil.rmtree(folder)


def model_tensors(model: MultiTaskModel) -> dict[str, torch.Tensor]:
    """Return the model's state without the frozen base of adapters, which is built anew from where it came from."""
    frozen = model.frozen_base()
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def load_model(
    model: MultiTaskModel, tensors: dict[str, torch.Tensor], folder: Path, *, bases: Mapping[str, Any]
) -> None:
    """Restore what `model_tensors` gave of a model whose adapters stand on `bases`, as `MultiTaskModel.bases` has them.

    Raises SetupError where it is of another model than `model`, or its adapters stand on another base now.
    """
    if model.bases != bases:
        raise SetupError(
            f"checkpoint {folder}: the adapters were trained on other weights than model.base_model has now; bring "
            "that checkpoint of the base back, or start a new run"
        )
    try:
        absent, unknown = model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:  # a tensor of another shape
        reason = str(error).strip().splitlines()[-1].strip()
        raise SetupError(f"checkpoint {folder}: it is of another model ({reason}); start a new run") from error
    if unknown or set(absent) != model.frozen_base():
        name = min(set(unknown) | set(absent) ^ model.frozen_base())
        raise SetupError(f"checkpoint {folder}: it is of another model, for example at {name}; start a new run")


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Restore what the `state_dict` of such an optimizer gave, every tensor in its own dtype.

    torch casts what it loads to the parameters' dtype, which an optimizer with state of another goes on differently
    from.
    """
    optimizer.load_state_dict(state)
    numbered = [p for group in optimizer.param_groups for p in group["params"]]
    for key, saved in state["state"].items():
        owner = numbered[key] if isinstance(key, int) else key
        optimizer.state[owner] = _as_saved(saved, optimizer.state[owner])


def mapping(value: object) -> dict[str, Any]:
    """Return `value`, which a `state_dict` was."""
    assert isinstance(value, dict)
    return value


def _as_saved(saved: Any, loaded: Any) -> Any:
    """Return `saved` on the device where torch has put it."""
    if isinstance(saved, torch.Tensor):
        return saved.to(loaded.device) if saved.dtype != loaded.dtype else loaded
    if isinstance(saved, dict):
        return {key: _as_saved(each, loaded[key]) for key, each in saved.items()}
    if isinstance(saved, (list, tuple)):
        return type(saved)(_as_saved(each, loaded[at]) for at, each in enumerate(saved))
    return saved


def random_state() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the states of torch's, Python's and NumPy's global generators."""
    tensors = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors |= {f"cuda{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    tensors["numpy"] = torch.from_numpy(np.asarray(keys).astype(np.int64))
    version, internal, gauss_next = random.getstate()
    return tensors, {
        "python": [version, list(internal), gauss_next],
        "numpy": [kind, position, has_gauss, gauss],
    }


def set_random_state(tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    """Restore what `random_state` gave; a GPU that was not there then keeps the state that the run's seed gave it."""
    torch.set_rng_state(tensors["torch"])
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            if f"cuda{i}" in tensors:
                torch.cuda.set_rng_state(tensors[f"cuda{i}"], i)
    kind, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, tensors["numpy"].numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))


def random_states(processes: Processes) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return `random_state` of all processes, those of others than the first under their numbers."""
    first, *others = processes.gathered(random_state())
    tensors = dict(first[0])
    for number, (found, _) in enumerate(others, start=1):
        tensors |= {f"{number}.{name}": each for name, each in found.items()}
    return tensors, {**first[1], "others": [state for _, state in others]}


def set_random_states(processes: Processes, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    """Restore what `random_states` gave. Where there were as many processes, each has its own; others draw anew."""
    others, number = state.get("others", []), processes.rank
    own = {name.partition(".")[2]: each for name, each in tensors.items() if name.startswith(f"{number}.")}
    if number == 0:
        set_random_state(tensors, state)
    elif len(others) == processes.size - 1:
        set_random_state(own, others[number - 1])
    else:
        torch.manual_seed(zlib.crc32(tensors["torch"].numpy().tobytes()) + number)
