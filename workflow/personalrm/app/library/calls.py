"""How objects of the library make their calls: in which event loop, and which errors are remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from anyio.from_thread import start_blocking_portal

from personalrm.app.library.models import in_parameters
from personalrm.core.errors import ModelCallError, Refused
from personalrm.core.records import Outcome
from personalrm.judge.judge import failure_outcome
from personalrm.llm.cache.key import request_key
from personalrm.llm.thinking import without_thinking
from personalrm.llm.types import LanguageModel, ModelSpec, Request, Response

T = TypeVar("T")
FAILED: tuple[Outcome, ...] = ("provider_error", "context_overflow", "refused")
"""Outcomes of calls that failed, so that there is no verdict."""


def run_blocking(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run the coroutine that `make` returns to its end, and return its result or raise its error.

    Where this thread already runs an event loop, as in a notebook, the coroutine runs in a thread of its own. An
    interruption (Ctrl-C, a notebook's stop button) cancels the coroutine and waits for its clean-up.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(make())
    with start_blocking_portal() as portal:
        result: T = portal.call(make)
        return result


class TrackedModel:
    """A language model that remembers the last error of each outcome (`failures`): verdicts keep only its kind.

    `on_answer` is called after each answer. A user's own model (`at_once` given) has no store behind it: its answers
    are kept here, so that no request is sent twice.
    """

    def __init__(self, model: LanguageModel, on_answer: Callable[[], None] | None, at_once: int | None = None) -> None:
        self.failures: dict[Outcome, ModelCallError] = {}
        self._model = model
        self._on_answer = on_answer or (lambda: None)
        self._places = asyncio.Semaphore(at_once) if at_once else None
        self._asked: dict[Request, asyncio.Lock] = {}
        self._answers: dict[Request, Response] = {}

    @property
    def spec(self) -> ModelSpec:
        """Which model it is."""
        return self._model.spec

    @property
    def outage(self) -> str | None:
        """Message of the last provider error."""
        return str(self.failures["provider_error"]) if "provider_error" in self.failures else None

    async def complete(self, request: Request) -> Response:
        """Complete; an answer without a key, as a user's own model may give it, gets the key of the request."""
        try:
            response = await self._complete(request)
        except ModelCallError as error:
            error.args = (in_parameters(str(error), self.spec.name),)
            # Raises a permanent error again.
            self.failures[failure_outcome(error)] = error
            raise
        self._on_answer()
        response = without_thinking(response)
        return response if response.key else replace(response, key=request_key(self.spec.identity, request))

    async def _complete(self, request: Request) -> Response:
        if self._places is None:
            return await self._model.complete(request)
        async with self._asked.setdefault(request, asyncio.Lock()):
            if request not in self._answers:
                async with self._places:
                    self._answers[request] = await self._model.complete(request)
            return self._answers[request]


def refuse_failed(model: TrackedModel, outcome: Outcome) -> None:
    """Raise where a call failed, so that there is no verdict: what the model raised, if it is known."""
    if outcome in FAILED:
        kind = Refused if outcome == "refused" else ModelCallError
        said = f"model {model.spec.name}: no verdict on this pair ({outcome}); another model may give one"
        raise model.failures.get(outcome) or kind(said)
