"""What rules are told of a model's answers is what the answers hold."""

from __future__ import annotations

from typing import Any

import pytest

from jenga.inference.answered import answered
from jenga.inference.predictor import Predictor
from jenga.labels import LABEL_KINDS
from jenga.labels.base import LabelKind
from jenga.policy.match import Matcher
from jenga.policy.schema import When
from jenga.types import HeadSpace

ANY: dict[str, dict[str, Any]] = {
    "probability": {"min_probability": 0.0},
    "score": {"min_score": -1.0},
    "value": {"min_value": -1e9},
}


def test_heads_of_every_kind_say_what_rules_may_ask_of_them(predictor: Predictor) -> None:
    found = answered(predictor.bundle)
    closing = ("summarises_call", "says_goodbye_politely", "gives_reference")
    assert found["QA"]["closing"].labels == closing
    assert found["QA"]["closing"].holds == found["QA"]["grade"].holds == {"label", "probability", "score"}
    assert found["QA"][""].holds == {"score"}
    assert found["sentiment"]["feeling"].holds == {"label", "probability"}
    assert list(found["sentiment"]) == ["feeling"]
    (names,) = found["names"].values()
    assert "PERSON" in names.labels
    assert not [label for label in names.labels if label.startswith(("B-", "I-"))]
    (length,) = found["length"].values()
    assert length.holds == {"value"}


@pytest.mark.parametrize("which", ["predictor", "detector"])
def test_what_may_be_asked_is_found_in_real_answers(which: str, request: pytest.FixtureRequest) -> None:
    made: Predictor = request.getfixturevalue(which)
    rows: list[Any] = [{"text": "Amina called about her bill"}, {"text": "good bye and thank you"}]
    if which == "detector":
        from jenga.samples.network import generate_flows

        rows = generate_flows(5)
    answers = made.predict(rows)
    tried = 0
    for task, heads in answered(made.bundle).items():
        for head, each in heads.items():
            for what in each.holds & ANY.keys():
                if made.model.tasks[task].by_position or (what == "probability" and "closing" in head):
                    continue  # an untrained model may say yes to no item and find no entity
                matcher = Matcher(When(task=task, head=head or None, **ANY[what]))
                assert all(matcher.match(answer) for answer in answers), (task, head, what)
                tried += 1
            if "alert" in each.holds:
                alerts = [bool(Matcher(When(task=task, head=head, alert=True)).match(answer)) for answer in answers]
                assert alerts == [answer[task][head]["alert"] for answer in answers]
                tried += 1
    assert tried >= 2


def test_a_kind_that_says_nothing_is_asked_nothing() -> None:
    asked = {name: LABEL_KINDS[name]().conditions(HeadSpace("t", "h", name, 2, ("a", "b"))) for name in LABEL_KINDS}
    assert {name for name, holds in asked.items() if not holds} == {
        name for name in LABEL_KINDS if LABEL_KINDS[name].conditions is LabelKind.conditions
    }
    assert asked["number"] == {"label", "value"}
