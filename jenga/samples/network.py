"""A seeded generator of network flows, some of which are attacks, in the form of a flow collector's JSON export.

No single field gives an attack away: backups send as much as a theft does but to addresses inside, people mistype
passwords, hosts that are down refuse connections as scanned ones do, and content networks have names as odd as tunnels.
"""

from __future__ import annotations

import datetime
import random
import string
from collections.abc import Callable
from typing import Any, Final

__all__ = ["ATTACKS", "generate_flows"]

_START: Final = datetime.datetime(2026, 3, 2, tzinfo=datetime.UTC)
_SECONDS_BETWEEN: Final = 45.0
_ATTACK_RATE: Final = 0.18
_NULL_RATE: Final = 0.03
_NULLABLE: Final = ("service", "duration", "packets", "tcp_flags")
_PORTS: Final = {"http": 80, "https": 443, "ssh": 22, "smtp": 25, "dns": 53, "smb": 445, "ntp": 123}
_WORDS: Final = ("mail", "news", "shop", "maps", "photo", "video", "files", "login", "static", "update", "weather")
_DOMAINS: Final = ("example.com", "example.net", "example.org", "service.test", "city.example")

Flow = dict[str, Any]


def generate_flows(n_rows: int = 4000, *, seed: int = 0, label_noise: float = 0.02) -> list[Flow]:
    """Make `n_rows` flows in order of time; row i depends on (seed, i) alone, so a longer list begins with the shorter.

    Each row: ``id``; ``timestamp`` ISO-8601; ``src_ip``, ``dst_ip``, ``src_port``, ``dst_port``; ``protocol`` tcp, udp
    or icmp; ``service`` or None; ``tcp_flags``, how the connection went (SF, S0, REJ, RSTO) or None; ``duration`` in
    seconds; ``bytes_out``, ``bytes_in``, ``packets``; ``failed_logins``; ``query``, the name that a DNS flow asked for,
    else None; and ``threat``, 1 for an attack. A few values are null where they might be known.

    `label_noise` is the share of labels that are wrong; the flows do not depend on it.
    """
    return [_flow(seed, index, label_noise) for index in range(n_rows)]


