"""A teacher of labelled heads: its logits of all training rows, computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from jenga.bundle import Bundle
from jenga.config.distillation import TeacherStudentConfig
from jenga.distillation.origin import Origin
from jenga.distillation.precision import reduce_precision
from jenga.errors import ConfigError
from jenga.labels import kind_named
from jenga.rows.batches import EncodedSplit, Source
from jenga.rows.split import TRAIN
from jenga.tasks.distillation import HeadTeacher
from jenga.trainer.evaluate import Runner
from jenga.trainer.recipe import evaluation_batch_sizes, evaluation_batch_tokens
from jenga.types import HeadSpace

HeadKey = tuple[str, str]
_SHOWN = 5


def teach_heads(origin: Origin, sources: Sequence[Source], device: torch.device) -> list[HeadKey]:
    """Give the training rows of `sources` the logits of the run at `origin` for each head that both models have.

    The teacher reads the rows with its own tokenizer, once, in evaluation mode. Returns the heads that it teaches.
    Raises ConfigError where a head of both has other labels.
    """
    student, teacher, settings = origin.student, origin.bundle, origin.settings
    taught: list[HeadKey] = []
    specs = {head.task: spec for spec in teacher.specs for head in spec.heads}
    size = evaluation_batch_sizes(student.config)[origin.encoder]
    tokens = evaluation_batch_tokens(student.config).get(origin.encoder)
    for backbone in teacher.model.encoders.values():
        if settings.teacher_dtype == "int8" and backbone.transformer is not None:
            reduce_precision(backbone.transformer, "int8")

    def autocast() -> AbstractContextManager[Any]:
        # The heads stay in float32: they are small, and their logits are what is learnt.
        return torch.autocast(device.type, torch.bfloat16) if settings.teacher_dtype == "bf16" else nullcontext()

    sizes = dict.fromkeys(teacher.model.encoders, size)
    budgets = {} if tokens is None else dict.fromkeys(teacher.model.encoders, tokens)
    runner = Runner(teacher.model.to(device), device, autocast, sizes, {}, batch_tokens=budgets)
    for source in sources:
        part = source.splits[TRAIN]
        common = [key for key, space in part.spaces.items() if _teachable(student, teacher, key, space)]
        orders = {key: _order(key, part.spaces[key], teacher.spaces[key]) for key in common}
        # Tasks of the teacher that read rows alike are encoded together.
        for content in dict.fromkeys(specs[task].content for task, _ in common):
            keys = [key for key in common if specs[key[0]].content == content]
            spec = specs[keys[0][0]]
            encoded = teacher.encoder_of(spec).encode(part.rows, spec)
            read = EncodedSplit(source.name, part.rows, encoded, {})
            logits = runner.logits(read, list(dict.fromkeys(task for task, _ in keys)))
            for key in keys:
                task, own = student.model.tasks[key[0]], teacher.model.tasks[key[0]]
                rows = [task.in_own_terms(key[1], own, each, orders[key]) for each in logits[key]]
                part.teacher[key] = _sayings(part, rows, part.spaces[key], settings)
                task.keeps_logits = True
            taught += keys
    return taught


def _teachable(student: Bundle, teacher: Bundle, key: HeadKey, space: HeadSpace) -> bool:
    known = teacher.spaces.get(key)
    if known is None or any(kind_named(each.kind).from_text for each in (space, known)):
        return False
    return student.model.tasks[key[0]].teachable


def _order(key: HeadKey, ours: HeadSpace, theirs: HeadSpace) -> list[int]:
    """Return where the teacher has each label of the student. Raises ConfigError where they differ."""
    where = f"model.teacher_student_config: head '{'.'.join(key)}'"
    if ours.kind != theirs.kind:
        raise ConfigError(f"{where} is of kind '{ours.kind}' here and '{theirs.kind}' in the teacher; train one alike")
    lacking = [label for label in ours.labels if label not in theirs.labels]
    strange = [label for label in theirs.labels if label not in ours.labels]
    if lacking or strange:
        both = (("teacher", lacking), ("student", strange))
        words = [f"the {who} lacks {_some(labels)}" for who, labels in both if labels]
        raise ConfigError(
            f"{where}: its labels are not the teacher's: {'; '.join(words)}. Give both the same (`labels` of the "
            "head), or the head another name, to let it learn from its rows alone"
        )
    return [theirs.labels.index(label) for label in ours.labels]


def _some(labels: list[str]) -> str:
    more = len(labels) - _SHOWN
    return ", ".join(labels[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _sayings(
    part: EncodedSplit, rows: list[torch.Tensor], space: HeadSpace, settings: TeacherStudentConfig
) -> Callable[[Sequence[int], int], Any]:
    if not kind_named(space.kind).per_word:
        table = torch.stack(rows)
        return lambda index, width: HeadTeacher(settings, space.kind, table[list(index)])

    words = part.encoded.tokens

    def spread(index: Sequence[int], width: int) -> HeadTeacher:
        """Put each word's logits on its first token, which may be another one than in the teacher."""
        said = torch.full((len(index), width, space.size), torch.nan)
        for at, row in enumerate(index):
            assert words is not None
            tokens = words.words(row)
            kept = (tokens >= 0).nonzero()[0]
            said[at, tokens[kept].tolist()] = rows[row][kept.tolist()]
        return HeadTeacher(settings, space.kind, said)

    return spread
