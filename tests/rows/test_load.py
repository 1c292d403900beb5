"""A source from its files to checked, split rows."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jenga.config.schema import DataConfig
from jenga.errors import DataError
from jenga.labels.column import HeadColumn
from jenga.labels.unseen import is_unseen
from jenga.labels.words import split_words
from jenga.modalities.text.columns import TextColumns
from jenga.rows.load import load_sources
from jenga.rows.loaded import LoadedSource
from jenga.rows.parse import SourceSpec
from jenga.rows.raw import BadRow
from jenga.rows.readers import FileForm


def write(path: Path, rows: Iterable[Any]) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def head(name: str, kind: str = "class", *columns: str, size: int | None = None, labels: Any = None) -> HeadColumn:
    return HeadColumn("task", name, kind, columns or (name,), size, labels)


def load(
    train: str | tuple[str, ...], *heads: HeadColumn, valid: str = "", test: str = "", **options: Any
) -> LoadedSource:
    paths = (train,) if isinstance(train, str) else train
    spec = SourceSpec(
        "source", paths, (valid,) * bool(valid), (test,) * bool(test), "id", heads, TextColumns(("text", "tokens"))
    )
    return load_sources([spec], data=DataConfig(**options))[0]


def reviews(count: int, prefix: str = "t") -> list[dict[str, Any]]:
    return [{"id": f"{prefix}{at}", "text": f"{prefix} text {at}", "label": "ab"[at % 4 == 0]} for at in range(count)]


def sizes(source: LoadedSource) -> dict[str, int]:
    return {name: len(rows) for name, rows in source.splits.items()}


def test_one_file_is_cut_into_three_parts_with_the_same_mix(tmp_path: Path) -> None:
    source = load(write(tmp_path / "a.jsonl", reviews(200)), head("label"))
    assert sizes(source) == {"train": 160, "valid": 20, "test": 20}
    assert {name: rows.labels["task", "label"].sum() for name, rows in source.splits.items()} == {
        "train": 40,
        "valid": 5,
        "test": 5,
    }
    assert source.spaces["task", "label"].labels == ("a", "b")
    assert sorted(name for rows in source.splits.values() for name in rows.ids) == sorted(f"t{at}" for at in range(200))
    assert (source.bad, source.warnings) == ([], [])


def test_given_splits_are_kept_and_only_missing_valid_rows_are_cut(tmp_path: Path) -> None:
    train, valid, test = (write(tmp_path / f"{name}.jsonl", reviews(20, name)) for name in ("a", "b", "c"))
    assert sizes(load(train, head("label"), valid=valid, test=test)) == {"train": 20, "valid": 20, "test": 20}
    assert sizes(load(train, head("label"), valid=valid)) == {"train": 20, "valid": 20}
    assert sizes(load(train, head("label"), test=test)) == {"train": 18, "valid": 2, "test": 20}


def test_fractions_of_zero_leave_no_test_and_warn_of_no_valid_rows(tmp_path: Path) -> None:
    source = load(write(tmp_path / "a.jsonl", reviews(20)), head("label"), valid_fraction=0.0, test_fraction=0.0)
    assert sizes(source) == {"train": 20, "valid": 0}
    assert source.warnings == [
        "source: there are no valid rows; nothing shows whether the model learns more than its rows"
    ]


def test_the_split_follows_its_seed_only(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", reviews(50))
    first, again, other = (load(path, head("label"), split_seed=seed).splits["test"].ids for seed in (1, 1, 2))
    assert first == again != other


def test_max_rows_draws_train_rows_after_the_split_with_the_same_mix(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", reviews(200))
    whole, drawn = load(path, head("label")), load(path, head("label"), max_rows=40)
    assert sizes(drawn) == {"train": 40, "valid": 20, "test": 20}
    assert drawn.splits["valid"].ids == whole.splits["valid"].ids
    assert set(drawn.splits["train"].ids) < set(whole.splits["train"].ids)
    assert drawn.splits["train"].labels["task", "label"].sum() == 10


def test_several_files_are_one_split_even_with_other_column_names(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", [{"text": "one", "label": "x"}] * 5)
    second = write(tmp_path / "b.jsonl", [{"tokens": ["two", "2"], "labels": "y"}] * 5)
    third = write(tmp_path / "c.jsonl", [{"text": "three"}] * 5)
    source = load((first, second, third), head("label", "class", "label", "labels"), valid=first)
    train = source.splits["train"]
    assert train.content.texts == ["one"] * 5 + ["two 2"] * 5 + ["three"] * 5
    assert train.labels["task", "label"].tolist() == [0] * 5 + [1] * 5 + [-100] * 5
    assert train.files == [first] * 5 + [second] * 5 + [third] * 5


def test_a_row_of_a_class_that_training_rows_lack_stays_with_its_other_labels_and_is_told(tmp_path: Path) -> None:
    rows = [{**row, "tone": "xy"[at % 2]} for at, row in enumerate(reviews(20))]
    new = [{"text": f"new {at}", "label": label, "tone": "x"} for at, label in enumerate("ccd")]
    train, test = write(tmp_path / "a.jsonl", rows), write(tmp_path / "b.jsonl", [*rows[:5], *new])
    source = load(train, head("label"), head("tone"), test=test, max_bad_fraction=0.0)
    labels = source.splits["test"].labels
    assert is_unseen(labels["task", "label"]).tolist() == [False] * 5 + [True] * 3
    assert len(set(labels["task", "label"][5:].tolist())) == 2
    assert labels["task", "tone"].tolist() == [0, 1, 0, 1, 0, 0, 0, 0]
    assert source.spaces["task", "label"].labels == ("a", "b")
    assert source.warnings[0] == (
        "head 'task.label': 3 labels of rows to judge are none that a training row has, and count as wrong: "
        '2 "c", 1 "d"'
    )


def test_rows_to_judge_of_which_none_has_a_known_label_stop_the_run(tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", reviews(20))
    test = write(tmp_path / "b.jsonl", [{"text": "new", "label": "c"}, {"text": "none"}])
    with pytest.raises(DataError, match=r"source, test: no row has a label that .*'task.label' \(a, b\)"):
        load(train, head("label"), test=test)


def test_a_label_that_is_not_among_those_listed_makes_its_row_bad(tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", reviews(20))
    valid = write(tmp_path / "b.jsonl", [*reviews(20, "v"), {"text": "new", "label": "c"}])
    source = load(train, head("label", labels=("a", "b")), valid=valid, max_bad_fraction=0.1)
    assert [str(row) for row in source.bad] == [
        f"{valid}:21: head 'task.label': \"c\" is no class. Allowed: a, b; null where there is none"
    ]
    assert sizes(source)["valid"] == 20


def test_too_many_bad_rows_stop_the_run_with_five_of_them_and_the_number(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [*reviews(92), *[{"text": "", "label": "a"}] * 7, "{not json"])
    with pytest.raises(DataError) as caught:
        load(path, head("label"), max_bad_fraction=0.05)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"{path}: 8 of 100 rows cannot be used; data.max_bad_fraction allows 0.05")
    assert lines[1:6] == [f"  {path}:{at}: column 'text' is empty; allowed: text" for at in range(93, 98)]
    assert lines[6:] == ["  ... and 3 more"]
    assert len(load(path, head("label"), max_bad_fraction=0.08).bad) == 8


def test_blank_rows_are_passed_over_and_counted_where_the_configuration_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [*reviews(18), {"text": " ", "label": "a"}, {"text": None, "label": "a"}])
    spec = SourceSpec("s", (path,), (), (), "id", (head("label"),), TextColumns(("text",)), skip_blank=True)
    (source,) = load_sources([spec], data=DataConfig(max_bad_fraction=0.0))
    assert (sum(sizes(source).values()), source.bad) == (18, [])
    assert source.warnings == [f"{path}: 2 of 20 rows have no content and are passed over (data.blank_rows: skip)"]
    with pytest.raises(DataError, match="2 of 20 rows cannot be used"):
        load_sources([replace(spec, skip_blank=False)], data=DataConfig(max_bad_fraction=0.0))


def test_how_a_file_is_read_is_told_once_and_follows_the_form(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text;label\n" + "".join(f"row, {at};{at % 3}\n" for at in range(30)))
    source = load(str(path), head("label"), valid=str(path))
    assert source.warnings[0] == (f"{path}: cells are read as parted by ';'; data.delimiter says what parts them")
    assert len([words for words in source.warnings if "parted" in words]) == 1
    spec = replace(source.spec, form=FileForm(delimiter=";"))
    (told,) = [each.warnings for each in load_sources([spec], data=DataConfig())]
    assert not [words for words in told if "parted" in words]


def test_lines_that_are_no_rows_alone_stop_the_run_too(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"2 of 2 rows cannot be used(?s:.*):1: the line is not JSON"):
        load(write(tmp_path / "a.jsonl", ["nope", "nope"]), head("label"))


@pytest.mark.parametrize(
    ("rows", "column", "words"),
    [
        (
            reviews(9),
            head("lable"),
            r"no column 'lable'; did you mean 'label'\? Columns found: id, text, label\. .*heads\[",
        ),
        (
            [{"text": "a", "label": None}] * 9,
            head("label"),
            r"no training row has a label in column 'label'.*loss 0\.0",
        ),
        (reviews(9), head("label", size=1), r"holds? 2 classes \(a, b\), but num_labels is 1"),
        (reviews(9), head("label", "tags"), "no label in the training rows has a form that is allowed for 'tags'"),
    ],
)
def test_labels_that_do_not_fit_the_heads_stop_the_run(
    tmp_path: Path, rows: Any, column: HeadColumn, words: str
) -> None:
    path = write(tmp_path / "a.jsonl", rows)
    with pytest.raises(DataError, match=words) as caught:
        load(path, column)
    assert str(caught.value).startswith(f"{path}: head 'task.")


def test_all_heads_that_do_not_fit_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(write(tmp_path / "a.jsonl", reviews(9)), head("one"), head("label"), head("two"))
    assert [words in line for words, line in zip(("one", "two"), str(caught.value).splitlines(), strict=True)] == [
        True
    ] * 2


def test_a_head_whose_labels_all_fall_outside_train_stops_the_run(tmp_path: Path) -> None:
    rows = [*reviews(100), {"text": "the one", "label": "a", "rare": 1.5}]
    path = write(tmp_path / "a.jsonl", rows)
    with pytest.raises(DataError, match=r"head 'task.rare': none of the 10 training rows that are left"):
        load(path, head("label"), head("rare", "number"), max_rows=10)


def test_a_few_rows_still_make_three_parts_and_none_left_stops_the_run(tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", [{"text": "", "label": "x"}, *reviews(3)])
    assert sizes(load(train, head("label"), max_bad_fraction=0.5)) == {"train": 1, "valid": 1, "test": 1}
    blank = write(tmp_path / "b.jsonl", [{"text": "", "label": label} for label in "xyxy"])
    with pytest.raises(DataError, match="4 of 4 rows cannot be used"):
        load(blank, head("label"), max_bad_fraction=0.99)


def test_leaks_duplicates_and_thin_labels_are_warned_of_with_counts(tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", [*reviews(20), {"id": "t0", "text": "again", "label": "a"}])
    valid = write(tmp_path / "b.jsonl", [{"text": "t text 3"}, {"text": "T text 3"}])
    source = load(train, head("label", labels=("a", "b", "c")), valid=valid)
    assert source.warnings == [
        "source: 2 train rows share 1 ids (t0); predictions by id are ambiguous",
        "source: head 'task.label': none of the 2 valid rows has a label; it gets no valid scores",
        "head 'task.label': 1 of 3 classes have no training row: c",
        "source: 1 of 2 valid rows have a text that is in the training rows too; valid scores flatter the model",
    ]


def test_rows_without_ids_share_none(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, [{"text": name, "label": "x"}, {"text": "y" + name, "label": "z"}] * 3)
                     for name in ("a.jsonl", "b.jsonl"))  # fmt: skip
    assert not [words for words in load((first, second), head("label"), valid=first).warnings if "share" in words]


def test_repairs_of_tags_are_warned_of_over_all_files(tmp_path: Path) -> None:
    iob1 = [{"tokens": ["Asha", "alikuja"], "tags": ["I-PER", "O"]}] * 10
    train, valid = write(tmp_path / "a.jsonl", iob1), write(tmp_path / "b.jsonl", iob1)
    source = load(train, head("tags", "tags"), valid=valid)
    assert source.warnings[0] == (
        "head 'task.tags': 20 rows had an I- tag that continues no entity; it was read as B- (IOB1)"
    )
    assert source.splits["valid"].labels["task", "tags"][0].tolist() == [1, 0]


def test_integers_of_a_table_are_classes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"row {at},{at % 3}\n" for at in range(30)))
    source = load(str(path), head("label", size=3))
    assert source.spaces["task", "label"].labels == ("0", "1", "2")
    assert np.bincount(source.splits["train"].labels["task", "label"]).tolist() == [8, 8, 8]


def table(path: Path, *cells: str) -> str:
    path.write_text("text,label\n" + "".join(f'row {at},"{cell}"\n' for at, cell in enumerate(cells)))
    return str(path)


def test_a_table_of_yes_no_and_na_is_one_item_and_its_reading_is_kept(tmp_path: Path) -> None:
    source = load(
        table(tmp_path / "a.csv", *["yes", "no", "N/A", "no"] * 10), head("label", "items"), test_fraction=0.0
    )
    labels = np.concatenate([rows.labels["task", "label"] for rows in source.splits.values()])[:, 0]
    assert [int((labels == mark).sum()) for mark in (1, 0)] + [int(np.isnan(labels).sum())] == [10, 20, 10]
    (column,) = source.spec.heads
    assert column.cells.marks
    assert column.cells.is_missing("n/a")
    assert source.warnings[0].startswith("head 'task.label': 10 cells \"N/A\" are read as missing labels")


def test_columns_of_marks_become_one_head(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lines = [f"row {at},{('yes', 'no', 'N/A')[at % 3]},{at % 2}" for at in range(30)]
    path.write_text("\n".join(["text,greets,asks_name", *lines]))
    column = replace(head("open", "items", "greets", "asks_name"), joined=("greets", "asks_name"))
    source = load(str(path), column, valid_fraction=0.0, test_fraction=0.0)
    assert source.spaces["task", "open"].labels == ("greets", "asks_name")
    np.testing.assert_array_equal(source.splits["train"].labels["task", "open"][:3], [[1, 0], [0, 1], [np.nan, 0]])
    lacking = replace(head("open", "items", "greets", "ends_call"), joined=("greets", "ends_call"))
    with pytest.raises(DataError, match="no column 'ends_call'"):
        load(str(path), lacking)


def test_a_table_of_several_labels_a_cell_reads_blank_as_none_of_them(tmp_path: Path) -> None:
    cells = ["billing|delay", "delay", "", "billing", "staff|delay|billing", "staff"] * 5
    source = load(table(tmp_path / "a.csv", *cells), head("label", "items"), test_fraction=0.0)
    assert source.spaces["task", "label"].labels == ("billing", "delay", "staff")
    labels = np.concatenate([rows.labels["task", "label"] for rows in source.splits.values()])
    assert labels.sum(axis=0).tolist() == [15, 15, 10]
    assert int((labels == 0).all(axis=1).sum()) == 5
    # A second loading, as of the rows of a saved model, reads alike though its rows would not show the separator.
    again = load(
        table(tmp_path / "b.csv", "staff|billing", "N/A", ""), *source.spec.heads, valid_fraction=0.0, test_fraction=0.0
    )
    assert again.spec.heads == source.spec.heads
    assert again.spaces["task", "label"].labels == ("billing", "staff")
    rows = again.splits["train"]
    found = dict(zip(rows.content.texts, rows.labels["task", "label"].tolist(), strict=True))
    assert (found["row 0"], found["row 2"]) == ([1, 1], [0, 0])
    assert np.isnan(found["row 1"]).all()
    assert not [words for words in again.warnings if "are read as" in words]


def test_a_column_of_words_for_no_label_teaches_nothing_and_says_which(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'no training row has a label.*6 cells "N/A" are read as missing'):
        load(table(tmp_path / "a.csv", *["N/A"] * 6), head("label", "items"))


def test_labels_that_differ_in_case_are_told_unless_they_are_listed(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", *["Billing", "billing ", "delay"] * 10)
    assert [words for words in load(path, head("label")).warnings if "'Billing' and 'billing' differ in case" in words]
    listed = load(path, head("label", labels=("Billing", "billing", "delay"))).warnings
    assert not [words for words in listed if "differ in case" in words]


def test_entities_that_a_javascript_tool_counted_stop_the_run_and_name_the_unit(tmp_path: Path) -> None:
    text = "\U0001f600 Amina anaishi Nairobi"
    rows = [{"text": text, "entities": [{"start": 3, "end": 8, "label": "PER"}]}]
    with pytest.raises(DataError, match=r"40 of 40 rows cannot be used(?s:.*)set offset_unit: utf16 of the head"):
        load(write(tmp_path / "a.jsonl", rows * 40), head("entities", "tags"))


def test_the_built_in_sample_loads_with_every_kind_of_head_and_no_warning() -> None:
    source = load(
        "jenga/helpline",
        head("sentiment"),
        head("opening", "items", "labels.opening"),
        head("entities", "tags"),
    )
    assert source.bad == []
    assert source.warnings == []
    train = source.splits["train"]
    assert train.labels["task", "opening"].shape == (len(train), source.spaces["task", "opening"].size)
    words = train.content.words
    assert words is not None
    # Entities are whole words, else their rows would have been refused.
    assert all(len(tags) == len(spans) for tags, spans in zip(train.labels["task", "entities"], words, strict=True))
    assert words[0] == split_words(train.content.texts[0])


@pytest.mark.serial
def test_ten_thousand_rows_load_within_seconds(tmp_path: Path) -> None:
    rows = [
        {"id": at, "text": "Asha Juma wa Dar-es-Salaam aliuliza " * 3 + str(at), "label": f"class {at % 50}",
         "items": [at % 2, None, 1], "entities": [{"start": 0, "end": 9, "label": "PER"}]}
        for at in range(10_000)
    ]  # fmt: skip
    path = write(tmp_path / "a.jsonl", rows)
    start = time.process_time()
    source = load(path, head("label"), head("items", "items"), head("entities", "tags"))
    # About 0.6 s on one slow core; the bound only catches a step that is not linear in the rows.
    assert time.process_time() - start < 6
    assert sum(sizes(source).values()) == 10_000


# ------------------------------------------------------------------------------------------- labels that may be missing


def detector(*columns: str, written: bool = False, size: int | None = None) -> HeadColumn:
    return HeadColumn("task", "odd", "class", columns or ("label",), size, None, "normal", written)


def flows(*labels: str | int | None) -> list[dict[str, Any]]:
    """Rows in the order of `labels`; None: without the column."""
    return [{"text": f"{label} {at}"} | ({} if label is None else {"label": label}) for at, label in enumerate(labels)]


def test_a_written_label_column_that_the_training_rows_lack_is_an_error_that_names_its_like(tmp_path: Path) -> None:
    first, second = (write(tmp_path / f"{name}.jsonl", flows(*["normal"] * 9)) for name in "ab")
    other = write(tmp_path / "c.jsonl", flows(*[None] * 9))
    with pytest.raises(DataError) as caught:
        load(first, detector("labell", written=True))
    assert str(caught.value) == (
        f"{first}: head 'task.odd': the rows have no column 'labell'; did you mean 'label'? Columns found: text, "
        "label. Correct `columns` of the task or `heads[].column`; leave it out where no row has a label"
    )
    with pytest.raises(DataError, match=r"c\.jsonl: head 'task\.odd': the rows have no column 'label'"):
        load((first, second, other), detector(written=True))


def test_rows_without_the_default_label_column_are_all_normal_and_the_log_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", flows(*[None] * 20))
    source = load(path, detector("label", "labels"))
    assert source.spaces["task", "odd"].labels == ("normal", "anomaly")
    assert set(source.splits["train"].labels["task", "odd"]) == {0}
    assert source.warnings == [
        f"{path} has no column 'label' or 'labels' for head 'task.odd'. All 20 rows are taken for normal; if their "
        "labels stand elsewhere, name the column (`heads[].column`)"
    ]


@pytest.mark.parametrize(
    ("train", "test", "names", "normal"),
    [
        ("normal", ("normal", "attack"), ("attack", "normal"), 1),
        (None, ("benign", "attack"), ("attack", "benign"), 1),
        (None, ("dos", "probe"), ("normal", "dos", "probe"), 0),
        (None, (1, 0), ("0", "1"), 0),
    ],
)
def test_a_head_that_learns_what_is_normal_takes_its_labels_from_all_splits(
    train: str | None, test: tuple[str | int, ...], names: tuple[str, ...], normal: int, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jsonl", flows(*[train] * 20))
    judged = write(tmp_path / "b.jsonl", flows(*test * 5))
    source = load(path, detector(size=2, written=True), test=judged)
    assert source.bad == []
    assert source.spaces["task", "odd"].labels == names
    assert set(source.splits["train"].labels["task", "odd"]) == {normal}
    assert source.splits["test"].labels["task", "odd"].tolist() == [names.index(str(label)) for label in test] * 5


def test_a_label_column_without_a_label_says_nothing_against_the_rows(tmp_path: Path) -> None:
    source = load(write(tmp_path / "a.jsonl", [{**row, "label": None} for row in flows(*[None] * 20)]), detector())
    assert set(source.splits["train"].labels["task", "odd"]) == {-100}
    assert source.spaces["task", "odd"].labels == ("normal", "anomaly")


def test_rows_that_cannot_be_used_tell_how_their_labels_were_read(tmp_path: Path) -> None:
    cells = ["fees", "fees, charges", "fees, charges", "staff"] * 10
    rows = [{"text": f"text {at}", "topics": cell} for at, cell in enumerate(cells)]
    train = write(tmp_path / "train.jsonl", rows)
    with pytest.raises(DataError, match=r"40 rows cannot be used(.|\n)*set `label_separator` of the head"):
        load(train, head("topics", "items", labels=("fees", "staff")))


def test_rows_that_cannot_be_encoded_count_by_file_with_those_that_could_not_be_parsed(tmp_path: Path) -> None:
    paths = tuple(write(tmp_path / f"{name}.jsonl", [{"text": ""}, *reviews(9, name)]) for name in "ab")
    source = load(paths, head("label"), max_bad_fraction=0.3)
    assert source.sizes == dict.fromkeys(paths, 10)

    def unread(file: str, count: int) -> list[BadRow]:
        return [BadRow(file, number, "cut", "") for number in range(2, 2 + count)]

    source.set_aside([*unread(paths[0], 2), *unread(paths[1], 1)], 0.3)
    assert len(source.bad) == 5
    with pytest.raises(DataError, match=rf"{paths[0]}: 4 of 10 rows cannot be used"):
        source.set_aside(unread(paths[0], 1), 0.3)
