"""Texts as tokens."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence, Sized
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from jenga.config.schema import ExperimentConfig
from jenga.errors import ConfigError, DataError, SetupError
from jenga.files import cache_folder
from jenga.modalities.backbone import BaseBackbone
from jenga.modalities.base import Autocast, Encoder, Facts, Shown, Spaces
from jenga.modalities.text.backbone import TextBackbone
from jenga.modalities.text.columns import TextColumns, Texts
from jenga.modalities.text.counted import TokenCounter
from jenga.modalities.text.dialogue import Dialogues, LanguageSpec
from jenga.modalities.text.generation import Generator, readable
from jenga.modalities.text.language_model import check_packing
from jenga.modalities.text.pieces import EncodedLanguage, encode_language, language_warnings
from jenga.modalities.text.prefix import prefix_of, prefixed, without
from jenga.modalities.text.pretrained import read_tokenizer
from jenga.modalities.text.tokens import EncodedText, encode
from jenga.modalities.text.windows import Windows, windows_of
from jenga.rows.batches import Encoded, EncodedSplit, RowEncoder, Source
from jenga.rows.content import Content, ContentSpec
from jenga.rows.loaded import LoadedSource, stop_if_many
from jenga.rows.parse import Rows, SourceSpec
from jenga.rows.raw import RAW_LENGTH, BadRow, RawRows
from jenga.rows.split import TRAIN


class TextEncoder(Encoder):
    """Tokens by a transformers tokenizer.

    `windows`: in which longer rows are read; None: they are not. `prefix`: what is put before every text.
    """

    def __init__(self, tokenizer: Any, windows: Windows | None = None, *, longest: int = 0, prefix: str = "") -> None:
        """longest: tokens kept of a row."""
        self._tokenizer, self.windows, self.prefix = tokenizer, windows, prefix
        if windows is not None:
            # As many tokens as of rows that are read at once: few long rows, or many short ones.
            self.tokens_at_once = self.rows_at_once * windows.tokens
            self.rows_at_once = max(1, self.rows_at_once * windows.tokens // max(longest, windows.tokens))

    @classmethod
    def of(cls, tokenizer: Any, config: Any) -> Self:
        """Return the encoder of an experiment. Raises ConfigError where a window has no room for special tokens."""
        windows, prefix = windows_of(config.model, tokenizer), prefix_of(config.model)
        longest = max(task.max_length or config.data.max_length for task in config.tasks) if windows else 0
        return cls(tokenizer, windows, longest=longest, prefix=prefix)

    def model_config(self, model: Any) -> Any:
        """Return the model's block with the windows as the tokenizer's special tokens lay them."""
        return model if self.windows is None else model.with_windows(self.windows)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer."""
        return self._tokenizer

    def save(self, folder: Path) -> None:
        """Write the tokenizer beside the encoder, as transformers does; what it last did leaves no trace."""
        if self.tokenizer.is_fast:
            # Tokenising sets them for good, which a cache of tokens saves it from.
            self.tokenizer.backend_tokenizer.no_truncation()
            self.tokenizer.backend_tokenizer.no_padding()
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
        return cls.of(tokenizer, config)

    def encode(
        self, rows: Rows, spec: SourceSpec, *, cache_dir: Path | None = None, packed: bool = False
    ) -> EncodedText | EncodedLanguage:
        """Tokenise rows; packed: lay texts to learn end to end. cache_dir: keeps the tokens of other rows."""
        read, found = spec.content, rows.content
        if isinstance(read, LanguageSpec):
            assert isinstance(found, Dialogues)
            return encode_language(found.dialogues, self.tokenizer, read, packed=packed)
        assert isinstance(read, TextColumns)
        assert isinstance(found, Texts)
        return encode(
            found.texts, self.tokenizer, max_length=read.max_length, pairs=found.pairs, words=found.words,
            prefix=self.prefix, cache_dir=cache_dir,
        )  # fmt: skip

    def sources(
        self, loaded: list[LoadedSource], config: ExperimentConfig, backbone: BaseBackbone
    ) -> tuple[list[Source], list[str]]:
        """Tokenise every split. Raises ConfigError where the model lacks positions or embeddings for the tokens."""
        self._check_lengths(backbone, loaded)
        cache_dir = Path(config.data.cache_dir) if config.data.cache_dir else cache_folder("tokens")
        warnings: list[str] = []
        sources = []
        for each in loaded:
            packing = isinstance(each.spec.content, LanguageSpec) and each.spec.content.packing
            if packing and isinstance(backbone, TextBackbone):
                check_packing(backbone.encoder)
            splits, n_unread = {}, len(each.bad)
            for name, rows in each.splits.items():
                encoded = self.encode(rows, each.spec, cache_dir=cache_dir, packed=packing and name == TRAIN)
                if isinstance(encoded, EncodedLanguage) and encoded.refused:
                    rows, encoded = _set_aside(each, rows, encoded)
                    _stop_if_many(each, n_unread, config.data.max_bad_fraction)
                splits[name] = EncodedSplit(each.spec.name, rows, encoded, each.spaces)
                warnings += _cut(each.spec, name, encoded, len(rows), backbone)
            sources.append(each.source(splits))
        self._check_vocabulary(backbone, sources)
        return sources, warnings

    def counter(self, specs: Sequence[SourceSpec]) -> Callable[[Sequence[RawRows]], list[int]]:
        """Return what tells about how many tokens are read of the texts of rows."""
        columns = tuple(dict.fromkeys(name for spec in specs for name in spec.content.readable))
        longest = max(_length(spec.content) for spec in specs)
        return TokenCounter(self.tokenizer, columns, longest=longest, prefix=self.prefix)

    def encoder(self, files: Sequence[RawRows]) -> RowEncoder:
        """Return the tokeniser of rows, which warns where it cuts some; it takes all that have a text."""

        def encode(rows: Rows, spec: SourceSpec, spaces: Spaces) -> EncodedSplit:
            encoded = self.encode(rows, spec)
            if isinstance(encoded, EncodedLanguage):
                for warning in language_warnings(
                    spec.name, "given", encoded, rows=len(rows), max_length=_length(spec.content)
                ):
                    self.warn("what is left of dialogues", warning)
                if encoded.refused and not len(encoded):
                    raise DataError(f"{spec.name}: no row can be written out: {next(iter(encoded.refused.values()))}")
            elif cut := int(encoded.truncated.sum()):
                length = _length(spec.content)
                words = f"{cut} of {len(rows)} rows are longer than {length} tokens; only that much of them is read"
                self.warn("rows that are cut", words)
            return EncodedSplit(spec.name, rows, encoded, spaces)

        return RowEncoder(encode, [])

    def generator(
        self, backbone: BaseBackbone, content: ContentSpec, *, device: torch.device, autocast: Autocast
    ) -> Generator:
        """Return what answers dialogues. Raises ConfigError where rows are no texts to learn, or nothing predicts."""
        if not isinstance(content, LanguageSpec) or not isinstance(backbone, TextBackbone):
            raise ConfigError("this model generates nothing; use jenga predict")
        return Generator(backbone, self.tokenizer, content, device=device, autocast=autocast)

    def shown(self, content: Content, row: int) -> Shown:
        """Return the text of a row, with the characters of each token where it is one text that tells of them."""
        found = super().shown(content, row)
        if not isinstance(content, Texts) or content.pairs is not None or not self.tokenizer.is_fast:
            return found
        (text,) = prefixed([found.text], self.prefix)
        read = self.tokenizer(text, return_offsets_mapping=True, truncation=False, padding=False, verbose=False)
        return found._replace(places=without(read["offset_mapping"], self.prefix))

    def facts(self, specs: Sequence[SourceSpec]) -> Facts:
        """Return the lengths at which texts are cut, and what becomes of longer ones, by task where they differ."""
        lengths: dict[str, list[str]] = {}
        limits: dict[str, list[str]] = {}
        for spec in specs:
            lengths.setdefault(str(_length(spec.content)), []).append(spec.name)
            limits.setdefault(_limit(spec.content), []).append(spec.name)
        data = {f"tokens of a text{_of(names, lengths)}": length for length, names in lengths.items()}
        if self.prefix:
            data["before each text"] = json.dumps(self.prefix, ensure_ascii=False)
        if self.windows is not None:
            data["tokens of a window"] = f"{self.windows.tokens}, one each {self.windows.stride}"
        return Facts(data, [f"{limit}{_of(names, limits)}." for limit, names in limits.items()])

    def _check_lengths(self, backbone: BaseBackbone, loaded: Sequence[LoadedSource]) -> None:
        """Raise ConfigError where the backbone has no positions for rows, or reads some of them in no windows."""
        limit = backbone.max_positions if isinstance(backbone, TextBackbone) else None
        window = None if self.windows is None else self.windows.tokens
        if window is not None and not isinstance(backbone, TextBackbone):
            raise ConfigError(f"model.window_tokens: {type(backbone).__name__} reads its rows whole; remove the key")
        if window is not None and limit is not None and window > limit:
            raise ConfigError(f"model.window_tokens: {window}, but the model has positions for {limit}; lower it")
        for source in loaded:
            length, content = _length(source.spec.content), source.spec.content
            if window is not None and length > window and isinstance(content, TextColumns) and content.pair:
                raise ConfigError(
                    f"model.window_tokens: {source.spec.name} has two texts a row, which are not read in windows; give "
                    f"its tasks a max_length of {window} at most, or take columns.text_pair out"
                )
            if window is None and limit is not None and length > limit:
                raise ConfigError(
                    f"data.max_length: {length} tokens for {source.spec.name}, but the model has positions for "
                    f"{limit}; lower it, or read longer texts in windows (model.window_tokens: {limit})"
                )

    def _check_vocabulary(self, backbone: BaseBackbone, sources: Sequence[Source]) -> None:
        size = backbone.vocabulary_size if isinstance(backbone, TextBackbone) else None
        parts = [split.encoded for source in sources for split in source.splits.values()]
        encoded = [_ids(part) for part in parts]
        highest = max(int(ids.max(initial=self.tokenizer.pad_token_id)) for ids in encoded)
        if size is not None and highest >= size:
            raise ConfigError(
                f"model.tokenizer: gives token number {highest}, but the model has embeddings for {size}; use the "
                "tokenizer that the model was trained with"
            )


