"""A scripted backend and a clock of its own, for tests of the port."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from personalrm.llm.limits.retry import RetryPolicy
from personalrm.llm.types import Message, ModelSpec, Request, Response, Usage

SPEC = ModelSpec("tester", "openai", "m", snapshot="1", max_attempts=3, deadline_s=100.0, price_in=2.0, price_out=4.0)


@dataclass
class ScriptedBackend:
    """Raises the scripted errors in turn (None: answers), then answers for ever."""

    script: list[Exception | None] = field(default_factory=list)
    delay: float = 0.0
    usage: Usage = field(default=Usage(1000, 500, 100))
    calls: int = 0
    now: int = 0
    most: int = 0
    closed: int = 0

    async def call(self, request: Request) -> Response:
        self.calls += 1
        number = self.calls
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.delay)
        finally:
            self.now -= 1
        error = self.script[number - 1] if number <= len(self.script) else None
        if error is not None:
            raise error
        return Response(f"answer {number}", "stop", self.usage)

    async def aclose(self) -> None:
        self.closed += 1


class FakeTime:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 50.0
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def policy(self, spec: ModelSpec = SPEC) -> RetryPolicy:
        return RetryPolicy(spec.max_attempts, spec.deadline_s, self.sleep, lambda: self.now, random.Random(7))


def request(text: str = "hello", max_tokens: int = 50) -> Request:
    return Request((Message("user", text),), max_tokens)
