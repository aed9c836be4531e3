"""Pairs that are no matter of taste, as the filters' ratings say: they are judged as the unpersonalised judge does.

A pair whose query or choice a model rated below the thresholds of `filters.personalizable` has an answer that is better
for everybody (a fact, safety), so that nothing about the user is shown for it. A pair without a rating stays a matter
of taste.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from personalrm.core.conditions import MethodId
from personalrm.core.records import JudgedUser, Outcome, PreferencePair, Verdict, read_records
from personalrm.data.filters.filter_settings import PersonalizableSettings
from personalrm.data.filters.filters import personalizable
from personalrm.judge.judge import DIRECT, JudgeContext, JudgeSettings, sign_outcome
from personalrm.llm.types import LanguageModel
from personalrm.run.stage import Wildcards
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.rating import read_ratings


class Judged(NamedTuple):
    """The verdicts that count, and those by taste that were set aside for them."""

    verdicts: tuple[Verdict, ...]
    set_aside: tuple[Verdict, ...] = ()


def thresholds(config: Config, dataset: str) -> PersonalizableSettings | None:
    """By what ratings a pair of a data set is a matter of taste; None where all pairs are."""
    filters = config.datasets[dataset].filters if config.taste_on == "personalizable" else None
    return filters.personalizable if filters else None


def rating_files(plan: Plan, job: Wildcards) -> list[str]:
    """Ratings that the verdicts of a job rest on."""
    if not job.judge or thresholds(plan.config, job.dataset) is None:
        return []
    return [path for path in plan.rating_paths(job.dataset) if Path(path).stem == job.shard]


def taste_on_reads(plan: Plan, job: Wildcards) -> dict[str, list[float]]:
    """The settings by which pairs are no matter of taste; none where all pairs are."""
    rated = thresholds(plan.config, job.dataset)
    return {"taste_on": [rated.min_query, rated.min_responses]} if rated else {}


def not_taste(ratings: Iterable[Path], rated: PersonalizableSettings | None) -> frozenset[str]:
    """Ids of the pairs that are no matter of taste."""
    said = read_ratings(ratings) if rated else {}
    return frozenset(name for name, rating in said.items() if rated and not personalizable(rating, rated))


async def by_quality(
    model: LanguageModel,
    pairs: Sequence[PreferencePair],
    judged: Sequence[Verdict],
    general: Collection[str],
    settings: JudgeSettings,
) -> Judged:
    """The verdicts of a method on `pairs`, those on pairs in `general` set aside for those of the unpersonalised judge.

    Same model and kind of verdict, so that the calls are those of the method `default`. Where the method gives one
    verdict for both orders and the judge one for each, these are made one, so that each pair keeps its weight.
    """
    asked = [pair for pair in pairs if pair.pair_id in general]
    found = await DIRECT.pairs(model, asked, JudgeContext(), settings)
    kept: list[Verdict] = []
    for pair in pairs:
        own = [verdict for verdict in judged if verdict.pair_id == pair.pair_id]
        plain = [verdict for verdict in found if verdict.pair_id == pair.pair_id]
        if len(own) < len(plain):
            plain = [as_one(plain, pair)]
        kept += plain if pair.pair_id in general else own
    return Judged(tuple(kept), tuple(verdict for verdict in judged if verdict.pair_id in general))


def default_rows(path: Path) -> dict[str, JudgedUser]:
    """The rows of the method `default` in words by user, from a file of verdicts; those on all pairs where there are
    such."""
    found: dict[str, JudgedUser] = {}
    for row in read_records(path, JudgedUser):
        asked = MethodId.parse(row.method)
        if (asked.name, asked.verdict) == ("default", "text") and (asked.pairs == "all" or row.user_id not in found):
            found[row.user_id] = row
    return found


def stated(row: JudgedUser | None, pairs: Sequence[PreferencePair]) -> tuple[Verdict, ...]:
    """The verdicts on pairs in a row of `default`, both orders as one.

    Raises ValueError where it has none on one of them: a verdict by taste must not stand in silently.
    """
    found: dict[str, list[Verdict]] = {}
    for verdict in row.verdicts if row else ():
        found.setdefault(verdict.pair_id, []).append(verdict)
    for pair in pairs:
        if pair.pair_id not in found:
            raise ValueError(
                f"user {pair.user_id}: pair {pair.pair_id} is no matter of taste; 'default' did not judge it"
            )
    return tuple(as_one(found[pair.pair_id], pair) for pair in pairs)


def as_one(orders: Sequence[Verdict], pair: PreferencePair) -> Verdict:
    """The verdicts of both orders as one: they count alike, an order that names no answer counts for none, and the
    verdict is lost where the provider failed one of them."""
    outcomes: list[Outcome] = [verdict.outcome for verdict in orders]
    outcome: Outcome = "provider_error"
    if outcome not in outcomes:
        points = outcomes.count("correct") - outcomes.count("wrong")
        readable = {"correct", "wrong", "tie"} & set(outcomes)
        outcome = sign_outcome(points) if readable else outcomes[0]
    if pair.tie and outcome == "tie":
        outcome = "wrong"
    calls = tuple(sorted({key for verdict in orders for key in verdict.calls}))
    return Verdict(pair_id=pair.pair_id, swapped=None, outcome=outcome, calls=calls)
