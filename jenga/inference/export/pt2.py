"""Packages of AOTInductor: the pass of a model of events, compiled for this kind of machine, that needs no Python.

`jenga.load` runs them too, where code that comes with a model is allowed: what is compiled is code.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from jenga import saved
from jenga.bundle import Bundle
from jenga.errors import ConfigError, SetupError
from jenga.files import atomic_folder
from jenga.inference.export import Options
from jenga.inference.export.onnx import BATCH, write_beside
from jenga.inference.export.traced import Pass, Traced, hushed, traced
from jenga.inference.graphs import Graph, Graphs, Port, output_name
from jenga.rows.batches import FEATURES
from jenga.types import SHARED

_CONFIG = {"freezing": True}
"""Weights as constants: they are laid out once as the products read them, and activations join the products."""


def write(source: Path, target: Path, options: Options) -> None:
    """Write the model in `source` to the new folder `target`: a package an encoder, from features to float32 logits.

    Where rows are read one by one, a second package begins with their bytes: the refinery's op is in it, and whoever
    loads it imports `jenga.kernels` before. Raises ConfigError where an encoder reads something else than features,
    SetupError where no compiler is there.
    """
    said = saved.read(source)
    bundle = Bundle.load(source, base_model=options.base_model, trust_remote_code=options.trust_remote_code)
    for name in bundle.model.encoders:
        if bundle.model.encoders[name].n_features is None:
            raise ConfigError(
                f"--format pt2: is for models of events, whose rows are one vector each; encoder '{name}' reads "
                "something else. Use --format onnx"
            )
    with atomic_folder(target) as staging:
        write_beside(bundle, staging)
        graphs = {each.name: _compiled(each, bundle, staging) for each in traced(bundle, said)}
        Graphs("pt2", graphs).write(staging)


class _FromBytes(nn.Module):
    """A pass that begins with rows as bytes of JSON; beside the logits it gives the rows that cannot be used."""

    def __init__(self, one: Pass, refined: nn.Module) -> None:
        super().__init__()
        self.one, self.refined = one, refined

    def forward(self, data: torch.Tensor, row_offsets: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features, bad = self.refined(data, row_offsets)
        return (*self.one({FEATURES: features}), bad)


def _compiled(one: Traced, bundle: Bundle, folder: Path) -> Graph:
    """Write the packages of one pass, and return what it takes and gives."""
    name = "model" if one.name == SHARED else one.name
    file, raw_file = f"{name}.pt2", None
    _package(one.program, folder / file, one.name)
    refined = bundle.inputs[one.name].from_bytes()
    if refined is not None:
        raw_file = f"{name}.from_bytes.pt2"
        _package(_with_bytes(Pass(bundle.model, one.name), refined), folder / raw_file, one.name)
    inputs = {key: Port(each.numpy().dtype.name, (BATCH, *each.shape[1:])) for key, each in one.inputs.items()}
    sizes = {task: bundle.model.tasks[task].heads.sizes for task, _ in one.outputs}
    outputs = {output_name(*key): Port("float32", (BATCH, sizes[key[0]][key[1]])) for key in one.outputs}
    backbone = bundle.model.encoder_of(one.outputs[0][0])
    rows = next(iter(one.inputs.values())).shape[0]
    return Graph(
        file, inputs, outputs, {BATCH: rows}, backbone.hidden_size, backbone.n_features, from_bytes=raw_file
    )  # fmt: skip


def _with_bytes(one: Pass, refined: nn.Module) -> ExportedProgram:
    """Return the pass that begins with bytes, traced with any number of them and of rows."""
    whole = _FromBytes(one, refined).eval()
    rows = [b"{}"] * 3
    starts = [3 * at for at in range(len(rows))]
    data = torch.frombuffer(bytearray(b"\n".join(rows)), dtype=torch.uint8)
    offsets = torch.tensor([(start, start + 2) for start in starts])
    axes = ({0: Dim.DYNAMIC}, {0: Dim.DYNAMIC, 1: Dim.STATIC})
    with hushed(), torch.no_grad():
        return torch.export.export(whole, (data, offsets), dynamic_shapes=axes)


def _package(program: ExportedProgram, path: Path, encoder: str) -> None:
    """Compile a program. Raises SetupError where that cannot be done here."""
    try:
        # Nothing is frozen where gradients are on.
        with hushed(), torch.no_grad():
            torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=_CONFIG)
    except Exception as error:  # whatever a compiler that is not there, or a model, makes it raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SetupError(
            f"--format pt2: AOTInductor cannot compile the pass of encoder '{encoder}': {reason}; it needs a C++ "
            "compiler (g++), or use --format onnx"
        ) from error
