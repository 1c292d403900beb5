"""Answers of a trained language model, and how many of them are right."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from jenga.errors import SetupError
from jenga.labels.column import RowError
from jenga.modalities.text.backbone import TextBackbone
from jenga.modalities.text.dialogue import Dialogue, Dialogues, LanguageSpec
from jenga.modalities.text.heard import Heard, Said
from jenga.modalities.text.joints import tokenise
from jenga.modalities.text.written import write_question
from jenga.rows.parse import Rows


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen: the likeliest at temperature 0, else drawn, from the same seed alike."""

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Unanswered:
    """Why a dialogue got no answer."""

    reason: str


class Generator:
    """Answers dialogues with the language model of `backbone`, written out as in its training.

    autocast: called for each batch, the precision to compute in.
    """

    def __init__(
        self,
        backbone: TextBackbone,
        tokenizer: Any,
        spec: LanguageSpec,
        *,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self.backbone, self.tokenizer, self.spec = backbone, tokenizer, spec
        self.device, self.autocast = device, autocast

    def answers(
        self, dialogues: Sequence[Dialogue], decoding: Decoding, *, batch_size: int = 16, streamer: Any = None
    ) -> list[str | Unanswered]:
        """Return the text that follows each of `dialogues`, without special tokens.

        streamer: of transformers, is handed the tokens as they come; for one dialogue only.
        """
        found: list[Any] = [self._prompt(dialogue) for dialogue in dialogues]
        prompts: dict[int, list[int]] = {at: each for at, each in enumerate(found) if isinstance(each, list)}
        # Prompts of like length share a batch, since padding is computed too.
        open_ones = sorted(prompts, key=lambda at: len(prompts[at]))
        with _generating(self.backbone, decoding.seed):
            for start in range(0, len(open_ones), batch_size):
                part = open_ones[start : start + batch_size]
                for at, text in zip(part, self._batch([prompts[at] for at in part], decoding, streamer), strict=True):
                    found[at] = text
        return found

    def answer(self, rows: Rows, *, max_new_tokens: int, batch_size: int) -> list[dict[str, str]]:
        """Return ``{"text"}`` for each row, what its last turn is answered by, or ``{"error"}``; a text goes on."""
        dialogues = [each if each.is_text else each.opening() for each in _dialogues(rows)]
        made = self.answers(dialogues, Decoding(max_new_tokens=max_new_tokens), batch_size=batch_size)
        return [{"error": each.reason} if isinstance(each, Unanswered) else {"text": each} for each in made]

    def judge(
        self, rows: Rows, *, max_new_tokens: int, pattern: str | None, compare: bool, batch_size: int
    ) -> list[dict[str, Any]]:
        """Return the answer to each row beside its own, ready for JSON; arguments as of `Generates.judge`.

        A row whose last turn is not the assistant's has nothing to be equal to.
        """
        dialogues = _dialogues(rows)
        openings = [dialogue.opening() for dialogue in dialogues]
        made = self.answers(openings, Decoding(max_new_tokens=max_new_tokens), batch_size=batch_size)
        found: list[dict[str, Any]] = []
        for name, dialogue, opening, answer in zip(rows.ids, dialogues, openings, made, strict=True):
            row: dict[str, Any] = {"id": name, "prompt": readable(opening), "expected": _expected(dialogue, opening)}
            if isinstance(answer, Unanswered):
                row |= {"answer": "", "error": answer.reason}
            else:
                row["answer"] = answer
            if compare and dialogue.answer is not None:
                row["match"] = matches(row["answer"], dialogue.answer, pattern)
            found.append(row)
        return found

    def say(
        self, dialogue: Dialogue, decoding: Decoding, *, stops: Sequence[str] = (), hear: Callable[[str], bool]
    ) -> Said | Unanswered:
        """Return the text that follows `dialogue`, up to where one of `stops` begins.

        hear: is handed the text as it comes, and returns whether to go on.
        """
        prompt = self._prompt(dialogue)
        if isinstance(prompt, Unanswered):
            return prompt
        heard = Heard(self.tokenizer, len(prompt), stops, hear, ends=self._ends())
        with _generating(self.backbone, decoding.seed):
            self._generate([prompt], decoding, stopping_criteria=[heard])
        return heard.said()

    def _prompt(self, dialogue: Dialogue) -> list[int] | Unanswered:
        """Return the tokens that an answer is to follow, or why there is none."""
        try:
            (read,) = tokenise([write_question(dialogue, self.tokenizer, self.spec)], self.tokenizer)
        except RowError as error:
            return Unanswered(str(error))
        tokens, limit = read.ids, self.backbone.max_positions
        if limit is not None and len(tokens) >= limit:
            return Unanswered(f"the prompt has {len(tokens)} tokens, and the model positions for {limit}")
        if tokens:
            return tokens
        # A model has to begin somewhere: an empty prompt begins with the token that begins, or ends, every text.
        ends = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, self.tokenizer.pad_token_id)
        return [next(each for each in ends if each is not None)]

    def _batch(self, prompts: Sequence[list[int]], decoding: Decoding, streamer: Any) -> list[str]:
        made = self._generate(prompts, decoding, streamer=streamer)
        width = max(map(len, prompts))
        texts: list[str] = self.tokenizer.batch_decode(made[:, width:], skip_special_tokens=True)
        return texts

    def _generate(self, prompts: Sequence[list[int]], decoding: Decoding, **more: Any) -> torch.Tensor:
        """Return the tokens of `prompts`, padded on the left, and what follows; more: of transformers' generate."""
        width = max(map(len, prompts))
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (width - len(each)) + each for each in prompts], device=self.device)
        mask = torch.tensor([[0] * (width - len(each)) + [1] * len(each) for each in prompts], device=self.device)
        limit = self.backbone.max_positions
        room = decoding.max_new_tokens if limit is None else min(decoding.max_new_tokens, limit - width)
        model, settings = self.backbone.language_model, self._settings(decoding, room)
        try:
            with torch.inference_mode(), self.autocast():
                made: torch.Tensor = model.generate(
                    input_ids=ids, attention_mask=mask, generation_config=settings, **more
                )
                return made
        except ValueError as error:
            if "trust_remote_code" not in str(error):
                raise
            # What we leave open is taken from the model's own settings.
            raise SetupError(
                f"{self.backbone.model_name}: its generation_config.json chooses a way to generate that is code of the "
                f"hub, which Jenga does not run ({error}). Take what chooses it out of the file, such as penalty_alpha"
            ) from error

    def _ends(self) -> list[int]:
        """Return the tokens that end an answer."""
        own = getattr(self.backbone.language_model.generation_config, "eos_token_id", None)
        return sorted({self.tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])} - {None})

    def _settings(self, decoding: Decoding, max_new_tokens: int) -> Any:
        from transformers import GenerationConfig as Settings

        chosen: dict[str, Any] = {"do_sample": False}
        if decoding.temperature > 0:
            chosen = {
                "do_sample": True, "temperature": decoding.temperature, "top_p": decoding.top_p,
                "top_k": decoding.top_k,
            }  # fmt: skip
        return Settings(
            max_new_tokens=max_new_tokens,
            repetition_penalty=decoding.repetition_penalty,
            eos_token_id=self._ends() or None,
            pad_token_id=self.tokenizer.pad_token_id,
            **chosen,
        )


