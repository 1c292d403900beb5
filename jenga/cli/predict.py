"""`jenga predict`: answers for new rows, as JSON Lines."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from jenga.cli import options
from jenga.files import atomic_file
from jenga.imports import collector_at_rest

if TYPE_CHECKING:
    from jenga.inference.live import Limits
    from jenga.inference.predictor import Predictor
    from jenga.inference.processes import Asked
    from jenga.inference.written import Written
    from jenga.policy import Enforcer, Policy
    from jenga.rows.raw import RawRows

logger = logging.getLogger(__name__)
_YOUNG_OBJECTS = 200_000
"""Objects that may be made before the collector looks for cycles: more than the answers to some thousand rows are."""


@click.command(cls=options.Command)
@options.run_argument
@click.argument("file", required=False, type=click.Path(allow_dash=True))
@click.option("--text", "texts", multiple=True, help="A text instead of FILE. May be repeated.")
@click.option(
    "-o", "--output", type=click.Path(allow_dash=True),
    help="File for the answers; with --ray a folder. Default, and -: standard output.",
)  # fmt: skip
@click.option("--probabilities", is_flag=True, help="Give the probability of every class, not only of the best.")
@click.option("--no-drivers", is_flag=True, help="Leave out which fields drove an alert: most of the time goes there.")
@click.option("--keep", metavar="NAME,...", default="", help="Columns that answers carry over, such as uid,host.name.")
@click.option(
    "--policy", "policy_file", type=click.Path(), help="Rules by which answers become alerts; see docs/policy.md."
)
@click.option(
    "--act", is_flag=True, help="Run the hooks of alerts, which the policy has to allow too (dry_run: false)."
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Rows of a forward pass. Default: 64, of events 1024.")
@click.option(
    "--processes", type=click.IntRange(min=1), default=1, show_default=True,
    help="Processes that answer FILE, each with the model; the answers are the same. See docs/scale.md.",
)  # fmt: skip
@click.option(
    "--ray", is_flag=True,
    help="Let N processes of Ray (RAY_ADDRESS: of a cluster) answer FILE in parts; once more: those that are missing.",
)  # fmt: skip
@click.option(
    "--max-rows", type=click.IntRange(min=1), default=2048, show_default=True,
    help="Lines of standard input that are answered together at most.",
)  # fmt: skip
@click.option(
    "--max-wait", type=click.FloatRange(min=0), default=0.1, show_default=True,
    help="Seconds that a line of standard input waits for others at most.",
)  # fmt: skip
@options.base_model_option
@options.trust_option
@options.device_option
@options.runtime_option
def predict(
    run: str,
    file: str | None,
    texts: tuple[str, ...],
    output: str | None,
    probabilities: bool,
    no_drivers: bool,
    keep: str,
    policy_file: str | None,
    act: bool,
    batch_size: int | None,
    processes: int,
    ray: bool,
    max_rows: int,
    max_wait: float,
    base_model: str | None,
    trust_remote_code: bool,
    device: str,
    runtime: str | None,
) -> None:
    """Write the answers of RUN's best model for each row of FILE, one JSON object a line.

    FILE is JSON, JSON Lines, a log of Zeek's, CSV or Parquet; - reads standard input: JSON, a log, or plain texts, one
    a line, answered as they come while the pipe stays open (tail -F eve.json | jenga predict RUN -), or CSV.
    A row that cannot be used gives an object with its "id" and an "error"; one that was cut has "truncated": true.
    """
    if (file is None) == (not texts):
        raise click.UsageError("Give FILE (- for standard input), or --text.")
    if act and policy_file is None:
        raise click.UsageError("--act: give the policy whose hooks are to run (--policy).")
    if file == "-" and processes > 1:
        raise click.UsageError("--processes: standard input is answered as it comes, by one process; name a file.")
    kept = [name for name in keep.split(",") if name]
    if ray:
        if file in (None, "-") or policy_file is not None or output in (None, "-"):
            raise click.UsageError("--ray: takes FILE and a folder (-o), and no texts, standard input or --policy.")
        chosen = {"batch_size": batch_size, "probabilities": probabilities, "drivers": not no_drivers, "keep": kept,
                  "device": device, "base_model": base_model, "trust_remote_code": trust_remote_code,
                  "runtime": runtime}  # fmt: skip
        _over_ray(str(file), run, str(output), processes, chosen)
        return
    if output is not None and Path(output).is_dir():
        raise click.UsageError(f"--output: {output} is a folder; name a file (a folder goes with --ray).")
    policy = _policy(policy_file)
    options.check_outputs({"--output": output, **_written_by(policy)}, [file, policy_file])
    with collector_at_rest():
        from jenga.hub import check_code, fetched
        from jenga.inference.live import Limits
        from jenga.inference.loading import load
        from jenga.inference.processes import Asked, scored

    # Once, so that all processes answer by the same one.
    check_code(run, trusted=trust_remote_code)
    run = str(fetched(run))
    loaded = load(run, device=device, base_model=base_model, trust_remote_code=trust_remote_code, runtime=runtime)
    predictor = loaded.session(keep=kept, whole=policy is not None)
    asked = Asked(
        run,
        device,
        base_model,
        trust_remote_code,
        tuple(kept),
        batch_size,
        probabilities,
        drivers=not no_drivers,
        runtime=runtime,
    )
    if file == "-":
        parts = _followed(predictor, asked, Limits(max_rows, max_wait), whole=policy is not None)
    else:
        rows = _rows(predictor, file, list(texts))
        parts = scored(predictor, rows, asked, processes=processes, whole=policy is not None)
    with closing(parts), _enforced(policy, loaded, run, act=act) as guard, _few_collections():
        _write(parts, output, guard)


def _followed(predictor: Predictor, asked: Asked, limits: Limits, *, whole: bool) -> Generator[Written]:
    """Yield the answers to standard input as it comes."""
    from jenga.inference.written import written

    batches = predictor.follow(
        sys.stdin.buffer, limits=limits,
        batch_size=asked.batch_size, probabilities=asked.probabilities, drivers=asked.drivers,
    )  # fmt: skip
    for batch in batches:
        yield from written(batch, frozenset(predictor.model.tasks), whole=whole)


def _over_ray(file: str, run: str, output: str, concurrency: int, chosen: dict[str, Any]) -> None:
    """Write the answers to numbered parts in the folder `output`."""
    from jenga.inference.distributed import score

    found = score(file, run, output, concurrency=concurrency, **chosen)
    _tell_of_unusable(found.unusable, found.rows)
    kept = f", {found.kept} of which were there already" if found.kept else ""
    click.echo(f"{output}: answers to {found.rows:,} rows in {len(found.parts)} parts{kept}", err=True)


def _tell_of_unusable(unusable: int, total: int) -> None:
    if unusable:
        logger.warning("%d of %d rows cannot be used, or not by every task; see their 'error'", unusable, total)


def _policy(file: str | None) -> Policy | None:
    """Return the policy in `file`; read before the model, which takes longer."""
    if file is None:
        return None
    from jenga.policy import Policy

    return Policy.load(file)


def _written_by(policy: Policy | None) -> dict[str, str]:
    return {} if policy is None else {"the policy's log": str(policy.file.path(policy.config.log))}


@contextmanager
def _enforced(policy: Policy | None, predictor: Predictor, run: str, *, act: bool) -> Iterator[Enforcer | None]:
    """Yield what sees to it that the answers of the model in `run` have the consequences that `policy` says."""
    if policy is None:
        yield None
        return
    from jenga.inference.answered import answered
    from jenga.policy import Enforcer
    from jenga.saved import find_model, fingerprint

    policy.check(answered(predictor.bundle))
    with Enforcer(policy, act=act, model=fingerprint(find_model(run))) as guard:
        yield guard


@contextmanager
def _few_collections() -> Iterator[None]:
    """Let the collector of cycles look at what is made from here on alone, and seldom: answers are none."""
    threshold, *others = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(max(threshold, _YOUNG_OBJECTS), *others)
    try:
        yield
    finally:
        gc.set_threshold(threshold, *others)
        gc.unfreeze()


def _write(parts: Iterable[Written], output: str | None, guard: Enforcer | None) -> None:
    """Write answers, each part as soon as it is there, and let `guard` see them.

    Raises DataError where no row could be used.
    """
    total = unusable = failed = 0
    with writer(output) as out:
        for part in parts:
            out.write(part.text)
            out.flush()  # whoever reads the answers waits for neither the next ones nor what comes of these
            total, unusable, failed = total + part.rows, unusable + part.unusable, failed + part.failed
            if guard is not None:
                for event, row in part.seen:
                    guard.see(event, row)
                guard.flush()
    _tell_of_unusable(unusable, total)
    if total and total == failed:
        from jenga.errors import DataError

        raise DataError(f"none of the {total} rows can be used; each one's 'error' says why")


def _rows(predictor: Predictor, file: str | None, texts: list[str]) -> RawRows | list[str]:
    if file is not None:
        return predictor.read(file)
    if not predictor.takes_texts:
        raise click.UsageError("This model reads no bare texts: give FILE (- for standard input).")
    return texts


@contextmanager
def writer(path: str | None) -> Iterator[IO[bytes]]:
    """Yield a file that takes the place of `path` once all is written; without a path, or for -, standard output."""
    if path is None or path == options.STANDARD:
        sys.stdout.flush()
        yield sys.stdout.buffer
        return
    with atomic_file(Path(path)) as file:
        yield file
