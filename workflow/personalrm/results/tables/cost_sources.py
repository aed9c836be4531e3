"""What the table of cost is made from in addition to the verdicts: Snakemake's benchmark files, calls of filters,
scores by attributes and analyses, the store."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from personalrm.core.records import BASELINE, CallRef, Profile, UserScores, read_all
from personalrm.data.filters.ratings import UserPanel, UserRatings
from personalrm.llm.cache.store import ResponseStore
from personalrm.methods.registry import METHODS
from personalrm.personas.records import AxisSet, PersonaReading, TaggedPersona, UserFidelity, UserRecovery
from personalrm.results.labels import UNUSED
from personalrm.run.stage import JobPattern

KEYS_AT_ONCE = 2000
"""Stored answers held in memory at a time."""
RESULTS = "results"
"""Stands for the jobs that make scores and the main table."""
RESULT_JOBS: tuple[str, ...] = ("collect_scores", "table_main")
"""What the table of cost is made from. Other tables and figures are made at the same time, and which of them have ended
is chance: they are not counted."""


class JobTime(NamedTuple):
    """Seconds of one job. `model` is the one that works in it: of a judge job, the judge."""

    stage: str
    dataset: str
    variant: str
    model: str
    seconds: float


class StageCall(NamedTuple):
    """A stored response that a filter, the scores or an analysis rest on, and the model that gave it."""

    dataset: str
    variant: str
    model: str
    ref: CallRef


def job_seconds(path: Path) -> float | None:
    """Wall time from a benchmark file of Snakemake; None for a file that is not one, is not finished, or has less than
    nothing, as after a clock that was set back."""
    lines = path.read_text(encoding="utf-8").splitlines()
    seconds = float(lines[1].split("\t")[0]) if len(lines) > 1 and lines[0].startswith("s\t") else -1.0
    return seconds if seconds >= 0 else None


def job_times(folder: Path, patterns: Sequence[JobPattern]) -> list[JobTime]:
    """The jobs of a run, from its folder of benchmark files; in the order of their paths.

    Args:
        folder: `results/<run>/benchmarks`; one that is not there has no jobs.
        patterns: how the files of the stages are named (`StagePlan.job_patterns`); others are of `RESULTS`.
    """
    found = []
    for path in sorted(folder.rglob("*.tsv")):
        seconds, name = job_seconds(path), path.relative_to(folder).with_suffix("").as_posix()
        if seconds is not None and ("/" in name or name in RESULT_JOBS):
            found.append(JobTime(*_job(name, patterns), seconds))
    return found


def _job(path: str, patterns: Sequence[JobPattern]) -> tuple[str, str, str, str]:
    """Stage, data set, variant and model of a job, from the path of its benchmark file."""
    for stage, pattern, model in patterns:
        if match := re.fullmatch(pattern, path):
            names = match.groupdict()
            other = f"+{names['theta']}" if "theta" in names else BASELINE if stage == "judge" else UNUSED
            return stage, names.get("dataset", UNUSED), names.get("variant", other), names.get("asked", model) or UNUSED
    return RESULTS, UNUSED, UNUSED, UNUSED


def filter_calls(ratings: Iterable[Path], panels: Iterable[Path]) -> Iterator[StageCall]:
    """Responses that the data sets' filters rest on, from the files of ratings and of panel votes."""
    rows: Iterator[UserRatings | UserPanel] = chain(read_all(ratings, UserRatings), read_all(panels, UserPanel))
    for row in rows:
        yield from (StageCall(row.dataset, UNUSED, row.model, ref) for ref in row.calls)


def scoring_calls(scores: Iterable[Path]) -> Iterator[StageCall]:
    """Responses that the scores of pairs by attributes rest on, from the files of scores."""
    for row in read_all(scores, UserScores):
        yield from (StageCall(row.dataset, UNUSED, row.model, ref) for ref in row.calls)


def analysis_calls(
    profiles: Iterable[Path],
    fidelity: Iterable[Path],
    recovery: Iterable[Path],
    axes: Iterable[Path],
    tags: Iterable[Path],
) -> Iterator[StageCall]:
    """Responses that the analyses of personas rest on, from the files of the stages: the personas' own, and theirs."""
    for learned in read_all(profiles, Profile):
        mine = (ref for ref in learned.calls if ref.stage in METHODS["persona"].stages)
        yield from (StageCall(learned.dataset, learned.variant, learned.model, ref) for ref in mine)
    readings: Iterator[PersonaReading] = chain(read_all(fidelity, UserFidelity), read_all(recovery, UserRecovery))
    for read in readings:
        yield from (StageCall(read.dataset, read.variant, read.judge_model, ref) for ref in read.calls)
    described: Iterator[AxisSet | TaggedPersona] = chain(read_all(axes, AxisSet), read_all(tags, TaggedPersona))
    for one in described:
        yield from (StageCall(one.dataset, one.variant, one.model, ref) for ref in one.calls)


def cached_tokens(store: Path, keys: Sequence[str]) -> dict[str, int]:
    """Prompt tokens that the provider read from its cache, by key, for the answers that the store still has.

    They are in the store alone: how much a provider has cached is chance, and verdict files must not depend on it.
    """
    if not store.is_file():
        return {}
    found: dict[str, int] = {}
    with ResponseStore(store) as answers:
        for start in range(0, len(keys), KEYS_AT_ONCE):
            known = answers.get_many(keys[start : start + KEYS_AT_ONCE])
            found |= {key: response.usage.tokens_cached for key, response in known.items()}
    return found
