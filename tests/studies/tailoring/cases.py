"""Runs of the study without Snakemake."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from personalrm.llm.open import RuntimeSettings
from personalrm.studies.config_load import parse_config
from personalrm.studies.run_results import RunResults
from personalrm.studies.tailoring.plan import Plan
from personalrm.studies.tailoring.stages.personas import Job
from personalrm.studies.tailoring.stages.prepare import prepare_stage

Texts = Mapping[str, str]
"""Answers of a system by prompt."""
PROMPTS = ("Q0?", "Q1?", "Q2?", "Q3?", "Q4 always-first?", "Q5 mumbles?", "Q6 refuses?", "Q7?")


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


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def run(folder: Path, rows: list[dict[str, Any]], url: str, **changes: object) -> Plan:
    """All files of a run but its results."""
    write_rows(folder, rows)
    return judged(raw(folder, url, **changes), folder)


def compared_systems(folder: Path, url: str, systems: Mapping[str, Texts], **compare: object) -> dict[str, Any]:
    """A run that compares the first system with the second; systems whose name ends in `plain` were told nothing."""
    rows = [
        {"id": f"p{number}", "prompt": prompt, "chosen": "", "rejected": "", "split": "test"}
        | {"chosen_persona_retr": "The user likes otter."}
        for number, prompt in enumerate(PROMPTS)
    ]
    write_rows(folder, rows)
    given = {}
    for name, texts in systems.items():
        path = folder / f"{name}.jsonl"
        path.write_text(
            json.dumps([{"prompt": p, "response": r} for p, r in texts.items()], indent=1), encoding="utf-8"
        )
        given[name] = {"files": {"d": str(path)}, "persona": "none" if name.endswith("plain") else "retr_chosen"}
    test, base = list(systems)[:2]
    pairs = [{"test": test, "base": base}]
    section = {"judges": ["m"], "given": given, "pairs": pairs, **compare}
    return raw(folder, url, infer={}, judge={}, compare=section)


def judged(values: dict[str, Any], folder: Path) -> Plan:
    """The files of a run but its results."""
    config = parse_config(values)
    plan = Plan(config)
    prepare_stage(plan, "d")

    async def jobs() -> None:
        job = Job(config, RuntimeSettings(folder / "servers", 1))
        for path, (stage, wildcards) in plan.makers().items():
            if stage.name == "given_answers":
                stage.work(**plan.arguments(stage.name, wildcards, out=Path(path)))
            elif stage.paid:
                await stage.work(**plan.arguments(stage.name, wildcards, job=job, out=Path(path)))

    asyncio.run(jobs())
    return plan


def table(plan: Plan, name: str) -> pd.DataFrame:
    RunResults(plan).make(f"table_{name}")
    return pd.read_csv(Path(plan.run) / "tables" / f"{name}.csv")
