"""The table of cost of a study in which no method is judged: what its stages took.

A study has the table if a module of its results imports `RESULT`, and if it gives the files `paid` and the fields of
`CostSettings`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personalrm.core.records import CallRef
from personalrm.data.sources.rows import read_rows
from personalrm.results.labels import UNUSED
from personalrm.results.scores import collect_calls
from personalrm.results.spec import Table, TableResult
from personalrm.results.tables import main_table
from personalrm.results.tables.cost_sources import StageCall, cached_tokens, job_times
from personalrm.results.tables.cost_table import cost_blocks, cost_notes, cost_table, estimated_note
from personalrm.run.stage import JobPattern, Wildcards
from personalrm.studies.plan import StudyPlan


@dataclass(frozen=True, kw_only=True)
class CostSettings:
    """What the table reads of a run.

    - askers: model that is asked, by file of a paid stage.
    - benchmarks, store, jobs: folder of Snakemake's benchmark files and how they are named; the response store.
    """

    askers: Mapping[str, str]
    benchmarks: Path
    store: Path
    jobs: Sequence[JobPattern]

    @classmethod
    def values(cls, plan: StudyPlan[Any]) -> dict[str, Any]:
        """The fields of a run, by name."""
        return {
            "askers": {path: plan.models(name, **job._asdict())[0] for name, job, path in _paid(plan)},
            "benchmarks": Path(plan.run) / "benchmarks",
            "store": plan.config.store,
            "jobs": plan.job_patterns(),
        }


def paid_files(plan: StudyPlan[Any]) -> list[str]:
    """Files of paid stages."""
    return [path for _, _, path in _paid(plan)]


def _paid(plan: StudyPlan[Any]) -> Iterator[tuple[str, Wildcards, str]]:
    """Paid stages with their jobs and files."""
    for name, stage in plan.stages.items():
        for job in plan.jobs(name) if stage.paid else ():
            yield name, job, plan.path(name, **job._asdict())


def stage_calls(paid: Iterable[Path], askers: Mapping[str, str]) -> Iterator[StageCall]:
    """Responses that the rows of paid stages rest on; `askers` has the model that was asked, by file."""
    for path in paid:
        for row in read_rows(path):
            calls = row["calls"]
            for call in calls if isinstance(calls, list) else ():
                yield StageCall(str(row["dataset"]), UNUSED, askers[str(path)], CallRef.model_validate(call))


def build(
    paid: list[Path], *, askers: Mapping[str, str], benchmarks: Path, store: Path, jobs: Sequence[JobPattern]
) -> Table:
    """Make the table from the files of a run. No method is judged in this study, so that it has stages alone."""
    calls = list(stage_calls(paid, askers))
    cached = cached_tokens(store, sorted({call.ref.key for call in calls}))
    none = main_table.COLUMNS.frame([])
    table = cost_table(collect_calls([]), none, others=calls, times=job_times(benchmarks, jobs), cached=cached)
    estimated = len({call.ref.key for call in calls if call.ref.estimated})
    return Table(table, cost_blocks(table)[:1], [*cost_notes(table), *estimated_note(estimated)])


RESULT = TableResult(
    name="cost",
    order=170,
    title="What the run took: calls, tokens, list price and wall time, by stage",
    caption="Calls, tokens, list price and wall time by stage and model. Each stored response counts once a row.",
    build=build,
)
