"""The fitted state as one file: a safetensors file whose metadata holds a JSON header and a checksum."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jenga.errors import ConfigError, DataError, SetupError
from jenga.files import atomic_file
from jenga.refinery.histories import Histories, layout_of
from jenga.refinery.schema import RefinerySchema, read_schema
from jenga.refinery.sketches import Arrays
from jenga.refinery.statistics import Statistics

FORMAT = 1
_KEY = "jenga.refinery"
_HISTORIES = "histories."


@dataclass(frozen=True)
class State:
    """A fitted refinery: its schema, its statistics, and the estimator's `options` (plain data).

    `histories`: what the rows fitted on leave to those that follow; None where they leave nothing.
    """

    schema: RefinerySchema
    statistics: Statistics
    options: dict[str, Any]
    histories: Histories | None = None


def save_state(path: str | os.PathLike[str], state: State) -> None:
    """Write `state` to the file `path`; a reader sees the old file or the whole new one. Equal states, equal bytes.

    Raises ConfigError where its folder is missing.
    """
    from safetensors.numpy import save

    left = {} if state.histories is None else state.histories.to_arrays()
    histories = {f"{_HISTORIES}{name}": array for name, array in left.items()}
    arrays = {name: np.ascontiguousarray(each) for name, each in {**state.statistics.to_arrays(), **histories}.items()}
    header = {"format": FORMAT, "schema": state.schema.model_dump(mode="json"), "options": state.options}
    header["sha256"] = _digest(header, arrays)
    # One key only: safetensors writes the keys of its metadata in no fixed order.
    _write(Path(path), save(arrays, metadata={_KEY: _canonical(header)}))


def load_state(path: str | os.PathLike[str]) -> State:
    """Return the state in the file `path`.

    Raises SetupError for a missing file or one of a later format, DataError for a harmed file or another kind of file.
    """
    header, arrays = _read(Path(path))
    if header["format"] > FORMAT:
        raise SetupError(f"{path}: format {header['format']}, but this version reads up to {FORMAT}; update jenga")
    wanted = header.pop("sha256", None)
    if wanted != _digest(header, arrays):
        raise DataError(f"{path}: harmed: its SHA-256 does not fit its content; copy it again or fit anew")
    try:
        schema = read_schema(header["schema"])
        statistics, histories = Statistics.from_arrays(schema, arrays), _histories(schema, arrays)
        return State(schema, statistics, dict(header["options"]), histories)
    except (KeyError, ValueError, IndexError, TypeError, ConfigError) as error:
        raise DataError(f"{path}: its content does not fit together ({error}); fit anew") from None


def _histories(schema: RefinerySchema, arrays: Arrays) -> Histories | None:
    layout = layout_of(schema.fields, schema.missing)
    own = {name.removeprefix(_HISTORIES): each for name, each in arrays.items() if name.startswith(_HISTORIES)}
    return None if layout is None or not own else Histories.from_arrays(layout, own)


def _read(path: Path) -> tuple[dict[str, Any], Arrays]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            header = json.loads((file.metadata() or {})[_KEY])
            arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except FileNotFoundError:
        raise SetupError(f"{path}: no such file; write one with fit and save") from None
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: no fitted state of a refinery ({type(error).__name__}: {error})") from None
    if not isinstance(header, dict) or not isinstance(header.get("format"), int):
        raise DataError(f"{path}: no fitted state of a refinery (its header has no format)")
    return header, arrays


def _canonical(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _digest(header: dict[str, Any], arrays: Arrays) -> str:
    digest = hashlib.sha256(_canonical(header).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _write(path: Path, content: bytes) -> None:
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}; create it, or name a file in another one")
    with atomic_file(path) as file:
        file.write(content)
