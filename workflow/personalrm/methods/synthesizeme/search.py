"""Search for the demonstrations that help the judge most on a user's validation pairs (paper, stages 1 and 3).

Each seed draws a candidate, in all variants alike, and `pruned_search.py` decides what is asked. Candidates that show
the judge the same are scored once, and a single one is not scored. Which of equals wins, in how many orders a pair is
judged, and whether labelled demonstrations reach the prompt is decided by the variant (`variants.py`).
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from personalrm.core.concurrency import concurrently
from personalrm.core.errors import ModelCallError
from personalrm.core.records import Candidate, Demonstration, PreferencePair, Trace, Verdict
from personalrm.judge.judge import JudgeContext, JudgeSettings, judge_once, judge_pair, learned_swapped
from personalrm.llm.types import LanguageModel
from personalrm.methods.synthesizeme.pruned_search import PrunedSearch, rounded_percent
from personalrm.methods.synthesizeme.variants import ALL, Repairs

ZERO_SHOT, LABELLED, UNSHUFFLED = -3, -2, -1
"""Seeds: nothing; labelled pairs alone; verified traces in the order of the pairs. Seeds 0 ... n-1 shuffle the traces,
and take as many as each seed draws. Labelled pairs fill up what the traces leave of `max_labelled`."""
Shows = tuple[Demonstration, ...]


def labelled(pair: PreferencePair, salt: str) -> Demonstration:
    """A demonstration that shows the user's choice without reasoning."""
    return Demonstration(pair=pair, swapped=learned_swapped(pair, salt))


def draw_candidate(
    seed: int,
    pairs: Sequence[PreferencePair],
    traces: Mapping[str, Trace],
    *,
    max_bootstrapped: int,
    max_labelled: int,
    salt: str,
) -> tuple[Demonstration, ...]:
    """Judgements of one candidate, those with a trace first. `pairs` are the context pairs, oldest first.

    The generators are those of the package, seed by seed and draw by draw, so that its candidates are found again.
    """
    if seed == ZERO_SHOT:
        return ()
    most_labelled = min(max_labelled, len(pairs))
    if seed == LABELLED:
        return tuple(labelled(pair, salt) for pair in random.Random(0).sample(list(pairs), most_labelled))
    order, size = list(pairs), min(max_bootstrapped, len(pairs))
    if seed >= 0:
        random.Random(seed).shuffle(order)
        size = random.Random(seed).randint(1, max(1, size))
    traced = [pair for pair in order if pair.pair_id in traces][:size]
    used = {pair.pair_id for pair in traced}
    others = [pair for pair in order if pair.pair_id not in used]
    random.Random(0).shuffle(others)
    fillers = random.Random(0).sample(others, min(max(0, most_labelled - len(traced)), len(others)))
    reasoned = ((pair, traces[pair.pair_id]) for pair in traced)
    shown = [Demonstration(pair=pair, swapped=trace.swapped, reasoning=trace.reasoning) for pair, trace in reasoned]
    return (*shown, *(labelled(pair, salt) for pair in fillers))


@dataclass(frozen=True)
class SearchSettings:
    """Which candidates are tried. `seeds` in the order of trial; sizes are numbers of demonstrations, and None for
    `max_bootstrapped` stands for as many as there are context pairs.

    `stop_at_score` (percent, None for never) ends the search at the first candidate that reaches it; `parallel`
    candidates are tried at a time, as far as `places`, the calls at the same time, hold them; `exhaustive` scores every
    candidate in full (`PrunedSearch`).
    """

    judge: JudgeSettings
    seeds: tuple[int, ...] = (LABELLED, UNSHUFFLED, *range(10))
    max_bootstrapped: int | None = None
    max_labelled: int = 4
    stop_at_score: float | None = None
    salt: str = "0"
    parallel: int = 1
    places: float = math.inf
    exhaustive: bool = False
    repairs: Repairs = ALL


@dataclass(frozen=True)
class SearchResult:
    """The winner: `demonstrations` as the judge is shown them, `judgements` as they were drawn (what the persona
    reads), its seed; all candidates as scored, and what a reader should know."""

    demonstrations: Shows
    judgements: Shows
    seed: int
    candidates: tuple[Candidate, ...]
    events: tuple[str, ...] = field(default=())


