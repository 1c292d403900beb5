"""A language head's labels are the row's own text."""

from __future__ import annotations

import pytest
import torch

from jenga.labels import kind_named
from jenga.labels.column import HeadColumn
from jenga.types import HeadSpace

SPACE = HeadSpace("lm", "text", "text", 0, ())


def test_every_row_counts_as_labelled() -> None:
    kind = kind_named("text")
    assert kind.from_text
    assert kind.labelled(SPACE, ["a", "b"]).tolist() == [True, True]
    assert kind.metrics[0].name == "perplexity"


def test_what_needs_labels_or_logits_is_refused() -> None:
    kind = kind_named("text")
    column = HeadColumn("lm", "text", "text", (), None, None)
    assert kind.settle(column, []) == (column, [])
    assert kind.infer(column, [], max_bad_fraction=0) == ()
    with pytest.raises(TypeError, match="stand in no column"):
        kind.reader(column, SPACE)
    with pytest.raises(TypeError, match="it generates"):
        kind.predict(torch.zeros(1, 2), 0.5)
    with pytest.raises(TypeError, match="judged by its loss"):
        kind.judge(SPACE, [0], [0])
    with pytest.raises(TypeError, match="no majority"):
        kind.majority(SPACE, [0], [0])
