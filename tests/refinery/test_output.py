"""Files of features are whole or not there."""

import json
import os
import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import seeds
from safetensors import safe_open

from jenga.errors import ConfigError
from jenga.files import atomic_file
from jenga.refinery.output import SUFFIXES, check_suffix, feature_file

NAMES = ["a", "é=<unknown>", "c#0"]


def read(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        return np.asarray(np.load(path, allow_pickle=False))
    if path.suffix == ".safetensors":
        with safe_open(path, framework="numpy") as file:
            assert json.loads(file.metadata()["feature_names"]) == NAMES
            features = np.asarray(file.get_tensor("features"))
            check_numbers(file.get_tensor("row_numbers"), len(features))
            return features
    table = pyarrow.parquet.read_table(path)
    assert table.column_names == ["row", *NAMES]
    check_numbers(table["row"].to_numpy(), len(table))
    return np.stack([column.to_numpy() for column in table.columns[1:]], axis=1).astype(np.float32)


def check_numbers(found: np.ndarray, n_rows: int) -> None:
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, 3 * np.arange(n_rows) + 1)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("sizes", [[], [0], [3], [5, 0, 1, 1000]])
def test_chunks_come_back_as_one_matrix(tmp_path: Path, suffix: str, sizes: list[int]) -> None:
    path = tmp_path / f"out{suffix}"
    rng = np.random.default_rng(seeds.derived(0))
    parts = [rng.normal(size=(size, 3)).astype(np.float32) for size in sizes]
    with feature_file(path, NAMES) as write:
        first = 0
        for part in parts:
            write(part, 3 * np.arange(first, first + len(part)) + 1)
            first += len(part)
    found = read(path)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.concatenate([np.empty((0, 3), np.float32), *parts]))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_breaks_off_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, suffix: str, error: type[BaseException]
) -> None:
    path = tmp_path / f"out{suffix}"
    path.write_bytes(b"old")

    def breaks() -> None:
        with feature_file(path, NAMES) as write:
            write(np.zeros((2, 3), np.float32), np.arange(2))
            raise error

    with pytest.raises(error):
        breaks()
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"old"


def test_torch_reads_what_lies_off_its_own_width(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    with feature_file(tmp_path / "a.safetensors", NAMES) as write:
        write(np.ones((1, 3), np.float32), np.array([7]))
    assert load_file(tmp_path / "a.safetensors")["row_numbers"].tolist() == [7]


def test_feature_called_row_keeps_its_name(tmp_path: Path) -> None:
    with feature_file(tmp_path / "a.parquet", ["row", "_row"]) as write:
        write(np.ones((1, 2), np.float32), np.array([7]))
    assert pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pydict() == {"__row": [7], "row": [1.0], "_row": [1.0]}


def test_other_suffixes_are_refused_with_those_allowed() -> None:
    assert check_suffix(Path("a.npy")) == ".npy"
    with pytest.raises(ConfigError, match=r"unknown kind of output '\.csv'\. Allowed: \.npy, \.safetensors, \.parquet"):
        check_suffix(Path("a.csv"))


def test_file_takes_its_place_at_the_end(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a") as file:
        file.write(b"1")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a").read_bytes() == b"1"


@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
def test_what_begins_with_its_length_goes_to_no_pipe(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pipe{suffix}"
    os.mkfifo(path)
    with pytest.raises(ConfigError, match=rf"{path}: this is a named pipe, and {suffix} begins with"):  # noqa: SIM117
        with feature_file(path, ["a"]):
            pass


def test_a_table_goes_through_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe.parquet"
    os.mkfifo(path)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    with feature_file(path, ["a"]) as write:
        write(np.ones((2, 1), np.float32), np.array([1, 2]))
    reader.join()
    table = pyarrow.parquet.read_table(pyarrow.BufferReader(read[0]))
    assert table.to_pydict() == {"row": [1, 2], "a": [1.0, 1.0]}
