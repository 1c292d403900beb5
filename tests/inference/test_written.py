import json

import pytest

from jenga.inference.reading import ASIDE
from jenga.inference.written import written

ANSWERS = [
    {"id": "1", "mood": {"x": {"label": "good"}}, ASIDE: {"text": "a"}},
    {"id": "2", "error": "blank", ASIDE: {}},
    {"id": "3", "error": "no pair", "mood": {"x": {"label": "bad"}}, ASIDE: {"text": "c"}},
]


def test_answers_are_lines_of_json_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jenga.inference.written.ROWS_AT_ONCE", 2)
    plain = [{name: value for name, value in each.items() if name != ASIDE} for each in ANSWERS]
    parts = list(written(plain, frozenset({"mood", "rating"}), whole=False))
    assert [(part.rows, part.unusable, part.failed, part.seen) for part in parts] == [(2, 1, 1, []), (1, 1, 0, [])]
    assert [json.loads(line) for part in parts for line in part.text.splitlines()] == plain


def test_rows_stand_beside_answers_and_never_among_them() -> None:
    [part] = written([dict(each) for each in ANSWERS], frozenset({"mood"}), whole=True)
    assert [event for event, _ in part.seen] == [each[ASIDE] for each in ANSWERS]
    assert [json.loads(line) for line in part.text.splitlines()] == [answer for _, answer in part.seen]
    assert not any(ASIDE in answer for _, answer in part.seen)
