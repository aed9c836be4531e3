"""What the study of "Whose Boat Does it Float?" (Balepur et al., ACL 2025) adds to the shared machinery."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from personalrm.core.errors import ConfigError
from personalrm.data.card import source_facts
from personalrm.judge.rubrics import prometheus
from personalrm.run.stage import Files
from personalrm.studies.manifest import stage_usage, usage_text
from personalrm.studies.preflight import lacking
from personalrm.studies.run_results import not_made, tables_and_pages
from personalrm.studies.stage_costs import paid_files
from personalrm.studies.study import Needs, Study, later
from personalrm.studies.tailoring.config import Config, problems_of
from personalrm.studies.tailoring.plan import Plan
from personalrm.studies.tailoring.run_results import PACKAGES, conditions, result_files, result_settings
from personalrm.train.base_names import kind_of_base

TRAINING = ("tailor_sft", "tailor_dpo", "generate_answers")
"""Stages that need torch."""


def _missing(config: Config, needs: Needs) -> list[str]:
    personas = [
        f"infer.given.{name}: no files *.jsonl in {path}; make that run first, or correct the path"
        for name, path in config.infer.given.items()
        if not any(path.glob("*.jsonl"))
    ]
    given = [(name, path) for name, entry in config.compare.given.items() for path in entry.files.values()]
    answers = [f"compare.given.{name}: no file {path}; correct the path" for name, path in given if not path.is_file()]
    if config.compare.prometheus.judges:
        try:
            prometheus()
        except ConfigError as error:
            answers.append(f"compare.prometheus: {error}")
    return personas + answers + ([] if needs.stages.isdisjoint(TRAINING) else _without_bases(config))


def _without_bases(config: Config) -> list[str]:
    problems = lacking("train", "tailor.policies")
    for name, policy in config.tailor.policies.items():
        try:
            kind_of_base(policy.base, policy.revision)
        except ConfigError as error:
            problems.append(f"tailor.policies.{name}.{error}")
    return problems


def _facts(plan: Plan) -> dict[str, Any]:
    return {
        "data": {name: _data(plan, name) for name in plan.config.datasets},
        "policies": {path.removeprefix(f"{plan.run}/"): _card(path) for path in _cards(plan)},
        "usage": stage_usage(plan),
    }


def _data(plan: Plan, name: str) -> dict[str, Any]:
    counts = json.loads(Path(plan.counts(name)).read_text(encoding="utf-8"))
    return {**source_facts(plan.config.datasets[name]), **counts}


def _cards(plan: Plan) -> list[str]:
    return [path for name in TRAINING[:2] for path in plan.paths(name)]


def _card(path: str) -> dict[str, Any]:
    """What a trained policy was made of, without its curve."""
    card: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return {name: value for name, value in card.items() if name != "curve"}


def _made_of(plan: Plan) -> Files:
    prepared = [path for name in plan.config.datasets for path in plan.files("prepare", dataset=name)]
    return {
        "prepared": prepared,
        "policies": _cards(plan),
        "paid": paid_files(plan),
    }


def _summary(plan: Plan, manifest: Mapping[str, Any]) -> Sequence[tuple[str, Sequence[str]]]:
    config, usage = plan.config, manifest["usage"]
    counts = [f"{name}: {facts['pairs']:,} pairs." for name, facts in manifest["data"].items()]
    asked = {
        "Personas by": config.personas_of,
        "Accuracy judged by": config.judge.accuracy,
        "Answers by": config.systems,
        "Preferences judged by": dict.fromkeys(judge for _, judge in config.preference_pairs),
        "Answers compared by": config.compare.all_judges if config.compare.pairs else (),
    }
    said = [f"{what} {', '.join(names)}." for what, names in asked.items() if names]
    beavers = any(entry.prompt == "beavertails" for entry in config.datasets.values())
    harmful = ["BeaverTails holds harmful text."] if beavers else []
    return [("What was run", [*counts, *said, f"Stored answers: {usage['calls']:,}, {usage_text(usage)}", *harmful])]


def _reported_from(plan: Plan) -> Files:
    pairs = [path for name in plan.config.datasets for path in plan.pair_files(name)]
    return {"pairs": pairs, "personas": plan.paths("infer_personas")}


def _not_run(config: Config, made: Collection[str]) -> Sequence[tuple[str, str]]:
    asked = config.judge.preference or config.judge.own_preference
    lacking = "no model writes both personas of a pair" if asked else "judge.preference names no model"
    keys = {
        "accuracy": "judge.accuracy names no model" if config.personas_of else "there are no personas to judge",
        "personas": "there are no personas",
        "preference": lacking,
        "answers": "compare.pairs names no comparison",
        "reported_answers": "no comparison and data set of the config is named as reported",
    }
    return not_made(config.study, made, lambda result: keys.get(result.when, "the table is not made"))


STUDY = Study(
    config=Config,
    plan=Plan,
    problems=problems_of,
    missing=_missing,
    results=PACKAGES,
    files=result_files,
    settings=result_settings,
    conditions=conditions,
    facts=_facts,
    made_of=_made_of,
    reported_from=_reported_from,
    headline=later(f"{__package__}.report_page", "run_headline"),
    people=later(f"{__package__}.report_page", "some_pairs"),
    summary=_summary,
    not_run=_not_run,
    shown=lambda run: tables_and_pages(run, ("persona_accuracy", "persona_preferences", "tailoring")),
    simulated=later(f"{__package__}.simulate", "simulated"),
    title="Personas inferred from preference pairs",
    judgments=later(f"{__package__}.transcripts", "judgments_of"),
    transcribed_from=later(f"{__package__}.transcripts", "transcribed_from"),
)
