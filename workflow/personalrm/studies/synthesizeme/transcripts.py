"""Stage `transcripts`: the page on which every judgment of a run can be read, with what was sent and what came back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TypeVar

from personalrm.core.files import atomic_write_text
from personalrm.core.records import JudgedUser, Profile, UserData, read_records
from personalrm.core.tastes import UserTaste
from personalrm.llm.cache.store import ResponseStore
from personalrm.methods.registry import parse_method
from personalrm.studies.config_load import read_resolved
from personalrm.studies.preflight import load_environment
from personalrm.studies.report.page_parts import asset, embedded_json, render, script_hash
from personalrm.studies.study_config import of_study
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.fit import fitted_paths, read_fitted
from personalrm.studies.synthesizeme.transcript_data import Transcripts, UserKey, choose_users

R = TypeVar("R", UserData, Profile, UserTaste, JudgedUser)


def transcripts_stage(config_file: Path, out: Path, max_judgments: int) -> None:
    """Write the page of a run's judgments; of a run with more than `max_judgments`, of some users. Makes no call.

    Addresses in environment variables are part of the keys of answers, so the environment is read first.
    """
    load_environment()
    config = of_study(read_resolved(config_file), Config)
    plan = Plan(config)
    counts: Counter[tuple[str, str]] = Counter()
    for row in chain.from_iterable(read_records(Path(path), JudgedUser) for path in plan.verdict_paths()):
        counts[row.dataset, row.user_id] += max(1, len(row.verdicts))
    chosen = choose_users(counts, max_judgments)
    with ExitStack() as stack:
        store = stack.enter_context(ResponseStore(config.store)) if config.store.is_file() else None
        artefacts = {name: read_fitted(map(Path, _shown_artefacts(plan, name))) for name in config.datasets}
        found = Transcripts(config, store, artefacts)
        users = (path for name in config.datasets for path in plan.shard_paths(name))
        for user in _of(users, UserData, chosen):
            found.add_user(user)
        for profile in _of(plan.profile_paths(), Profile, chosen):
            found.add_profile(profile)
        for taste in _of(plan.paths("taste"), UserTaste, chosen):
            found.add_taste(taste)
        for judged in _of(plan.verdict_paths(), JudgedUser, chosen):
            found.add_judged(judged)
        data = found.data()
    script = asset("transcripts.js")
    page = render(
        "transcripts.html.jinja",
        run=config.run,
        n_users=len(counts),
        n_shown=len(chosen),
        n_judgments=sum(counts.values()),
        n_judgments_shown=sum(counts[key] for key in chosen),
        style=asset("report.css") + asset("transcripts.css"),
        script=script,
        script_hash=script_hash(script),
        data=embedded_json(data),
    )
    atomic_write_text(out, page)


def _shown_artefacts(plan: Plan, dataset: str) -> list[str]:
    """Files of artefacts that prompts were made from."""
    asking = [name for name in plan.config.methods if parse_method(name).method.needs in ("judge", "profile")]
    return fitted_paths(plan, dataset, asking)


def _of(paths: Iterable[str], record: type[R], chosen: frozenset[UserKey]) -> Iterator[R]:
    """Rows of the chosen users."""
    rows = chain.from_iterable(read_records(Path(path), record) for path in paths)
    return (row for row in rows if (row.dataset, row.user_id) in chosen)
