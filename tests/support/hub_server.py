"""A local server that speaks the Hugging Face hub's file protocol: real sockets, scripted faults.

    with HubServer() as hub:
        hub.repos["some/set"] = HubRepo({"survey.jsonl": b"..."}, lfs={"survey.jsonl"})
        hub.faults["survey.jsonl"] = [503]          # once, then fine
        ... HF_ENDPOINT=hub.url; hub.asked

Small files are answered directly, with a git-like ETag; files of `lfs` with a redirect to another host name (as to
a content network), with X-Linked-Etag and X-Linked-Size.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal, Self
from urllib.parse import unquote

COMMIT = "c0ffee" + "0" * 34
Fault = int | Literal["cut", "damage"]
"""An HTTP status; or the connection is cut in the middle of the body; or one byte of it is turned."""


@dataclass
class HubRepo:
    """A repository (data set or model). `refs` are its branches and tags; a commit's own hash is always a revision.

    `gated` refuses whoever does not send a token of the server's `members`; `size` lies about a large file's bytes.
    """

    files: dict[str, bytes]
    commit: str = COMMIT
    refs: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    lfs: set[str] = field(default_factory=set)
    gated: bool = False
    size: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class HubRequest:
    method: str
    path: str
    headers: Message


@dataclass
class HubServer:
    """`faults` holds what goes wrong with the next GETs of a file, by its name; `head_faults` with the next HEADs.

    `tokens` are known, `members` of them have accepted the terms of gated repositories; others are refused.
    `moved` redirects a repository, relative to the host, as the hub does for renamed ones. `plain` leaves out
    X-Repo-Commit: a server that is no hub. Without `ranges` a request for the rest of a file gets all of it.
    """

    repos: dict[str, HubRepo] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    head_faults: dict[str, list[int]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    members: set[str] = field(default_factory=set)
    moved: dict[str, str] = field(default_factory=dict)
    plain: bool = False
    ranges: bool = True
    asked: list[HubRequest] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def network_url(self) -> str:
        """The same server under another host's name, which must never see a token."""
        return f"http://localhost:{self.port}"

    def count(self, method: str, end: str) -> int:
        return sum(each.method == method and each.path.endswith(end) for each in self.asked)


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    """A handler of this hub's requests."""
    return type("Handler", (_Handler,), {"hub": hub})


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        return

    def _answer(self) -> None:
        self.hub.asked.append(HubRequest(self.command, self.path, self.headers))
        parts = unquote(self.path.partition("?")[0]).strip("/").split("/")
        if parts[0] == "network":
            self._send(*_stored(self.hub, parts[1]))
        elif parts[0] == "datasets" and len(parts) >= 6 and parts[3] == "resolve":
            self._resolve(f"{parts[1]}/{parts[2]}", parts[4], "/".join(parts[5:]))
        elif len(parts) >= 5 and parts[2] == "resolve":
            self._resolve(f"{parts[0]}/{parts[1]}", parts[3], "/".join(parts[4:]))
        else:
            self._refuse(404)

    def _resolve(self, name: str, revision: str, file: str) -> None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            # The hub does not repeat the token; a careless mirror might.
            return self._refuse(401, message="Invalid credentials in Authorization header", body=token)
        if name in self.hub.moved:
            return self._redirect(f"/datasets/{self.hub.moved[name]}/resolve/{revision}/{file}", 307, {})
        repo = self.hub.repos.get(name)
        if repo is None:
            return self._refuse(404 if token else 401, "RepoNotFound")
        if repo.gated and token not in self.hub.members:
            return self._refuse(403 if token else 401, "GatedRepo", body=f"Access denied to {token}")
        commit = repo.commit if revision == repo.commit else repo.refs.get(revision)
        if commit != repo.commit:
            return self._refuse(404, "RevisionNotFound")
        if file not in repo.files:
            return self._refuse(404, "EntryNotFound")
        if self.command == "HEAD" and self.hub.head_faults.get(file):
            return self._refuse(self.hub.head_faults[file].pop(0))
        content = repo.files[file]
        extra = {} if self.hub.plain else {"X-Repo-Commit": commit}
        if file in repo.lfs:
            digest = hashlib.sha256(content).hexdigest()
            extra |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(repo.size.get(file, len(content)))}
            return self._redirect(f"{self.hub.network_url}/network/{digest}?signature=secret", 302, extra)
        git = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        return self._send(file, content, {**extra, "ETag": f'"{git}"'})

    def _redirect(self, location: str, status: int, extra: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**extra, "Location": location, "Content-Length": "0"}.items():
            self.send_header(key, value)
        self.end_headers()

    def _refuse(self, status: int, code: str = "", message: str = "", body: str = "no") -> None:
        self.send_response(status)
        for key, value in {"X-Error-Code": code, "X-Error-Message": message}.items():
            if value:
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body.encode())

    def _send(self, file: str, content: bytes, extra: dict[str, str]) -> None:
        pending = self.hub.faults.get(file)
        fault = pending.pop(0) if pending and self.command == "GET" else None
        if isinstance(fault, int):
            return self._refuse(fault)
        if fault == "damage":
            content = bytes([content[0] ^ 1]) + content[1:]
        start = 0
        if self.hub.ranges and (asked := self.headers.get("Range")):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            extra = {**extra, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        self.send_response(206 if start else 200)
        for key, value in {**extra, "Content-Length": str(len(content) - start)}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[start : len(content) // 2] if fault == "cut" else content[start:])
        if fault == "cut":
            self.close_connection = True
        return None


def _stored(hub: HubServer, digest: str) -> tuple[str, bytes, dict[str, str]]:
    """Name and content of a large file, by its SHA-256."""
    found = {
        hashlib.sha256(content).hexdigest(): (name, content)
        for repo in hub.repos.values()
        for name, content in repo.files.items()
    }
    name, content = found[digest]
    return name, content, {"ETag": f'"{digest}"'}
