"""The judge: which of two responses does this user prefer? (Paper, section on LLM-as-a-judge.)

Every pair is judged in both orders. `text` reads the verdict from the model's words; `logprob` compares the
log-probabilities of the two labels in each order; `logprob_both` averages the log-odds of both orders into one verdict
per pair. The outcome is a type, never a number: a failure cannot look like a wrong answer.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from personalrm.core.concurrency import concurrently
from personalrm.core.conditions import VerdictMode
from personalrm.core.errors import ContextOverflow, ModelCallError, PermanentError, Refused
from personalrm.core.files import stable_hash
from personalrm.core.records import Demonstration, Label, Outcome, PreferencePair, Verdict
from personalrm.judge.constitution import Constitution
from personalrm.judge.parsing import Stated, parse_verdict, read_labels
from personalrm.judge.prompting import Prompt, load_prompt
from personalrm.llm import tokens
from personalrm.llm.types import LanguageModel, Message, ModelSpec, Request, Response

logger = logging.getLogger("personalrm.judge.judge")
PromptStyle = Literal["standard", "compact"]
LABELS: dict[PromptStyle, tuple[str, str]] = {"standard": ("First", "Second"), "compact": ("A", "B")}
FEW_ALTERNATIVES = 5
TOP_LOGPROBS = 20
"""As many alternatives as hosted providers give at most."""
_VERDICT_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a, answer, answers, b, be, best, better, both, choice, choose, chooses, chosen, completion, final, first, i, "
        "is, label, my, neither, of, one, option, prefer, preference, preferred, prefers, response, responses, second, "
        "select, the, their, they, think, thinking, this, tie, two, user, verdict, would",
    )
)
"""What an answer without a reasoning is made of, in whatever form it states its verdict."""


@dataclass(frozen=True)
class JudgeContext:
    """What the prompt says of the user; `demonstrations` in this order, of which the first may be left out until the
    prompt fits the model's window if they are `droppable`."""

    persona: str | None = None
    demonstrations: Sequence[Demonstration] = field(default=())
    droppable: bool = False

    @property
    def known(self) -> bool:
        """Whether anything about the user is shown. Only then does the prompt say to set general taste aside."""
        return bool(self.persona or self.demonstrations)


@dataclass(frozen=True)
class JudgeSettings:
    """How a model judges: prompt style, how verdicts are read, the length of its reasoning in tokens, and the rules
    above what is shown of the user, if any."""

    style: PromptStyle = "standard"
    mode: VerdictMode = "text"
    max_tokens: int = 512
    constitution: Constitution | None = None

    @property
    def prompt(self) -> Prompt:
        """The prompt file of the style."""
        return load_prompt(f"judge_{self.style}")

    @property
    def labels(self) -> tuple[str, str]:
        """Names of the two positions in the prompt."""
        return LABELS[self.style]

    def as_data(self, demonstration: Demonstration) -> bool:
        """Whether a demonstration stands in the instruction, as a labelled pair, and not as a chat turn.

        A turn shows the form of an answer. Before a judgement with a reasoning, a turn without one would teach the
        model to leave it out; where the label follows at once, the bare label is the right form.
        """
        return self.style == "standard" and self.mode == "text" and not demonstration.reasoning


MessagesOf = Callable[[PreferencePair, bool, JudgeContext, JudgeSettings], tuple[Message, ...]]
"""Messages of a call about a pair in one order (`swapped`)."""
JudgePairs = Callable[
    [LanguageModel, Sequence[PreferencePair], JudgeContext, JudgeSettings], Coroutine[Any, Any, tuple[Verdict, ...]]
]
"""Verdicts on several pairs, in the order of the pairs."""


def presented_swapped(pair: PreferencePair, salt: str) -> bool:
    """The coin that decides which response stands first, seeded by content: it survives any re-ordering."""
    return int(stable_hash(salt, pair.user_id, pair.pair_id), 16) % 2 == 1


