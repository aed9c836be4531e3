"""Command line: `stage`, `manifest` and `transcripts` are for the workflow, the others for people."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from personalrm.app import commands
from personalrm.core.errors import BudgetExceeded, PersonalRMError

EXIT_ERROR = 1
EXIT_BUDGET = 3
"""The budget is spent: the same command goes on when it is raised."""
Handler = Callable[[argparse.Namespace], int | None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand. Expected errors become one message on stderr and exit code 1."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for noisy in ("httpx", "httpcore", "LiteLLM", "openai", "fontTools"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    handler: Handler = options.handler
    try:
        return handler(options) or 0
    except PersonalRMError as error:
        sys.stderr.write(f"personalrm: {error}\n")
        return EXIT_BUDGET if isinstance(error, BudgetExceeded) else EXIT_ERROR
    except ExceptionGroup as group:
        # Users are worked on side by side, so one cause may arrive several times.
        expected, rest = group.split(PersonalRMError)
        if rest is not None or expected is None:
            raise
        for text in dict.fromkeys(_texts(expected)):
            sys.stderr.write(f"personalrm: {text}\n")
        return EXIT_BUDGET if expected.subgroup(BudgetExceeded) else EXIT_ERROR


def _texts(group: ExceptionGroup[PersonalRMError]) -> list[str]:
    texts: list[str] = []
    for error in group.exceptions:
        texts += _texts(error) if isinstance(error, ExceptionGroup) else [str(error)]
    return texts


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="personalrm", description=__doc__)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_stage(subparsers)
    _add_results(subparsers)
    _add_run(subparsers)
    _add_estimate(subparsers)
    _add_models(subparsers)
    _add_store(subparsers)
    return parser


def _command(subparsers: Any, name: str, handler: Handler, text: str) -> argparse.ArgumentParser:  # noqa: ANN401
    """A subcommand of the workflow."""
    command: argparse.ArgumentParser = subparsers.add_parser(name, help=text, description=text)
    command.add_argument("--config", type=Path, required=True, help="resolved config, written by the workflow")
    command.set_defaults(handler=handler)
    return command


def _add_stage(subparsers: Any) -> None:  # noqa: ANN401
    text = "do one job of a stage of a run: its inputs and settings follow from the config and its output"
    stage = _command(subparsers, "stage", commands.stage, text)
    stage.add_argument("name", help="as bootstrap, profile, judge; a wrong name lists all")
    which = stage.add_mutually_exclusive_group(required=True)
    which.add_argument("--out", type=Path, help="output of the job, as results/paper/traces/…/s00.jsonl")
    which.add_argument("--dataset", help="of a stage that makes several files for a data set")


def _add_results(subparsers: Any) -> None:  # noqa: ANN401
    _command(
        subparsers, "collect", commands.collect, "make the verdicts of a run flat: data/verdicts.parquet, calls.parquet"
    )
    result = _command(subparsers, "result", commands.result, "make one table or figure from the files of a run")
    result.add_argument("name", help="its rule, as table_main or figure_scaling")
    manifest = _command(subparsers, "manifest", commands.manifest, "write what a run was made of")
    manifest.add_argument("--out", type=Path, required=True)
    report = _command(subparsers, "report", commands.report, "write the page with all results of a run")
    report.add_argument("--out", type=Path, required=True)
    transcripts = _command(subparsers, "transcripts", commands.transcripts, "write the page of all judgments")
    transcripts.add_argument("--out", type=Path, required=True)
    transcripts.add_argument("--max-judgments", type=int, help="a larger run shows some of its users (10000)")
    summary = subparsers.add_parser("summary", help="print the main table of a run and where its results are")
    summary.add_argument("run", type=Path, help="folder of the run, as results/quickstart")
    summary.set_defaults(handler=commands.summary)
    publish = subparsers.add_parser("publish", help="copy results of a finished run, with its manifest, to a folder")
    publish.add_argument("config", type=Path, help="config file of the run, as config/quickstart.yaml")
    publish.add_argument("folder", type=Path, help="as docs/quickstart")
    publish.add_argument("names", nargs="+", help="results, as main")
    publish.set_defaults(handler=commands.publish)
    text = "remove what rests on calls lost to provider errors, so that the next run asks for them again"
    retry = subparsers.add_parser("retry", help=text, description=text)
    retry.add_argument("run", type=Path, help="folder of the run, as results/paper, or its config file")
    retry.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")
    retry.set_defaults(handler=commands.retry)
    schema = subparsers.add_parser("schema", help="print the JSON schema of the config (workflow/schemas/config.json)")
    schema.set_defaults(handler=commands.schema)
    keys = subparsers.add_parser("keys", help="print every key of the config with its meaning (config/README.md)")
    keys.set_defaults(handler=commands.keys)
    export = subparsers.add_parser("export", help="write a run's benchmark as a datasets folder")
    export.add_argument("run", type=Path, help="folder of the run, as results/paper")
    export.add_argument("dataset")
    export.add_argument("out", type=Path)
    export.add_argument("--licence", default="", help="stated in the dataset card")
    export.set_defaults(handler=commands.export)


def _add_run(subparsers: Any) -> None:  # noqa: ANN401
    text = "run a config with Snakemake: a line of progress, the whole output in a log file, the main table at the end"
    run = subparsers.add_parser("run", help=text, description=text)
    run.add_argument("config", type=Path, help="config file of the run, as config/quickstart.yaml")
    run.add_argument("--cores", default="all")
    run.add_argument("arguments", nargs="*", help="further arguments of Snakemake, after --")
    run.set_defaults(handler=commands.run)


def _add_estimate(subparsers: Any) -> None:  # noqa: ANN401
    text = "calls, tokens and dollars of a run by stage and model, and the time on embedded models"
    estimate = subparsers.add_parser("estimate", help=text, description=text)
    estimate.add_argument("--config", type=Path, required=True, help="config file of the run")
    estimate.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    estimate.add_argument(
        "--users", type=int, help="users of a data set that stand for all of it (what half a minute allows)"
    )
    estimate.add_argument("--assume", action="append", default=[], metavar="NAME=VALUE", help="as in the last lines")
    estimate.add_argument("--json", action="store_true", help="as JSON")
    estimate.add_argument("--untimed", action="store_true", help="do not measure the speed of embedded models")
    estimate.set_defaults(handler=commands.estimate)


def _add_models(subparsers: Any) -> None:  # noqa: ANN401
    from personalrm.app import models_command as embedded

    models = subparsers.add_parser("models", help="embedded models: list, fetch, path")
    embedded.add_arguments(models)
    models.set_defaults(handler=embedded.run)


def _add_store(subparsers: Any) -> None:  # noqa: ANN401
    actions = subparsers.add_parser("store", help="response stores: migrate").add_subparsers(
        dest="action", required=True
    )
    text = "convert a response store of an earlier version; every answer is kept"
    migrate = actions.add_parser("migrate", help=text, description=text)
    migrate.add_argument("old", type=Path, metavar="STORE", help="as store/responses.sqlite")
    migrate.add_argument("--to", type=Path, help="a new file (default: in its place, the old file kept as STORE.v1)")
    migrate.add_argument(
        "--config",
        type=Path,
        action="append",
        default=[],
        help="config file of a run on this store: says which endpoint its answers came from; may be given repeatedly",
    )
    migrate.set_defaults(handler=commands.migrate_store)
