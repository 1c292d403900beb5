"""Cells that hold files: where a path leads, and what else a cell may hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from jenga.config.schema import DataConfig
from jenga.labels.column import HeadColumn, RowError
from jenga.modalities.media import Media, MediaColumns
from jenga.rows.content import Cells
from jenga.rows.load import load_sources
from jenga.rows.parse import SourceSpec
from jenga.rows.raw import REQUEST, RawRows

COLUMNS = MediaColumns(columns=(("audio", ("audio",)),))


@pytest.fixture
def rows(tmp_path: Path) -> RawRows:
    (tmp_path / "data" / "wav").mkdir(parents=True)
    (tmp_path / "data" / "rows.jsonl").write_text("{}\n")
    (tmp_path / "data" / "wav" / "a.wav").write_bytes(b"sound")
    (tmp_path / "other.wav").write_bytes(b"other")
    return RawRows(str(tmp_path / "data" / "rows.jsonl"))


def test_a_path_is_relative_to_the_file_of_its_row(rows: RawRows, tmp_path: Path) -> None:
    medium = COLUMNS.cell("audio", "wav/a.wav", rows)
    assert medium.path == tmp_path / "data" / "wav" / "a.wav"
    assert medium.read() == b"sound"
    assert COLUMNS.cell("audio", {"path": "wav/a.wav", "bytes": None}, rows) == medium


def test_a_path_that_leads_out_is_refused_and_data_root_may_allow_it(rows: RawRows, tmp_path: Path) -> None:
    for path in ("../other.wav", str(tmp_path / "other.wav"), "wav/../../other.wav"):
        with pytest.raises(RowError, match=r"lies outside .*set data_root"):
            COLUMNS.cell("audio", path, rows)
    inside = MediaColumns(columns=COLUMNS.columns, root=str(tmp_path))
    assert inside.cell("audio", "../other.wav", rows).read() == b"other"


def test_a_link_out_of_the_folder_leads_out(rows: RawRows, tmp_path: Path) -> None:
    (tmp_path / "data" / "link.wav").symlink_to(tmp_path / "other.wav")
    with pytest.raises(RowError, match="lies outside"):
        COLUMNS.cell("audio", "link.wav", rows)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("wav/none.wav", "there is no file 'wav/none.wav'"),
        ("wav", "there is no file 'wav'"),
        (5, "is 5; allowed: a path"),
        ({"other": 1}, "allowed: a path"),
        ([[1, 2], [3]], "different lengths"),
        (["a", "b"], "allowed: numbers"),
        ([], "allowed: numbers"),
        ("a\0b", r'"a\\u0000b" is no path that can be followed'),
        ("~nobody-of-this-name/a.wav", "is no path that can be followed"),
        ("a" * 5000, r"aaa\.\.\. is no path that can be followed"),
        ("loop", "is no path that can be followed|there is no file"),
        ({"bytes": "UklGRg=="}, r'its bytes are "UklGRg==", and JSON holds none; give a path'),
        ({"bytes": [82, 73]}, "JSON holds none"),
        ({"array": "abc", "sampling_rate": 8000}, "allowed: numbers"),
        ({"path": None, "bytes": None}, "allowed: a path"),
        (True, "allowed: a path"),
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(rows: RawRows, value: Any, reason: str, tmp_path: Path) -> None:
    (tmp_path / "data" / "loop").symlink_to("loop")
    with pytest.raises(RowError, match=reason):
        COLUMNS.cell("audio", value, rows)


def test_bytes_and_numbers_are_taken_as_they_are(rows: RawRows) -> None:
    assert COLUMNS.cell("audio", {"bytes": b"x", "path": "a.wav"}, rows).read() == b"x"
    medium = COLUMNS.cell("audio", {"array": [0.5, 1], "sampling_rate": 8000}, rows)
    assert medium.values is not None
    assert medium.values.tolist() == [0.5, 1]
    assert medium.rate == 8000


def test_base64_stands_for_bytes_where_rows_are_json(rows: RawRows) -> None:
    for text in ("c291bmQ=", "data:audio/wav;base64,c291bmQ="):
        assert COLUMNS.cell("audio", {"base64": text}, rows).read() == b"sound"
    with pytest.raises(RowError, match="base64 cannot be read"):
        COLUMNS.cell("audio", {"base64": "c291bmQ"}, rows)


def test_rows_of_a_request_name_no_files_even_where_data_root_holds_them(rows: RawRows, tmp_path: Path) -> None:
    inside = MediaColumns(columns=COLUMNS.columns, root=str(tmp_path))
    request = RawRows(REQUEST)
    for path in ("other.wav", {"path": str(tmp_path / "other.wav")}, "/etc/hostname"):
        with pytest.raises(RowError, match=r"a request names no files; give their content: \{base64\}"):
            inside.cell("audio", path, request)
    assert inside.cell("audio", {"base64": "c291bmQ="}, request).read() == b"sound"


def test_a_digest_is_of_all_that_is_held(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    assert Media("a", path=tmp_path / "a").digest() == Media("b", content=b"x").digest()
    values = np.arange(3.0)
    assert Media("a", values=values, rate=8000).digest() != Media("a", values=values, rate=16000).digest()


@pytest.mark.parametrize("file", ["data/*.jsonl", "hf://owner/clips (train)", "s3://bucket/rows.jsonl", "gone.jsonl"])
def test_a_path_in_rows_from_elsewhere_leads_nowhere_but_below_data_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    (tmp_path / "clip.wav").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    for path in ("clip.wav", str(tmp_path / "clip.wav")):
        with pytest.raises(RowError, match="set data_root"):
            COLUMNS.cell("audio", path, RawRows(file))
    inside = MediaColumns(columns=COLUMNS.columns, root=str(tmp_path))
    assert inside.cell("audio", "clip.wav", RawRows(file)).path == tmp_path / "clip.wav"


def test_rows_in_hand_may_name_any_file_relative_to_the_working_directory(
    rows: RawRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "data")
    given = RawRows("the given rows")
    assert COLUMNS.cell("audio", "wav/a.wav", given).read() == b"sound"
    assert COLUMNS.cell("audio", str(tmp_path / "other.wav"), given).read() == b"other"


def test_rows_that_are_piped_in_are_data_and_stay_in_the_working_directory(
    rows: RawRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "data")
    piped = RawRows("standard input")
    assert COLUMNS.cell("audio", "wav/a.wav", piped).read() == b"sound"
    for path in ("../other.wav", str(tmp_path / "other.wav")):
        with pytest.raises(RowError, match="lies outside"):
            COLUMNS.cell("audio", path, piped)
    inside = MediaColumns(columns=COLUMNS.columns, root=str(tmp_path))
    assert inside.cell("audio", str(tmp_path / "other.wav"), piped).read() == b"other"


def test_equal_rows_beside_other_media_may_train_and_judge(tmp_path: Path) -> None:
    paths = {}
    for split, content in (("train", b"one"), ("valid", b"two")):
        (tmp_path / split).mkdir()
        for at in range(4):
            (tmp_path / split / f"{at}.wav").write_bytes(content)
        path = tmp_path / split / "labels.csv"
        path.write_text("audio,label\n" + "".join(f"{at}.wav,{'ab'[at % 2]}\n" for at in range(4)))
        paths[split] = (str(path),)
    head = HeadColumn("task", "label", "class", ("label",), None, None)
    spec = SourceSpec("s", paths["train"], paths["valid"], (), "id", (head,), COLUMNS)
    (loaded,) = load_sources([spec], data=DataConfig())
    media = {split: cast(Cells, rows.content).columns["audio"] for split, rows in loaded.splits.items()}
    assert {split: {each.read() for each in found} for split, found in media.items()} == {
        "train": {b"one"}, "valid": {b"two"},
    }  # fmt: skip
    assert len(loaded.digests) == 2
