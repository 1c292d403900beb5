"""Answers to many rows over Ray Data: numbered parts of JSON Lines in a folder, each written whole or not at all.

Ray hands out places in files and no rows: each worker reads its part where it lies, as one process reads a file. So a
broken line has its answer as everywhere, the answers never travel, and what was written is not scored again, whatever
was interrupted. Ray (the extra ``jenga[ray]``) is imported only by `score`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jenga import __version__, errors
from jenga.errors import ConfigError, DataError, JengaError, SetupError
from jenga.extras import required
from jenga.files import atomic_file, write_atomic
from jenga.inference.parts import Part, as_file, digest_of, files_of, in_place, parts_of
from jenga.inference.predictor import PIECE_ROWS
from jenga.inference.processes import Asked
from jenga.inference.reading import Plan
from jenga.inference.written import written
from jenga.rows.raw import RawRows
from jenga.saved import find_model, fingerprint

MANIFEST = "scoring.json"
TRIES = 3
"""Workers that a part is given, one after the other, where each of them dies of it."""
_COUNTS = ("rows", "unusable", "failed")


@dataclass(frozen=True)
class Scored:
    """What `score` wrote. `parts`: files in the order of the rows; `kept`: how many of them were there already.

    `rows`, `unusable`, `failed`: of all parts, as in `jenga.inference.written.Written`.
    """

    parts: list[Path]
    kept: int
    rows: int
    unusable: int
    failed: int


def score(
    paths: str | Sequence[str],
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    concurrency: int = 1,
    rows_per_part: int = 4 * PIECE_ROWS,
    batch_size: int | None = None,
    probabilities: bool = False,
    drivers: bool = True,
    keep: Sequence[str] = (),
    device: str = "auto",
    base_model: str | None = None,
    trust_remote_code: bool = False,
    runtime: str | None = None,
    num_cpus: float = 1,
    num_gpus: float = 0,
    address: str | None = None,
) -> Scored:
    """Write the answers of `model` to the rows of `paths` to numbered files in the folder `output`, by Ray workers.

    paths: JSON Lines and Parquet files, or patterns of them; like `model` and `output` in a folder that every worker
    sees at the same place. Put one after the other, the parts are what `jenga predict` writes of each file in turn.
    concurrency: workers, each with one model, `num_cpus` processors and `num_gpus` GPUs. rows_per_part: a multiple of
    4,096. address: of a Ray cluster; None: that of this process, or one that is started for as long as this takes. The
    rest as in `load`, `Predictor.session` and `Predictor.predict`.

    A folder that holds parts of the same model, files and settings already is gone on with: parts that are whole stay.
    Raises ConfigError where it holds others, or for a model that reads what came before a row; DataError where
    rows cannot be read or all of them are unusable; SetupError without Ray, or where workers keep dying.
    """
    if rows_per_part < 1 or rows_per_part % PIECE_ROWS:
        raise ConfigError(f"rows_per_part: got {rows_per_part}; allowed: multiples of {PIECE_ROWS:,}")
    asked = Asked(
        os.path.abspath(model),
        device,
        base_model,
        trust_remote_code,
        tuple(keep),
        batch_size,
        probabilities,
        drivers,
        runtime,
    )
    if asked.predictor().inputs.ordered:
        raise ConfigError(
            f"{model}: the model reads what came before a row, which parts that are scored apart do not know; "
            "use jenga predict --processes"
        )
    files, folder = files_of(paths), Path(output).absolute()
    parts = [part for path in files for part in parts_of(path, rows_per_part)]
    if not parts:
        raise DataError(f"{', '.join(files)}: there are no rows")
    _settle(folder, _identity(asked, files, rows_per_part))
    found = {at: record for at in range(len(parts)) if (record := _whole(folder, at)) is not None}
    for stale in folder.glob("*.tries"):  # of workers that died in a scoring before
        stale.unlink()
    kept = len(found)
    todo = [{"number": at, **asdict(part)} for at, part in enumerate(parts) if at not in found]
    if todo:
        with _cluster(address) as ray:
            pool = ray.data.ActorPoolStrategy(size=min(concurrency, len(todo)))
            found |= _scored(ray, todo, asked, folder, compute=pool, num_cpus=num_cpus, num_gpus=num_gpus)
    sums = {name: sum(record[name] for record in found.values()) for name in _COUNTS}
    if sums["rows"] == sums["failed"]:
        raise DataError(f"none of the {sums['rows']} rows can be used; each one's 'error' in {folder} says why")
    return Scored([folder / _name(at) for at in range(len(parts))], kept, **sums)


class ScoreParts:
    """What each worker is: a model, which answers parts and writes them to `folder`."""

    def __init__(self, asked: Asked, folder: str) -> None:
        self._asked, self._folder = asked, Path(folder)
        self._predictor = asked.predictor()
        self._plan = functools.lru_cache(maxsize=8)(self._plan_of)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Answer the parts of `batch`, columns with the fields of `Part` and its `number`.

        Return what was counted of each; `error` and its `words` say why one is not written, in place of raising it,
        which Ray would wrap.
        """
        made = []
        for at, number in enumerate(batch["number"].tolist()):
            fields = {name: int(batch[name][at]) for name in ("begin", "end", "before")}
            record: dict[str, Any] = {"number": number, **dict.fromkeys(_COUNTS, 0), "error": "", "words": ""}
            try:
                record |= self._once(Part(str(batch["path"][at]), **fields), number)
            except JengaError as error:
                record |= {"error": type(error).__name__, "words": str(error)}
            made.append(record)
        return {name: [each[name] for each in made] for name in ("number", *_COUNTS, "error", "words")}

    def _once(self, part: Part, number: int) -> dict[str, int]:
        """Answer a part. Raises SetupError where too many workers died at it: Ray would try for ever."""
        tries = self._folder / f"{_name(number)}.tries"
        if tries.exists() and tries.stat().st_size >= TRIES:
            raise SetupError(
                f"{part.place}: {TRIES} workers died at these rows, most likely for want of memory; lower batch_size "
                "or concurrency and score again, which goes on with what is there"
            )
        with tries.open("a") as file:
            file.write("x")
        try:
            return self._write(part, number)
        finally:
            tries.unlink()

    def _write(self, part: Part, number: int) -> dict[str, int]:
        counts = dict.fromkeys(_COUNTS, 0)
        digest = hashlib.sha256()
        with atomic_file(self._folder / _name(number)) as file:
            for some in written(self._answers(part), frozenset(self._predictor.model.tasks), whole=False):
                file.write(some.text)
                digest.update(some.text)
                counts = {name: count + getattr(some, name) for name, count in counts.items()}
        # Last, so that a part with it is whole.
        write_atomic(self._folder / _record(number), json.dumps({**counts, "sha256": digest.hexdigest()}))
        return counts

    def _answers(self, part: Part) -> Iterator[dict[str, Any]]:
        rows = self._read(part)
        for piece, encoder in self._predictor.pieces(rows):
            yield from self._asked.answers(self._predictor, piece, self._plan(part.path), encoder)

    def _read(self, part: Part) -> RawRows:
        with as_file(part) as path:
            try:
                return in_place(self._predictor.read(path), part)
            except DataError as error:
                raise DataError(f"{part.place}: {str(error).replace(path, part.path)}") from None

    def _plan_of(self, path: str) -> Plan:
        """Return how the rows of a file are read: as its beginning says, whatever a part lacks."""
        return self._predictor.plan(self._read(parts_of(path, PIECE_ROWS)[0]))