def _set_aside(source: LoadedSource, rows: Rows, encoded: EncodedLanguage) -> tuple[Rows, EncodedLanguage]:
    """Put the rows of a split that cannot be written out among the bad ones of `source`; return the others."""
    assert isinstance(rows.content, Dialogues)
    dialogues, reasons = rows.content.dialogues, encoded.refused
    source.bad += [
        BadRow(rows.files[at], rows.numbers[at], reason, readable(dialogues[at])[:RAW_LENGTH])
        for at, reason in reasons.items()
    ]
    kept = np.array([row for row in range(len(rows)) if row not in reasons], np.int64)
    return rows.take(kept), replace(encoded, rows=np.searchsorted(kept, encoded.rows), refused={})


def _stop_if_many(source: LoadedSource, n_unread: int, max_bad_fraction: float) -> None:
    """Raise DataError where the bad rows of a file are more than a share of its rows, whatever splits these are in.

    n_unread: how many of the bad ones, the first, are in no split.
    """
    total = Counter(file for split in source.splits.values() for file in split.files)
    total.update(each.file for each in source.bad[:n_unread])
    for file in dict.fromkeys(each.file for each in source.bad[n_unread:]):
        stop_if_many(file, [each for each in source.bad if each.file == file], total[file], max_bad_fraction)


