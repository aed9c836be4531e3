"""A real local HTTP server that stands in for a package index, and counts what was asked."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """Files by path, and how to misbehave: `cut` holds path -> bytes after which the connection is dropped."""

    files: dict[str, bytes] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def count(self, path: str) -> int:
        return sum(asked == path for asked, _ in self.asked)


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append((self.path, dict(self.headers.items())))
            body = site.files.get(self.path)
            if body is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/zip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            end = site.cut.get(self.path, len(body))
            self.wfile.write(body[:end])
            if end < len(body):
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            return

    return Handler


@contextmanager
def serve(site: Site) -> Iterator[Site]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(site))
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def wheel(package: str, version: str, member: str, content: bytes) -> bytes:
    """A small real wheel that carries `content`; importing or installing it would be an error of ours."""
    name = package.replace("-", "_")
    info = f"{name}-{version}.dist-info"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{name}/__init__.py", "raise SystemExit('imported')\n")
        archive.writestr(member, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return buffer.getvalue()


def wheel_path(package: str, version: str) -> str:
    return f"/files/{package.replace('-', '_')}-{version}-py3-none-any.whl"


def add_to_index(site: Site, package: str, version: str, body: bytes) -> str:
    """Publish a wheel on a PEP 503 index; returns its SHA-256."""
    digest = hashlib.sha256(body).hexdigest()
    path = wheel_path(package, version)
    name = path.rsplit("/", 1)[1]
    site.files[path] = body
    site.files[f"/simple/{package}/"] = f'<a href="{path}#sha256={digest}">{name}</a>'.encode()
    return digest
