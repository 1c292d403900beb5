"""The refinery on more than one machine: over Ray Data, over Arrow batches, and fitted shard by shard.

Ray (the extra ``jenga[ray]``) is imported only by `fit_shards`; `RefineBatches` is what Ray Data's `map_batches` takes.
"""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jenga.errors import SetupError
from jenga.refinery.estimator import SecurityRefinery
from jenga.refinery.quarantine import BadRowLimit

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
    # What Ray hands back lies in its store, which cannot be written to.
    fitted: SecurityRefinery = copy.deepcopy(ray.get(tasks[0]))
    for task in tasks[1:]:
        fitted.merge(ray.get(task))
    return _settled(refinery, fitted)


def merge_states(paths: Sequence[str | os.PathLike[str]]) -> SecurityRefinery:
    """Return the sum of fitted states in files, in their order. Raises ConfigError where their schemas differ."""
    fitted = SecurityRefinery.load(paths[0])
    for path in paths[1:]:
        fitted.merge(SecurityRefinery.load(path))
    return fitted


def _fit_one(refinery: SecurityRefinery, shard: Any) -> SecurityRefinery:
    return refinery.fit(shard)


def _with_schema(refinery: SecurityRefinery, shard: Any) -> SecurityRefinery:
    from sklearn.base import clone

    from jenga.refinery.estimator import SAMPLE_ROWS
    from jenga.refinery.inputs import chunks_for, settled_schema

    made: SecurityRefinery = clone(refinery)
    chunks = chunks_for(made, shard, reset=True)
    again = functools.partial(chunks_for, made, shard)
    schema, _ = settled_schema(made.preset, made.schema, shard, chunks, SAMPLE_ROWS, again)
    made.set_params(preset=None, schema=schema)
    return made


def _settled(refinery: SecurityRefinery, fitted: SecurityRefinery) -> SecurityRefinery:
    """Give the fitted attributes to the refinery that was asked for, whose settings stay as they are."""
    for name, value in vars(fitted).items():
        if name.endswith("_"):
            setattr(refinery, name, value)
    return refinery


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise SetupError("fitting shards needs Ray; install it with: pip install 'jenga[ray]'") from None
    return ray