@contextmanager
def _generating(backbone: TextBackbone, seed: int) -> Iterator[None]:
    """Keep dropout out, and the global random numbers as they were."""
    was_training = backbone.training
    backbone.eval()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            yield
    finally:
        backbone.train(was_training)


def _dialogues(rows: Rows) -> list[Dialogue]:
    assert isinstance(rows.content, Dialogues)
    return rows.content.dialogues


def matches(answer: str, expected: str, pattern: str | None) -> bool:
    """Return whether `answer` says what `expected` says: what `pattern` finds last in either, else all of it.

    Spaces and commas around it do not count; where `pattern` finds nothing, nothing matches.
    """
    said, wanted = _core(answer, pattern), _core(expected, pattern)
    return said is not None and said == wanted


def _core(text: str, pattern: str | None) -> str | None:
    if pattern is None:
        return text.strip()
    found = list(re.finditer(pattern, text))
    if not found:
        return None
    core = found[-1].group(1) if found[-1].re.groups else found[-1].group(0)
    return None if core is None else core.strip(" \t\n,.")


def readable(dialogue: Dialogue) -> str:
    """Return a dialogue for people: one turn as it is, several with their roles."""
    if len(dialogue.turns) == 1:
        return dialogue.turns[0].readable
    return "\n".join(f"{turn.role}: {turn.readable}" for turn in dialogue.turns)


def _expected(dialogue: Dialogue, opening: Dialogue) -> str:
    if dialogue.is_text:
        return dialogue.turns[0].readable[len(opening.turns[0].readable) :]
    return dialogue.turns[-1].readable if dialogue.answered else ""
