"""Files as people have them: every form read alike, every broken one refused with words that help."""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import fsspec
import pyarrow
import pytest
from pyarrow import parquet

from jenga.errors import DataError, SetupError
from jenga.labels.cells import json_text
from jenga.rows.raw import RAW_LENGTH
from jenga.rows.readers import FileForm, read_rows

ROWS = [
    {"id": "a", "text": "Nimefurahi sana", "label": "positive"},
    {"id": "b", "text": "Hapana, asante", "label": "neutral"},
]
JSONL = "\n".join(json.dumps(row) for row in ROWS) + "\n"
CSV = 'id,text,label\na,Nimefurahi sana,positive\nb,"Hapana, asante",neutral\n'


ZEEK = "#separator \\x09\n#unset_field\t-\n#fields\tid\ttext\tlabel\n#types\tstring\tstring\tenum\n" + "".join(
    "\t".join(row.values()) + "\n" for row in ROWS
)
CSV_OF_EXCEL = "sep=;\nid;text;label\na;Nimefurahi sana;positive\nb;Hapana, asante;neutral\n"


def write(folder: Path, name: str, content: str | bytes) -> str:
    content = content.encode() if isinstance(content, str) else content
    packed: dict[str, Callable[[bytes], bytes]] = {
        ".gz": gzip.compress, ".zst": lambda data: pyarrow.compress(data, "zstd", asbytes=True)
    }  # fmt: skip
    pack = packed.get(Path(name).suffix)
    (folder / name).write_bytes(pack(content) if pack else content)
    return str(folder / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", JSONL),
        ("rows.ndjson", JSONL),
        ("rows.jsonl.gz", JSONL),
        ("ROWS.JSONL", JSONL),
        ("bom.jsonl", "\ufeff" + JSONL),
        ("crlf.jsonl", JSONL.replace("\n", "\r\n")),
        ("blank.jsonl", "\n" + JSONL.replace("\n", "\n\n  \n")),
        ("unended.jsonl", JSONL.rstrip("\n")),
        ("list.json", json.dumps(ROWS, indent=2)),
        ("object.json", json.dumps({"version": "1", "data": ROWS})),
        ("lines.json", JSONL),
        ("app.log", JSONL),
        ("conn.2026-01-01.log.gz", f"{ZEEK}#close\t2026-01-01\n"),
        ("conn.log.labeled", ZEEK.replace("\n", "\r\n")),
        ("conn.txt", ZEEK),
        ("rows.csv", CSV),
        ("crlf.csv", "\ufeff" + CSV.replace("\n", "\r\n")),
        ("rows.csv.gz", CSV),
        ("rows.jsonl.zst", JSONL),
        ("rows.csv.zst", CSV),
        ("excel.csv", CSV_OF_EXCEL),
        ("semicolons.csv", CSV_OF_EXCEL.partition("\n")[2]),
        ("bars.tsv", CSV_OF_EXCEL.partition("\n")[2].replace(";", "|")),
        ("rows.tsv", 'id\ttext\tlabel\na\tNimefurahi sana\tpositive\nb\t"Hapana, asante"\tneutral\n'),
    ],
)
def test_every_form_of_file_gives_the_same_rows(tmp_path: Path, name: str, content: str) -> None:
    raw = read_rows(write(tmp_path, name, content))
    assert raw.rows == ROWS
    assert raw.bad == []
    assert raw.file.endswith(name)


