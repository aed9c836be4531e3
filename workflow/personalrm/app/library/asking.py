"""The model of an object, with its failures remembered and its progress reported."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from personalrm.core.errors import ConfigError, ModelCallError
from personalrm.core.records import Outcome
from personalrm.judge.judge import failure_outcome
from personalrm.llm.cache.key import request_key
from personalrm.llm.thinking import without_thinking
from personalrm.llm.types import LanguageModel, ModelSpec, Request, Response


class TrackedModel:
    """A language model that remembers why calls failed: verdicts keep the kind of a failure, not its message.

    A user's own model (`at_once` given) has no store behind it: its answers are kept here, so that nothing is asked
    twice. `failures` holds the last error of each outcome; `on_answer` is called after each answer.
    """

    def __init__(self, model: LanguageModel, on_answer: Callable[[], None] | None, at_once: int | None = None) -> None:
        self.failures: dict[Outcome, ModelCallError] = {}
        self._model = model
        self._on_answer = on_answer
        self._places = asyncio.Semaphore(at_once) if at_once else None
        self._answers: dict[Request, Response] = {}

    @property
    def spec(self) -> ModelSpec:
        """Which model it is."""
        return self._model.spec

    def reason(self, outcome: Outcome = "provider_error") -> str | None:
        """Message of the last failure of this kind."""
        error = self.failures.get(outcome)
        return str(error) if error else None

    async def complete(self, request: Request) -> Response:
        """Complete; an answer without a key, as a user's own model may give it, gets the key of the request."""
        try:
            response = await self._ask(request)
        except ModelCallError as error:
            # Raises a permanent error again.
            self.failures[failure_outcome(error)] = error
            raise
        if self._on_answer is not None:
            self._on_answer()
        response = without_thinking(response)
        return response if response.key else replace(response, key=request_key(self.spec.identity, request))

    async def _ask(self, request: Request) -> Response:
        if self._places is None:
            return await self._model.complete(request)
        async with self._places:
            if request not in self._answers:
                self._answers[request] = await self._model.complete(request)
            return self._answers[request]


def check_lm(lm: object) -> None:
    """Raise ConfigError for an `lm` that is no `LanguageModel`, such as a `dspy.LM`."""
    if lm is not None and not (hasattr(lm, "spec") and asyncio.iscoroutinefunction(getattr(lm, "complete", None))):
        raise ConfigError(
            f"lm: {type(lm).__name__} is no personalrm.llm.types.LanguageModel ('spec', 'async complete(request)'); "
            "give model_id and model_url instead"
        )
