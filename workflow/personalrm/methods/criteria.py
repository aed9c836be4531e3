"""The criteria judge (opt-in; its verdicts differ from those of `both` by design, and no claim is made for it).

From the user's profile and the query alone, never from the answers, a first call derives a few weighted criteria; one
more call an order scores both answers on each of them, and the weighted sums decide. Our prompts, scale and rules; one
wording serves both prompt styles. Scores are read from words, so it does not apply where verdicts are
log-probabilities.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from personalrm.core.concurrency import concurrently
from personalrm.core.errors import ModelCallError
from personalrm.core.records import PreferencePair, Verdict
from personalrm.judge.judge import (
    Judge,
    JudgeContext,
    JudgeSettings,
    failure_outcome,
    is_cut,
    is_refused,
    on_tie,
    pair_values,
    text_verdict,
    under_constitution,
)
from personalrm.judge.own_words import own_lines, plain
from personalrm.judge.parsing import Stated
from personalrm.judge.prompting import load_prompt
from personalrm.llm.types import LanguageModel, Message, Request
from personalrm.methods.synthesizeme.persona import demonstration_values

PROMPTS = ("criteria", "criteria_scores")
MOST_CRITERIA = 5
_CRITERION = re.compile(
    r"(?:\d{1,2}[.)][\W_]*)?weight[\W_]*(?P<weight>[1-5])(?!\d|[.,]\d)(?:/5)?[\W_]+(?P<text>\w.*)", re.IGNORECASE
)
_NUMBER = r"(?:10|[1-9])(?!\d|[.,]\d)"
_SCORES = re.compile(
    rf"(?:\d{{1,2}}[.)][\W_]*)?criterion[\W_]*(?P<criterion>\d)\b.*?\bfirst[\W_]*(?P<first>{_NUMBER})(?:/10)?[\W_]*"
    rf"second[\W_]*(?P<second>{_NUMBER})(?!\W*(?:or|and|to|-)\W*\d)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Criterion:
    """A property that an answer can have, and its weight from 1 to 5."""

    text: str
    weight: int


@dataclass(frozen=True)
class Scores:
    """Scores of both answers on one criterion, from 1 to 10, by the position in which the answers were shown."""

    first: int
    second: int


def parse_criteria(text: str) -> tuple[Criterion, ...]:
    r"""Criteria of a list of lines like `Weight 3: short`; none where there is no such line. Never raises.

    Of the same criterion the last line counts. Of more than five the weightiest stay, the earlier among equals.

    >>> parse_criteria("Weight 5: plain words\n- **Weight 2:** an example\nThat is all.")
    (Criterion(text='plain words', weight=5), Criterion(text='an example', weight=2))
    >>> parse_criteria("Weight 9: short\n> Weight 5: quoted"), parse_criteria("")
    ((), ())
    """
    found = [match for line in own_lines(text) if (match := _CRITERION.match(line))]
    weights = {match["text"]: int(match["weight"]) for match in found}
    criteria = [Criterion(words, weight) for words, weight in weights.items()]
    kept = sorted(criteria, key=lambda criterion: -criterion.weight)[:MOST_CRITERIA]
    return tuple(criterion for criterion in criteria if criterion in kept)


def parse_scores(text: str, count: int, *, cut: bool = False) -> tuple[Scores, ...] | None:
    r"""Scores on all of `count` criteria, in their order; None where one of them has none. Never raises.

    Of one criterion the last line of the form `Criterion 1: First 7, Second 4` counts. A text that was `cut` at the
    token limit has scores only if it ends with them.

    >>> parse_scores("Criterion 1: First 7, Second 4\nCriterion 2 (brevity): First: 3/10; Second: 10/10", 2)
    (Scores(first=7, second=4), Scores(first=3, second=10))
    >>> parse_scores("Criterion 1: First 7, Second 4", 2), parse_scores("Criterion 1: First 7, Second 11", 1)
    (None, None)
    """
    lines = [plain(line) for line in own_lines(text, cut=cut)]
    if cut and not (lines and _SCORES.match(lines[-1])):
        return None
    found = [match for line in lines if (match := _SCORES.match(line))]
    scores = {int(match["criterion"]): Scores(int(match["first"]), int(match["second"])) for match in found}
    wanted = [scores.get(number) for number in range(1, count + 1)]
    return tuple(score for score in wanted if score is not None) if wanted and None not in wanted else None


def compare(criteria: Sequence[Criterion], scores: Sequence[Scores] | None) -> Stated:
    """The position of the larger weighted sum of scores; a tie where they are equal."""
    if scores is None:
        return "unparsed"
    lead = sum(
        criterion.weight * (score.first - score.second) for criterion, score in zip(criteria, scores, strict=True)
    )
    return "tie" if lead == 0 else "first" if lead > 0 else "second"


def criteria_messages(
    pair: PreferencePair, swapped: bool, shown: JudgeContext, settings: JudgeSettings
) -> tuple[Message, ...]:
    """Messages of the call that derives the criteria: profile and query, no answer, so nothing of `swapped`."""
    del swapped
    demonstrations = [demonstration_values(one, "standard") for one in shown.demonstrations]
    values = {"persona": shown.persona, "demonstrations": demonstrations, "context": pair.context}
    return _messages("criteria", shown, settings, **values)


def _messages(name: str, shown: JudgeContext, settings: JudgeSettings, **values: object) -> tuple[Message, ...]:
    prompt = load_prompt(name)
    system = under_constitution(prompt.render("system", **values), shown, settings.constitution)
    return Message("system", system), Message("user", prompt.render("user", **values))


def criteria_request(pair: PreferencePair, shown: JudgeContext, settings: JudgeSettings) -> Request:
    """The first call about a pair, which derives the criteria."""
    return Request(criteria_messages(pair, False, shown, settings), max_tokens=settings.max_tokens)


def scores_request(
    pair: PreferencePair, swapped: bool, criteria: Sequence[Criterion], shown: JudgeContext, settings: JudgeSettings
) -> Request:
    """The call that scores both answers in one order, on criteria that were derived from what is `shown`."""
    messages = _messages("criteria_scores", shown, settings, criteria=criteria, **pair_values(pair, swapped))
    return Request(messages, max_tokens=settings.max_tokens)


async def judge_by_criteria(
    model: LanguageModel, pairs: Sequence[PreferencePair], shown: JudgeContext, settings: JudgeSettings
) -> tuple[Verdict, ...]:
    """Verdicts on several pairs, two each (one an order), in the order of the pairs."""
    judged = await concurrently(*(_judge_pair(model, pair, shown, settings) for pair in pairs))
    return tuple(
        on_tie(verdict) if pair.tie else verdict
        for pair, verdicts in zip(pairs, judged, strict=True)
        for verdict in verdicts
    )


async def _judge_pair(
    model: LanguageModel, pair: PreferencePair, shown: JudgeContext, settings: JudgeSettings
) -> tuple[Verdict, ...]:
    """Criteria once, then scores in both orders. What keeps the criteria from being had is the outcome of both."""
    blank = [Verdict(pair_id=pair.pair_id, swapped=swapped, outcome="unparsed") for swapped in (False, True)]
    try:
        response = await model.complete(criteria_request(pair, shown, settings))
    except ModelCallError as error:
        return tuple(verdict.model_copy(update={"outcome": failure_outcome(error)}) for verdict in blank)
    outcome = "refused" if is_refused(response) else "unparsed"
    known = {"outcome": outcome, "calls": (response.key,), "cut": is_cut(response)}
    begun = [verdict.model_copy(update=known) for verdict in blank]
    criteria = parse_criteria(response.text)
    if outcome == "refused" or not criteria:
        return tuple(begun)
    return tuple(await concurrently(*(_score(model, pair, criteria, verdict, shown, settings) for verdict in begun)))


async def _score(
    model: LanguageModel,
    pair: PreferencePair,
    criteria: Sequence[Criterion],
    base: Verdict,
    shown: JudgeContext,
    settings: JudgeSettings,
) -> Verdict:
    try:
        response = await model.complete(scores_request(pair, bool(base.swapped), criteria, shown, settings))
    except ModelCallError as error:
        return base.model_copy(update={"outcome": failure_outcome(error)})
    scores = parse_scores(response.text, len(criteria), cut=is_cut(response))
    return text_verdict(base, response, compare(criteria, scores))


CRITERIA = Judge(criteria_messages, judge_by_criteria, text_only=True, calls=3)
