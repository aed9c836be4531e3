"""What the table of cost is made from beside the scores: Snakemake's benchmark files, calls of filters
and analyses, the store."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from personalrm.core.records import BASELINE, CallRef, Profile, read_records
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
    """A stored response that a filter or an analysis rests on, and the model that gave it."""

    dataset: str
    variant: str
    model: str
    ref: CallRef


def job_seconds(path: Path) -> float | None:
    """Wall time from a benchmark file of Snakemake; None for a file that is none, is not finished, or says less than
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
    for path in ratings:
        for rated in read_records(path, UserRatings):
            yield from (StageCall(rated.dataset, UNUSED, rated.model, ref) for ref in rated.calls)
    for path in panels:
        for voted in read_records(path, UserPanel):
            yield from (StageCall(voted.dataset, UNUSED, voted.model, ref) for ref in voted.calls)


def analysis_calls(
    profiles: Iterable[Path],
    fidelity: Iterable[Path],
    recovery: Iterable[Path],
    axes: Iterable[Path],
    tags: Iterable[Path],
) -> Iterator[StageCall]:
    """Responses that the analyses of personas rest on, from the files of the stages: the personas' own, and theirs."""
    for path in profiles:
        for learned in read_records(path, Profile):
            mine = (ref for ref in learned.calls if ref.stage in METHODS["persona"].stages)
            yield from (StageCall(learned.dataset, learned.variant, learned.model, ref) for ref in mine)
    kinds: tuple[tuple[type[PersonaReading], Iterable[Path]], ...]
    kinds = ((UserFidelity, fidelity), (UserRecovery, recovery))
    for kind, paths in kinds:
        for path in paths:
            for read in read_records(path, kind):
                yield from (StageCall(read.dataset, read.variant, read.judge_model, ref) for ref in read.calls)
    for path in axes:
        for named in read_records(path, AxisSet):
            yield from (StageCall(named.dataset, named.variant, named.model, ref) for ref in named.calls)
    for path in tags:
        for tagged in read_records(path, TaggedPersona):
            yield from (StageCall(tagged.dataset, tagged.variant, tagged.model, ref) for ref in tagged.calls)


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
