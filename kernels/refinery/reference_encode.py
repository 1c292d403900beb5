"""What a JSON value becomes: how each kind of field reads it, and its columns in float64, one value at a time."""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Sequence
from datetime import date
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from .reference_hash import bucket
from .reference_parse import NUMBER, Value
from .reference_paths import EVERY, parts_of

SET_MARK = b"\xff"
"""Behind each value of a set of texts."""

NUMBER_KINDS = ("numeric", "boolean", "port", "timestamp")
TEXT_KINDS = ("categorical", "ip", "text", "raw")

_TRUE = (b"true", b"t", b"yes", b"1")
_FALSE = (b"false", b"f", b"no", b"0")
_ISO = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]+))?)?(?:Z|([+-])([0-9]{2}):?([0-9]{2}))?)?"
)
# The years 1 to 9999.
_FIRST_SECOND, _END_OF_TIME = -62_135_596_800, 253_402_300_800
_AUTO_UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (math.inf, 1e9))
_UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


class State(IntEnum):
    """What became of a field in a row; 1 to 4 are missing."""

    PRESENT = 0
    ABSENT = 1
    NULL = 2
    MISMATCH = 3
    OVERFLOW = 4
    UNKNOWN = 5


MISSING = (State.ABSENT, State.NULL, State.MISMATCH, State.OVERFLOW)


class Reading(NamedTuple):
    """A field's value before its columns: a number (kinds of `NUMBER_KINDS`) or text."""

    state: State
    number: float = math.nan
    text: bytes = b""
    coerced: bool = False


_MISMATCH = Reading(State.MISMATCH)

# ------------------------------------------------------------------------------------------------------------- reading


def read_value(field: dict[str, Any], value: Value | None, missing: Sequence[str] = ()) -> Reading:
    """Return what a field of the plan makes of what stands in the row at its path; `missing`: words for nothing."""
    kind = field["kind"]
    if value is None:
        return Reading(State.ABSENT)
    if value.kind in ("null", "nan"):
        return Reading(State.NULL)
    if kind == "raw":
        return Reading(State.PRESENT, text=value.raw)
    if value.kind in ("object", "array"):
        return _MISMATCH
    if kind in TEXT_KINDS and kind != "ip":
        return Reading(State.PRESENT, text=value.text)
    if value.kind == "string" and (not value.text or value.text.strip() in [word.encode() for word in missing]):
        return Reading(State.NULL)
    if kind == "ip":
        is_address = value.kind == "string" and address_of(value.text) is not None
        return Reading(State.PRESENT, text=value.text) if is_address else _MISMATCH
    number = _read_number(field, value)
    state = number_state(kind, number)
    if state != State.PRESENT:
        return Reading(state)
    return Reading(State.PRESENT, number=number, coerced=_is_coercion(kind, value))


def read_set(field: dict[str, Any], members: Sequence[Value], missing: Sequence[str] = ()) -> Reading:
    """Return what a field whose path has [*] makes of the values that it leads to."""
    how = field.get("reduce") if field["kind"] == "numeric" else None
    readings = [read_value(field, value, missing) for value in members]
    given = [each for each in readings if each.state != State.NULL]
    good = given if how == "count" else [each for each in given if each.state == State.PRESENT]
    if readings and not good:
        return Reading(given[0].state if given else State.NULL)
    if field["kind"] == "raw":
        return Reading(State.PRESENT, text=b"[" + b",".join(each.text for each in good) + b"]")
    if how is None:
        return Reading(State.PRESENT, text=b"".join(text + SET_MARK for text in sorted({each.text for each in good})))
    if how == "count":
        return Reading(State.PRESENT, number=float(len(good)))
    if not good and how != "sum":
        return Reading(State.NULL)
    total = 0.0
    for each in good:
        total += each.number
    numbers = [each.number for each in good]
    number = total if how == "sum" else total / len(good) if how == "mean" else {"min": min, "max": max}[how](numbers)
    if math.isinf(number):
        return Reading(State.OVERFLOW)
    return Reading(State.PRESENT, number=number, coerced=any(each.coerced for each in good))


def number_state(kind: str, number: float) -> State:
    """Return whether a field of this kind takes this number; NaN stands for what is no number."""
    if kind == "boolean" and number not in (0.0, 1.0):
        return State.MISMATCH
    if kind == "port" and not (number.is_integer() and 0 <= number <= 65535):
        return State.MISMATCH
    if math.isnan(number):
        return State.MISMATCH
    if math.isinf(number):
        return State.OVERFLOW
    return State.MISMATCH if kind == "timestamp" and not _FIRST_SECOND <= number < _END_OF_TIME else State.PRESENT


