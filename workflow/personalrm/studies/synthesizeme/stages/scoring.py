"""Stage `score_attributes`: by how much each answer of a pair has more of named attributes, as a model says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from personalrm.core.errors import ConfigError
from personalrm.core.records import QuestionKinds, UserData, UserScores
from personalrm.judge.attribute_settings import AttributeSettings
from personalrm.judge.attributes import ScoreSettings, score_pairs
from personalrm.judge.call_recorder import CallRecorder
from personalrm.judge.prompting import Prompt
from personalrm.judge.question_kinds import kinds_from_source, kinds_prompt, name_kinds
from personalrm.llm.types import LanguageModel
from personalrm.methods.taste.weights import LEAST_OF_KIND
from personalrm.run.stage import Stage, Wildcards
from personalrm.studies.runner import USERS_AT_ONCE
from personalrm.studies.settings import STAGE_VERSION
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.runner import Job, read_users

LABELLED_AT_ONCE = 8
"""Users whose pairs are scored at the same time where each attribute is a call: they have thousands of them."""


def scoring_of(config: Config) -> AttributeSettings:
    """How the run's pairs are scored. Raises ConfigError where they are not."""
    if config.scoring is None:
        raise ConfigError("attributes: not set, and no method needs scores; there is nothing to ask models")
    return config.scoring


def score_settings(config: Config, model: str) -> ScoreSettings:
    """How a model scores: in words or by labels, as its first kind of verdict."""
    entry, scoring = config.models[model], scoring_of(config)
    return ScoreSettings(
        style=entry.prompts,
        mode=entry.verdicts[0],
        orders=scoring.orders,
        max_tokens=scoring.max_tokens,
        json_schema=scoring.json_schema,
    )


async def score_stage(job: Job, *, dataset: str, users: Path, out: Path, model: str) -> None:
    """Write one `UserScores` per user of a shard, of all pairs: of users who are not evaluated, and of ties, too."""
    settings, bank = score_settings(job.config, model), scoring_of(job.config).selected()
    asked = kinds_prompts(job.config)

    async def work(client: LanguageModel, user: UserData) -> UserScores:
        recorder = CallRecorder(client, "score_attributes")
        pairs = await score_pairs(recorder, user.pairs, bank, settings)
        kinds = await question_kinds(recorder, user, scoring_of(job.config))
        return UserScores(
            dataset=dataset,
            user_id=user.user_id,
            model=model,
            pairs=pairs,
            kinds=kinds,
            lost=recorder.failed,
            calls=recorder.calls,
            prompts={prompt.name: prompt.label for prompt in (*settings.prompts, *asked)},
        )

    at_once = USERS_AT_ONCE if settings.mode == "text" else LABELLED_AT_ONCE
    if job.config.models[model].backend == "embedded":
        # Its states of prompts are few: a pair's calls must not wait for those of other users' pairs.
        at_once = 1
    await job.execute(SCORE, model, _groups(read_users(users), at_once), work, out)


async def question_kinds(model: LanguageModel, user: UserData, scoring: AttributeSettings) -> QuestionKinds | None:
    """Kinds of question of a user; None where none are asked for, or too few pairs could have weights by kind."""
    if scoring.kinds == "none" or len(user.pairs) < 2 * LEAST_OF_KIND:
        return None
    if scoring.kinds == "conversation_type":
        return kinds_from_source(user.pairs)
    return await name_kinds(model, user.pairs, json_schema=scoring.json_schema)


def kinds_prompts(config: Config) -> tuple[Prompt, ...]:
    """The prompt file that kinds of question rest on; none where no model names them."""
    return (kinds_prompt(),) if scoring_of(config).kinds == "model" else ()


def _groups(users: Sequence[UserData], size: int) -> Iterator[Sequence[UserData]]:
    return (users[start : start + size] for start in range(0, len(users), size))


def _reads(plan: Plan, job: Wildcards) -> dict[str, Any]:
    """Neither the seed nor who is evaluated is among them: they change no score."""
    entry, settings = plan.config.models[job.model], score_settings(plan.config, job.model)
    values = asdict(settings)
    if settings.mode != "text":
        # What concerns the writing of ratings; both kinds of log-probability verdicts make the same calls.
        values = {name: value for name, value in values.items() if name not in ("mode", "max_tokens", "json_schema")}
    scoring = scoring_of(plan.config)
    return {
        "version": STAGE_VERSION,
        "bank": scoring.selected().asked_sha,
        "settings": values,
        "model": entry.spec(job.model).identity,
        "window": [entry.context_length, str(entry.tokenizer or "")],
        "prompts": sorted(prompt.id for prompt in (*settings.prompts, *kinds_prompts(plan.config))),
        # Not there without kinds, so that scores from before there were any are not made again.
        **({} if scoring.kinds == "none" else {"kinds": [scoring.kinds, LEAST_OF_KIND, scoring.json_schema]}),
    }


SCORE: Stage[Plan] = Stage(
    name="score_attributes",
    output="attributes/{dataset}/{model}/{shard}.jsonl",
    combinations=lambda plan: Wildcards.every(dataset=plan.config.judged, model=plan.config.scoring_models),
    inputs=lambda plan, job: {"users": plan.users(job)},
    reads=_reads,
    work=score_stage,
    asks="model",
    batches=True,
    record=UserScores,
    lost=lambda row: row.lost,
    counted=lambda row: len(row.calls) + row.lost,
)
