"""`jenga serve`: trained models behind HTTP."""

from __future__ import annotations

import socket

import click

from jenga.cli import options
from jenga.imports import collector_at_rest


@click.command(cls=options.Command)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0: at all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: one that is free.")
@click.option(
    "--token", envvar="JENGA_TOKEN", show_envvar=True,
    help="Secret that requests have to bring (Authorization: Bearer). As an option, others on this machine can see it.",
)  # fmt: skip
@click.option(
    "--max-batch-tokens", type=click.IntRange(min=1), default=16_384, show_default=True,
    help="Tokens at which a batch is closed.",
)  # fmt: skip
@click.option(
    "--max-wait-ms", type=click.FloatRange(min=0), default=5.0, show_default=True,
    help="Time that a request waits for others to share its batch at most.",
)  # fmt: skip
@options.device_option
def serve(
    runs: tuple[str, ...],
    host: str,
    port: int,
    token: str | None,
    max_batch_tokens: int,
    max_wait_ms: float,
    device: str,
) -> None:
    """Answer HTTP requests by the best models of RUNs."""
    listener = _bound(host, port)
    with collector_at_rest():
        from jenga.inference.serve.batcher import QueueLimits
        from jenga.inference.serve.served import Loading
        from jenga.inference.serve.server import Settings
        from jenga.inference.serve.server import serve as answer
    settings = Settings(runs, Loading(device), QueueLimits(max_batch_tokens, max_wait_ms / 1000), token=token)
    click.echo(f"http://{host}:{listener.getsockname()[1]}", err=True)
    answer(settings, listener)


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket that is bound, and refuses to connect until it is listened at. Raises SetupError."""
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )
        # By its protocol asyncio knows a socket of TCP, whose answers it then sends without waiting for more of them.
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        from jenga.errors import SetupError

        fix = "choose another --port, or 0 for one that is free, or another --host"
        raise SetupError(f"cannot listen at {host}:{port}: {error.strerror or error}; {fix}") from None
    return found
