"""Language models for tests, in process: they answer by the content of the prompt, and note what they were asked."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from personalrm.core.errors import ModelCallError
from personalrm.core.records import PreferencePair, Turn
from personalrm.llm.cache.key import request_key
from personalrm.llm.types import ModelSpec, Request, Response, TokenLogprobs, Usage

SPEC = ModelSpec(name="scripted", backend="openai", model="scripted")


def spec_of(window: int) -> ModelSpec:
    """The scripted model with another window."""
    return replace(SPEC, context_length=window)


Answer = Callable[[Request], Response | ModelCallError]


class ScriptedModel:
    """A `LanguageModel` whose answers are a function of the request; equal requests are counted once."""

    def __init__(self, answer: Answer, *, context_length: int = 8192) -> None:
        self._answer = answer
        self._spec = spec_of(context_length)
        self.requests: dict[str, Request] = {}

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    async def complete(self, request: Request) -> Response:
        key = request_key(self._spec.identity, request)
        self.requests[key] = request
        answer = self._answer(request)
        if isinstance(answer, ModelCallError):
            raise answer
        return replace(answer, key=key)


def text(content: str, *, finish_reason: str = "stop") -> Response:
    return Response(content, finish_reason, Usage(10, 2))


def label(p_first: float, labels: tuple[str, str] = (" A", " B")) -> Response:
    """A response whose first token is a label with probability `p_first` for the first one."""
    odds = ((labels[0], math.log(p_first)), (labels[1], math.log(1 - p_first)))
    return Response("A", "length", Usage(10, 1), logprobs=(TokenLogprobs(odds),))


def letters(**odds: float) -> Response:
    """A label with these probabilities, those of the letters that are not given left out."""
    top = tuple((f" {letter}", math.log(p)) for letter, p in sorted(odds.items(), key=lambda item: -item[1]))
    return Response(top[0][0], "length", Usage(9, 1), logprobs=(TokenLogprobs(top),))


def pair(
    name: str,
    chosen: str = "GOOD",
    rejected: str = "BAD",
    *,
    user: str = "u",
    split: str | None = None,
    order: int = 0,
) -> PreferencePair:
    return PreferencePair(
        user_id=user,
        pair_id=name,
        context=(Turn(role="user", content=f"question {name}"),),
        chosen=f"{chosen} {name}",
        rejected=f"{rejected} {name}",
        order=order,
        split=split,  # type: ignore[arg-type]
    )


def last_user(request: Request) -> str:
    return next(m.content for m in reversed(request.messages) if m.role == "user")


def good_is_first(request: Request) -> bool:
    """Whether the response marked GOOD stands first in the pair to be judged."""
    shown = last_user(request)
    return shown.index("GOOD") < shown.index("BAD")
