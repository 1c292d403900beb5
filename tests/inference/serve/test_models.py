"""Which runs are served, by which names, and how newer ones take over."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import weakref
from pathlib import Path
from typing import Any, cast

import pytest

from jenga import saved
from jenga.errors import ConfigError, SetupError
from jenga.files import MANIFEST
from jenga.inference.serve.models import Models, Place, places_of, settle
from jenga.inference.serve.served import Served


class Loaded:
    """Stands in for a loaded model."""

    def __init__(self, name: str, folder: Path) -> None:
        if (folder / "broken").exists():
            raise SetupError(f"{folder}: broken")
        self.name, self.folder, self.fingerprint, self.closed = name, folder, saved.fingerprint(folder), False

    def close(self) -> None:
        self.closed = True

    def join(self) -> None:
        assert self.closed


def make(name: str, folder: Path) -> Served:
    return cast(Served, Loaded(name, folder))


@pytest.fixture
def runs(run: Path, tmp_path: Path) -> Path:
    """A folder of runs, with one that is finished."""
    folder = tmp_path / "project"
    add(folder, "2026-01-01", run)
    return folder


def add(folder: Path, name: str, run: Path, *, status: str = "finished", broken: bool = False) -> None:
    (folder / name).mkdir(parents=True)
    best = shutil.copytree(run / "best", folder / name / "best")
    content = json.loads((best / MANIFEST).read_text())
    (best / MANIFEST).write_text(json.dumps(content, indent=len(name) + sum(map(ord, name)) % 7))
    if broken:
        (best / "broken").touch()
    (folder / name / "run.json").write_text(json.dumps({"status": status}))


def test_runs_are_named_by_their_project_or_as_the_caller_says(run: Path, runs: Path) -> None:
    found = places_of([str(runs), f"mine={run}"])
    assert [(place.name, place.moves) for place in found] == [("project", True), ("mine", False)]
    assert places_of([str(runs / "2026-01-01")])[0].name == "project"
    assert places_of([str(runs / "2026-01-01" / "best")])[0].name == "project"


@pytest.mark.parametrize(
    ("given", "told"),
    [(["a=x", "a=y"], "two models are called 'a'"), (["a/b=x"], "cannot name a model"), (["=x=y"], "no such folder")],
)
def test_names_that_cannot_be_told_apart_are_refused(given: list[str], told: str) -> None:
    with pytest.raises((ConfigError, SetupError), match=told):
        Models(places_of(given), make)


def test_of_a_folder_of_runs_the_newest_that_is_finished_is_served(run: Path, runs: Path) -> None:
    add(runs, "2026-01-03", run, status="running")
    add(runs, "2026-01-02", run)
    (runs / "2026-01-04").mkdir()
    assert Place("p", runs).model() == runs / "2026-01-02" / "best"


def test_a_folder_without_a_run_says_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no trained model here"):
        Place("p", tmp_path).model()


def test_a_newer_run_takes_over_and_the_old_one_is_closed(run: Path, runs: Path) -> None:
    models = Models(places_of([str(runs)]), make)
    old = models.first
    asyncio.run(models.reload())
    assert models.first is old
    add(runs, "2026-01-02", run)
    asyncio.run(models.reload())
    assert models.first.folder == runs / "2026-01-02" / "best"
    assert cast(Any, old).closed
    assert models.reloads == 1


def test_a_broken_run_keeps_the_old_one_is_told_once_and_tried_again_when_asked(
    run: Path, runs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models = Models(places_of([str(runs)]), make)
    old = models.first
    add(runs, "2026-01-02", run, broken=True)
    for _ in range(3):
        asyncio.run(models.reload())
    assert models.first is old
    assert not cast(Any, old).closed
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "broken" in caplog.text
    (runs / "2026-01-02" / "best" / "broken").unlink()
    asyncio.run(models.reload())
    assert models.first is old
    asyncio.run(models.reload(again=True))
    assert models.first is not old


def test_a_folder_that_is_gone_keeps_what_was_loaded(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    models = Models(places_of([str(runs)]), make)
    shutil.rmtree(runs)
    asyncio.run(models.reload())
    assert models.first.name == "project"
    assert "is not served" in caplog.text


def test_a_run_that_is_written_anew_in_its_place_is_taken_when_asked(run: Path, runs: Path) -> None:
    place = runs / "2026-01-01"
    models = Models(places_of([f"mine={place}"]), make)
    old = models.first
    shutil.rmtree(place)
    add(runs, "2026-01-01", run)
    (place / "best" / MANIFEST).write_text(json.dumps(json.loads((place / "best" / MANIFEST).read_text()), indent=40))
    asyncio.run(models.reload(again=True))
    assert models.first is not old


def test_watching_ends_where_nothing_moves_and_finds_what_does(run: Path, runs: Path) -> None:
    asyncio.run(asyncio.wait_for(Models(places_of([f"mine={run}"]), make).watch(0.01), 5))
    models = Models(places_of([str(runs)]), make)

    async def watch() -> None:
        watching = asyncio.ensure_future(models.watch(0.01))
        add(runs, "2026-01-02", run)
        async with asyncio.timeout(10):
            while not models.reloads:
                await asyncio.sleep(0.01)
        watching.cancel()

    asyncio.run(watch())
    assert models.first.folder == runs / "2026-01-02" / "best"


def test_unknown_names_are_told_with_those_that_are_known(runs: Path) -> None:
    models = Models(places_of([str(runs)]), make)
    assert models.named("project") is models.first
    with pytest.raises(ConfigError, match="did you mean 'project'"):
        models.named("projekt")
    models.close()
    assert cast(Any, models.first).closed


def test_a_model_that_is_replaced_is_given_back(run: Path, runs: Path) -> None:
    models = Models(places_of([str(runs)]), make)
    old = cast(Any, models.first)
    old.itself = old  # as modules of torch hold one another
    gone = weakref.ref(old)
    settle()
    del old
    add(runs, "2026-01-02", run)

    async def renew() -> None:
        await models.reload()
        async with asyncio.timeout(10):
            while gone() is not None:
                await asyncio.sleep(0.01)

    asyncio.run(renew())
