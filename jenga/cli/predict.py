"""`jenga predict`: answers for new rows, as JSON Lines."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from jenga.cli import options
from jenga.files import atomic_file
from jenga.imports import collector_at_rest

if TYPE_CHECKING:
    from jenga.inference.predictor import Predictor
    from jenga.rows.raw import RawRows

logger = logging.getLogger(__name__)


@click.command(cls=options.Command)
@options.run_argument
@click.argument("file", required=False, type=click.Path(allow_dash=True))
@click.option("--text", "texts", multiple=True, help="A text instead of FILE. May be repeated.")
@options.answers_option
@click.option("--probabilities", is_flag=True, help="Give the probability of every class, not only of the best.")
@click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True, help="Rows of a forward pass.")
@options.base_model_option
@options.trust_option
@options.device_option
def predict(
    run: str,
    file: str | None,
    texts: tuple[str, ...],
    output: str | None,
    probabilities: bool,
    batch_size: int,
    base_model: str | None,
    trust_remote_code: bool,
    device: str,
) -> None:
    """Write the answers of RUN's best model for each row of FILE, one JSON object a line.

    FILE is JSON, JSON Lines, CSV or Parquet; - reads standard input: JSON, CSV, or plain texts, one a line. A row that
    cannot be used gives an object with its "id" and an "error"; one whose text was cut has "truncated": true.
    """
    if (file is None) == (not texts):
        raise click.UsageError("Give FILE (- for standard input), or --text.")
    options.check_outputs({"--output": output}, [file])
    with collector_at_rest():
        from jenga.inference.predictor import load

    predictor = load(run, device=device, base_model=base_model, trust_remote_code=trust_remote_code)
    rows = _rows(predictor, file, list(texts))
    total = unusable = failed = 0
    with writer(output) as out:
        for row in predictor.stream(rows, batch_size=batch_size, probabilities=probabilities):
            out.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            total += 1
            unusable += "error" in row
            failed += row.keys() == {"id", "error"}
    if unusable:
        logger.warning("%d of %d rows cannot be used, or not by every task; see their 'error'", unusable, total)
    if total and total == failed:
        from jenga.errors import DataError

        raise DataError(f"none of the {total} rows can be used; each one's 'error' says why")


def _rows(predictor: Predictor, file: str | None, texts: list[str]) -> RawRows | list[str]:
    if file is not None:
        return predictor.read(sys.stdin.buffer.read() if file == "-" else file)
    if not predictor.takes_texts:
        raise click.UsageError("This model reads no bare texts: give FILE (- for standard input).")
    return texts


@contextmanager
def writer(path: str | None) -> Iterator[IO[str]]:
    """Yield a file that takes the place of `path` once all is written; without a path, or for -, standard output."""
    # JSON Lines are UTF-8 whatever the locale; half a character (a lone surrogate) becomes its JSON escape.
    if path is None or path == options.STANDARD:
        assert isinstance(sys.stdout, io.TextIOWrapper)
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
        yield sys.stdout
        return
    with atomic_file(Path(path)) as file:
        out = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="\n")
        yield out
        out.detach()