def learned_swapped(pair: PreferencePair, salt: str) -> bool:
    """Whether the rejected response stands first where a pair is shown in one order to learn from it.

    The source's own coin decides if it has one (`flip`, as in the authors' package), else `presented_swapped`. Steps
    that are not the paper's do not read it: a source whose coins are all alike must not bias the filters.
    """
    return presented_swapped(pair, salt) if pair.flip is None else not pair.flip


def pair_values(pair: PreferencePair, swapped: bool) -> dict[str, object]:
    """What prompts show of a pair in one order."""
    first, second = (pair.rejected, pair.chosen) if swapped else (pair.chosen, pair.rejected)
    return {"context": pair.context, "first": first, "second": second}


def position_of_chosen(swapped: bool) -> Label:
    """Where the chosen response stands."""
    return "second" if swapped else "first"


def under_constitution(system: str, shown: JudgeContext, rules: Constitution | None) -> str:
    """The instruction of a prompt; it ends with the constitution where something about the user is shown."""
    return rules.below(system) if rules is not None and shown.known else system


def build_messages(
    pair: PreferencePair,
    swapped: bool,
    shown: JudgeContext,
    settings: JudgeSettings,
    *,
    prefill: str | None = None,
    reasoned: bool = True,
) -> tuple[Message, ...]:
    """Messages of one judgement: instruction with persona, labelled pairs and constitution, demonstrations as chat
    turns, then the pair.

    `prefill` becomes the start of the model's own answer. Without `reasoned` the verdict is asked for alone, as where
    `prefill` leaves no room for a reasoning. All before the last user message is the same for all pairs.
    """
    prompt = settings.prompt
    data = [_choice(one, settings) for one in shown.demonstrations if settings.as_data(one)]
    system = prompt.render("system", persona=shown.persona, known=shown.known, labelled=data, reasoned=reasoned)
    messages = [Message("system", under_constitution(system, shown, settings.constitution))]
    for demonstration in shown.demonstrations:
        if not settings.as_data(demonstration):
            values = _choice(demonstration, settings)
            messages.append(Message("user", prompt.render("user", **values)))
            messages.append(Message("assistant", prompt.render("demonstration", **values)))
    messages.append(Message("user", prompt.render("user", **pair_values(pair, swapped))))
    if prefill is not None:
        messages.append(Message("assistant", prefill))
    return tuple(messages)


def _choice(demonstration: Demonstration, settings: JudgeSettings) -> dict[str, object]:
    """What the judge is shown of a demonstration: a pair, the label of the chosen response, and the reasoning."""
    label = settings.labels[1 if demonstration.swapped else 0]
    values = pair_values(demonstration.pair, demonstration.swapped)
    return {**values, "label": label, "reasoning": demonstration.reasoning}


def judge_messages(
    pair: PreferencePair, swapped: bool, shown: JudgeContext, settings: JudgeSettings
) -> tuple[Message, ...]:
    """`build_messages`, with the answer begun where the label is read from log-probabilities."""
    if settings.mode == "text":
        return build_messages(pair, swapped, shown, settings)
    prefill = settings.prompt.render("assistant", reasoning=None)
    return build_messages(pair, swapped, shown, settings, prefill=prefill, reasoned=False)


def fitted(
    shown: JudgeContext,
    pairs: Sequence[PreferencePair],
    settings: JudgeSettings,
    spec: ModelSpec,
    messages: MessagesOf = judge_messages,
) -> JudgeContext:
    """`shown` with as many of its last demonstrations as fit the model's window together with the longest of `pairs`.

    `messages` are those of the first call about a pair. Lengths are those of `llm.tokens`; the answer's `max_tokens`
    is kept free. One set serves all pairs of a user, so that their prompts share a prefix.
    """
    if not shown.droppable or not pairs:
        return shown
    room = spec.context_length - settings.max_tokens
    # Demonstrations add the same to every prompt, so that the longest stays the longest.
    longest = max(pairs, key=lambda pair: tokens.prompt_bytes(messages(pair, False, JudgeContext(), settings)))
    for dropped in range(len(shown.demonstrations)):
        fewer = replace(shown, demonstrations=tuple(shown.demonstrations[dropped:]))
        if tokens.fits(messages(longest, False, fewer, settings), room, spec):
            return fewer
    return replace(shown, demonstrations=())