def test_parquet_keeps_lists_and_nulls(tmp_path: Path) -> None:
    rows = [{"tokens": ["a", "b"], "label": 1}, {"tokens": ["c"], "label": None}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    raw = read_rows(str(tmp_path / "rows.parquet"))
    assert (raw.rows, raw.numbers) == (rows, [1, 2])


def test_the_sample_of_flows_is_read_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jenga.samples.network.generate_flows", lambda: [{"threat": 1}])
    raw = read_rows("jenga/network")
    assert (raw.file, raw.rows, raw.examples) == ("jenga/network", [{"threat": 1}], [{"threat": 1}])


def test_the_built_in_sample_has_texts_and_numbers_from_one() -> None:
    raw = read_rows("jenga/helpline")
    assert raw.numbers == list(range(1, len(raw.rows) + 1))
    assert all(row["text"] for row in raw.rows)


def test_numbers_are_lines_of_a_text_file_and_rows_of_a_list(tmp_path: Path) -> None:
    assert read_rows(write(tmp_path, "a.jsonl", '\n{"a": 1}\n\n{"a": 2}')).numbers == [2, 4]
    assert read_rows(write(tmp_path, "b.csv", 'text\n"two\nlines"\n\nlast\n')).numbers == [2, 5]
    assert read_rows(write(tmp_path, "c.json", '[\n\n{"a": 1},\n\n{"a": 2}]')).numbers == [1, 2]


def test_line_separators_inside_a_string_do_not_end_the_line(tmp_path: Path) -> None:
    raw = read_rows(
        write(tmp_path, "a.jsonl", '{"text": "one\u2028two\x85three\x0bfour"}\n'.replace("\x0b", "\\u000b"))
    )
    assert raw.rows == [{"text": "one\u2028two\x85three\x0bfour"}]


def test_cells_of_a_table_stay_strings_blank_ones_too(tmp_path: Path) -> None:
    raw = read_rows(write(tmp_path, "a.csv", "text,code,note,\nNA,007,,\nnull,1.50,nan,\n"))
    assert raw.rows == [
        {"text": "NA", "code": "007", "note": ""},
        {"text": "null", "code": "1.50", "note": "nan"},
    ]


def test_a_cell_may_be_longer_than_the_csv_module_allows_by_default(tmp_path: Path) -> None:
    raw = read_rows(write(tmp_path, "a.csv", "text,label\n" + "x" * 200_000 + ",1\n"))
    assert len(raw.rows[0]["text"]) == 200_000


@pytest.mark.parametrize(
    ("name", "content", "number", "reason"),
    [
        ("a.jsonl", '{"text": "x"}\n{"text": "y"', 2, "not JSON"),
        ("a.jsonl", '{"text": "x"}\n{\'text\': 1}\n', 2, "not JSON"),
        ("a.jsonl", '{"text": "x"}\n["y"]\n', 2, "the row is a list, not an object"),
        ("a.jsonl", '{"text": "x"}\nnull\n', 2, "the row is null"),
        ("a.jsonl", '{"text": "x"}\n' + "[" * 100_000 + "\n", 2, "not JSON"),
        ("a.jsonl", '{"text": "x"}\n{"n": ' + "9" * 5000 + "}\n", 2, "not JSON"),
        ("a.json", '[{"text": "x"}, "y"]', 2, "the row is a string"),
        ("a.json", '[{"text": "x"}, 3]', 2, "the row is a number"),
        ("a.csv", "text,label\na,b\nc,d,e\nf,g\n", 3, "3 cells, the header 2"),
        ("a.csv", "text,label\na,b\nc\nf,g\n", 3, "1 cells, the header 2"),
        ("a.csv", 'text,label\na,b\n"c"d,e\nf,g\n', 3, "not CSV"),
    ],
)
def test_a_malformed_row_is_set_aside_with_its_place(
    tmp_path: Path, name: str, content: str, number: int, reason: str
) -> None:
    raw = read_rows(write(tmp_path, name, content))
    assert len(raw.bad) == 1
    assert raw.bad[0].number == number
    assert reason in raw.bad[0].reason
    assert raw.bad[0].raw
    assert len(raw.bad[0].raw) <= RAW_LENGTH
    assert raw.rows, "the other rows stay"


BROKEN: dict[str, tuple[str, str | bytes | None, str]] = {
    "missing": ("rows.jsonl", None, "no such file"),
    "empty": ("rows.jsonl", "", "the file is empty"),
    "blank": ("rows.csv", "\n \n", "the file is empty"),
    "empty list": ("rows.json", "[]", "no rows"),
    "empty data": ("rows.json", '{"data": []}', "no rows"),
    "header only": ("rows.csv", "text,label\n", "no rows"),
    "no suffix": ("rows", "x", "unknown file type"),
    "spreadsheet": ("rows.xlsx", "PK", r"unknown file type '.xlsx'. Allowed: .json, .jsonl"),
    "packed parquet": ("rows.parquet.gz", "x", "Parquet data is damaged"),
    "latin-1": (
        "rows.jsonl",
        '{"text": "a"}\n{"text": "caf\xe9"}'.encode("latin-1"),
        r":2: the file is not UTF-8 .*latin1",
    ),
    "windows-1252": (
        "rows.csv",
        "text\nit\u2019s 5 \u20ac\n".encode("windows-1252"),
        r":2: the file is not UTF-8 .*windows-1252",
    ),
    "utf-16": ("rows.csv", CSV.encode("utf-16"), "UTF-16"),
    "zstd without .zst": ("rows.jsonl", pyarrow.compress(JSONL.encode(), "zstd", asbytes=True), r"must end in \.zst"),
    "gzip without .gz": ("rows.jsonl", gzip.compress(JSONL.encode(), mtime=0), r"must end in \.gz"),
    "cut json": ("rows.json", '[{"text": "a"},\n {"text":', r"rows.json:2:10: the file is not JSON"),
    "one value": ("rows.json", '"text"', "one value, not rows"),
    "columns": ("rows.json", '{"text": ["a"], "label": ["b"]}', "the keys text, label, not rows"),
    "one row": ("rows.json", '{"text": "a", "labels": [1, 0]}', "not rows"),
    "deep json": ("rows.json", "[" * 100_000, "nested too deep"),
    "list as lines": ("rows.jsonl", json.dumps(ROWS), r"name it \.json"),
    "open quote": ("rows.csv", 'text,label\na,b\n"c,d\ne,f\n', r":3: a quote that opens in this line is never closed"),
    "column twice": ("rows.csv", "text,text\na,b\n", "column twice: text"),
    "not parquet": ("rows.parquet", "text,label", "Parquet data is damaged"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_a_data_error_that_names_file_and_trouble(tmp_path: Path, case: str) -> None:
    name, content, words = BROKEN[case]
    if content is not None:
        write(tmp_path, name, content)
    with pytest.raises(DataError, match=words) as caught:
        read_rows(str(tmp_path / name))
    assert str(tmp_path / name) in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("damage", [lambda data: data[:-12], lambda data: data[:20], lambda data: b"plain" + data])
@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_damaged_packed_data_are_a_data_error(tmp_path: Path, damage: Callable[[bytes], bytes], packing: str) -> None:
    path = Path(write(tmp_path, f"rows.jsonl{packing}", JSONL * 50))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="damaged or cut short"):
        read_rows(str(path))


# ------------------------------------------------------------------------------------------ several files, data sets


def parts(folder: Path) -> list[dict[str, Any]]:
    """Three parts of Parquet with what a cluster leaves beside them; return their rows."""
    rows = [{"text": f"row {at}", "label": at % 2} for at in range(9)]
    (folder / "day=1").mkdir(parents=True)
    for at, name in enumerate(("part-00000.parquet", "part-00001.parquet", "day=1/part-00000.parquet")):
        parquet.write_table(pyarrow.Table.from_pylist(rows[3 * at : 3 * at + 3]), folder / name)
    (folder / "_SUCCESS").touch()
    (folder / ".part-00000.parquet.crc").write_bytes(b"x")
    return [*rows[6:], *rows[:6]]


def test_a_folder_and_a_pattern_of_parts_are_one_file(tmp_path: Path) -> None:
    rows = parts(tmp_path / "rows")
    for path in (str(tmp_path / "rows"), f"{tmp_path}/rows/", f"{tmp_path}/rows/**/*.parquet"):
        raw = read_rows(path)
        assert (raw.file, raw.rows, raw.numbers) == (path, rows, list(range(1, 10)))
        assert raw.home == tmp_path / "rows"
    assert read_rows(f"{tmp_path}/rows/part-*.parquet").rows == rows[3:]


def test_bad_rows_of_a_part_say_in_which_they_stand(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", '{"text": "x"}\n')
    second = write(tmp_path, "b.jsonl", '{"text": "y"}\nnull\n{"text": "z"}\n')
    raw = read_rows(str(tmp_path))
    assert raw.numbers == [1, 2, 4]
    assert [(bad.number, bad.reason) for bad in raw.bad] == [
        (3, f"{second}:2: the row is null, not an object with columns")
    ]


def test_a_folder_without_rows_or_with_several_kinds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no files of rows"):
        read_rows(str(tmp_path))
    with pytest.raises(DataError, match="there are no files of rows"):
        read_rows(f"{tmp_path}/*.csv")
    write(tmp_path, "a.jsonl", JSONL)
    write(tmp_path, "notes.txt", "x")
    with pytest.raises(DataError, match=r"several kinds \(\.jsonl, \.txt\).*\*\.jsonl"):
        read_rows(str(tmp_path))


def test_logs_beside_files_of_rows_are_passed_over_and_by_themselves_are_read(tmp_path: Path) -> None:
    write(tmp_path, "b.log", ZEEK)
    write(tmp_path, "a.log.gz", ZEEK)
    assert read_rows(str(tmp_path)).rows == [*ROWS, *ROWS]
    write(tmp_path, "rows.jsonl", JSONL)
    assert read_rows(str(tmp_path)).rows == ROWS


def test_a_line_of_a_log_that_does_not_fit_is_set_aside(tmp_path: Path) -> None:
    raw = read_rows(write(tmp_path, "conn.log", ZEEK + "c\td\n"))
    assert [str(bad) for bad in raw.bad] == [f"{raw.file}:7: the line does not fit its log (2 cells, #fields names 3)"]
    with pytest.raises(DataError, match=r"neither Zeek's, which begins with #separator, nor JSON Lines"):
        read_rows(write(tmp_path, "app.log", "INFO started\n"))


def test_the_list_of_rows_in_an_object_may_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, "rows.json", json.dumps({"more": [1], "result": {"rows": ROWS}}))
    with pytest.raises(DataError, match="not rows"):
        read_rows(path)
    assert read_rows(path, form=FileForm(records="result.rows")).rows == ROWS
    with pytest.raises(
        DataError, match=r"rows\.json: records: there is no list at 'rows'; the document has more, result"
    ):
        read_rows(path, form=FileForm(records="rows"))


def test_files_of_a_folder_are_written_as_the_configuration_says(tmp_path: Path) -> None:
    write(tmp_path, "part-0", JSONL)
    write(tmp_path, "part-1", JSONL)
    assert read_rows(str(tmp_path), form=FileForm("jsonl")).rows == [*ROWS, *ROWS]


def test_a_file_whose_name_holds_a_mark_of_patterns_is_that_file(tmp_path: Path) -> None:
    assert read_rows(write(tmp_path, "rows[1].jsonl", JSONL)).rows == ROWS


def test_a_data_set_that_was_saved_to_a_folder_has_its_splits_and_class_names(tmp_path: Path) -> None:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    one = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    one.save_to_disk(tmp_path / "one")
    assert read_rows(str(tmp_path / "one")).rows == [{"text": "a", "label": "yes"}, {"text": "b", "label": "no"}]
    several = str(tmp_path / "several")
    datasets.DatasetDict(train=one, validation=one.select([1])).save_to_disk(several)
    raw = read_rows(several, split="valid")
    assert (raw.rows, raw.file) == ([{"text": "b", "label": "no"}], f"{several} (valid)")
    with pytest.raises(DataError, match="no split test; the data set has: train, validation"):
        read_rows(several, split="test")
    next((tmp_path / "one").glob("*.arrow")).write_bytes(b"x")
    with pytest.raises(DataError, match="cannot be read"):
        read_rows(str(tmp_path / "one"))


# ---------------------------------------------------------------------------------------------------------- elsewhere


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """A folder of fsspec's in memory."""
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/rows.csv.gz", gzip.compress(CSV.encode()))
    memory.pipe("/bucket/parts/a.jsonl", JSONL.splitlines()[0].encode())
    memory.pipe("/bucket/parts/b.jsonl", JSONL.splitlines()[1].encode())
    memory.pipe("/bucket/parts/_SUCCESS", b"")
    yield "memory://bucket"
    memory.rm("/bucket", recursive=True)


def test_addresses_are_read_as_files_folders_and_patterns(elsewhere: str) -> None:
    for path in ("rows.csv.gz", "parts", "parts/*.jsonl"):
        raw = read_rows(f"{elsewhere}/{path}")
        assert (raw.rows, raw.file) == (ROWS, f"{elsewhere}/{path}")
    with pytest.raises(DataError, match=r"memory://bucket/none\.csv: no such file"):
        read_rows(f"{elsewhere}/none.csv")


def test_a_file_of_this_machine_has_an_address_too(tmp_path: Path) -> None:
    assert read_rows(f"file://{write(tmp_path, 'rows.csv', CSV)}").rows == ROWS


@pytest.mark.parametrize(
    ("path", "words"),
    [("nothing://bucket/rows.csv", "not known.*allowed: what fsspec knows"), ("s3://bucket/rows.csv", "s3fs")],
)
def test_an_address_that_cannot_be_reached_is_a_setup_error(
    monkeypatch: pytest.MonkeyPatch, path: str, words: str
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(SetupError, match=words):
        read_rows(path)


# -------------------------------------------------------------------------------------------------- how it is written


def test_the_configuration_may_say_how_files_are_written(tmp_path: Path) -> None:
    path = write(tmp_path, "rows.dat", "text;a|label;b\nx;y|z\n")
    with pytest.raises(DataError, match=r"unknown file type '\.dat'.*data\.format"):
        read_rows(path)
    raw = read_rows(path, form=FileForm("csv", "|"))
    assert (raw.rows, raw.told) == ([{"text;a": "x;y", "label;b": "z"}], [])
    assert read_rows(path, form=FileForm("txt")).rows[1] == {"text": "x;y|z"}


SENTENCES = "Asha B-PER\nsings O\n\nin O\nMombasa B-LOC\n"


def test_words_with_tags_in_a_text_file_are_sentences_and_that_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "rows.txt", SENTENCES)
    raw = read_rows(path)
    assert [row["tokens"] for row in raw.rows] == [["Asha", "sings"], ["in", "Mombasa"]]
    (words,) = raw.told
    assert words.startswith(f"{path}: is read as words with their tags, a word a line; data.format (conll, or txt")
    assert len(read_rows(path, form=FileForm("txt")).rows) == 4
    assert read_rows(write(tmp_path, "rows.conll", SENTENCES)).told == []


def test_a_missing_file_suggests_the_near_one_or_lists_the_folder(tmp_path: Path) -> None:
    write(tmp_path, "reviews.jsonl", JSONL)
    with pytest.raises(DataError, match=r"did you mean 'reviews\.jsonl'"):
        read_rows(str(tmp_path / "review.jsonl"))
    with pytest.raises(DataError, match=r"data files there: reviews\.jsonl"):
        read_rows(str(tmp_path / "zzz.csv"))
    with pytest.raises(DataError, match="does not exist"):
        read_rows(str(tmp_path / "nowhere" / "reviews.jsonl"))


def test_a_bad_row_prints_as_file_line_and_reason(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"text": "x"}\nnull\n')
    assert str(read_rows(path).bad[0]) == f"{path}:2: the row is null, not an object with columns"


def test_half_a_character_can_be_shown() -> None:
    assert json_text({"text": "a\ud800é"}) == '{"text": "a?é"}'


# ---------------------------------------------------------------------------------------------------- what never ends


@pytest.mark.parametrize(("kind", "words"), [("fifo", "a named pipe"), ("device", "a device"), ("folder", "a folder")])
def test_what_is_no_file_is_refused_unread(tmp_path: Path, kind: str, words: str) -> None:
    path = tmp_path / "rows.jsonl"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
    with pytest.raises(DataError, match=f"{path}: this is {words}, not a file; "):
        read_rows(str(path))


def test_a_link_to_a_file_is_read(tmp_path: Path) -> None:
    write(tmp_path, "far.jsonl", JSONL)
    (tmp_path / "near.jsonl").symlink_to("far.jsonl")
    assert read_rows(str(tmp_path / "near.jsonl")).rows == ROWS


def test_files_that_unpack_out_of_proportion_are_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jenga.packed.HARMLESS_BYTES", 100_000)
    table = pyarrow.table({"text": ["the same words again"] * 500_000})
    parquet.write_table(table, tmp_path / "rows.parquet")
    for path in (write(tmp_path, "rows.jsonl.gz", JSONL * 50_000), str(tmp_path / "rows.parquet")):
        with pytest.raises(DataError, match=rf"{path}: its .* bytes unpack to more than 200 times as many"):
            read_rows(path)
