"""`jenga tune`: search over settings of an experiment."""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from typing import Any

import click

from jenga.cli import options
from jenga.cli.output import lasting, print_json, print_table
from jenga.imports import collector_at_rest


@click.command(cls=options.Command)
@options.config_argument
@options.set_option
@click.option(
    "--resume", metavar="auto|STUDY", help="Go on with the newest unfinished study of the same search, or with STUDY."
)
@click.option(
    "--ray",
    is_flag=False,
    flag_value="local",
    metavar="[ADDRESS]",
    help="Carry out several trials at once by Ray: on this machine, or at ADDRESS (auto, host:port) on a cluster.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Trials at once, with --ray. Default: one a GPU, or one a machine without any.",
)
@options.device_option
@options.seed_option
@options.output_dir_option
@options.trust_option
@options.json_option
@click.pass_context
def tune(
    context: click.Context,
    config: str,
    overrides: tuple[str, ...],
    resume: str | None,
    ray: str | None,
    workers: int | None,
    device: str,
    seed: int | None,
    output_dir: str | None,
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Search the settings that the block `tune` of CONFIG.yml names, by runs that are judged on validation rows.

    Progress goes to standard error, the table of trials to standard output, and the best configuration to best.yml of
    the study, for jenga train. Ctrl-C saves checkpoints of the trials under way; --resume auto goes on from there.
    """
    from rich.console import Console

    with collector_at_rest():
        from jenga.tuning import study

    given = options.all_overrides(overrides, seed=seed, output_dir=output_dir, trust_remote_code=trust_remote_code)
    console = Console(file=lasting(), quiet=context.meta[options.QUIET])
    # Ray tells on standard output what befalls its workers.
    with nullcontext() if ray is None else redirect_stdout(sys.stderr):
        found = study.tune(
            config, overrides=given, device=device, resume=resume, console=console, ray=ray, workers=workers
        )
    if as_json:
        print_json(found)
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    from jenga.tuning.folder import importance_table, results_table

    print_table(results_table(found))
    if found["importances"]:
        print_table(importance_table(found))
    click.echo(f"best: {found['best']['config']}")
