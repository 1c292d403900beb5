"""`jenga report`: what runs have in common, and in what they differ."""

from __future__ import annotations

from pathlib import Path

import click

from jenga.cli import options
from jenga.cli.output import print_json, print_table


@click.group()
def report() -> None:
    """Tables and figures of finished runs."""


@report.command(cls=options.Command)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="PNG",
    help="File of the figure. Default: continual.png in the first RUN.",
)  # fmt: skip
@options.json_option
def continual(runs: tuple[Path, ...], output: Path | None, as_json: bool) -> None:
    """Show what runs in stages kept of each stage, as tables and a figure.

    Runs that differ by their seed alone are one row, with the mean and the standard deviation over them.
    """
    from jenga.continual.compare import FIGURES, compare
    from jenga.continual.plots import draw

    found = compare(runs)
    path = output or runs[0] / "continual.png"
    draw(found, path)
    if as_json:
        groups = [
            {"name": group.name, "runs": len(group.records), "matrix": group.matrix,
             **{name: group.figure(name) for name in FIGURES}}
            for group in found.groups
        ]  # fmt: skip
        print_json({"stages": found.stages, "metric": found.metric, "groups": groups, "figure": str(path)})
        return
    for group in found.groups:
        click.echo(f"{group.name}: {found.metric} after each stage")
        print_table(found.matrix_table(group))
        click.echo()
    print_table(found.table())
    click.echo(f"figure: {path}")
