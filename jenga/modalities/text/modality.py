"""Texts as a modality: whole texts with labels, or texts to learn token by token."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jenga.config.checks import finding, frozen_from_nothing, parted_windows
from jenga.config.explain import Finding
from jenga.config.schema import DataConfig, ExperimentConfig
from jenga.config.tasks import TaskConfig
from jenga.config.yaml12 import Document, KeyPath
from jenga.errors import ConfigError
from jenga.files import atomic_folder, damage
from jenga.modalities.base import MODALITIES, Encoder, Modality, Prepared
from jenga.modalities.quick import Quick
from jenga.modalities.text.baseline import Tfidf
from jenga.modalities.text.columns import TextColumns, Texts
from jenga.modalities.text.dialogue import CONTEXT, INSTRUCTION, LanguageSpec
from jenga.modalities.text.encoder import TextEncoder
from jenga.modalities.text.prefix import missing_prefix, prefix_of
from jenga.modalities.text.pretrained import TINY_TEXT, load_tokenizer
from jenga.modalities.text.quick import latent_topics
from jenga.modalities.text.settings import ModelConfig, TextColumnKeys
from jenga.rows.batches import EncodedSplit
from jenga.rows.content import ContentSpec
from jenga.rows.large import Watched
from jenga.rows.load import by_place
from jenga.rows.loaded import LoadedSource
from jenga.rows.parse import SourceSpec
from jenga.rows.read_once import ReadOnce
from jenga.rows.readers import read_rows
from jenga.rows.split import TRAIN

_PROMPTS, _COMPLETIONS = ("prompt", "question", INSTRUCTION), ("completion", "answer", "output")
_VOCABULARY_TEXTS = 200_000
_CHAT = '[{"role": "user", "content": "An example of a text."}]'


@MODALITIES.register("text")
class TextModality(Modality):
    """Texts, read as tokens."""

    noun = "texts"
    inputs = ("input_ids",)
    settings = ModelConfig
    columns = TextColumnKeys
    content_specs = (TextColumns, LanguageSpec)
    hub_noun = "text"
    keys = frozenset({"data.max_length", "data.cache_dir", "tasks[].max_length"})
    words = True
    baselines = {"tfidf": Tfidf}  # noqa: RUF012 -- as `Modality` declares it

    def complete(self, model: dict[str, Any]) -> None:
        """Give a model that is cut from its teacher the teacher's name."""
        settings = model.get("teacher_student_config")
        if not isinstance(settings, dict) or not settings.get("student") or "base_model" in model:
            return
        if isinstance(settings.get("teacher_model"), str):
            model["base_model"] = settings["teacher_model"]

    def checks(self, document: Document) -> Iterable[Finding]:
        """Return that adapters freeze a preset, whose weights would stay random, and windows that nothing fills."""
        if document.value_at(("model", "base_model")) == TINY_TEXT:
            yield from frozen_from_nothing(document, TINY_TEXT)
        yield from _windows(document)

    def model_block(self, model: Any, *, generates: bool) -> Any:
        """Return the block, of a model with its output layer where some task generates."""
        if generates and not isinstance(model, ModelConfig):
            return super().model_block(model, generates=generates)
        if generates and model.prefix:
            raise ConfigError(
                "model.prefix: a task that predicts tokens learns its rows as they are written; remove the key and put "
                "it into the prompts, or give the other tasks a backbone of their own"
            )
        if generates and model.window_tokens is not None:
            raise ConfigError(
                "model.window_tokens: a task that predicts tokens learns long texts in pieces of max_length; remove "
                "the key, or give the other tasks a backbone of their own"
            )
        return model.for_language() if generates else model

    def group(self, task: TaskConfig, config: ExperimentConfig) -> Hashable:
        """Return the columns that are named, and the length of rows; a language task shares with none."""
        length = task.max_length or config.data.max_length
        if task.type in config.language_tasks:
            return task.name, length
        columns: Any = task.columns
        return columns.text or columns.tokens, columns.text_pair, length

    def content(self, tasks: Sequence[TaskConfig], config: ExperimentConfig) -> ContentSpec:
        """Return where the texts of tasks of one group stand."""
        first = tasks[0]
        columns: Any = first.columns
        length = first.max_length or config.data.max_length
        if first.type in config.language_tasks:
            return _language_spec(first, length)
        text = columns.text or columns.tokens
        if text:
            return TextColumns((text,), columns.text_pair, length)
        # Words come first where tags are given by word.
        by_word = any(task.type in config.token_tasks and not getattr(task.columns, "entities", None) for task in tasks)
        return TextColumns(("tokens", "text") if by_word else ("text", "tokens"), columns.text_pair, length)

    def reads(self, config: ExperimentConfig, specs: Sequence[SourceSpec]) -> ReadOnce[Any]:
        """Return what reads the files of `specs`; the rows of large ones are not held."""
        labels = [column for spec in specs for head in spec.heads if not head.joined for column in head.candidates]
        watched = Watched(tuple(dict.fromkeys(spec.id for spec in specs)), tuple(dict.fromkeys(labels)))
        return ReadOnce(partial(read_rows, form=specs[0].form, watched=watched), by_place=by_place(specs))

    def prepare(
        self, loaded: list[LoadedSource], files: Sequence[Any], config: ExperimentConfig, workdir: Path
    ) -> Prepared:
        """Make the tokenizer of texts; a preset is made of the training rows, under `workdir`."""
        model_config = _materialise(config, loaded, workdir)
        encoder = TextEncoder.of(load_tokenizer(model_config), config)
        # Of the block as it was written: a preset has a folder for its name by now.
        told = missing_prefix(config.model)
        return Prepared(encoder, encoder.model_config(model_config), [] if told is None else [told])

    def load(self, folder: Path, config: ExperimentConfig) -> TextEncoder:
        """Read the tokenizer in `folder`."""
        return TextEncoder.load(folder, config)

    def quick(self, splits: Sequence[EncodedSplit], encoder: Encoder) -> Quick | None:
        """Return topics of words and word pairs; None of dialogues, which have no labels."""
        contents = [split.rows.content for split in splits]
        return latent_topics(contents) if all(isinstance(content, Texts) for content in contents) else None

    def example(self, specs: Sequence[ContentSpec], described: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row with a text, or a chat, in each column of texts."""
        found: dict[str, Any] = {}
        for spec in specs:
            chat = isinstance(spec, LanguageSpec) and not (spec.prompt or spec.text)
            row = spec.given("An example of a text.") or {}
            found |= {name: _CHAT if chat else cell for name, cell in row.items()}
        pairs = [spec.pair for spec in specs if isinstance(spec, TextColumns) and spec.pair]
        return found | dict.fromkeys(pairs, "An example of a text.")


def _windows(document: Document) -> Iterator[Finding]:
    """Yield that no row is longer than a window, and that parted encoders would wait for one another's windows."""
    path: KeyPath = ("model", "window_tokens")
    window, usual = document.value_at(path), document.value_at(("data", "max_length"))
    if not isinstance(window, int):
        return
    usual = DataConfig().max_length if usual is None else usual
    tasks = document.value_at(("tasks",))
    own = [task.get("max_length") for task in tasks if isinstance(task, dict)] if isinstance(tasks, list) else []
    lengths = [usual if length is None else length for length in own]
    if lengths and all(isinstance(length, int) and length <= window for length in lengths):
        key = "data.max_length" if None in own else "max_length of the tasks"
        message = f"no row is longer than a window: of each, {key} ({max(lengths)}) tokens are kept; raise that"
        yield finding(document, path, message)
    yield from parted_windows(document, path)


def _language_spec(task: Any, max_length: int) -> LanguageSpec:
    columns = task.columns
    named = any((columns.text, columns.prompt, columns.completion, columns.messages))

    def candidates(column: str | None, *usual: str) -> tuple[str, ...]:
        # Where one form of rows is named, the others are not looked for.
        return (column,) if column else () if named else usual

    return LanguageSpec(
        text=candidates(columns.text, "text"),
        prompt=candidates(columns.prompt, *_PROMPTS) or (_PROMPTS if columns.completion else ()),
        completion=candidates(columns.completion, *_COMPLETIONS) or (_COMPLETIONS if columns.prompt else ()),
        messages=candidates(columns.messages, "messages", "conversations"),
        context=None if named else CONTEXT,
        loss_on=task.loss_on,
        template=task.template,
        separator=task.separator,
        packing=task.packing,
        max_length=max_length,
    )


def _materialise(config: ExperimentConfig, loaded: Sequence[LoadedSource], workdir: Path) -> Any:
    """Return the model's block, with a preset turned into a checkpoint under `workdir` (once a run)."""
    if config.model.base_model != TINY_TEXT:
        return config.model
    if config.model.tokenizer is not None:
        raise ConfigError(
            f"model.tokenizer: {TINY_TEXT} makes its own tokenizer from the training rows; remove the key"
        )
    from jenga.modalities.text.tiny import make_tiny_text

    folder = workdir / "preset"
    if not folder.exists() or damage(folder):
        with atomic_folder(folder) as staging:
            make_tiny_text(staging, _texts(loaded, prefix_of(config.model)), seed=config.training.seed)
    return config.model.with_preset(str(folder))


def _texts(loaded: Sequence[LoadedSource], prefix: str) -> list[str]:
    """Return texts to learn, as the tokenizer is to read them: all, or as many as a vocabulary needs, drawn by chance.

    Rows may be sorted by language, and they may take turns by it.
    """
    contents = [source.splits[TRAIN].content for source in loaded]
    columns = [content.texts for content in contents]
    columns += [content.pairs for content in contents if isinstance(content, Texts) and content.pairs]
    count = sum(map(len, columns))
    if count <= _VOCABULARY_TEXTS:
        return [prefix + text for column in columns for text in column]
    places, texts = np.sort(np.random.default_rng(0).choice(count, _VOCABULARY_TEXTS, replace=False)), []
    for column in columns:
        here = np.searchsorted(places, len(column))
        texts += [prefix + column[at] for at in places[:here].tolist()]
        places = places[here:] - len(column)
    return texts
