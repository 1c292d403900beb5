"""`jenga schema`: the JSON Schema of the files that people write."""

from __future__ import annotations

import click

from jenga.cli import options
from jenga.cli.output import print_json


@click.command(cls=options.Command)
@click.option("--policy", is_flag=True, help="That of policy files (jenga predict --policy).")
def schema(policy: bool) -> None:
    """Write the JSON Schema of experiment files, for editors.

    With the YAML language server, `# yaml-language-server: $schema=FILE` as a line of the experiment then completes and
    explains its keys.
    """
    if policy:
        from jenga.policy.load import json_schema as policies

        print_json(policies())
        return
    from jenga.bundle import schema as experiments
    from jenga.config.render import json_schema

    print_json(json_schema(experiments()))
