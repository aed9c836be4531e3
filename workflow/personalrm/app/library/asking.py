"""The model of an object: opened for one call of a method, with its failures remembered and its progress told."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from personalrm.core.errors import ConfigError, ModelCallError
from personalrm.core.records import Outcome
from personalrm.judge.judge import PromptStyle, failure_outcome
from personalrm.judge.label_probe import Probed, forget_refused
from personalrm.llm.cache.key import request_key
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.local.cache import default_cache_dir
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.thinking import without_thinking
from personalrm.llm.types import LanguageModel, ModelSpec, Request, Response
from personalrm.studies.preflight import load_environment


class TrackedModel:
    """A language model that remembers why calls failed: verdicts keep the kind of a failure, not its message.

    A model of one's own (`at_once` given) has no store behind it: its answers are kept here, so that nothing is asked
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
        """Who the model is."""
        return self._model.spec

    async def complete(self, request: Request) -> Response:
        """Complete; an answer without a key, as a model of one's own may give it, gets the key of the request."""
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


@asynccontextmanager
async def opened(
    lm: LanguageModel | None,
    spec: Callable[[], ModelSpec],
    store: Callable[[], ResponseStore],
    at_once: int,
    style: PromptStyle,
    on_answer: Callable[[], None] | None = None,
) -> AsyncIterator[TrackedModel]:
    """The model that was given (`lm`), or that of `spec`, whose connections are closed at the end, and whose labels are
    probed before they are read (`label_probe`; an `lm` has no store that would keep the probe's answer).

    Nothing outlives the block but the answers in the store: an object may be used from loop after loop.
    """
    load_environment()
    if lm is not None:
        yield TrackedModel(lm, on_answer, at_once)
        return
    model, answers = spec(), store()
    answers.claim(model)
    forget_refused(answers, model, style)
    async with open_model(model, store=answers, runtime=library_runtime(), eager=True) as client:
        yield TrackedModel(Probed(client, style), on_answer)


def library_runtime() -> RuntimeSettings:
    """Cores and folder of embedded models' servers, which end with this process: beside the model cache, unless the
    workflow's variables say otherwise."""
    folder = os.environ.get("PERSONALRM_RUNTIME")
    return RuntimeSettings(
        runtime_dir=Path(folder) if folder else default_cache_dir() / "servers",
        cores=int(os.environ.get("PERSONALRM_CORES", os.cpu_count() or 1)),
    )


def check_lm(lm: object) -> None:
    """Raise ConfigError for an `lm` that is no `LanguageModel`, such as a `dspy.LM`."""
    if lm is not None and not (hasattr(lm, "spec") and asyncio.iscoroutinefunction(getattr(lm, "complete", None))):
        raise ConfigError(
            f"lm: {type(lm).__name__} is no personalrm.llm.types.LanguageModel ('spec', 'async complete(request)'); "
            "give model_id and model_url instead"
        )
