"""Graphs in place of weights: what is fed to them, and what a folder of them refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import jenga
from jenga.bundle import Bundle
from jenga.errors import ConfigError, SetupError
from jenga.files import atomic_folder
from jenga.inference.graphs import Graph, Graphs, Port

pytest.importorskip("onnxruntime")

LONG = Port("int64", ("batch", "length"))
GRAPH = Graph(
    "model.onnx",
    {"a/ids": LONG, "a/mask": LONG, "a/place": Port("int64", ("batch",)), "x": Port("float32", ("batch", 3))},
    {"t.h": Port("float32", ("batch", 2))}, sizes={"batch": 4, "length": 7}, hidden_size=8,
)  # fmt: skip


def test_what_a_batch_lacks_is_fed_as_zeros_and_as_parts_that_no_row_has() -> None:
    fed = GRAPH.fed({"a/ids": torch.ones(2, 5, dtype=torch.int32), "x": torch.ones(2, 3)})
    assert {name: (each.shape, each.dtype.name) for name, each in fed.items()} == {
        "a/ids": ((2, 5), "int64"), "a/mask": ((2, 5), "int64"), "a/place": ((2,), "int64"), "x": ((2, 3), "float32"),
    }  # fmt: skip
    assert not fed["a/mask"].any()
    assert fed["a/place"].tolist() == [-1, -1]
    alone = GRAPH.fed({"x": torch.ones(1, 3)})
    assert alone["a/ids"].shape == (1, 7), "what nothing tells is as it was traced"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"x": torch.ones(2, 4)}, r"takes 'x' as \['batch', 3\], and these rows make \[2, 4\].*--runtime torch"),
        ({"x": torch.ones(2)}, r"takes .*x \['batch', 3\], and not 'x' \[2\]; export anew"),
        ({"y": torch.ones(2)}, r"and not 'y' \[2\]; export anew"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(given: dict[str, torch.Tensor], says: str) -> None:
    with pytest.raises(SetupError, match=says):
        GRAPH.fed(given)


def test_what_a_folder_says_is_read_as_it_was_written(tmp_path: Path) -> None:
    said = Graphs("onnx", {"shared": GRAPH}, opset=20)
    said.write(tmp_path)
    assert Graphs.read(tmp_path) == said
    page = (tmp_path / "README.md").read_text()
    assert "| input | `a/ids` | int64 | batch x length |" in page
    assert "| output | `t.h` | float32 | batch x 2 |" in page
    content = json.loads((tmp_path / "graphs.json").read_text())
    (tmp_path / "graphs.json").write_text(json.dumps(content | {"format": 2}))
    with pytest.raises(SetupError, match="later version"):
        Graphs.read(tmp_path)


def test_graphs_are_judged_by_everything_but_losses(event_run: Path, graphs: Path) -> None:
    wanted, found = (jenga.load(folder, device="cpu").evaluate()["metrics"] for folder in (event_run, graphs))
    assert {name for name in wanted if name not in found} == {name for name in wanted if name.endswith("loss")}
    assert found
    assert found == pytest.approx({name: wanted[name] for name in found}, rel=1e-3)


def test_threads_are_those_of_torch(graphs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    asked: list[int] = []
    start = onnxruntime.InferenceSession

    def begin(path: str, options: Any, **more: Any) -> Any:
        asked.append(options.intra_op_num_threads)
        return start(path, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", begin)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    jenga.load(graphs)
    assert asked == [3]


def test_what_is_within_a_graph_is_not_told(graphs: Path) -> None:
    with pytest.raises(SetupError, match="holds graphs, and no weights that torch could load"):
        Bundle.load(graphs)
    with pytest.raises(ConfigError, match="gives logits alone"):
        jenga.load(graphs).model.encode({}, ["find"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"runtime": "tvm"}, "graphs of 'tvm' are not run here; known: onnx"),
        ({"file": "../model.onnx"}, "which is no file of the folder's own"),
        ({"file": "other.onnx"}, "does not fit together"),
    ],
)
def test_a_folder_that_says_something_else_is_refused(
    graphs: Path, tmp_path: Path, change: dict[str, str], says: str
) -> None:
    with atomic_folder(tmp_path / "changed") as staging:
        shutil.copytree(graphs, staging, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
        content = json.loads((staging / "graphs.json").read_text())
        if "runtime" in change:
            content |= change
        else:
            content["graphs"]["shared"] |= change
        (staging / "graphs.json").write_text(json.dumps(content))
    with pytest.raises(SetupError, match=says):
        jenga.load(tmp_path / "changed")


def test_a_harmed_folder_of_graphs_is_not_loaded(graphs: Path, tmp_path: Path) -> None:
    shutil.copytree(graphs, tmp_path / "harmed")
    with (tmp_path / "harmed" / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(SetupError, match=r"model.onnx has another checksum"):
        jenga.load(tmp_path / "harmed")
