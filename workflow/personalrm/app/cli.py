"""Command line: one subcommand a stage, run by the workflow, and a few for people (`models`, `summary`)."""

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
    for noisy in ("httpx", "httpcore", "LiteLLM", "openai"):
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
    _add_data(subparsers)
    _add_filters(subparsers)
    _add_learning(subparsers)
    _add_theta(subparsers)
    _add_judging(subparsers)
    _add_analysis(subparsers)
    _add_results(subparsers)
    _add_estimate(subparsers)
    _add_models(subparsers)
    _add_store(subparsers)
    return parser


def _stage(subparsers: Any, name: str, handler: Handler, text: str) -> argparse.ArgumentParser:  # noqa: ANN401
    command: argparse.ArgumentParser = subparsers.add_parser(name, help=text, description=text)
    command.add_argument("--config", type=Path, required=True, help="resolved config, written by the workflow")
    command.set_defaults(handler=handler)
    return command


def _add_data(subparsers: Any) -> None:  # noqa: ANN401
    prepare = _stage(subparsers, "prepare", commands.prepare, "read votes, filter users, split their pairs")
    prepare.add_argument("--dataset", required=True)
    fetch = _stage(subparsers, "fetch-data", commands.fetch_data, "fetch a data set's files from the Hugging Face hub")
    convert = _stage(subparsers, "convert-data", commands.convert_data, "make Parquet of a data set's fetched files")
    for command in (fetch, convert):
        command.add_argument("--dataset", required=True)


def _add_filters(subparsers: Any) -> None:  # noqa: ANN401
    rate = _stage(subparsers, "rate", commands.rate, "rate how personal the pairs of one shard are")
    panel = _stage(subparsers, "panel", commands.panel, "one panel member's votes on the pairs of one shard")
    for command in (rate, panel):
        command.add_argument("--dataset", required=True)
        command.add_argument("--users", type=Path, required=True)
        command.add_argument("--out", type=Path, required=True)
    panel.add_argument("--ratings", type=Path, help="ratings that gate the panel")
    panel.add_argument("--model", required=True)
    released = _stage(subparsers, "released", commands.released, "ratings and votes that a processed set came with")
    released.add_argument("--dataset", required=True)
    _stage(subparsers, "filter", commands.filter, "apply the filters of one data set").add_argument(
        "--dataset", required=True
    )


def _add_learning(subparsers: Any) -> None:  # noqa: ANN401
    for name, handler in (("bootstrap", commands.bootstrap), ("profile", commands.profile)):
        command = _stage(subparsers, name, handler, f"stage {name} for one shard of users")
        for option in ("--users", "--out"):
            command.add_argument(option, type=Path, required=True)
        command.add_argument("--model", required=True)
        command.add_argument("--variant", required=True)
        if name == "profile":
            command.add_argument("--traces", type=Path, required=True)
            command.add_argument("--k", required=True, help="number of context pairs, or 'all'")


def _add_theta(subparsers: Any) -> None:  # noqa: ANN401
    theta = _stage(subparsers, "theta", commands.theta, "optimise the persona prompt on train users (MIPROv2)")
    theta.add_argument("--theta", required=True, help="name under `thetas` in the config")
    theta.add_argument("--model", required=True)
    theta.add_argument("--users", type=Path, nargs="+", required=True)
    theta.add_argument("--out", type=Path, required=True)


def _add_judging(subparsers: Any) -> None:  # noqa: ANN401
    judge = _stage(subparsers, "judge", commands.judge, "judge the test pairs of one shard of users")
    for option in ("--users", "--out"):
        judge.add_argument(option, type=Path, required=True)
    judge.add_argument("--judge", help="judging model; without it, methods that need none")
    judge.add_argument("--profiles", type=Path, help="profiles to show; without them, methods that read none")
    judge.add_argument("--profile-model", help="model that learned the profiles")


def _add_analysis(subparsers: Any) -> None:  # noqa: ANN401
    fidelity = _stage(subparsers, "fidelity", commands.fidelity, "judge if personas of one shard fit what users stated")
    recovery = _stage(subparsers, "recovery", commands.recovery, "say which planted facts personas of one shard state")
    recovery.add_argument("--rubric", type=Path, required=True, help="JSON file {user: [fact, ...]}")
    for command in (fidelity, recovery):
        command.add_argument("--users", type=Path, required=True)
        command.add_argument("--model", required=True, help="model that learned the profiles")
        command.add_argument("--judge", required=True)
    axes = _stage(subparsers, "axes", commands.axes, "name the axes along which a data set's personas describe people")
    axes.add_argument("--dataset", required=True)
    for command in (fidelity, recovery, axes):
        command.add_argument("--variant", required=True)
        command.add_argument("--profiles", type=Path, required=True, nargs="+")
    tag = _stage(subparsers, "tag", commands.tag, "say where the personas of one shard stand on the axes")
    tag.add_argument("--profiles", type=Path, required=True)
    tag.add_argument("--axes", type=Path, required=True)
    for command in (fidelity, recovery, axes, tag):
        command.add_argument("--out", type=Path, required=True)


def _add_results(subparsers: Any) -> None:  # noqa: ANN401
    manifest = _stage(subparsers, "manifest", commands.manifest, "write what a run was made of")
    manifest.add_argument("--out", type=Path, required=True)
    transcripts = _stage(subparsers, "transcripts", commands.transcripts, "write the page of all judgments")
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
    export = subparsers.add_parser("export", help="write a run's benchmark as a datasets folder")
    export.add_argument("run", type=Path, help="folder of the run, as results/paper")
    export.add_argument("dataset")
    export.add_argument("out", type=Path)
    export.add_argument("--licence", default="", help="stated in the dataset card")
    export.set_defaults(handler=commands.export)


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
