"""Search for the demonstrations that help the judge most on a user's validation pairs (paper, stages 1 and 3).

Candidates follow the package's seeds (facts file, 3.4): -3 none, -2 labelled pairs only, -1 verified traces in their
own order, 0 … n-1 traces shuffled and cut by that seed. Variant `corrected` (our choices): labelled demonstrations
do reach the prompt; validation pairs are scored in both orders; candidates are scored in seed order and the search ends
at the stop score; among equals the winner has the larger mean log-odds (where the judge gives them), then more
demonstrations, then the smaller seed. No call is made whose answer cannot change the winner: candidates that show the
same are scored once, one that cannot win any more is dropped (`n_scored` shows it), a single one is not scored.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from personalrm.errors import ModelCallError
from personalrm.judge import JudgeSettings, Shown, judge_pair, presented_swapped
from personalrm.llm.types import LanguageModel
from personalrm.records import Candidate, Demonstration, PreferencePair, Trace, Verdict

ZERO_SHOT, LABELLED, UNSHUFFLED = -3, -2, -1


@dataclass(frozen=True)
class SearchSettings:
    """Which candidates are tried. `seeds` in the order of trial; sizes are numbers of demonstrations.

    `stop_at_score` (percent, None for never) ends the search at the first candidate that reaches it.
    """

    judge: JudgeSettings
    seeds: tuple[int, ...] = (LABELLED, UNSHUFFLED, *range(10))
    max_bootstrapped: int = 16
    max_labelled: int = 4
    stop_at_score: float | None = 80.0
    salt: str = "0"


@dataclass(frozen=True)
class SearchResult:
    """The winner's demonstrations and seed, all candidates as scored, and what a reader should know."""

    demonstrations: tuple[Demonstration, ...]
    seed: int
    candidates: tuple[Candidate, ...]
    events: tuple[str, ...] = field(default=())


def labelled(pair: PreferencePair, salt: str) -> Demonstration:
    """A demonstration that shows the user's choice without reasoning."""
    return Demonstration(pair=pair, swapped=presented_swapped(pair, salt))


def build_candidate(
    seed: int, pairs: Sequence[PreferencePair], traces: Mapping[str, Trace], settings: SearchSettings
) -> tuple[Demonstration, ...]:
    """Demonstrations of one candidate. `pairs` are the context pairs, oldest first."""
    if seed == ZERO_SHOT:
        return ()
    order, size = list(pairs), settings.max_bootstrapped
    rng = random.Random(seed)
    if seed >= 0:
        size = rng.randint(1, max(1, settings.max_bootstrapped))
        rng.shuffle(order)
    shown: list[Demonstration] = []
    if seed != LABELLED:
        for pair in order:
            trace = traces.get(pair.pair_id)
            if trace is not None and len(shown) < size:
                shown.append(Demonstration(pair=pair, swapped=trace.swapped, reasoning=trace.reasoning))
    used = {demonstration.pair.pair_id for demonstration in shown}
    room = (
        max(0, settings.max_labelled - len(shown))
        if seed < 0
        else max(0, min(size, settings.max_labelled) - len(shown))
    )
    fillers = [pair for pair in order if pair.pair_id not in used][:room]
    return (*shown, *(labelled(pair, settings.salt) for pair in fillers))


def score(seed: int, shown: Sequence[Demonstration], verdicts: Sequence[Verdict]) -> Candidate:
    """Accuracy (percent) over verdicts that are no provider errors, and the mean log-odds where all have them."""
    usable = [verdict for verdict in verdicts if verdict.outcome != "provider_error"]
    odds = [verdict.log_odds for verdict in usable if verdict.log_odds is not None]
    correct = sum(verdict.outcome == "correct" for verdict in usable)
    return Candidate(
        seed=seed,
        pair_ids=tuple(demonstration.pair.pair_id for demonstration in shown),
        score=100 * correct / len(usable) if usable else None,
        mean_log_odds=math.fsum(odds) / len(odds) if odds and len(odds) == len(usable) else None,
        n_scored=len(usable),
    )


