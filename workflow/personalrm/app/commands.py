"""What each subcommand does: from parsed options to the function of its stage, which is imported only then."""

from __future__ import annotations

import argparse
import sys


def stage(options: argparse.Namespace) -> None:
    """`personalrm stage`."""
    from personalrm.app.jobs import run_job

    run_job(options.config, options.name, options.out, options.dataset)


def result(options: argparse.Namespace) -> None:
    """`personalrm result`."""
    from personalrm.studies.synthesizeme.make_results import result_stage

    result_stage(options.config, options.name)


def collect(options: argparse.Namespace) -> None:
    """`personalrm collect`."""
    from personalrm.studies.synthesizeme.make_results import collect_stage

    collect_stage(options.config)


def report(options: argparse.Namespace) -> None:
    """`personalrm report`."""
    from personalrm.studies.synthesizeme.make_results import report_stage

    report_stage(options.config, options.out)


def manifest(options: argparse.Namespace) -> None:
    """`personalrm manifest`."""
    from personalrm.studies.synthesizeme.manifest import manifest_stage

    manifest_stage(options.config, options.out)


def transcripts(options: argparse.Namespace) -> None:
    """`personalrm transcripts`."""
    from personalrm.studies.preflight import load_environment
    from personalrm.studies.synthesizeme.transcripts import MAX_JUDGMENTS, transcripts_stage

    load_environment()
    transcripts_stage(options.config, options.out, options.max_judgments or MAX_JUDGMENTS)


def schema(options: argparse.Namespace) -> None:
    """`personalrm schema`."""
    from personalrm.studies.synthesizeme.config_load import config_schema

    del options
    sys.stdout.write(config_schema())


def keys(options: argparse.Namespace) -> None:
    """`personalrm keys`."""
    from personalrm.studies.synthesizeme.config_reference import config_reference

    del options
    sys.stdout.write(config_reference())


def run(options: argparse.Namespace) -> int:
    """`personalrm run`."""
    from personalrm.app.progress import run_snakemake
    from personalrm.studies.synthesizeme.config_load import load_config
    from personalrm.studies.synthesizeme.summary import summarise

    config = load_config(options.config)
    results = config.results / config.run
    arguments = ["--cores", options.cores, "--configfile", str(options.config), *options.arguments]
    code = run_snakemake(arguments, results / "logs" / "run.log", sys.stderr)
    if code == 0 and (results / "tables" / "main.csv").is_file():
        sys.stdout.write(summarise(results))
    return code


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
    from personalrm.studies.synthesizeme.export import export_stage

    counts = export_stage(options.run, options.dataset, options.out, options.licence)
    rows = ", ".join(f"{part} {count}" for part, count in counts.items()) or "none"
    sys.stdout.write(f"{options.out}: rows {rows}\n")


def publish(options: argparse.Namespace) -> None:
    """`personalrm publish`."""
    from personalrm.studies.synthesizeme.publish import publish as publish_run

    for path in publish_run(options.config, options.folder, options.names):
        sys.stdout.write(f"{path}\n")


def retry(options: argparse.Namespace) -> None:
    """`personalrm retry`."""
    from personalrm.app.retry import retry

    sys.stdout.write(retry(options.run, dry_run=options.dry_run))


def summary(options: argparse.Namespace) -> None:
    """`personalrm summary`."""
    from personalrm.studies.synthesizeme.summary import summarise

    sys.stdout.write(summarise(options.run))


def migrate_store(options: argparse.Namespace) -> None:
    """`personalrm store migrate`."""
    from personalrm.app.store_command import migrate_store as migrate_to_today

    sys.stdout.write(migrate_to_today(options.old, options.config, options.to))
