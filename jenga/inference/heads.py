"""What each head of a task answers, with the sets and intervals that its model was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from jenga.bundle import Bundle, HeadKey
from jenga.errors import ConfigError
from jenga.labels.base import Answers
from jenga.labels.tables import all_rounded
from jenga.rows.content import Content
from jenga.rows.parse import SourceSpec


def head_answers(
    bundle: Bundle,
    name: str,
    predictions: Mapping[HeadKey, Any],
    raw: Mapping[HeadKey, Sequence[torch.Tensor]],
    logits: Mapping[HeadKey, Sequence[torch.Tensor]],
    content: Content,
    *,
    probabilities: bool,
) -> dict[str, Answers]:
    """Return by head each row's answer of the task `name`.

    raw: the model's logits; logits: calibrated, as `Runner.calibrated` has them.
    """
    task, found = bundle.model.tasks[name], {}
    for head in task.heads.sizes:
        key = (name, head)
        said = (bundle.spaces[key], predictions[key], logits[key])
        found[head] = task.answers(*said, content, as_words=content.as_words, probabilities=probabilities)
        own = bundle.certainty.get(key)
        if own is not None and own.conformal is not None:
            for answer, more in zip(found[head], task.plausible(*said, own.conformal.limits).answers, strict=True):
                answer |= more
        if own is not None and own.scope is not None:
            unlike = task.unlikeness(bundle.spaces[key], raw[key], own.scope.score)
            assert unlike is not None, "it was when the scope was settled"
            beyond = own.scope.beyond(unlike).tolist()
            for answer, score, foreign in zip(found[head], all_rounded(unlike), beyond, strict=True):
                answer |= {"unlikeness": score, "out_of_scope": foreign}
    return found


def language_spec(bundle: Bundle, name: str | None) -> SourceSpec:
    """Return how the rows of the language task `name` are read; None: of the first there is.

    Raises ConfigError where the model has no such task.
    """
    specs = {head.task: spec for spec in bundle.specs for head in spec.heads if bundle.model.tasks[head.task].generates}
    if not specs:
        raise ConfigError("this model has no language task and generates nothing; use jenga predict")
    if name is not None and name not in specs:
        raise ConfigError(f"task '{name}' generates nothing; those that do: {', '.join(specs)}")
    return specs[name or next(iter(specs))]
