"""A model file from the Hugging Face hub, or a mirror of it: one attempt, resumed where a former one stopped."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import httpx

from personalrm.core.errors import EmbeddedModelError
from personalrm.llm.local.catalogue import CatalogueEntry, HubFile
from personalrm.llm.local.progress import Progress

ANSWER_S = 5.0
"""Seconds until the hub's answer (redirects included) must have begun: offline machines should not wait."""
STALL_S = 30.0
"""Seconds without a byte after which a download that had begun is given up (and kept for a resume)."""
_BLOCK = 1 << 18


def download(entry: CatalogueEntry, target: Path, progress: Progress) -> None:
    """Bring `target` to the model's full size, adding to what is there. The caller checks the SHA-256.

    Raises EmbeddedModelError with the reason; what was received stays in `target`.
    """
    if entry.hub is None:
        raise EmbeddedModelError("the catalogue names no hub file for this model")
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}:
        raise EmbeddedModelError("HF_HUB_OFFLINE is set")
    have = target.stat().st_size if target.exists() else 0
    if have > entry.bytes:
        target.unlink()
        have = 0
    if have == entry.bytes:
        return
    token = _token()
    try:
        _download_rest(entry, _url(entry.hub), target, have, token, progress)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        text = f"{type(error).__name__}: {error}"
        # Some protocol errors quote the header they complain of.
        raise EmbeddedModelError(text.replace(token, "***") if token else text) from None


def _url(hub: HubFile) -> str:
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    return f"{endpoint.rstrip('/')}/{hub.repo}/resolve/{hub.revision or 'main'}/{quote(hub.file)}"


def _token() -> str:
    token = os.environ.get("HF_TOKEN", "").strip()
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise EmbeddedModelError("HF_TOKEN holds characters that no token has")
    return token


def _download_rest(entry: CatalogueEntry, url: str, target: Path, have: int, token: str, progress: Progress) -> None:
    headers = {"Accept-Encoding": "identity"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if have:
        headers["Range"] = f"bytes={have}-"
    timeout = httpx.Timeout(ANSWER_S, read=STALL_S)
    with httpx.Client(timeout=timeout, follow_redirects=True) as client, _answer(client, url, headers) as got:
        start = _start_of(got, have, entry)
        progress.start(f"{entry.id} from the hub", entry.bytes, start)
        with target.open("r+b" if target.exists() else "wb") as stream:
            stream.truncate(start)
            stream.seek(start)
            _copy(got, stream, start, entry, progress)


@contextmanager
def _answer(client: httpx.Client, url: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
    """The response, headers read. All of name lookup, connection and redirects share one time limit.

    A thread does the waiting because a name lookup cannot be given a time limit.
    """
    box: queue.SimpleQueue[httpx.Response | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            box.put(client.send(client.build_request("GET", url, headers=headers), stream=True))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, RuntimeError) as error:
            box.put(error)

    threading.Thread(target=ask, daemon=True, name="hub-request").start()
    try:
        got = box.get(timeout=ANSWER_S)
    except queue.Empty:
        raise EmbeddedModelError(f"no answer within {ANSWER_S:g} s") from None
    if isinstance(got, Exception):
        raise got
    try:
        yield got
    finally:
        got.close()


def _start_of(got: httpx.Response, have: int, entry: CatalogueEntry) -> int:
    """From which byte the answer goes on: `have` where the server resumes, else 0."""
    if got.status_code not in {200, 206}:
        raise EmbeddedModelError(f"HTTP {got.status_code} {got.reason_phrase}".strip())
    start = have if got.status_code == 206 else 0
    if start and not got.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        raise EmbeddedModelError("the server resumed at a byte that was not asked for")
    length = got.headers.get("Content-Length", "")
    if length.isdigit() and start + int(length) != entry.bytes:
        raise EmbeddedModelError(f"offers {start + int(length)} bytes instead of {entry.bytes}")
    return start


def _copy(got: httpx.Response, stream: BinaryIO, start: int, entry: CatalogueEntry, progress: Progress) -> None:
    done, tenth = start, entry.bytes / 10
    for block in got.iter_bytes(_BLOCK):
        if done + len(block) > entry.bytes:
            raise EmbeddedModelError(f"sent more than the {entry.bytes} bytes expected")
        stream.write(block)
        before, done = done, done + len(block)
        progress.update(done)
        if done // tenth > before // tenth:
            progress.part(f"{100 * done // entry.bytes} %", done)
    if done < entry.bytes:
        raise EmbeddedModelError(f"the connection ended after {done} of {entry.bytes} bytes")
