"""Checkpoints that have proved good."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from jenga.files import atomic_folder
from jenga.sentinel.ring import Ring


@pytest.fixture
def ring(tmp_path: Path) -> Ring:
    return Ring(tmp_path / "ring", keep=2)


def save(ring: Ring, tmp_path: Path, step: int, *, best: bool = True) -> Path:
    folder = tmp_path / "checkpoints" / f"step-{step:08d}"
    places = (folder, tmp_path / "best") if best else (folder,)
    for place in places:
        with atomic_folder(place) as staging:
            (staging / "state").write_text(str(step))
    ring.add(folder, tmp_path / "best", step)
    return folder


def test_a_checkpoint_is_good_once_it_is_verified_and_outlives_its_folder(ring: Ring, tmp_path: Path) -> None:
    shutil.rmtree(save(ring, tmp_path, 5))
    save(ring, tmp_path, 10)
    assert ring.newest(10) is None
    assert ring.verify(12, before=7) == [5]
    assert ring.pending() == [10]
    kept = ring.newest(11)
    assert kept is not None
    assert (kept.step, kept.checkpoint.name) == (5, "step-00000005")
    assert (kept.checkpoint / "state").read_text() == "5"
    assert kept.best is not None
    assert (kept.best / "state").read_text() == "5", "the best model of its time"
    assert ring.newest(4) is None


def test_so_many_are_kept_beside_the_start_and_what_is_not_verified_yet(ring: Ring, tmp_path: Path) -> None:
    for step in (0, 1, 2, 3, 4):
        save(ring, tmp_path, step, best=step > 0)
    assert ring.verify(9, before=3) == [1, 2, 3]
    assert sorted(each.name for each in ring.folder.iterdir()) == [f"{step:08d}" for step in (0, 2, 3, 4)]
    start = ring.start()
    assert start is not None
    assert (start.step, start.best) == (0, None)


def test_where_alarms_go_on_no_more_wait_than_can_be_gone_back_to(ring: Ring, tmp_path: Path) -> None:
    other = Ring(tmp_path / "other", keep=2)
    for step in range(8):
        save(ring, tmp_path, step)
        save(other, tmp_path, step)
        ring.thin(alarm=step - 2)
    assert ring.pending() == [4, 5, 6, 7], "two from before the last alarm, and what came after it"
    for each in (ring, other):
        each.verify(12, before=7)
    assert sorted(path.name for path in ring.folder.iterdir()) == sorted(path.name for path in other.folder.iterdir())


def test_the_start_is_good_from_the_start(ring: Ring, tmp_path: Path) -> None:
    assert ring.start() is None
    save(ring, tmp_path, 0, best=False)
    kept = ring.newest(3)
    assert kept is not None
    assert kept.step == 0


def test_a_harmed_one_is_passed_over_and_told(ring: Ring, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for step in (1, 2):
        save(ring, tmp_path, step)
    ring.verify(9, before=2)
    (ring.folder / "00000002" / "step-00000002" / "state").unlink()
    kept = ring.newest(9)
    assert kept is not None
    assert kept.step == 1
    assert "is passed over" in caplog.text


def test_what_a_killed_process_left_half_made_is_none(ring: Ring, tmp_path: Path) -> None:
    save(ring, tmp_path, 1)
    (ring.folder / "00000002" / "best").mkdir(parents=True)
    ring.verify(9, before=9)
    assert [each.name for each in ring.folder.iterdir()] == ["00000001"]


def test_later_ones_are_forgotten_where_the_run_goes_another_way(ring: Ring, tmp_path: Path) -> None:
    for step in (1, 2):
        save(ring, tmp_path, step)
    ring.forget_after(1)
    assert ring.pending() == [1]
