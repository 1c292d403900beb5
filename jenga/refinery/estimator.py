"""SecurityRefinery: a scikit-learn transformer from events to features, over the native refinery."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from jenga.errors import ConfigError
from jenga.refinery import inputs
from jenga.refinery.calls import Call, level_of_caller
from jenga.refinery.plan import CompiledPlan, DuplicatePolicy, NaNPolicy, Validate, compile_plan, extraction_plan
from jenga.refinery.result import RawColumns, Refined
from jenga.refinery.schema import RefinerySchema
from jenga.refinery.state import State, load_state, save_state
from jenga.refinery.statistics import RawBlock, Statistics, join_blocks, reblock

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from jenga.refinery.buffer import FeatureBuffer
    from jenga.refinery.engine import Engine, Pace, RefinedChunk
    from jenga.refinery.histories import Histories

SAMPLE_ROWS = 10_000
"""Rows that a schema is inferred from at most."""
KEPT_RECORDS = 10_000
"""Quarantine records that `fit` keeps, so that its memory does not grow with the rows."""

_CHOICES = {
    "validate": ("strict", "fast"),
    "nan": ("quarantine", "missing"),
    "duplicates": ("last", "quarantine"),
    "on_bad": ("drop", "missing"),
    "output": ("numpy", "torch"),
}


class SecurityRefinery(TransformerMixin, BaseEstimator):
    """Turn events into a dense float32 tensor without NaN or infinity.

    `preset`: name of a built-in schema; `schema`: a schema, plain data or a YAML file; with neither, `fit` infers one
    from up to 10,000 rows spread over X (the first ones of what can be read only once). `validate`: "strict" checks
    every byte of a row, "fast" only what the fields touch. `nan`: what becomes of rows with NaN or Infinity.
    `duplicates`: what a repeated key does to a row. `on_bad`: "drop" leaves bad rows out of the features; "missing"
    keeps each in its place with every value missing, so that answers, or `y`, stay beside their rows; none is learnt
    from. `max_bad_fraction`: share of bad rows above which a call raises DataError. `n_threads`: None takes all cores;
    the result never depends on it, nor on `chunk_bytes`, the size of what is read at a time. `redact`: keep no bytes of
    bad rows. `records`: where the list of rows stands in the object that a file, or bytes, of JSON is, as a path such
    as "result.events"; None: where well-known services have it.

    Wherever a method takes X: the path of a JSON, JSON Lines (also gzip or zstd), CSV or Parquet file; "-", standard
    input; bytes; a list or iterator of bytes, str or dict; a DataFrame or Arrow table; a 2-D array.

    After `fit`: `schema_`, `plan_`, `statistics_`, `feature_names_` and `feature_sources_` (the path each column comes
    from), `n_features_out_`, `n_rows_seen_`. After every call: `n_quarantined_`, `quarantine_` (of `fit` and
    `stream` the first 10,000 records), `counters_`; after `transform` and `refine` also `kept_rows_` int64 ``(M,)``,
    the 0-based lines, elements or positions of the rows that were kept. They are of the last call, whichever thread
    made it: what `refine` and `stream` return is of its own call, so threads may share a fitted refinery.
    """

    def __init__(
        self,
        *,
        preset: str | None = None,
        schema: RefinerySchema | dict[str, Any] | str | os.PathLike[str] | None = None,
        validate: Validate = "strict",
        nan: NaNPolicy = "quarantine",
        duplicates: DuplicatePolicy = "last",
        on_bad: Literal["drop", "missing"] = "drop",
        max_bad_fraction: float = 0.01,
        n_threads: int | None = None,
        output: Literal["numpy", "torch"] = "numpy",
        chunk_bytes: int = 8 << 20,
        redact: bool = False,
        records: str | None = None,
    ) -> None:
        self.preset = preset
        self.schema = schema
        self.validate = validate
        self.nan = nan
        self.duplicates = duplicates
        self.on_bad = on_bad
        self.max_bad_fraction = max_bad_fraction
        self.n_threads = n_threads
        self.output = output
        self.chunk_bytes = chunk_bytes
        self.redact = redact
        self.records = records

    # --------------------------------------------------------------------------------------------------------- fitting

    def fit(self, X: Any, y: Any = None) -> SecurityRefinery:  # noqa: N803 -- scikit-learn's name
        """Learn vocabularies, scales and the like from X, and nothing else; `y` is not looked at.

        Raises DataError for X without a usable row or with too many bad ones, ConfigError for wrong settings.
        """
        self._learn(X, None)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> SecurityRefinery:  # noqa: N803
        """Learn from X on top of what was learnt before. The first call settles the schema."""
        self._learn(X, getattr(self, "statistics_", None))
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Any:  # noqa: N803
        """Return `fit(X).transform(X)`; what can be read only once is held in memory."""
        source = inputs.replayable(X)
        return self.fit(source, y).transform(source)

    def merge(self, other: SecurityRefinery) -> SecurityRefinery:
        """Add what `other` was fitted on to what this one was fitted on. Raises ConfigError for another schema."""
        check_is_fitted(self)
        check_is_fitted(other)
        self.statistics_.merge(other.statistics_)
        self._settle(self.schema_, self.statistics_)
        # What was fitted apart has no order.
        self.histories_: Histories | None = None
        return self

    def carried(self) -> Pace:
        """Return the pace of rows that follow the ones fitted on: their histories go on from those.

        What is as late as the first row of an entity that follows, or later, does not count: rows that are fitted on
        and then transformed are not their own past. After `merge` nothing is carried.
        """
        from jenga.refinery.engine import Pace

        check_is_fitted(self)
        return Pace(None if self.histories_ is None else self.histories_.copy())

    def fit_behind(self, before: SecurityRefinery, source: Any) -> SecurityRefinery:
        """Learn as `fit` does from rows that follow those `before` was fitted on, of whose histories they are told."""
        self._learn(source, None, before.carried())
        return self

    def _learn(self, source: Any, known: Statistics | None, pace: Pace | None = None) -> None:
        self._check_settings()
        chunks = inputs.chunks_for(self, source, reset=known is None)
        if known is not None:
            schema = self.schema_
        else:
            schema, chunks = inputs.settled_schema(
                self.preset, self.schema, source, chunks, SAMPLE_ROWS, lambda: inputs.chunks_for(self, source)
            )
        compiled = self._compiled(schema, None)
        engine = self._engine(compiled, self.carried() if known is not None else pace)
        call = Call(engine.paths, self.max_bad_fraction, KEPT_RECORDS)
        self._show(call)
        fresh = Statistics(schema)
        for block in reblock(part.block for part in call.parts(engine, chunks)):
            fresh.update(block)
        self.n_quarantined_ = call.n_bad
        call.end(fitted=True)
        if known is not None:
            known.merge(fresh)
        self._settle(schema, fresh if known is None else known)
        self.histories_ = None if engine.pace.histories is None else engine.pace.histories.left()

    def _settle(self, schema: RefinerySchema, statistics: Statistics) -> None:
        compiled = self._compiled(schema, statistics)
        self.schema_, self.statistics_, self.compiled_ = schema, statistics, compiled
        self.plan_ = compiled.plan
        self.feature_names_ = list(compiled.feature_names)
        self.feature_sources_ = list(compiled.feature_sources)
        self.n_features_out_ = compiled.n_features
        self.n_rows_seen_ = statistics.n_rows

    # ---------------------------------------------------------------------------------------------------- transforming

    def transform(self, X: Any, *, out: NDArray[np.float32] | torch.Tensor | None = None) -> Any:  # noqa: N803
        """Return the features of the rows that are kept, float32 ``(M, F)``; `kept_rows_` tells which they are.

        `out`: C-contiguous float32 ``(at least M, F)`` to write them to; its first M rows are returned.
        """
        return self.refine(X, out=out).features

    def refine(
        self,
        X: Any,  # noqa: N803
        *,
        out: NDArray[np.float32] | torch.Tensor | None = None,
        pace: Pace | None = None,
    ) -> Refined:
        """Return features with the state of each value, counts, and the rows set aside. Arguments as in `transform`.

        `pace`: handed from call to call where rows come one after the other in several, so that the time since the row
        before is that of the call before, and histories go on; `carried()` for rows that follow those fitted on.
        """
        import torch

        from jenga.refinery.buffer import FeatureBuffer

        check_is_fitted(self)
        buffer = FeatureBuffer(self.n_features_out_, X, out)
        states = [np.empty((0, len(self.schema_.fields)), np.uint8)]
        numbers = [np.empty(0, np.int64)]
        told: list[NDArray[np.float64]] = []
        n_blank = 0
        call = Call(self._paths, self.max_bad_fraction, None)
        for part in self._parts(X, buffer, call, pace):
            told += [] if part.histories is None else [part.histories]
            states.append(part.states)
            numbers.append(part.numbers)
            n_blank += part.n_blank
        features = buffer.rows()
        kept, of_rows = np.concatenate(numbers), np.concatenate(states)
        histories = np.concatenate(told) if told else None
        if (np.diff(kept) < 0).any():
            # Rows that were not even cut out come first of their chunk.
            order = np.argsort(kept, kind="stable")
            kept, of_rows, features[:] = kept[order], of_rows[order], features[torch.from_numpy(order)]
            histories = None if histories is None else histories[order]
        self.kept_rows_ = kept - 1
        return Refined(
            features if self.output == "torch" else features.numpy(), of_rows, kept, call.counters,
            call.records, n_blank, histories,
        )  # fmt: skip

    def stream(self, X: Any) -> Iterator[Refined]:  # noqa: N803
        """Yield the features of X chunk by chunk, in memory that does not grow with X."""
        check_is_fitted(self)
        for part in self._parts(X, None, Call(self._paths, self.max_bad_fraction, KEPT_RECORDS), None):
            features = part.features if self.output == "torch" else part.features.numpy()
            yield Refined(
                features, part.states, part.numbers, part.counters, part.quarantine, part.n_blank, part.histories
            )

    def _parts(
        self, source: Any, buffer: FeatureBuffer | None, call: Call, pace: Pace | None
    ) -> Iterator[RefinedChunk]:
        self._check_settings()
        chunks = inputs.chunks_for(self, source)
        engine = self._engine(self.compiled_, pace)
        self._show(call)
        for chunk in call.watched(engine, chunks):
            fill = self.on_bad == "missing"
            part = engine.refine(chunk, out=None if buffer is None else buffer.room(chunk, refused=fill), fill=fill)
            call.count(part)
            self.n_quarantined_ = call.n_bad
            if buffer is not None:
                buffer.add(len(part.numbers))
                # Its memory may move when the buffer grows.
                part = dataclasses.replace(part, features=part.features[:0])
            yield part
        call.end()
        for words in engine.pace.warnings(self.schema_).values():
            warnings.warn(words, stacklevel=level_of_caller())

    # ------------------------------------------------------------------------------------------------------ raw values

    def raw(self, X: Any) -> RawColumns:  # noqa: N803
        """Return the typed values of the schema's fields before scaling and encoding."""
        check_is_fitted(self)
        engine = self._engine(self.compiled_)
        call = Call(engine.paths, self.max_bad_fraction, None)
        self._show(call)
        raw = list(call.parts(engine, inputs.chunks_for(self, X)))
        call.end(warn=False)
        block = join_blocks([_no_rows(self.compiled_), *(part.block for part in raw)])
        numbers = np.concatenate([np.empty(0, np.int64), *(part.numbers for part in raw)])
        return RawColumns(engine.paths, engine.kinds, block, call.counters, numbers)

    def columns(
        self,
        X: Any,  # noqa: N803
        paths: Sequence[str],
        *,
        wanted: NDArray[np.bool_] | None = None,
        numbers: NDArray[np.int64] | None = None,
    ) -> dict[str, list[Any]]:
        """Return the Python values at `paths`, fields or not, of the rows that `refine` keeps; None where missing.

        `wanted` ``(rows kept, paths)``: which of them are read; None, as for the others, stands for all. `numbers`: of
        the rows kept, as `raw` has them, so that they need not be found again.
        """
        check_is_fitted(self)
        engine = self._engine(self.compiled_)
        values = self._engine(extraction_plan(paths, nan="missing"))
        found: dict[str, list[Any]] = {path: [] for path in paths}
        first = 0
        for chunk in inputs.chunks_for(self, X):
            kept = np.isin(chunk.numbers, engine.raw(chunk).numbers if numbers is None else numbers)
            end = first + int(np.count_nonzero(kept))
            part = None if wanted is None else wanted[first:end]
            first = end
            for path, column in inputs.python_columns(chunk, kept, values, part).items():
                found[path] += column
        return found

    # ---------------------------------------------------------------------------------------------------------- others

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return the names of the columns, object ``(F,)``. `input_features` must be those of `fit`, or None."""
        check_is_fitted(self)
        inputs.check_names(self, input_features)
        return np.array(self.feature_names_, dtype=object)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted state to one checksummed file without pickle; equal states give equal bytes.

        How many bad rows a call allows is no part of it. Raises ConfigError where the folder of `path` is missing.
        """
        check_is_fitted(self)
        options = {"validate": self.validate, "nan": self.nan, "duplicates": self.duplicates,
                   **inputs.known_columns(self)}  # fmt: skip
        save_state(path, State(self.schema_, self.statistics_, options, self.histories_))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SecurityRefinery:
        """Return the fitted refinery in the file `path`. Raises SetupError or DataError, see `load_state`."""
        state = load_state(path)
        options = dict(state.options)
        width, names = options.pop("n_features_in", None), options.pop("feature_names_in", None)
        made = cls(schema=state.schema, **options)
        made._settle(state.schema, state.statistics)
        made.histories_ = state.histories
        inputs.set_known_columns(made, width, names)
        return made

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _compiled(self, schema: RefinerySchema, statistics: Statistics | None) -> CompiledPlan:
        return compile_plan(schema, statistics, validate=self.validate, nan=self.nan, duplicates=self.duplicates)

    def _engine(self, compiled: CompiledPlan, pace: Pace | None = None) -> Engine:
        from jenga.refinery.engine import Engine

        return Engine(compiled, n_threads=self.n_threads, redact=self.redact, pace=pace)

    @property
    def _paths(self) -> tuple[str, ...]:
        return tuple(field.path for field in self.schema_.fields)

    def _show(self, call: Call) -> None:
        """Show what a call counts as attributes; they fill up as it goes on, so that they tell why one failed too."""
        self.quarantine_, self.counters_, self.n_quarantined_ = call.records, call.counters, 0

    def _check_settings(self) -> None:
        for name, allowed in _CHOICES.items():
            if (value := getattr(self, name)) not in allowed:
                raise ConfigError(f"SecurityRefinery: {name}: got {value!r}; allowed: {', '.join(allowed)}")
        if self.preset is not None and self.schema is not None:
            raise ConfigError("SecurityRefinery: preset and schema are both given; keep one of the two")
        if not 0.0 <= self.max_bad_fraction <= 1.0:
            raise ConfigError(f"SecurityRefinery: max_bad_fraction: got {self.max_bad_fraction}; allowed: 0 to 1")
        for name in ("chunk_bytes", "n_threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"SecurityRefinery: {name}: got {value}; allowed: 1 or more")


def _no_rows(compiled: CompiledPlan) -> RawBlock:
    return RawBlock(
        np.empty((0, compiled.n_numbers)), np.empty(0, np.uint8), np.zeros(1, np.int64),
        np.empty((0, compiled.n_fields), np.uint8),
    )  # fmt: skip
