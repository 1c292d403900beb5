"""What a launcher tells a process."""

from __future__ import annotations

import pytest

from jenga.launched import RESTARTS, number, restarted, size


def test_alone_a_process_is_the_first_and_was_never_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT", RESTARTS):
        monkeypatch.delenv(name, raising=False)
    assert (number(), size()) == (0, 1)
    assert not restarted()


@pytest.mark.parametrize(("rank", "world"), [("3", ""), ("", "4"), ("x", "4"), ("1", "1")])
def test_what_no_launcher_says_is_nothing(monkeypatch: pytest.MonkeyPatch, rank: str, world: str) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", world)
    assert number() == 0


@pytest.mark.parametrize("restarts", ["TORCHELASTIC_RESTART_COUNT", RESTARTS])
def test_a_launcher_tells_its_number_and_that_it_was_started_anew(
    monkeypatch: pytest.MonkeyPatch, restarts: str
) -> None:
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv(restarts, "1")
    assert (number(), size()) == (3, 4)
    assert restarted()
