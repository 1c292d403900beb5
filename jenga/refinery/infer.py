"""Guess a schema from sample rows: by values first, by names where values could mean several things."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jenga.errors import DataError
from jenga.refinery.fields import KINDS, AnyField
from jenga.refinery.sample import Column, is_moment, read_columns
from jenga.refinery.schema import RefinerySchema

ONEHOT_LIMIT = 64
"""Different values up to which a text or code gets a column for each."""

MOSTLY = 0.95
"""Share of values that must look alike for the rest to count as slips."""

FEWEST_ROWS = 20
"""Rows below which values that all differ say nothing."""

FIELD_LIMIT = 256
"""Fields of an inferred schema at most: keys without end, such as ids that are keys, make columns without end."""

LIMIT = 10.0
"""Standard deviations that an inferred numeric field goes up to."""
_LABEL_WORDS = {
    "label", "labels", "labelled", "labeled", "sublabel", "attack", "attacks", "malicious", "malware", "anomaly",
    "anomalous", "intrusion", "verdict", "fraud", "threat", "botnet", "truth", "gt",
}  # fmt: skip
"""Words of a name that give the answer away, wherever they stand in it."""
_LABEL_NAMES = {"class", "target", "y", "outcome", "difficulty", "family", "scenario", "tactic", "technique", "mitre"}
"""Names that do so by themselves."""
_NAMING_WORDS = {"uid", "uuid", "guid", "fuid", "sid"}
"""Last words of names that are ids, however many rows share one."""
_IDENTITIES = {
    "username", "arn", "email", "mail", "user name", "account id", "principal id", "request id", "access key",
    "key id", "account name", "subscription id", "tenant id", "owner id",
}  # fmt: skip
"""Last words of names of who it was, which a model would learn by heart, and of handles of a single request."""
_ID_NAMES = re.compile(
    r"(?:.*[._-])?(?:id|uid|uuid|guid|fuid|flow_id|session_id|trace_id|span_id|transaction_id|trans_id|request_id|"
    r"event_id|md5|sha1|sha256|sha512|imphash|hash|hashes|fingerprint|serial|record_id|record_number|community_id)"
    r"|.*(?:Guid|GUID|Uid|UUID|Hash|RecordID|RecordNumber)",
)
_TIME_NAMES = re.compile(
    r"(?:.*[._])?@?(?:ts|time|timestamp|date|datetime|stime|ltime|epoch|start|end|created|modified|first_seen|last_seen|"
    r"eventtime)|.*(?:_ts|_time|_at|_date|_timestamp|Time|TimeCreated)",
    re.IGNORECASE,
)
_PORT_NAMES = re.compile(
    r"(?:.*[._-])?(?:port|sport|dport|dsport|spt|dpt|orig_p|resp_p)|.*(?:_port|Port| port)", re.IGNORECASE
)
_CODE_NAMES = re.compile(
    r"(?:.*[._])?(?:type|code|status|level|severity|version|proto|protocol|class|action|method|opcode|flags?|reason|"
    r"category|mode|qtype|qclass|rcode|id)|.*(?:_type|_code|_id|_status|_level|_class|_version|Type|Code|Id|ID|Status)",
)
_HANDED_OUT = re.compile(r"(?:.*[._])?(?:pid|ppid|tid)|.*(?:ProcessId|ThreadId|LogonId)")
_DIGEST = re.compile(
    r"(?:\w+=)?(?:[0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64}|[0-9a-fA-F]{128})(?:,\w+=[0-9a-fA-F]+)*"
)
_UUID = re.compile(r"\{?[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\}?")
_WORDS = {"true", "false", "t", "f", "yes", "no"}
_UNITS = (1.0, 1e3, 1e6, 1e9)


def infer_schema(rows: Iterable[Mapping[str, Any]], *, name: str | None = None) -> RefinerySchema:
    """Return a schema that fits sample `rows`, to be read and edited; nested objects become dotted paths.

    Lists become sets of values, ``path[*]``. Labels, ids, constants and second timestamps are left out, each with the
    reason. Raises DataError when no row holds anything to read.
    """
    columns, left_out = read_columns(rows)
    if not columns and not left_out:
        raise DataError("no row to infer a schema from; give rows that are objects with values, or a schema")
    fields: list[dict[str, Any]] = []
    for column in columns:
        why = _why_not(column)
        if why:
            left_out[column.path] = why
        else:
            fields.append({"path": column.path, **_kind(column)})
    by_path = {column.path: column for column in columns}
    _keep_one_timestamp(fields, by_path, left_out)
    fields = _capped(fields, by_path, left_out)
    if not fields:
        reasons = "; ".join(f"{path}: {why}" for path, why in left_out.items())
        raise DataError(f"nothing is left to read: {reasons}. Write a schema by hand")
    made: list[AnyField] = [KINDS[field.pop("kind")](**field) for field in fields]  # type: ignore[misc]
    return RefinerySchema(name=name, fields=made, left_out=dict(sorted(left_out.items())))


def _why_not(column: Column) -> str | None:
    """Return why `column` is left out; None where it is read."""
    words = _words(column.path)
    if _LABEL_WORDS & set(words) or (words and words[-1] in _LABEL_NAMES):
        return "a label by its name: the answer, which no feature may hold"
    if not column.values:
        return f"null in all {column.n_rows:,} rows that were looked at"
    if column.n_distinct == 1 and column.n_missing == 0:
        value = _short(column.values[0])
        return f"always {value} in the {column.n_rows:,} rows that were looked at, so it tells rows apart by nothing"
    if _HANDED_OUT.fullmatch(column.name):
        return "by its name a number that the system hands out anew each time"
    if _share(column, _is_hash) >= MOSTLY:
        return "ids or digests by their look: they name a thing, they do not describe it"
    if words and words[-1] in _NAMING_WORDS:
        return "an id by its name"
    if {" ".join(words[-1:]), " ".join(words[-2:])} & _IDENTITIES:
        return "an identity by its name: it says who it was, not what was done"
    differs = column.n_distinct / len(column.values)
    if len(column.values) >= FEWEST_ROWS and not column.has_fractions:
        if _ID_NAMES.fullmatch(column.name) and (differs > 0.5 or column.n_distinct > 1000):
            return f"an id by its name, with {column.n_distinct} different values in {len(column.values)} rows"
        if differs == 1.0 and _share(column, _is_token) == 1.0 and len(column.numbers) < MOSTLY * len(column.values):
            return "every value is another one, without inner structure: an id"
    if column.is_set:
        for what, test in (("addresses", _is_address), ("moments", is_moment)):
            if _share(column, test) >= MOSTLY:
                return f"a list of {what}; {column.path.replace('[*]', '[0]')} would read the first one"
    return None


def _words(path: str) -> list[str]:
    """Return the words of a path in lower case, those of ``Attack Type`` and of ``attackType`` alike."""
    parted = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", path)
    return re.findall(r"[a-z0-9]+", parted.lower())


def _kind(column: Column) -> dict[str, Any]:
    """Return kind and options of the field that reads `column`."""
    # Words such as n/a say that nothing is there; what is there tells the kind.
    given = column.given
    numbers = given.numbers
    if column.is_set:
        return _set_kind(column, given, numbers)
    if _share(given, _is_flag) == 1.0:
        return {"kind": "boolean"}
    if len(numbers) >= MOSTLY * len(given.values):
        return _numeric_kind(given, numbers)
    if _share(given, _is_address) >= MOSTLY:
        return {"kind": "ip"}
    if _share(given, is_moment) >= MOSTLY:
        return {"kind": "timestamp"}
    return _text_kind(column)


def _numeric_kind(column: Column, numbers: NDArray[np.float64]) -> dict[str, Any]:
    whole = not column.has_fractions
    if whole and _PORT_NAMES.fullmatch(column.name) and numbers.min() >= 0 and numbers.max() <= 65_535:
        return {"kind": "port"}
    if _TIME_NAMES.fullmatch(column.name) and any(
        ((numbers >= 1e9 * unit) & (numbers <= 4.2e9 * unit)).mean() >= MOSTLY for unit in _UNITS
    ):
        return {"kind": "timestamp"}
    if whole and column.n_distinct <= ONEHOT_LIMIT and _CODE_NAMES.fullmatch(column.name):
        return {"kind": "categorical"}
    # A detector that has seen a field's usual range should not be led astray by one value from far outside it.
    log1p = {"log1p": True} if is_heavy_tailed(numbers) else {}
    return {"kind": "numeric", **log1p, "limit": LIMIT}


def _set_kind(column: Column, given: Column, numbers: NDArray[np.float64]) -> dict[str, Any]:
    if len(numbers) >= MOSTLY * len(given.values):
        kind = _numeric_kind(given, numbers)
        if kind["kind"] == "numeric":
            return {**kind, "reduce": "mean"}
    return {"kind": "categorical", **({} if _repeats(column, ONEHOT_LIMIT) else {"encoding": "hash"})}


def _repeats(column: Column, limit: int) -> bool:
    """Whether values are few, and most of them come again."""
    return column.n_distinct <= limit and (column.n_distinct <= len(column.values) / 2 or column.n_distinct <= 8)


def _text_kind(column: Column) -> dict[str, Any]:
    paths = _share(column, lambda value: isinstance(value, str) and bool(re.search(r"[/\\]", value))) > 0.5
    if _repeats(column, FEWEST_ROWS if paths else ONEHOT_LIMIT):
        return {"kind": "categorical"}
    texts = [value if isinstance(value, str) else str(value) for value in column.values]
    structured = sum(bool(re.search(r"[\s./\\:=?&@-]", text)) for text in texts) / len(texts)
    if structured > 0.5 or float(np.median([len(text) for text in texts])) >= 16:
        return {"kind": "text"}
    return {"kind": "categorical", "encoding": "hash"}


def is_heavy_tailed(numbers: NDArray[np.float64]) -> bool:
    """Return whether log1p at least halves the skewness of numbers that have much of it."""
    before, after = _skewness(numbers), _skewness(np.copysign(np.log1p(np.abs(numbers)), numbers))
    return before > 2.0 and after < before / 2


def _skewness(numbers: NDArray[np.float64]) -> float:
    scale = float(np.abs(numbers).max()) or 1.0
    centred = numbers / scale - (numbers / scale).mean()
    spread = float(np.sqrt(np.square(centred).mean()))
    return abs(float((centred**3).mean())) / spread**3 if spread > 1e-9 else 0.0


def _keep_one_timestamp(fields: list[dict[str, Any]], columns: Mapping[str, Column], left_out: dict[str, str]) -> None:
    """Leave only the timestamp that most rows have; the others mostly repeat it."""
    times = [field for field in fields if field["kind"] == "timestamp"]
    if len(times) < 2:
        return
    kept = max(times, key=lambda field: (len(columns[field["path"]].values), -len(field["path"])))
    for field in times:
        if field is not kept:
            fields.remove(field)
            left_out[field["path"]] = f"a second timestamp; '{kept['path']}' gives hour, weekday and pace already"


def _capped(
    fields: list[dict[str, Any]], columns: Mapping[str, Column], left_out: dict[str, str]
) -> list[dict[str, Any]]:
    """Return the `FIELD_LIMIT` fields that most rows have, in their order, and say of the others why they are not."""
    if len(fields) <= FIELD_LIMIT:
        return fields
    ranked = sorted(fields, key=lambda field: -columns[field["path"]].n_given)
    kept = {field["path"] for field in ranked[:FIELD_LIMIT]}
    for field in ranked[FIELD_LIMIT:]:
        column = columns[field["path"]]
        left_out[field["path"]] = (
            f"in {column.n_given:,} of {column.n_rows:,} rows, and {FIELD_LIMIT} of {len(fields):,} fields are in "
            "more of them; an inferred schema has no more than these"
        )
    return [field for field in fields if field["path"] in kept]


def _share(column: Column, test: Callable[[Any], bool]) -> float:
    """Return the share of values that pass `test`, which sees each different value once."""
    return sum(count for value, count in column.distinct if test(value)) / len(column.values)


def _is_flag(value: Any) -> bool:
    if isinstance(value, str):
        return value.lower() in _WORDS
    return isinstance(value, bool) or value in (0, 1)


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and bool(_DIGEST.fullmatch(value) or _UUID.fullmatch(value))


def _is_token(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[\w+-]+={0,2}", value))


def _is_address(value: Any) -> bool:
    if not isinstance(value, str) or not re.search(r"[.:]", value):
        return False
    try:
        ipaddress.ip_address(value.partition("%")[0])
    except ValueError:
        return False
    return True


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
