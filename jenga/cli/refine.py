"""`jenga refine`: fit the Security Refinery, turn events into features, and look at states and data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jenga.cli import options
from jenga.cli.output import print_json, print_table
from jenga.errors import printable

if TYPE_CHECKING:
    from jenga.refinery.estimator import SecurityRefinery

DRIFTED = 6
"""Exit code of a comparison that found the drift it was asked to fail on."""
_DATA = "DATA is JSON or JSON Lines (.gz, .zst), a log of Zeek's, CSV, TSV or Parquet; - reads what is no table."


class _Group(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Group)
def refine() -> None:
    """Turn security events into features."""


data_argument = click.argument("data", type=click.Path(allow_dash=True))
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), help="Threads that work. Default: all cores; the result is the same."
)
bad_option = click.option(
    "--max-bad-fraction", type=click.FloatRange(0, 1), help="Share of bad rows above which to stop."
)
quarantine_option = click.option(
    "--quarantine", type=click.Path(dir_okay=False), help="File for the bad rows, as JSON Lines."
)
redact_option = click.option("--redact", is_flag=True, help="Write no bytes of bad rows.")
preset_option = click.option("--preset", help="Name of a built-in schema, such as zeek or sysmon.")
records_option = click.option(
    "--records", metavar="PATH", help="Where the list of rows stands in the object that DATA is, such as result.events."
)
schema_option = click.option("--schema", "schema_file", type=click.Path(), help="Schema of the fields, as YAML.")


@refine.command(cls=options.Command, epilog=_DATA)
@click.argument("data", nargs=-1, required=True, type=click.Path(allow_dash=True))
@preset_option
@schema_option
@records_option
@click.option("--shards", is_flag=True, help="DATA is several files, or patterns: each is fitted apart, then merged.")
@click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True, help="That fit shards.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), required=True, help="File for it (.safetensors).")
@click.option("--write-schema", type=click.Path(dir_okay=False), help="File for the schema, to be edited.")
@bad_option
@redact_option
@threads_option
@options.json_option
def fit(
    data: tuple[str, ...],
    preset: str | None,
    schema_file: str | None,
    records: str | None,
    shards: bool,
    processes: int,
    output: str,
    write_schema: str | None,
    max_bad_fraction: float | None,
    redact: bool,
    threads: int | None,
    as_json: bool,
) -> None:
    """Learn scales and vocabularies from DATA. Without --preset or --schema, the fields are inferred, of shards from
    the first one.

    Fit on training rows only.
    """
    files = _files(data, shards=shards, processes=processes)
    if not output.endswith(".safetensors"):
        raise click.UsageError("--output: a state is called .safetensors")
    _check_files({"--output": output, "--write-schema": write_schema}, [*files, schema_file])
    refinery = _unfitted(preset, schema_file, threads)
    refinery.set_params(
        records=records, redact=redact, max_bad_fraction=_or(max_bad_fraction, refinery.max_bad_fraction)
    )
    if shards:
        from jenga.refinery.distributed import fit_files

        fit_files(refinery, files, processes=processes).save(output)
    else:
        refinery.fit(files[0]).save(output)
    if write_schema is not None:
        from jenga.files import write_atomic

        write_atomic(Path(write_schema), refinery.schema_.to_yaml())
    if as_json:
        print_json({**_summary(refinery), "state": output, "bad": refinery.n_quarantined_})
        return
    print_table(_fields_table(refinery))
    for path, why in refinery.schema_.left_out.items():
        click.echo(printable(f"left out: {path}: {why}"))
    click.echo(f"{output}: {_columns_words(refinery)}; {_count(refinery.n_quarantined_, 'bad row')} left out")


@refine.command(cls=options.Command, epilog=_DATA)
@data_argument
@click.option("--state", type=click.Path(), required=True, help="What `jenga refine fit` wrote.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False), required=True,
    help="File for the features: .parquet (its column `row` is the line or element of each row, from 1), .safetensors "
    "(tensors `features` and `row_numbers`) or .npy (features alone).",
)  # fmt: skip
@quarantine_option
@records_option
@bad_option
@redact_option
@threads_option
@options.json_option
def transform(
    data: str,
    state: str,
    output: str,
    records: str | None,
    quarantine: str | None,
    max_bad_fraction: float | None,
    redact: bool,
    threads: int | None,
    as_json: bool,
) -> None:
    """Write the features of DATA's rows, in memory that does not grow with DATA."""
    from jenga.refinery.estimator import SecurityRefinery
    from jenga.refinery.output import check_suffix, feature_file
    from jenga.refinery.quarantine import quarantine_file

    check_suffix(Path(output))
    _check_files({"--output": output, "--quarantine": quarantine}, [data, state])
    refinery = SecurityRefinery.load(state)
    refinery.set_params(
        records=records,
        n_threads=threads,
        redact=redact,
        max_bad_fraction=_or(max_bad_fraction, refinery.max_bad_fraction),
    )
    n_rows = n_blank = n_bad = 0
    with ExitStack() as stack:
        write = stack.enter_context(feature_file(Path(output), refinery.feature_names_))
        set_aside = stack.enter_context(quarantine_file(quarantine))
        for part in refinery.stream(data):
            write(part.features, part.numbers)  # type: ignore[arg-type]
            set_aside(part.quarantine)
            n_rows, n_blank, n_bad = n_rows + len(part.numbers), n_blank + part.n_blank, n_bad + len(part.quarantine)
    if as_json:
        print_json(
            {
                "output": output, "rows": n_rows, "columns": refinery.n_features_out_, "bad": n_bad, "blank": n_blank,
                "counters": refinery.counters_.to_dict(),
            }
        )  # fmt: skip
        return
    columns = _count(refinery.n_features_out_, "column")
    click.echo(f"{output}: {_count(n_rows, 'row')} of {columns}; {_bad_words(n_bad, quarantine)}")


