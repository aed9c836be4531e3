"""Runs of the study without Snakemake."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pandas as pd

from personalrm.llm.open import RuntimeSettings
from personalrm.studies.config_load import parse_config
from personalrm.studies.run_results import RunResults
from personalrm.studies.tailoring.plan import Plan
from personalrm.studies.tailoring.stages.personas import Job
from personalrm.studies.tailoring.stages.prepare import prepare_stage


def raw(folder: Path, url: str, **changes: object) -> dict[str, Any]:
    model = {"backend": "openai", "model": "m", "api_base": url, "snapshot": "s", "max_concurrency": 4}
    return {
        "study": "tailoring",
        "run": "r",
        "results": str(folder / "results"),
        "store": str(folder / "store.sqlite"),
        "datasets": {"d": {"path": str(folder / "pairs.jsonl"), "reported": "SHP", "prompt": "shp", "shards": 2}},
        "models": {"m": model},
        "infer": {"models": ["m"], "reported": {"m": "GPT-4"}},
        "judge": {"accuracy": ["m"], "preference": ["m"]},
        "saliency": {"cutoff": 1, "top": 2},
        "statistics": {"resamples": 99},
        **changes,
    }


def run(folder: Path, rows: list[dict[str, Any]], url: str, **changes: object) -> Plan:
    """All files of a run but its results."""
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = parse_config(raw(folder, url, **changes))
    plan = Plan(config)
    prepare_stage(plan, "d")

    async def jobs() -> None:
        job = Job(config, RuntimeSettings(folder / "servers", 1))
        for path, (stage, wildcards) in plan.makers().items():
            if stage.paid:
                await stage.work(**plan.arguments(stage.name, wildcards, job=job, out=Path(path)))

    asyncio.run(jobs())
    return plan


def table(plan: Plan, name: str) -> pd.DataFrame:
    RunResults(plan).make(f"table_{name}")
    return pd.read_csv(Path(plan.run) / "tables" / f"{name}.csv")
