"""What each subcommand does: from parsed options to the function of its stage, which is imported only then."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any


def _run(stage: Coroutine[Any, Any, None], out: Path) -> None:
    """Run a stage that asks models and writes `out`."""
    from personalrm.embedded.lifecycle import watch_owner
    from personalrm.stages.runner import sole_writer

    watch_owner()
    with sole_writer(out):
        asyncio.run(stage)


def _job(options: argparse.Namespace) -> Any:  # noqa: ANN401
    from personalrm.preflight import load_environment
    from personalrm.stages.runner import Job

    load_environment()
    return Job.from_file(options.config)


def prepare(options: argparse.Namespace) -> None:
    """`personalrm prepare`."""
    from personalrm.stages.prepare import prepare_stage

    prepare_stage(options.config, options.dataset)


def fetch_data(options: argparse.Namespace) -> None:
    """`personalrm fetch-data`."""
    from personalrm.stages.fetch import fetch_stage

    fetch_stage(options.config, options.dataset)


def convert_data(options: argparse.Namespace) -> None:
    """`personalrm convert-data`."""
    from personalrm.stages.fetch import convert_stage

    convert_stage(options.config, options.dataset)


def rate(options: argparse.Namespace) -> None:
    """`personalrm rate`."""
    from personalrm.stages.filtering import rate_stage

    _run(rate_stage(_job(options), dataset=options.dataset, users=options.users, out=options.out), options.out)


def panel(options: argparse.Namespace) -> None:
    """`personalrm panel`."""
    from personalrm.stages.filtering import panel_stage

    stage = panel_stage(
        _job(options),
        dataset=options.dataset,
        users=options.users,
        ratings=options.ratings,
        out=options.out,
        model=options.model,
    )
    _run(stage, options.out)


def released(options: argparse.Namespace) -> None:
    """`personalrm released`."""
    from personalrm.stages.filtering import released_stage

    released_stage(options.config, options.dataset)


def filter(options: argparse.Namespace) -> None:
    """`personalrm filter`."""
    from personalrm.stages.filtering import filter_stage

    filter_stage(options.config, options.dataset)


def bootstrap(options: argparse.Namespace) -> None:
    """`personalrm bootstrap`."""
    from personalrm.stages.learn import bootstrap_stage

    stage = bootstrap_stage(
        _job(options), users=options.users, out=options.out, model=options.model, variant=options.variant
    )
    _run(stage, options.out)


def profile(options: argparse.Namespace) -> None:
    """`personalrm profile`."""
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
    _run(stage, options.out)


def theta(options: argparse.Namespace) -> None:
    """`personalrm theta`."""
    from personalrm.stages.theta import theta_stage

    stage = theta_stage(_job(options), users=options.users, out=options.out, theta=options.theta, model=options.model)
    _run(stage, options.out)


def judge(options: argparse.Namespace) -> None:
    """`personalrm judge`."""
    from personalrm.stages.judging import judge_stage

    stage = judge_stage(
        _job(options),
        users=options.users,
        out=options.out,
        judge=options.judge,
        profiles=options.profiles,
        profile_model=options.profile_model,
    )
    _run(stage, options.out)


def fidelity(options: argparse.Namespace) -> None:
    """`personalrm fidelity`."""
    from personalrm.stages.analysing import fidelity_stage

    named = ("users", "profiles", "out", "model", "judge", "variant")
    _run(fidelity_stage(_job(options), **{name: getattr(options, name) for name in named}), options.out)


def axes(options: argparse.Namespace) -> None:
    """`personalrm axes`."""
    from personalrm.stages.analysing import axes_stage

    named = ("dataset", "variant", "profiles", "out")
    _run(axes_stage(_job(options), **{name: getattr(options, name) for name in named}), options.out)


def tag(options: argparse.Namespace) -> None:
    """`personalrm tag`."""
    from personalrm.stages.analysing import tag_stage

    _run(tag_stage(_job(options), profiles=options.profiles, axes=options.axes, out=options.out), options.out)


def manifest(options: argparse.Namespace) -> None:
    """`personalrm manifest`."""
    from personalrm.stages.manifest import manifest_stage

    manifest_stage(options.config, options.out)


def transcripts(options: argparse.Namespace) -> None:
    """`personalrm transcripts`."""
    from personalrm.stages.transcripts import MAX_JUDGMENTS, transcripts_stage

    transcripts_stage(options.config, options.out, options.max_judgments or MAX_JUDGMENTS)


def schema(options: argparse.Namespace) -> None:
    """`personalrm schema`."""
    from personalrm.config_load import config_schema

    del options
    sys.stdout.write(config_schema())


def estimate(options: argparse.Namespace) -> None:
    """`personalrm estimate`."""
    from personalrm.stages.estimate import estimate

    sys.stdout.write(estimate(options.config, options.cores))


def export(options: argparse.Namespace) -> None:
    """`personalrm export`."""
    from personalrm.stages.export import export_stage

    counts = export_stage(options.run, options.dataset, options.out, options.licence)
    rows = ", ".join(f"{part} {count}" for part, count in counts.items()) or "none"
    sys.stdout.write(f"{options.out}: rows {rows}\n")


def summary(options: argparse.Namespace) -> None:
    """`personalrm summary`."""
    from personalrm.stages.summary import summarise

    sys.stdout.write(summarise(options.run))
