"""One probe per model: are the log-probabilities at the label's place those of the labels?

A label is read from the first token after the start of an answer (`The user prefers Response`). A server that opens a
new turn there (vLLM, unless it is told to continue the last message) gives probabilities of the first word of another
answer: `A` is then an article, and verdicts are noise. So before labels are read, one trivial pair is judged with the
judge's own prompt and start; at least half of the probability has to lie on the two labels, whichever wins. Our choice;
the probe finds 99.8 and 77 % (SmolLM2-135M) and 99.9 and 98 % (Qwen2.5-Coder-0.5B) with `compact` and `standard`
prompts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from personalrm.core.errors import FieldRefused, ModelCallError, PermanentError
from personalrm.core.records import PreferencePair, Turn
from personalrm.judge.judge import FEW_ALTERNATIVES, LABELS, JudgeContext, JudgeSettings, PromptStyle, judge_request
from personalrm.judge.parsing import label_mass
from personalrm.llm.cache.key import request_key
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.limits.refused_fields import CONTINUE
from personalrm.llm.types import LanguageModel, ModelSpec, Request, Response

LEAST_MASS = 0.5
"""Share of the probability that has to lie on the two labels."""
_SHOWN = JudgeContext(persona="This user likes correct answers.")
_PAIR = PreferencePair(
    user_id="probe",
    pair_id="probe",
    context=(Turn(role="user", content="What is the capital of France?"),),
    chosen="Paris.",
    rejected="Bananas are yellow.",
)


class UnreadableLabels(PermanentError):
    """The server's log-probabilities are not those of the labels; the message names the key to set."""


def probe_request(style: PromptStyle) -> Request:
    """The judge's own request for a label, about a trivial pair."""
    return judge_request(_PAIR, False, _SHOWN, JudgeSettings(style, "logprob"))


async def probe_labels(model: LanguageModel, style: PromptStyle) -> None:
    """Raise UnreadableLabels unless labels can be read from the model's log-probabilities (one call)."""
    request = probe_request(style)
    try:
        response = await model.complete(request)
    except FieldRefused as error:
        raise UnreadableLabels(str(error)) from None
    if label_mass(response, LABELS[style]) < LEAST_MASS:
        raise UnreadableLabels(_message(model.spec, request, response, LABELS[style]))


def forget_refused(store: ResponseStore, spec: ModelSpec, style: PromptStyle) -> None:
    """Drop a stored probe that was refused, before a run: its server may have been set right since."""
    key = request_key(spec.identity, probe_request(style))
    stored = store.get(key)
    if stored is not None and label_mass(stored, LABELS[style]) < LEAST_MASS:
        store.forget(key)


def _message(spec: ModelSpec, request: Request, response: Response, labels: Sequence[str]) -> str:
    """What is wrong, and which key to set, in one line."""
    key, words = f"models.{spec.name}", f"models.{spec.name}.verdicts: [text], which reads words (prompts: standard)"
    if not response.logprobs:
        return f"{key}.verdicts: the server sends no log-probabilities (top_logprobs); set {words}"
    top = response.logprobs[0].top
    likeliest = ", ".join(repr(token) for token, _ in top[:3])
    message = (
        f"{key}.verdicts: labels cannot be read from log-probabilities: after the given start of the answer, "
        f"{request.messages[-1].content!r}, {label_mass(response, labels):.0%} of the probability lies on "
        f"{labels[0]!r} and {labels[1]!r} (likeliest: {likeliest}). The server seems to open a new turn in place of "
        f"continuing the message; set {key}.extra_body: {CONTINUE} (vLLM, SGLang), or {words}"
    )
    if len(top) < FEW_ALTERNATIVES:
        message += f". It lists {len(top)} of {request.top_logprobs} alternatives (top_logprobs), which may be too few"
    return message


class Probed:
    """A language model that answers requests for log-probabilities once it has passed `probe_labels`.

    `prober` answers the probe in place of `model`, where `model` sends batches. Both share a store, so that the probe
    is paid for once in all jobs.
    """

    def __init__(self, model: LanguageModel, style: PromptStyle, prober: LanguageModel | None = None) -> None:
        self._model = model
        self._prober = prober or model
        self._style: PromptStyle = style
        self._lock = asyncio.Lock()
        self._passed = False
        self._probes = 0
        self._failure: ModelCallError | None = None

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._model.spec

    async def complete(self, request: Request) -> Response:
        """Complete; the first request for log-probabilities waits for the probe. Raises UnreadableLabels."""
        if request.top_logprobs and not self._passed:
            await self._pass(self._probes)
        return await self._model.complete(request)

    async def _pass(self, probes_before: int) -> None:
        """Probe, unless another request did. Requests that waited for a probe that failed share its error, so that an
        absent server delays them once. Unreadable labels are final, other errors are not."""
        async with self._lock:
            if self._passed:
                return
            if self._failure and (isinstance(self._failure, UnreadableLabels) or self._probes > probes_before):
                raise self._failure
            try:
                await probe_labels(self._prober, self._style)
                self._passed = True
            except ModelCallError as error:
                self._failure = error
                raise
            finally:
                self._probes += 1
