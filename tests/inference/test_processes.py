import json
import logging
import multiprocessing
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import pytest

from jenga.errors import ConfigError
from jenga.inference.predictor import Predictor
from jenga.inference.processes import Asked, scored
from jenga.inference.routing import Router
from jenga.inference.written import Written

Rows = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jenga.inference.predictor.PIECE_ROWS", 7)


@pytest.fixture
def one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do jobs in this process, packed as they would be, with logging of their own: a process takes seconds to begin."""
    root = logging.getLogger()

    @contextmanager
    def own_logging(handlers: list[logging.Handler]) -> Iterator[None]:
        before, show, root.handlers = root.handlers, warnings.showwarning, handlers
        try:
            yield
        finally:
            root.handlers, warnings.showwarning = before, show

    def packed(what: Any) -> Any:
        return ForkingPickler.loads(ForkingPickler.dumps(what))

    def in_order(start: Any, jobs: Iterable[Any], **_: Any) -> Iterator[Any]:
        handlers: list[logging.Handler] = []
        with own_logging(handlers):
            do = packed(start)()
        for job in jobs:
            with own_logging(handlers):
                made = packed(do(packed(job)))
            yield made

    monkeypatch.setattr("jenga.inference.processes.in_order", in_order)


def written(predictor: Predictor, file: Path, asked: Asked, *, processes: int, whole: bool = False) -> list[Written]:
    session = predictor.session(keep=asked.keep, whole=whole)
    return list(scored(session, session.read(str(file)), asked, processes=processes, whole=whole))


@pytest.mark.usefixtures("one_after_the_other")
def test_processes_write_and_warn_of_texts_what_one_does(
    predictor: Predictor, run: Path, rows: Rows, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [json.dumps({"id": f"r{at}", "note": {"at": at}, "text": row["text"]}) for at, row in enumerate(rows[:33])]
    lines[3], lines[10] = '{"broken', '{"text": ""}'
    lines[14:21] = ['{"other": 1}'] * 7  # a piece without the column
    lines[30] = json.dumps({"text": "far too long " * 300})
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(lines))
    asked = Asked(str(run), "cpu", keep=("note.at",), probabilities=True, batch_size=3)
    [found, one] = [written(predictor, file, asked, processes=count) for count in (2, 1)]
    assert b"".join(each.text for each in found) == b"".join(each.text for each in one)
    told = [record.getMessage() for record in caplog.records]
    assert (len(found), len(told)) == (5, 2)
    assert told[0] == told[1]
    assert "are longer than" in told[0]
    assert [sum(getattr(each, name) for each in found) for name in ("rows", "unusable", "failed")] == [33, 9, 9]


@pytest.mark.usefixtures("one_after_the_other")
def test_processes_know_the_time_since_the_event_before_as_one_does(
    detector: Predictor, event_run: Path, flows: Rows, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert detector.inputs.ordered
    lines = [*map(json.dumps, flows), "{", "[1]", '{"what": 1}']
    file = tmp_path / "flows.jsonl"
    file.write_text("\n".join(lines))
    asked = Asked(str(event_run), "cpu")
    [found, one] = [written(detector, file, asked, processes=count, whole=True) for count in (2, 1)]
    assert b"".join(each.text for each in found) == b"".join(each.text for each in one)
    seen = [(dict(event), answer) for part in found for event, answer in part.seen]
    assert seen == [(dict(event), answer) for part in one for event, answer in part.seen]
    assert [event for event, _ in seen] == [*flows, {}, {}, {"what": 1}]
    assert caplog.records == []


@pytest.mark.slow
@pytest.mark.serial
def test_no_row_is_lost_or_answered_twice_where_a_process_is_killed(
    detector: Predictor, event_run: Path, flows: Rows, tmp_path: Path
) -> None:
    file = tmp_path / "flows.jsonl"
    file.write_text("\n".join(map(json.dumps, flows * 20)))
    asked = Asked(str(event_run), "cpu")
    found, killed = [], 0
    session = detector.session()
    for part in scored(session, session.read(str(file)), asked, processes=2):
        found.append(part.text)
        if len(found) in (1, 20):
            multiprocessing.active_children()[0].kill()
            killed += 1
    assert (killed, len(found)) == (2, 58)
    assert b"".join(found) == b"".join(each.text for each in written(detector, file, asked, processes=1))


def test_backbones_of_their_own_pace_answer_in_one_process(
    detector: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = replace(detector.bundle, inputs={"one": detector.inputs, "other": detector.inputs})
    monkeypatch.setattr(detector, "bundle", both)
    monkeypatch.setattr(detector, "_inputs", Router(both))
    with pytest.raises(ConfigError, match=r"--processes: .* what came before a row"):
        list(scored(detector, [{}], Asked("run"), processes=2))
