"""What every format of graphs begins with: the pass of one encoder, up to the logits of its tasks, traced by torch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from jenga.bundle import Bundle
from jenga.errors import ConfigError, JengaError
from jenga.inference.export.lstm import traceable
from jenga.inference.predictor import Predictor
from jenga.inference.reading import Reader
from jenga.modalities.text.pretrained import quiet
from jenga.model import MultiTaskModel
from jenga.saved import Description

HeadKey = tuple[str, str]
_ROWS = 3
_LONGER = 5
"""How many times as long the texts of the other rows are: some of what is traced is padding."""


@dataclass(frozen=True)
class Traced:
    """The pass of the encoder `name`. `inputs`: those that it was traced with; `outputs`: of which logits, in order."""

    name: str
    program: ExportedProgram
    inputs: dict[str, torch.Tensor]
    outputs: list[HeadKey]


class Pass(nn.Module):
    """One encoder's pass: from its inputs, by name, to the float32 logits of its tasks' heads."""

    def __init__(self, model: MultiTaskModel, encoder: str) -> None:
        super().__init__()
        self.model = model
        self.tasks = [name for name in model.tasks if model.reads[name] == encoder]
        self.outputs = [(name, head) for name in self.tasks for head in model.tasks[name].heads.sizes]

    def forward(self, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Return the logits of `outputs`."""
        found = self.model(inputs, self.tasks)
        return tuple(found[task].logits[head].float() for task, head in self.outputs)


def traced(bundle: Bundle, said: Description) -> Iterator[Traced]:
    """Yield the pass of each encoder of a model; said: what its folder says of it.

    Raises ConfigError where a task generates, has no logits by row, or a pass cannot be traced.
    """
    for name in bundle.model.tasks:
        if bundle.model.tasks[name].generates:
            raise ConfigError(
                f"--format: task '{name}' generates texts, token by token, and a graph is one pass; use --format "
                "transformers, or gguf"
            )
    for name in bundle.inputs:
        part = bundle.part(name)
        inputs = _sample(part, said.example())
        one = Pass(bundle.model, name).eval()
        with traceable(one), torch.no_grad():
            yield Traced(name, _program(one, inputs, name), inputs, one.outputs)


def _program(one: Pass, inputs: dict[str, torch.Tensor], name: str) -> ExportedProgram:
    """Return the pass traced with the axes that vary from batch to batch left open."""
    # Rows vary; of the rest, all that nothing in the model fixes: tokens and frames, but not the width of features.
    axes = {key: {at: Dim.AUTO if at else Dim.DYNAMIC for at in range(each.ndim)} for key, each in inputs.items()}
    try:
        with hushed():
            return torch.export.export(one, (inputs,), dynamic_shapes=(axes,))
    except JengaError:
        raise
    except Exception as error:  # whatever a model does that torch cannot trace
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ConfigError(
            f"--format: the pass of encoder '{name}' cannot be traced ({type(error).__name__}: {reason}); its forward "
            "must not ask for the values of tensors. Use --format transformers"
        ) from error


def _sample(bundle: Bundle, example: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return inputs of some rows as the one encoder of `bundle` reads them, of all that its tasks may give it."""
    predictor = Predictor(bundle, device="cpu")
    rows = [dict(example), *[_longer(example)] * (_ROWS - 1)]
    with hushed():
        inputs = _encoded(predictor, rows) or _encoded(predictor, [dict(example)] * _ROWS)
    if not inputs:
        raise ConfigError("--format: an example of a row is none that the model reads; use --format transformers")
    return inputs


def _encoded(predictor: Predictor, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Return the inputs of all of `rows`, in every way in which they are read; none where one cannot be used."""
    raw = predictor.given(rows, "the example")
    found: dict[str, torch.Tensor] = {}
    encoder = predictor.inputs.encoder([raw])
    for reading in predictor.plan(raw).readings:
        parsed = Reader(raw, reading).parse(raw)
        split = encoder.encode(parsed.rows, reading.spec, {})
        if len(split) < len(rows):
            return {}
        inputs = split.batch(range(len(rows))).inputs
        found |= {key: each for key, each in inputs.items() if key not in found}
    return found


@contextmanager
def hushed() -> Iterator[None]:
    """Keep what libraries say of their own insides, and what an example lacks, from whoever asked for an export."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), quiet():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _longer(value: Any) -> Any:
    """Return a value of a row with longer texts and sounds."""
    if isinstance(value, Mapping):
        return {key: _longer(each) for key, each in value.items()}
    if isinstance(value, str):
        return " ".join([value] * _LONGER)
    if isinstance(value, list) and value and isinstance(value[0], float):
        return value * 2
    return value