def _flow(seed: int, index: int, label_noise: float) -> Flow:
    dice = random.Random(f"network:{seed}:{index}")
    attack = dice.random() < _ATTACK_RATE
    made = dice.choice(list(ATTACKS.values()) if attack else _USUAL)(dice)
    when = _START + datetime.timedelta(seconds=(index + dice.random()) * _SECONDS_BETWEEN)
    row = {
        "id": f"flow-{index:05d}",
        "timestamp": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "src_ip": _inside(dice),
        "dst_ip": _outside(dice),
        "src_port": dice.randint(32768, 60999),
        "dst_port": _PORTS.get(made.get("service") or "", dice.randint(1024, 65535)),
        "protocol": "tcp",
        "service": None,
        "tcp_flags": "SF",
        "duration": 0.0,
        "bytes_out": 0,
        "bytes_in": 0,
        "packets": 1,
        "failed_logins": 0,
        "query": None,
        **made,
    }
    row["packets"] = max(row["packets"], (row["bytes_out"] + row["bytes_in"]) // 900)
    for name in _NULLABLE:
        if dice.random() < _NULL_RATE:
            row[name] = None
    row["threat"] = int(attack != (random.Random(f"annotator:{seed}:{index}").random() < label_noise))
    return row


# -------------------------------------------------------------------------------------------------------- usual flows


def _browsing(dice: random.Random) -> Flow:
    secure = dice.random() < 0.8
    return {
        "service": "https" if secure else "http", "duration": round(dice.lognormvariate(1.0, 1.2), 3),
        "bytes_out": int(dice.lognormvariate(7.0, 1.0)), "bytes_in": int(dice.lognormvariate(9.5, 1.5)),
    }  # fmt: skip


def _lookup(dice: random.Random) -> Flow:
    return _dns(dice, _odd_name(dice, 12) if dice.random() < 0.15 else f"{dice.choice(_WORDS)}.{dice.choice(_DOMAINS)}")


def _login(dice: random.Random) -> Flow:
    return {
        "service": "ssh", "dst_ip": _inside(dice), "duration": round(dice.lognormvariate(4.0, 1.5), 3),
        "bytes_out": int(dice.lognormvariate(8.0, 1.2)), "bytes_in": int(dice.lognormvariate(8.5, 1.2)),
        "failed_logins": dice.choices((0, 1, 2, 3), (80, 14, 5, 1))[0],
    }  # fmt: skip


def _backup(dice: random.Random) -> Flow:
    return {
        "service": dice.choice(("smb", "ssh")), "dst_ip": _inside(dice),
        "duration": round(dice.lognormvariate(5.5, 0.8), 3), "bytes_out": int(dice.lognormvariate(16.0, 1.2)),
        "bytes_in": int(dice.lognormvariate(8.0, 1.0)),
    }  # fmt: skip


def _refused(dice: random.Random) -> Flow:
    return {
        "tcp_flags": dice.choice(("REJ", "S0", "RSTO")), "service": dice.choice(("https", "http", "smb", None)),
        "dst_ip": _inside(dice) if dice.random() < 0.5 else _outside(dice),
        "duration": round(dice.uniform(0, 0.4), 3), "bytes_out": dice.choice((0, 0, 40, 60)),
    }  # fmt: skip


def _clock(dice: random.Random) -> Flow:
    return {
        "protocol": "udp", "tcp_flags": None, "service": "ntp", "duration": round(dice.uniform(0, 0.1), 3),
        "bytes_out": 48, "bytes_in": 48, "packets": 2,
    }  # fmt: skip


_USUAL: Final = (_browsing, _browsing, _browsing, _lookup, _lookup, _login, _backup, _refused, _clock)


# ------------------------------------------------------------------------------------------------------------ attacks


def _scan(dice: random.Random) -> Flow:
    return {
        "tcp_flags": dice.choice(("S0", "S0", "REJ")), "dst_ip": _inside(dice), "src_port": dice.randint(1024, 65535),
        "dst_port": dice.randint(1, 10000), "duration": round(dice.uniform(0, 0.05), 3), "bytes_out": 0,
    }  # fmt: skip


def _brute_force(dice: random.Random) -> Flow:
    return {
        "service": "ssh", "src_ip": _outside(dice), "dst_ip": _inside(dice),
        "duration": round(dice.lognormvariate(1.5, 0.6), 3), "bytes_out": int(dice.lognormvariate(7.5, 0.4)),
        "bytes_in": int(dice.lognormvariate(7.8, 0.4)), "failed_logins": dice.randint(2, 9),
    }  # fmt: skip


def _theft(dice: random.Random) -> Flow:
    return {
        "service": dice.choice(("https", "ssh", None)), "duration": round(dice.lognormvariate(5.0, 0.9), 3),
        "bytes_out": int(dice.lognormvariate(15.5, 1.2)), "bytes_in": int(dice.lognormvariate(7.5, 0.8)),
    }  # fmt: skip


def _tunnel(dice: random.Random) -> Flow:
    return {**_dns(dice, _odd_name(dice, dice.randint(24, 50))), "bytes_out": dice.randint(140, 320)}


ATTACKS: Final[dict[str, Callable[[random.Random], Flow]]] = {
    "scan": _scan,
    "brute_force": _brute_force,
    "theft": _theft,
    "tunnel": _tunnel,
}


# ------------------------------------------------------------------------------------------------------------- pieces


def _dns(dice: random.Random, name: str) -> Flow:
    return {
        "protocol": "udp", "tcp_flags": None, "service": "dns", "query": name, "packets": 2,
        "duration": round(dice.uniform(0.001, 0.2), 3), "bytes_out": len(name) + dice.randint(40, 60),
        "bytes_in": dice.randint(80, 400),
    }  # fmt: skip


def _odd_name(dice: random.Random, length: int) -> str:
    letters = "".join(dice.choices(string.ascii_lowercase + string.digits, k=length))
    return f"{letters}.{dice.choice(_DOMAINS)}"


def _inside(dice: random.Random) -> str:
    return f"10.{dice.randint(0, 3)}.{dice.randint(0, 20)}.{dice.randint(1, 254)}"


def _outside(dice: random.Random) -> str:
    # Documentation ranges (RFC 5737), which belong to nobody, are flagged as reserved; these are public.
    return f"{dice.choice((23, 45, 93, 151, 185))}.{dice.randint(0, 255)}.{dice.randint(0, 255)}.{dice.randint(1, 254)}"
