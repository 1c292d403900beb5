"""Rows of large files, kept on disk."""

from __future__ import annotations

import csv
import json
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jenga.arrays import ArrayWriter
from jenga.config.schema import DataConfig
from jenga.errors import DataError, SetupError
from jenga.labels import kind_named
from jenga.labels.column import HeadColumn
from jenga.modalities.text.columns import TextColumns
from jenga.rows.fingerprint import fingerprint
from jenga.rows.large import Watched
from jenga.rows.load import load_sources
from jenga.rows.loaded import LoadedSource
from jenga.rows.parse import SourceSpec
from jenga.rows.read_once import ReadOnce
from jenga.rows.readers import read_rows
from jenga.rows.strings import Strings

MOODS = ("glad", "cross", "none", " glad ", None, "glad")


def row(at: int) -> dict[str, Any]:
    text = f"text {at % 97}" + " é" * (at % 3)
    return {
        **({"id": f"r{at}"} if at % 5 else {}), "text": ["as", "words", text] if at % 7 == 0 else text, "note": text,
        "mood": MOODS[at % 6], "flags": [["late", "loud"][at % 2]] if at % 4 else [],
        "price": at / 4 if at % 3 else None,
    }  # fmt: skip


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, str]:
    lines = [json.dumps(row(at)) for at in range(600)]
    lines[41], lines[77], lines[300] = "{broken", json.dumps({"text": " ", "mood": "glad"}), lines[299]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    (tmp_path / "test.jsonl").write_text("\n".join(json.dumps(row(at)) for at in range(1000, 1080)))
    with (tmp_path / "more.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "note", "mood", "flags", "price"])
        writer.writerows([f"row\n{at}", "n", "cross", "late", at] for at in range(50))
    return {name: str(tmp_path / name) for name in ("train.jsonl", "test.jsonl", "more.csv")}


def heads(task: str) -> tuple[HeadColumn, ...]:
    return (
        HeadColumn(task, "mood", "class", ("labels.mood", "mood"), None, None),
        HeadColumn(task, "flags", "items", ("flags",), None, None),
        HeadColumn(task, "price", "number", ("price",), 1, None),
    )


def specs(paths: dict[str, str]) -> list[SourceSpec]:
    train = (paths["train.jsonl"], paths["more.csv"])
    one = SourceSpec(
        "one", train, (), (paths["test.jsonl"],), "id", heads("one"), TextColumns(("text", "tokens"), "note")
    )
    other = SourceSpec("other", train[:1], (), (), "id", heads("other")[:1], TextColumns(("note",)), skip_blank=True)
    return [one, other]


def load(
    given: list[SourceSpec], folder: Path | None, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> list[LoadedSource]:
    """Load sources, kept below `folder`; None: held."""
    monkeypatch.setattr("jenga.rows.large.LARGE_BYTES", 1 << 40 if folder is None else 0)
    watched = Watched(("id",), ("labels.mood", "mood", "flags", "price"))
    files = ReadOnce(lambda path, *, split: read_rows(path, split=split, watched=watched))
    data = DataConfig(cache_dir=None if folder is None else str(folder), max_bad_fraction=0.05, **options)
    return load_sources(given, data=data, files=[files] * len(given))


def said(source: LoadedSource) -> dict[str, Any]:
    return {
        "spec": source.spec, "spaces": source.spaces, "bad": source.bad, "warnings": source.warnings,
        "sizes": source.sizes,
        "splits": {
            name: {
                "ids": list(rows.ids), "files": list(rows.files), "numbers": list(rows.numbers),
                "texts": list(rows.content.texts), "pairs": list(getattr(rows.content, "pairs", None) or []),
                "as_words": list(rows.content.as_words), "keys": list(rows.content.keys()),
                "labels": {key: (type(column), len(column), str(list(column))) for key, column in rows.labels.items()},
            }
            for name, rows in source.splits.items()
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    "options", [{}, {"max_rows": 100, "split_seed": 3, "valid_fraction": 0.3}], ids=["usual", "drawn"]
)
def test_rows_that_are_kept_are_those_that_are_held(
    paths: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    held = load(specs(paths), None, monkeypatch, **options)
    made = load(specs(paths), tmp_path / "cache", monkeypatch, **options)
    monkeypatch.setattr("jenga.rows.load._load", lambda *args: pytest.fail("read again"))
    again = load(specs(paths), tmp_path / "cache", monkeypatch, **options)
    for one, other, third in zip(held, made, again, strict=True):
        assert said(one) == said(other) == said(third)
        assert len(one.bad) == (2 if one.spec.name == "one" else 1)
        assert one.warnings
        for rows in other.splits.values():
            assert isinstance(rows.ids, Strings)
    splits = [fingerprint(each)["splits"] for each in (held, made, again)]
    assert splits[0] == splits[1] == splits[2]
    assert fingerprint(made) == fingerprint(again)


def test_what_is_made_of_kept_rows_has_one_name(
    paths: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that tokens, which are kept by it, are found again."""
    both = [load(specs(paths), tmp_path / "cache", monkeypatch) for _ in range(2)]
    names = [
        [rows.content.texts.digest for source in loaded for rows in source.splits.values()]  # type: ignore[attr-defined]
        for loaded in both
    ]
    assert names[0] == names[1]
    assert len(set(names[0])) == len(names[0])


def folders(tmp_path: Path) -> set[str]:
    return {each.name for each in (tmp_path / "cache").iterdir()}


def test_whatever_the_rows_depend_on_is_in_the_name_of_their_folder(
    paths: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out.jsonl").write_text(json.dumps({"file": paths["train.jsonl"], "row": 3}) + "\n")
    given = specs(paths)
    calls: list[tuple[list[SourceSpec], dict[str, Any]]] = [
        (given, {}), (given[:1], {}), (given, {"split_seed": 1}), (given, {"max_rows": 50}),
        (given, {"exclude": str(tmp_path / "out.jsonl")}),
        ([replace(given[0], skip_blank=True), given[1]], {}),
        ([replace(given[0], heads=given[0].heads[:2]), given[1]], {}),
    ]  # fmt: skip
    for number, (sources, options) in enumerate(calls, start=1):
        load(sources, tmp_path / "cache", monkeypatch, **options)
        assert len(folders(tmp_path)) == number
    (tmp_path / "out.jsonl").write_text(json.dumps({"file": paths["train.jsonl"], "row": 4}) + "\n")
    load(given, tmp_path / "cache", monkeypatch, exclude=str(tmp_path / "out.jsonl"))
    with open(paths["test.jsonl"], "a") as file:
        file.write("\n" + json.dumps(row(2000)))
    assert len(load(given, tmp_path / "cache", monkeypatch)[0].splits["test"]) == 81
    own = kind_named("class")
    (tmp_path / "kinds.py").write_text("# a kind of somebody's own")
    monkeypatch.setattr(
        "sys.modules", {**__import__("sys").modules, "kinds": type("M", (), {"__file__": str(tmp_path / "kinds.py")})}
    )
    monkeypatch.setattr(type(own), "__module__", "kinds")
    load(given, tmp_path / "cache", monkeypatch)
    assert len(folders(tmp_path)) == len(calls) + 3


def test_kept_rows_that_are_harmed_are_read_anew_with_a_warning(
    paths: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = list(map(said, load(specs(paths), tmp_path / "cache", monkeypatch)))
    (folder,) = (tmp_path / "cache").iterdir()
    texts = folder / "0-train" / "texts.arrow"
    content = bytearray(texts.read_bytes())
    content[len(content) // 2] ^= 1
    texts.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert list(map(said, load(specs(paths), tmp_path / "cache", monkeypatch))) == whole
    assert "texts.arrow has another checksum" in caplog.text
    caplog.clear()
    assert list(map(said, load(specs(paths), tmp_path / "cache", monkeypatch))) == whole
    assert not caplog.records


def test_rows_that_stop_a_run_leave_nothing_behind(
    paths: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(paths["more.csv"]).write_text("text,note,mood,flags,price\n" + "x,y,z,late,no number\n" * 50)
    with pytest.raises(DataError, match="50 of 50 rows cannot be used"):
        load(specs(paths), tmp_path / "cache", monkeypatch)
    assert not folders(tmp_path)
    os.unlink(paths["more.csv"])
    with pytest.raises(DataError, match=r"more\.csv: no such file"):
        load(specs(paths), tmp_path / "cache", monkeypatch)


def test_rows_that_cannot_be_kept_for_want_of_a_place_are_held_with_a_warning(
    paths: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    held = list(map(said, load(specs(paths), None, monkeypatch)))
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        assert list(map(said, load(specs(paths), tmp_path / "file" / "cache", monkeypatch))) == held
    assert "The rows are held in memory; data.cache_dir names another place" in caplog.text
    full, append = [0], ArrayWriter.append

    def fill(self: ArrayWriter, name: str, piece: np.ndarray) -> None:
        full[0] += 1
        if full[0] > 9:
            raise SetupError("no space left")
        append(self, name, piece)

    monkeypatch.setattr(ArrayWriter, "append", fill)
    caplog.clear()
    assert list(map(said, load(specs(paths), tmp_path / "cache", monkeypatch))) == held
    assert "no space left. The rows are held" in caplog.text
    assert not folders(tmp_path)


@pytest.mark.parametrize("why", ["marks", "words", "sample"])
def test_what_cannot_be_kept_is_held(
    paths: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    (spec,) = specs(paths)[1:]
    if why == "marks":
        spec = replace(spec, marks=("price",))
    if why == "words":
        tags = HeadColumn("other", "names", "tags", ("tags",), None, None)
        Path(paths["train.jsonl"]).write_text("".join(
            json.dumps({"note": ["a", "b"], "tags": ["O", "B-X"], "mood": MOODS[at % 2]}) + "\n" for at in range(40)
        ))  # fmt: skip
        spec = replace(spec, heads=(*spec.heads, tags))
    if why == "sample":
        own = HeadColumn("other", "sentiment", "class", ("sentiment",), None, None)
        spec = replace(spec, train=("jenga/helpline",), heads=(own,), content=TextColumns(("text",)))
    (source,) = load([spec], tmp_path / "cache", monkeypatch)
    assert isinstance(source.splits["train"].ids, list)
    assert not (tmp_path / "cache").exists()
    assert said(source) == said(load([spec], None, monkeypatch)[0])


def test_labels_on_disk_are_mapped(paths: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source, _) = load(specs(paths), tmp_path / "cache", monkeypatch)
    labels = source.splits["test"].labels["one", "mood"]
    assert isinstance(labels.base, np.memmap)
