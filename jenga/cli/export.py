"""`jenga export`: a trained model as a folder to give away."""

from __future__ import annotations

import click

from jenga.cli import options


@click.command(cls=options.Command)
@options.run_argument
@click.option("-o", "--output", required=True, type=click.Path(), help="Folder to write; it must not exist yet.")
@click.option("--merge", is_flag=True, help="Work LoRA or DoRA into the weights, so that no base is needed.")
@click.option(
    "--dtype", type=click.Choice(["fp32", "bf16", "fp16"]), help="Type of the encoder's weights.  [default: fp32]"
)
@options.base_model_option
@options.trust_option
def export(
    run: str, output: str, merge: bool, dtype: str | None, base_model: str | None, trust_remote_code: bool
) -> None:
    """Write the best model of RUN to a folder that every command and jenga.load read.

    With --merge its backbone/ is a plain checkpoint, for AutoModel.from_pretrained too. Without it a model with
    adapters keeps them apart, and needs its base.
    """
    from jenga.inference.export import export as write

    folder = write(run, output, merge=merge, dtype=dtype, base_model=base_model, trust_remote_code=trust_remote_code)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    click.echo(f"wrote {folder}: {size / 1e6:.1f} MB; its encoder is {folder / 'backbone'}")
