"""Stages `bootstrap` and `profile`: what one model learns about the users of one shard."""

from __future__ import annotations

from pathlib import Path

from personalrm.bootstrap import BootstrapSettings, bootstrap_pairs
from personalrm.judge import Recorder, Shown
from personalrm.llm.types import LanguageModel
from personalrm.profile import learn_profile, with_theta
from personalrm.records import Profile, UserData, UserTraces, read_records, write_records
from personalrm.stages.runner import Job, each_user, evaluated_users, refuse_outage
from personalrm.stages.settings import bootstrap_settings, draws_for, profile_settings
from personalrm.theta import read_theta
from personalrm.variants import parse_variant


async def bootstrap_stage(job: Job, *, users: Path, out: Path, model: str, variant: str) -> None:
    """Write one `UserTraces` a user: attempts at all context pairs, whatever k will be."""
    settings = bootstrap_settings(job.config, model, variant)
    people = evaluated_users(users, job.config.evaluate_users)
    async with job.model(model) as port:

        async def work(user: UserData) -> UserTraces:
            return await learn_traces(port, user, variant, settings)

        rows = await each_user(people, work, f"bootstrap {model}")
    lost = (trace.outcome == "provider_error" for row in rows for trace in row.traces)
    refuse_outage(lost, "attempts", job.config.max_failed_share)
    write_records(out, rows)


async def learn_traces(port: LanguageModel, user: UserData, variant: str, settings: BootstrapSettings) -> UserTraces:
    """Attempts at all context pairs of one user."""
    recorder = Recorder(port, "bootstrap")
    pairs = user.part("context")
    traces = await bootstrap_pairs(recorder, pairs, Shown(), settings)
    return UserTraces(
        dataset=user.dataset,
        user_id=user.user_id,
        model=port.spec.name,
        variant=variant,
        status="ok" if pairs else "empty",
        reason=None if pairs else user.excluded or "no context pairs",
        traces=traces,
        calls=recorder.calls,
        prompts={settings.judge.prompt.name: settings.judge.prompt.label},
    )


async def profile_stage(job: Job, *, users: Path, traces: Path, out: Path, model: str, variant: str, k: int) -> None:
    """Write one `Profile` a user and draw: persona and demonstrations learned from k context pairs."""
    used = parse_variant(variant).theta
    theta = read_theta(job.config.thetas[used].path) if used else None
    settings = with_theta(profile_settings(job.config, model, variant), theta)
    known = {row.user_id: row for row in read_records(traces, UserTraces)}
    people = evaluated_users(users, job.config.evaluate_users)
    rows: list[Profile] = []
    async with job.model(model) as port:
        for draw in draws_for(job.config, k):

            async def work(user: UserData, draw: int = draw) -> Profile:
                return await learn_profile(port, user, known[user.user_id], k, draw, settings)

            rows += await each_user(people, work, f"profile {model} k={k} draw={draw}")
    reason = next((row.reason for row in rows if row.status == "failed"), None)
    learned = (row.status == "failed" for row in rows if row.status != "empty")
    refuse_outage(learned, "profiles", job.config.max_failed_share, reason)
    write_records(out, rows)
