"""`jenga generate`: answers of a trained language model, streamed to a terminal or written as JSON Lines."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from jenga.cli import options
from jenga.cli.predict import read_stream, writer

if TYPE_CHECKING:
    from jenga.data.dialogue import Dialogue
    from jenga.generation import Decoding, Generator
    from jenga.inference.predictor import Predictor

logger = logging.getLogger(__name__)


@click.command(cls=options.Command)
@options.run_argument
@click.argument("file", required=False, type=click.Path(allow_dash=True))
@click.option("--prompt", "prompts", multiple=True, help="A prompt instead of FILE. May be repeated.")
@click.option("--task", help="Language task that answers. Default: the model's first.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="File for the answers. Default: standard output.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), help="Longest answer. Default: as the task was given.")
@click.option(
    "--temperature", type=click.FloatRange(min=0), default=0.0, show_default=True,
    help="0: the likeliest token; above: drawn, the wilder the higher.",
)  # fmt: skip
@click.option(
    "--top-p", type=click.FloatRange(min=0, max=1, min_open=True), default=1.0, show_default=True,
    help="Draw from the likeliest tokens that make up this share.",
)  # fmt: skip
@click.option(
    "--top-k", type=click.IntRange(min=0), default=0, show_default=True, help="Draw from this many tokens; 0: from all."
)
@click.option(
    "--repetition-penalty", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True,
    help="Above 1: avoid tokens that were there already.",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is drawn.")
@click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True, help="Prompts at a time.")
@options.base_model_option
@options.device_option
def generate(
    run: str,
    file: str | None,
    prompts: tuple[str, ...],
    task: str | None,
    output: str | None,
    max_new_tokens: int | None,
    temperature: float,
    top_p: float,
    top_k: int,
    repetition_penalty: float,
    seed: int,
    batch_size: int,
    base_model: str | None,
    device: str,
) -> None:
    """Answer prompts with RUN's best language model.

    FILE holds rows as the task reads them (JSON, JSON Lines, CSV, Parquet or text); - is standard input: JSON, or a
    prompt a line. Its answers are JSON Lines, {"id", "prompt", "text"}. One --prompt is streamed as plain text. Without
    either, on a terminal, each line that you type is answered.
    """
    if file is not None and prompts:
        raise click.UsageError("Give FILE or --prompt, not both.")
    if file is None and not prompts and not sys.stdin.isatty():
        raise click.UsageError("Give FILE (- for standard input), or --prompt.")
    from jenga.generation import Decoding
    from jenga.inference.predictor import load

    predictor = load(run, device=device, base_model=base_model)
    generator = predictor.generator(task)
    name = task or next(head.task for spec in predictor.bundle.specs if spec.language for head in spec.heads)
    longest = max_new_tokens or predictor.model.tasks[name].config.generation.max_new_tokens
    decoding = Decoding(longest, temperature, top_p, top_k, repetition_penalty, seed)
    if file is None and not prompts:
        _converse(generator, decoding)
    elif len(prompts) == 1 and output is None:
        _stream(generator, _asked(generator, prompts[0]), decoding)
    else:
        _answer_all(predictor, generator, name, file, prompts, decoding, batch_size, output)


def _asked(generator: Generator, prompt: str) -> Dialogue:
    """Return a prompt as the task's rows have it: a text to go on with, or a user's turn."""
    from jenga.data.dialogue import Dialogue

    language = generator.spec
    if language.text:
        return Dialogue((("text", prompt),))
    return Dialogue((("user", prompt),), chat=bool(language.messages))


def _stream(generator: Generator, dialogue: Dialogue, decoding: Decoding) -> str | None:
    """Write an answer as it comes, and return it; None where it was stopped by Ctrl-C."""
    from transformers import TextStreamer

    from jenga.errors import DataError
    from jenga.generation import Unanswered

    streamer = TextStreamer(generator.tokenizer, skip_prompt=True, skip_special_tokens=True)
    answer = generator.answers([dialogue], decoding, streamer=streamer)[0]
    if isinstance(answer, Unanswered):
        raise DataError(f"--prompt: {answer.reason}")
    return answer


def _converse(generator: Generator, decoding: Decoding) -> None:
    """Answer line by line until Ctrl-D; a chat remembers what was said, and Ctrl-C ends an answer."""
    from jenga.data.dialogue import ASSISTANT, Dialogue

    chat = bool(generator.spec.messages) or generator.spec.template == "chat"
    chat = chat and bool(getattr(generator.tokenizer, "chat_template", None))
    said: tuple[tuple[str, str], ...] = ()
    while True:
        try:
            prompt = input("> ")
        except EOFError:
            click.echo()
            return
        if not prompt.strip():
            continue
        asked = _asked(generator, prompt)
        try:
            answer = _stream(generator, Dialogue((*said, ("user", prompt)), chat=True) if chat else asked, decoding)
        except KeyboardInterrupt:
            click.echo(" [stopped]")
            continue
        if chat and answer is not None:
            said = (*said, ("user", prompt), (ASSISTANT, answer))


def _answer_all(
    predictor: Predictor,
    generator: Generator,
    task: str,
    file: str | None,
    prompts: Sequence[str],
    decoding: Decoding,
    batch_size: int,
    output: str | None,
) -> None:
    failed = total = 0
    with writer(output) as out:
        for row in _rows(predictor, generator, task, file, prompts, decoding, batch_size):
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            out.flush()
            total += 1
            failed += "error" in row
    if failed:
        logger.warning("%d of %d prompts got no answer; see their 'error'", failed, total)


def _rows(
    predictor: Predictor,
    generator: Generator,
    task: str,
    file: str | None,
    prompts: Sequence[str],
    decoding: Decoding,
    batch_size: int,
) -> Iterator[dict[str, Any]]:
    """Yield an object for each prompt in its order, a batch at a time; one without an answer has an ``error``."""
    from jenga.data.rows import parse_rows
    from jenga.generation import Unanswered, readable
    from jenga.inference.reading import as_raw

    spec = next(each for each in predictor.bundle.specs if each.language and each.heads[0].task == task)
    given: Any = (
        list(prompts) if file is None else read_stream(sys.stdin.buffer) if file == "-" else predictor.read(file)
    )
    rows, bad = parse_rows(as_raw(given, [spec]), spec, spaces=None, with_labels=False)
    dialogues = [each if each.is_text else each.opening() for each in rows.dialogues or ()]
    for start in range(0, len(dialogues), batch_size):
        part = dialogues[start : start + batch_size]
        answers = generator.answers(part, decoding, batch_size=batch_size)
        for name, dialogue, answer in zip(rows.ids[start : start + batch_size], part, answers, strict=True):
            said = {"error": answer.reason} if isinstance(answer, Unanswered) else {"text": answer}
            yield {"id": name, "prompt": readable(dialogue), **said}
    yield from ({"id": str(row.number), "error": row.reason} for row in bad)
