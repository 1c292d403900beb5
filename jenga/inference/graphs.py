"""Models whose encoders are graphs: the pass from inputs to logits, run by a library that is not torch's Python."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from pydantic import TypeAdapter

from jenga import saved
from jenga.bundle import Bundle, tasks_of
from jenga.config.schema import ExperimentConfig
from jenga.errors import ConfigError, SetupError
from jenga.extras import required
from jenga.modalities import BaseBackbone
from jenga.model import MultiTaskModel
from jenga.types import PART, PLACE, BackboneOutput, States, TaskOutput

FORMAT = 1
Axis = int | str
Arrays = Mapping[str, np.ndarray]

_HEAD = """# A model as graphs

Exported by `jenga export`. With Jenga: `jenga predict FOLDER rows.jsonl`, `jenga serve FOLDER`, `jenga.load("FOLDER")`;
they read rows, run the graphs and write the answers that they would of the run.

Without it: each graph takes the inputs below and gives the logits of each head. `backbone/` holds what makes inputs of
rows (a tokenizer, a feature extractor, or the refinery's state), `jenga.json` the labels of each head in the order of
its logits (`spaces`), `graphs.json` this page for programs. Logits are as the model gives them: where `certainty` of
jenga.json has a calibration of a head, its probabilities are those of `scale * logit + shift` (temperature, vector), or
of its rising functions (isotonic), and `thresholds` are of these probabilities, not of the logits' own. Where its
`config` has a `prefix` in `model`, that stands before each text that the tokenizer reads.
"""
_TABLE = "| | name | type | shape |\n|---|---|---|---|\n"


@dataclass(frozen=True)
class Port:
    """What goes in or comes out: NumPy's name of its type, and by axis its size, or the name of what varies."""

    dtype: str
    shape: tuple[Axis, ...]


@dataclass(frozen=True)
class Graph:
    """The pass of one encoder, in `file`.

    `inputs`, `outputs`: by name, the latter ``<task>.<head>``. `sizes`: of what varies, those that it was traced at.
    `hidden_size`, `n_features`, `frame_seconds`: of the encoder, which tasks are told of. `from_bytes`: the file of one
    that begins with rows as bytes.
    """

    file: str
    inputs: dict[str, Port]
    outputs: dict[str, Port]
    sizes: dict[str, int]
    hidden_size: int
    n_features: int | None = None
    frame_seconds: float | None = None
    from_bytes: str | None = None

    def fed(self, given: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
        """Return all of `inputs`: what is `given`, zeros for the rest. Raises SetupError for what does not fit."""
        sizes = dict(self.sizes)
        found: dict[str, np.ndarray] = {}
        for name, tensor in given.items():
            port = self.inputs.get(name)
            if port is None or tensor.ndim != len(port.shape):
                raise SetupError(
                    f"{self.file}: takes {self._taken()}, and not '{name}' {list(tensor.shape)}; export anew"
                )
            for axis, size in zip(port.shape, tensor.shape, strict=True):
                if isinstance(axis, str):
                    sizes[axis] = size
                elif axis != size:
                    raise SetupError(
                        f"{self.file}: takes '{name}' as {list(port.shape)}, and these rows make {list(tensor.shape)}: "
                        "the model fixed an axis as it was traced. Use the run itself (--runtime torch)"
                    )
            found[name] = np.ascontiguousarray(tensor.cpu().numpy().astype(port.dtype, copy=False))
        # Such as the second texts of pairs where rows have one, or a part that no row of the batch has.
        for name, port in self.inputs.items():
            if name not in found:
                shape = tuple(sizes[axis] if isinstance(axis, str) else axis for axis in port.shape)
                # No row has what nothing is given of.
                found[name] = np.full(shape, -1 if name.endswith(f"{PART}{PLACE}") else 0, port.dtype)
        return found

    def _taken(self) -> str:
        return ", ".join(f"{name} {list(port.shape)}" for name, port in self.inputs.items())


@dataclass(frozen=True)
class Graphs:
    """What `GRAPHS_FILE` says: the graphs by encoder. `measured`: of a smaller form, what it cost."""

    runtime: str
    graphs: dict[str, Graph]
    dtype: str = "fp32"
    opset: int | None = None
    measured: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def write(self, folder: Path) -> None:
        """Write it to `folder`, with a page in words."""
        (folder / saved.GRAPHS_FILE).write_text(json.dumps(asdict(self), indent=1) + "\n")
        (folder / "README.md").write_text(self.page(), encoding="utf-8")

    def page(self) -> str:
        """Return what the folder says of itself to whoever finds it without Jenga."""
        kind = f"{self.runtime}{f', opset {self.opset}' if self.opset else ''}, {self.dtype}"
        parts = [_HEAD]
        for name, graph in self.graphs.items():
            parts.append(f"\n## {graph.file} (encoder `{name}`; {kind})\n\n{_TABLE}")
            for what, ports in (("input", graph.inputs), ("output", graph.outputs)):
                for key, port in ports.items():
                    parts.append(f"| {what} | `{key}` | {port.dtype} | {' x '.join(map(str, port.shape))} |\n")
        return "".join(parts)

    @classmethod
    def read(cls, folder: Path) -> Graphs:
        """Read what `write` wrote. Raises SetupError where it is harmed, or of a later version."""
        path = folder / saved.GRAPHS_FILE
        with saved.fitting(path):
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] > FORMAT:
                raise SetupError(f"{path}: written by a later version of Jenga; upgrade Jenga, or export anew")
            return TypeAdapter(cls).validate_python(content)


class Run(Protocol):
    """Runs a graph."""

    def __call__(self, outputs: Sequence[str], inputs: Arrays) -> list[np.ndarray]:
        """Return `outputs`, by name."""


class Absent(BaseBackbone):
    """What tasks are told of an encoder that is a graph."""

    def __init__(self, name: str, graph: Graph) -> None:
        super().__init__(name, None)
        self.graph = graph

    @property
    def hidden_size(self) -> int:
        """Width H of the hidden states, which only the graph sees."""
        return self.graph.hidden_size

    @property
    def n_features(self) -> int | None:
        """Width F of the features that it reads."""
        return self.graph.n_features

    @property
    def frame_seconds(self) -> float | None:
        """Seconds from one position to the next."""
        return self.graph.frame_seconds


class GraphModel(MultiTaskModel):
    """Tasks over graphs, which give their logits; no losses, and no hidden states."""

    explains = False

    def __init__(self, config: ExperimentConfig, graphs: Mapping[str, Graph], runs: Mapping[str, Run]) -> None:
        absent = {name: Absent(name, graph) for name, graph in graphs.items()}
        tasks = tasks_of(config, {name: graph.hidden_size for name, graph in graphs.items()})
        super().__init__(absent, {}, tasks, {task.name: config.encoder_of(task) for task in config.tasks})
        self.graphs, self.runs = dict(graphs), dict(runs)

    def forward(
        self,
        inputs: Mapping[str, torch.Tensor],
        tasks: Sequence[str],
        labels: Mapping[str, Mapping[str, torch.Tensor]] | None = None,
        teacher: Mapping[str, Mapping[str, Any]] | None = None,
        states: States | None = None,
    ) -> dict[str, TaskOutput]:
        """Return the logits of each of `tasks`, which read one encoder; no losses, whatever the labels."""
        name = self.reads[tasks[0]]
        wanted = [(task, head) for task in tasks for head in self.tasks[task].heads.sizes]
        made = self.runs[name]([output_name(*key) for key in wanted], self.graphs[name].fed(inputs))
        found = {task: TaskOutput(None, {}) for task in tasks}
        for (task, head), logits in zip(wanted, made, strict=True):
            found[task].logits[head] = torch.from_numpy(logits)
        return found

    def encode(self, inputs: Mapping[str, torch.Tensor], tasks: Sequence[str]) -> dict[str, BackboneOutput]:
        """Raise ConfigError: what is between inputs and logits stays in the graph."""
        raise ConfigError("this model is a graph, which gives logits alone; use the run that it was exported from")


def output_name(task: str, head: str) -> str:
    """Return what a graph calls the logits of a head."""
    return f"{task}.{head}"


def load_graphs(folder: Path, *, trust_remote_code: bool = False) -> Bundle:
    """Return the model in `folder`, whose encoders are graphs.

    Raises SetupError where it is harmed, or what runs the graphs is not installed; as `Bundle.load` for the rest.
    """
    starts: dict[str, Callable[[Path, Graph], Run]] = {"onnx": onnx_session, "pt2": compiled_package}

    def make(config: ExperimentConfig) -> GraphModel:
        said = Graphs.read(folder)
        if said.runtime not in starts:
            raise SetupError(f"{folder}: graphs of '{said.runtime}' are not run here; known: {', '.join(starts)}")
        if outside := [graph.file for graph in said.graphs.values() if Path(graph.file).name != graph.file]:
            raise ValueError(f"a graph is to be {outside[0]!r}, which is no file of the folder's own")
        if said.runtime == "pt2" and not trust_remote_code:
            raise SetupError(
                f"{folder}: holds compiled code, which can do all that you can; if you trust whoever made it, allow it "
                "(--trust-remote-code, or trust_remote_code=True)"
            )
        runs = {name: starts[said.runtime](folder / graph.file, graph) for name, graph in said.graphs.items()}
        return GraphModel(config, said.graphs, runs)

    return Bundle.of_graph(folder, make, trust_remote_code=trust_remote_code)


def onnx_session(path: Path, graph: Graph) -> Run:
    """Return what runs a graph of ONNX by onnxruntime, with as many threads as torch has. Raises SetupError."""
    onnxruntime = required("onnxruntime", extra="onnx", need="--runtime onnx needs onnxruntime")
    options = onnxruntime.SessionOptions()
    # OMP_NUM_THREADS, or what shares the cores out among processes: the library itself asks neither.
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(outputs: Sequence[str], inputs: Arrays) -> list[np.ndarray]:
        found: list[np.ndarray] = session.run(list(outputs), dict(inputs))
        return found

    return run


def compiled_package(path: Path, graph: Graph) -> Run:
    """Return what runs a package of AOTInductor, which is code."""
    package = torch._inductor.aoti_load_package(str(path))

    def run(outputs: Sequence[str], inputs: Arrays) -> list[np.ndarray]:
        made = package({name: torch.from_numpy(each) for name, each in inputs.items()})
        found = dict(zip(graph.outputs, made, strict=True))
        return [found[name].numpy() for name in outputs]

    return run
