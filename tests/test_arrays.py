"""Arrays on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jenga.arrays import ArrayWriter, mapped_arrays
from jenga.errors import SetupError


def test_pieces_come_back_as_one_array_of_their_type_and_width(tmp_path: Path) -> None:
    writer = ArrayWriter(tmp_path / "arrays")
    wide = np.arange(24, dtype=np.float32).reshape(6, 4)[:, ::2]
    for start in (0, 2, 2):
        writer.append("numbers", np.arange(start, 4))
        writer.append("wide", wide[start:])
        writer.append("flags", np.array([], bool))
    writer.close()
    found = mapped_arrays(tmp_path / "arrays")
    assert found["numbers"].tolist() == [0, 1, 2, 3, 2, 3, 2, 3]
    assert found["wide"].dtype == np.float32
    assert np.array_equal(found["wide"], np.concatenate([wide, wide[2:], wide[2:]]))
    assert found["flags"].shape == (0,)
    assert all(type(each) is np.ndarray for each in found.values())
    with pytest.raises(ValueError, match="read-only"):
        found["numbers"][0] = 1


def test_a_file_of_another_size_is_no_array(tmp_path: Path) -> None:
    writer = ArrayWriter(tmp_path)
    writer.append("numbers", np.arange(4))
    writer.close()
    with (tmp_path / "numbers").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match="33 bytes"):
        mapped_arrays(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="file/arrays"):
        ArrayWriter(tmp_path / "file" / "arrays")
