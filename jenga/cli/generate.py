"""`jenga generate`: answers of a trained language model, streamed to a terminal or written as JSON Lines."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import click

from jenga.cli import options
from jenga.cli.predict import writer
from jenga.imports import collector_at_rest

if TYPE_CHECKING:
    from jenga.modalities.text.dialogue import Dialogue, Dialogues
    from jenga.modalities.text.generation import Decoding, Generator, Unanswered
    from jenga.rows.parse import SourceSpec

logger = logging.getLogger(__name__)


@click.command(cls=options.Command)
@options.run_argument
@click.argument("file", required=False, type=click.Path(allow_dash=True))
@click.option("--prompt", "prompts", multiple=True, help="A prompt instead of FILE. May be repeated.")
@click.option("--task", help="Language task that answers. Default: the model's first.")
@options.answers_option
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
@options.trust_option
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
    trust_remote_code: bool,
    device: str,
) -> None:
    """Answer prompts with RUN's best language model.

    FILE holds rows as the task reads them (JSON, JSON Lines, CSV, Parquet or text); - is standard input: JSON, CSV, or
    a prompt a line. Its answers are JSON Lines, {"id", "prompt", "text"}. One --prompt is streamed as plain text.
    Without either, on a terminal, each line that you type is answered.
    """
    if file is not None and prompts:
        raise click.UsageError("Give FILE or --prompt, not both.")
    if file is None and not prompts and not sys.stdin.isatty():
        raise click.UsageError("Give FILE (- for standard input), or --prompt.")
    options.check_outputs({"--output": output}, [file])
    with collector_at_rest():
        from jenga.inference.loading import load
    from jenga.errors import DataError
    from jenga.modalities.text.generation import Decoding, Unanswered

    predictor = load(run, device=device, base_model=base_model, trust_remote_code=trust_remote_code)
    # Its prompts are dialogues, which only a generator of texts answers.
    spec, generator = predictor.language_task(task), cast("Generator", predictor.generator(task))
    settings = predictor.model.tasks[spec.heads[0].task].config.generation
    longest = max_new_tokens or settings.max_new_tokens
    decoding = Decoding(longest, temperature, top_p, top_k, repetition_penalty, seed)
    if file is None and not prompts:
        _converse(generator, decoding)
    elif len(prompts) == 1 and output is None:
        answer = _stream(generator, _asked(generator, prompts[0]), decoding)
        if isinstance(answer, Unanswered):
            raise DataError(f"--prompt: {answer.reason}")
    else:
        given: Any = list(prompts)
        if file is not None:
            given = predictor.read(sys.stdin.buffer.read() if file == "-" else file)
        rows = _answers(generator, _read(given, spec), decoding, batch_size)
        _write(rows, output)


def _asked(generator: Generator, prompt: str) -> Dialogue:
    """Return a prompt as the task's rows have it: a text to go on with, or a user's turn."""
    from jenga.modalities.text.dialogue import Dialogue
    from jenga.modalities.text.messages import Turn

    language = generator.spec
    if language.text:
        return Dialogue.of_text(prompt)
    return Dialogue((Turn("user", prompt),), chat=bool(language.messages))


def _stream(generator: Generator, dialogue: Dialogue, decoding: Decoding) -> str | Unanswered:
    """Write an answer as it comes, and return it."""
    from transformers import TextStreamer

    streamer = TextStreamer(generator.tokenizer, skip_prompt=True, skip_special_tokens=True)
    return generator.answers([dialogue], decoding, streamer=streamer)[0]


def _converse(generator: Generator, decoding: Decoding) -> None:
    """Answer line by line until Ctrl-D; a chat remembers what was said, and Ctrl-C ends an answer."""
    from jenga.modalities.text.dialogue import Dialogue
    from jenga.modalities.text.generation import Unanswered
    from jenga.modalities.text.messages import ASSISTANT, Turn

    chat = bool(generator.spec.messages) or generator.spec.template == "chat"
    said: tuple[Turn, ...] = ()
    while True:
        try:
            prompt = input("> ")
        except EOFError:
            click.echo()
            return
        if not prompt.strip():
            continue
        asked = Dialogue((*said, Turn("user", prompt)), chat=True) if chat else _asked(generator, prompt)
        try:
            answer = _stream(generator, asked, decoding)
        except KeyboardInterrupt:
            click.echo(" [stopped]")
            continue
        if isinstance(answer, Unanswered):
            click.echo(f"[{answer.reason}{'; the conversation begins anew' if said else ''}]")
            said = ()
        elif chat:
            said = (*said, Turn("user", prompt), Turn(ASSISTANT, answer))


def _read(given: Any, spec: SourceSpec) -> list[tuple[str, Dialogue | Unanswered]]:
    """Return the name of each given row, in their order, and what is to be answered of it, or why it cannot be."""
    from jenga.inference.reading import names
    from jenga.modalities.text.generation import Unanswered
    from jenga.rows.given import given_rows
    from jenga.rows.parse import parse_rows

    raw = given_rows(given, [spec.content])
    rows, bad = parse_rows(raw, spec, spaces=None, with_labels=False)
    dialogues = cast("Dialogues", rows.content).dialogues
    found: dict[int, Dialogue | Unanswered] = {row.number: Unanswered(row.reason) for row in bad}
    for number, dialogue in zip(rows.numbers, dialogues, strict=True):
        found[number] = dialogue if dialogue.is_text else dialogue.opening()
    return [(name, found[number]) for number, name in names(raw, spec.id).items()]


def _answers(
    generator: Generator, asked: Sequence[tuple[str, Dialogue | Unanswered]], decoding: Decoding, batch_size: int
) -> Iterator[dict[str, Any]]:
    """Yield an object for each row in its order, a batch at a time; one without an answer has an ``error``."""
    from jenga.modalities.text.generation import Unanswered, readable

    for start in range(0, len(asked), batch_size):
        part = asked[start : start + batch_size]
        dialogues = [each for _, each in part if not isinstance(each, Unanswered)]
        made = iter(generator.answers(dialogues, decoding, batch_size=batch_size))
        for name, each in part:
            prompt = {} if isinstance(each, Unanswered) else {"prompt": readable(each)}
            answer = each if isinstance(each, Unanswered) else next(made)
            said = {"error": answer.reason} if isinstance(answer, Unanswered) else {"text": answer}
            yield {"id": name, **prompt, **said}


def _write(rows: Iterator[dict[str, Any]], output: str | None) -> None:
    from jenga.kernels.json_lines import json_lines

    failed = total = 0
    with writer(output) as out:
        for row in rows:
            out.write(json_lines([row]))
            out.flush()
            total += 1
            failed += "error" in row
    if failed:
        logger.warning("%d of %d prompts got no answer; see their 'error'", failed, total)
