"""A page that shows runs while they train: what `jenga watch` answers, by the standard library alone.

It reads what runs write and writes nothing. A request names a run by a digest of its place, never by a path, and is
answered only where its Host is an address or a name that is expected: a foreign page whose name was made to point
here (DNS rebinding) brings its own.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
import socket
import sys
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from jenga.errors import DataError
from jenga.files import json_object
from jenga.report.page import STYLE, hashed
from jenga.report.runs import RunLine, find_runs, run_line, shown_time

CHUNK = 1 << 20
"""Bytes of a log that one answer tells of at most."""
_TIMEOUT_S = 15.0
_ALL = ("", "0.0.0.0", "::")
_READ = ("run.json", "evaluation.json", "metrics.jsonl")
_ID = re.compile(r"[0-9a-f]{16}")


class _Told(NamedTuple):
    """What the list says of a run, and the times and sizes of the files that it is from."""

    stamp: tuple[tuple[int, int] | None, ...]
    words: dict[str, Any]


class Watched:
    """The runs in a folder, or one run, by ids of their own."""

    def __init__(self, folder: Path) -> None:
        """Raises DataError where there is no such folder."""
        self.folder = folder
        self._told: dict[str, _Told] = {}
        self._paths = self._scanned()

    def _scanned(self) -> dict[str, Path]:
        return {hashlib.sha256(os.fsencode(run)).hexdigest()[:16]: run for run in find_runs(self.folder)}

    def _path(self, run: str) -> Path:
        """Return where a run is, of those found last; the tree is looked through again where it is none of them."""
        if run not in self._paths or not (self._paths[run] / "run.json").exists():
            self._paths = self._scanned()
        return self._paths[run]

    def runs(self) -> dict[str, Any]:
        """Return all runs, the newest first, ready for JSON."""
        self._paths = paths = self._scanned()
        self._told = told = {key: self._read(key, run) for key, run in paths.items()}
        found = [{"id": key, **each.words} for key, each in told.items()]
        return {"title": self.folder.resolve().name, "runs": found}

    def _read(self, key: str, run: Path) -> _Told:
        """Return what is told of a run, which is read again where its files have changed since."""
        stamp = tuple(_stamp(run / name) for name in _READ)
        known = self._told.get(key)
        # That a process is gone shows in no file.
        if known is not None and known.stamp == stamp and not known.words["status"].startswith("running"):
            return known
        return _Told(stamp, {**_shown(run_line(run, within=self.folder)), **_plan(run)})

    def log(self, run: str, start: int) -> dict[str, Any]:
        """Return the records of a run's log from the byte `start` on, at most a chunk of them.

        ``next``: where the next answer begins; ``more``: whether there are more already; ``reset``: the log was cut
        back, and is to be read anew. Raises KeyError for a run that is not there.
        """
        path = self._path(run) / "metrics.jsonl"
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(start - 1, 0))
                content = file.read(CHUNK + 1)
        except OSError:
            size, content = 0, b""
        if start and (size < start or not content.startswith(b"\n")):
            return {"reset": True}
        content = content[1:] if start else content
        whole = content[: content.rfind(b"\n") + 1]
        end = start + len(whole)
        return {"records": _records(whole), "next": end, "more": bool(whole) and end < size}


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _records(lines: bytes) -> list[Any]:
    found = []
    for line in lines.split(b"\n"):
        try:
            record = json.loads(line, parse_constant=_no_number)
        except (ValueError, RecursionError):  # a line that a crash cut off
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            found.append(record)
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _shown(line: RunLine) -> dict[str, Any]:
    # A path is nobody's business who reads the page.
    known = {name: value for name, value in line.as_json().items() if name != "path"}
    return known | {"created": shown_time(line.created)}


def _plan(run: Path) -> dict[str, Any]:
    """Return how long a run is to be, its heads, the longest names first, and why it ended."""
    try:
        info = json_object(run / "run.json")
        given = info.get("given") or {}
        training = given.get("training") or {}
        heads = [(str(task["name"]), str(head["name"])) for task in given.get("tasks") or () for head in task["heads"]]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {"heads": [], "epochs": None, "max_steps": None, "reason": None}
    return {
        "heads": sorted(heads, key=lambda head: -len("_".join(head))),
        "epochs": training.get("epochs"),
        "max_steps": training.get("max_steps"),
        "reason": info.get("reason"),
    }


# -------------------------------------------------------------------------------------------------------------- server


def serve(folder: Path, host: str, port: int) -> ThreadingHTTPServer:
    """Return what answers requests at an address, not yet begun. Raises DataError, OSError."""
    watched = Watched(folder)

    class Handler(_Handler):
        runs, names = watched, names_of(host)

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        def handle_error(self, request: Any, client_address: Any) -> None:
            # A page that is closed while it is answered is no error of ours.
            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(request, client_address)

    return Server((host, port), Handler)


class _Handler(BaseHTTPRequestHandler):
    runs: Watched
    names: set[str]
    timeout = _TIMEOUT_S
    server_version, sys_version = "jenga", ""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer the page, the list of runs, or a piece of a log."""
        if not host_allowed(self.headers.get_all("Host") or [], self.names):
            self._text(HTTPStatus.MISDIRECTED_REQUEST, "this server is not asked by that name")
            return
        url = urlsplit(self.path)
        try:
            if url.path == "/":
                text, policy = page()
                self._answer(HTTPStatus.OK, text.encode(), "text/html; charset=utf-8", policy)
            elif url.path == "/runs":
                self._json(self.runs.runs())
            elif url.path == "/log":
                self._json(self.runs.log(*_asked(parse_qs(url.query))))
            else:
                self._text(HTTPStatus.NOT_FOUND, "nothing is here")
        except KeyError:
            self._text(HTTPStatus.NOT_FOUND, "no such run")
        except ValueError as error:
            self._text(HTTPStatus.BAD_REQUEST, str(error))
        except DataError as error:
            self._text(HTTPStatus.GONE, str(error))

    def _json(self, value: Mapping[str, Any]) -> None:
        content = json.dumps(value, ensure_ascii=True, allow_nan=False).encode()
        self._answer(HTTPStatus.OK, content, "application/json", "default-src 'none'")

    def _text(self, status: HTTPStatus, words: str) -> None:
        self._answer(status, words.encode(), "text/plain; charset=utf-8", "default-src 'none'")

    def _answer(self, status: HTTPStatus, content: bytes, kind: str, policy: str) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind, "Content-Length": str(len(content)), "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
            "Cross-Origin-Resource-Policy": "same-origin", "X-Frame-Options": "DENY",
        }.items():  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Tell nothing of each request: a page asks every two seconds."""


def names_of(host: str) -> set[str]:
    """Return the names that what listens at `host` is asked by; at all addresses, the machine's own is one too."""
    return {"localhost", host.lower(), *([socket.gethostname().lower()] if host in _ALL else [])}


