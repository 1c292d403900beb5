"""Data sets of the hub, with the hub itself stood in for: no test needs a network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets.exceptions import DatasetNotFoundError

from jenga.errors import DataError, SetupError
from jenga.rows.readers import read_rows

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
