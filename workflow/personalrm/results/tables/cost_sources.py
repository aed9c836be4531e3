"""What the table of cost is made from beside the scores: Snakemake's benchmark files, calls of filters
and analyses, the store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from personalrm.core.records import CallRef, Profile, read_records
from personalrm.data.filters.ratings import UserPanel, UserRatings
from personalrm.llm.cache.store import ResponseStore
from personalrm.methods.registry import METHODS
from personalrm.personas.records import AxisSet, PersonaReading, TaggedPersona, UserFidelity, UserRecovery
from personalrm.results.labels import UNUSED

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


def job_times(folder: Path, models: Sequence[str], raters: Mapping[str, str], asked: str | None) -> list[JobTime]:
    """The jobs of a run, from its folder of benchmark files; in the order of their paths.

    Args:
        folder: `results/<run>/benchmarks`; one that is not there has no jobs.
        models: names of the models, to read `<profile model>-to-<judge>`.
        raters: data set to the model that rates its pairs (the path of a rating job does not name it).
        asked: the model that names axes and tags personas; None where none does.
    """
    found = []
    for path in sorted(folder.rglob("*.tsv")):
        parts, seconds = path.relative_to(folder).with_suffix("").parts, job_seconds(path)
        if seconds is not None and (len(parts) > 1 or parts[0] in RESULT_JOBS):
            found.append(JobTime(*_job(parts, models, raters, asked), seconds))
    return found


def _job(
    parts: Sequence[str], models: Sequence[str], raters: Mapping[str, str], asked: str | None
) -> tuple[str, str, str, str]:
    """Stage, data set, variant and model of a job, from the path of its benchmark file (the rules' `benchmark:`)."""
    none = UNUSED
    match parts:
        case ("rate", dataset, _):
            return "rate", dataset, none, raters.get(dataset, none)
        case ("panel", dataset, model, _):
            return "panel", dataset, none, model
        case ("bootstrap", dataset, variant, model, _):
            return "bootstrap", dataset, variant, model
        case ("profiles", dataset, variant, model, _, _):
            return "profile", dataset, variant, model
        case ("verdicts", dataset, "baseline", judge, _):
            return "judge", dataset, "baseline", judge if judge in models else none
        case ("verdicts", dataset, variant, pair, _, _):
            return "judge", dataset, variant, _judge(pair, "-to-", models)
        case ("thetas", theta, model):
            return "theta", none, f"+{theta}", model
        case ("analysis", "fidelity", dataset, variant, pair, _):
            return "fidelity", dataset, variant, _judge(pair, "-by-", models)
        case ("analysis", "recovery", dataset, variant, pair, _):
            return "recovery", dataset, variant, _judge(pair, "-by-", models)
        case ("analysis", "axes", dataset, variant):
            return "axes", dataset, variant, asked or none
        case ("analysis", "tags", dataset, variant, *_):
            return "tag", dataset, variant, asked or none
        case (stage, dataset):
            return stage, dataset, none, none
    return RESULTS, none, none, none


def _judge(pair: str, between: str, models: Sequence[str]) -> str:
    """The judge in `<profile model>-to-<judge>`; names of models may hold "-to-" themselves."""
    judges = [judge for judge in models if pair.removesuffix(f"{between}{judge}") in models]
    return judges[0] if judges else UNUSED


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
