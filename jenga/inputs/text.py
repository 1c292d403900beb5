"""Texts as tokens."""

from __future__ import annotations

import logging
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import Any, Self

from jenga.backbones import BaseBackbone
from jenga.backbones.language import check_packing
from jenga.backbones.pretrained import TINY_TEXT, load_tokenizer, read_tokenizer
from jenga.backbones.text import TextBackbone
from jenga.data.collate import EncodedSplit, Source
from jenga.data.language import LanguageSplit, language_split, language_warnings
from jenga.data.readers import RawRows, read_rows
from jenga.data.rows import LoadedSource, Rows, SourceSpec, load_sources
from jenga.data.split import TRAIN
from jenga.data.text import default_cache_dir, encode
from jenga.errors import ConfigError, DataError, SetupError
from jenga.files import atomic_folder, damage
from jenga.inputs.base import Encoder, Facts, Inputs, Keep, Prepared, Spaces

logger = logging.getLogger(__name__)


class TextInputs(Inputs):
    """Tokens by a transformers tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def save(self, folder: Path) -> None:
        """Write the tokenizer beside the encoder, as transformers does."""
        self.tokenizer.save_pretrained(folder)

    @classmethod
    def load(cls, folder: Path, config: Any) -> Self:
        """Read the tokenizer in `folder`. Raises SetupError where it cannot be read, or its code is not allowed."""
        allowed = getattr(config.model, "trust_remote_code", False)
        tokenizer = read_tokenizer(str(folder), allowed=allowed, key="the model's tokenizer")
        if tokenizer.pad_token_id is None:
            raise SetupError(
                f"{folder}: the model's tokenizer has no padding token, which training gave it; restore the folder "
                "from a copy or train again"
            )
        return cls(tokenizer)

    def model_config(self, model: Any) -> Any:
        """Return `model` as it is."""
        return model

    def encode(
        self, rows: Rows, spec: SourceSpec, spaces: Spaces, *, cache_dir: Path | None = None, packed: bool = False
    ) -> EncodedSplit:
        """Tokenise rows; packed: lay texts to learn end to end."""
        if spec.language is not None:
            return language_split(
                spec.name, rows, self.tokenizer, spec.language, spaces, max_length=spec.max_length, packed=packed
            )
        encoded = encode(
            rows.texts, self.tokenizer, max_length=spec.max_length, pairs=rows.pairs, words=rows.words,
            cache_dir=cache_dir,
        )  # fmt: skip
        return EncodedSplit(spec.name, rows, encoded, spaces, self.tokenizer.pad_token_id)

    def sources(
        self, loaded: list[LoadedSource], config: Any, backbone: BaseBackbone
    ) -> tuple[list[Source], list[str]]:
        """Tokenise every split. Raises ConfigError where the model lacks positions or embeddings for the tokens."""
        _check_lengths(backbone, loaded)
        cache_dir = Path(config.data.cache_dir) if config.data.cache_dir else default_cache_dir()
        warnings: list[str] = []
        sources = []
        for each in loaded:
            packing = each.spec.language is not None and each.spec.language.packing
            if packing and isinstance(backbone, TextBackbone):
                check_packing(backbone.encoder)
            splits = {
                name: self.encode(rows, each.spec, each.spaces, cache_dir=cache_dir, packed=packing and name == TRAIN)
                for name, rows in each.splits.items()
            }
            warnings += [warning for name, split in splits.items() for warning in _cut(each.spec, name, split)]
            sources.append(Source(each.spec.name, tuple(dict.fromkeys(key[0] for key in each.spaces)), splits))
        self._check_vocabulary(backbone, sources)
        return sources, warnings

    def read(self, path: str, specs: Sequence[SourceSpec], *, split: str) -> RawRows:
        """Return the rows of a file."""
        return read_rows(path, split=split)

    def encoder(self, files: Sequence[RawRows]) -> Encoder:
        """Return the tokeniser of rows, which warns where it cuts some; it takes all that have a text."""

        def encode(rows: Rows, spec: SourceSpec, spaces: Spaces) -> EncodedSplit:
            split = self.encode(rows, spec, spaces)
            if isinstance(split, LanguageSplit):
                for warning in language_warnings(spec.name, "given", split, spec.max_length):
                    logger.warning("%s", warning)
                return split
            if cut := int(split.text.truncated.sum()):
                what = "%d of %d rows are longer than %d tokens; only that much of them is read"
                logger.warning(what, cut, len(rows), spec.max_length)
            return split

        return Encoder(encode, [])

    def describe(self) -> dict[str, Any]:
        """Return nothing: the sources say which columns hold text."""
        return {}

    def facts(self, specs: Sequence[SourceSpec]) -> Facts:
        """Return the lengths at which texts are cut, and what becomes of longer ones, by task where they differ."""
        lengths: dict[str, list[str]] = {}
        limits: dict[str, list[str]] = {}
        for spec in specs:
            lengths.setdefault(str(spec.max_length), []).append(spec.name)
            limits.setdefault(_limit(spec), []).append(spec.name)
        return Facts(
            {f"tokens of a text{_of(names, lengths)}": length for length, names in lengths.items()},
            [f"{limit}{_of(names, limits)}." for limit, names in limits.items()],
        )

    def _check_vocabulary(self, backbone: BaseBackbone, sources: Sequence[Source]) -> None:
        size = backbone.vocabulary_size if isinstance(backbone, TextBackbone) else None
        encoded = [split.text.input_ids for source in sources for split in source.splits.values()]
        highest = max(int(ids.max(initial=self.tokenizer.pad_token_id)) for ids in encoded)
        if size is not None and highest >= size:
            raise ConfigError(
                f"model.tokenizer: gives token number {highest}, but the model has embeddings for {size}; use the "
                "tokenizer that the model was trained with"
            )


def prepare_text(config: Any, specs: Sequence[SourceSpec], workdir: Path, keep: Keep) -> Prepared:
    """Read texts and make their tokenizer; a preset is made of the training rows, under `workdir`."""
    loaded = load_sources(specs, data=config.data)
    for source in loaded:
        source.splits["train"] = source.splits["train"].take(keep(source).nonzero()[0])
    model_config = _materialise(config, loaded, workdir)
    return Prepared(TextInputs(load_tokenizer(model_config)), loaded, model_config, [])


def _materialise(config: Any, loaded: Sequence[LoadedSource], workdir: Path) -> Any:
    """Return the model's block, with a preset turned into a checkpoint under `workdir` (once a run)."""
    if config.model.base_model != TINY_TEXT:
        return config.model
    if config.model.tokenizer is not None:
        raise ConfigError(
            f"model.tokenizer: {TINY_TEXT} makes its own tokenizer from the training rows; remove the key"
        )
    from jenga.backbones.tiny import make_tiny_text

    folder = workdir / "preset"
    if not folder.exists() or damage(folder):
        texts = [text for source in loaded for text in source.splits["train"].texts]
        texts += [pair for source in loaded for pair in source.splits["train"].pairs or []]
        with atomic_folder(folder) as staging:
            make_tiny_text(staging, texts, seed=config.training.seed)
    return config.model.with_preset(str(folder))


