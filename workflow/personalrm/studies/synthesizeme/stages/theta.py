"""Stage `theta`: the persona prompt optimised on train users, as a program file with its provenance."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from personalrm.core.errors import ConfigError, DataError, ModelCallError
from personalrm.core.files import atomic_write_text, stable_hash
from personalrm.core.records import UserData
from personalrm.judge.call_recorder import CallRecorder
from personalrm.llm.types import LanguageModel
from personalrm.methods.synthesizeme.bootstrap import verified
from personalrm.methods.synthesizeme.persona import PersonaSettings
from personalrm.methods.synthesizeme.profile import ProfileSettings
from personalrm.methods.synthesizeme.search import search
from personalrm.methods.synthesizeme.theta import ThetaOptimiser, provenance_of_texts, saved_judgements
from personalrm.methods.synthesizeme.theta_search import (
    PREDICTOR,
    Found,
    Student,
    ThetaSettings,
    judgements_text,
    search_theta,
    split_users,
)
from personalrm.methods.synthesizeme.variants import CORRECTED, parse_variant
from personalrm.run.stage import Files, Stage, Wildcards
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.learn import learn_traces, profile_reads, profile_settings
from personalrm.studies.synthesizeme.stages.runner import Job, read_users


async def theta_stage(job: Job, *, users: Sequence[Path], out: Path, theta: str, model: str) -> None:
    """Write the program file that MIPROv2 finds for one model.

    Raises DataError where no data set has train users, and ModelCallError as the client does.
    """
    optimiser = optimiser_of(job.config, theta)
    people = train_users([user for path in users for user in read_users(path)], optimiser.max_users)
    if not people:
        raise DataError(
            f"thetas.{theta}: none of its data sets has train users (needs user_split.min_users users); lower "
            "min_users, or give a program file"
        )
    learned = profile_settings(job.config, model, CORRECTED)
    async with job.model(model) as client, job.model(optimiser.proposer or model) as proposer:
        students = [await learn_student(client, user, learned) for user in people]
        kept = [student for student in students if student.judgements and student.validation]
        persona = replace(learned.persona, theta=None)
        settings = ThetaSettings(persona, learned.search.judge, optimiser, job.config.seed)
        found = await search_theta(client, proposer, kept, settings, theta)
    provenance = {
        "model": model,
        "proposer": optimiser.proposer or model,
        "users": len(kept),
        "users_scored": len(split_users(kept, settings).scored),
        "settings": optimiser.model_dump(mode="json"),
        "seed": job.config.seed,
        "prompt": {settings.persona.prompt.name: settings.persona.prompt.label},
        **provenance_of_texts(pair for user in people for pair in user.pairs),
    }
    atomic_write_text(out, program_text(found, settings.persona, provenance))


def optimiser_of(config: Config, theta: str) -> ThetaOptimiser:
    """How a Theta is found. Raises ConfigError for one that is given."""
    optimiser = config.thetas[theta].optimise
    if optimiser is None:
        raise ConfigError(f"thetas.{theta}.optimise: not set, so there is nothing to find")
    return optimiser


def optimised_thetas(config: Config) -> Iterator[tuple[str, str]]:
    """(Theta, model) of each Theta that a run finds itself."""
    used = {theta for variant in config.variants if (theta := parse_variant(variant).theta)}
    for name in sorted(used):
        optimiser = config.thetas[name].optimise
        if optimiser:
            yield from ((name, model) for model in ([optimiser.model] if optimiser.model else config.learn.models))


def train_users(people: Sequence[UserData], most: int) -> list[UserData]:
    """Train users of the user split, at most `most` of each data set, by a stable hash."""
    train = [user for user in people if user.user_split == "train"]
    train.sort(key=lambda user: (user.dataset, stable_hash(user.dataset, user.user_id)))
    names = dict.fromkeys(user.dataset for user in train)
    return [user for name in names for user in [user for user in train if user.dataset == name][:most]]


async def learn_student(client: LanguageModel, user: UserData, learned: ProfileSettings) -> Student:
    """Stage 1 for one user: traces, and the judgements that win without a persona.

    Raises ModelCallError where the provider failed a call, so that no Theta rests on lost calls.
    """
    counted = CallRecorder(client, "theta")
    traces = await learn_traces(counted, user, CORRECTED, learned.bootstrap)
    context, validation = user.part("context"), user.part("validation")
    known = verified(traces.traces)
    won = await search(counted, context, known, validation, learned.search, allow_empty=False)
    if counted.failed:
        raise ModelCallError(f"user {user.user_id}: {counted.failed} calls lost; run the same command again")
    return Student(user.user_id, won.judgements, validation)


def program_text(found: Found, persona: PersonaSettings, provenance: dict[str, Any]) -> str:
    """A program as DSPy saves it, with what it was made of; `theta.read_theta` reads it.

    Demonstrations hold the text of their judgements, for other readers, and the judgements themselves.
    """
    theta = found.theta
    demos = [
        {
            "past_judgements": judgements_text(shown.judgements, persona),
            "judgements": saved_judgements(shown.judgements),
            "synthesized_persona": shown.persona,
        }
        for shown in theta.demonstrations
    ]
    fields = [
        {"prefix": "Past Judgements:", "description": "${past_judgements}"},
        {"prefix": "Synthesized Persona:", "description": "${synthesized_persona}"},
    ]
    signature = {"instructions": theta.instruction, "fields": fields}
    trials = [trial._asdict() for trial in found.trials]
    scores = {"as_it_was": found.trials[0].score, "best": found.best_score, "trials": trials}
    program = {
        f"{PREDICTOR}.predict": {"lm": None, "traces": [], "train": [], "demos": demos, "signature": signature},
        "metadata": {"provenance": provenance, "validation_accuracy_percent": scores},
    }
    return json.dumps(program, indent=1, ensure_ascii=False) + "\n"


def _inputs(plan: Plan, job: Wildcards) -> Files:
    names = optimiser_of(plan.config, job.theta).datasets or plan.config.judged
    return {"users": [path for name in names for path in plan.shard_paths(name)]}


def _reads(plan: Plan, job: Wildcards) -> dict[str, Any]:
    optimiser = optimiser_of(plan.config, job.theta).model_dump(mode="json")
    return {"optimiser": optimiser, "learned": profile_reads(plan, Wildcards(model=job.model, variant=CORRECTED))}


THETA: Stage[Plan] = Stage(
    name="theta",
    output="thetas/{theta}/{model}.json",
    combinations=lambda plan: [Wildcards(theta=name, model=model) for name, model in optimised_thetas(plan.config)],
    inputs=_inputs,
    reads=_reads,
    work=theta_stage,
    asks=lambda plan, job: (job.model, optimiser_of(plan.config, job.theta).proposer or job.model),
)
