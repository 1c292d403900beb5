"""Teachers: what a frozen model says of the rows that its student learns from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from jenga.bundle import Bundle
from jenga.distillation.heads import teach_heads
from jenga.distillation.origin import KEY, Origin
from jenga.distillation.running import RunningTeacher
from jenga.distillation.top_k import TopKCache, attach, default_folder, describe, identity
from jenga.errors import ConfigError
from jenga.files import cache_folder
from jenga.labels import kind_named
from jenga.modalities.text.pieces import EncodedLanguage
from jenga.rows.batches import Source
from jenga.rows.split import TRAIN
from jenga.tasks.matching import Matching, Shape

__all__ = ["RunningTeacher", "make_teacher"]


def make_teacher(
    bundle: Bundle, sources: Sequence[Source], device: torch.device, tell: Callable[[str], None] = lambda line: None
) -> tuple[RunningTeacher | None, list[str]]:
    """Let the configured teacher speak of the training rows of `sources`; return one that runs at each step, if any.

    The second is what a user should know of it, a sentence each. Labelled heads are taught by a run of Jenga, whose
    logits of all rows are computed here; language heads by that, or by any causal model of transformers. Raises
    ConfigError where the teacher does not fit the student, or teaches nothing; SetupError where it cannot be had.

    tell: called with a line on how far something long is.
    """
    students = {
        name: settings
        for name, block in bundle.config.backbones.items()
        if (settings := getattr(block, "teacher_student_config", None)) is not None and settings.enabled
    }
    running: dict[str, RunningTeacher] = {}
    warnings: list[str] = []
    for name, settings in students.items():
        own = [source for source in sources if source.encoder == name]
        teacher, told = _teacher_of(Origin(bundle, settings, name), own, device, tell)
        warnings += told
        if teacher is not None:
            teacher.sources = frozenset(source.name for source in own)
            running[name] = teacher
    if len(running) > 1:
        raise ConfigError(
            f"{KEY}: {' and '.join(running)} both have a teacher that runs at each step, and one can; keep "
            "the logits of one on disk (top_k), or train them one by one"
        )
    return next(iter(running.values()), None), warnings


def _teacher_of(
    origin: Origin, sources: Sequence[Source], device: torch.device, tell: Callable[[str], None]
) -> tuple[RunningTeacher | None, list[str]]:
    bundle, settings = origin.student, origin.settings
    parts = [source.splits[TRAIN] for source in sources]
    keys = [key for part in parts for key in part.spaces]
    texts = [key for key in keys if kind_named(bundle.spaces[key].kind).from_text]
    taught = []
    if origin.folder is not None and len(texts) < len(keys):
        taught = teach_heads(origin, sources, device)
    running = None
    if texts and origin.generates:
        taught += texts
        if settings.top_k is None:
            packed = any(part.encoded.packed for part in parts)
            running = origin.language_teacher(texts, packed=packed)
        else:
            _keep_top_k(origin, settings.top_k, sources, device, tell)
    if settings.hidden_states is not None or settings.attentions is not None:
        running = running or origin.encoder_teacher()
        _match(origin, running)
    elif not taught:
        what = (
            "is no run of Jenga, which alone can teach labelled heads"
            if origin.folder is None
            else "has none of the heads"
        )
        raise ConfigError(f"{KEY}: '{settings.teacher_model}' {what}: {', '.join(map('.'.join, keys))}")
    alone = [".".join(key) for key in keys if key not in taught]
    warnings = [f"the teacher does not know, and labels alone teach: {', '.join(alone)}"] if alone else []
    return running, warnings


def _match(origin: Origin, teacher: RunningTeacher) -> None:
    """Compare the inner states of student and teacher in training."""
    bundle, settings, backbone = origin.student, origin.settings, origin.backbone
    backbone.keep_states(hidden_states=settings.hidden_states is not None, attentions=settings.attentions is not None)
    student = backbone.transformer
    assert student is not None, "what hands on its states is a model of transformers"
    bundle.model.matched = origin.encoder
    bundle.model.matching = Matching(settings, _shape(student.base_model), _shape(teacher.encoder))


def _shape(encoder: Any) -> Shape:
    return Shape(encoder.config.num_hidden_layers, encoder.config.hidden_size)


def _keep_top_k(
    origin: Origin, k: int, sources: Sequence[Source], device: torch.device, tell: Callable[[str], None]
) -> None:
    """Let the learnt tokens of every language source be taught from disk; what is missing there is made first."""
    settings, backbone, inputs = origin.settings, origin.backbone, origin.inputs
    data = origin.student.config.data
    teacher = identity(origin.checkpoint, settings.teacher_dtype)
    cache_dir = Path(data.cache_dir) if data.cache_dir else cache_folder("teachers").parent
    running = None
    for source in sources:
        part = source.splits[TRAIN]
        if not any(kind_named(space.kind).from_text for space in part.spaces.values()):
            continue
        language = cast(EncodedLanguage, part.encoded)
        of = describe(language, inputs.tokenizer, teacher, k=k, vocabulary=len(backbone.output_layer[0]))
        place = Path(settings.top_k_dir) / source.name if settings.top_k_dir else default_folder(cache_dir, of)
        cache = TopKCache(place, language, of)
        if not cache.complete:
            running = running or origin.language_teacher([], packed=False).to(device)
            cache.fill(running, inputs.tokenizer.pad_token_id, tell)
        attach(part, cache, settings)
