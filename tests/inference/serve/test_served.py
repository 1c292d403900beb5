"""A loaded model with its queue; its answers are held against the predictor's in test_app.py."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jenga.errors import DataError, SetupError
from jenga.inference.predictor import Predictor
from jenga.inference.serve import served as module
from jenga.inference.serve.app import Service
from jenga.inference.serve.batcher import QueueLimits
from jenga.inference.serve.metrics import Metrics
from jenga.inference.serve.served import Asked, Loading, Served, Talker
from jenga.rows.raw import RawRows


def loaded(folder: Path, **limits: Any) -> Served:
    return Served("calls", folder, Loading("cpu"), QueueLimits(**limits), Metrics().of_model("calls"))


def test_a_model_that_cannot_answer_is_not_served(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copytree(run / "best", tmp_path / "best")
    (copy / "heads.safetensors").write_bytes(b"")
    with pytest.raises(SetupError, match=r"heads\.safetensors"):
        loaded(copy)

    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(Predictor, "answers", broken)
    with pytest.raises(ZeroDivisionError):
        loaded(run / "best")


def test_rows_that_spoil_a_batch_get_their_error_and_the_others_their_answers(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = loaded(run / "best", wait_s=0.2)
    together = module.together

    def picky(predictor: Predictor, raws: list[RawRows], *arguments: Any, **more: Any) -> Any:
        if any(row.get("text") == "poison" for raw in raws for row in raw.rows):
            raise DataError("poisoned")
        return together(predictor, raws, *arguments, **more)

    monkeypatch.setattr(module, "together", picky)

    async def ask() -> list[Any]:
        session = served.session()
        futures = [
            served.predict(session, served.given(session, [text]), Asked()) for text in ("hello", "poison", "you")
        ]
        return await asyncio.gather(*futures, return_exceptions=True)

    first, wrong, last = asyncio.run(ask())
    served.close()
    assert wrong == [{"id": "1", "error": "poisoned"}]
    assert [first[0]["id"], last[0]["id"]] == ["1", "1"]
    assert first[0]["sentiment"]


def test_rows_of_a_request_name_no_files_of_the_server(run: Path) -> None:
    served = loaded(run / "best")
    raw = served.given(served.session(), [{"text": "a"}])
    lines = served.lines(served.session(), [(b'{"text": "a"}', False), (b"x" * 9, True)], 5)
    served.close()
    assert raw.remote
    assert lines.remote
    assert (raw.home, raw.in_hand, lines.numbers, lines.bad[0].number) == (None, False, [5], 6)


def test_events_have_a_session_of_their_caller_and_texts_share_one(
    calls: Service, serving: Callable[..., Service], event_run: Path
) -> None:
    texts, events = calls.models.first, serving(f"flows={event_run}").models.first
    assert texts.session() is texts.session()
    assert events.session() is not events.session()


def test_a_language_model_talks_and_others_do_not(talker: Service, predictor: Predictor) -> None:
    served = talker.models.first
    assert served.talker is not None
    assert served.talker.max_new_tokens == 6
    assert Talker.of(predictor) is None
