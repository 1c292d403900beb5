"""What tasks that generate answer to some rows of a split, beside its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jenga.modalities import Encoder
from jenga.modalities.base import Generates
from jenga.rows.batches import Source
from jenga.trainer.evaluate import Runner


def add_answers(
    description: dict[str, Any], runner: Runner, inputs: Mapping[str, Encoder], sources: Sequence[Source], split: str
) -> None:
    """Add answers to rows of `split`, and what comes of judging them, to its part of evaluation.json.

    inputs: what made inputs of the rows of `sources`, by the name of their encoder.
    """
    described = {(head["task"], head["head"]): head for head in description["heads"]}
    for source in sources:
        part = source.splits.get(split)
        if part is None:
            continue

        def generator(source: Source = source) -> Generates:
            backbone = runner.model.encoders[source.encoder]
            return inputs[source.encoder].generator(
                backbone, source.content, device=runner.device, autocast=runner.autocast
            )

        for key in part.spaces:
            if key not in described:
                continue
            found = runner.model.tasks[key[0]].generated(part.rows, generator, batch_size=runner.size_for(key[0]))
            if found is None:
                continue
            answers, metrics = found
            head = described[key]
            head["details"] = head["details"] | {"answers": answers}
            head["metrics"] = head["metrics"] | metrics
            named = {f"{key[0]}_{key[1]}_{name}": value for name, value in metrics.items()}
            description["metrics"] = description["metrics"] | named