@refine.command(cls=options.Command, epilog=_DATA)
@click.argument("source", metavar="STATE|DATA", type=click.Path(allow_dash=True))
@preset_option
@schema_option
@records_option
@bad_option
@threads_option
@options.json_option
def inspect(
    source: str,
    preset: str | None,
    schema_file: str | None,
    records: str | None,
    max_bad_fraction: float | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Show the fields of a state (.safetensors), or what a fit on DATA finds: kinds, missing values, quantiles,
    vocabularies and, for DATA, collisions of hashes.
    """
    from jenga.refinery.explain import collisions
    from jenga.refinery.inputs import replayable
    from jenga.refinery.stability import is_state

    found: list[Any] = []
    if is_state(source):
        _refuse_schema(preset, schema_file)
        refinery = _loaded(source)
    else:
        rows = replayable(source)
        refinery = _unfitted(preset, schema_file, threads)
        refinery.set_params(records=records, max_bad_fraction=_or(max_bad_fraction, refinery.max_bad_fraction)).fit(
            rows
        )
        found = collisions(refinery, rows)
    if as_json:
        print_json({**_summary(refinery), "collisions": [each.to_dict() for each in found]})
        return
    print_table(_fields_table(refinery))
    click.echo()
    for each in found:
        click.echo(
            f"{printable(each.field)}: {each.n_tokens:,} tokens in {each.n_buckets} buckets; {each.n_colliding:,} "
            f"share one, at most {each.largest:,}"
        )
    for path, why in refinery.schema_.left_out.items():
        click.echo(printable(f"left out: {path}: {why}"))
    click.echo(_columns_words(refinery))


@refine.command(cls=options.Command, epilog=_DATA)
@click.argument("before", metavar="A", type=click.Path())
@click.argument("after", metavar="B", type=click.Path(allow_dash=True))
@preset_option
@schema_option
@records_option
@bad_option
@threads_option
@click.option(
    "--fail-on", type=click.Choice(["moderate", "major"]),
    help=f"End with code {DRIFTED} where a field drifted so far or further, for whoever looks at codes alone.",
)  # fmt: skip
@options.json_option
def diff(
    before: str,
    after: str,
    preset: str | None,
    schema_file: str | None,
    records: str | None,
    max_bad_fraction: float | None,
    threads: int | None,
    fail_on: str | None,
    as_json: bool,
) -> None:
    """Show how the values of B drifted from those of A, the most first. Each is a state (.safetensors) or DATA."""
    from jenga.refinery.stability import drift, drift_table, is_state

    if is_state(before):
        _refuse_schema(preset, schema_file)
        refinery = _loaded(before)
        refinery.set_params(n_threads=threads)
    else:
        refinery = _unfitted(preset, schema_file, threads)
    refinery.set_params(records=records, max_bad_fraction=_or(max_bad_fraction, refinery.max_bad_fraction))
    if not is_state(before):
        refinery.fit(before)
    found = drift(refinery, _loaded(after) if is_state(after) else after)
    if as_json:
        print_json([each.to_dict() for each in found])
    else:
        print_table(drift_table(found))
    failing = {"moderate": ("moderate", "major"), "major": ("major",)}.get(fail_on or "", ())
    if any(each.verdict in failing for each in found):
        click.get_current_context().exit(DRIFTED)


# ------------------------------------------------------------------------------------------------------------- helpers


def _files(data: Sequence[str], *, shards: bool, processes: int) -> list[str]:
    """Return the files to fit on. Raises DataError where a pattern matches none."""
    from jenga.errors import DataError
    from jenga.rows.storage import is_pattern, matching

    if not shards:
        if len(data) > 1 or processes > 1:
            raise click.UsageError("Several DATA, and --processes, go with --shards: each file is fitted apart.")
        return list(data)
    if options.STANDARD in data:
        raise click.UsageError("--shards: standard input is no shard; name files.")
    found: list[str] = []
    for name in data:
        files = matching(name) if is_pattern(name) else [name]
        if not files:
            raise DataError(f"{name}: no file matches the pattern")
        found += files
    return found


def _unfitted(preset: str | None, schema_file: str | None, threads: int | None) -> SecurityRefinery:
    from jenga.refinery.estimator import SecurityRefinery

    if preset is not None and schema_file is not None:
        raise click.UsageError("Give --preset or --schema, not both.")
    return SecurityRefinery(preset=preset, schema=schema_file, n_threads=threads)


def _loaded(path: str) -> SecurityRefinery:
    from jenga.refinery.estimator import SecurityRefinery

    return SecurityRefinery.load(path)


def _refuse_schema(preset: str | None, schema_file: str | None) -> None:
    if preset is not None or schema_file is not None:
        raise click.UsageError("A state holds its schema; --preset and --schema go with DATA.")


def _or(given: float | None, default: float) -> float:
    return default if given is None else given


def _bad_words(n_bad: int, quarantine: str | None) -> str:
    if not n_bad:
        return "no bad rows"
    place = f"in {quarantine}" if quarantine else "left out (--quarantine FILE keeps them)"
    return f"{_count(n_bad, 'bad row')} {place}"


def _columns_words(refinery: SecurityRefinery) -> str:
    return f"{_count(refinery.n_features_out_, 'column')} from {_count(refinery.n_rows_seen_, 'row')}"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def _check_files(outputs: Mapping[str, str | None], inputs: Sequence[str | None]) -> None:
    for option, path in outputs.items():
        if path == options.STANDARD:
            raise click.UsageError(f"{option}: standard output is for the result in words; name a file")
        if path is not None and not Path(path).parent.is_dir():
            raise click.UsageError(f"there is no folder {Path(path).parent} for {Path(path).name}")
    options.check_outputs(outputs, inputs)


def _summary(refinery: SecurityRefinery) -> dict[str, Any]:
    from jenga.refinery.look import describe

    return {
        "rows": refinery.n_rows_seen_,
        "columns": refinery.n_features_out_,
        "fields": [each.to_dict() for each in describe(refinery)],
        "left_out": refinery.schema_.left_out,
    }


def _fields_table(refinery: SecurityRefinery) -> list[list[str]]:
    from jenga.refinery.look import describe

    header = ["field", "kind", "columns", "missing", "values"]
    return [header, *([each.field, each.kind, str(each.columns), f"{each.missing_rate:.1%}", each.words]
                      for each in describe(refinery))]  # fmt: skip
