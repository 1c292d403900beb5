"""Graphs of ONNX in 8 bits, and what that costs: the scores of the run's validation rows before and after."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jenga.bundle import Bundle
from jenga.errors import ConfigError, DataError
from jenga.inference.export.traced import hushed
from jenga.inference.graphs import Graph, GraphModel, Graphs, onnx_session
from jenga.inference.judged import configured_sources
from jenga.inference.predictor import Predictor
from jenga.rows.order import longest_first
from jenga.tables import NONE

METHODS = ("dynamic", "static")
SPLIT = "valid"
_CALIBRATION_ROWS, _CALIBRATION_BATCH = 256, 32


def quantize(bundle: Bundle, folder: Path, method: str) -> None:
    """Put graphs in 8 bits in the place of those in `folder`, and what that costs into what it says of itself.

    dynamic: weights in int8, and what flows between them rounded anew for each batch. static: by ranges that training
    rows show. Raises ConfigError for another method, DataError where the rows that the run was configured with are not
    there any more.
    """
    if method not in METHODS:
        raise ConfigError(f"--int8: unknown '{method}'. Known: {', '.join(METHODS)}")
    said = Graphs.read(folder)
    before = _scores(bundle, said, folder)
    for name, graph in said.graphs.items():
        path, small = folder / graph.file, folder / f"small-{graph.file}"
        with hushed():
            if method == "dynamic":
                _dynamic(path, small)
            else:
                _static(path, small, list(_batches(bundle.part(name), graph)))
        small.replace(path)
    after = _scores(bundle, said, folder)
    measured = {"rows": f"the run's {SPLIT} rows", "before": before, "after": after}
    replace(said, dtype=f"int8, {method}", measured=measured).write(folder)


def told(folder: Path) -> list[str]:
    """Return what the graphs in `folder` lost by 8 bits, a line a metric."""
    measured = Graphs.read(folder).measured
    before, after = measured["before"], measured["after"]
    names = list(dict.fromkeys((*before, *after)))
    width = max(map(len, names), default=0)
    # A metric may be undefined on one side, such as the precision of a model that alerts no more.
    return [f"{name:{width}}  fp32 {_cell(before.get(name))}  int8 {_cell(after.get(name))}" for name in names]


def _cell(score: float | None) -> str:
    return f"{NONE:>8}" if score is None else f"{score:8.4f}"


def _scores(bundle: Bundle, said: Graphs, folder: Path) -> dict[str, float]:
    """Return the metrics of the graphs in `folder` on the run's validation rows."""
    runs = {name: onnx_session(folder / graph.file, graph) for name, graph in said.graphs.items()}
    model = GraphModel(bundle.config, said.graphs, runs)
    tasks = {key: value for key, value in bundle.model.state_dict().items() if key.startswith("tasks.")}
    model.load_state_dict(tasks)
    judged = Predictor(replace(bundle, model=model.eval()), device="cpu")
    try:
        found: dict[str, float] = judged.evaluate(split=SPLIT)["metrics"]
    except DataError as error:
        raise DataError(
            f"--int8: what it costs is measured on the run's validation rows, which cannot be had: {error}"
        ) from error
    return found


def _batches(bundle: Bundle, graph: Graph) -> Iterator[dict[str, np.ndarray]]:
    """Yield what the graph is fed of some training rows, evenly over them."""
    for source in configured_sources(bundle, "train"):
        split = source.splits["train"]
        step = max(1, len(split) // _CALIBRATION_ROWS)
        kept = list(range(0, len(split), step))[:_CALIBRATION_ROWS]
        for index in longest_first(split.lengths[kept], _CALIBRATION_BATCH):
            yield graph.fed(split.batch([kept[at] for at in index]).inputs)


def _prepared(path: Path, small: Path) -> Path:
    """Return the graph with the shapes of all that is in it, which rounding asks for."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    ready = small.with_suffix(".ready")
    quant_pre_process(str(path), str(ready), skip_symbolic_shape=True)
    return ready


def _dynamic(path: Path, small: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    ready = _prepared(path, small)
    quantize_dynamic(str(ready), str(small), weight_type=QuantType.QInt8, per_channel=True)
    os.unlink(ready)


def _static(path: Path, small: Path, batches: list[dict[str, np.ndarray]]) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Rows(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(batches)

        def get_next(self) -> Any:
            return next(self.left, None)

    ready = _prepared(path, small)
    quantize_static(
        str(ready), str(small), Rows(), weight_type=QuantType.QInt8, per_channel=True,
        op_types_to_quantize=["MatMul", "Gemm", "Conv"],
    )  # fmt: skip
    os.unlink(ready)
