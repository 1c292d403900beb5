"""Records that a later look can prove to be as they were written, and in their order.

Each holds a number, the hash of the record before and its own, SHA-256 over the canonical JSON of every other field;
with a secret, HMAC-SHA256 (RFC 2104), which nobody without it can compute. Without one everybody can: then the chain
proves no more than that nobody did, but for a last hash that was kept elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jenga.errors import ConfigError, Problem

GENESIS = "0" * 64
"""What stands for the hash of the record before the first one."""
LEAST_KEY_BYTES = 16
MOST_TOLD = 20
"""Problems of a log that are listed; what is broken once may break every line behind it."""


class Sealer:
    """Computes the hashes of records. key: the secret, at least 16 bytes; None: without one."""

    def __init__(self, key: bytes | None = None) -> None:
        if key is not None and len(key) < LEAST_KEY_BYTES:
            raise ConfigError(
                f"the secret of the log has {len(key)} bytes; allowed: {LEAST_KEY_BYTES} or more (openssl rand -hex 32)"
            )
        self._key = key

    @property
    def has_secret(self) -> bool:
        """Whether nobody else can compute the hashes."""
        return self._key is not None

    @property
    def algorithm(self) -> str:
        """What records say of how they are hashed."""
        return "sha256" if self._key is None else "hmac-sha256"

    def hash(self, record: Mapping[str, Any]) -> str:
        """Return the hash, in hex, of every field of `record` but ``hash``."""
        content = canonical({name: value for name, value in record.items() if name != "hash"})
        if self._key is None:
            return hashlib.sha256(content).hexdigest()
        return hmac.new(self._key, content, hashlib.sha256).hexdigest()


def canonical(value: Any) -> bytes:
    """Return the one way to write a value as JSON: ASCII, sorted keys, no blanks.

    Raises ValueError for what JSON does not have.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii")


@dataclass
class Report:
    """What was found of a log. `records`: how many there are; `first`: what the first one names as the hash before."""

    records: int = 0
    first: str | None = None
    last: str = GENESIS
    seq: int = 0
    problems: list[Problem] = field(default_factory=list)

    def add(self, file: Path | str, line: int, message: str) -> None:
        """Note a problem at a line of a file."""
        if len(self.problems) < MOST_TOLD:
            self.problems.append(Problem(str(file), line, 1 if line else 0, "", message))


def verify(
    files: Iterable[Path],
    sealer: Sealer,
    *,
    expect_first: str | None = None,
    expect_last: str | None = None,
    head: tuple[int, str] | None = None,
) -> Report:
    """Return what is wrong with the chain of records that `files` hold, one after the other.

    expect_first: the hash of the record before the first one, where older files were put away. expect_last: the hash
    that the last record should have, kept elsewhere. head: number and hash of a record that was there once, see
    `log.read_head`. Without either nobody can tell that the newest records are gone.
    """
    report = Report()
    place: tuple[Path | str, int] = ("", 0)
    for file, number, line in lines_of(files):
        place = (file, number)
        _look(report, sealer, file, number, line, expect_first)
        if head is not None and report.seq == head[0] and report.last != head[1]:
            report.add(file, number, f"record {head[0]} had the hash {head[1]} once, as the file .head says")
    if head is not None and report.seq < head[0]:
        report.add(*place, f"the log ends with record {report.seq}, and there were {head[0]}, as the file .head says: "
                   "records are gone from the end")  # fmt: skip
    if expect_first is not None and not report.records:
        report.add(*place, "there are no records")
    if expect_last is not None and report.last != expect_last.lower():
        report.add(*place, f"the last record has the hash {report.last}, and {expect_last} is expected: records are "
                   "gone from the end, or there are more")  # fmt: skip
    return report


def lines_of(files: Iterable[Path]) -> Iterator[tuple[Path, int, bytes]]:
    """Yield every line of `files`, with its break, and its number from 1."""
    for file in files:
        with file.open("rb") as content:
            for number, line in enumerate(content, start=1):
                yield file, number, line


def parsed(line: bytes) -> dict[str, Any] | None:
    """Return the record in a line; None where it is none, or is not written as records are."""
    try:
        record = json.loads(line)
        if isinstance(record, dict) and canonical(record) + b"\n" == line:
            return record
    except (ValueError, RecursionError):
        pass
    return None


def _look(report: Report, sealer: Sealer, file: Path, number: int, line: bytes, expect_first: str | None) -> None:
    record = parsed(line)
    if record is None:
        # Whatever stood here, the next record tells which one it was.
        torn = "the line is cut short, as a killed writer leaves it; the next run cuts it off, and says so"
        report.add(file, number, "the line is no record as it was written" if line.endswith(b"\n") else torn)
        report.records += 1
        return
    previous, seq, own = record.get("previous"), record.get("seq"), record.get("hash")
    if record.get("algorithm") != sealer.algorithm:
        report.add(file, number, _other_algorithm(sealer, record.get("algorithm")))
    elif own != sealer.hash(record):
        report.add(
            file, number, "the record was changed, or another secret was used: its hash is not that of its fields"
        )
    if report.first is None:
        report.first = str(previous)
        _first(report, file, number, record, expect_first)
    elif previous != report.last or seq != report.seq + 1:
        report.add(
            file,
            number,
            f"record {seq} does not follow record {report.seq}: records were removed, added, moved or changed",
        )
    report.records += 1
    report.last = own if isinstance(own, str) else ""
    report.seq = seq if isinstance(seq, int) and not isinstance(seq, bool) else report.seq + 1


def _first(report: Report, file: Path, number: int, record: Mapping[str, Any], expected: str | None) -> None:
    if expected is None and (record.get("previous") != GENESIS or record.get("seq") != 1):
        report.add(
            file, number,
            f"the log begins with record {record.get('seq')}: those before are missing; where you have put them away, "
            "say which hash the last of them has (--expect-first)",
        )  # fmt: skip
    if expected is not None and record.get("previous") != expected.lower():
        report.add(file, number, f"the first record follows {record.get('previous')}, and {expected} is expected")


def _other_algorithm(sealer: Sealer, found: Any) -> str:
    if found == "hmac-sha256":
        return "the record is hashed with a secret; give it (--key-file or --key-env)"
    return f"the record is hashed by '{found}', and a secret is given ({sealer.algorithm}): it may be forged"
