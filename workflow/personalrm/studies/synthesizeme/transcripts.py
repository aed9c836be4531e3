"""The judgments of a run, from its files and the response store, for the page of transcripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TypeVar

from personalrm.core.records import JudgedUser, Profile, UserData, read_records
from personalrm.core.tastes import UserTaste
from personalrm.llm.cache.store import ResponseStore
from personalrm.methods.registry import parse_method
from personalrm.run.stage import Files
from personalrm.studies.report.judgments import Key, Shown, choose_whole
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.fit import fitted_paths, read_fitted
from personalrm.studies.synthesizeme.transcript_data import Transcripts

R = TypeVar("R", UserData, Profile, UserTaste, JudgedUser)


def transcribed_from(plan: Plan) -> Files:
    """Files that the page is made from."""
    return {
        "users": [path for name in plan.config.datasets for path in plan.shard_paths(name)],
        "profiles": plan.profile_paths(),
        "tastes": plan.paths("taste"),
        "verdicts": plan.verdict_paths(),
    }


def judgments_of(plan: Plan, max_judgments: int) -> Shown:
    """The judgments of a run; of a run with more than `max_judgments`, those of some users."""
    config = plan.config
    counts: Counter[tuple[str, str]] = Counter()
    for row in chain.from_iterable(read_records(Path(path), JudgedUser) for path in plan.verdict_paths()):
        counts[row.dataset, row.user_id] += max(1, len(row.verdicts))
    chosen = choose_whole(counts, max_judgments)
    with ExitStack() as stack:
        store = stack.enter_context(ResponseStore(config.store)) if config.store.is_file() else None
        artefacts = {name: read_fitted(map(Path, _shown_artefacts(plan, name))) for name in config.judged}
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
    shown = sum(counts[key] for key in chosen)
    return Shown(data, "users", (len(chosen), len(counts)), (shown, sum(counts.values())))


def _shown_artefacts(plan: Plan, dataset: str) -> list[str]:
    """Files of artefacts that prompts were made from."""
    asking = [name for name in plan.config.methods if parse_method(name).method.needs in ("judge", "profile")]
    return fitted_paths(plan, dataset, asking)


def _of(paths: Iterable[str], record: type[R], chosen: frozenset[Key]) -> Iterator[R]:
    """Rows of the chosen users."""
    rows = chain.from_iterable(read_records(Path(path), record) for path in paths)
    return (row for row in rows if (row.dataset, row.user_id) in chosen)
