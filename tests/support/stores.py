"""Response stores for tests: known answers, and a process that writes them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.cache.store_file import decode, encode
from personalrm.llm.types import Response, Usage

WRITER = """
import sys
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.types import Response, Usage
path, name, count, journal = sys.argv[1], sys.argv[2], int(sys.argv[3]), (sys.argv[4:] or ["wal"])[0]
with ResponseStore(path, journal, run="r") as store:
    for number in range(count):
        response = Response(f"{name} {number} " + "x" * 300, "stop", Usage(1, 2, 0))
        stored = store.put(f"key-{number:05d}", "m@1", response)
        print(number, stored.text.split()[0], flush=True)
"""


def answer(number: int, size: int = 400) -> Response:
    return Response(f"answer {number} " + "x" * size, "stop", Usage(10, number, 3), cost_usd=0.5)


def key(number: int) -> str:
    return f"{number:064x}"


def fill(path: Path, count: int) -> None:
    with ResponseStore(path) as store:
        for number in range(count):
            store.put(key(number), "m@1", answer(number))


def readable(path: Path, count: int) -> int:
    """How many answers the store returns; each is asserted to be the one that was written."""
    with ResponseStore(path) as store:
        found = store.get_many([key(number) for number in range(count)])
    for number in range(count):
        if key(number) in found:
            assert found[key(number)] == decode(key(number), encode(answer(number)))
    return len(found)


def start_writer(path: Path, name: str, count: int, journal: str = "wal") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(count), journal], stdout=subprocess.PIPE, text=True
    )
