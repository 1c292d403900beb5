"""Data sets of the Hugging Face hub as rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jenga.errors import DataError, SetupError
from jenga.extras import required
from jenga.rows.spooled import spooled

HUB = "hf://"
_AT_ONCE = 1000
_SPLITS = {"train": ("train",), "valid": ("validation", "valid", "dev"), "test": ("test",)}


def is_hub(path: str) -> bool:
    """Whether `path` names a data set of the hub, and not one of its files, as ``hf://datasets/`` does."""
    return path.startswith(HUB) and not path.startswith(f"{HUB}datasets/")


def hub_rows(path: str, split: str) -> list[Any]:
    """Return the rows of one split of ``hf://name`` or ``hf://name/configuration``, class ids as their names.

    Raises SetupError when the hub cannot be reached or has no such data set, DataError for a split or configuration
    that the data set lacks.
    """
    return rows_of_split(path, _asked(path, library(path).load_dataset), split)


def hub_files(path: str) -> list[str]:
    """Return the addresses of the files that the training rows of ``hf://name`` or ``hf://name/configuration`` are in.

    Raises as `hub_rows` does.
    """
    files = _asked(path, library(path).load_dataset_builder).config.data_files or {}
    return list(map(str, _of_split(path, files, "train")))


def rows_of_split(path: str, dataset: Any, split: str) -> list[Any]:
    """Return the rows of one split of a data set that has several. Raises DataError where it lacks the split."""
    return with_class_names(path, _of_split(path, dataset, split))


def _of_split(path: str, splits: Any, split: str) -> Any:
    names = _SPLITS.get(split, (split,))
    found = next((name for name in names if name in splits), None)
    if found is None:
        raise DataError(f"{path}: no split {' or '.join(names)}; the data set has: {', '.join(map(str, splits))}")
    return splits[found]


def library(path: str) -> Any:
    """Return the package that reads the data set at `path`. Raises SetupError where it is not installed."""
    need = f"{path}: a data set of the hub, or one that save_to_disk wrote, needs datasets"
    return required("datasets", extra="hub", need=need)


def _asked(path: str, load: Callable[[str, str | None], Any]) -> Any:
    """Return what the hub has under the name that `path` is, by `load` of name and configuration."""
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    parts = path.removeprefix(HUB).strip("/").split("/")
    # Of two parts the first may be the owner, or the name of a data set without an owner.
    attempts: dict[int, list[tuple[str, str | None]]] = {
        1: [(parts[0], None)],
        2: [("/".join(parts), None), (parts[0], parts[-1])],
        3: [("/".join(parts[:2]), parts[-1])],
    }
    failure: Exception | None = None
    for name, configuration in attempts.get(len(parts), []) if all(parts) else []:
        try:
            return load(name, configuration)
        except DatasetNotFoundError:
            continue
        except ValueError as error:
            raise DataError(f"{path}: {error}") from None
        except (DatasetsError, OSError, RuntimeError) as error:
            # Go on: without a network the next reading of the name may be in the cache.
            failure = error
    if failure is not None:
        raise SetupError(
            f"{path}: the hub's data set cannot be had ({failure}); check the network, or download it and "
            "set data_path to its files"
        )
    raise SetupError(
        f"{path}: the hub knows no such data set, or it is private. Write {HUB}owner/name or "
        f"{HUB}owner/name/configuration; for a private one log in first, with: hf auth login"
    )


def with_class_names(path: str, dataset: Any) -> list[Any]:
    """Return the rows of a data set, class ids as their names."""
    from datasets import ClassLabel

    rows: list[Any] = []
    for part in dataset.with_format("arrow").iter(batch_size=_AT_ONCE):
        rows += spooled(part.to_pylist())
    inner = {column: getattr(feature, "feature", feature) for column, feature in dataset.features.items()}
    name_classes(path, rows, {column: each.names for column, each in inner.items() if isinstance(each, ClassLabel)})
    return rows


def classes_told(schema: Any) -> dict[str, list[str]]:
    """Return the names of the classes by column that `datasets` has noted in the Arrow schema of a Parquet file.

    Of columns of whole numbers alone: the note stays where others are dropped, or names stand in them already.
    """
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"].items()
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}  # the file is another program's, or tells of no features
    found = {column: _names_of(feature) for column, feature in features}
    numbered = {field.name for field in schema if _is_numbered(field.type)}
    return {column: names for column, names in found.items() if names and column in numbered}


def _names_of(feature: Any) -> list[str] | None:
    own = feature
    if isinstance(own, dict) and own.get("_type") != "ClassLabel":
        own = own.get("feature")
    if isinstance(own, list) and len(own) == 1:  # how lists were noted once
        own = own[0]
    names = own.get("names") if isinstance(own, dict) and own.get("_type") == "ClassLabel" else None
    return list(map(str, names)) if isinstance(names, list) else None


def _is_numbered(kind: Any) -> bool:
    from pyarrow import types

    while types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        kind = kind.value_type
    return bool(types.is_integer(kind))


def name_classes(path: str, rows: Iterable[dict[str, Any]], names: Mapping[str, list[str]]) -> None:
    """Put names in place of the classes' numbers, by column. Raises DataError for one of `path` that has no name."""
    for column, own in names.items():
        for row in rows:
            row[column] = _class_names(path, row[column], own)


def _class_names(path: str, value: Any, names: list[str]) -> Any:
    if isinstance(value, list):
        return [_class_names(path, each, names) for each in value]
    # The hub's data sets write -1 where a label is withheld.
    if value is None or (isinstance(value, int) and value < 0):
        return None
    if not isinstance(value, int) or value >= len(names):
        raise DataError(f"{path}: {value!r} is the number of no class; there are {len(names)}, {names[0]} first")
    return names[value]