def score(seed: int, shown: Sequence[Demonstration], verdicts: Sequence[Verdict], *, rounded: bool) -> Candidate:
    """Accuracy (percent, `rounded` to two digits as in the package) over verdicts that are no provider errors, and the
    mean log-odds where all have them."""
    usable = [verdict for verdict in verdicts if verdict.outcome != "provider_error"]
    odds = [verdict.log_odds for verdict in usable if verdict.log_odds is not None]
    correct = sum(verdict.outcome == "correct" for verdict in usable)
    share = Fraction(correct, len(usable)) if usable else None
    return Candidate(
        seed=seed,
        pair_ids=tuple(demonstration.pair.pair_id for demonstration in shown),
        score=share if share is None else rounded_percent(share) if rounded else float(100 * share),
        mean_log_odds=math.fsum(odds) / len(odds) if odds and len(odds) == len(usable) else None,
        n_scored=len(usable),
        n_reasoned=sum(demonstration.reasoning is not None for demonstration in shown),
    )


def better(candidate: Candidate, *, ranking: bool = True) -> tuple[float, ...]:
    """Sort key of the stated rule: score, mean log-odds, number of demonstrations with reasoning, number of
    demonstrations, smaller seed. Without `ranking` that of the package: score, smaller seed."""
    points = -math.inf if candidate.score is None else candidate.score
    if not ranking:
        return points, -candidate.seed
    odds = -math.inf if candidate.mean_log_odds is None else candidate.mean_log_odds
    return points, odds, candidate.n_reasoned, len(candidate.pair_ids), -candidate.seed


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

    Without validation pairs the candidate in `UNSHUFFLED` form wins unscored. `allow_empty` admits the
    zero-shot candidate (stage 3); stage 1 must have something to learn from (paper, section 3).
    Raises ModelCallError when not one verdict of any candidate could be had.
    """
    seeds = _seeds(settings, allow_empty)
    drawn = {seed: _draw(seed, pairs, traces, settings) for seed in (*seeds, UNSHUFFLED)}
    if not validation:
        return _result(UNSHUFFLED, drawn, settings, ["no validation pairs: the search was skipped"])
    place, distinct = _field(seeds, drawn, settings)
    if not place:
        return SearchResult((), (), ZERO_SHOT, (), ("no candidate holds a demonstration",))
    if len(distinct) == 1 and not settings.exhaustive:
        said = "a single candidate: nothing to choose, nothing was asked"
        return _result(next(iter(place)), drawn, settings, [said])
    race = await _run(model, [JudgeContext(persona, shows) for shows in distinct], validation, settings)
    return _decide(place, race, drawn, settings)


async def search_first(
    model: LanguageModel,
    pairs: Sequence[PreferencePair],
    validation: Sequence[PreferencePair],
    settings: SearchSettings,
    *,
    persona: str | None = None,
    allow_empty: bool,
) -> SearchResult | None:
    """What `search` would find, where one of its first candidates, which need no traces, reaches the stop score; else
    None.

    So no trace has to be made to know it. `search` finds the answers in the store. Nothing is asked where that could
    neither end the search nor save time, being asked while traces are made (`parallel` above 1).
    """
    seeds = list(itertools.takewhile(lambda seed: seed in (ZERO_SHOT, LABELLED), _seeds(settings, allow_empty)))
    ends = settings.stop_at_score is not None and not settings.exhaustive
    if not validation or not (ends or settings.parallel > 1):
        return None
    drawn = {seed: _draw(seed, pairs, {}, settings) for seed in seeds}
    place, distinct = _field(seeds, drawn, settings)
    if not place:
        return None
    # Beside attempts, which take their time, there is room for all of them.
    asked = replace(settings, exhaustive=settings.parallel > 1)
    race = await _run(model, [JudgeContext(persona, shows) for shows in distinct], validation, asked)
    return _decide(place, race, drawn, settings) if ends and race.stopper() is not None else None


def _seeds(settings: SearchSettings, allow_empty: bool) -> list[int]:
    return [seed for seed in settings.seeds if allow_empty or seed != ZERO_SHOT]


def _field(
    seeds: Sequence[int], drawn: Mapping[int, Shows], settings: SearchSettings
) -> tuple[dict[int, int], list[Shows]]:
    """The candidates that are tried: by seed the place of what it shows the judge, and what stands there."""
    tried = [seed for seed in seeds if drawn[seed] or seed == ZERO_SHOT or not settings.repairs.labelled_demos]
    shown = {seed: _visible(drawn[seed], settings.repairs) for seed in tried}
    distinct = list(dict.fromkeys(shown.values()))
    return {seed: distinct.index(shows) for seed, shows in shown.items()}, distinct


def _draw(seed: int, pairs: Sequence[PreferencePair], traces: Mapping[str, Trace], settings: SearchSettings) -> Shows:
    most, fill = settings.max_bootstrapped, settings.max_labelled
    most = len(pairs) if most is None else most
    return draw_candidate(seed, pairs, traces, max_bootstrapped=most, max_labelled=fill, salt=settings.salt)


def _visible(drawn: Shows, repairs: Repairs) -> Shows:
    """What of a candidate reaches the judge's prompt."""
    return drawn if repairs.labelled_demos else tuple(shown for shown in drawn if shown.reasoning is not None)


