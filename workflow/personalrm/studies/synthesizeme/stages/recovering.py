"""Stage `recovery`: a model says which planted facts the personas state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from personalrm.core.records import UserData, write_records
from personalrm.judge.call_recorder import Listener
from personalrm.llm.types import LanguageModel
from personalrm.personas.fidelity import others_of
from personalrm.personas.records import UserRecovery
from personalrm.personas.recovery import RecoveryQuestion, read_rubric, stated_facts
from personalrm.studies.synthesizeme.stages.analysing import personas_of
from personalrm.studies.synthesizeme.stages.runner import Job, each_user, evaluated_users, refuse_outage
from personalrm.studies.synthesizeme.stages.settings import recovery_question


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
