"""The commands that the workflow's rules call, declared as those of `cli.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Resolved = Annotated[
    Path, typer.Option("--config", help="Resolved config, written by the workflow; or a config file in YAML.")
]
Out = Annotated[Path, typer.Option(help="File to write.")]


def stage(
    name: Annotated[str, typer.Argument(help="Such as bootstrap, profile, judge; a wrong name lists all.")],
    config: Resolved,
    out: Annotated[Path | None, typer.Option(help="Output of the job: results/paper/traces/…/s00.jsonl.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Data set, for a stage that makes several files for it.")] = None,
) -> None:
    """Run one job of a stage. Its inputs and settings follow from the config and from its output or data set."""
    if (out is None) == (dataset is None):
        raise typer.BadParameter("give one of --out and --dataset")
    from personalrm.app.jobs import run_job

    run_job(config, name, out, dataset)


def collect(config: Resolved) -> None:
    """Collect the verdicts of a run. Writes data/verdicts.parquet and data/calls.parquet."""
    from personalrm.studies.synthesizeme.make_results import collect_stage

    collect_stage(config)


def result(name: Annotated[str, typer.Argument(help="Its rule, such as table_main.")], config: Resolved) -> None:
    """Make one table or figure of a run."""
    from personalrm.studies.config_load import read_resolved
    from personalrm.studies.run_results import RunResults
    from personalrm.studies.study import plan_of

    RunResults(plan_of(read_resolved(config))).make(name)


def manifest(config: Resolved, out: Out) -> None:
    """Write what a run was made of."""
    from personalrm.studies.manifest import manifest_stage

    manifest_stage(config, out)


def report(config: Resolved, out: Out) -> None:
    """Write the page with all results of a run."""
    from personalrm.studies.report.page import report_stage

    report_stage(config, out)


def transcripts(
    config: Resolved,
    out: Out,
    max_judgments: Annotated[int, typer.Option(help="Of a larger run, the page shows some users (or pairs).")] = 10_000,
) -> None:
    """Write the page of all judgments of a run."""
    from personalrm.studies.report.transcripts import transcripts_stage

    transcripts_stage(config, out, max_judgments)


OF_RULES = {command.__name__: command for command in (stage, collect, result, manifest, report, transcripts)}
"""The commands by name."""


def add_rule_commands(cli: typer.Typer) -> None:
    """Declare the commands."""
    for command in OF_RULES.values():
        cli.command()(command)