def failure_outcome(error: ModelCallError) -> Outcome:
    """Outcome of a failed call; permanent errors concern the whole job and are raised again."""
    if isinstance(error, PermanentError):
        raise error
    if isinstance(error, ContextOverflow):
        return "context_overflow"
    return "refused" if isinstance(error, Refused) else "provider_error"


def label_request(messages: tuple[Message, ...]) -> Request:
    """Request that reads the label's log-probabilities at the next token."""
    return Request(messages=messages, max_tokens=1, top_logprobs=TOP_LOGPROBS)


def verdict_request(messages: tuple[Message, ...], settings: JudgeSettings) -> Request:
    """The request for one verdict; for a label, `messages` end with the start of the answer."""
    return Request(messages, max_tokens=settings.max_tokens) if settings.mode == "text" else label_request(messages)


def judge_request(pair: PreferencePair, swapped: bool, shown: JudgeContext, settings: JudgeSettings) -> Request:
    """The request for one verdict on a pair in one order."""
    return verdict_request(judge_messages(pair, swapped, shown, settings), settings)


async def judge_once(
    model: LanguageModel, pair: PreferencePair, swapped: bool, shown: JudgeContext, settings: JudgeSettings
) -> Verdict:
    """Verdict on one pair in one order."""
    return await ask_verdict(model, pair.pair_id, swapped, judge_messages(pair, swapped, shown, settings), settings)


async def ask_verdict(
    model: LanguageModel, pair_id: str, swapped: bool, messages: tuple[Message, ...], settings: JudgeSettings
) -> Verdict:
    """Verdict on any two things that stand first and second; `swapped` says that the right one stands second."""
    base = Verdict(pair_id=pair_id, swapped=swapped, outcome="provider_error")
    try:
        response = await model.complete(verdict_request(messages, settings))
    except ModelCallError as error:
        return base.model_copy(update={"outcome": failure_outcome(error)})
    if settings.mode == "text":
        verdict = text_verdict(base, response, parse_verdict(response.text, cut=is_cut(response)))
        stated = verdict.outcome in ("correct", "wrong", "tie")
        return verdict.model_copy(update={"reasoned": is_reasoned(response)}) if stated else verdict
    return label_verdict(base, response, settings)


def is_cut(response: Response) -> bool:
    """The answer ends where its limit of tokens was reached."""
    return response.cut


def is_refused(response: Response) -> bool:
    """The model, or its provider's filter, would not answer."""
    return bool(response.refusal) or response.finish_reason == "content_filter"


def is_reasoned(response: Response) -> bool:
    """Whether an answer that states a verdict holds anything else: a reasoning, or the provider's separate thinking."""
    words = re.findall(r"[^\W_]+", f"{response.reasoning} {response.text}".lower())
    return not _VERDICT_WORDS.issuperset(words)


def text_verdict(base: Verdict, response: Response, stated: Stated) -> Verdict:
    """Verdict of the order `base.swapped` from what a response states; the response joins the calls of `base`."""
    calls = tuple(sorted({*base.calls, response.key}))
    base = base.model_copy(update={"calls": calls, "cut": base.cut or is_cut(response)})
    if is_refused(response) or stated in ("tie", "unparsed"):
        return base.model_copy(update={"outcome": "refused" if is_refused(response) else stated})
    outcome = "correct" if stated == position_of_chosen(bool(base.swapped)) else "wrong"
    return base.model_copy(update={"outcome": outcome, "said": stated})


def label_verdict(base: Verdict, response: Response, settings: JudgeSettings) -> Verdict:
    """Verdict of the order `base.swapped` from the label's log-probabilities."""
    base = base.model_copy(update={"calls": (response.key,)})
    odds = read_labels(response, settings.labels)
    if odds is None:
        warn_of_alternatives(response)
        return base.model_copy(update={"outcome": "unparsed"})
    lead = odds[0] - odds[1]
    toward_chosen = -lead if base.swapped else lead
    said: Label | None = None if lead == 0 else "first" if lead > 0 else "second"
    return base.model_copy(update={"outcome": sign_outcome(toward_chosen), "said": said, "log_odds": toward_chosen})