def _read_number(field: dict[str, Any], value: Value) -> float:
    """Return a scalar as the number of its kind (a timestamp in seconds); NaN where it is none."""
    kind, text = field["kind"], value.text
    if value.kind == "literal":
        return float(text == b"true") if kind in ("numeric", "boolean") else math.nan
    if value.kind == "string":
        text = text.strip()
        if kind == "boolean":
            lower = text.lower()
            return 1.0 if lower in _TRUE else 0.0 if lower in _FALSE else math.nan
        digits = text[1:] if text[:1] == b"+" and text[1:2] != b"-" else text
        if not NUMBER.fullmatch(digits):
            return _iso_seconds(text) if kind == "timestamp" else math.nan
        text = digits
    number = float(text)
    return number / _per_second(field["unit"], number) if kind == "timestamp" else number


def _is_coercion(kind: str, value: Value) -> bool:
    if value.kind == "literal":
        return kind == "numeric"
    is_iso = kind == "timestamp" and _ISO.fullmatch(value.text.strip().decode()) is not None
    return value.kind == "string" and not is_iso


def _per_second(unit: str, number: float) -> float:
    if unit == "auto":
        return next(scale for below, scale in _AUTO_UNITS if abs(number) < below or below == math.inf)
    return _UNITS[unit]


def _iso_seconds(text: bytes) -> float:
    """Return the seconds since 1970-01-01 UTC; NaN where the text is no date."""
    match = _ISO.fullmatch(text.decode())
    if match is None:
        return math.nan
    year, month, day, hour, minute, second = (int(part or 0) for part in match.group(1, 2, 3, 4, 5, 6))
    zone_hour, zone_minute = int(match[9] or 0), int(match[10] or 0)
    if max(hour, zone_hour) > 23 or max(minute, second, zone_minute) > 59:
        return math.nan
    try:
        days = date(year, month, day).toordinal() - date(1970, 1, 1).toordinal()
    except ValueError:
        return math.nan
    zone = (zone_hour * 3600 + zone_minute * 60) * (-1 if match[8] == "-" else 1)
    return days * 86400 + hour * 3600 + minute * 60 + second - zone + float(f"0.{match[7] or 0}")


# ------------------------------------------------------------------------------------------------------------- columns


def width(field: dict[str, Any]) -> int:
    """Return the number of a field's columns, its indicator left out."""
    kind = field["kind"]
    if kind == "categorical":
        if field["encoding"] == "onehot":
            return len(field["values"]) + 1
        return 1 if field["encoding"] == "frequency" else int(field["n_buckets"])
    if kind == "timestamp":
        return 5 if field["inter_arrival"] else 4
    if kind in ("ip", "port", "text"):
        return {"ip": 7, "port": 3, "text": 6}[kind] + int(field["prefix_bits" if kind == "ip" else "n_buckets"])
    return {"numeric": 1, "boolean": 1, "raw": 0}[kind]


def columns(field: dict[str, Any], reading: Reading, previous: float) -> tuple[State, list[float]]:
    """Return the final state of a present value and its columns; `previous` is the last row's time (NaN: none)."""
    kind = field["kind"]
    if kind == "numeric":
        return reading.state, [_scaled(field, reading.number)]
    if kind == "boolean":
        return reading.state, [reading.number]
    if kind == "port":
        return reading.state, _port_columns(field, int(reading.number))
    if kind == "timestamp":
        return reading.state, _time_columns(field, reading.number, previous)
    if kind == "categorical":
        return _category_columns(field, reading.text)
    if kind == "ip":
        return reading.state, _ip_columns(field, reading.text)
    return reading.state, _text_columns(field, reading.text)


def _scaled(field: dict[str, Any], number: float) -> float:
    low, high = field["clip"]
    y = number if low is None else max(number, low)
    y = y if high is None else min(y, high)
    y = math.copysign(math.log1p(abs(y)), y) if field["log1p"] else y
    knots, references = field.get("knots") or [], field.get("references") or []
    if knots:
        y = _quantile(y, knots, references, slack=4 * np.finfo(float).eps * abs(y) if field["log1p"] else 0.0)
    scaled = _product(y - field["offset"], field["scale"])
    limit = field["limit"]
    return scaled if limit is None else min(max(scaled, -limit), limit)


def _product(left: float, right: float) -> float:
    product = left * right
    return 0.0 if math.isnan(product) else product


def _quantile(y: float, knots: Sequence[float], references: Sequence[float], *, slack: float) -> float:
    """Return the share of the training values below y, averaged over ties, as sklearn's QuantileTransformer does.

    A knot within `slack` of y is y itself: another library's logarithm may have made it.
    """
    x, f = np.asarray(knots, dtype=float), np.asarray(references, dtype=float)
    own = x[np.abs(x - y) <= slack]
    y = float(own[0]) if len(own) else y
    if y == knots[0]:
        return references[0]
    if y == knots[-1]:
        return references[-1]
    return float(0.5 * (np.interp(y, x, f) - np.interp(-y, -x[::-1], -f[::-1])))


