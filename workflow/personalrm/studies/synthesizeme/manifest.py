"""Stage `manifest`: what a run was made of, so that somebody else can make it again."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from personalrm.core.addresses import without_credentials
from personalrm.core.files import atomic_write_text, sha256_file
from personalrm.core.records import CallRef
from personalrm.judge.prompting import PROMPT_DIR, load_prompt
from personalrm.llm.cache.key import KEY_FORMAT
from personalrm.llm.cache.store import ResponseStore
from personalrm.results.tables.cost_sources import analysis_calls, filter_calls, job_seconds
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.config_load import config_hash, read_resolved
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.settings import STAGE_VERSION

_ADDRESS = re.compile(r"[a-z+]+://[^\s\"'<>]+")
PACKAGES = (
    *("personalrm", "snakemake", "litellm", "pydantic", "jinja2", "pandas", "pyarrow", "scipy", "matplotlib"),
    *("huggingface_hub", "xllamacpp"),
)


def manifest_stage(config_file: Path, out: Path) -> None:
    """Write `manifest.json`, which (with `cost.*`) alone differs from run to run: it holds wall time and paid cost."""
    config = read_resolved(config_file)
    run = Path(config.results) / config.run
    manifest = {
        "run": config.run,
        "git": git_revision(),
        "config_sha256": config_hash(config),
        "config": config.model_dump(mode="json", exclude={"budget"}),
        "prompts": prompts_in_use(),
        "code": fingerprint_of_code(),
        "packages": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "models": _models(config),
        "seeds": {"run": config.seed, "statistics": config.statistics.seed, "draws": config.draws},
        "data": {name: _data(config, name) for name in config.datasets},
        "usage": _usage(run, [*_filter_calls(Plan(config)), *_analysis_calls(Plan(config))]),
        "paid": _paid(config),
        "wall_time_s": _wall_time(run),
    }
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
        head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        status = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": head.stdout.strip(), "modified": bool(status.stdout.strip())}


def prompts_in_use() -> dict[str, dict[str, Any]]:
    """Version and SHA-256 of every prompt file, by name."""
    prompts = [load_prompt(path.stem) for path in sorted(PROMPT_DIR.glob("[!_]*.jinja"))]
    return {prompt.name: {"version": prompt.version, "sha256": prompt.sha} for prompt in prompts}


def fingerprint_of_code() -> dict[str, Any]:
    """Versions of what decides answers beside config and prompts: raised where code changes what paid stages write, or
    under which key an answer is stored; and the build that serves embedded models."""
    return {"stages": STAGE_VERSION, "key": KEY_FORMAT, "xllamacpp": _version("xllamacpp")}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _models(config: Config) -> dict[str, dict[str, Any]]:
    """What is known of each model, with the models that stored replies name and their counts (`answered_as`)."""
    with _store(config) as store:
        served = store.served() if store else {}
    known = {name: _model(config, name) for name in config.models}
    for name, entry in config.models.items():
        known[name]["answered_as"] = served.get(entry.spec(name).identity, {})
    return known


def _model(config: Config, name: str) -> dict[str, Any]:
    entry = config.models[name]
    known: dict[str, Any] = {"backend": entry.backend, "model": entry.model, "snapshot": entry.snapshot}
    if entry.backend == "embedded":
        from personalrm.llm.local.catalogue import get_entry

        known |= {"sha256": get_entry(entry.model).sha256, "file": get_entry(entry.model).file}
    return known


def _data(config: Config, name: str) -> dict[str, Any]:
    settings = config.datasets[name]
    funnel = Path(config.results) / config.run / "data" / name / "funnel.json"
    return {
        "source": settings.source,
        "source_sha256": {path.name: sha256_file(path) for path in settings.source_files()},
        "licence": settings.licence,
        "funnel": json.loads(funnel.read_text(encoding="utf-8")),
    }


def _usage(run: Path, others: Iterable[CallRef]) -> dict[str, Any]:
    """Calls, tokens and list cost of the distinct stored responses that results, filters and analyses rest on."""
    import pandas as pd

    calls = pd.read_parquet(run / "data" / "calls.parquet")
    asked = [ref.model_dump(exclude={"schema_version", "stage"}) for ref in others]
    calls = pd.concat([calls, pd.DataFrame(asked)] if asked else [calls]).drop_duplicates("key")
    cost = calls["cost_usd"]
    return {
        "calls": len(calls),
        "tokens_in": int(calls["tokens_in"].sum()),
        "tokens_out": int(calls["tokens_out"].sum()),
        "cost_usd_list": None if cost.isna().any() else float(cost.sum()),
    }


def _filter_calls(plan: Plan) -> Iterator[CallRef]:
    """Responses that the data sets' filters rest on."""
    ratings = [Path(path) for name in plan.filtered for path in plan.rating_paths(name)]
    panels = [Path(path) for name in plan.filtered for path in plan.panel_paths(name)]
    return (call.ref for call in filter_calls(ratings, panels))


def _analysis_calls(plan: Plan) -> Iterator[CallRef]:
    """Responses that the analyses of personas rest on."""
    files = (plan.fidelity_paths(), plan.recovery_paths(), plan.axes_paths(), plan.tag_paths())
    return (call.ref for call in analysis_calls(*(map(Path, paths) for paths in (plan.analysed_profiles(), *files))))


def _paid(config: Config) -> dict[str, dict[str, Any]]:
    """What this run's own calls added to the store, by model (answers found in the store cost nothing)."""
    with _store(config) as store:
        totals = store.paid_totals(config.run) if store else {}
    return {identity: asdict(sums) for identity, sums in totals.items()}


@contextmanager
def _store(config: Config) -> Iterator[ResponseStore | None]:
    """The run's store; None where there is none, which a look at it should not make."""
    if not Path(config.store).is_file():
        yield None
        return
    with ResponseStore(config.store, config.store_journal, config.run) as store:
        yield store


def _wall_time(run: Path) -> float:
    """Sum of the seconds that the run's jobs took, from Snakemake's benchmark files."""
    found = map(job_seconds, sorted((run / "benchmarks").rglob("*.tsv")))
    return round(sum(seconds for seconds in found if seconds is not None), 1)