def warn_of_alternatives(response: Response) -> None:
    """Log once in a process that answers list too few alternatives to read a label from."""
    listed = len(response.logprobs[0].top) if response.logprobs else 0
    if listed < FEW_ALTERNATIVES:
        _warn_once(listed)


@functools.cache
def _warn_once(listed: int) -> None:
    logger.warning(
        "a label cannot be read: the answer lists %d alternatives where top_logprobs asked for %d, and it is not sure "
        "which label is the likelier; such verdicts are unparsed. Have the server list more (vLLM: --max-logprobs)",
        listed,
        TOP_LOGPROBS,
    )


def sign_outcome(log_odds: float) -> Outcome:
    """Outcome of log-odds of the chosen answer over the rejected one; 0 is a tie."""
    if log_odds == 0:
        return "tie"
    return "correct" if log_odds > 0 else "wrong"


async def judge_pair(
    model: LanguageModel, pair: PreferencePair, shown: JudgeContext, settings: JudgeSettings
) -> tuple[Verdict, ...]:
    """Verdicts on one pair: one per order, or one in all for `logprob_both`."""
    straight, swapped = await concurrently(
        judge_once(model, pair, False, shown, settings), judge_once(model, pair, True, shown, settings)
    )
    verdicts = both_orders(straight, swapped, settings)
    return tuple(map(on_tie, verdicts)) if pair.tie else verdicts


def on_tie(verdict: Verdict) -> Verdict:
    """A verdict on a pair that the user called a tie: correct if the judge did too, wrong if it named an answer.

    Log-probabilities are hardly ever equal, so that their modes are wrong on ties. `log_odds` are then those of the
    source's first answer over its second.
    """
    known: dict[Outcome, Outcome] = {"tie": "correct", "correct": "wrong"}
    return verdict.model_copy(update={"outcome": known.get(verdict.outcome, verdict.outcome)})


def both_orders(straight: Verdict, swapped: Verdict, settings: JudgeSettings) -> tuple[Verdict, ...]:
    """The verdicts that count: one per order, or one by the mean log-odds of both for `logprob_both`.

    An order without log-odds passes its outcome on; if the provider failed one of them, the verdict is lost.
    """
    orders = (straight, swapped)
    if settings.mode != "logprob_both":
        return orders
    calls = tuple(sorted({*straight.calls, *swapped.calls}))
    base = Verdict(pair_id=straight.pair_id, swapped=None, outcome="provider_error", calls=calls)
    odds = [verdict.log_odds for verdict in orders if verdict.log_odds is not None]
    if len(odds) < len(orders):
        unread = [verdict.outcome for verdict in orders if verdict.log_odds is None]
        return (base if "provider_error" in unread else base.model_copy(update={"outcome": unread[0]}),)
    mean, flipped = sum(odds) / len(odds), min(odds) < 0 < max(odds)
    return (base.model_copy(update={"outcome": sign_outcome(mean), "log_odds": mean, "flipped": flipped}),)


async def judge_pairs(
    model: LanguageModel, pairs: Sequence[PreferencePair], shown: JudgeContext, settings: JudgeSettings
) -> tuple[Verdict, ...]:
    """Verdicts on several pairs, in the order of the pairs."""
    judged = await concurrently(*(judge_pair(model, pair, shown, settings) for pair in pairs))
    return tuple(verdict for verdicts in judged for verdict in verdicts)


@dataclass(frozen=True)
class Judge:
    """A way of judging: `messages` of the first call about a pair, which have to fit the window, and `pairs`, which
    makes the calls, at most `calls` for each pair. With `text_only` it does not apply where verdicts are read from
    log-probabilities."""

    messages: MessagesOf
    pairs: JudgePairs
    text_only: bool = False
    calls: int = 2


DIRECT = Judge(judge_messages, judge_pairs)
"""The judge of the paper: it names the preferred response at once."""
