"""After the verdicts: `collect` makes them flat, `result` makes a table or figure, `report` the page of all."""

from __future__ import annotations

import json
from pathlib import Path

from personalrm.core.files import atomic_write_text
from personalrm.data.cross_validation import pools_of
from personalrm.results.scores import collect_calls, collect_verdicts, read_frame, write_frame
from personalrm.results.tables.differences_table import read_differences_table
from personalrm.results.tables.main_table import read_main_table
from personalrm.results.tables.profiles_table import read_profiles_table
from personalrm.studies.synthesizeme.config_load import read_resolved
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.run_results import RunResults, all_results


def collect_stage(config_file: Path) -> None:
    """Write `data/verdicts.parquet` and `data/calls.parquet`, which tables and figures are made from.

    All verdict files are read twice, once for each frame, in constant memory per file.
    """
    plan = Plan(read_resolved(config_file))
    paths, folder = [Path(path) for path in plan.verdict_paths()], Path(plan.run) / "data"
    write_frame(collect_verdicts(paths), folder / "verdicts.parquet")
    write_frame(collect_calls(paths), folder / "calls.parquet")


def result_stage(config_file: Path, name: str) -> None:
    """Write the files of one table or figure, named by its rule."""
    RunResults(Plan(read_resolved(config_file))).make(name)


def report_stage(config_file: Path, out: Path) -> None:
    """Write the report of the run: one page that opens offline."""
    from personalrm.studies.report.page import Scores, report_page

    config = read_resolved(config_file)
    plan = Plan(config)
    run, made = Path(plan.run), RunResults(plan).outputs()
    scores = Scores(
        read_main_table(run / "tables" / "main.csv"),
        read_differences_table(run / "tables" / "differences.csv"),
        read_frame(run / "data" / "verdicts.parquet"),
        pools_of(config.datasets),
        read_profiles_table(run / "tables" / "profiles.csv"),
    )
    page = report_page(
        json.loads((run / "manifest.json").read_text(encoding="utf-8")),
        scores,
        [Path(path) for path in made if path.endswith(".html")],
        [Path(path) for path in made if path.endswith(".svg")],
        {result.rule: result.caption for result in all_results()},
    )
    atomic_write_text(out, page)
