"""Data sets of the hub, with the hub itself stood in for: no test needs a network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from datasets.exceptions import DatasetNotFoundError

from jenga.errors import DataError, SetupError
from jenga.rows.readers import FileForm, read_rows, reading_of, streamed_files

FEATURES = datasets.Features(
    {
        "text": datasets.Value("string"),
        "label": datasets.ClassLabel(names=["no", "yes"]),
        "tags": datasets.List(datasets.ClassLabel(names=["O", "B-x"])),
    }
)


def part(text: str, label: int) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"text": [text], "label": [label], "tags": [[0, 1]]}, features=FEATURES)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str | None], Any]:
    known: dict[tuple[str, str | None], Any] = {}

    def load_dataset(name: str, configuration: str | None = None) -> Any:
        found = known.get((name, configuration), DatasetNotFoundError(f"no '{name}'"))
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return known


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("hf://imdb", ("imdb", None)),
        ("hf://owner/imdb", ("owner/imdb", None)),
        ("hf://glue/mrpc", ("glue", "mrpc")),
        ("hf://owner/glue/mrpc", ("owner/glue", "mrpc")),
    ],
)
def test_names_with_and_without_owner_and_configuration(hub: dict[Any, Any], path: str, key: Any) -> None:
    hub[key] = datasets.DatasetDict(train=part("hello", 1))
    raw = read_rows(path)
    assert raw.rows == [{"text": "hello", "label": "yes", "tags": ["O", "B-x"]}]
    assert (raw.file, raw.numbers) == (f"{path} (train)", [1])


@pytest.mark.parametrize("name", ["validation", "valid", "dev"])
def test_valid_is_what_the_data_set_calls_it(hub: dict[Any, Any], name: str) -> None:
    hub["imdb", None] = datasets.DatasetDict({"train": part("a", 0), name: part("b", 1)})
    assert read_rows("hf://imdb", split="valid").rows[0]["text"] == "b"


def test_a_withheld_class_is_missing(hub: dict[Any, Any]) -> None:
    hub["imdb", None] = datasets.DatasetDict(test=part("a", -1))
    assert read_rows("hf://imdb", split="test").rows[0]["label"] is None


def test_a_split_that_is_not_there_is_a_data_error_with_those_that_are(hub: dict[Any, Any]) -> None:
    hub["imdb", None] = datasets.DatasetDict(train=part("a", 0), unsupervised=part("b", 0))
    with pytest.raises(DataError, match="no split test; the data set has: train, unsupervised"):
        read_rows("hf://imdb", split="test")


@pytest.mark.parametrize("path", ["hf://nosuch", "hf://no/such", "hf://no/such/thing", "hf://", "hf://a/b/c/d"])
def test_an_unknown_data_set_is_a_setup_error_with_the_form_of_names(hub: dict[Any, Any], path: str) -> None:
    with pytest.raises(SetupError, match=r"no such data set.*hf://owner/name") as caught:
        read_rows(path)
    assert path in str(caught.value)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("error", [ConnectionError("Couldn't reach it"), RuntimeError("scripts are not supported")])
def test_an_unreachable_data_set_is_a_setup_error_with_its_cause(hub: dict[Any, Any], error: Exception) -> None:
    hub["imdb", None] = error
    with pytest.raises(SetupError, match=rf"{error}.*check the network"):
        read_rows("hf://imdb")


def test_without_a_network_a_cached_configuration_is_found(hub: dict[Any, Any]) -> None:
    hub["glue/mrpc", None] = ConnectionError("Couldn't reach it")
    hub["glue", "mrpc"] = datasets.DatasetDict(train=part("cached", 0))
    assert read_rows("hf://glue/mrpc").rows[0]["text"] == "cached"


def test_an_unknown_configuration_is_a_data_error(hub: dict[Any, Any]) -> None:
    hub["glue", None] = ValueError("Config name is missing. Please pick one among: mrpc, sst2")
    with pytest.raises(DataError, match="pick one among: mrpc, sst2"):
        read_rows("hf://glue")


@pytest.mark.parametrize("saved", [False, True])
def test_without_what_reads_data_sets_an_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, saved: bool
) -> None:
    if saved:
        part("a", 0).save_to_disk(tmp_path / "saved")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SetupError, match=r"needs datasets, which is not installed here: pip install 'jenga\[hub\]'"):
        read_rows(str(tmp_path / "saved") if saved else "hf://snips", split="train")


def test_parquet_files_that_tell_names_of_classes_are_read_with_them(tmp_path: Path) -> None:
    part("hello", 1).to_parquet(tmp_path / "rows.parquet")
    assert read_rows(str(tmp_path / "rows.parquet")).rows == [{"text": "hello", "label": "yes", "tags": ["O", "B-x"]}]


@pytest.mark.parametrize("said", [b"", b"[]", b'{"info": null}', b'{"info": {"features": {"label": 3}}}'])
def test_other_metadata_of_parquet_files_changes_nothing(tmp_path: Path, said: bytes) -> None:
    rows = pyarrow.table({"label": [1, 0]}).replace_schema_metadata({b"huggingface": said})
    pyarrow.parquet.write_table(rows, tmp_path / "rows.parquet")
    assert read_rows(str(tmp_path / "rows.parquet")).rows == [{"label": 1}, {"label": 0}]


@pytest.mark.parametrize(
    ("kept", "label", "expected"),
    [(["text"], None, {"text": "hello"}), (["text", "label"], "yes", {"text": "hello", "label": "yes"})],
    ids=["dropped", "named already"],
)
def test_a_note_of_classes_that_a_file_has_no_more_changes_nothing(
    tmp_path: Path, kept: list[str], label: str | None, expected: dict[str, Any]
) -> None:
    rows = part("hello", 1).with_format("arrow")[:].select(kept)
    if label is not None:
        rows = rows.set_column(1, "label", pyarrow.array([label]))
    pyarrow.parquet.write_table(rows, tmp_path / "rows.parquet")
    assert b"huggingface" in pyarrow.parquet.read_schema(tmp_path / "rows.parquet").metadata
    assert read_rows(str(tmp_path / "rows.parquet")).rows == [expected]


def test_a_class_without_a_name_is_a_data_error(tmp_path: Path) -> None:
    rows = part("hello", 1).with_format("arrow")[:]
    meant = datasets.Features({**FEATURES, "label": datasets.ClassLabel(names=["no"])}).arrow_schema.metadata
    pyarrow.parquet.write_table(rows.replace_schema_metadata(meant), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"rows\.parquet: 1 is the number of no class; there are 1, no first"):
        read_rows(str(tmp_path / "rows.parquet"))


def test_a_data_set_of_the_hub_is_streamed_from_its_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = [str(tmp_path / f"{at}.parquet") for at in range(2)]
    for at, file in enumerate(files):
        part(f"row {at}", at).to_parquet(file)
    builder = datasets.load_dataset_builder("parquet", data_files={"train": files, "test": files[:1]})

    def load(name: str, configuration: str) -> Any:
        assert (name, configuration) == ("owner/name", "part")
        return builder

    monkeypatch.setattr(datasets, "load_dataset_builder", load)
    found = streamed_files("hf://owner/name/part", FileForm())
    assert [list(reading_of(file, FileForm())[1](lambda *_: None)) for file in found] == [
        [(1, {"text": "row 0", "label": "no", "tags": ["O", "B-x"]})],
        [(1, {"text": "row 1", "label": "yes", "tags": ["O", "B-x"]})],
    ]
