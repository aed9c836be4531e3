"""The scorecard judge: the strongest judge of the literature that is a prompt alone, as a rival of what is learned.

The form is that of PSI (P-GenRM, arXiv 2602.12116): one call an order shows labelled pairs of the user and both
answers; the model names weighted criteria of this user, scores both answers on each, and the totals decide. Nothing is
fitted. It differs: the prompt is ours; all context pairs that k allows and all validation pairs are shown, the newest
that fit (the paper's released scripts draw six context pairs); and the margins of both orders are added.

There is one verdict per pair, which has an outcome alone. A margin is in points of a scale that the model makes for the
pair: it is no log-odds, and it stands in the stored answers. Scores are read from words, so the method does not apply
where verdicts are log-probabilities. One wording serves both prompt styles.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from personalrm.core.concurrency import concurrently
from personalrm.core.errors import ModelCallError
from personalrm.core.files import canonical_json
from personalrm.core.records import Outcome, PreferencePair, Verdict
from personalrm.judge.judge import (
    Judge,
    JudgeContext,
    JudgeSettings,
    failure_outcome,
    is_cut,
    is_refused,
    on_tie,
    pair_values,
    sign_outcome,
    under_constitution,
)
from personalrm.judge.own_words import own_words, plain
from personalrm.judge.parsing import json_objects
from personalrm.judge.prompting import load_prompt
from personalrm.llm.types import LanguageModel, Message, Request
from personalrm.methods.base import Known, Mark, Method, NoPairs
from personalrm.methods.baselines import labelled_pairs
from personalrm.methods.synthesizeme.persona import demonstration_values

PROMPT = "scorecard"
DIGITS = 6
"""Decimals of a margin: totals that are equal by hand are equal here."""
MOST_WEIGHT = 1e6
_NUMBER = r"\d{1,7}(?:\.\d{1,9})?"
_GIVEN = re.compile(rf"\s*(?P<number>{_NUMBER})\s*(?:/\s*10|%)?\s*")
_SCORE = rf"\W{{0,6}}({_NUMBER})(?![.\d]*\d)(?:\s?/\s?10\b)?"
_CRITERION = re.compile(
    rf"(?:\bsecond{_SCORE}\W{{0,8}})?"
    rf"(?:\bweight\W{{0,6}}({_NUMBER})|({_NUMBER})\s?%)\W{{0,8}}\bfirst{_SCORE}\W{{0,8}}\bsecond{_SCORE}"
)
"""Weight and both scores of a criterion. A score in front of the weight shows that the weight stands behind the scores
of its criterion, and that those behind it are of the next one."""


class Totals(NamedTuple):
    """Mean scores of both answers, from 1 to 10, by the position in which the answers were shown."""

    first: float
    second: float


def read_totals(text: str, *, cut: bool = False) -> Totals | None:
    r"""Totals of a scorecard; None where it cannot be read, or was `cut` at the token limit. Never raises.

    They are computed from weights and scores, whatever totals the model states; weights that do not add to 100 are
    normalised. A criterion without a weight or a score is left out. The stated totals count where no criterion can be
    read. Of several scorecards the last counts. A text without one in JSON is searched for weights with both scores.

    >>> read_totals('{"criteria": [{"criterion": "brief", "weight": 60, "first": 8, "second": 3},'
    ... ' {"criterion": "warm", "weight": 20, "first": 4, "second": 7}], "total_first": 1, "total_second": 9}')
    Totals(first=7.0, second=4.0)
    >>> read_totals("Brevity (60 %): First 8/10, Second 3\\nWarmth, weight 20: First 4, Second 7")
    Totals(first=7.0, second=4.0)
    >>> read_totals('{"criteria": [], "total_first": 6.5, "total_second": "7/10"}')
    Totals(first=6.5, second=7.0)
    >>> read_totals("The first is better."), read_totals('{"criteria": [{"weight": 1, "first": 11, "second": 2}]}')
    (None, None)
    """
    said = None if cut else own_words(text)
    if said is None:
        return None
    card = _card(said.unquoted)
    rows = list(_rows(said.unquoted) if card is None else _json_rows(card))
    weights = sum(weight for weight, _, _ in rows)
    if rows:
        means = [sum(row[0] * row[place] for row in rows) / weights for place in (1, 2)]
        return Totals(*(round(mean, DIGITS) for mean in means))
    first, second = (_score(card.get(f"total_{name}")) if card else None for name in ("first", "second"))
    return None if first is None or second is None else Totals(first, second)


def _card(text: str) -> dict[str, Any] | None:
    """The last JSON object in a text that is a scorecard."""
    cards = [found.value for found in json_objects(text) if {"criteria", "total_first"} & found.value.keys()]
    return cards[-1] if cards else None


def _json_rows(card: dict[str, Any]) -> Iterator[tuple[float, float, float]]:
    """Weight and both scores of each criterion that has them."""
    criteria = card.get("criteria")
    for one in criteria if isinstance(criteria, list) else ():
        if isinstance(one, dict):
            yield from _row(one.get("weight"), one.get("first"), one.get("second"))


def _rows(text: str) -> Iterator[tuple[float, float, float]]:
    """The same of words; none where weights stand behind the scores."""
    found = [one.groups() for one in _CRITERION.finditer(plain(text))]
    if not any(before for before, *_ in found):
        for _, weight, percent, first, second in found:
            yield from _row(weight or percent, first, second)


def _row(weight: object, first: object, second: object) -> Iterator[tuple[float, float, float]]:
    share, scores = _number(weight), (_score(first), _score(second))
    if share is not None and 0 < share <= MOST_WEIGHT and scores[0] is not None and scores[1] is not None:
        yield share, scores[0], scores[1]


def _score(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and 1 <= number <= 10 else None


def _number(value: object) -> float | None:
    """A number, or one in a text ("7/10", "40 %")."""
    if isinstance(value, str):
        found = _GIVEN.fullmatch(value)
        return float(found["number"]) if found else None
    # JSON has whole numbers of any length, and "true" is none.
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9 else None


def scorecard_schema() -> str:
    """Schema of a scorecard, for models that can be held to one."""
    number = {"type": "number"}
    criterion = {"criterion": {"type": "string"}, "weight": number, "first": number, "second": number}
    row = {"type": "object", "properties": criterion, "required": [*criterion], "additionalProperties": False}
    fields = {"taste": {"type": "string"}, "criteria": {"type": "array", "items": row}}
    fields |= {"total_first": number, "total_second": number}
    return canonical_json(
        {"type": "object", "properties": fields, "required": [*fields], "additionalProperties": False}
    )


def scorecard_messages(
    pair: PreferencePair, swapped: bool, shown: JudgeContext, settings: JudgeSettings
) -> tuple[Message, ...]:
    """Messages of the one call about a pair in one order."""
    prompt = load_prompt(PROMPT)
    demonstrations = [demonstration_values(one, "standard") for one in shown.demonstrations]
    system = prompt.render("system", demonstrations=demonstrations)
    system = under_constitution(system, shown, settings.constitution)
    return Message("system", system), Message("user", prompt.render("user", **pair_values(pair, swapped)))


def scorecard_request(pair: PreferencePair, swapped: bool, shown: JudgeContext, settings: JudgeSettings) -> Request:
    """The request for the scorecard of a pair in one order."""
    messages = scorecard_messages(pair, swapped, shown, settings)
    return Request(messages, settings.max_tokens, json_schema=scorecard_schema())


class _Scored(NamedTuple):
    """One order: total of the chosen answer minus that of the rejected one, or the outcome that left none."""

    margin: float | None
    outcome: Outcome
    key: str | None
    cut: bool = False


async def _score_order(
    model: LanguageModel, pair: PreferencePair, swapped: bool, shown: JudgeContext, settings: JudgeSettings
) -> _Scored:
    try:
        response = await model.complete(scorecard_request(pair, swapped, shown, settings))
    except ModelCallError as error:
        return _Scored(None, failure_outcome(error), None)
    totals = None if is_refused(response) else read_totals(response.text, cut=is_cut(response))
    if totals is None:
        return _Scored(None, "refused" if is_refused(response) else "unparsed", response.key, is_cut(response))
    lead = totals.first - totals.second
    return _Scored(-lead if swapped else lead, "tie", response.key, is_cut(response))


def verdict_of(pair: PreferencePair, orders: Sequence[_Scored]) -> Verdict:
    """The verdict on a pair: the sign of the sum of the margins.

    Where one order cannot be read, the other decides alone, as in the paper, which asks one order: a rival must not
    lose for its form. Where the provider failed one, the verdict is lost, so that it is asked again.
    """
    calls = tuple(sorted({order.key for order in orders if order.key}))
    margins = [order.margin for order in orders if order.margin is not None]
    outcomes = [order.outcome for order in orders if order.margin is None]
    outcome: Outcome = "provider_error"
    if outcome not in outcomes:
        outcome = sign_outcome(round(sum(margins), DIGITS)) if margins else outcomes[0]
    cut = any(order.cut for order in orders)
    flipped = min(margins) < 0 < max(margins) if len(margins) == len(orders) else None
    verdict = Verdict(pair_id=pair.pair_id, swapped=None, outcome=outcome, calls=calls, flipped=flipped, cut=cut)
    return on_tie(verdict) if pair.tie else verdict


async def judge_by_scorecard(
    model: LanguageModel, pairs: Sequence[PreferencePair], shown: JudgeContext, settings: JudgeSettings
) -> tuple[Verdict, ...]:
    """Verdicts on several pairs, one each, in the order of the pairs."""

    async def judged(pair: PreferencePair) -> Verdict:
        orders = (_score_order(model, pair, swapped, shown, settings) for swapped in (False, True))
        return verdict_of(pair, await concurrently(*orders))

    return tuple(await concurrently(*map(judged, pairs)))


def votes(known: Known) -> JudgeContext | NoPairs:
    """The context pairs that k allows and all validation pairs, with their labels."""
    return labelled_pairs([*known.pairs, *known.user.part("validation")])


SCORECARD = Judge(scorecard_messages, judge_by_scorecard, text_only=True)
METHOD = Method(
    PROMPT,
    "judge",
    votes,
    prompts=(PROMPT,),
    judge=SCORECARD,
    learns=True,
    by_k=True,
    validation=True,
    guarded=True,
    label="Scorecard judge (raw pairs)",
    mark=Mark("#00788a", "d"),
)