def better(candidate: Candidate) -> tuple[float, float, int, int]:
    """Sort key of the stated rule: score, mean log-odds, number of demonstrations, smaller seed."""
    odds = candidate.mean_log_odds
    return (
        -math.inf if candidate.score is None else candidate.score,
        -math.inf if odds is None else odds,
        len(candidate.pair_ids),
        -candidate.seed,
    )


async def search(
    model: LanguageModel,
    pairs: Sequence[PreferencePair],
    traces: Mapping[str, Trace],
    validation: Sequence[PreferencePair],
    settings: SearchSettings,
    *,
    persona: str | None = None,
    allow_empty: bool,
) -> SearchResult:
    """Best demonstrations for one user.

    Without validation pairs the first candidate in `UNSHUFFLED` form wins unscored. `allow_empty` admits the
    zero-shot candidate (stage 3); stage 1 must have something to learn from (facts file, 3.4).
    Raises ModelCallError when not one verdict of any candidate could be had.
    """
    seeds = [seed for seed in settings.seeds if allow_empty or seed != ZERO_SHOT]
    sets = {seed: build_candidate(seed, pairs, traces, settings) for seed in seeds}
    if not validation:
        shown = build_candidate(UNSHUFFLED, pairs, traces, settings)
        return SearchResult(shown, UNSHUFFLED, (), ("no validation pairs: the search was skipped",))
    distinct = {shown for seed, shown in sets.items() if shown or seed == ZERO_SHOT}
    if len(distinct) == 1:
        seed = next(seed for seed, shown in sets.items() if shown in distinct)
        return SearchResult(sets[seed], seed, (), ("a single candidate: nothing to choose, nothing was asked",))
    scored: list[Candidate] = []
    known: dict[tuple[Demonstration, ...], Candidate] = {}
    for seed in seeds:
        shown = sets[seed]
        if not shown and seed != ZERO_SHOT:
            continue
        if shown not in known:
            to_beat = max((candidate.score or 0.0 for candidate in scored), default=0.0)
            known[shown] = await _evaluate(model, seed, Shown(persona, shown), validation, settings, to_beat)
        scored.append(known[shown].model_copy(update={"seed": seed}))
        if _reached(scored[-1], settings.stop_at_score):
            break
    return _decide(scored, sets)


async def _evaluate(
    model: LanguageModel,
    seed: int,
    shown: Shown,
    validation: Sequence[PreferencePair],
    settings: SearchSettings,
    to_beat: float,
) -> Candidate:
    """Score one candidate pair by pair, and leave off as soon as it cannot reach `to_beat` any more.

    The bound is exact: even if all that is left were right, the score would be lower, so no rule among equals applies.
    """
    verdicts: list[Verdict] = []
    for index, pair in enumerate(validation):
        judged = await judge_pair(model, pair, shown, settings.judge)
        verdicts += judged
        left = (len(validation) - index - 1) * len(judged)
        usable = sum(verdict.outcome != "provider_error" for verdict in verdicts)
        correct = sum(verdict.outcome == "correct" for verdict in verdicts)
        if usable + left and 100 * (correct + left) / (usable + left) < to_beat:
            break
    return score(seed, shown.demonstrations, verdicts)


def _reached(candidate: Candidate, stop_at_score: float | None) -> bool:
    return stop_at_score is not None and candidate.score is not None and candidate.score >= stop_at_score


def _decide(scored: Sequence[Candidate], sets: Mapping[int, tuple[Demonstration, ...]]) -> SearchResult:
    if not scored:
        return SearchResult((), ZERO_SHOT, (), ("no candidate holds a demonstration",))
    winner = max(scored, key=better)
    if winner.score is None:
        raise ModelCallError("no validation verdict could be had for any candidate")
    equals = sum(candidate.score == winner.score for candidate in scored)
    events = (f"{equals} of {len(scored)} candidates share the best score",) if equals > 1 else ()
    return SearchResult(sets[winner.seed], winner.seed, tuple(scored), events)
