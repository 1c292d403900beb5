"""What each head of a task answers, with the sets and intervals that its model was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from jenga.bundle import Bundle, HeadKey
from jenga.errors import ConfigError
from jenga.labels.base import Answers
from jenga.rows.content import Content
from jenga.rows.parse import SourceSpec


def head_answers(
    bundle: Bundle,
    name: str,
    predictions: Mapping[HeadKey, Any],
    logits: Mapping[HeadKey, Sequence[torch.Tensor]],
    content: Content,
    *,
    probabilities: bool,
) -> dict[str, Answers]:
    """Return by head each row's answer of the task `name`; logits: calibrated, as `Runner.calibrated` has them."""
    task, found = bundle.model.tasks[name], {}
    for head in task.heads.sizes:
        key = (name, head)
        said = (bundle.spaces[key], predictions[key], logits[key])
        found[head] = task.answers(*said, content, as_words=content.as_words, probabilities=probabilities)
        own = bundle.certainty.get(key)
        if own is not None and own.conformal is not None:
            for answer, more in zip(found[head], task.plausible(*said, own.conformal.limits).answers, strict=True):
                answer |= more
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
