"""Stages `released` and `filter`: released judgments of the pairs of a processed set, and what the filters leave."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from personalrm.core.errors import DataError
from personalrm.core.files import atomic_write_lines, atomic_write_text
from personalrm.core.records import PreferencePair, UserData, read_records, write_records
from personalrm.data.card import data_card
from personalrm.data.filters.filter_settings import RELEASED, FilterSettings
from personalrm.data.filters.filters import (
    SENSITIVITY_COUNTS,
    Pairs,
    Said,
    Sensitivity,
    sample_of,
    sensitivity,
    survivors,
)
from personalrm.data.filters.funnel import STEP_COUNTS, Funnel, FunnelStep, add_up, counts_of
from personalrm.data.filters.ratings import PanelVote, UserPanel
from personalrm.data.filters.released_judgments import ReleasedJudgments
from personalrm.data.history import resplit
from personalrm.data.settings import Dataset
from personalrm.data.sources.votes import decided
from personalrm.data.splits import PARTS, UserSplit
from personalrm.data.users import by_part, too_few
from personalrm.run.stage import Stage, Wildcards
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.rating import filters_of, read_ratings
from personalrm.studies.synthesizeme.stages.runner import read_users


def released_stage(plan: Plan, dataset: str) -> None:
    """Write ratings and panel votes of all shards from the judgments that a processed set comes with; makes no call."""
    (judgments,) = plan.judgment_files(dataset)
    try:
        said = ReleasedJudgments.read(Path(judgments))
        for path in plan.released_files(dataset):
            shard = Path(plan.prepared_folder(dataset), Path(path).name)
            users = read_users(shard)
            if path in plan.panel_paths(dataset):
                write_records(Path(path), [row for user in users for row in said.panel(user)])
            else:
                write_records(Path(path), [said.ratings(user) for user in users])
    except DataError as error:
        raise DataError(f"datasets.{dataset}.filters: {error}") from error


class _Part(NamedTuple):
    """What the filters left of one shard, in numbers that add up: no user is in two shards."""

    steps: list[FunnelStep]
    sensitivity: list[Sensitivity]
    counts: dict[str, Counter[str]]
    """`users`, `pairs` and `ties` of each part, near-duplicates (`alike`) and numbers of answers (`answers`)."""


def filter_stage(plan: Plan, dataset: str) -> None:
    """Apply the filters of one data set: write its users, funnel, card, and the sensitivity to thresholds.

    Holds one shard in memory at a time.
    """
    settings = plan.config.datasets[dataset]
    settings = settings.model_copy(update={"filters": _with_members(filters_of(settings), plan.panel_paths(dataset))})
    parts = [filter_shard(plan, settings, Path(path).name) for path in plan.prepared_paths(dataset)]
    funnel = Funnel.model_validate_json(Path(plan.prepared_folder(dataset), "funnel.json").read_bytes())
    steps = [add_up(same, STEP_COUNTS) for same in zip(*(part.steps for part in parts), strict=True)]
    total: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for part in parts:
        for kind, counts in part.counts.items():
            total[kind].update(counts)
    update: dict[str, Any] = {"filters": dict(total["answers"])}
    if steps:
        update |= {
            **total["users"],
            "steps": (*funnel.steps, *steps),
            "split_pairs": {part: total["pairs"][part] for part in PARTS},
            "split_ties": {part: total["ties"][part] for part in PARTS if total["ties"][part]},
            "near_duplicates": dict(total["alike"]),
        }
    funnel = funnel.model_copy(update=update)
    rows = [add_up(same, SENSITIVITY_COUNTS) for same in zip(*(part.sensitivity for part in parts), strict=True)]
    folder = Path(plan.run) / "data" / dataset
    atomic_write_lines(folder / "filter_sensitivity.jsonl", (row.model_dump_json() for row in rows))
    atomic_write_text(folder / "card.md", data_card(settings, funnel))
    atomic_write_text(folder / "funnel.json", funnel.model_dump_json(indent=2) + "\n")


def filter_shard(plan: Plan, settings: Dataset, name: str) -> _Part:
    """Write the users that the filters leave of the shard in files called `name`."""
    dataset, filters = settings.name, filters_of(settings)
    before = read_users(Path(plan.prepared_folder(dataset), name))
    ratings = [path for path in map(Path, plan.rating_paths(dataset)) if path.name == name]
    panels = [path for path in map(Path, plan.panel_paths(dataset)) if path.name == name]
    panel = [row for path in panels for row in read_records(path, UserPanel)]
    votes: defaultdict[str, list[PanelVote]] = defaultdict(list)
    for vote in (vote for row in panel for vote in row.votes):
        votes[vote.pair_id].append(vote)
    said = Said(read_ratings(ratings), dict(votes))
    pairs = {user.user_id: sample_of(user, filters.sample) for user in before}
    steps = survivors({user.user_id: user.pairs for user in before}, said, filters) if filters.apply else []
    alike: Counter[str] = Counter()
    after = [refiltered(user, steps[-1][1][user.user_id], settings, alike) for user in before] if steps else before
    last = {user.user_id: user.pairs for user in after if not user.excluded}
    if steps:
        steps = [*steps, (f"users with at least {settings.min_pairs} pairs, again", last)]
    write_records(Path(plan.run, "data", dataset, "shards", name), after)
    return _Part(
        [FunnelStep(step=step, **counts_of(left.values())) for step, left in steps],
        sensitivity(dataset, pairs, said, filters, settings.pairs_to_stay),
        {
            "users": Counter(users_written=len(last), users_excluded=len(after) - len(last)),
            "pairs": Counter(by_part(after)),
            "ties": Counter(by_part(after, ties=True)),
            "alike": alike,
            "answers": _answers(pairs, said, panel),
        },
    )


def _with_members(filters: FilterSettings, panel: Iterable[str]) -> FilterSettings:
    """The settings with the members of a released panel, which only the rows of its files name."""
    asked = filters.disagreement
    if asked is None or asked.models != [RELEASED]:
        return filters
    members = {row.model for path in panel for row in read_records(Path(path), UserPanel)}
    return filters.model_copy(update={"disagreement": asked.model_copy(update={"models": sorted(members)})})


def refiltered(
    user: UserData, pairs: Sequence[PreferencePair], settings: Dataset, alike: Counter[str] | None = None
) -> UserData:
    """A user with the pairs that are left, split again, or excluded with the reason.

    What near-duplicate prompts did to the split is added to `alike`.
    """
    if user.excluded:
        return user
    mine = decided(pairs)
    if len(mine) < settings.min_pairs:
        reason = f"{too_few(len(mine), settings.min_pairs)}, after the filters"
        return user.model_copy(update={"pairs": (), "excluded": reason})
    if settings.source == "personalrewardbench" and settings.keep_splits and len({p.split for p in mine}) == 3:
        split = UserSplit(tuple(pairs), "release")
    else:
        split = resplit(pairs, settings.split)
    if alike is not None:
        alike.update(split.alike(settings.split.similarity))
    return user.model_copy(update={"pairs": split.pairs})


def _answers(pairs: Pairs, said: Said, panel: Sequence[UserPanel]) -> Counter[str]:
    """Numbers of questions and answers, for the funnel."""
    votes, ratings = [vote for row in panel for vote in row.votes], said.ratings.values()
    return Counter(
        pairs_asked_about=sum(map(len, pairs.values())),
        query_ratings=sum(rating.query is not None for rating in ratings),
        response_ratings=sum(rating.responses is not None for rating in ratings),
        panel_votes=sum(vote.favours is not None for vote in votes),
        panel_votes_missing=sum(vote.favours is None for vote in votes),
        panel_calls_saved_by_ratings=2 * sum(row.gated for row in panel),
    )


def _filter_files(plan: Plan, job: Wildcards) -> list[str]:
    names = ("funnel.json", "card.md", "filter_sensitivity.jsonl")
    return [*plan.shard_paths(job.dataset), *(f"{plan.run}/data/{job.dataset}/{name}" for name in names)]


RELEASED_JUDGMENTS: Stage[Plan] = Stage(
    name="released",
    output=lambda plan, job: plan.released_files(job.dataset),
    combinations=lambda plan: [Wildcards(dataset=name) for name in plan.filtered if plan.released_files(name)],
    inputs=lambda plan, job: {
        "users": plan.prepared_paths(job.dataset),
        "judgments": plan.judgment_files(job.dataset),
    },
    work=released_stage,
)
FILTER: Stage[Plan] = Stage(
    name="filter",
    output=_filter_files,
    combinations=lambda plan: [Wildcards(dataset=name) for name in plan.filtered],
    inputs=lambda plan, job: {
        "users": plan.prepared_paths(job.dataset),
        "funnel": f"{plan.prepared_folder(job.dataset)}/funnel.json",
        "ratings": plan.rating_paths(job.dataset),
        "panel": plan.panel_paths(job.dataset),
    },
    reads=lambda plan, job: plan.config.datasets[job.dataset].model_dump(
        mode="json", include={"filters", "min_pairs", "split"}
    ),
    work=filter_stage,
)
