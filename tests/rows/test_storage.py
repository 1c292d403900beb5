"""Where bytes come from. (Packed files, folders, patterns and addresses as rows: test_readers.py.)"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jenga.errors import DataError
from jenga.rows.storage import content, files_below, is_pattern, is_remote, matching, suffixes


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("rows.csv", (".csv", "")),
        ("rows.v1.CSV.gz", (".csv", ".gz")),
        ("rows.jsonl.zst", (".jsonl", ".zst")),
        ("rows.gz", ("", ".gz")),
        ("rows", ("", "")),
        ("https://host/rows.csv?token=a.b", (".csv", "")),
        ("/a.b/rows", ("", "")),
    ],
)
def test_the_suffix_says_how_a_file_is_written_and_packed(path: str, found: tuple[str, str]) -> None:
    assert suffixes(path) == found


def test_addresses_are_remote_but_names_of_the_hub_are_not() -> None:
    assert all(map(is_remote, ("s3://b/a.csv", "hf://datasets/owner/name/a.csv", "memory://a")))
    assert not any(map(is_remote, ("hf://owner/name", "/a.csv", "jenga/helpline")))


def test_hidden_files_and_notes_are_no_files_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.csv", "_SUCCESS", ".hidden.csv", "x/a.csv", "_temporary/c.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert files_below(str(tmp_path)) == [f"{tmp_path}/b.csv", f"{tmp_path}/x/a.csv"]
    hidden = tmp_path / "_temporary"
    assert files_below(str(hidden)) == [f"{hidden}/c.csv"], "the folder itself may be called anything"
    assert matching(f"{tmp_path}/*") == [f"{tmp_path}/{name}" for name in ("_SUCCESS", "b.csv")]


def test_a_name_that_exists_is_no_pattern(tmp_path: Path) -> None:
    (tmp_path / "a[1].csv").touch()
    assert not is_pattern(f"{tmp_path}/a[1].csv")
    assert is_pattern(f"{tmp_path}/a[2].csv")


def test_an_empty_file_and_a_folder_have_no_content(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(" \n")
    with pytest.raises(DataError, match="the file is empty"):
        content(f"{tmp_path}/a.csv")
    with pytest.raises(DataError, match="this is a folder, not a file; name a file in it"):
        content(str(tmp_path))


def test_a_file_of_this_machine_is_read_without_fsspec(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b")
    code = (
        "import sys; from jenga.rows import storage; before = 'fsspec.core' in sys.modules; "
        f"storage.content('{tmp_path}/a.csv'); print(before, 'fsspec.core' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