def _result(
    seed: int,
    drawn: Mapping[int, Shows],
    settings: SearchSettings,
    events: Sequence[str],
    scored: Sequence[Candidate] = (),
) -> SearchResult:
    """The winner with this seed."""
    shown = _visible(drawn[seed], settings.repairs)
    hidden = len(drawn[seed]) - len(shown)
    said = [f"{hidden} labelled demonstrations were drawn and reach no prompt (as published)"] if hidden else []
    return SearchResult(shown, drawn[seed], seed, tuple(scored), (*events, *said))


async def _run(
    model: LanguageModel,
    candidates: Sequence[JudgeContext],
    validation: Sequence[PreferencePair],
    settings: SearchSettings,
) -> PrunedSearch:
    """Ask round by round until the winner is known."""
    ranking = settings.repairs.ranking
    race = PrunedSearch(
        len(candidates),
        len(validation),
        2 if settings.repairs.both_orders and settings.judge.mode != "logprob_both" else 1,
        stop_at_score=settings.stop_at_score,
        first_of_equals=not ranking,
        rounded=not ranking,
        parallel=settings.parallel,
        places=settings.places,
        exhaustive=settings.exhaustive,
    )

    async def ask(candidate: int, number: int) -> None:
        pair, shown = validation[number], candidates[candidate]
        if settings.repairs.both_orders:
            verdicts = await judge_pair(model, pair, shown, settings.judge)
        else:
            swapped = learned_swapped(pair, settings.salt)
            verdicts = (await judge_once(model, pair, swapped, shown, settings.judge),)
        race.tell(candidate, number, verdicts)

    while questions := race.next_round():
        await concurrently(*(ask(candidate, number) for candidate, numbers in questions for number in numbers))
    return race


def _decide(
    place: Mapping[int, int], race: PrunedSearch, drawn: Mapping[int, Shows], settings: SearchSettings
) -> SearchResult:
    """The winner among candidates up to the one that reached the stop score, of those that are scored in full. `place`
    leads from seeds to the race.
    """
    stopper = race.stopper()
    scored = [
        score(seed, _visible(drawn[seed], settings.repairs), verdicts, rounded=not settings.repairs.ranking)
        for seed, index in place.items()
        if (stopper is None or index <= stopper) and (verdicts := race.runners[index].in_order())
    ]
    if stopper is not None:
        # A later seed that shows the same as an earlier candidate comes after the end.
        last = next(seed for seed, index in place.items() if index == stopper)
        scored = [candidate for candidate in scored if candidate.seed <= last]
    full = [candidate for candidate in scored if race.runners[place[candidate.seed]].done]
    winner = max(full, key=lambda candidate: better(candidate, ranking=settings.repairs.ranking))
    if winner.score is None:
        raise ModelCallError("no validation judgment was had of all candidates")
    equals = sum(candidate.score == winner.score for candidate in full)
    events = [f"{equals} of {len(scored)} candidates share the best score"] if equals > 1 else []
    return _result(winner.seed, drawn, settings, events, scored)
