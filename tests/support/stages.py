"""The stages of one user, from traces to verdicts, without Snakemake."""

from __future__ import annotations

import asyncio
from pathlib import Path

from personalrm.core.records import JudgedUser, Profile, UserData, read_records, write_records
from personalrm.core.tastes import UserTaste
from personalrm.data.prepare import read_users
from personalrm.data.settings import LocalDataset
from personalrm.data.sources.reading import ReadReport
from personalrm.llm.open import RuntimeSettings
from personalrm.studies.config_load import parse_config
from personalrm.studies.synthesizeme.stages.fit import fit_stage
from personalrm.studies.synthesizeme.stages.judging import judge_stage
from personalrm.studies.synthesizeme.stages.learn import bootstrap_stage, profile_stage
from personalrm.studies.synthesizeme.stages.runner import Job
from personalrm.studies.synthesizeme.stages.scoring import score_stage
from personalrm.studies.synthesizeme.stages.tasting import taste_stage
from personalrm.studies.synthesizeme.stages.weighing import weigh_stage

VOTES = Path(__file__).parents[2] / "resources" / "quickstart" / "votes.jsonl"


def bundled(user: str) -> UserData:
    (found,) = read_users(LocalDataset(name="people", path=VOTES, users=[user]), ReadReport()).users
    return found


def run_stages(user: UserData, url: str, folder: Path) -> tuple[Profile, JudgedUser]:
    search = {"num_search_candidates": 2, "max_bootstrapped_demos": len(user.part("context")), "stop_at_score": None}
    config = parse_config(
        {
            "run": "r",
            "seed": 42,
            "store": str(folder / "store.sqlite"),
            "datasets": {"people": {"path": str(VOTES)}},
            "models": {"m": {"backend": "openai", "model": "some/model", "api_base": url, "context_length": 131072}},
            "methods": ["both"],
            "learn": {"models": ["m"], "search": search},
        }
    )
    job = Job(config, RuntimeSettings(folder / "servers", 1))
    users, traces, profiles, verdicts = (folder / f"{name}.jsonl" for name in ("users", "traces", "profiles", "out"))
    write_records(users, [user])

    async def stages() -> None:
        await bootstrap_stage(job, users=users, out=traces, model="m", variant="corrected")
        await profile_stage(job, users=users, traces=traces, out=profiles, model="m", variant="corrected", k="all")
        await judge_stage(job, users=users, out=verdicts, judge="m", profiles=profiles, model="m", variant="corrected")

    asyncio.run(stages())
    (profile,), (judged,) = read_records(profiles, Profile), read_records(verdicts, JudgedUser)
    return profile, judged


def measure_stages(user: UserData, url: str, bank: Path, folder: Path) -> tuple[UserTaste, JudgedUser]:
    """The taste of one user, and verdicts by it on the test pairs."""
    config = parse_config(
        {
            "run": "r",
            "store": str(folder / "store.sqlite"),
            "datasets": {"people": {"path": str(VOTES)}},
            "models": {"m": {"backend": "openai", "model": "some/model", "api_base": url, "context_length": 131072}},
            "methods": ["attributes"],
            "attributes": {"bank": str(bank)},
            "learn": {"models": ["m"]},
        }
    )
    job = Job(config, RuntimeSettings(folder / "servers", 1))
    users, scores, fit, taste, verdicts = (folder / f"{n}.jsonl" for n in ("users", "scores", "fit", "taste", "out"))
    write_records(users, [user])
    asyncio.run(score_stage(job, dataset="people", users=users, out=scores, model="m"))
    fit_stage(job, users=[users], out=fit, dataset="people", method="attributes", model="m", scores=[scores])
    taste_stage(job, users=users, scores=scores, fitted=[fit], out=taste)
    weigh_stage(job, users=users, out=verdicts, fitted=[fit], judge="m", scores=scores)
    (measured,), (judged,) = read_records(taste, UserTaste), read_records(verdicts, JudgedUser)
    return measured, judged