def _port_columns(field: dict[str, Any], port: int) -> list[float]:
    shares = [float(port <= 1023), float(1023 < port <= 49151), float(port > 49151)]
    hashed = [0.0] * field["n_buckets"]
    if hashed:
        hashed[bucket(str(port).encode(), len(hashed), "jenga")[0]] = 1.0
    return shares + hashed


def _time_columns(field: dict[str, Any], seconds: float, previous: float) -> list[float]:
    day_angle = 2 * math.pi * (seconds % 86400.0) / 86400.0
    week_angle = 2 * math.pi * ((math.floor(seconds / 86400.0) + 3) % 7) / 7
    cyclic = [math.sin(day_angle), math.cos(day_angle), math.sin(week_angle), math.cos(week_angle)]
    if not field["inter_arrival"]:
        return cyclic
    waited = 0.0
    if not math.isnan(previous):
        waited = _product(math.log1p(max(0.0, seconds - previous)) - field["offset"], field["scale"])
    return [*cyclic, waited]


def _category_columns(field: dict[str, Any], text: bytes) -> tuple[State, list[float]]:
    encoding = field["encoding"]
    if EVERY in parts_of(field["path"]):
        return _set_columns(field, text)
    if encoding == "hash":
        hashed = [0.0] * field["n_buckets"]
        place, sign = bucket(text, len(hashed), field["hash"])
        hashed[place] = sign if field["signed"] else 1.0
        return State.PRESENT, hashed
    known = {value.encode(): index for index, value in enumerate(field["values"])}
    index = known.get(text, -1)
    state = State.UNKNOWN if index < 0 else State.PRESENT
    if encoding == "frequency":
        return state, [0.0 if index < 0 else field["frequencies"][index]]
    onehot = [0.0] * (len(known) + 1)
    onehot[index] = 1.0
    return state, onehot


def _set_columns(field: dict[str, Any], texts: bytes) -> tuple[State, list[float]]:
    """Return the columns of a set: those of its values, added up and, of encoding onehot, 1 at most."""
    alone = {**field, "path": "x"}
    values = texts.split(SET_MARK)
    found = [_category_columns(alone, text) for text in (values if values[-1] else values[:-1])]
    total = [sum(parts) for parts in zip([0.0] * width(field), *(each for _, each in found), strict=True)]
    if field["encoding"] == "onehot":
        total = [min(each, 1.0) for each in total]
    return (State.UNKNOWN if any(state == State.UNKNOWN for state, _ in found) else State.PRESENT), total


def _ip_columns(field: dict[str, Any], text: bytes) -> list[float]:
    address = address_of(text)
    assert address is not None
    flags = [
        address.version == 6, address.is_private, address.is_loopback, address.is_multicast, address.is_link_local,
        address.is_reserved, address.is_global,
    ]  # fmt: skip
    bits = f"{int(address):0{address.max_prefixlen}b}".ljust(128, "0")
    return [float(flag) for flag in flags] + [float(bit) for bit in bits[: field["prefix_bits"]]]


def address_of(text: bytes) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a text is: an IPv4-mapped one as its IPv4 address, and without its zone."""
    try:
        address = ipaddress.ip_address(text.decode())
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or ipaddress.IPv6Address(int(address))
    return address


def _text_columns(field: dict[str, Any], text: bytes) -> list[float]:
    length = len(text)
    shares = [0.0] * 6
    if length:
        counts = Counter(text)
        entropy = -sum(count / length * math.log2(count / length) for count in counts.values())
        classes = Counter(map(_byte_class, text))
        shares = [math.log1p(length), entropy + 0.0]
        shares += [classes[name] / length for name in ("digit", "upper", "symbol", "non_ascii")]
    hashed = [0.0] * field["n_buckets"]
    if not hashed:
        return shares
    text = text.lower() if field["lower"] else text
    n = field["ngram"]
    for start in range(length - n + 1):
        place, sign = bucket(text[start : start + n], len(hashed), field["hash"])
        hashed[place] += sign if field["signed"] else 1.0
    norm = math.sqrt(sum(value * value for value in hashed)) if field["norm"] == "l2" else 1.0
    return shares + [value / norm if norm else 0.0 for value in hashed]


def _byte_class(byte: int) -> str:
    letter = bytes([byte])
    if byte >= 0x80:
        return "non_ascii"
    if letter.isdigit():
        return "digit"
    if letter.isalpha():
        return "upper" if letter.isupper() else "lower"
    return "symbol" if 0x21 <= byte <= 0x7E else "other"
