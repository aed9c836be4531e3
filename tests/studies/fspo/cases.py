"""Runs of the study without Snakemake."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import Any

import pandas as pd

from personalrm.llm.open import RuntimeSettings
from personalrm.studies.config_load import parse_config
from personalrm.studies.fspo.plan import Plan
from personalrm.studies.fspo.stages.labels import Job
from personalrm.studies.fspo.stages.prepare import prepare_stage
from personalrm.studies.run_results import RunResults

COLOURS = {"likes": {"red": "The person wants red.", "blue": "The person wants blue."}, "mood": {"calm": "Is calm."}}


def raw(folder: Path, url: str, **changes: object) -> dict[str, Any]:
    model = {"backend": "openai", "model": "m", "api_base": url, "snapshot": "s", "same_weights": True}
    domain = {
        "about": "colours",
        "traits": COLOURS,
        "questions": {"general": 6, "per_trait": 1, "held_out": 0.2},
        "pairs": {"per_question": 3, "shared": 8, "own": 2},
        "shards": 2,
    }
    return {
        "study": "fspo",
        "run": "r",
        "results": str(folder / "results"),
        "store": str(folder / "store.sqlite"),
        "datasets": {"d": domain | dict(changes.pop("domain", {}))},  # type: ignore[call-overload]
        "models": {"m": model | dict(changes.pop("model", {}))},  # type: ignore[call-overload]
        "answer": {"models": ["m"]},
        "label": {"model": "m"},
        "describe": {"least_pairs": 3},
        "statistics": {"resamples": 99},
        **changes,
    }


def run(folder: Path, url: str, **changes: object) -> Plan:
    """All files of a run but its results."""
    config = parse_config(raw(folder, url, **changes))
    plan = Plan(config)
    for name in config.datasets:
        prepare_stage(plan, name)

    async def jobs() -> None:
        job = Job(config, RuntimeSettings(folder / "servers", 1))
        for path, (stage, wildcards) in plan.makers().items():
            if stage.name != "prepare":
                done = stage.work(**plan.arguments(stage.name, wildcards, job=job, out=Path(path)))
                if inspect.isawaitable(done):
                    await done

    asyncio.run(jobs())
    return plan


def table(plan: Plan, name: str) -> pd.DataFrame:
    RunResults(plan).make(f"table_{name}")
    return pd.read_csv(Path(plan.run) / "tables" / f"{name}.csv", keep_default_na=False, na_values=[""])
