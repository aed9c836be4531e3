"""What the table of cost is made from beside the scores: Snakemake's benchmark files, the filters' calls, the store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from personalrm.benchmark.ratings import UserPanel, UserRatings
from personalrm.llm.store import ResponseStore
from personalrm.records import CallRef, read_records
from personalrm.results.labels import NOT_APPLICABLE

KEYS_AT_ONCE = 2000
"""Stored answers held in memory at a time."""
RESULTS = "results"
"""Stands for the jobs that make scores, tables and figures."""


class JobTime(NamedTuple):
    """Seconds of one job. `model` is the one that works in it: of a judge job, the judge."""

    stage: str
    dataset: str
    variant: str
    model: str
    seconds: float


class FilterCall(NamedTuple):
    """A stored response that a data set's filters rest on, and the model that gave it."""

    dataset: str
    model: str
    ref: CallRef


def job_seconds(path: Path) -> float | None:
    """Wall time from a benchmark file of Snakemake; None for a file that is none, or is not finished."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return float(lines[1].split("\t")[0]) if len(lines) > 1 and lines[0].startswith("s\t") else None


def job_times(folder: Path, models: Sequence[str], raters: Mapping[str, str]) -> list[JobTime]:
    """The jobs of a run, from its folder of benchmark files; in the order of their paths.

    Args:
        folder: `results/<run>/benchmarks`; one that is not there has no jobs.
        models: names of the models, to read `<profile model>-to-<judge>`.
        raters: data set to the model that rates its pairs (the path of a rating job does not name it).
    """
    found = []
    for path in sorted(folder.rglob("*.tsv")):
        seconds = job_seconds(path)
        if seconds is not None:
            found.append(JobTime(*_job(path.relative_to(folder).parts, models, raters), seconds))
    return found


def _job(parts: Sequence[str], models: Sequence[str], raters: Mapping[str, str]) -> tuple[str, str, str, str]:
    """Stage, data set, variant and model of a job, from the path of its benchmark file (the rules' `benchmark:`)."""
    none = NOT_APPLICABLE
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
            return "judge", dataset, variant, _judge(pair, models)
        case (stage, dataset):
            return stage, dataset.removesuffix(".tsv"), none, none
    return RESULTS, none, none, none


def _judge(pair: str, models: Sequence[str]) -> str:
    """The judge in `<profile model>-to-<judge>`; names of models may hold "-to-" themselves."""
    judges = [judge for judge in models if pair.removesuffix(f"-to-{judge}") in models]
    return judges[0] if judges else NOT_APPLICABLE


def filter_calls(ratings: Iterable[Path], panels: Iterable[Path]) -> Iterator[FilterCall]:
    """Responses that the data sets' filters rest on, from the files of ratings and of panel votes."""
    for path in ratings:
        for rated in read_records(path, UserRatings):
            yield from (FilterCall(rated.dataset, rated.model, ref) for ref in rated.calls)
    for path in panels:
        for voted in read_records(path, UserPanel):
            yield from (FilterCall(voted.dataset, voted.model, ref) for ref in voted.calls)


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
