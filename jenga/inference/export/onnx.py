"""ONNX: a graph of each encoder's pass, from inputs to the logits of its tasks, and all that reads and answers rows.

`jenga.load` reads the folder as it does a run. What another program needs stands in ``graphs.json`` and README.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jenga import saved
from jenga.bundle import Bundle
from jenga.errors import ConfigError
from jenga.extras import is_here, missing
from jenga.files import atomic_folder
from jenga.inference.export import Options
from jenga.inference.export.lstm import translations
from jenga.inference.export.traced import Traced, hushed, traced
from jenga.inference.export.transformers import adapted_parts, merge_adapters
from jenga.inference.graphs import Graph, Graphs, Port, output_name
from jenga.types import SHARED

OPSET = 20
BATCH, LENGTH = "batch", "length"


def write(source: Path, target: Path, options: Options) -> None:
    """Write the model in `source` to the new folder `target` as graphs in float32.

    int8: dynamic or static, weights (and for static what flows between them) in 8 bits; what that costs is measured on
    the run's validation rows, see `jenga.inference.export.int8`. Raises ConfigError where a task generates or a pass
    cannot be traced, SetupError where ONNX is not installed.
    """
    check_installed()
    said = saved.read(source)
    bundle = Bundle.load(source, base_model=options.base_model, trust_remote_code=options.trust_remote_code)
    merge_what_can_be(bundle, source)
    with atomic_folder(target) as staging:
        write_beside(bundle, staging)
        graphs = {each.name: _written(each, bundle, staging) for each in traced(bundle, said)}
        Graphs("onnx", graphs, opset=OPSET).write(staging)
        if options.int8 is not None:
            from jenga.inference.export.int8 import quantize

            quantize(bundle, staging, options.int8)


def check_installed() -> None:
    """Raise SetupError where what writes and runs ONNX is not installed."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if not is_here(name):
            raise missing("onnx", f"--format onnx needs {name}")


def merge_what_can_be(bundle: Bundle, source: Path) -> None:
    """Work LoRA and DoRA into the weights; bottleneck adapters are traced as the layers that they are."""
    if not (adapted := adapted_parts(source)):
        return
    try:
        merge_adapters(bundle, adapted)
    except ConfigError:
        if bundle.config.peft is None or bundle.config.peft.type != "adapter":
            raise


def write_beside(bundle: Bundle, folder: Path) -> None:
    """Write what is beside the graphs; of the weights only the tasks', which hold what their answers are made by."""
    for name in bundle.parts:
        saved.encoder_folder(folder, name).mkdir(parents=True, exist_ok=True)
    bundle.write_beside(folder, without=("encoders.", "joints.", "fusion."))


def _written(one: Traced, bundle: Bundle, folder: Path) -> Graph:
    """Write the graph of one pass, and return what it takes and gives."""
    import onnx_ir
    import torch

    file = f"{'model' if one.name == SHARED else one.name}.onnx"
    with hushed():
        program = torch.onnx.export(
            one.program, dynamo=True, opset_version=OPSET, custom_translation_table=translations(),
            input_names=list(one.inputs), output_names=[output_name(*key) for key in one.outputs], verbose=False,
        )  # fmt: skip
    assert program is not None
    ends = [*program.model.graph.inputs, *program.model.graph.outputs]
    names = dict(_names(program.model.graph.outputs[0], program.model.graph.inputs))
    for end in ends:
        end.shape = onnx_ir.Shape([_renamed(axis, names) for axis in end.shape])
    ports = {end.name: Port(end.dtype.numpy().name, tuple(_plain(axis) for axis in end.shape)) for end in ends}
    program.save(folder / file)
    backbone = bundle.model.encoder_of(one.outputs[0][0])
    inputs = {name: ports[name] for name in one.inputs}
    sizes = {
        axis: size
        for name, port in inputs.items()
        for axis, size in zip(port.shape, one.inputs[name].shape, strict=True)
        if isinstance(axis, str)
    }
    outputs = {output_name(*key): ports[output_name(*key)] for key in one.outputs}
    return Graph(file, inputs, outputs, sizes, backbone.hidden_size, backbone.n_features, backbone.frame_seconds)


def _names(first: Any, inputs: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Yield what is to be the name of each axis that varies, by the name that tracing gave it."""
    batch = str(first.shape[0])
    others: dict[str, str] = {}
    for end in inputs:
        for at, axis in enumerate(end.shape):
            if not str(axis).isdigit() and str(axis) != batch:
                others.setdefault(str(axis), f"{end.name}.{at}")
    yield batch, BATCH
    yield from others.items() if len(others) > 1 else ((name, LENGTH) for name in others)


def _renamed(axis: Any, names: dict[str, str]) -> int | str:
    """Return an axis with the names that it varies by, such as those of a length that the model shortens."""
    # An input's axis that the model has fixed is a word of digits.
    words = str(axis)
    return int(words) if words.isdigit() else re.sub(r"[A-Za-z]\w*", lambda found: names.get(found[0], found[0]), words)


def _plain(axis: Any) -> int | str:
    return axis if isinstance(axis, int) else str(getattr(axis, "value", axis))
