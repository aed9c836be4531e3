"""Language models that record the responses they return, as references for the results."""

from __future__ import annotations

from typing import NamedTuple

from personalrm.core.errors import ModelCallError
from personalrm.core.persona_pairs import PersonaOutcome
from personalrm.core.records import CallRef
from personalrm.judge.judge import failure_outcome, is_refused
from personalrm.llm.types import LanguageModel, ModelSpec, Request, Response


class Answered(NamedTuple):
    """The result of one call for a text: the text, which is empty where the outcome is not `ok`, and whether the limit
    of tokens cut it."""

    text: str
    outcome: PersonaOutcome
    cut: bool = False


async def answer_of(model: LanguageModel, request: Request) -> Answered:
    """The text of an answer, without outer blanks. Raises permanent errors, which concern the whole job."""
    try:
        response = await model.complete(request)
    except ModelCallError as error:
        return Answered("", failure_outcome(error))
    if is_refused(response):
        return Answered("", "refused")
    text = response.text.strip()
    return Answered(text, "ok" if text else "empty", response.cut)


class CallRecorder:
    """A language model that records every response: `texts` by key, `calls` as references for the results.

    `asked` counts calls, `failed` those that the provider failed.
    """

    def __init__(self, model: LanguageModel, stage: str) -> None:
        self.asked = 0
        self.failed = 0
        self.texts: dict[str, str] = {}
        self._model = model
        self._stage = stage
        self._calls: dict[str, CallRef] = {}

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._model.spec

    async def complete(self, request: Request) -> Response:
        """Complete, and record the response."""
        self.asked += 1
        try:
            response = await self._model.complete(request)
        except ModelCallError as error:
            self.failed += failure_outcome(error) == "provider_error"  # raises a permanent error again
            raise
        self.texts[response.key] = response.text
        self._calls[response.key] = CallRef(
            key=response.key,
            stage=self._stage,
            tokens_in=response.usage.tokens_in,
            tokens_out=response.usage.tokens_out,
            cost_usd=response.cost_usd,
            estimated=response.usage.estimated,
        )
        return response

    def lost(self) -> list[bool]:
        """A flag for each call, true for those that the provider failed (not in the order of the calls)."""
        return [number < self.failed for number in range(self.asked)]

    @property
    def calls(self) -> tuple[CallRef, ...]:
        """Distinct responses so far, in the order of their keys."""
        return tuple(self._calls[key] for key in sorted(self._calls))


class Listener(CallRecorder):
    """A recorder for steps that do without an answer."""

    async def ask(self, request: Request) -> Response | None:
        """The response; None where the call failed or the model refused. Permanent errors are raised."""
        try:
            response = await self.complete(request)
        except ModelCallError as error:
            failure_outcome(error)  # raises a permanent error again
            return None
        return None if is_refused(response) else response
