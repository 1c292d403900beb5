"""What a launcher tells a process."""

from __future__ import annotations

import pytest

from jenga.launched import number, restarted


def test_alone_a_process_is_the_first_and_was_never_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    assert number() == 0
    assert not restarted()


def test_a_launcher_tells_its_number_and_that_it_was_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert number() == 3
    assert restarted()
