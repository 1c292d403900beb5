"""The state file: whole or refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from jenga.errors import DataError, JengaError, SetupError
from jenga.refinery import state as state_module
from jenga.refinery.plan import compile_plan
from jenga.refinery.schema import RefinerySchema, read_schema
from jenga.refinery.state import State, load_state, save_state
from jenga.refinery.statistics import RawBlock, Statistics

SCHEMA = read_schema(
    {
        "name": "small",
        "fields": [
            {"path": "n", "kind": "numeric", "log1p": True},
            {"path": "c", "kind": "categorical"},
            {"path": "t", "kind": "timestamp"},
            {"path": "s", "kind": "text"},
        ],
        "left_out": {"uid": "an id"},
    }
)


@pytest.fixture
def fitted(raw_block: Callable[[RefinerySchema, Sequence[Any]], RawBlock]) -> State:
    statistics = Statistics(SCHEMA)
    rows = [{"n": at / 3, "c": "aé"[at % 2], "t": 1.7e9 + at, "s": f"/path/{at}"} for at in range(9)]
    statistics.update(raw_block(SCHEMA, [*rows, {}]))
    return State(SCHEMA, statistics, {"nan": "missing", "threads": None})


def test_a_saved_state_is_read_back_whole(fitted: State, tmp_path: Path) -> None:
    save_state(tmp_path / "state", fitted)
    again = load_state(str(tmp_path / "state"))
    assert (again.schema, again.options) == (fitted.schema, fitted.options)
    wanted, found = fitted.statistics.to_arrays(), again.statistics.to_arrays()
    assert {key: array.tobytes() for key, array in wanted.items()} == {
        key: array.tobytes() for key, array in found.items()
    }
    assert compile_plan(again.schema, again.statistics) == compile_plan(fitted.schema, fitted.statistics)
    again.statistics.merge(fitted.statistics)
    assert again.statistics.n_rows == 20


def test_equal_states_give_equal_bytes_and_replace_what_was_there(fitted: State, tmp_path: Path) -> None:
    contents = set()
    for _ in range(8):
        save_state(tmp_path / "state", fitted)
        contents.add((tmp_path / "state").read_bytes())
    assert len(contents) == 1
    save_state(tmp_path / "other", load_state(tmp_path / "state"))
    assert (tmp_path / "other").read_bytes() in contents
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "state"]


def test_no_changed_byte_goes_unnoticed(fitted: State, tmp_path: Path) -> None:
    save_state(tmp_path / "state", fitted)
    whole = (tmp_path / "state").read_bytes()
    places = sorted({*range(0, len(whole), 61), *range(12), len(whole) - 1})
    assert len(places) > 100
    for at in places:
        harmed = bytearray(whole)
        harmed[at] ^= 1 << at % 8
        (tmp_path / "state").write_bytes(harmed)
        with pytest.raises(JengaError):
            load_state(tmp_path / "state")


@pytest.mark.parametrize("kept", [0, 7, 200, -1])
def test_a_cut_file_is_refused(kept: int, fitted: State, tmp_path: Path) -> None:
    save_state(tmp_path / "state", fitted)
    (tmp_path / "state").write_bytes((tmp_path / "state").read_bytes()[:kept])
    with pytest.raises(DataError, match="no fitted state of a refinery"):
        load_state(tmp_path / "state")


def test_a_harmed_number_is_told_by_the_checksum(fitted: State, tmp_path: Path) -> None:
    save_state(tmp_path / "state", fitted)
    whole = bytearray((tmp_path / "state").read_bytes())
    whole[-1] ^= 1
    (tmp_path / "state").write_bytes(whole)
    with pytest.raises(DataError, match=r"state: harmed: its SHA-256 does not fit"):
        load_state(tmp_path / "state")


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no such file"):
        load_state(tmp_path / "none")
    (tmp_path / "text").write_text("fields: []\n")
    save_file({"weight": np.zeros(2)}, tmp_path / "model")
    for name in ("text", "model", "."):
        with pytest.raises(DataError, match="no fitted state of a refinery"):
            load_state(tmp_path / name)


def test_a_later_format_asks_for_an_update(fitted: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(state_module, "FORMAT", 2)
        save_state(tmp_path / "state", fitted)
    with pytest.raises(SetupError, match="format 2, but this version reads up to 1; update jenga"):
        load_state(tmp_path / "state")


@pytest.mark.parametrize(
    ("header", "arrays"),
    [
        ({"schema": {"fields": []}}, {}),
        ({"schema": None}, {}),
        ({"options": None}, {}),
        ({}, {"n_rows": np.zeros(1)}),
        ({}, {"0.states": np.zeros(3, np.int64)}),
        ({}, {"0.numbers.counts": np.array([1], np.int64)}),
        ({}, {"0.moments.moments": np.array([np.nan] * 4)}),
        ({}, {"1.tokens.offsets": np.array([0, 10**6], np.int64)}),
        ({}, {"1.tokens.counts": np.array([-1, 1], np.int64)}),
    ],
    ids=str,
)
def test_content_that_does_not_fit_together_is_refused_even_with_a_right_checksum(
    header: dict[str, Any], arrays: dict[str, Any], fitted: State, tmp_path: Path
) -> None:
    content = {"format": 1, "schema": SCHEMA.model_dump(mode="json"), "options": {}, **header}
    held = {**fitted.statistics.to_arrays(), **arrays}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(text.encode())
    for name in sorted(held):
        digest.update(f"\n{name} {held[name].dtype.str} {held[name].shape}\n".encode())
        digest.update(held[name].tobytes())
    save_file(held, tmp_path / "state", {"jenga.refinery": json.dumps({**content, "sha256": digest.hexdigest()})})
    with pytest.raises(DataError, match="does not fit together"):
        load_state(tmp_path / "state")
