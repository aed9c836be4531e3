"""`collect`: verdicts made flat; and what the report says of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from personalrm.data.cross_validation import Pools, pools_of
from personalrm.results.conditions import Condition
from personalrm.results.lazy import pd
from personalrm.results.pooling import without_folds, without_pools
from personalrm.results.scores import collect_calls, collect_verdicts, read_frame, write_frame
from personalrm.results.tables.differences_table import read_differences_table
from personalrm.results.tables.main_table import read_main_table
from personalrm.results.tables.profiles_table import read_profiles_table, what_profiles_show
from personalrm.studies.config_load import read_resolved
from personalrm.studies.report.shown import Headline, People
from personalrm.studies.run_results import all_results
from personalrm.studies.study_config import of_study
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.report_people import MOST_METHODS, Telling, people_of
from personalrm.studies.synthesizeme.report_summary import (
    headline,
    telling_rows,
    what_came_out,
    what_failed,
    what_servers_did,
    what_was_not_run,
    what_was_run,
)


def collect_stage(config_file: Path) -> None:
    """Write `data/verdicts.parquet` and `data/calls.parquet`, which tables and figures are made from.

    All verdict files are read twice, once for each frame, in constant memory per file.
    """
    plan = Plan(of_study(read_resolved(config_file), Config))
    paths, folder = [Path(path) for path in plan.verdict_paths()], Path(plan.run) / "data"
    write_frame(collect_verdicts(paths), folder / "verdicts.parquet")
    write_frame(collect_calls(paths), folder / "calls.parquet")


@dataclass(frozen=True)
class Scores:
    """What the sentences are made from: the main table, the paired differences, and all verdicts made flat; which data
    sets were asked for in folds; and the table of profiles, if there is one."""

    main: pd.DataFrame
    differences: pd.DataFrame
    verdicts: pd.DataFrame
    pools: Pools = field(default_factory=dict)
    profiles: pd.DataFrame | None = None

    @property
    def judged(self) -> pd.DataFrame:
        """The main table without pools, whose judgments are those of their folds again."""
        return without_pools(self.main, self.pools)

    @property
    def compared(self) -> pd.DataFrame:
        """The main table with pools instead of their folds, as the differences have them."""
        return without_folds(self.main, self.pools)

    @property
    def of_profiles(self) -> list[str]:
        """What the table of profiles says."""
        return [] if self.profiles is None else what_profiles_show(self.profiles)


def summary_of(scores: Scores, manifest: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """The sentences of the report, by heading."""
    return [
        ("What was run", what_was_run(manifest, scores.judged)),
        ("What came out", [*what_came_out(scores.compared, scores.differences), *scores.of_profiles]),
        (
            "What failed or is missing",
            [*what_failed(scores.judged, scores.differences, scores.verdicts), *what_servers_did(manifest)],
        ),
    ]


def scores_of_run(plan: Plan) -> Scores:
    """What the sentences are made from, from the files of a run."""
    run = Path(plan.run)
    return Scores(
        read_main_table(run / "tables" / "main.csv"),
        read_differences_table(run / "tables" / "differences.csv"),
        read_frame(run / "data" / "verdicts.parquet"),
        pools_of(plan.config.datasets),
        read_profiles_table(run / "tables" / "profiles.csv"),
    )


def run_headline(plan: Plan) -> Headline | None:
    """What the report's first screen says."""
    scores = scores_of_run(plan)
    return headline(scores.compared, scores.differences)


def run_people(plan: Plan) -> People:
    """The users of the report. A fold shows the conditions that its pool was compared by."""
    scores = scores_of_run(plan)
    rows = telling_rows(scores.differences, MOST_METHODS)
    telling = {name: [Telling(Condition.of(row), label) for label, row in held.items()] for name, held in rows.items()}
    folds = {
        fold: [one._replace(condition=one.condition._replace(dataset=fold)) for one in telling[pool]]
        for pool, parts in scores.pools.items()
        if pool in telling
        for fold in parts
    }
    every_fold = {fold for parts in scores.pools.values() for fold in parts}
    return people_of(plan, scores.verdicts, {**telling, **folds}, every_fold)


def run_summary(plan: Plan, manifest: Mapping[str, Any]) -> Sequence[tuple[str, Sequence[str]]]:
    """The same, from the files of a run."""
    return summary_of(scores_of_run(plan), manifest)


def not_run(config: Config, made: Collection[str]) -> Sequence[tuple[str, str]]:
    """What a run does not have, and why; `made` are the names of its results."""
    known = dict.fromkeys(rule.partition("_")[2] for rule in sorted(result.rule for result in all_results()))
    return what_was_not_run(config, list(made), list(known))
