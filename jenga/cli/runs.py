"""`jenga runs`: the runs in a folder, and several of them side by side."""

from __future__ import annotations

from pathlib import Path

import click

from jenga.cli import options
from jenga.cli.output import print_json, print_table
from jenga.files import write_atomic
from jenga.tables import number


@click.group()
def runs() -> None:
    """Runs: which there are, and in what they differ."""


@runs.command("list", cls=options.Command)
@click.argument("folder", metavar="[FOLDER]", type=click.Path(path_type=Path), default=Path("runs"))
@options.json_option
def list_runs(folder: Path, as_json: bool) -> None:
    """Show the runs in FOLDER, the newest first. Default: runs, where trainings write unless output_dir says else.

    stopped: a run that did not end, and that no process has now; jenga train --resume goes on with it. running (on
    HOST): one that another machine or container began, whose processes are not seen from here.
    """
    from jenga.report.runs import find_runs, run_line, shown_time

    found = [run_line(run, within=folder) for run in find_runs(folder)]
    if as_json:
        print_json([each.as_json() for each in found])
        return
    if not found:
        click.echo(f"{folder}: no run in it", err=True)
        return
    header = ["run", "created", "status", "steps", "metric", "value", "rows", "seconds"]
    print_table([header, *(
        [
            each.name, shown_time(each.created), each.status, _count(each.steps), each.metric or "-",
            number(each.value), _count(each.rows), "-" if each.seconds is None else f"{each.seconds:,.1f}",
        ]
        for each in found
    )])  # fmt: skip


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


@runs.command(cls=options.Command)
@click.argument("paths", metavar="RUN RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--all", "everything", is_flag=True, help="All metrics of each head, not the one that stands for it.")
@click.option(
    "--html", "page", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Write a page too, with all metrics and the curves of the runs.",
)  # fmt: skip
@options.json_option
def compare(paths: tuple[Path, ...], everything: bool, page: Path | None, as_json: bool) -> None:
    """Show in what RUNs differ from the first: their settings, their metrics, and the rows that they answer wrongly.

    Of runs on the same rows, each row is compared: how many of them the first alone answers rightly, and the other
    alone, with the p of McNemar's exact test.
    """
    from jenga.report.compare import compare_runs, metrics_table, settings_table

    found = compare_runs(paths)
    if page is not None:
        from jenga.report.compare_page import comparison_page

        write_atomic(page, comparison_page(found))
    if as_json:
        print_json(found.as_json())
        return
    if not found.same_rows:
        click.echo("warning: the runs are not of the same rows, so their figures differ by these too", err=True)
    if found.settings:
        print_table(settings_table(found))
        click.echo()
    print_table(metrics_table(found, everything=everything))
    if page is not None:
        click.echo(f"page: {page}", err=True)
