"""Data sets of the Hugging Face hub as rows."""

from __future__ import annotations

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
    return rows_of_split(path, _hub_splits(path), split)


def rows_of_split(path: str, dataset: Any, split: str) -> list[Any]:
    """Return the rows of one split of a data set that has several. Raises DataError where it lacks the split."""
    names = _SPLITS.get(split, (split,))
    found = next((name for name in names if name in dataset), None)
    if found is None:
        raise DataError(f"{path}: no split {' or '.join(names)}; the data set has: {', '.join(map(str, dataset))}")
    return with_class_names(dataset[found])


def library(path: str) -> Any:
    """Return the package that reads the data set at `path`. Raises SetupError where it is not installed."""
    need = f"{path}: a data set of the hub, or one that save_to_disk wrote, needs datasets"
    return required("datasets", extra="hub", need=need)


def _hub_splits(path: str) -> Any:
    load_dataset = library(path).load_dataset
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
            return load_dataset(name, configuration)
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


def with_class_names(dataset: Any) -> list[Any]:
    """Return the rows of a data set, class ids as their names."""
    from datasets import ClassLabel

    rows: list[Any] = []
    for part in dataset.with_format("arrow").iter(batch_size=_AT_ONCE):
        rows += spooled(part.to_pylist())
    for column, feature in dataset.features.items():
        inner = getattr(feature, "feature", feature)
        if isinstance(inner, ClassLabel):
            for row in rows:
                row[column] = _class_names(row[column], inner.names)
    return rows


def _class_names(value: Any, names: list[str]) -> Any:
    if isinstance(value, list):
        return [_class_names(each, names) for each in value]
    # The hub's data sets write -1 where a label is withheld.
    return None if value is None or value < 0 else names[value]
