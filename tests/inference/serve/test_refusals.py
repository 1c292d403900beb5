"""What clients are told of errors."""

from __future__ import annotations

import json

import jsonschema
import pytest

from jenga.errors import ConfigError
from jenga.inference.serve.batcher import QueueFullError
from jenga.inference.serve.refusals import MEANINGS, RefusedError, error_schema, refusal_of


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (QueueFullError(9, 3), 429, "9 rows wait already"),
        (ConfigError("the model is odd"), 500, "the model is odd"),
        (KeyError("/etc/inside"), 500, "an unexpected error"),
    ],
)
def test_errors_have_a_status_and_words_of_their_own(error: Exception, status: int, told: str) -> None:
    refusal = refusal_of(error)
    assert (refusal.status, refusal.what) == (status, told)
    content = json.loads(bytes(refusal.response().body))
    jsonschema.validate(content, error_schema())
    assert status in MEANINGS


def test_a_refusal_stays_what_it_is_and_a_full_queue_says_when() -> None:
    given = RefusedError(404, "a", "b", "c")
    assert refusal_of(given) is given
    assert refusal_of(QueueFullError(9, 3)).response().headers["retry-after"] == "3"
