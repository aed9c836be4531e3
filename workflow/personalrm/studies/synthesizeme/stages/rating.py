"""Stages `rate` and `panel`: judgments of the pairs by models, for the filters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from personalrm.core.concurrency import concurrently
from personalrm.core.conditions import VerdictMode
from personalrm.core.errors import ConfigError
from personalrm.core.records import UserData, read_records
from personalrm.data.filters.filter_settings import RELEASED, FilterSettings, PersonalizableSettings
from personalrm.data.filters.filters import personalizable, sample_of
from personalrm.data.filters.rate import PanelSettings, panel_votes, rate_pair, rating_prompts
from personalrm.data.filters.ratings import PairRating, UserPanel, UserRatings
from personalrm.data.settings import Dataset
from personalrm.data.sources.votes import decided
from personalrm.judge.call_recorder import Listener
from personalrm.llm.types import LanguageModel
from personalrm.run.stage import Files, Stage, Wildcards
from personalrm.studies.runner import provider_errors
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.runner import Job, read_users


def filters_of(settings: Dataset) -> FilterSettings:
    """The filters of a data set. Raises ConfigError where it has none."""
    if settings.filters is None:
        raise ConfigError(f"datasets.{settings.name}.filters: not set, so there is nothing to ask models")
    return settings.filters


def rating_of(config: Config, dataset: str) -> PersonalizableSettings:
    """How a data set's pairs are rated. Raises ConfigError where they are not."""
    rated = filters_of(config.datasets[dataset]).personalizable
    if rated is None:
        raise ConfigError(f"datasets.{dataset}.filters.personalizable: not set, so there is nothing to rate")
    return rated


def panel_settings(config: Config, dataset: str, model: str) -> PanelSettings:
    """How a member of the disagreement panel is asked: each order by itself, with reasons where it writes text."""
    entry, filters = config.models[model], config.datasets[dataset].filters
    mode: VerdictMode = "text" if entry.verdicts[0] == "text" else "logprob"
    longest = filters.disagreement.max_tokens if filters and filters.disagreement else entry.max_tokens
    return PanelSettings(style=entry.prompts, mode=mode, max_tokens=longest)


async def rate_stage(job: Job, *, dataset: str, users: Path, out: Path) -> None:
    """Write one `UserRatings` per user of a shard."""
    filters, rated = filters_of(job.config.datasets[dataset]), rating_of(job.config, dataset)
    style = job.config.models[rated.model].prompts

    async def work(client: LanguageModel, user: UserData) -> UserRatings:
        listener = Listener(client, "rate")
        pairs = sample_of(user, filters.sample)
        ratings = await concurrently(*(rate_pair(listener, pair, style, rated.max_tokens) for pair in pairs))
        return UserRatings(
            dataset=dataset,
            user_id=user.user_id,
            model=rated.model,
            ratings=tuple(ratings),
            failed=listener.failed,
            calls=listener.calls,
            prompts={prompt.name: prompt.label for prompt in rating_prompts(style)},
        )

    await job.execute(RATE, rated.model, [read_users(users)], work, out)


async def panel_stage(job: Job, *, dataset: str, users: Path, ratings: Iterable[Path], out: Path, model: str) -> None:
    """Write one `UserPanel` per user of a shard: one member's votes on the pairs that the ratings leave."""
    filters, settings = filters_of(job.config.datasets[dataset]), panel_settings(job.config, dataset, model)
    rated, said = filters.personalizable, read_ratings(ratings)

    async def work(client: LanguageModel, user: UserData) -> UserPanel:
        listener = Listener(client, "panel")
        pairs = decided(sample_of(user, filters.sample))
        asked = [pair for pair in pairs if rated is None or personalizable(said.get(pair.pair_id), rated)]
        votes = await concurrently(*(panel_votes(listener, pair, settings) for pair in asked))
        return UserPanel(
            dataset=dataset,
            user_id=user.user_id,
            model=model,
            votes=tuple(vote for both in votes for vote in both),
            gated=len(pairs) - len(asked),
            calls=listener.calls,
            prompts={settings.prompt.name: settings.prompt.label},
        )

    await job.execute(PANEL, model, [read_users(users)], work, out)


def read_ratings(paths: Iterable[Path]) -> dict[str, PairRating]:
    """Ratings of some files, by pair."""
    rows = (row for path in paths for row in read_records(path, UserRatings))
    return {rating.pair_id: rating for row in rows for rating in row.ratings}


def _reads(plan: Plan, dataset: str, model: str) -> dict[str, Any]:
    """Thresholds are not among them: they are applied later, but for those that gate the panel."""
    sample = filters_of(plan.config.datasets[dataset]).sample
    return {"sample": sample, "model": plan.config.models[model].spec(model).identity}


def _rate_reads(plan: Plan, job: Wildcards) -> dict[str, Any]:
    rated = rating_of(plan.config, job.dataset)
    prompts = [prompt.id for prompt in rating_prompts(plan.config.models[rated.model].prompts)]
    return _reads(plan, job.dataset, rated.model) | {"prompts": prompts, "max_tokens": rated.max_tokens}


def _panel_reads(plan: Plan, job: Wildcards) -> dict[str, Any]:
    settings = panel_settings(plan.config, job.dataset, job.model)
    rated = filters_of(plan.config.datasets[job.dataset]).personalizable
    gate = [rated.min_query, rated.min_responses] if rated else None
    asked = {"judge": asdict(settings), "prompts": [settings.prompt.id], "gate": gate}
    return _reads(plan, job.dataset, job.model) | asked


def _panel_inputs(plan: Plan, job: Wildcards) -> Files:
    ratings = [path for path in plan.rating_paths(job.dataset) if Path(path).stem == job.shard]
    return {"users": plan.unfiltered(job), "ratings": ratings}


RATE: Stage[Plan] = Stage(
    name="rate",
    output="data/{dataset}/ratings/{shard}.jsonl",
    place="rate/{dataset}/{shard}",
    combinations=lambda plan: [
        Wildcards(dataset=name) for name in plan.filtered if plan.rater(name) not in (None, RELEASED)
    ],
    inputs=lambda plan, job: {"users": plan.unfiltered(job)},
    reads=_rate_reads,
    work=rate_stage,
    asks=lambda plan, job: [rating_of(plan.config, job.dataset).model],
    batches=True,
    record=UserRatings,
    lost=lambda row: row.failed,
    counted=lambda row: 2 * len(row.ratings),
)
PANEL: Stage[Plan] = Stage(
    name="panel",
    output="data/{dataset}/panel/{model}/{shard}.jsonl",
    place="panel/{dataset}/{model}/{shard}",
    combinations=lambda plan: [
        Wildcards(dataset=name, model=model)
        for name in plan.filtered
        for model in plan.config.datasets[name].panel
        if model != RELEASED
    ],
    inputs=_panel_inputs,
    reads=_panel_reads,
    work=panel_stage,
    asks="model",
    batches=True,
    record=UserPanel,
    lost=lambda row: provider_errors(row.votes),
    counted=lambda row: len(row.votes),
)
