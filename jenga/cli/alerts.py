"""`jenga alerts`: prove that a log of alerts is as it was written, look at it, and hand its alerts to a SIEM."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from jenga.cli import options
from jenga.cli.output import print_json, print_table
from jenga.cli.predict import writer
from jenga.errors import DataError

logger = logging.getLogger(__name__)
_NONE = "-"


@click.group()
def alerts() -> None:
    """Verify, list and export what `jenga predict --policy` wrote."""


log_argument = click.argument("log", metavar="FILE", type=click.Path(dir_okay=False))
_rule_option = click.option("--rule", help="Only alerts of this rule.")
_identity_option = click.option(
    "--identity", metavar="[FIELD=]VALUE", help="Only alerts of this identity, such as src_ip=203.0.113.7."
)
_since_option = click.option(
    "--since", metavar="TIME", help="Only records written since, such as 2027-01-31 or 2027-01-31T12:00:00Z."
)


@alerts.command(cls=options.Command)
@log_argument
@click.option("--key-file", type=click.Path(dir_okay=False), help="File with the secret of the log.")
@click.option("--key-env", metavar="NAME", help="Environment variable with the secret of the log.")
@click.option("--expect-last", metavar="HASH", help="Hash of the last record, as you kept it elsewhere.")
@click.option("--expect-first", metavar="HASH", help="Hash of the record before the first, where older files are away.")
@options.json_option
def verify(
    log: str,
    key_file: str | None,
    key_env: str | None,
    expect_last: str | None,
    expect_first: str | None,
    as_json: bool,
) -> None:
    """Prove that the records of FILE, and of the older files FILE.000001 ..., are as they were written.

    Exit code 3 where one was changed, removed, added or moved, or FILE.head is damaged. Without a secret, somebody who
    may write the files can write all of them anew; without --expect-last, remove the newest records together with what
    FILE.head says of them.
    """
    from jenga.policy.chain import MOST_TOLD, Sealer
    from jenga.policy.chain import verify as verified
    from jenga.policy.enforce import secret
    from jenga.policy.log import head_file, place_of, read_head

    if key_file is not None and key_env is not None:
        raise click.UsageError("Give --key-file or --key-env, not both.")
    sealer = Sealer(secret(key_file=key_file, key_env=key_env))
    files, place, head, damage = _files(log), place_of(Path(log)), None, None
    try:
        head = read_head(place)
    except ValueError as error:
        damage = f"{error}: it is damaged, and tells no more whether the newest records are gone"
    report = verified(files, sealer, expect_first=expect_first, expect_last=expect_last, head=head)
    if report.problems or damage:
        more = [f"only the first {MOST_TOLD} are listed"] if len(report.problems) == MOST_TOLD else []
        raise DataError("\n".join([*([damage] if damage else []), *map(str, report.problems), *more]))
    if as_json:
        print_json({"records": report.records, "last": report.last, "algorithm": sealer.algorithm})
        return
    proved = sealer.has_secret or expect_last is not None
    unless = "" if proved else "; there is no secret, so whoever may write the files can have computed all hashes anew"
    click.echo(f"{log}: {report.records} records, none changed, removed, added or moved{unless}")
    click.echo(f"last hash: {report.last}")
    if head is None and expect_last is None:
        words = "%s is not there, or empty, so nobody can tell whether the newest records are gone"
        logger.warning(words, head_file(place))


@alerts.command(name="list", cls=options.Command)
@log_argument
@_rule_option
@_identity_option
@_since_option
@options.json_option
def list_(log: str, rule: str | None, identity: str | None, since: str | None, as_json: bool) -> None:
    """List the records of FILE and its older files, as they are; `jenga alerts verify` tells whether to believe them.

    With --json each is written as it stands, one a line.
    """
    table = [["seq", "time", "decision", "severity", "rule", "identity", "row", "answer", "score", "suppressed"]]
    for line, record in _wanted(_lines_of(log), log, rule, identity, since):
        if as_json:
            click.echo(line.rstrip("\n"))
        else:
            table.append(_row(record))
    if not as_json:
        print_table(table)


@alerts.command(cls=options.Command)
@click.argument("log", metavar="FILE", type=click.Path(dir_okay=False, allow_dash=True))
@click.option(
    "--format", "form", type=click.Choice(["ecs", "ocsf"]), required=True,
    help="ecs: Elastic Common Schema 8.17; ocsf: Detection Findings of OCSF 1.4.0.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, allow_dash=True),
    help="File for the alerts. Default, and -: standard output.",
)  # fmt: skip
@_rule_option
@_identity_option
@_since_option
def export(log: str, form: str, output: str | None, rule: str | None, identity: str | None, since: str | None) -> None:
    """Write the alerts of FILE and its older files as a SIEM takes them, one JSON object a line.

    Where FILE is -, the records of a log come from standard input, and each alert goes out as soon as its record is
    there: tail -n +1 -F alerts.jsonl | jenga alerts export - --format ecs. What was allowed, and records of hooks and
    of the log itself, are no alerts and left out.
    """
    from jenga import __version__
    from jenga.policy.chain import canonical
    from jenga.policy.exported import FORMATS, is_alert, is_whole

    piped = log == options.STANDARD
    options.check_outputs({"--output": output}, [] if piped else [str(file) for file in _files(log)])
    lines = iter(sys.stdin.buffer.readline, b"") if piped else _lines_of(log)
    broken = 0
    with writer(output) as out:
        for _, record in _wanted(lines, log, rule, identity, since):
            if not is_alert(record):
                continue
            if not is_whole(record):
                broken += 1
                continue
            out.write(canonical(FORMATS[form](record, version=__version__)) + b"\n")
            if piped:
                out.flush()
    if broken:
        logger.warning("%d alerts lack what a SIEM needs and were left out; see jenga alerts verify %s", broken, log)


def _lines_of(log: str) -> Iterator[bytes]:
    from jenga.policy.chain import lines_of

    return (line for _, _, line in lines_of(_files(log)))


def _files(log: str) -> list[Path]:
    from jenga.policy.log import files_of, place_of

    if not (found := files_of(place_of(Path(log)))):
        raise DataError(f"{log}: no such log; a policy says where it is (log), by default alerts.jsonl beside it")
    return found


def _wanted(
    lines: Iterable[bytes], log: str, rule: str | None, identity: str | None, since: str | None
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    from jenga.policy.chain import parsed
    from jenga.policy.match import seconds_of

    least = None if since is None else seconds_of(since, "s")
    if since is not None and least is None:
        raise click.UsageError(f"--since: '{since}' is no time; write one such as 2027-01-31 or 2027-01-31T12:00:00Z")
    broken = 0
    for line in lines:
        record = parsed(line)
        if record is None:
            broken += 1
            continue
        if rule is not None and record.get("rule") != rule:
            continue
        if identity is not None and not _is_of(record.get("identity"), identity):
            continue
        if least is not None and (seconds_of(record.get("time"), "s") or 0.0) < least:
            continue
        yield line.decode("ascii"), record
    if broken:
        logger.warning("%d lines are no records as they were written; see jenga alerts verify %s", broken, log)


def _is_of(found: Any, identity: str) -> bool:
    """Whether one of the fields of an identity has the wanted value, or the named one has."""
    if not isinstance(found, dict):
        return False
    name, equals, value = identity.partition("=")
    of_field = equals and name in found and str(found[name]) == value
    return bool(of_field) or any(str(each) == identity for each in found.values())


def _row(record: Mapping[str, Any]) -> list[str]:
    identity = record.get("identity")
    who = ", ".join(f"{path}={value}" for path, value in identity.items()) if isinstance(identity, dict) else ""
    cells = [record.get(name) for name in ("seq", "time", "decision", "severity", "rule")]
    cells += [who or record.get("hook"), record.get("id"), record.get("label"), record.get("score")]
    cells += [record.get("suppressed")]
    return [_NONE if cell is None else str(cell) for cell in cells]
