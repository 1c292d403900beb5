"""`jenga audit`: look at the rows of an experiment before it is trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jenga.cli import options
from jenga.cli.output import print_json, print_table
from jenga.imports import collector_at_rest

if TYPE_CHECKING:
    from jenga.audit.findings import Audit

_WORST = 3
_WIDTH = 60


@click.command(cls=options.Command)
@options.config_argument
@options.set_option
@click.option(
    "--out", type=click.Path(file_okay=False), default="audit", show_default=True, help="Folder of the results."
)
@click.option(
    "--features", type=click.Choice(["auto", "encoder"]), default="auto", show_default=True,
    help="What quick models read: TF-IDF of texts, features of events, else (and by encoder) what the encoder makes.",
)  # fmt: skip
@click.option(
    "--fail-on", metavar="KIND[:SHARE],...", default="",
    help="End with exit code 3 where more than this share of rows has such a finding: leak,label_error:0.05.",
)  # fmt: skip
@options.device_option
@options.seed_option
@options.trust_option
@options.json_option
@click.pass_context
def audit(
    context: click.Context,
    config: str,
    overrides: tuple[str, ...],
    out: str,
    features: Any,
    fail_on: str,
    device: str,
    seed: int | None,
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Look for what is wrong with the rows of the experiment in CONFIG.yml; nothing is trained.

    Finds labels that are likely wrong, duplicates, rows to judge by that stand in the training rows, triggers, outliers
    and drift. The folder gets audit.jsonl, a finding a line, and audit.html. A training without the rows found:
    --set data.exclude=audit/audit.jsonl, from which lines may be deleted.
    """
    from jenga.audit.findings import check_limits, read_limits

    limits = read_limits(fail_on)
    with collector_at_rest():
        from jenga.audit.audit import audit as look
        from jenga.audit.page import write_page
        from jenga.run.experiment import load_config

    given = options.all_overrides(overrides, seed=seed, trust_remote_code=trust_remote_code)
    quiet = context.meta[options.QUIET]
    folder = Path(out)
    excluded = load_config(config, given).data.exclude
    options.check_outputs({"--out": str(folder / "audit.jsonl")}, [config, excluded])
    found = look(
        config, overrides=given, features=features, device=device,
        tell=lambda line: None if quiet else click.echo(line, err=True),
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    found.write(folder / "audit.jsonl")
    write_page(found, folder / "audit.html")
    _show(found, folder, as_json=as_json)
    check_limits(found, limits)


def _show(found: Audit, folder: Path, *, as_json: bool) -> None:
    from jenga.audit.findings import KINDS, by_kind

    if as_json:
        print_json({"rows": found.rows, "findings": by_kind(found.findings), "told": found.told, "folder": str(folder)})
        return
    for words in found.told:
        click.echo(words, err=True)
    print_table(found.counts())
    worst = [each for kind in KINDS for each in found.of(kind)[:_WORST]]
    if worst:
        click.echo()
        header = ["worst", "row", "label", "rather", "what it holds", "why"]
        print_table(
            [header, *([
                each.kind.replace("_", " "), each.place, each.given or "-", each.suggested or "-", _short(each.text),
                _short(each.reason),
            ] for each in worst)]
        )  # fmt: skip
    click.echo(f"{folder / 'audit.jsonl'}: {len(found.findings):,} findings; {folder / 'audit.html'} shows them")


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
