"""How long a search takes where 40 % of the calls get a plain 429: `python benchmarks/storm.py [--users 6]`.

`fit` of generated users over the real client and store, with a scripted model and an event loop whose waits take no
time, so that the result depends on no load of the machine: seconds of calls and waits that follow one another.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from parity.content import answer
from parity.sides import SEED, Items, make_users
from support.virtual_time import VirtualTime

from personalrm import SynthesizeMe
from personalrm.core.errors import RateLimited
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.client import ModelClient
from personalrm.llm.limits.adaptive_concurrency import AdaptiveConcurrency
from personalrm.llm.limits.retry import RetryPolicy
from personalrm.llm.types import ModelSpec, Request, Response, Usage

SHARE, BAR = 0.4, 2.5
"""Share of the calls that get 429, and how many times the calm search the storm may take."""
SPEC = ModelSpec("m", "openai", "m", context_length=131_072, max_concurrency=32)


@dataclass
class Stormy:
    """A provider whose calls take `latency` seconds; `share` of them, whatever the load, get 429 after `refusal`."""

    latency: float
    refusal: float
    share: float
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    calls: int = 0

    async def call(self, request: Request) -> Response:
        """An answer by the content of the request, or RateLimited."""
        self.calls += 1
        if self.rng.random() < self.share:
            await asyncio.sleep(self.refusal)
            raise RateLimited("429")
        await asyncio.sleep(self.latency)
        body = {"messages": [{"role": m.role, "content": m.content} for m in request.messages]}
        return Response(answer(body), "stop", Usage(1, 1))

    async def aclose(self) -> None:
        """Nothing to release."""


def fit(rows: Items, backend: Stormy, at_once: int) -> tuple[float, tuple[Any, ...]]:
    """Seconds of the search of one user, and what it learned. `at_once` candidates are tried side by side."""
    loop = VirtualTime()
    with tempfile.TemporaryDirectory() as folder, ResponseStore(Path(folder, "s.sqlite")) as store:
        policy = RetryPolicy(SPEC.max_attempts, SPEC.deadline_s, clock=loop.time, rng=random.Random(2))
        flow = AdaptiveConcurrency(SPEC.name, SPEC.max_concurrency)
        client = ModelClient(SPEC, backend, store, retry=policy, concurrency=flow)
        search = {"parallel_candidates": at_once}
        learner = SynthesizeMe(user_id="u", lm=client, seed=SEED, learn_options={"search": search})
        loop.run_until_complete(learner.afit(rows))
        loop.close()
    profile = learner.profile
    return loop.time(), (profile.winners, profile.persona, profile.demonstrations)


def ratio(users: Mapping[str, Items], latency: float, refusal: float, at_once: int) -> float:
    """Seconds of the storm over those of the calm search, for all users.

    Raises ValueError if the two learned different profiles.
    """
    seconds = [0.0, 0.0]
    for rows in users.values():
        learned = []
        for number, share in enumerate((0.0, SHARE)):
            time, found = fit(rows, Stormy(latency, refusal, share), at_once)
            seconds[number] += time
            learned.append(found)
        if learned[0] != learned[1]:
            raise ValueError("the storm changed what was learned")
    return seconds[1] / seconds[0]


def main() -> None:
    """Measure and print."""
    logging.getLogger("personalrm").setLevel(logging.ERROR)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=6)
    users = {name: user["fit"] for name, user in make_users(parser.parse_args().users, n_test=0).items()}
    print("| a call | a 429 | candidates at once | storm over calm |\n|---|---|---|---|")
    for latency in (0.05, 0.3, 1.0, 4.0):
        for refusal in (0.02, latency):
            for at_once in (1, 8):
                found = ratio(users, latency, refusal, at_once)
                mark = "" if found <= BAR else f" (bar {BAR})"
                print(f"| {latency:g} s | {refusal:g} s | {at_once} | {found:.2f}{mark} |", flush=True)


if __name__ == "__main__":
    main()
