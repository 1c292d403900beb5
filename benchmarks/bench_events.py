"""A model of events from the bytes of a file to scores: one compiled program against pandas, scikit-learn and torch.

The program is what `jenga export --format pt2` makes (`model.from_bytes.pt2`): the refinery's op and the network. The
rival reads the rows by pandas, makes features by a ColumnTransformer, and runs a network of the same layers in torch.
Rows are NSL-KDD's test rows (`--data-root`). One thread, processor time. Beside them: the same with the network left
out, which is what reading costs, and `Predictor.predict`, which makes an answer a row.

pytest benchmarks/bench_events.py -s [--paired-json ratios.json]
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import refinery_rivals as rivals
import torch
from bench_refinery import COLUMNS
from paired import SMOKE, PairedRatio, compare, held
from torch import nn

import jenga
from jenga.inference.export import export
from jenga.kernels.refinery import split_rows
from jenga.refinery.streams import writable_view
from jenga.types import SHARED

Report = Callable[[str, PairedRatio], None]
timed = partial(compare, rounds=2 if SMOKE else 9, min_round_s=0, warmup=1, clock=time.process_time)
PIECE_ROWS = 4096
"""Rows that the program is given at a time, as docs/export.md has it."""


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def rows(pytestconfig: pytest.Config) -> bytes:
    path = pytestconfig.getoption("--data-root") / "nsl-kdd" / "KDDTest+.jsonl.gz"
    if not path.is_file():
        pytest.skip("the real rows (../shared/data) are not beside this checkout")
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    return b"".join(lines[: 1000 if SMOKE else None])


@pytest.fixture(scope="module")
def run(rows: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that took one step: its speed is that of any other."""
    folder = tmp_path_factory.mktemp("events")
    (folder / "rows.jsonl").write_bytes(rows)
    head = {"name": "attack", "column": "label", "num_labels": 2}
    config: dict[str, Any] = {
        "model": {
            "backbone_type": "sequential", "base_model": "security_mlp_v1", "refinery": {"preset": "nsl_kdd"},
        },
        "tasks": [{"name": "intrusion", "type": "anomaly_detection", "data_path": str(folder / "rows.jsonl"),
                   "heads": [head]}],
        "training": {"max_steps": 1}, "tracking": {"enabled": False}, "evaluation": {"baselines": []},
        "output_dir": str(folder),
    }  # fmt: skip
    made: Path = jenga.train(config, device="cpu").run
    return made


@pytest.fixture(scope="module")
def program(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], torch.Tensor]:
    """Bytes to logits by the compiled program."""
    if SMOKE:
        pytest.skip("to compile it takes a minute, and is what the tests of exports do")
    target = tmp_path_factory.mktemp("exported") / "model"
    export(run, target, format="pt2")
    package = torch._inductor.aoti_load_package(str(target / "model.from_bytes.pt2"))

    def score(data: bytes) -> torch.Tensor:
        held = torch.from_numpy(writable_view(data))
        row_offsets = split_rows(held, final=True).row_offsets
        return torch.cat([package(held, some)[0] for some in row_offsets.split(PIECE_ROWS)])

    return score


@pytest.fixture(scope="module")
def rival(rows: bytes, run: Path) -> tuple[rivals.Rival, nn.Module]:
    """The features of pandas and scikit-learn, and a network of the model's layers over them."""
    features = rivals.pandas_and_sklearn(rows, COLUMNS["K"])
    model = jenga.load(run).bundle.model
    linears = [each for each in model.modules() if isinstance(each, nn.Linear)]
    widths = [len(features.names), *(each.out_features for each in linears), 2]
    layers: list[nn.Module] = []
    for one, other in pairwise(widths):
        layers += [nn.Linear(one, other), nn.ReLU()]
    return features, nn.Sequential(*layers[:-1]).eval()


def test_bytes_to_scores(
    rows: bytes,
    program: Callable[[bytes], torch.Tensor],
    rival: tuple[rivals.Rival, nn.Module],
    report_ratio: Report,
) -> None:
    features, network = rival

    def plain() -> torch.Tensor:
        with torch.inference_mode():
            scores: torch.Tensor = network(torch.from_numpy(features.run()))
        return scores

    assert len(program(rows)) == len(plain()) == rows.count(b"\n")
    ratio = timed(plain, lambda: program(rows))
    report_ratio("events, bytes to scores: pandas, scikit-learn and torch / one program", ratio)
    if not SMOKE:
        assert ratio.ratio > 2, f"a regression, not noise: {ratio}"


def test_bytes_to_features(
    rows: bytes,
    run: Path,
    rival: tuple[rivals.Rival, nn.Module],
    report_ratio: Report,
) -> None:
    refinery = jenga.load(run).bundle.inputs[SHARED].refinery
    ratio = timed(rival[0].run, lambda: refinery.transform(rows))
    report_ratio("events, bytes to features: pandas and scikit-learn / refinery", ratio)


def test_answers_a_row(rows: bytes, run: Path, program: Callable[[bytes], torch.Tensor], report_ratio: Report) -> None:
    predictor = jenga.load(run)
    lines = [line.decode() for line in rows.splitlines()]
    ratio = timed(lambda: predictor.predict(lines), lambda: program(rows))
    report_ratio("events: Predictor.predict, an answer a row / one program", ratio)
    held(ratio, below=100)
