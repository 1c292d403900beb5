"""`jenga train`: run an experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jenga.cli import options
from jenga.cli.output import lasting, print_json, print_table
from jenga.imports import collector_at_rest
from jenga.launched import number, size

if TYPE_CHECKING:
    from jenga.run.experiment import Result


@click.command(cls=options.Command)
@options.config_argument
@options.set_option
@click.option(
    "--resume", metavar="auto|RUN", help="Go on with the newest unfinished run of the same configuration, or with RUN."
)
@click.option(
    "--changed-rows", is_flag=True, help="With --resume: go on though the rows are not those that the run began with."
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Train in N processes of this machine, which share each step's rows. Of several machines see docs/scale.md.",
)
@click.option(
    "--restarts",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="With --processes: where one of them is killed, begin again at the newest checkpoint, so often at most.",
)
@click.option(
    "--wait-limit",
    "wait_s",
    type=click.FloatRange(min=1),
    default=1800,
    show_default=True,
    metavar="SECONDS",
    help="With several processes: how long one waits for another before the run ends and says which did not come.",
)
@options.device_option
@options.seed_option
@options.output_dir_option
@options.trust_option
@click.option("--print-config", is_flag=True, help="Write the resolved configuration and stop.")
@options.json_option
@click.pass_context
def train(
    context: click.Context,
    config: str,
    overrides: tuple[str, ...],
    resume: str | None,
    changed_rows: bool,
    processes: int,
    restarts: int,
    wait_s: float,
    device: str,
    seed: int | None,
    output_dir: str | None,
    trust_remote_code: bool,
    print_config: bool,
    as_json: bool,
) -> None:
    """Train the experiment in CONFIG.yml.

    Progress goes to standard error, the closing table to standard output. Ctrl-C saves a checkpoint; --resume auto goes
    on from there.
    """
    if changed_rows and resume is None:
        raise click.UsageError("--changed-rows goes with --resume.")
    if restarts and processes == 1:
        raise click.UsageError("--restarts goes with --processes.")
    if processes > 1 and size() > 1:
        raise click.UsageError("--processes starts them itself; leave it to torchrun, or start this without torchrun.")
    from rich.console import Console

    with collector_at_rest():
        from jenga.run import experiment

    given = options.all_overrides(overrides, seed=seed, output_dir=output_dir, trust_remote_code=trust_remote_code)
    resolved = experiment.load_config(config, given)
    if print_config:
        from jenga.config.render import to_yaml

        click.echo(to_yaml(resolved), nl=False)
        return
    if processes > 1:
        from jenga.run.launch import launch

        more = [*(["--resume", resume] if resume else []), *(["--changed-rows"] if changed_rows else [])]
        more += [f"--{flag}" for flag in ("quiet", "debug") if context.meta[f"jenga.{flag}"]]
        more += ["--json"] if as_json else []
        changed = [word for each in given for word in ("--set", each)]
        context.exit(
            launch(
                processes, [config, *changed, "--device", device, "--wait-limit", str(wait_s), *more], restarts=restarts
            )
        )
    console = Console(file=lasting(), quiet=context.meta[options.QUIET])
    found = experiment.train(
        resolved, device=device, resume=resume, changed_rows=changed_rows, wait_s=wait_s, console=console
    )
    if number() == 0:
        _show(found, as_json)


def _show(result: Result, as_json: bool) -> None:
    if as_json:
        print_json({"run": str(result.run), "metrics": result.metrics, "evaluation": result.evaluation})
        return
    from jenga.continual.summary import FILE as RECORD
    from jenga.report.card import closing_table
    from jenga.report.certainty import certainty_table

    for split in result.evaluation["splits"]:
        click.echo(f"{split} rows:")
        print_table(closing_table(result.evaluation, split))
        if certain := certainty_table(result.evaluation, split):
            click.echo(f"certainty on {split} rows:")
            print_table(certain)
    if (result.run / RECORD).exists():
        from jenga.continual.compare import compare

        click.echo("stages:")
        print_table(compare([result.run]).table())
    click.echo(f"run: {result.run}")
