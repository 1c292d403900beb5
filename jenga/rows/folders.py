"""Folders of files of rows, and patterns of their names, as one file; data sets that were saved to a folder."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from jenga.errors import DataError
from jenga.rows.hub import library, rows_of_split, with_class_names
from jenga.rows.raw import BadRow, RawRows
from jenga.rows.storage import files_below, suffixes

_SAVED, _SEVERAL = "dataset_info.json", "dataset_dict.json"


def has_splits(folder: str) -> bool:
    """Whether several splits were saved to `folder`, with `datasets.DatasetDict.save_to_disk`."""
    return "://" not in folder and (Path(folder) / _SEVERAL).is_file()


def is_saved(folder: str) -> bool:
    """Whether a data set was saved to `folder`, with `datasets.Dataset.save_to_disk`, in one split or several."""
    return "://" not in folder and (has_splits(folder) or (Path(folder) / _SAVED).is_file())


def saved_rows(folder: str, split: str) -> list[Any]:
    """Return the rows of a data set that was saved to `folder`, class ids as their names; of one of its splits.

    Raises DataError where it lacks the split, or is damaged; SetupError without what reads it.
    """
    datasets = library(folder)
    try:
        found = datasets.load_from_disk(folder)
        several = isinstance(found, datasets.DatasetDict)
        return rows_of_split(folder, found, split) if several else with_class_names(folder, found)
    except DataError:
        raise
    except Exception as error:  # arrow's, JSON's and the file system's own
        raise DataError(
            f"{folder}: the data set that was saved here cannot be read ({type(error).__name__}: {error}); save it "
            "again with save_to_disk"
        ) from error


def parts_of(folder: str, kinds: Collection[str] | None) -> list[str]:
    """Return the files of rows in a folder. Raises DataError where there are none, or files of several kinds.

    kinds: their suffixes; None: any. Logs beside files of rows are those of some program, and none of them.
    """
    found = [name for name in files_below(folder) if kinds is None or suffixes(name)[0] in kinds]
    rows = [name for name in found if suffixes(name)[0] != ".log"]
    return checked(folder, found if kinds is None else rows or found)


def checked(place: str, files: Sequence[str]) -> list[str]:
    """Return `files`, which `place` stands for. Raises DataError where there are none, or files of several kinds."""
    found = sorted({suffixes(name)[0] for name in files})
    if not files:
        raise DataError(f"{place}: there are no files of rows. Check data_path and data_root")
    if len(found) > 1:
        raise DataError(
            f"{place}: holds files of several kinds ({', '.join(found)}), of which some may be no rows; name one kind, "
            f"such as {place.rstrip('/')}/*{found[0]}, or the files as a list"
        )
    return list(files)


def joined(place: str, files: Sequence[str], read: Callable[[str], RawRows]) -> RawRows:
    """Return the rows of `files` as those of one, numbered from 1 throughout; read: called with each."""
    whole = RawRows(place)
    rows: list[dict[str, Any]] = []
    in_whole: list[int] = []
    at = 0
    for name in files:
        part = read(name)
        numbers = sorted([*part.numbers, *(bad.number for bad in part.bad)])
        place_in = {number: at + position for position, number in enumerate(numbers, start=1)}
        rows += part.rows
        in_whole += [place_in[number] for number in part.numbers]
        whole.bad += [
            BadRow(place, place_in[bad.number], f"{name}:{bad.number}: {bad.reason}", bad.raw) for bad in part.bad
        ]
        whole.told += part.told
        whole.table |= part.table
        at += len(numbers)
    whole.rows, whole.numbers = rows, in_whole
    return whole