def _scored(
    ray: Any, todo: list[dict[str, Any]], asked: Asked, folder: Path, **workers: Any
) -> dict[int, dict[str, int]]:
    """Return what was counted of each part, by its number."""
    data = ray.data.from_items(todo, override_num_blocks=len(todo)).map_batches(
        ScoreParts, fn_constructor_args=[asked, str(folder)], batch_size=1, batch_format="numpy", **workers
    )
    found = {}
    for row in data.iter_rows():
        if row["error"]:
            kind: type[JengaError] = getattr(errors, row["error"], JengaError)
            raise kind(row["words"])
        found[int(row["number"])] = {name: int(row[name]) for name in _COUNTS}
    return found


def _identity(asked: Asked, files: Sequence[str], rows_per_part: int) -> dict[str, Any]:
    """Return what decides the answers and where they stand."""
    shown = {name: value for name, value in asdict(asked).items() if name not in ("run", "device", "base_model")}
    return {
        "format": 1,
        "model": fingerprint(find_model(asked.run)),
        "files": [{"path": path, "bytes": os.path.getsize(path), "sha256": digest_of(path)} for path in files],
        "rows_per_part": rows_per_part,
        **json.loads(json.dumps(shown)),
        "written_by": __version__,
    }


def _settle(folder: Path, identity: Mapping[str, Any]) -> None:
    """Make the folder that of this scoring. Raises ConfigError where it is another's."""
    manifest = folder / MANIFEST
    if not manifest.exists():
        if folder.is_dir() and any(folder.iterdir()):
            raise ConfigError(f"{folder}: holds other files; name a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(manifest, json.dumps(identity, indent=1))
        return
    try:
        known = json.loads(manifest.read_text())
    except ValueError:
        known = {}
    if differing := [name for name in identity if known.get(name) != identity[name]]:
        raise ConfigError(
            f"{folder}: holds answers with another {', '.join(differing)} ({manifest}); name a new folder, or remove it"
        )


def _whole(folder: Path, number: int) -> dict[str, int] | None:
    """Return what was counted of a part that is there unharmed; None where it is not."""
    try:
        record = json.loads((folder / _record(number)).read_text())
        if digest_of(str(folder / _name(number))) != record.pop("sha256"):
            return None
    except (OSError, ValueError, KeyError):
        return None
    return {name: int(record[name]) for name in _COUNTS}


def _name(number: int) -> str:
    return f"part-{number:06}.jsonl"


def _record(number: int) -> str:
    return f"part-{number:06}.json"


@contextlib.contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    """Yield Ray, connected; a connection that is made here ends with the block."""
    # Ray would tell its makers of each use.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = required("ray", extra="ray", need="scoring over Ray needs Ray")
    required("ray.data", extra="ray", need="scoring over Ray needs Ray Data")
    if ray.is_initialized():
        yield ray
        return
    started = address is None and "RAY_ADDRESS" not in os.environ
    ray.init(log_to_driver=False, **({"include_dashboard": False} if started else {"address": address}))
    try:
        yield ray
    finally:
        ray.shutdown()
