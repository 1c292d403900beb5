"""The refinery on more than one machine: over Ray Data, over Arrow batches, and fitted shard by shard.

Ray (the extra ``jenga[ray]``) is imported only by `fit_shards`; `RefineBatches` is what Ray Data's `map_batches` takes.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jenga.errors import ConfigError, printable
from jenga.extras import required
from jenga.refinery.calls import Call
from jenga.refinery.estimator import KEPT_RECORDS, SAMPLE_ROWS, SecurityRefinery
from jenga.refinery.quarantine import BadRowLimit
from jenga.refinery.threads import thread_count
from jenga.workers import in_order

if TYPE_CHECKING:
    import pyarrow as pa

    from jenga.refinery.result import Refined


class RefineBatches:
    """Turns batches into features: ``dataset.map_batches(RefineBatches, fn_constructor_args=[state], concurrency=4)``.

    `state`: path of a fitted state that every worker can read. `column`: the column that holds each row as JSON (text
    or bytes); None: the batch's columns are the fields. `keep`: columns that are handed on, less the rows set aside.
    `n_threads`: threads of one worker.

    Each batch is one `transform`, so the time between rows starts anew in each; a batch format of "numpy", "pandas" or
    "pyarrow" will do. A worker raises DataError once more than the state's `max_bad_fraction` of its rows are bad,
    judged from 1,000 rows on.
    """

    def __init__(
        self,
        state: str | os.PathLike[str],
        *,
        column: str | None = None,
        keep: Sequence[str] = (),
        output: str = "features",
        n_threads: int = 1,
    ) -> None:
        self._refinery = SecurityRefinery.load(state)
        told = [field.path for field in self._refinery.schema_.fields if field.kind == "history"]
        if told:
            raise ConfigError(
                f"{os.fspath(state)}: '{printable(told[0])}' tells of the rows before, and batches come apart, in any "
                "order; use refine_record_batches, or a schema without histories"
            )
        self._limit = BadRowLimit(self._refinery.max_bad_fraction)
        self._refinery.set_params(max_bad_fraction=1.0, n_threads=n_threads)
        self._column, self._keep, self._output = column, tuple(keep), output

    def __call__(self, batch: Any) -> dict[str, Any]:
        """Return float32 ``(M, F)`` under the name `output`, and the columns to keep, of the M good rows of `batch`."""
        table = _as_table(batch)
        refined = self._refinery.refine(table if self._column is None else table.column(self._column).to_pylist())
        self._limit.add(len(refined.numbers), refined.quarantine)
        kept = refined.numbers - 1
        columns = {name: table.column(name).to_numpy()[kept] for name in self._keep}
        return {self._output: refined.features, **columns}


def refine_record_batches(
    refinery: SecurityRefinery, batches: Iterable[pa.RecordBatch], *, output: str = "features"
) -> Iterator[pa.RecordBatch]:
    """Yield a batch for each of `batches` with a column `output`, a fixed-size list of F float32 values.

    They are one stream: the time between rows goes on from batch to batch. Rows that lack a required field are left
    out. Raises DataError where too many are.
    """
    import pyarrow as pa

    for part in refinery.stream(iter(batches)):
        yield pa.record_batch([_list_column(part)], names=[output])


def _list_column(part: Refined) -> Any:
    import pyarrow as pa

    features = np.ascontiguousarray(part.features, np.float32)
    return pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1])


def _as_table(batch: Any) -> pa.Table:
    import pyarrow as pa

    if isinstance(batch, pa.Table):
        return batch
    if hasattr(batch, "iloc"):
        return pa.Table.from_pandas(batch, preserve_index=False)
    return pa.table({name: pa.array(np.asarray(values), from_pandas=True) for name, values in batch.items()})


# ------------------------------------------------------------------------------------------------------------- fitting


def fit_shards(refinery: SecurityRefinery, shards: Sequence[Any], *, num_cpus: float = 1) -> SecurityRefinery:
    """Return `refinery` fitted on all `shards`, each of them by a Ray task of `num_cpus` processors.

    `shards`: paths that every worker can read, or rows. Without a preset or schema, the first shard is what the schema
    is inferred from. The order of the shards decides the last bits, the number of workers nothing. Raises SetupError
    without Ray, and what `fit` raises.
    """
    ray = _ray()
    first = _with_schema(refinery, shards[0])
    remote = ray.remote(num_cpus=num_cpus)(_fit_one)
    tasks = [remote.remote(first, shard) for shard in shards]
    return _merged(refinery, (ray.get(task) for task in tasks))


def fit_files(refinery: SecurityRefinery, files: Sequence[str], *, processes: int = 1) -> SecurityRefinery:
    """Return `refinery` fitted on all `files`, each of them by itself, by `processes` processes of this machine.

    The rest as in `fit_shards`: the same files give the same bytes there and here.
    """
    first = _with_schema(refinery, files[0])
    if processes == 1:
        return _merged(refinery, (_fit_one(first, file) for file in files))
    threads = max(1, thread_count(refinery.n_threads) // processes)
    first.set_params(n_threads=threads)
    begin = functools.partial(functools.partial, _fit_one, first)
    fitted = in_order(begin, files, processes=processes, threads=threads, place=str)
    with contextlib.closing(fitted):
        return _merged(refinery, fitted)


def merge_states(paths: Sequence[str | os.PathLike[str]]) -> SecurityRefinery:
    """Return the sum of fitted states in files, in their order. Raises ConfigError where their schemas differ."""
    fitted = SecurityRefinery.load(paths[0])
    for path in paths[1:]:
        fitted.merge(SecurityRefinery.load(path))
    return fitted


def _fit_one(refinery: SecurityRefinery, shard: Any) -> SecurityRefinery:
    """Fit on one shard. How many rows are bad, and what is told of fields, is for all of them together to say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        refinery.set_params(max_bad_fraction=1.0)
        return refinery.fit(shard)


def _merged(refinery: SecurityRefinery, shards: Iterable[SecurityRefinery]) -> SecurityRefinery:
    """Give `refinery` what `shards` were fitted on; its settings stay. Raises DataError for too many bad rows."""
    fitted: SecurityRefinery | None = None
    call: Call | None = None
    for shard in shards:
        call = call or Call(shard.counters_.paths, refinery.max_bad_fraction, KEPT_RECORDS)
        call.add(shard.n_rows_seen_, shard.quarantine_, shard.n_quarantined_, shard.counters_)
        # In one process all of them are one object, and what Ray hands back cannot be written to.
        fitted = copy.deepcopy(shard) if fitted is None else fitted.merge(shard)
    assert fitted is not None
    assert call is not None
    call.end(fitted=True)
    for name, value in vars(fitted).items():
        if name.endswith("_"):
            setattr(refinery, name, value)
    refinery.counters_, refinery.quarantine_, refinery.n_quarantined_ = call.counters, call.records, call.n_bad
    return refinery


def _with_schema(refinery: SecurityRefinery, shard: Any) -> SecurityRefinery:
    from sklearn.base import clone

    from jenga.refinery.inputs import chunks_for, settled_schema

    made: SecurityRefinery = clone(refinery)
    chunks = chunks_for(made, shard, reset=True)
    again = functools.partial(chunks_for, made, shard)
    schema, _ = settled_schema(made.preset, made.schema, shard, chunks, SAMPLE_ROWS, again)
    made.set_params(preset=None, schema=schema)
    return made


def _ray() -> Any:
    return required("ray", extra="ray", need="fitting shards needs Ray")
