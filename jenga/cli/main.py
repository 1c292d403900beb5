"""The entry points `jenga` and `jenga-train`."""

from __future__ import annotations

import click

from jenga.cli.check import check
from jenga.cli.doctor import doctor
from jenga.cli.evaluate import evaluate
from jenga.cli.export import export
from jenga.cli.generate import generate
from jenga.cli.init import init
from jenga.cli.predict import predict
from jenga.cli.refine import refine
from jenga.cli.schema import schema
from jenga.cli.train import train
from jenga.cli.tune import tune

_EPILOG = """\b
Start with:  jenga init && jenga check experiment.yml && jenga train experiment.yml
Completion:  eval "$(_JENGA_COMPLETE=bash_source jenga)"   (zsh_source and fish_source alike)
\b
Exit codes:  0 done, 2 configuration or usage, 3 data, 4 this machine, 5 diverged, 130 interrupted, 1 anything else
"""


class _InOrder(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="jenga")
def jenga() -> None:
    """Train many tasks over one shared encoder, from one YAML file."""


for _command in (init, check, train, tune, evaluate, predict, generate, export, refine, schema, doctor):
    jenga.add_command(_command)


def main() -> None:
    """Run `jenga`."""
    jenga(prog_name="jenga")


def train_main() -> None:
    """Run `jenga-train`, which is `jenga train`."""
    train(prog_name="jenga-train")
