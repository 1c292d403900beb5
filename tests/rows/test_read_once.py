"""The same rows are one file, by whatever path a run reaches them."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jenga.modalities.events.events import read_events
from jenga.refinery import SecurityRefinery
from jenga.rows import read_once
from jenga.rows.raw import RawRows
from jenga.rows.read_once import ReadOnce, content_digest
from jenga.rows.readers import read_rows

pytestmark = pytest.mark.usefixtures("without_report")

ROWS = [{"text": f"row {number}", "score": number / 3} for number in range(5)]


def write(path: Path, rows: list[Any], *more: str) -> Path:
    path.write_text("".join([*(json.dumps(row) + "\n" for row in rows), *more]))
    return path


def test_a_path_a_link_a_copy_and_packed_rows_are_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "link.jsonl").symlink_to(path)
    shutil.copy(path, tmp_path / "copy.jsonl")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    (tmp_path / "a.json").write_text(json.dumps(ROWS, indent=2))
    files = ReadOnce(read_rows)
    names = [str(path), "a.jsonl", f"..{os.sep}{tmp_path.name}{os.sep}a.jsonl"]
    names += ["link.jsonl", "copy.jsonl", "a.jsonl.gz", "a.json"]
    assert len({id(files(name, split=split)) for name in names for split in ("train", "test")}) == 1
    assert [raw.file for raw in files.files] == [str(path)]


@pytest.mark.parametrize(
    ("rows", "more"),
    [
        (ROWS[:-1], ""),
        ([*ROWS[:-1], {**ROWS[-1], "score": 0}], ""),
        (ROWS[::-1], ""),
        (ROWS, "not a row\n"),
    ],
)
def test_other_rows_are_another_file(tmp_path: Path, rows: list[Any], more: str) -> None:
    files = ReadOnce(read_rows)
    names = [write(tmp_path / "a.jsonl", ROWS), write(tmp_path / "b.jsonl", rows, more)]
    assert [files(str(name), split="train").file for name in names] == [str(name) for name in names]


def test_not_a_number_is_the_same_in_both(tmp_path: Path) -> None:
    files = ReadOnce(read_rows)
    for name in "ab":
        files(str(write(tmp_path / f"{name}.jsonl", [{"x": float("nan")}])), split="train")
    assert len(files.files) == 1


def test_the_splits_of_a_hub_data_set_are_told_apart_by_name() -> None:
    def read(path: str, *, split: str) -> RawRows:
        return RawRows(f"{path} ({split})", [{"text": split}], [1])

    files = ReadOnce(read)
    assert [files("hf://set", split=split).rows[0]["text"] for split in ("train", "test", "train")] == [
        "train", "test", "train",
    ]  # fmt: skip
    assert len(files.files) == 2


def test_events_with_the_same_labels_and_other_fields_are_other_events(tmp_path: Path) -> None:
    refinery = SecurityRefinery(n_threads=1)
    files = ReadOnce(lambda path, *, split: read_events(path, columns=("label",), refinery=refinery, split=split))
    for name, size in (("a", 1), ("b", 2), ("c", 1)):
        files(str(write(tmp_path / f"{name}.jsonl", [{"label": "x", "size": size}])), split="train")
    assert [Path(events.file).name for events in files.files] == ["a.jsonl", "b.jsonl"]


def test_a_file_is_read_once_and_hashed_only_beside_one_of_its_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[int] = []
    monkeypatch.setattr(read_once, "content_digest", lambda rows: hashed.append(len(rows)) or content_digest(rows))
    reads: list[str] = []
    files = ReadOnce(lambda path, *, split: reads.append(path) or read_rows(path, split=split))
    names = [str(write(tmp_path / f"{count}.jsonl", ROWS[:count])) for count in (2, 3)]
    for name in (*names, *names):
        files(name, split="train")
    assert (reads, hashed) == (names, [])
    copy = str(write(tmp_path / "copy.jsonl", ROWS[:3]))
    files(copy, split="train")
    assert hashed == [3, 3]


def test_a_digest_tells_where_a_row_ends() -> None:
    assert content_digest(["ab", "c"]) != content_digest(["a", "bc"])
    assert content_digest([b"ab"]) == content_digest(["ab"])


def test_long_arrays_that_differ_in_their_middle_differ() -> None:
    sound = np.zeros(5000, np.float32)
    other = sound.copy()
    other[2500] = 1.0
    digests = [content_digest([{"audio": {"array": each}}]) for each in (sound, other, sound.astype(np.float64))]
    assert len(set(digests)) == 3
    assert digests[0] == content_digest([{"audio": {"array": sound.copy()}}])


def test_equal_rows_that_name_files_beside_them_are_others_in_another_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    names = [str(write(tmp_path / name, ROWS)) for name in ("a/labels.jsonl", "b/labels.jsonl", "a/copy.jsonl")]
    (tmp_path / "link").symlink_to(tmp_path / "a")
    names.append(str(tmp_path / "link" / "labels.jsonl"))
    files = ReadOnce(read_rows, by_place=True)
    assert [files(name, split="train").file for name in names] == [names[0], names[1], names[0], names[0]]
    files = ReadOnce(read_rows)
    assert len({files(name, split="train").file for name in names}) == 1
