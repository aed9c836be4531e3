"""Stage `recovery`: a model says which planted facts the personas state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personalrm.core.records import UserData, write_records
from personalrm.judge.call_recorder import Listener
from personalrm.llm.types import LanguageModel
from personalrm.personas.fidelity import others_of
from personalrm.personas.records import UserRecovery
from personalrm.personas.recovery import RecoveryQuestion, read_rubric, stated_facts
from personalrm.personas.settings import RecoverySettings
from personalrm.run.stage import Files, Stage, Wildcards
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.stages.analysing import (
    analysis_reads,
    personas_at_largest_k,
    personas_of,
    readings,
)
from personalrm.studies.synthesizeme.stages.runner import Job, each_user, evaluated_users, refuse_outage

if TYPE_CHECKING:
    from personalrm.studies.synthesizeme.plan import Plan


def recovery_question(config: Config, judge: str) -> RecoveryQuestion:
    """How `judge` is asked which facts a persona states."""
    settings = config.analysis.recovery or RecoverySettings()
    style = config.models[judge].prompts
    return RecoveryQuestion(style=style, max_tokens=settings.max_tokens, others=settings.others, seed=config.seed)


async def recovery_stage(
    job: Job, *, users: Path, profiles: Sequence[Path], rubric: Path, out: Path, model: str, judge: str, variant: str
) -> None:
    """Write one `UserRecovery` a user of one shard. `profiles` are those of all shards: others come from them."""
    question, facts = recovery_question(job.config, judge), read_rubric(rubric)
    personas = personas_of(profiles)
    people = evaluated_users(users, job.config.evaluate_users)
    async with job.model(judge) as client:

        async def work(user: UserData) -> UserRecovery:
            base = UserRecovery.of(user, variant=variant, model=model, judge=judge, k=job.config.largest_k)
            base = base.model_copy(update={"facts": facts.get(user.user_id, ())})
            return await judge_recovery(client, personas, base, question)

        rows = await each_user(people, work, f"recovery {model}")
    lost = (number < row.failed for row in rows for number in range(row.asked))
    refuse_outage(lost, "questions about personas", job.config.max_failed_share)
    write_records(out, rows)


async def judge_recovery(
    client: LanguageModel, personas: Mapping[str, str], base: UserRecovery, question: RecoveryQuestion
) -> UserRecovery:
    """`base` with what the user's own persona and others' are said to state, or with what is missing to ask."""
    if not base.facts or base.user_id not in personas:
        return base.model_copy(update={"missing": "no persona" if base.facts else "no facts"})
    listener = Listener(client, "recovery")
    read = (base.user_id, *others_of(base.user_id, personas, question.others, question.seed))
    stated = {whose: await stated_facts(listener, personas[whose], base.facts, question) for whose in read}
    return base.model_copy(
        update={
            "stated": stated,
            "asked": listener.asked,
            "failed": listener.failed,
            "calls": listener.calls,
            "prompts": {question.prompt.name: question.prompt.label},
        }
    )


def _jobs(plan: Plan) -> Iterator[Wildcards]:
    recovery = plan.config.analysis.recovery
    return readings(plan, recovery.pairs(plan.config.learn.models) if recovery else [])


def _inputs(plan: Plan, job: Wildcards) -> Files:
    rubric = (plan.config.analysis.recovery or RecoverySettings()).rubric
    return {"users": plan.users(job), "profiles": personas_at_largest_k(plan, job), "rubric": str(rubric)}


def _reads(plan: Plan, job: Wildcards) -> dict[str, Any]:
    question = recovery_question(plan.config, job.judge)
    more = {"k": plan.config.largest_k, "users": plan.config.evaluate_users}
    return analysis_reads(plan.config, job.judge, question, [question.prompt.sha]) | more


RECOVERY: Stage[Plan] = Stage(
    name="recovery",
    output="analysis/recovery/{dataset}/{variant}/{model}-by-{judge}/{shard}.jsonl",
    combinations=_jobs,
    inputs=_inputs,
    reads=_reads,
    work=recovery_stage,
    asks="judge",
    record=UserRecovery,
    lost=lambda row: row.failed,
)