def _check_lengths(backbone: BaseBackbone, loaded: Sequence[LoadedSource]) -> None:
    limit = backbone.max_positions if isinstance(backbone, TextBackbone) else None
    for source in loaded:
        if limit is not None and source.spec.max_length > limit:
            raise ConfigError(
                f"data.max_length: {source.spec.max_length} tokens for {source.spec.name}, but the model has "
                f"positions for {limit}"
            )


def _limit(spec: SourceSpec) -> str:
    if spec.language is None:
        return f"Of a longer text, only the first {spec.max_length} tokens are read"
    if spec.language.text:
        return f"Texts were learnt in pieces of {spec.max_length} tokens, none of which saw the one before"
    return f"Of a longer dialogue, only the first {spec.max_length} tokens were learnt"


def _of(names: Sequence[str], groups: Sized) -> str:
    """Return whose a fact is, where there are others."""
    return f" ({', '.join(names)})" if len(groups) > 1 else ""


def _cut(spec: SourceSpec, name: str, split: EncodedSplit) -> list[str]:
    if isinstance(split, LanguageSplit):
        found = language_warnings(spec.name, name, split, spec.max_length)
        if name == TRAIN and not len(split):
            raise DataError(f"{spec.name}: no training row has a token to learn. {' '.join(found)}")
        return found
    encoded = split.text
    if not (cut := int(encoded.truncated.sum())):
        return []
    lost = ""
    if encoded.word_token is not None:
        lost = f"; {int((encoded.word_token < 0).sum())} words have no token of their own and count as untagged"
    return [
        f"{spec.name}, {name}: {cut} of {len(split)} rows are longer than max_length {spec.max_length} tokens and are "
        f"cut{lost}"
    ]
