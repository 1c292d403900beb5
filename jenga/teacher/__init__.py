"""Teachers: what a frozen model says of the rows that its student learns from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from jenga.backbones.language import load_language_model
from jenga.backbones.pretrained import checkpoint_folder, load_encoder, load_tokenizer, read_settings
from jenga.backbones.text import TextBackbone
from jenga.bundle import Bundle
from jenga.config.distillation import TeacherStudentConfig
from jenga.data.collate import Source
from jenga.data.language import LanguageSplit
from jenga.data.split import TRAIN
from jenga.data.text import default_cache_dir
from jenga.errors import ConfigError
from jenga.inputs import TextInputs
from jenga.tasks.matching import Matching, Shape
from jenga.teacher.heads import teach_heads
from jenga.teacher.precision import reduce_precision
from jenga.teacher.running import RunningTeacher
from jenga.teacher.top_k import TopKCache, attach, default_folder, describe, identity
from jenga.teacher.vocabulary import check_same_tokens

__all__ = ["RunningTeacher", "make_teacher"]
_KEY = "model.teacher_student_config.teacher_model"


def make_teacher(
    bundle: Bundle, sources: Sequence[Source], device: torch.device, tell: Callable[[str], None] = lambda line: None
) -> tuple[RunningTeacher | None, list[str]]:
    """Let the configured teacher speak of the training rows of `sources`; return one that runs at each step, if any.

    The second is what a user should know of it, a sentence each. Labelled heads are taught by a run of Jenga, whose
    logits of all rows are computed here; language heads by that, or by any causal model of transformers. Raises
    ConfigError where the teacher does not fit the student, or teaches nothing; SetupError where it cannot be had.

    tell: called with a line on how far something long is.
    """
    settings = getattr(bundle.config.model, "teacher_student_config", None)
    if settings is None or not settings.enabled:
        return None, []
    folder = bundle_folder(settings.teacher_model)
    teacher = None if folder is None else Bundle.load(folder)
    if teacher is not None and not isinstance(teacher.inputs, TextInputs):
        raise ConfigError(f"{_KEY}: '{settings.teacher_model}' reads events, and the student texts; name one of texts")
    keys = [key for source in sources for key in source.splits[TRAIN].spaces]
    texts = [key for key in keys if bundle.spaces[key].kind == "text"]
    taught = [] if teacher is None else teach_heads(bundle, teacher, sources, settings, device)
    running = None
    if texts and (teacher is None or _generates(teacher)):
        taught += texts
        if settings.top_k is None:
            running = _language_teacher(bundle, teacher, sources, settings, texts)
        else:
            _keep_top_k(bundle, teacher, sources, settings, device, tell)
    if settings.hidden_states is not None or settings.attentions is not None:
        running = running or _matched_teacher(bundle, teacher, settings)
        _match(bundle, running, settings)
    elif not taught:
        what = (
            "is no run of Jenga, which alone can teach labelled heads" if teacher is None else "has none of the heads"
        )
        raise ConfigError(f"{_KEY}: '{settings.teacher_model}' {what}: {', '.join(map('.'.join, keys))}")
    alone = [".".join(key) for key in keys if key not in taught]
    warnings = [f"the teacher does not know, and labels alone teach: {', '.join(alone)}"] if alone else []
    return running, warnings


def bundle_folder(name: str) -> Path | None:
    """Return the folder of a trained model of Jenga that `name` is, or holds as ``best/``; None where it is neither."""
    return next((each for each in (Path(name), Path(name) / "best") if (each / "jenga.json").is_file()), None)


def _generates(teacher: Bundle) -> bool:
    return any(space.kind == "text" for space in teacher.spaces.values())


def _language_teacher(
    bundle: Bundle,
    teacher: Bundle | None,
    sources: Sequence[Source],
    settings: TeacherStudentConfig,
    keys: list[tuple[str, str]],
) -> RunningTeacher:
    backbone, inputs = bundle.model.backbone, bundle.inputs
    assert isinstance(backbone, TextBackbone)
    assert isinstance(inputs, TextInputs)
    if backbone.output_layer[1] is not None:
        raise ConfigError(
            f"model.teacher_student_config: the output layer of '{backbone.model_name}' has a bias, which distillation "
            "does not compute; choose another student"
        )
    model, tokenizer = _language_model(bundle, teacher, settings)
    reduce_precision(model, settings.teacher_dtype)
    check_same_tokens(inputs.tokenizer, tokenizer, teacher_name=settings.teacher_model)
    made = RunningTeacher(model, settings, keys)
    if any(isinstance(part := each.splits[TRAIN], LanguageSplit) and part.packs for each in sources):
        made.check_packing()
    return made


def _matched_teacher(bundle: Bundle, teacher: Bundle | None, settings: TeacherStudentConfig) -> RunningTeacher:
    """Return a teacher that runs for its inner states alone, which labelled heads do not need."""
    inputs = bundle.inputs
    assert isinstance(inputs, TextInputs)
    if teacher is None:
        block = _block_of(bundle, settings)
        encoder, tokenizer = load_encoder(settings.teacher_model, block)[0], load_tokenizer(block)
    else:
        assert isinstance(teacher.model.backbone, TextBackbone)
        assert isinstance(teacher.inputs, TextInputs)
        encoder, tokenizer = teacher.model.backbone.encoder, teacher.inputs.tokenizer
    reduce_precision(encoder, settings.teacher_dtype)
    check_same_tokens(inputs.tokenizer, tokenizer, teacher_name=settings.teacher_model)
    return RunningTeacher(encoder, settings, [])


def _match(bundle: Bundle, teacher: RunningTeacher, settings: TeacherStudentConfig) -> None:
    backbone = bundle.model.backbone
    if not isinstance(backbone, TextBackbone):
        raise ConfigError(
            f"model.teacher_student_config: {type(backbone).__name__} hands on no inner states to match; remove "
            "hidden_states and attentions"
        )
    bundle.model.matching = Matching(settings, _shape(backbone.encoder), _shape(teacher.encoder))
    backbone.keep_states(hidden_states=settings.hidden_states is not None, attentions=settings.attentions is not None)


def _shape(encoder: Any) -> Shape:
    return Shape(encoder.config.num_hidden_layers, encoder.config.hidden_size)


def _keep_top_k(
    bundle: Bundle,
    teacher: Bundle | None,
    sources: Sequence[Source],
    settings: TeacherStudentConfig,
    device: torch.device,
    tell: Callable[[str], None],
) -> None:
    """Let the learnt tokens of every language source be taught from disk; what is missing there is made first."""
    backbone, inputs, data = bundle.model.backbone, bundle.inputs, bundle.config.data
    assert isinstance(backbone, TextBackbone)
    assert isinstance(inputs, TextInputs)
    assert settings.top_k is not None
    folder = checkpoint_folder(settings.teacher_model, key=_KEY)
    teacher_settings = read_settings(str(folder), bundle.config.model.model_copy(update={"dropout": None}))
    vocabulary = min(len(backbone.output_layer[0]), teacher_settings.vocab_size)
    if settings.top_k > vocabulary:
        raise ConfigError(f"model.teacher_student_config.top_k: {settings.top_k}, but there are {vocabulary} tokens")
    name = identity(folder, settings.teacher_dtype)
    for source in sources:
        part = source.splits[TRAIN]
        if not isinstance(part, LanguageSplit):
            continue
        of = describe(part.language, inputs.tokenizer, name, k=settings.top_k, vocabulary=vocabulary)
        cache_dir = Path(data.cache_dir) if data.cache_dir else default_cache_dir().parent
        place = Path(settings.top_k_dir) / source.name if settings.top_k_dir else default_folder(cache_dir, of)
        cache = TopKCache(place, part.language, of)
        if not cache.complete:
            made = _language_teacher(bundle, teacher, [], settings, []).to(device)
            cache.fill(made, inputs.tokenizer.pad_token_id, tell)
        attach(part, cache, settings)


def _language_model(bundle: Bundle, teacher: Bundle | None, settings: TeacherStudentConfig) -> tuple[Any, Any]:
    if teacher is not None:
        assert isinstance(teacher.model.backbone, TextBackbone)
        assert isinstance(teacher.inputs, TextInputs)
        return teacher.model.backbone.language_model, teacher.inputs.tokenizer
    block = _block_of(bundle, settings)
    return load_language_model(settings.teacher_model, block, key=_KEY), load_tokenizer(block)


def _block_of(bundle: Bundle, settings: TeacherStudentConfig) -> Any:
    """Return the model's block as it would be of the teacher."""
    cleared = {"base_model": settings.teacher_model, "tokenizer": None, "dropout": None, "teacher_student_config": None}
    return bundle.config.model.model_copy(update=cleared)
