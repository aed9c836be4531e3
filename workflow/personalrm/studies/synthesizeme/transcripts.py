"""Stage `transcripts`: the page on which every judgment of a run can be read, with what was sent and what came back."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

from personalrm.core.files import atomic_write_text
from personalrm.core.records import JudgedUser, Profile, UserData, read_records
from personalrm.llm.cache.store import ResponseStore
from personalrm.studies.preflight import load_environment
from personalrm.studies.report.page_parts import asset, embedded_json, render, script_hash
from personalrm.studies.report.transcripts import choose_users, collect
from personalrm.studies.synthesizeme.config_load import read_resolved
from personalrm.studies.synthesizeme.plan import Plan


def transcripts_stage(config_file: Path, out: Path, max_judgments: int) -> None:
    """Write the page of a run's judgments; of a larger run than `max_judgments` it shows some users. Asks no model.

    Endpoints that variables hold are part of the keys of answers, so the environment is read first.
    """
    load_environment()
    config = read_resolved(config_file)
    plan = Plan(config)
    verdicts = [Path(path) for path in plan.verdict_paths()]
    counts: Counter[tuple[str, str]] = Counter()
    for row in chain.from_iterable(read_records(path, JudgedUser) for path in verdicts):
        counts[row.dataset, row.user_id] += max(1, len(row.verdicts))
    chosen = choose_users(counts, max_judgments)
    with ExitStack() as stack:
        store = stack.enter_context(ResponseStore(config.store)) if config.store.is_file() else None
        users = [Path(path) for name in config.datasets for path in plan.shard_paths(name)]
        data = collect(
            config,
            store,
            chain.from_iterable(read_records(path, UserData) for path in users),
            chain.from_iterable(read_records(Path(path), Profile) for path in plan.profile_paths()),
            chain.from_iterable(read_records(path, JudgedUser) for path in verdicts),
            chosen,
        )
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
