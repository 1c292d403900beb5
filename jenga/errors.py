"""Errors that reach a user. Each class fixes the exit code of the command line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest of `known`, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def printable(text: str) -> str:
    """Return `text` as a person may be shown it: on one line, what no terminal should act on as its escape.

    Line breaks, escape sequences and marks that turn the direction of writing are such; what data holds passes here.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def redacted(text: str) -> str:
    """Return `text` with the user and password of every address in it hidden."""
    return re.sub(r"://[^/@\s]+@", "://***@", text)


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong, and where.

    `file`, `line` and `column` (both 1-based; 0 when there is no such place) sort problems in reading order;
    `key` is the dotted path of the setting or the name of the column.
    """

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        place = self.file
        if self.line:
            place += f":{self.line}:{self.column}"
        return ": ".join(part for part in (place, self.key, self.message) if part)


class JengaError(Exception):
    """Base of every error with a message meant for the user."""

    exit_code = 1


class ConfigError(JengaError):
    """The configuration or the command line is wrong. Carries every problem found, in reading order."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        if isinstance(problems, str):
            problems = [Problem("", 0, 0, "", problems)]
        self.problems = sorted(problems)
        super().__init__("\n".join(map(str, self.problems)))


class DataError(JengaError):
    """The data cannot be read, or does not fit the configuration."""

    exit_code = 3


class SetupError(JengaError):
    """This machine or installation lacks something: a model, a file, a library, or a part not built yet."""

    exit_code = 4


class LostProcessError(SetupError):
    """Another process of the run is gone, which tells itself why, or is told by whoever started it.

    told_here: whether this process is the one of those left that tells the user.
    """

    def __init__(self, message: str, *, told_here: bool = True) -> None:
        super().__init__(message)
        self.told_here = told_here


class DivergedError(JengaError):
    """Training produced a loss or gradient that is not finite and stopped."""

    exit_code = 5


class InterruptedRun(JengaError):  # noqa: N818 -- not a fault
    """The user stopped the run; a checkpoint was saved first."""

    exit_code = 130
