"""Command line: one subcommand a stage, run by the workflow, and a few for people (`models`, `summary`)."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from personalrm.errors import PersonalRMError

EXIT_ERROR = 1
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
        return EXIT_ERROR
    except ExceptionGroup as group:
        # Users are worked on side by side, so one cause may arrive several times.
        expected, rest = group.split(PersonalRMError)
        if rest is not None or expected is None:
            raise
        for text in dict.fromkeys(_texts(expected)):
            sys.stderr.write(f"personalrm: {text}\n")
        return EXIT_ERROR


def _texts(group: ExceptionGroup[PersonalRMError]) -> list[str]:
    texts: list[str] = []
    for error in group.exceptions:
        texts += _texts(error) if isinstance(error, ExceptionGroup) else [str(error)]
    return texts


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="personalrm", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_data(commands)
    _add_filters(commands)
    _add_learning(commands)
    _add_judging(commands)
    _add_analysis(commands)
    _add_results(commands)
    _add_models(commands)
    return parser


def _stage(commands: Any, name: str, handler: Handler, text: str) -> argparse.ArgumentParser:  # noqa: ANN401
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    command.add_argument("--config", type=Path, required=True, help="resolved config, written by the workflow")
    command.set_defaults(handler=handler)
    return command


def _add_data(commands: Any) -> None:  # noqa: ANN401
    prepare = _stage(commands, "prepare", _prepare, "read votes, filter users, split their pairs")
    prepare.add_argument("--dataset", required=True)
    fetch = _stage(commands, "fetch-data", _fetch_data, "fetch the files of a data set from the Hugging Face hub")
    fetch.add_argument("--dataset", required=True)


def _add_filters(commands: Any) -> None:  # noqa: ANN401
    rate = _stage(commands, "rate", _rate, "rate how personal the pairs of one shard are")
    panel = _stage(commands, "panel", _panel, "one panel member's votes on the pairs of one shard")
    for command in (rate, panel):
        command.add_argument("--dataset", required=True)
        command.add_argument("--users", type=Path, required=True)
        command.add_argument("--out", type=Path, required=True)
    panel.add_argument("--ratings", type=Path, help="ratings that gate the panel")
    panel.add_argument("--model", required=True)
    _stage(commands, "filter", _filter, "apply the filters of one data set").add_argument("--dataset", required=True)


def _add_learning(commands: Any) -> None:  # noqa: ANN401
    for name, handler in (("bootstrap", _bootstrap), ("profile", _profile)):
        command = _stage(commands, name, handler, f"stage {name} for one shard of users")
        for option in ("--users", "--out"):
            command.add_argument(option, type=Path, required=True)
        command.add_argument("--model", required=True)
        command.add_argument("--variant", required=True)
        if name == "profile":
            command.add_argument("--traces", type=Path, required=True)
            command.add_argument("--k", required=True, help="number of context pairs, or 'all'")


def _add_judging(commands: Any) -> None:  # noqa: ANN401
    judge = _stage(commands, "judge", _judge, "judge the test pairs of one shard of users")
    for option in ("--users", "--out"):
        judge.add_argument(option, type=Path, required=True)
    judge.add_argument("--judge", help="judging model; without it, methods that need none")
    judge.add_argument("--profiles", type=Path, help="profiles to show; without them, methods that read none")
    judge.add_argument("--profile-model", help="model that learned the profiles")


def _add_analysis(commands: Any) -> None:  # noqa: ANN401
    fidelity = _stage(commands, "fidelity", _fidelity, "judge whether personas of one shard fit what users stated")
    fidelity.add_argument("--users", type=Path, required=True)
    fidelity.add_argument("--model", required=True, help="model that learned the profiles")
    fidelity.add_argument("--judge", required=True)
    axes = _stage(commands, "axes", _axes, "name the axes along which a data set's personas describe people")
    axes.add_argument("--dataset", required=True)
    for command in (fidelity, axes):
        command.add_argument("--variant", required=True)
        command.add_argument("--profiles", type=Path, required=True, nargs="+")
    tag = _stage(commands, "tag", _tag, "say where the personas of one shard stand on the axes")
    tag.add_argument("--profiles", type=Path, required=True)
    tag.add_argument("--axes", type=Path, required=True)
    for command in (fidelity, axes, tag):
        command.add_argument("--out", type=Path, required=True)


def _add_results(commands: Any) -> None:  # noqa: ANN401
    manifest = _stage(commands, "manifest", _manifest, "write what a run was made of")
    manifest.add_argument("--out", type=Path, required=True)
    summary = commands.add_parser("summary", help="print the main table of a run and where its results are")
    summary.add_argument("run", type=Path, help="folder of the run, as results/quickstart")
    summary.set_defaults(handler=_summary)
    schema = commands.add_parser("schema", help="print the JSON schema of the config (workflow/schemas/config.json)")
    schema.set_defaults(handler=_schema)
    export = commands.add_parser("export", help="write a run's benchmark as a datasets folder, in the authors' columns")
    export.add_argument("run", type=Path, help="folder of the run, as results/paper")
    export.add_argument("dataset")
    export.add_argument("out", type=Path)
    export.add_argument("--licence", default="", help="stated in the dataset card")
    export.set_defaults(handler=_export)
    estimate = commands.add_parser("estimate", help="how long a run on embedded models will take on this machine")
    estimate.add_argument("--config", type=Path, required=True, help="config file of the run")
    estimate.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    estimate.set_defaults(handler=_estimate)


def _add_models(commands: Any) -> None:  # noqa: ANN401
    from personalrm.embedded import cli as embedded

    models = commands.add_parser("models", help="embedded models: list, fetch")
    embedded.add_arguments(models)
    models.set_defaults(handler=embedded.run)


def _run(stage: Coroutine[Any, Any, None]) -> None:
    from personalrm.embedded.lifecycle import watch_owner

    watch_owner()
    asyncio.run(stage)


def _job(options: argparse.Namespace) -> Any:  # noqa: ANN401
    from personalrm.preflight import load_environment
    from personalrm.stages.runner import Job

    load_environment()
    return Job.from_file(options.config)


def _prepare(options: argparse.Namespace) -> None:
    from personalrm.stages.prepare import prepare_stage

    prepare_stage(options.config, options.dataset)


def _fetch_data(options: argparse.Namespace) -> None:
    from personalrm.stages.fetch import fetch_stage

    fetch_stage(options.config, options.dataset)


def _rate(options: argparse.Namespace) -> None:
    from personalrm.stages.filtering import rate_stage

    _run(rate_stage(_job(options), dataset=options.dataset, users=options.users, out=options.out))


def _panel(options: argparse.Namespace) -> None:
    from personalrm.stages.filtering import panel_stage

    stage = panel_stage(
        _job(options),
        dataset=options.dataset,
        users=options.users,
        ratings=options.ratings,
        out=options.out,
        model=options.model,
    )
    _run(stage)


def _filter(options: argparse.Namespace) -> None:
    from personalrm.stages.filtering import filter_stage

    filter_stage(options.config, options.dataset)


def _bootstrap(options: argparse.Namespace) -> None:
    from personalrm.stages.learn import bootstrap_stage

    job = _job(options)
    _run(bootstrap_stage(job, users=options.users, out=options.out, model=options.model, variant=options.variant))


def _profile(options: argparse.Namespace) -> None:
    from personalrm.plan import read_k
    from personalrm.stages.learn import profile_stage

    stage = profile_stage(
        _job(options),
        users=options.users,
        traces=options.traces,
        out=options.out,
        model=options.model,
        variant=options.variant,
        k=read_k(options.k),
    )
    _run(stage)


def _judge(options: argparse.Namespace) -> None:
    from personalrm.stages.judging import judge_stage

    stage = judge_stage(
        _job(options),
        users=options.users,
        out=options.out,
        judge=options.judge,
        profiles=options.profiles,
        profile_model=options.profile_model,
    )
    _run(stage)


def _fidelity(options: argparse.Namespace) -> None:
    from personalrm.stages.analysing import fidelity_stage

    named = ("users", "profiles", "out", "model", "judge", "variant")
    _run(fidelity_stage(_job(options), **{name: getattr(options, name) for name in named}))


def _axes(options: argparse.Namespace) -> None:
    from personalrm.stages.analysing import axes_stage

    named = ("dataset", "variant", "profiles", "out")
    _run(axes_stage(_job(options), **{name: getattr(options, name) for name in named}))


def _tag(options: argparse.Namespace) -> None:
    from personalrm.stages.analysing import tag_stage

    _run(tag_stage(_job(options), profiles=options.profiles, axes=options.axes, out=options.out))


def _manifest(options: argparse.Namespace) -> None:
    from personalrm.stages.manifest import manifest_stage

    manifest_stage(options.config, options.out)


def _schema(options: argparse.Namespace) -> None:
    from personalrm.config_load import config_schema

    del options
    sys.stdout.write(config_schema())


def _estimate(options: argparse.Namespace) -> None:
    from personalrm.stages.estimate import estimate

    sys.stdout.write(estimate(options.config, options.cores))


def _export(options: argparse.Namespace) -> None:
    from personalrm.stages.export import export_stage

    counts = export_stage(options.run, options.dataset, options.out, options.licence)
    rows = ", ".join(f"{part} {count}" for part, count in counts.items()) or "none"
    sys.stdout.write(f"{options.out}: rows {rows}\n")


def _summary(options: argparse.Namespace) -> None:
    from personalrm.stages.summary import summarise

    sys.stdout.write(summarise(options.run))
