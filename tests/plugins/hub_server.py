"""The few addresses of the Hugging Face hub by which huggingface_hub makes, fills, lists and reads a repository."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

import pytest

TOKEN = "hf_secretOfTheTests"


class Hub:
    """Repositories by name: their visibility, and by branch the commits with all files."""

    def __init__(self) -> None:
        self.private: dict[str, bool] = {}
        self.branches: dict[tuple[str, str], str] = {}
        self.commits: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []

    def create(self, name: str, *, private: bool) -> bool:
        """Make a repository, which begins with what the hub puts into each; return whether it was not there."""
        if name in self.private:
            return False
        self.private[name] = private
        self.commit(name, "main", {".gitattributes": b"*.safetensors filter=lfs\n"})
        return True

    def commit(self, name: str, branch: str, files: dict[str, bytes]) -> str:
        sha = hashlib.sha1(f"{name} {branch} {len(self.commits)}".encode()).hexdigest()
        self.commits[sha], self.branches[name, branch] = files, sha
        return sha

    def files(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        sha = self.branches.get((name, revision), revision)
        return (sha, self.commits[sha]) if sha in self.commits else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: ClassVar[Hub]

    def log_message(self, format: str, *args: Any) -> None:
        return

    def reply(self, body: Any, status: int = 200, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_GET(self) -> None:
        self.hub.asked.append(self.path)
        path = unquote(self.path.partition("?")[0])
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/(.+))?", path)
        found = found or re.fullmatch(r"/([^/]+/[^/]+)/(resolve)/([^/]+)/(.+)", path)
        name = found[1] if found else ""
        if found is None or name not in self.hub.private or (self.hub.private[name] and not self.trusted()):
            return self.reply({}, 401 if not self.trusted() else 404, X_Error_Code="RepoNotFound")
        commit = self.hub.files(name, found[3] or "main")
        if commit is None:
            return self.reply({}, 404, X_Error_Code="RevisionNotFound")
        sha, files = commit
        oids = {path: hashlib.sha1(content).hexdigest() for path, content in files.items()}
        if found[2] == "resolve":
            path = found[4]
            return self.reply(files[path], X_Repo_Commit=sha, ETag=f'"{oids[path]}"')
        if found[2] == "tree":
            return self.reply([{"type": "file", "path": p, "size": len(files[p]), "oid": oids[p]} for p in files])
        listed = [{"rfilename": path} for path in files]
        self.reply({"id": name, "sha": sha, "private": self.hub.private[name], "siblings": listed})

    do_HEAD = do_GET  # noqa: N815 -- the name that the library calls

    def do_POST(self) -> None:
        self.hub.asked.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"])) if "Content-Length" in self.headers else self.cut()
        path = unquote(self.path)
        if path == "/api/validate-yaml":
            return self.reply({"errors": [], "warnings": []})
        if not self.trusted():
            return self.reply({"error": "Invalid username or password."}, 401)
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            made = self.hub.create(name, private=asked.get("visibility") == "private" or bool(asked.get("private")))
            return self.reply({"url": f"http://{self.headers['Host']}/{name}"}, 200 if made else 409)
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit|branch)/(.+)", path)
        assert found, path
        name, branch = found[1], found[3]
        if found[2] == "preupload":
            files = [{**f, "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]]
            return self.reply({"files": files})
        held = self.hub.files(name, branch) or self.hub.files(name, "main")
        assert held
        kept = dict(held[1])
        for line in map(json.loads, body.splitlines() if found[2] == "commit" else ()):
            value = line["value"]
            if line["key"] == "deletedFile":
                del kept[value["path"]]
            elif line["key"] == "file":
                kept[value["path"]] = base64.b64decode(value["content"])
        sha = self.hub.commit(name, branch, kept)
        self.reply({"commitUrl": f"http://{self.headers['Host']}/{name}/commit/{sha}", "commitOid": sha})

    def cut(self) -> bytes:
        """Return a body that comes in chunks."""
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def trusted(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"


@contextmanager
def serving() -> Iterator[tuple[Hub, str]]:
    """Yield a hub without repositories, and its address."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub at which this process is logged in, with an empty cache."""
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    with serving() as (found, address):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield found
        close_session()