def _length(content: ContentSpec) -> int:
    assert isinstance(content, TextColumns | LanguageSpec)
    return content.max_length


def _ids(encoded: Encoded) -> np.ndarray:
    if isinstance(encoded, EncodedLanguage):
        return encoded.text.input_ids
    assert isinstance(encoded, EncodedText)
    return encoded.input_ids


def _limit(content: ContentSpec) -> str:
    length = _length(content)
    if not isinstance(content, LanguageSpec):
        return f"Of a longer text, only the first {length} tokens are read"
    if content.text:
        return f"Texts were learnt in pieces of {length} tokens, none of which saw the one before"
    return f"Of a longer dialogue, only the first {length} tokens were learnt"


def _of(names: Sequence[str], groups: Sized) -> str:
    """Return whose a fact is, where there are others."""
    return f" ({', '.join(names)})" if len(groups) > 1 else ""


def _cut(
    spec: SourceSpec, name: str, encoded: EncodedText | EncodedLanguage, rows: int, backbone: BaseBackbone
) -> list[str]:
    length = _length(spec.content)
    if isinstance(encoded, EncodedLanguage):
        found = language_warnings(spec.name, name, encoded, rows=rows, max_length=length)
        if name == TRAIN and not len(encoded):
            raise DataError(f"{spec.name}: no training row has a token to learn. {' '.join(found)}")
        return found
    if not (cut := int(encoded.truncated.sum())):
        return []
    lost = ""
    if encoded.word_token is not None:
        lost = f"; {int((encoded.word_token < 0).sum())} words have no token of their own and count as untagged"
    told = f"{spec.name}, {name}: {cut} of {rows} rows are longer than max_length {length} tokens and are cut{lost}"
    return [f"{told}. To read more of them, {_more(length, backbone)}"]


def _more(length: int, backbone: BaseBackbone) -> str:
    """Return what lets a backbone read more of rows than `length` tokens."""
    if not isinstance(backbone, TextBackbone) or backbone.windows is not None or backbone.max_positions is None:
        return "raise data.max_length"
    limit, windows = backbone.max_positions, "set model.window_tokens and raise data.max_length"
    return f"raise data.max_length (to {limit} at most), or {windows} further" if length < limit else windows
