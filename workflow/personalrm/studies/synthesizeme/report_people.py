"""The people of the report: for each user the persona, the weights, the demonstrations, and every test pair with and
without what was learned."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from personalrm.core.lazy import special
from personalrm.core.records import BASELINE, PreferencePair, Profile, UserData, read_all
from personalrm.core.tastes import Taste, UserTaste
from personalrm.judge.attribute_bank import load_bank
from personalrm.methods.taste.statements import SURFACE_POLES
from personalrm.results.conditions import Condition, by_condition
from personalrm.results.labels import UNUSED, k_label, k_rank
from personalrm.results.lazy import pd
from personalrm.results.stats.statistics import CONFIDENCE
from personalrm.studies.report.judgments import Key, choose_whole
from personalrm.studies.report.shown import Demonstration, Dots, Mark, People, Person, PersonaText, Weight, short
from personalrm.studies.synthesizeme.plan import Plan


class Telling(NamedTuple):
    """A condition whose pairs are shown, and what it is called there."""

    condition: Condition
    label: str


Marks = dict[str, Mark]
"""By pair."""
Compared = Mapping[str, Sequence[Telling]]
"""By data set, the conditions whose pairs are shown, the most telling first."""
Words = Mapping[str, tuple[str, str]]
"""Words for more and for less of a feature."""
R = TypeVar("R", UserData, Profile, UserTaste)
MOST_PEOPLE = 48
"""Users on the page; the table of users has all. They are the first of those that the transcripts show."""
MOST_METHODS = 3
"""Methods whose pairs are shown, in addition to Default."""
MOST_WEIGHTS = 4


def people_of(plan: Plan, verdicts: pd.DataFrame, compared: Compared, folds: Collection[str] = ()) -> People:
    """Users of a run, at most `MOST_PEOPLE`.

    Args:
        plan: the run; its users, profiles and tastes are read.
        verdicts: all verdicts made flat.
        compared: whose pairs are shown.
        folds: data sets that are folds of others. A user has a profile, and a card, in each.
    """
    judged = verdicts.loc[verdicts["pair_id"].notna(), ["dataset", "user_id"]].drop_duplicates()
    keys = [(str(dataset), str(user)) for dataset, user in judged.itertuples(index=False)]
    chosen = choose_whole(dict.fromkeys(keys, 1), MOST_PEOPLE)
    users = {(user.dataset, user.user_id): user for user in _of(_users(plan), UserData, chosen)}
    profiles = _best(_of(plan.profile_paths(), Profile, chosen), compared)
    tastes = _best(_of(plan.paths("taste"), UserTaste, chosen), compared)
    ids = {user for _, user in chosen}
    marks = dict(_marks(verdicts[verdicts["user_id"].isin(ids)], compared))
    words = _words(plan)
    shown = [
        _person(users[key], profiles.get(key), tastes.get(key), words, list(_dots(users[key], compared, marks)))
        for key in sorted(chosen)
        if key in users
    ]
    noun = "users, counted in each fold" if any(dataset in folds for dataset, _ in keys) else "users"
    return People(shown, len(keys), noun=noun)


def _users(plan: Plan) -> list[str]:
    return [path for name in plan.config.datasets for path in plan.shard_paths(name)]


def _words(plan: Plan) -> Words:
    asked = plan.config.attributes
    bank = load_bank(asked.bank).attributes if asked else ()
    return {**SURFACE_POLES, **{one.id: (one.more, one.less) for one in bank}}


def _of(paths: Iterable[str], record: type[R], chosen: frozenset[Key]) -> Iterator[R]:
    return (row for row in read_all(map(Path, paths), record) if (row.dataset, row.user_id) in chosen)


P = TypeVar("P", Profile, UserTaste)


def _best(rows: Iterable[P], compared: Compared) -> dict[Key, P]:
    """One row per user: that of the most telling condition which has one, else of the most context pairs."""
    found: dict[Key, P] = {}
    for row in rows:
        key, telling = (row.dataset, row.user_id), compared.get(row.dataset, ())
        if key not in found or _rank(row, telling) < _rank(found[key], telling):
            found[key] = row
    return found


def _rank(row: Profile | UserTaste, telling: Sequence[Telling]) -> tuple[int, ...]:
    places = [place for place, one in enumerate(telling) if _rests_on(one.condition, row)]
    kind, number = k_rank(k_label(row.k))
    return min(places, default=len(telling)), row.draw, -kind, -number


def _rests_on(condition: Condition, row: Profile | UserTaste) -> bool:
    model = condition.judge_model if condition.profile_model == UNUSED else condition.profile_model
    variant = row.variant if isinstance(row, Profile) else BASELINE
    return (model, str(condition.variant), condition.k) == (row.model, variant, k_label(row.k))


def _marks(verdicts: pd.DataFrame, compared: Compared) -> Iterator[tuple[Any, Marks]]:
    """What became of each pair, by condition and user."""
    shown = [one.condition for telling in compared.values() for one in telling]
    wanted = {*shown, *(condition.default for condition in shown)}
    judged = verdicts[verdicts["pair_id"].notna()]
    for condition, rows in by_condition(judged):
        if condition not in wanted:
            continue
        for user, own in rows.groupby("user_id", observed=True):
            pairs = own.groupby("pair_id", observed=True)["outcome"]
            yield (condition, str(user)), {str(pair): _mark(frozenset(map(str, held))) for pair, held in pairs}


def _mark(outcomes: frozenset[str]) -> Mark:
    known = outcomes - {"provider_error"}
    if not known:
        return "none"
    return "split" if "correct" in known and len(known) > 1 else "right" if "correct" in known else "wrong"


def _dots(user: UserData, compared: Compared, marks: Mapping[Any, Marks]) -> Iterator[Dots]:
    """The test pairs under Default of the judge and under each method, the oldest pair first."""
    telling = list(compared.get(user.dataset, ()))
    for condition, label in [*(Telling(one.condition.default, "Default") for one in telling[:1]), *telling]:
        held = marks.get((condition, user.user_id))
        if held:
            yield Dots(label, [held[pair.pair_id] for pair in user.pairs if pair.pair_id in held])


def _person(
    user: UserData,
    profile: Profile | None,
    taste: UserTaste | None,
    words: Words,
    dots: Sequence[Dots],
) -> Person:
    personas = []
    if taste is not None:
        said = taste.persona or "The votes show no taste that is sure enough to be put into words."
        personas.append(PersonaText(f"Measured from the votes ({taste.model})", said))
    if profile is not None and profile.persona:
        personas.append(PersonaText(f"Written by {profile.model}", profile.persona))
    return Person(
        dataset=user.dataset,
        user=user.user_id,
        planted=user.planted_taste or "",
        personas=personas,
        weights=_weights(taste.taste, words) if taste is not None and taste.taste is not None else (),
        demonstrations=[
            _demonstration(one.pair, one.reasoning or "") for one in (profile.demonstrations if profile else ())
        ],
        dots=dots,
    )


def _demonstration(pair: PreferencePair, reasoning: str) -> Demonstration:
    asked = pair.context[-1].content if pair.context else ""
    return Demonstration(*map(short, (asked, pair.chosen, pair.rejected, reasoning)))


def _weights(taste: Taste, words: Words) -> list[Weight]:
    """The weights whose sign is surest; none where the votes show no taste of the user's own. They are the effects of
    single features where there are any, as in the statements."""
    if not taste.own:
        return []
    means, spread = taste.weights.effect or taste.weights.mean, taste.weights.effect_sd or taste.weights.sd
    reach = float(special.ndtri((1 + CONFIDENCE) / 2))
    known = [
        (abs(mean), sd, words[name][0 if mean > 0 else 1])
        for name, mean, sd in zip(taste.names, means, spread, strict=True)
        if name in words and sd > 0
    ]
    surest = sorted(known, key=lambda one: (-one[0] / one[1], one[2]))[:MOST_WEIGHTS]
    return [Weight(label, mean, mean - reach * sd, mean + reach * sd) for mean, sd, label in surest]
