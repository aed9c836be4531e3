"""What each subcommand does: from parsed options to the function of its stage, which is imported only then."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any


def _run(stage: Coroutine[Any, Any, None], out: Path) -> None:
    """Run a stage that asks models and writes `out`."""
    from personalrm.llm.local.lifecycle import watch_owner
    from personalrm.studies.synthesizeme.stages.runner import sole_writer

    watch_owner()
    with sole_writer(out):
        asyncio.run(stage)


def _paid(stage: Callable[..., Coroutine[Any, Any, None]], options: argparse.Namespace, *names: str) -> None:
    """Run a stage that asks models, with the options of these names and `out`."""
    given = {name: getattr(options, name) for name in (*names, "out")}
    _run(stage(_job(options), **given), options.out)


def _job(options: argparse.Namespace) -> Any:  # noqa: ANN401
    from personalrm.studies.preflight import load_environment
    from personalrm.studies.synthesizeme.stages.runner import Job

    load_environment()
    return Job.from_file(options.config)


def prepare(options: argparse.Namespace) -> None:
    """`personalrm prepare`."""
    from personalrm.studies.synthesizeme.stages.prepare import prepare_stage

    prepare_stage(options.config, options.dataset)


def fetch_data(options: argparse.Namespace) -> None:
    """`personalrm fetch-data`."""
    from personalrm.studies.synthesizeme.stages.fetch import fetch_stage

    fetch_stage(options.config, options.dataset)


def convert_data(options: argparse.Namespace) -> None:
    """`personalrm convert-data`."""
    from personalrm.studies.synthesizeme.stages.fetch import convert_stage

    convert_stage(options.config, options.dataset)


def rate(options: argparse.Namespace) -> None:
    """`personalrm rate`."""
    from personalrm.studies.synthesizeme.stages.filtering import rate_stage

    _paid(rate_stage, options, "dataset", "users")


def panel(options: argparse.Namespace) -> None:
    """`personalrm panel`."""
    from personalrm.studies.synthesizeme.stages.filtering import panel_stage

    _paid(panel_stage, options, "dataset", "users", "ratings", "model")


def released(options: argparse.Namespace) -> None:
    """`personalrm released`."""
    from personalrm.studies.synthesizeme.stages.filtering import released_stage

    released_stage(options.config, options.dataset)


def filter(options: argparse.Namespace) -> None:
    """`personalrm filter`."""
    from personalrm.studies.synthesizeme.stages.filtering import filter_stage

    filter_stage(options.config, options.dataset)


def bootstrap(options: argparse.Namespace) -> None:
    """`personalrm bootstrap`."""
    from personalrm.studies.synthesizeme.stages.learn import bootstrap_stage

    _paid(bootstrap_stage, options, "users", "model", "variant")


def profile(options: argparse.Namespace) -> None:
    """`personalrm profile`."""
    from personalrm.studies.synthesizeme.plan import read_k
    from personalrm.studies.synthesizeme.stages.learn import profile_stage

    options.k = read_k(options.k)
    _paid(profile_stage, options, "users", "traces", "model", "variant", "k")


def theta(options: argparse.Namespace) -> None:
    """`personalrm theta`."""
    from personalrm.studies.synthesizeme.stages.theta import theta_stage

    _paid(theta_stage, options, "users", "theta", "model")


def judge(options: argparse.Namespace) -> None:
    """`personalrm judge`."""
    from personalrm.studies.synthesizeme.stages.judging import judge_stage

    _paid(judge_stage, options, "users", "judge", "profiles", "profile_model")


def fidelity(options: argparse.Namespace) -> None:
    """`personalrm fidelity`."""
    from personalrm.studies.synthesizeme.stages.analysing import fidelity_stage

    _paid(fidelity_stage, options, "users", "profiles", "model", "judge", "variant")


def recovery(options: argparse.Namespace) -> None:
    """`personalrm recovery`."""
    from personalrm.studies.synthesizeme.stages.recovering import recovery_stage

    _paid(recovery_stage, options, "users", "profiles", "rubric", "model", "judge", "variant")


def axes(options: argparse.Namespace) -> None:
    """`personalrm axes`."""
    from personalrm.studies.synthesizeme.stages.analysing import axes_stage

    _paid(axes_stage, options, "dataset", "variant", "profiles")


def tag(options: argparse.Namespace) -> None:
    """`personalrm tag`."""
    from personalrm.studies.synthesizeme.stages.analysing import tag_stage

    _paid(tag_stage, options, "profiles", "axes")


def manifest(options: argparse.Namespace) -> None:
    """`personalrm manifest`."""
    from personalrm.studies.synthesizeme.stages.manifest import manifest_stage

    manifest_stage(options.config, options.out)


def transcripts(options: argparse.Namespace) -> None:
    """`personalrm transcripts`."""
    from personalrm.studies.preflight import load_environment
    from personalrm.studies.synthesizeme.stages.transcripts import MAX_JUDGMENTS, transcripts_stage

    load_environment()
    transcripts_stage(options.config, options.out, options.max_judgments or MAX_JUDGMENTS)


def schema(options: argparse.Namespace) -> None:
    """`personalrm schema`."""
    from personalrm.studies.synthesizeme.config_load import config_schema

    del options
    sys.stdout.write(config_schema())


def estimate(options: argparse.Namespace) -> None:
    """`personalrm estimate`."""
    from personalrm.studies.estimate.command import estimate

    text = estimate(
        options.config,
        options.cores,
        users=options.users,
        assume=options.assume,
        as_json=options.json,
        timed=not options.untimed,
    )
    sys.stdout.write(text)


def export(options: argparse.Namespace) -> None:
    """`personalrm export`."""
    from personalrm.studies.synthesizeme.stages.export import export_stage

    counts = export_stage(options.run, options.dataset, options.out, options.licence)
    rows = ", ".join(f"{part} {count}" for part, count in counts.items()) or "none"
    sys.stdout.write(f"{options.out}: rows {rows}\n")


def publish(options: argparse.Namespace) -> None:
    """`personalrm publish`."""
    from personalrm.studies.synthesizeme.stages.publish import publish as publish_run

    for path in publish_run(options.config, options.folder, options.names):
        sys.stdout.write(f"{path}\n")


def retry(options: argparse.Namespace) -> None:
    """`personalrm retry`."""
    from personalrm.app.retry import retry

    sys.stdout.write(retry(options.run, dry_run=options.dry_run))


def summary(options: argparse.Namespace) -> None:
    """`personalrm summary`."""
    from personalrm.studies.synthesizeme.stages.summary import summarise

    sys.stdout.write(summarise(options.run))


def migrate_store(options: argparse.Namespace) -> None:
    """`personalrm store migrate`."""
    from personalrm.app.store_command import migrate_store as migrate_to_today

    sys.stdout.write(migrate_to_today(options.old, options.config, options.to))
