"""`jenga serve`: trained models behind HTTP."""

from __future__ import annotations

import os
import socket
from functools import partial
from typing import Any

import click

from jenga.cli import options
from jenga.cli.output import report_error
from jenga.imports import collector_at_rest


@click.command(cls=options.Command)
@click.argument("runs", metavar="RUN|NAME=RUN...", nargs=-1, required=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0: at all of them.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: one that is free.")
@click.option(
    "--token", envvar="JENGA_TOKEN", show_envvar=True,
    help="Secret that requests must bring (Authorization: Bearer). Of an option, others on this machine can read it.",
)  # fmt: skip
@click.option(
    "--max-batch-tokens", type=click.IntRange(min=1), default=16_384, show_default=True,
    help="Tokens at which a batch that requests share is closed.",
)  # fmt: skip
@click.option(
    "--max-wait-ms", type=click.FloatRange(min=0), default=5.0, show_default=True,
    help="Milliseconds that a request waits for others to share its batch at most.",
)  # fmt: skip
@click.option(
    "--max-queue", type=click.IntRange(min=1), default=8192, show_default=True,
    help="Rows that may wait; requests beyond get 429.",
)  # fmt: skip
@click.option("--max-rows", type=click.IntRange(min=1), default=4096, show_default=True, help="Rows of a request.")
@click.option(
    "--max-body-mb", type=click.FloatRange(min=0, min_open=True), default=16.0, show_default=True,
    help="Megabytes of a request's body; JSON Lines have no end.",
)  # fmt: skip
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True,
    help="Seconds for a request's body, and for its answer.",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True,
    help="Processes that answer, each with all models.",
)  # fmt: skip
@options.base_model_option
@options.trust_option
@options.device_option
@options.runtime_option
def serve(
    runs: tuple[str, ...],
    host: str,
    port: int,
    token: str | None,
    max_batch_tokens: int,
    max_wait_ms: float,
    max_queue: int,
    max_rows: int,
    max_body_mb: float,
    timeout: float,
    workers: int,
    base_model: str | None,
    trust_remote_code: bool,
    device: str,
    runtime: str | None,
) -> None:
    """Answer HTTP requests by the best models of RUNs, until SIGTERM or Ctrl-C.

    POST /predict takes {"rows": [...]} or JSON Lines and gives what `jenga predict` does; /models/NAME/predict asks
    one of several models, /v1 language models in the forms of OpenAI's API. RUN may be a folder of runs, of which the
    newest is served, and newer ones take over; so they do on SIGHUP. A page to try it is at /. See docs/serve.md.
    """
    from jenga import hub

    _check_installed()
    for run in runs:
        hub.check_code(run.partition("=")[2] or run, trusted=trust_remote_code)
    runs = tuple(map(hub.named, runs))
    if token is not None and not token.strip():
        raise click.UsageError(
            "--token: it is blank, so that every request would be refused; leave it out, or fill it."
        )
    queue = (max_batch_tokens, max_wait_ms / 1000, max_queue)
    limits = (round(max_body_mb * 1e6), max_rows, timeout)
    loading = {"device": device, "base_model": base_model, "trust": trust_remote_code, "runtime": runtime}
    with _bound(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        click.echo(f"http://{shown}:{listener.getsockname()[1]}", err=True)
        if token is None and host not in ("127.0.0.1", "::1", "localhost"):
            click.echo(f"warning: everybody who reaches {host} may ask; give a token (JENGA_TOKEN)", err=True)
        answer = partial(_answer, listener, runs, token, loading, queue, limits)
        if workers == 1:
            answer(parent=None)
            return
        from jenga.inference.serve.workers import supervise

        code = supervise(partial(_in_process, answer, os.getpid()), workers)
    click.get_current_context().exit(code)


def _answer(
    listener: socket.socket,
    runs: tuple[str, ...],
    token: str | None,
    loading: dict[str, Any],
    queue: tuple[int, float, int],
    limits: tuple[int, int, float],
    *,
    parent: int | None,
) -> None:
    with collector_at_rest():
        from jenga.inference.serve import server
        from jenga.inference.serve.batcher import QueueLimits
        from jenga.inference.serve.bodies import Limits
        from jenga.inference.serve.served import Loading

    model = Loading(loading["device"], loading["base_model"], loading["trust"], loading["runtime"])
    server.serve(server.Settings(runs, model, QueueLimits(*queue), Limits(*limits), token, parent=parent), listener)


def _in_process(answer: Any, parent: int) -> int:
    """Answer in a process of several, and return its exit code."""
    try:
        answer(parent=parent)
    except Exception as error:
        return report_error(error, debug=False)
    return 0


def _check_installed() -> None:
    """Raise SetupError where what serves is not installed; before anything is loaded."""
    from jenga.extras import is_here, missing

    names = {"fastapi": "FastAPI", "uvicorn": "uvicorn", "prometheus_client": "prometheus-client"}
    if absent := [words for name, words in names.items() if not is_here(name)]:
        raise missing("serve", f"jenga serve needs {' and '.join(absent)}")


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket that is bound, and refuses to connect until it is listened at. Raises SetupError."""
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )
        # By its protocol asyncio knows a socket of TCP, whose answers it then sends without waiting for more of them.
        found = socket.socket(family, kind, protocol)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
        except BaseException:
            found.close()
            raise
    except OSError as error:
        from jenga.errors import SetupError

        fix = "choose another --port, or 0 for one that is free, or another --host"
        raise SetupError(f"cannot listen at {host}:{port}: {error.strerror or error}; {fix}") from None
    return found
