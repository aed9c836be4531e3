"""What a call costs its client: `python benchmarks/port.py [--calls 900 --in-flight 240 --latency 1]`.

A local server in a process of its own answers each call after a second. Each client runs in a process of its own, too,
and is warm (imports, connections, all calls in flight allowed) before it is measured: completed calls a second, and
CPU of the client's process for each call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROMPT = "Which answer would this person prefer, and why? " * 80
MODEL = "openai/gpt-4o-mini"
"""In litellm's price map: a model that is not costs it longer to look for."""
CLIENTS = ("aiohttp", "litellm", "port, openai", "port, litellm")
RATE_BAR, CPU_BAR, OVERHEAD_BAR = 100.0, 10.0, 0.2

Ask = Callable[[str], Awaitable[object]]


@asynccontextmanager
async def bare_aiohttp(url: str, in_flight: int) -> AsyncIterator[Ask]:
    """A POST and the parsed answer, and nothing else."""
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight)) as session:

        async def ask(prompt: str) -> object:
            body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": prompt}], "max_tokens": 16}
            async with session.post(f"{url}/chat/completions", json=body) as reply:
                return (await reply.json())["choices"][0]["message"]["content"]

        yield ask


@asynccontextmanager
async def bare_litellm(url: str, in_flight: int) -> AsyncIterator[Ask]:
    """`litellm.acompletion` as the backend calls it, without the port."""
    from personalrm.llm.backends.litellm_backend import load_litellm

    litellm = load_litellm()
    del in_flight

    async def ask(prompt: str) -> object:
        messages = [{"role": "user", "content": prompt}]
        options = {"max_tokens": 16, "api_base": url, "api_key": "none", "num_retries": 0, "max_retries": 0}
        return await litellm.acompletion(model=MODEL, messages=messages, timeout=60, **options)

    yield ask


@asynccontextmanager
async def port(url: str, in_flight: int, backend: str) -> AsyncIterator[Ask]:
    """The whole port over an empty response store: key, look-up, places, backend, price, commit."""
    from personalrm.llm.cache.store import ResponseStore
    from personalrm.llm.open import RuntimeSettings, open_model
    from personalrm.llm.types import Message, ModelSpec, Request

    spec = ModelSpec("m", backend, MODEL, api_base=url, max_concurrency=in_flight, timeout_s=60.0)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder, ResponseStore(Path(folder, "s.sqlite"), run="r") as store:
        async with open_model(spec, store=store, runtime=RuntimeSettings(Path(folder), 1)) as opened:
            yield lambda prompt: opened.complete(Request((Message("user", prompt),), 16))


async def measure(client: str, url: str, calls: int, in_flight: int) -> dict[str, float]:
    """Completed calls a second and milliseconds of CPU a call, after a warm-up."""
    ways = {
        "aiohttp": lambda: bare_aiohttp(url, in_flight),
        "litellm": lambda: bare_litellm(url, in_flight),
        "port, openai": lambda: port(url, in_flight, "openai"),
        "port, litellm": lambda: port(url, in_flight, "litellm"),
    }
    gate = asyncio.Semaphore(in_flight)

    async with ways[client]() as ask:

        async def one(name: str) -> None:
            async with gate:
                await ask(f"{PROMPT} {name}")

        # In flight double with each round: four or five rounds until all are allowed.
        await asyncio.gather(*(one(f"warm {n}") for n in range(3 * in_flight)))
        begun, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(one(str(n)) for n in range(calls)))
        wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return {"rate": calls / wall, "cpu_ms": 1000 * cpu / calls}


def measure_all(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Each client in a process of its own, against one server."""
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "tests/support/scripted_server.py"), "--latency", str(options.latency)],
        stdout=subprocess.PIPE,
        text=True,
    )
    found = {}
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        for client in CLIENTS:
            command = [sys.executable, __file__, "--client", client, "--url", url]
            command += ["--calls", str(options.calls), "--in-flight", str(options.in_flight)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[client] = json.loads(done.stdout.splitlines()[-1])
    finally:
        server.kill()
        server.communicate()
    return found


def show(found: dict[str, dict[str, float]]) -> None:
    """The table, with bars."""
    print("| client | calls a second | CPU a call |\n|---|---|---|")
    for client, numbers in found.items():
        print(f"| {client} | {numbers['rate']:.0f} | {numbers['cpu_ms']:.1f} ms |")
    over = found["port, litellm"]["cpu_ms"] / found["litellm"]["cpu_ms"] - 1
    times = found["port, openai"]["cpu_ms"] / found["aiohttp"]["cpu_ms"]
    print(f"\nbars: {RATE_BAR:.0f} calls a second, {CPU_BAR:.0f} ms of CPU a call")
    print(
        f"the port over bare litellm: {over:+.0%} CPU (bar {OVERHEAD_BAR:+.0%}); over bare aiohttp: {times:.1f} times"
    )


def main() -> None:
    """Measure, or be one of the clients that are measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=900)
    parser.add_argument("--in-flight", type=int, default=240)
    parser.add_argument("--latency", type=float, default=1.0, help="seconds before the server answers")
    parser.add_argument("--client", choices=CLIENTS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        print(json.dumps(asyncio.run(measure(options.client, options.url, options.calls, options.in_flight))))
    else:
        show(measure_all(options))


if __name__ == "__main__":
    main()
