"""What the command line writes: tables, plain sentences for warnings, one block for an error."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any, TextIO, cast

import click

from jenga.errors import ConfigError, JengaError, printable
from jenga.tables import is_numeric

_ENVIRONMENT = 4
_INTERRUPTED = 130


class _Lasting(io.TextIOBase):
    """A stream, or nothing once it takes no more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write `text`, or drop it."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is held back, or drop it."""
        with contextlib.suppress(OSError, ValueError):  # a stream that is closed holds nothing back
            self._stream.flush()

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the number by which the system knows it."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """How characters are written."""
        return self._stream.encoding


def lasting() -> TextIO:
    """Return standard error, as long as somebody hears it: no run ends since its terminal, reader or disk is gone."""
    # The one of now: a progress bar puts one of its own in its place, which writes to this.
    return cast(TextIO, _Lasting(sys.stderr))


class _Sentences(logging.Handler):
    """Shows a record as one sentence on standard error, where a progress bar makes room for it."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"{record.levelname.lower()}: {_lines(record.getMessage())}", file=lasting())


def _lines(text: str) -> str:
    """Return words of several lines without what a terminal would act on; see `printable`."""
    return "\n".join(map(printable, text.split("\n")))


def show_warnings(*, quiet: bool, debug: bool) -> None:
    """Send warnings of the logging and warnings modules to standard error; `quiet`: errors only."""
    root = logging.getLogger()
    for handler in root.handlers:
        if isinstance(handler, _Sentences):
            root.removeHandler(handler)
    root.addHandler(_Sentences())
    root.setLevel(logging.ERROR if quiet else logging.WARNING)
    logging.getLogger("jenga").setLevel(logging.DEBUG if debug else logging.NOTSET)
    # It has a handler of its own, and would tell everything twice.
    logging.getLogger("huggingface_hub").propagate = False

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        root.warning("%s", message)

    warnings.showwarning = show


def report_error(error: BaseException, *, debug: bool) -> int:
    """Write what went wrong as one block on standard error and return the exit code."""
    if debug:
        click.echo("".join(traceback.format_exception(error)).rstrip(), file=lasting())
    message, code = _message(error)
    click.echo(f"error: {_lines(message)}", file=lasting())
    return code


def _message(error: BaseException) -> tuple[str, int]:
    if isinstance(error, ConfigError) and len(error.problems) > 1:
        return f"{len(error.problems)} problems\n{error}", error.exit_code
    if isinstance(error, JengaError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", _INTERRUPTED
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}", _ENVIRONMENT
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        fix = (
            "lower training.batch_size (and raise training.gradient_accumulation_steps as much; where "
            "training.tokens_per_step is set, raise that alone), or data.max_length"
        )
        return f"out of memory: {fix}\n{error}".rstrip(), _ENVIRONMENT
    blame = "This is a mistake in Jenga, or in a part added to it; run with --debug to see where"
    return f"unexpected {type(error).__name__}: {error}\n{blame}", 1


def print_table(table: Sequence[Sequence[str]]) -> None:
    """Write a header and rows to standard output: drawn on a terminal, aligned by spaces elsewhere.

    Cells hold what data holds: see `printable`.
    """
    table = [list(map(printable, row)) for row in table]
    if sys.stdout.isatty():
        _draw(table)
        return
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _draw(table: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    header, *body = table
    drawn = Table()
    for at, name in enumerate(header):
        number = is_numeric([row[at] for row in body])
        drawn.add_column(Text(name), justify="right" if number else "left", overflow="fold")
    for row in body:
        drawn.add_row(*map(Text, row))
    Console().print(drawn)


def print_json(value: Any) -> None:
    """Write `value` as JSON to standard output."""
    click.echo(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))
