"""`jenga push`: a trained model to the Hugging Face hub."""

from __future__ import annotations

import click

from jenga.cli import options


@click.command(cls=options.Command)
@options.run_argument
@click.argument("address", metavar="hf://OWNER/NAME")
@click.option("--private", is_flag=True, help="Make it private; refused where it is there and public.")
@click.option("--revision", help="Branch to write to, made where it is not there.  [default: main]")
@click.option("--dry-run", is_flag=True, help="Show what would be put there; nothing is asked of the hub.")
def push(run: str, address: str, private: bool, revision: str | None, dry_run: bool) -> None:
    """Put the best model of RUN, with its model card, to the Hugging Face hub.

    jenga.load, predict, serve, evaluate and export then take hf://OWNER/NAME, or hf://OWNER/NAME@REVISION, for RUN. The
    token is that of HF_TOKEN or of hf auth login. See docs/hub.md.
    """
    from jenga.inference.push import push as upload

    done = upload(run, address, private=private, revision=revision, dry_run=dry_run)
    total = f"{len(done.files)} files, {done.size / 1e6:.1f} MB"
    if dry_run:
        width = max(len(name) for name, _ in done.files)
        click.echo("\n".join(f"{name:<{width}}  {size:>13,}" for name, size in done.files))
        click.echo(f"would put to {done.address}: {total}")
        return
    click.echo(f"put to {done.address}: {total}; {done.commit}")
