"""The manifest: what a run was made of, so that it can be repeated."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

from personalrm.core.addresses import without_credentials
from personalrm.core.files import atomic_write_text, sha256_file
from personalrm.core.records import CallRef
from personalrm.judge.attribute_bank import DEFAULT_BANK
from personalrm.judge.prompting import PROMPT_DIR, load_prompt
from personalrm.llm.cache.key import KEY_FORMAT
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.client import REMARKS
from personalrm.methods.registry import parse_method
from personalrm.results.scores import count_estimated
from personalrm.results.tables.cost_sources import analysis_calls, filter_calls, job_seconds, scoring_calls
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.config_load import config_hash, read_resolved
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.settings import STAGE_VERSION, constitution_of
from personalrm.train import WEIGHTS

_ADDRESS = re.compile(r"[a-z+]+://[^\s\"'<>]+")
PACKAGES = (
    *("personalrm", "snakemake", "litellm", "pydantic", "jinja2", "pandas", "pyarrow", "scipy", "matplotlib"),
    *("huggingface_hub", "xllamacpp"),
)
TRAINING = ("torch", "transformers", "safetensors")
"""Packages that decide what trained reward models are."""


def manifest_stage(config_file: Path, out: Path) -> None:
    """Write `manifest.json`, which (with `cost.*`) alone differs from run to run: it holds wall time and paid cost."""
    config = read_resolved(config_file)
    plan = Plan(config)
    run = Path(plan.run)
    with ExitStack() as stack:
        # Where there is no store, looking at it must not make one.
        exists = config.store.is_file()
        store = stack.enter_context(ResponseStore(config.store, config.store_journal)) if exists else None
        models, paid = _models(config, store), store.paid_totals(config.run) if store else {}
    manifest = {
        "run": config.run,
        "git": git_revision(),
        "config_sha256": config_hash(config),
        "config": config.model_dump(mode="json", exclude={"budget"}),
        "prompts": prompts_in_use(plan),
        "constitution": constitution_in_use(config),
        "attributes": attributes_in_use(config),
        "code": fingerprint_of_code(),
        "packages": {name: _version(name) for name in (*PACKAGES, *(TRAINING if config.reward_models else ()))},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "models": models,
        **_reward_models(plan),
        "seeds": {"run": config.seed, "statistics": config.statistics.seed, "draws": config.draws},
        "data": {name: _data(config, name) for name in config.datasets},
        "usage": _usage(run, _other_calls(plan)),
        # What this run's own calls added to the store: answers that it found there cost nothing.
        "paid": {identity: asdict(sums) for identity, sums in paid.items()},
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
        head = subprocess.check_output(["git", "rev-parse", "HEAD"], stderr=subprocess.DEVNULL, text=True)
        status = subprocess.check_output(["git", "status", "--porcelain", "--untracked-files=no"], text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": head.strip(), "modified": bool(status.strip())}


def prompts_in_use(plan: Plan) -> dict[str, dict[str, Any]]:
    """Version and SHA-256 of every prompt file that a stage of the run reads, by name."""
    declared = [(stage.reads, job) for stage in plan.stages.values() for job in stage.combinations(plan) if stage.reads]
    read = {prompt for reads, job in declared for prompt in reads(plan, job).get("prompts", ())}
    prompts = [load_prompt(path.stem) for path in sorted(PROMPT_DIR.glob("[!_]*.jinja"))]
    return {prompt.name: {"version": prompt.version, "sha256": prompt.sha} for prompt in prompts if prompt.id in read}


def constitution_in_use(config: Config) -> dict[str, str] | None:
    """Label and text of the rules above what prompts show of a user; None where no prompt of the run has them."""
    guarded = any(parse_method(spec).method.guarded for spec in config.methods)
    rules = constitution_of(config, guarded=guarded)
    return asdict(rules) if rules else None


def attributes_in_use(config: Config) -> dict[str, Any] | None:
    """SHA-256 of the bank and ids of the attributes that pairs are scored by; None where none are."""
    if config.scoring is None:
        return None
    bank = config.scoring.bank or DEFAULT_BANK
    found = {"bank_sha256": sha256_file(bank), "ids": list(config.scoring.selected().ids)}
    return found if config.scoring.kinds == "none" else {**found, "kinds": config.scoring.kinds}


def fingerprint_of_code() -> dict[str, Any]:
    """What decides answers in addition to config and prompts: versions that are raised where code changes what paid
    stages write or the key of an answer, and the build that serves embedded models."""
    return {"stages": STAGE_VERSION, "key": KEY_FORMAT, "xllamacpp": _version("xllamacpp")}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _models(config: Config, store: ResponseStore | None) -> dict[str, dict[str, Any]]:
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


def _reward_models(plan: Plan) -> dict[str, Any]:
    """SHA-256 of the weights of each trained reward model, by its folder; nothing where the run has none."""
    cards = [Path(path) for path in plan.paths("reward_model")]
    found = {str(card.parent.relative_to(plan.run)): sha256_file(card.with_name(WEIGHTS)) for card in cards}
    return {"reward_models": found} if found else {}


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
    cost, estimated = calls["cost_usd"], count_estimated(calls)
    return {
        "calls": len(calls),
        "tokens_in": int(calls["tokens_in"].sum()),
        "tokens_out": int(calls["tokens_out"].sum()),
        "cost_usd_list": None if cost.isna().any() else float(cost.sum()),
        **({"estimated_calls": estimated} if estimated else {}),
    }


def _other_calls(plan: Plan) -> Iterator[CallRef]:
    """Responses that the data sets' filters, the scores by attributes and the analyses of personas rest on."""
    ratings = [Path(path) for name in plan.filtered for path in plan.rating_paths(name)]
    panels = [Path(path) for name in plan.filtered for path in plan.panel_paths(name)]
    personas = (plan.analysed_profiles(), plan.paths("fidelity"), plan.paths("recovery"), plan.paths("axes"))
    analyses = analysis_calls(*(map(Path, paths) for paths in (*personas, plan.paths("tag"))))
    scores = scoring_calls(map(Path, plan.paths("score_attributes")))
    return (call.ref for call in chain(filter_calls(ratings, panels), scores, analyses))


def _wall_time(run: Path) -> float:
    """Sum of the seconds that the run's jobs took, from Snakemake's benchmark files."""
    found = map(job_seconds, sorted((run / "benchmarks").rglob("*.tsv")))
    return round(sum(seconds for seconds in found if seconds is not None), 1)
