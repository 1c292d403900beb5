"""`jenga quarantine`: what a run's sentinel has set aside, and giving it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jenga.cli import options
from jenga.cli.output import print_json, print_table
from jenga.errors import SetupError, printable

if TYPE_CHECKING:
    from jenga.sentinel.ledger import Entry, Ledger


class _InOrder(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder)
def quarantine() -> None:
    """See, give back and hand on what a run's sentinel has set aside.

    Rows that cannot be read at all are something else: quarantine.jsonl of the run itself lists them.
    """


run_argument = click.argument("run", type=click.Path(path_type=Path))


@quarantine.command("list", cls=options.Command)
@run_argument
@click.option("--detector", "detectors", multiple=True, help="Only what this one spoke against.")
@click.option("--state", "states", multiple=True, help="Only what is quarantined, restored or observed.")
@options.json_option
def list_(run: Path, detectors: Sequence[str], states: Sequence[str], as_json: bool) -> None:
    """Show the rows and labels that the sentinel of RUN spoke against."""
    found = [
        each for each in _ledger(run).entries
        if (not detectors or each.detector in detectors) and (not states or each.state in states)
    ]  # fmt: skip
    if as_json:
        print_json([asdict(each) for each in found])
        return
    if found:
        print_table([["row", "source", "what", "detector", "score", "label", "likelier", "step", "state"],
                     *(_cells(each) for each in found)])  # fmt: skip
    click.echo(_summary(found))


@quarantine.command(cls=options.Command)
@run_argument
@click.option("--id", "ids", multiple=True, help="A row's id, as `jenga quarantine list` shows it.")
@click.option("--detector", "detectors", multiple=True, help="All that this one has set aside.")
@options.json_option
def restore(run: Path, ids: Sequence[str], detectors: Sequence[str], as_json: bool) -> None:
    """Give rows back. RUN, gone on with, and runs that read its quarantine.jsonl learn from them and never set them
    aside again."""
    from jenga.trainer.run import HeldFolder

    if not ids and not detectors:
        raise click.UsageError("Say which: --id ID or --detector NAME, both as often as needed.")
    ledger = _ledger(run)
    unknown = [each for each in ids if each not in {entry.id for entry in ledger.entries}]
    if unknown:
        raise click.UsageError(f"no row '{unknown[0]}' in {ledger.path}; `jenga quarantine list {run}` shows them")
    held = HeldFolder(run)
    held.hold()
    try:
        found = ledger.restore(ids=ids, detectors=detectors)
    finally:
        held.release()
    if as_json:
        print_json([asdict(each) for each in found])
        return
    click.echo(f"{len(found):,} given back; {_summary(ledger.entries)}")


@quarantine.command(cls=options.Command)
@run_argument
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="File for it.")
def export(run: Path, output: Path) -> None:
    """Write what is set aside and what was given back to a file, for `callbacks.sentinel.quarantine` of another run."""
    from jenga.sentinel.ledger import write_entries

    ledger = _ledger(run)
    options.check_outputs({"--output": str(output)}, [str(ledger.path)])
    kept = [each for each in ledger.entries if each.state != "observed"]
    write_entries(output, kept)
    click.echo(f"{output}: {_summary(kept)}")


def _ledger(run: Path) -> Ledger:
    from jenga.sentinel.ledger import FILE, FOLDER, Ledger

    if not (run / "run.json").exists():
        raise SetupError(f"{run} is no run: it has no run.json; name the folder that jenga train told")
    if not (run / FOLDER / FILE).exists():
        raise SetupError(
            f"{run}: its sentinel spoke against no row, or it had none; write callbacks: {{sentinel: {{}}}} into the "
            "experiment's file to have one"
        )
    return Ledger(run / FOLDER / FILE)


def _cells(entry: Entry) -> list[str]:
    what = "row" if entry.task is None else f"{entry.task}.{entry.head}"
    shown = (
        entry.id, entry.source, what, entry.detector, f"{entry.score:.4g}", entry.label or "-", entry.suggested or "-",
        str(entry.step), entry.state,
    )  # fmt: skip
    return [printable(each) for each in shown]


def _summary(entries: Sequence[Entry]) -> str:
    counts = {state: sum(each.state == state for each in entries) for state in ("quarantined", "restored", "observed")}
    return ", ".join(f"{count:,} {state}" for state, count in counts.items())
