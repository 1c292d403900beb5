"""`jenga watch`: a page that shows runs while they train."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from jenga.cli import options
from jenga.errors import SetupError


@click.command(cls=options.Command)
@click.argument("path", metavar="[RUN|FOLDER]", type=click.Path(path_type=Path), default=Path("runs"))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0: at all of them.")
@click.option("--port", type=click.IntRange(0, 65535), default=8010, show_default=True, help="0: one that is free.")
def watch(path: Path, host: str, port: int) -> None:
    """Show the curves of a RUN, or of all runs in FOLDER, on a page that renews itself, until Ctrl-C.

    Default: runs, where trainings write unless output_dir says else. It reads what runs write, also of those that
    have ended, and asks nobody else. Whoever reaches the address sees them.
    """
    from jenga.report.watch import serve

    try:
        server = serve(path, host, port)
    except OSError as error:
        fix = "choose another --port, or 0 for one that is free, or another --host"
        raise SetupError(f"cannot listen at {host}:{port}: {error.strerror or error}; {fix}") from None
    with server:
        shown = f"[{host}]" if ":" in host else host
        click.echo(f"http://{shown}:{server.server_address[1]}", err=True)
        if host not in ("127.0.0.1", "::1", "localhost"):
            click.echo(f"warning: everybody who reaches {host} sees the runs, and there is no password", err=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
