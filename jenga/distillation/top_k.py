"""A language teacher's largest logits on disk, so that it runs once and training needs no teacher."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from jenga.config.distillation import TeacherStudentConfig
from jenga.distillation.running import RunningTeacher
from jenga.errors import ConfigError, SetupError
from jenga.files import atomic_file, json_object, sha256_of, write_atomic
from jenga.kernels import TeacherTopk, teacher_topk
from jenga.modalities.text.pieces import EncodedLanguage
from jenga.modalities.text.tokens import tokenizer_identity
from jenga.peft.base import BASE_FILE
from jenga.rows.batches import EncodedSplit
from jenga.tasks.distillation import TokenTeacher
from jenga.types import IGNORE_INDEX

logger = logging.getLogger(__name__)
MANIFEST = "top_k.json"
_FORMAT = 1
_SHARD_PIECES = 256
_BATCH_TOKENS = 4096
_BYTES = 8
"""Of a kept logit and its token: float32, so that the k largest of all are the teacher's own, and int32."""
_WORDS = {
    "teacher": "another teacher",
    "tokenizer": "another tokenizer",
    "rows": "other training rows, or rows cut to another length",
    "k": "another top_k",
    "vocabulary": "another number of tokens",
    "format": "another version of Jenga",
}


class TopKCache:
    """The k largest logits of a teacher for each learnt token of `language`, in shards of pieces, in `folder`.

    `of`: what they are of, as `describe` gives it. A shard stands in the manifest, with its SHA-256, once it is whole;
    making them goes on behind those that do.
    """

    def __init__(self, folder: Path, language: EncodedLanguage, of: dict[str, Any]) -> None:
        """Raises ConfigError where `folder` holds the logits of something else, which are left alone."""
        self.folder, self.language, self.of = folder, language, of
        self.k = int(of["k"])
        counts = np.concatenate([[0], np.cumsum(language.learnt)])
        self._begins = [int(each) for each in counts]
        self.n_shards = -(-len(language.rows) // _SHARD_PIECES)
        self.digests: dict[str, str] = {}
        if (folder / MANIFEST).is_file():
            known, shards = _read_manifest(folder / MANIFEST)
            wrong = [words for name, words in _WORDS.items() if known.get(name) != of[name]]
            if wrong:
                raise ConfigError(
                    f"model.teacher_student_config.top_k_dir: {folder} holds logits of {', '.join(wrong)}; name "
                    "another folder, or leave top_k_dir out, which finds the right one by itself"
                )
            self.digests = self._unharmed(shards)
        self._open: dict[int, Any] = {}

    @property
    def complete(self) -> bool:
        """Whether every shard is there."""
        return len(self.digests) == self.n_shards

    def fill(self, teacher: RunningTeacher, pad_token_id: int, tell: Callable[[str], None]) -> None:
        """Compute the missing shards with `teacher`.

        pad_token_id: of its tokenizer. tell: called with a line on how far that is. Raises ConfigError where there are
        fewer tokens than k, SetupError where the disk has no room.
        """
        if self.k > (known := min(len(teacher.weight), self.of["vocabulary"])):
            raise ConfigError(f"model.teacher_student_config.top_k: {self.k}, but there are {known} tokens")
        missing = [number for number in range(self.n_shards) if self._name(number) not in self.digests]
        self.folder.mkdir(parents=True, exist_ok=True)
        needed = sum(self._tokens(number) for number in missing) * self.k * _BYTES
        if needed > (free := shutil.disk_usage(self.folder).free):
            raise SetupError(
                f"model.teacher_student_config.top_k: {needed / 1e9:.1f} GB are needed in {self.folder}, which has "
                f"{free / 1e9:.1f} GB free; lower top_k, or name another folder with top_k_dir"
            )
        for done, number in enumerate(missing):
            tell(f"teacher: logits of {done * _SHARD_PIECES:,} of {len(missing) * _SHARD_PIECES:,} rows")
            logits, indices = self._shard(number, teacher, pad_token_id)
            path = self.folder / self._name(number)
            with atomic_file(path) as file:
                file.write(save({"logits": logits, "indices": indices}))
            self.digests[path.name] = sha256_of(path)
            self.digests = dict(sorted(self.digests.items()))
            write_atomic(self.folder / MANIFEST, json.dumps({"of": self.of, "shards": self.digests}, indent=1) + "\n")

    def said(self, pieces: Sequence[int], settings: TeacherStudentConfig) -> TokenTeacher:
        """Return what the teacher said of the learnt tokens of `pieces`, in their order."""
        parts = [self._piece(piece) for piece in pieces]
        logits, indices = (torch.cat(each) for each in zip(*parts, strict=True))
        return TokenTeacher(settings, top_k=TeacherTopk(logits, indices.long()))

    def _piece(self, piece: int) -> tuple[torch.Tensor, torch.Tensor]:
        number = piece // _SHARD_PIECES
        if number not in self._open:
            path = self.folder / self._name(number)
            try:
                self._open[number] = safe_open(path, framework="pt")
            except SafetensorError as error:
                raise SetupError(
                    f"{path}: no logits ({error}); delete it, and the teacher computes it again"
                ) from error
        first = self._begins[number * _SHARD_PIECES]
        at = slice(self._begins[piece] - first, self._begins[piece + 1] - first)
        shard = self._open[number]
        return shard.get_slice("logits")[at], shard.get_slice("indices")[at]

    @staticmethod
    def _name(number: int) -> str:
        return f"{number:06d}.safetensors"

    def _pieces(self, number: int) -> range:
        return range(number * _SHARD_PIECES, min((number + 1) * _SHARD_PIECES, len(self.language.rows)))

    def _tokens(self, number: int) -> int:
        pieces = self._pieces(number)
        return self._begins[pieces.stop] - self._begins[pieces.start]

    def _unharmed(self, digests: dict[str, str]) -> dict[str, str]:
        kept = {}
        for name, digest in digests.items():
            path = self.folder / name
            if path.is_file() and sha256_of(path) == digest:
                kept[name] = digest
            else:
                logger.warning("%s is gone or harmed; the teacher computes it again", path)
        return kept

    @torch.no_grad()
    def _shard(self, number: int, teacher: RunningTeacher, pad_token_id: int) -> tuple[torch.Tensor, torch.Tensor]:
        pieces = self._pieces(number)
        begin = self._begins[pieces.start]
        logits = torch.empty(self._tokens(number), self.k)
        indices = torch.empty(self._tokens(number), self.k, dtype=torch.int32)
        weight = teacher.weight[: self.of["vocabulary"]]
        for batch in _batches(list(pieces), self.language.text.lengths):
            ids = self.language.text.padded(self.language.text.input_ids, batch, pad_token_id)
            targets = self.language.text.padded(self.language.targets, batch, IGNORE_INDEX)
            states = teacher.run({"input_ids": ids.to(weight.device)}).last_hidden_state
            hidden = states[targets.to(weight.device) != IGNORE_INDEX]
            found = teacher_topk(hidden, weight, self.k)
            rows = torch.cat([torch.arange(self._begins[each], self._begins[each + 1]) for each in batch]) - begin
            logits[rows], indices[rows] = found.logits.float().cpu(), found.indices.int().cpu()
        return logits, indices


def describe(language: EncodedLanguage, tokenizer: Any, teacher: str, *, k: int, vocabulary: int) -> dict[str, Any]:
    """Return what a cache is of, ready for JSON.

    teacher: its `identity`; vocabulary: rows of the student's output layer, beyond which nothing is kept.
    """
    rows = hashlib.sha256()
    for array in (language.text.input_ids, language.text.offsets, language.targets):
        rows.update(np.ascontiguousarray(array).tobytes())
    own = json.dumps(tokenizer_identity(tokenizer), sort_keys=True)
    return {
        "format": _FORMAT,
        "teacher": teacher,
        "tokenizer": hashlib.sha256(own.encode(errors="surrogatepass")).hexdigest(),
        "rows": rows.hexdigest(),
        "k": k,
        "vocabulary": vocabulary,
    }


def identity(folder: Path, dtype: str) -> str:
    """Return a digest of the weights and configuration of the checkpoint in `folder`, and of the type it runs in.

    All bytes count, read at the disk's speed, so that no two checkpoints are taken for one another; of the base beneath
    adapters its fingerprint does. Nothing is built. Raises SetupError where there are no weights.
    """
    digest = hashlib.sha256(dtype.encode())
    weights = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin"))
    if not weights:
        raise SetupError(
            f"model.teacher_student_config.teacher_model: {folder} holds no safetensors, which top_k needs"
        )
    for path in [*weights, *sorted(folder.glob("*config.json")), *folder.glob(BASE_FILE)]:
        digest.update(f"{path.name} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def default_folder(cache_dir: Path, of: dict[str, Any]) -> Path:
    """Return where the logits of just this teacher and these rows are kept below `cache_dir`."""
    return cache_dir / "teachers" / hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:32]


def attach(part: EncodedSplit, cache: TopKCache, settings: TeacherStudentConfig) -> None:
    """Let the batches of `part` bring what `cache` holds."""
    (key,) = part.spaces
    part.teacher[key] = lambda index, width: cache.said(cache.language.pieces(index), settings)


def _batches(pieces: list[int], lengths: np.ndarray) -> list[list[int]]:
    """Share out pieces by length over batches of at most `_BATCH_TOKENS` tokens, padding counted."""
    batches: list[list[int]] = [[]]
    for piece in sorted(pieces, key=lambda each: int(lengths[each])):
        if batches[-1] and (len(batches[-1]) + 1) * int(lengths[piece]) > _BATCH_TOKENS:
            batches.append([])
        batches[-1].append(piece)
    return batches


def _read_manifest(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what the logits are of, and the digests of the shards by name. Raises SetupError where it is harmed."""
    try:
        found = json_object(path)
        return dict(found["of"]), dict(found["shards"])
    except (ValueError, TypeError, KeyError) as error:
        raise SetupError(
            f"{path}: harmed ({error}); delete the folder, and the teacher computes its logits again"
        ) from error
