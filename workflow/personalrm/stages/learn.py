"""Stages `bootstrap` and `profile`: what one model learns about the users of one shard."""

from __future__ import annotations

from pathlib import Path

from personalrm.bootstrap import BootstrapSettings, bootstrap_pairs
from personalrm.errors import ModelCallError
from personalrm.judge import Recorder, Shown
from personalrm.llm.types import LanguageModel
from personalrm.profile import learn_profile
from personalrm.records import Profile, UserData, UserTraces, read_records, write_records
from personalrm.settings import bootstrap_settings, draws_for, profile_settings
from personalrm.stages.runner import Job, each_user, read_users, refuse_outage


async def bootstrap_stage(job: Job, *, users: Path, out: Path, model: str, variant: str) -> None:
    """Write one `UserTraces` a user: attempts at all context pairs, whatever k will be."""
    settings = bootstrap_settings(job.config, model)
    people = read_users(users)
    async with job.model(model) as port:

        async def work(user: UserData) -> UserTraces:
            return await _traces(port, user, variant, settings)

        rows = await each_user(people, work, f"bootstrap {model}")
    _refuse_lost_traces(rows, job.config.max_failed_share)
    write_records(out, rows)


async def _traces(port: LanguageModel, user: UserData, variant: str, settings: BootstrapSettings) -> UserTraces:
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


def _refuse_lost_traces(rows: list[UserTraces], max_failed_share: float) -> None:
    attempts = [trace for row in rows for trace in row.traces]
    failed = sum(trace.outcome == "provider_error" for trace in attempts)
    if attempts and failed / len(attempts) > max_failed_share:
        raise ModelCallError(
            f"{failed} of {len(attempts)} attempts failed at the provider, more than max_failed_share = "
            f"{max_failed_share:g}. All answers so far are kept; run the same command again later."
        )


async def profile_stage(job: Job, *, users: Path, traces: Path, out: Path, model: str, variant: str, k: int) -> None:
    """Write one `Profile` a user and draw: persona and demonstrations learned from k context pairs."""
    settings = profile_settings(job.config, model, variant)
    known = {row.user_id: row for row in read_records(traces, UserTraces)}
    people = read_users(users)
    rows: list[Profile] = []
    async with job.model(model) as port:
        for draw in draws_for(job.config, k):

            async def work(user: UserData, draw: int = draw) -> Profile:
                return await learn_profile(port, user, known[user.user_id], k, draw, settings)

            rows += await each_user(people, work, f"profile {model} k={k} draw={draw}")
    refuse_outage(rows, job.config.max_failed_share)
    write_records(out, rows)
