"""The entry points `jenga` and `jenga-train`."""

from __future__ import annotations

import atexit
import logging
import os
import sys

import click

from jenga.cli import options
from jenga.cli.alerts import alerts
from jenga.cli.audit import audit
from jenga.cli.check import check
from jenga.cli.doctor import doctor
from jenga.cli.evaluate import evaluate
from jenga.cli.export import export
from jenga.cli.generate import generate
from jenga.cli.init import init
from jenga.cli.predict import predict
from jenga.cli.push import push
from jenga.cli.quarantine import quarantine
from jenga.cli.recalibrate import recalibrate
from jenga.cli.refine import refine
from jenga.cli.report import report
from jenga.cli.runs import runs
from jenga.cli.schema import schema
from jenga.cli.serve import serve
from jenga.cli.train import train
from jenga.cli.tune import tune
from jenga.cli.watch import watch

_EPILOG = """\b
Start with:  jenga init && jenga check experiment.yml && jenga train experiment.yml
Completion:  eval "$(_JENGA_COMPLETE=bash_source jenga)"   (zsh_source and fish_source alike)
\b
Exit codes:  0 done, 2 configuration or usage, 3 data, 4 this machine, 5 diverged, 130 interrupted, 1 anything else
"""


class _InOrder(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, epilog=_EPILOG, context_settings={"help_option_names": options.HELP})
@click.version_option(package_name="jenga")
def jenga() -> None:
    """Train many tasks over one shared encoder, from one YAML file."""


_COMMANDS = (
    init, check, audit, train, watch, runs, quarantine, tune, evaluate, recalibrate, predict, serve, alerts, generate,
    export, push, report, refine, schema, doctor,
)  # fmt: skip
for _command in _COMMANDS:
    jenga.add_command(_command)


def main() -> None:
    """Run `jenga`."""
    _run_program(jenga, "jenga")


def train_main() -> None:
    """Run `jenga-train`, which is `jenga train`."""
    _run_program(train, "jenga-train")


def _run_program(command: click.Command, name: str) -> None:
    """Run a command; the process then ends without taking apart what is loaded, which is a third of a short run's time.

    What comes before that is as ever: threads are waited for, and what `atexit` has got from the command is called.
    """
    codes: list[int] = []
    # Registered first, so called last.
    atexit.register(_end, codes)
    try:
        command(prog_name=name)
    except SystemExit as error:
        if isinstance(error.code, int):
            codes.append(error.code)
        raise


def _end(codes: list[int]) -> None:
    """End with the code of the command; where it has none, or a stream cannot be written, Python ends it and tells."""
    logging.shutdown()
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except (AttributeError, OSError, ValueError):
        return
    if codes:
        os._exit(codes[0])
