"""`jenga schema`: the JSON Schema of experiment files."""

from __future__ import annotations

import click

from jenga.cli import options
from jenga.cli.output import print_json


@click.command(cls=options.Command)
def schema() -> None:
    """Write the JSON Schema of experiment files, for editors.

    With the YAML language server, `# yaml-language-server: $schema=FILE` as a line of the experiment then completes and
    explains its keys.
    """
    from jenga.bundle import schema as experiments
    from jenga.config.render import json_schema

    print_json(json_schema(experiments()))
