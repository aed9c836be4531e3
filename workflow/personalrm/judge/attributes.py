"""Scores of pairs by attributes: by how much one answer has more of each than the other, as a model says.

Models that write text rate all attributes of a bank in one answer for each order; of models whose log-probabilities are
read, each attribute is a call for a label after a prefix that all of them share. No request depends on a user or on the
choice that was made, so that each distinct pair is paid for once, whoever judged it. The method is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar

from personalrm.core.concurrency import concurrently
from personalrm.core.conditions import VerdictMode
from personalrm.core.errors import ModelCallError
from personalrm.core.files import canonical_json, stable_hash
from personalrm.core.records import Outcome, PairScores, PreferencePair, Turn
from personalrm.judge.attribute_answers import SCALE, parse_ratings
from personalrm.judge.attribute_bank import DEFAULT, Attribute, Bank
from personalrm.judge.judge import (
    JudgeContext,
    JudgeSettings,
    PromptStyle,
    failure_outcome,
    is_cut,
    is_refused,
    judge_request,
    label_request,
    pair_values,
    warn_of_alternatives,
)
from personalrm.judge.parsing import read_labels
from personalrm.judge.prompting import Prompt, load_prompt
from personalrm.llm import tokens
from personalrm.llm.types import LanguageModel, Message, ModelSpec, Request

Orders = Literal["both", "one"]
T = TypeVar("T")
LEAST_TEXT = 200
"""Characters of each answer, and of the last turn, that must be left where they are cut to fit the window (our
choice)."""
CUT = " […]"
"""Stands at the end of an answer that was cut, and in the middle of a turn."""


@dataclass(frozen=True)
class ScoreSettings:
    """How a model scores pairs: prompt style, words or labels (`mode`), orders, the longest list of ratings in tokens,
    and whether ratings in words are held to a JSON schema."""

    style: PromptStyle = "standard"
    mode: VerdictMode = "text"
    orders: Orders = "both"
    max_tokens: int = 1024
    json_schema: bool = True

    @property
    def judge(self) -> JudgeSettings:
        """How the same model gives the verdict that is scored as `default`."""
        return JudgeSettings(self.style, self.mode)

    @property
    def prompt(self) -> Prompt:
        """The prompt file of the style."""
        return load_prompt(f"attributes_{self.style}")

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """All prompt files that scores rest on."""
        return (self.prompt,) if self.mode == "text" else (self.prompt, self.judge.prompt)


class _Said(NamedTuple):
    """What came of one call: scores, or why there are none; the key of the response."""

    scores: dict[str, float]
    failure: Outcome | None = None
    key: str | None = None


async def score_pairs(
    model: LanguageModel, pairs: Sequence[PreferencePair], bank: Bank, settings: ScoreSettings
) -> tuple[PairScores, ...]:
    """`score_pair` of several pairs, in their order."""
    scored = await each(model, (score_pair(model, pair, bank, settings) for pair in pairs))
    return tuple(entry for entries in scored for entry in entries)


async def score_pair(
    model: LanguageModel, pair: PreferencePair, bank: Bank, settings: ScoreSettings
) -> tuple[PairScores, ...]:
    """Scores of one pair, one entry for each order that is asked.

    They are those of the answer that is shown first over the second: ratings from -2 to 2, or log-odds of the two
    labels and, as one more item `default`, those of the unpersonalised judge's verdict. What a model did not rate, or
    whose call failed, is missing.

    A pair that does not fit the model's window is asked about again with as much of it as fits (`shorten`).
    Permanent errors are raised.
    """
    said = await _ask(model, pair, bank, settings)
    cut = pair
    if any(one.failure == "context_overflow" for answers in said.values() for one in answers):
        cut = shorten(pair, model.spec, bank, settings) or pair
    if cut != pair:
        said = await _ask(model, cut, bank, settings)
    return tuple(_entry(pair, swapped, answers, cut != pair) for swapped, answers in said.items())


def _entry(pair: PreferencePair, swapped: bool, said: Sequence[_Said], shortened: bool) -> PairScores:
    """The scores of one order. If nothing could be scored, a call that was lost is the reason before all others."""
    scores = {name: score for one in said for name, score in one.scores.items()}
    failures = [one.failure for one in said if one.failure]
    lost: Outcome = "provider_error"
    return PairScores(
        pair_id=pair.pair_id,
        swapped=swapped,
        scores=scores,
        reason=None if scores else lost if lost in failures else failures[0],
        shortened=shortened,
        calls=tuple(sorted({one.key for one in said if one.key})),
    )


def orders_of(pair: PreferencePair, orders: Orders) -> tuple[bool, ...]:
    """The orders that are asked, as `swapped`: both, or one by a coin.

    The coin is seeded by the content of the pair without the choice, so that users who chose differently share a call.
    """
    if orders == "both":
        return (False, True)
    answers = sorted((pair.chosen, pair.rejected))
    context = canonical_json([[turn.role, turn.content] for turn in pair.context])
    first = answers[int(stable_hash("attributes", context, *answers), 16) % 2]
    return (first != pair.chosen,)


def rating_request(pair: PreferencePair, swapped: bool, bank: Bank, settings: ScoreSettings) -> Request:
    """The request for ratings of all attributes in words."""
    schema = ratings_schema(bank) if settings.json_schema else None
    begun = _begun(pair, swapped, settings, bank.attributes)
    return Request(begun, max_tokens=settings.max_tokens, json_schema=schema)


def ratings_schema(bank: Bank) -> str:
    """JSON schema of the ratings: a whole number from -2 to 2 for each attribute."""
    scale = {"type": "integer", "enum": list(range(-int(SCALE), int(SCALE) + 1))}
    shape = {"properties": dict.fromkeys(bank.ids, scale), "required": list(bank.ids), "additionalProperties": False}
    return canonical_json({"type": "object"} | shape)


def label_requests(
    pair: PreferencePair, swapped: bool, bank: Bank, settings: ScoreSettings
) -> Iterator[tuple[str, Request]]:
    """The requests for labels of one order: one for each attribute, then the judge's own, each with what it scores.

    All before the question is the same for all attributes of a pair.
    """
    prompt = settings.prompt
    begun = (*_begun(pair, swapped, settings), Message("assistant", prompt.render("acknowledgement")))
    answer = Message("assistant", prompt.render("assistant"))
    for attribute in bank.attributes:
        question = Message("user", prompt.render("question", comparative=attribute.comparative))
        yield attribute.id, label_request((*begun, question, answer))
    yield DEFAULT, judge_request(pair, swapped, JudgeContext(), settings.judge)


def _begun(
    pair: PreferencePair, swapped: bool, settings: ScoreSettings, attributes: Sequence[Attribute] = ()
) -> tuple[Message, Message]:
    """Instruction and pair; with `attributes` all of them are to be rated."""
    shown = pair_values(pair, swapped)
    system = Message("system", settings.prompt.render("system", attributes=attributes))
    return system, Message("user", settings.prompt.render("user", **shown))


async def _ask(
    model: LanguageModel, pair: PreferencePair, bank: Bank, settings: ScoreSettings
) -> dict[bool, list[_Said]]:
    """What came of all calls about a pair, by order."""
    said: dict[bool, list[_Said]] = {swapped: [] for swapped in orders_of(pair, settings.orders)}
    if settings.mode == "text":
        asked = [(swapped, rating_request(pair, swapped, bank, settings)) for swapped in said]
        answers = await each(model, (_ratings(model, request, bank) for _, request in asked))
        return {swapped: [answer] for swapped, answer in zip(said, answers, strict=True)}
    calls = [(swapped, *one) for swapped in said for one in label_requests(pair, swapped, bank, settings)]
    labels = settings.judge.labels
    answers = await each(model, (_label(model, name, request, labels) for _, name, request in calls))
    for (swapped, *_), answer in zip(calls, answers, strict=True):
        said[swapped].append(answer)
    return said


async def _ratings(model: LanguageModel, request: Request, bank: Bank) -> _Said:
    try:
        response = await model.complete(request)
    except ModelCallError as error:
        return _Said({}, failure_outcome(error))
    if is_refused(response):
        return _Said({}, "refused", response.key)
    scores = parse_ratings(response.text, bank.ids, cut=is_cut(response))
    return _Said(scores, None if scores else "unparsed", response.key)


async def _label(model: LanguageModel, name: str, request: Request, labels: tuple[str, str]) -> _Said:
    try:
        response = await model.complete(request)
    except ModelCallError as error:
        return _Said({}, failure_outcome(error))
    odds = read_labels(response, labels)
    if odds is None:
        warn_of_alternatives(response)
        return _Said({}, "refused" if is_refused(response) else "unparsed", response.key)
    return _Said({name: odds[0] - odds[1]}, None, response.key)


async def each(model: LanguageModel, calls: Iterator[Coroutine[Any, Any, T]]) -> list[T]:
    """Results of coroutines in their order. An embedded model is asked one thing after the other, so that calls which
    share a prefix follow each other; it keeps the states of few prefixes."""
    if model.spec.backend == "embedded":
        return [await call for call in calls]
    return list(await concurrently(*calls))


def shorten(pair: PreferencePair, spec: ModelSpec, bank: Bank, settings: ScoreSettings) -> PreferencePair | None:
    """The pair with as much of it as surely fits the window; None where not even `LEAST_TEXT` characters of each text
    do.

    The oldest turns of the conversation are left out first, up to its last; then both answers are cut to the same
    length, and keep their heads. Where the last turn leaves no room for answers of `LEAST_TEXT` characters, it is cut
    to the same length as they are, and keeps head and end, one of which says what is asked for. Nothing of it depends
    on which answer was chosen.
    """
    text = settings.mode == "text"
    room = spec.context_length - (settings.max_tokens if text else 1)
    wordiest = Bank((max(bank.attributes, key=lambda one: len(one.comparative.encode())),))

    def fits(cut: PreferencePair) -> bool:
        for swapped in (False, True):
            asked = [rating_request(cut, swapped, bank, settings)] if text else []
            asked += [] if text else [request for _, request in label_requests(cut, swapped, wordiest, settings)]
            if not all(tokens.fits(request.messages, room, spec) for request in asked):
                return False
        return True

    for start in range(len(pair.context)):
        later = pair.model_copy(update={"context": pair.context[start:]})
        if fits(later):
            return later
    last = pair.model_copy(update={"context": pair.context[-1:]})
    answers = max(len(pair.chosen), len(pair.rejected))
    longest = max(answers, *(len(turn.content) for turn in last.context), 0)
    return _longest(partial(_cut_answers, last), fits, answers) or _longest(partial(_cut_all, last), fits, longest)


def _longest(
    cut: Callable[[int], PreferencePair], fits: Callable[[PreferencePair], bool], whole: int
) -> PreferencePair | None:
    """The pair with its texts `cut` to the largest length that fits, below that of the `whole` ones, which do not; None
    where `LEAST_TEXT` characters do not fit."""
    shortest, longest = LEAST_TEXT, whole
    if not fits(cut(shortest)):
        return None
    while longest - shortest > 1:
        middle = (shortest + longest) // 2
        shortest, longest = (middle, longest) if fits(cut(middle)) else (shortest, middle)
    return cut(shortest)


def _cut_answers(pair: PreferencePair, length: int) -> PreferencePair:
    """The pair with answers of at most so many characters."""

    def head(answer: str) -> str:
        return answer if len(answer) <= length else answer[:length] + CUT

    return pair.model_copy(update={"chosen": head(pair.chosen), "rejected": head(pair.rejected)})


def _cut_all(pair: PreferencePair, length: int) -> PreferencePair:
    """The pair with answers and turns of at most so many characters."""

    def ends(turn: Turn) -> Turn:
        said, half = turn.content, length // 2
        return (
            turn if len(said) <= length else turn.model_copy(update={"content": f"{said[:half]}{CUT} {said[-half:]}"})
        )

    return _cut_answers(pair.model_copy(update={"context": tuple(map(ends, pair.context))}), length)
