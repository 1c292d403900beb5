"""`jenga export`: a trained model as a folder to give away."""

from __future__ import annotations

import click

from jenga.cli import options


@click.command(cls=options.Command)
@options.run_argument
@click.option("-o", "--output", required=True, type=click.Path(), help="Folder to write; it must not exist yet.")
@click.option(
    "--format", "format_name", type=click.Choice(["transformers", "onnx", "pt2", "gguf", "mlflow"]),
    default="transformers", show_default=True, help="What the folder is for; see docs/export.md.",
)  # fmt: skip
@click.option("--merge", is_flag=True, help="Work LoRA or DoRA into the weights, so that no base is needed.")
@click.option(
    "--dtype", type=click.Choice(["fp32", "bf16", "fp16", "q8_0"]),
    help="Type of the encoder's weights; q8_0: of gguf alone.  [default: fp32, of gguf fp16]",
)  # fmt: skip
@click.option(
    "--int8", type=click.Choice(["dynamic", "static"]),
    help="Weights of onnx in 8 bits, static: what flows between them too; what that costs is measured.",
)  # fmt: skip
@options.base_model_option
@options.trust_option
def export(
    run: str,
    output: str,
    format_name: str,
    merge: bool,
    dtype: str | None,
    int8: str | None,
    base_model: str | None,
    trust_remote_code: bool,
) -> None:
    """Write the best model of RUN to a folder of its own.

    transformers: what every command and jenga.load read; with --merge its backbone/ is a plain checkpoint, for
    AutoModel.from_pretrained too. Without it a model with adapters keeps them apart, and needs its base. onnx: graphs
    for onnxruntime, which jenga predict and serve run too. pt2: models of events as packages of AOTInductor. gguf:
    language models for llama.cpp. mlflow: what mlflow models serve reads. See docs/export.md.
    """
    from jenga.inference.export import export as write

    folder = write(
        run, output, format=format_name, merge=merge, dtype=dtype, int8=int8, base_model=base_model,
        trust_remote_code=trust_remote_code,
    )  # fmt: skip
    files = [path for path in folder.rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    if int8 is not None:
        from jenga.inference.export.int8 import told

        click.echo("\n".join(told(folder)))
    click.echo(f"wrote {folder}: {sum(path.stat().st_size for path in files) / 1e6:.1f} MB, most of it {largest}")
