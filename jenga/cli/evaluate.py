"""`jenga evaluate`: judge a trained model."""

from __future__ import annotations

import click

from jenga.cli import options
from jenga.cli.output import print_json, print_table
from jenga.imports import collector_at_rest


@click.command(cls=options.Command)
@options.run_argument
@click.option("--data", type=click.Path(), help="Labelled rows. Default: those of the run's configuration.")
@click.option(
    "--split", type=click.Choice(["train", "valid", "test"]), default="test", show_default=True,
    help="Which of the run's rows; with --data, the split of a hub data set.",
)  # fmt: skip
@options.base_model_option
@options.trust_option
@options.device_option
@options.json_option
def evaluate(
    run: str,
    data: str | None,
    split: str,
    base_model: str | None,
    trust_remote_code: bool,
    device: str,
    as_json: bool,
) -> None:
    """Judge the best model of RUN on labelled rows."""
    with collector_at_rest():
        from jenga.inference.loading import load
    from jenga.report.card import closing_table
    from jenga.report.certainty import certainty_table

    predictor = load(run, device=device, base_model=base_model, trust_remote_code=trust_remote_code)
    found = predictor.evaluate(data, split=split)
    if as_json:
        print_json(found)
        return
    click.echo(f"{data or f'{split} rows of {run}'}: {found['rows']} rows")
    evaluation = {"splits": {split: found}}
    print_table(closing_table(evaluation, split))
    if certain := certainty_table(evaluation, split):
        click.echo("certainty:")
        print_table(certain)
