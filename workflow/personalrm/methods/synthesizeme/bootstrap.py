"""Stage 1: bootstrap reasoning (paper, section 3).

A judge without information on the user (in stage 3, with the persona) guesses each context pair after reasoning. An
attempt is a verified trace when it names the user's own choice.

Repair `resampling` (our choice): after a wrong first guess, which the package discards, the pair is sampled again at a
temperature above 0, so that more pairs give a verified trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from personalrm.core.concurrency import concurrently
from personalrm.core.errors import ModelCallError
from personalrm.core.records import PreferencePair, Trace, Verdict
from personalrm.judge.judge import (
    JudgeContext,
    JudgeSettings,
    build_messages,
    failure_outcome,
    is_cut,
    is_refused,
    label_request,
    label_verdict,
    learned_swapped,
    position_of_chosen,
)
from personalrm.judge.parsing import parse_verdict, whole_sentences, without_verdict
from personalrm.llm.types import LanguageModel, Message, Request


@dataclass(frozen=True)
class BootstrapSettings:
    """`attempts` at each pair, the first greedy, the others at `temperature`; reasoning of `max_tokens` tokens."""

    judge: JudgeSettings
    attempts: int
    temperature: float
    max_tokens: int
    salt: str = "0"


async def bootstrap_pair(
    model: LanguageModel,
    pair: PreferencePair,
    shown: JudgeContext,
    settings: BootstrapSettings,
    *,
    side_by_side: bool = False,
) -> tuple[Trace, ...]:
    """Attempts at one pair, in order; the last is verified (`correct`) or the attempts are used up.

    With `side_by_side` all attempts after the first are concurrent: faster, the same traces, and calls for
    attempts that turn out to be unnecessary.
    """
    traces: list[Trace] = []
    while len(traces) < settings.attempts:
        last = settings.attempts if side_by_side and traces else len(traces) + 1
        numbers = range(len(traces), last)
        for trace in await concurrently(*(_attempt(model, pair, shown, settings, number) for number in numbers)):
            traces.append(trace)
            # A request that was rejected as it is (no `calls`) would be rejected again; after a refusal that the model
            # wrote, or an answer that a filter stopped, another sample may be answered.
            rejected = trace.outcome in ("context_overflow", "refused") and not trace.calls
            if trace.outcome == "correct" or rejected:
                return tuple(traces)
    return tuple(traces)


async def _attempt(
    model: LanguageModel, pair: PreferencePair, shown: JudgeContext, settings: BootstrapSettings, attempt: int
) -> Trace:
    swapped = learned_swapped(pair, settings.salt)
    trace = Trace(pair_id=pair.pair_id, swapped=swapped, reasoning="", outcome="provider_error", attempt=attempt)
    try:
        if settings.judge.mode == "text":
            return await _attempt_text(model, pair, shown, settings, trace)
        return await _attempt_label(model, pair, shown, settings, trace)
    except ModelCallError as error:
        return trace.model_copy(update={"outcome": failure_outcome(error)})


def sampled(temperature: float, attempt: int) -> dict[str, float | int]:
    """How a request is sampled: the first attempt greedily, the others at the temperature."""
    if attempt == 0:
        return {"temperature": 0.0}
    # The seed makes an embedded model's samples differ from attempt to attempt, and repeat from run to run.
    return {"temperature": temperature, "seed": attempt, "sample_index": attempt}


async def _attempt_text(
    model: LanguageModel, pair: PreferencePair, shown: JudgeContext, settings: BootstrapSettings, trace: Trace
) -> Trace:
    messages = build_messages(pair, trace.swapped, shown, settings.judge)
    request = Request(messages, settings.max_tokens, **sampled(settings.temperature, trace.attempt))  # type: ignore[arg-type]
    response = await model.complete(request)
    if is_refused(response):
        outcome, reasoning = "refused", ""
    elif (stated := parse_verdict(response.text, cut=is_cut(response))) in ("tie", "unparsed"):
        outcome, reasoning = stated, response.text.strip()
    else:
        outcome = "correct" if stated == position_of_chosen(trace.swapped) else "wrong"
        reasoning = without_verdict(response.text)
    return trace.model_copy(update={"reasoning": reasoning, "outcome": outcome, "calls": (response.key,)})


async def _attempt_label(
    model: LanguageModel, pair: PreferencePair, shown: JudgeContext, settings: BootstrapSettings, trace: Trace
) -> Trace:
    """Write the reasoning first, then read the label after it; a reasoning after a label would only justify it."""
    judge = settings.judge
    start = judge.prompt.render("reasoning_start")
    messages = build_messages(pair, trace.swapped, shown, judge, prefill=start)
    how = sampled(settings.temperature, trace.attempt)
    written = await model.complete(Request(messages, settings.max_tokens, stop=("\n",), **how))  # type: ignore[arg-type]
    if is_refused(written):
        return trace.model_copy(update={"outcome": "refused", "calls": (written.key,)})
    reasoning = whole_sentences(f"{start} {written.text.strip()}")
    prefill = judge.prompt.render("assistant", reasoning=reasoning)
    labelled = await model.complete(label_request((*messages[:-1], Message("assistant", prefill))))
    base = Verdict(pair_id=pair.pair_id, swapped=trace.swapped, outcome="unparsed")
    verdict = label_verdict(base, labelled, judge)
    found = {"reasoning": reasoning, "outcome": verdict.outcome, "log_odds": verdict.log_odds}
    return trace.model_copy(update={**found, "calls": tuple(sorted((written.key, labelled.key)))})


async def bootstrap_pairs(
    model: LanguageModel,
    pairs: Sequence[PreferencePair],
    shown: JudgeContext,
    settings: BootstrapSettings,
    *,
    side_by_side: bool = False,
) -> tuple[Trace, ...]:
    """All attempts at several pairs, in the order of the pairs. `side_by_side` as in `bootstrap_pair`."""
    attempts = await concurrently(
        *(bootstrap_pair(model, pair, shown, settings, side_by_side=side_by_side) for pair in pairs)
    )
    return tuple(trace for traces in attempts for trace in traces)


def verified(traces: Sequence[Trace]) -> dict[str, Trace]:
    """The verified trace of each pair that has one, by pair id."""
    return {trace.pair_id: trace for trace in traces if trace.outcome == "correct"}