def host_allowed(given: list[str], names: set[str]) -> bool:
    """Return whether a request's Host header is one name of ours, or an address, which no other page's name is."""
    if len(given) != 1:
        return False
    name = given[0].strip().lower()
    match = re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]+)(:\d{1,5})?", name)
    if match is None:
        return False
    host = match[1].strip("[]")
    if host in names:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _asked(query: Mapping[str, list[str]]) -> tuple[str, int]:
    run, start = (query.get(name, [""])[0] for name in ("run", "from"))
    if not _ID.fullmatch(run) or not re.fullmatch(r"\d{1,15}", start):
        raise ValueError("log: give run=, an id of /runs, and from=, a number of bytes")
    return run, int(start)


@cache
def page() -> tuple[str, str]:
    """Return the page and the policy that allows what is in it, and requests to where it came from."""
    text = Path(__file__).with_name("watch.html").read_text(encoding="utf-8")
    text = text.replace("<!-- style -->", f"<style>{STYLE}</style>")
    script, style = (
        " ".join(map(hashed, re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL))) for tag in ("script", "style")
    )
    return text, (
        f"default-src 'none'; img-src data:; style-src {style}; script-src {script}; connect-src 'self'; base-uri "
        "'none'; form-action 'none'; frame-ancestors 'none'"
    )
