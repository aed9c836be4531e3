"""The manifest: what a run was made of, so that it can be repeated."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from personalrm.core.addresses import without_credentials
from personalrm.core.files import atomic_write_text
from personalrm.core.records import CallRef, read_records
from personalrm.judge.prompting import PROMPT_DIR, load_prompt
from personalrm.llm.cache.key import KEY_FORMAT
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.client import REMARKS
from personalrm.results.lazy import pd
from personalrm.results.scores import count_estimated
from personalrm.results.tables.cost_sources import job_seconds
from personalrm.run.stage import StagePlan
from personalrm.studies.config_load import config_hash, read_resolved
from personalrm.studies.plan import StudyPlan
from personalrm.studies.settings import STAGE_VERSION
from personalrm.studies.study import study_of
from personalrm.studies.study_config import StudyConfig

_ADDRESS = re.compile(r"[a-z+]+://[^\s\"'<>]+")
PACKAGES = (
    *("personalrm", "snakemake", "litellm", "pydantic", "jinja2", "pandas", "pyarrow", "scipy", "matplotlib"),
    *("huggingface_hub", "xllamacpp"),
)


def manifest_stage(config_file: Path, out: Path) -> None:
    """Write `manifest.json`, which (with `cost.*`) alone differs from run to run: it holds wall time and paid cost."""
    config = read_resolved(config_file)
    study = study_of(config.study)
    plan = study.plan(config)
    run = Path(plan.run)
    with ExitStack() as stack:
        # Where there is no store, looking at it must not make one.
        exists = config.store.is_file()
        store = stack.enter_context(ResponseStore(config.store, config.store_journal)) if exists else None
        models, paid = _models(config, store), store.paid_totals(config.run) if store else {}
    manifest: dict[str, Any] = {
        "run": config.run,
        "git": git_revision(),
        "config_sha256": config_hash(config),
        "config": config.model_dump(mode="json", exclude={"budget"}),
        "prompts": prompts_in_use(plan),
        "code": fingerprint_of_code(),
        "packages": {name: version_of(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "models": models,
        "seeds": {"run": config.seed, "statistics": config.statistics.seed},
        # What this run's own calls added to the store: answers that it found there cost nothing.
        "paid": {identity: asdict(sums) for identity, sums in paid.items()},
        "wall_time_s": _wall_time(run),
    }
    for name, facts in study.facts(plan).items():
        manifest[name] = manifest[name] | facts if name in manifest else facts
    atomic_write_text(out, json.dumps(without_secrets(manifest), indent=2, sort_keys=True) + "\n")


def without_secrets(value: Any) -> Any:  # noqa: ANN401 - JSON
    """The same value (of JSON's kinds) with logins and queries cut out of every address in it.

    >>> without_secrets({"api_base": "https://me:pass@host/v1?api_key=abc"})
    {'api_base': 'https://host/v1'}
    """
    if isinstance(value, dict):
        return {key: without_secrets(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_secrets(item) for item in value]
    return _ADDRESS.sub(lambda found: without_credentials(found[0]), value) if isinstance(value, str) else value


def git_revision() -> dict[str, Any] | None:
    """Commit and whether the working tree differs from it; None outside a checkout or without git."""
    try:
        head = subprocess.check_output(["git", "rev-parse", "HEAD"], stderr=subprocess.DEVNULL, text=True)
        status = subprocess.check_output(["git", "status", "--porcelain", "--untracked-files=no"], text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": head.strip(), "modified": bool(status.strip())}


def prompts_in_use(plan: StagePlan) -> dict[str, dict[str, Any]]:
    """Version and SHA-256 of every prompt file that a stage of the run reads, by name."""
    declared = [(stage.reads, job) for stage in plan.stages.values() for job in stage.combinations(plan) if stage.reads]
    read = {prompt for reads, job in declared for prompt in reads(plan, job).get("prompts", ())}
    prompts = [load_prompt(path.stem, path.parent) for path in sorted(PROMPT_DIR.rglob("[!_]*.jinja"))]
    return {prompt.name: {"version": prompt.version, "sha256": prompt.sha} for prompt in prompts if prompt.id in read}


def fingerprint_of_code() -> dict[str, Any]:
    """What decides answers in addition to config and prompts: versions that are raised where code changes what paid
    stages write or the key of an answer, and the build that serves embedded models."""
    return {"stages": STAGE_VERSION, "key": KEY_FORMAT, "xllamacpp": version_of("xllamacpp")}


def version_of(package: str) -> str | None:
    """Version of an installed package; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _models(config: StudyConfig, store: ResponseStore | None) -> dict[str, dict[str, Any]]:
    """What is known of each model, with the models that stored replies name and their counts (`answered_as`), and what
    is noteworthy of its server (`remarks`)."""
    served, remarks = (store.served(), store.peek(REMARKS)) if store else ({}, {})
    known: dict[str, dict[str, Any]] = {}
    for name, entry in config.models.items():
        known[name] = entry.model_dump(include={"backend", "model", "snapshot"})
        known[name]["answered_as"] = served.get(entry.spec(name).identity, {})
        if noted := remarks.get(entry.spec(name).identity):
            known[name]["remarks"] = noted
        if entry.backend == "embedded":
            from personalrm.llm.local.catalogue import get_entry

            known[name] |= {"sha256": get_entry(entry.model).sha256, "file": get_entry(entry.model).file}
    return known


def usage_of(calls: pd.DataFrame) -> dict[str, Any]:
    """Number, tokens and list cost of the distinct stored responses among `calls` (columns of `CallRef`)."""
    calls = calls.drop_duplicates("key")
    cost, estimated = calls["cost_usd"], count_estimated(calls)
    return {
        "calls": len(calls),
        "tokens_in": int(calls["tokens_in"].sum()),
        "tokens_out": int(calls["tokens_out"].sum()),
        "cost_usd_list": None if cost.isna().any() else float(cost.sum()),
        **({"estimated_calls": estimated} if estimated else {}),
    }


def stage_usage(plan: StudyPlan[Any]) -> dict[str, Any]:
    """`usage_of` the calls in the rows of all stages that ask models."""
    asked = [
        (Path(path), stage.record) for stage in plan.stages.values() if stage.paid for path in plan.paths(stage.name)
    ]
    rows = (row for path, kind in asked if kind for row in read_records(path, kind))
    calls = [ref.model_dump() for row in rows for ref in getattr(row, "calls", ())]
    return usage_of(pd.DataFrame(calls, columns=list(CallRef.model_fields)))


def usage_text(usage: Mapping[str, Any]) -> str:
    """What `usage_of` found, as one sentence, or two where tokens were estimated."""
    cost, estimated = usage["cost_usd_list"], usage.get("estimated_calls")
    listed = "not known" if cost is None else f"${cost:,.2f}"
    said = f"{usage['tokens_in']:,} tokens in, {usage['tokens_out']:,} out, list cost {listed}."
    return said + (f" Tokens of {estimated:,} of them are estimates." if estimated else "")


def _wall_time(run: Path) -> float:
    """Sum of the seconds that the run's jobs took, from Snakemake's benchmark files."""
    found = map(job_seconds, sorted((run / "benchmarks").rglob("*.tsv")))
    return round(sum(seconds for seconds in found if seconds is not None), 1)
