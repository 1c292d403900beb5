"""`jenga recalibrate`: fit thresholds and calibrations of a trained model to rows of where it is used."""

from __future__ import annotations

import click

from jenga.cli import options
from jenga.cli.output import print_json, print_table
from jenga.imports import collector_at_rest


@click.command(cls=options.Command)
@options.run_argument
@click.option("--data", required=True, type=click.Path(), help="Labelled rows, as jenga evaluate reads them.")
@click.option("-o", "--output", required=True, type=click.Path(), help="Folder to write; it must not exist yet.")
@options.set_option
@options.base_model_option
@options.trust_option
@options.device_option
@options.json_option
def recalibrate(
    run: str,
    data: str,
    output: str,
    overrides: tuple[str, ...],
    base_model: str | None,
    trust_remote_code: bool,
    device: str,
    as_json: bool,
) -> None:
    """Fit calibrations and thresholds of RUN's best model to the labelled rows of --data, and no weight.

    The model goes to a folder of its own, which every command reads as a RUN; the run stays as it is. --set changes
    evaluation.thresholds, .calibration, .conformal, .out_of_scope and .bootstrap. Heads without a label there
    stay as they were.
    """
    with collector_at_rest():
        from jenga.inference.recalibrated import recalibrate as fit
    from jenga.report.card import closing_table
    from jenga.report.certainty import certainty_table

    found = fit(
        run, data, output, overrides=overrides, device=device, base_model=base_model,
        trust_remote_code=trust_remote_code,
    )  # fmt: skip
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    kept = [".".join(key) for key in found.kept]
    if as_json:
        said = {"folder": str(found.folder), "before": found.before, "after": found.after, "kept": kept}
        print_json({**said, "warnings": found.warnings})
        return
    if kept:
        click.echo(f"without a label in {data}, and as they were: {', '.join(kept)}")
    for when, scores in (("before", found.before), ("after, on the rows that it was fitted to", found.after)):
        click.echo(f"{when}: {scores['rows']} rows")
        evaluation = {"splits": {"valid": scores}}
        print_table(closing_table(evaluation, "valid"))
        if certain := certainty_table(evaluation, "valid"):
            print_table(certain)
    click.echo(f"wrote {found.folder}")
