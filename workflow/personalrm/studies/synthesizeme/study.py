"""What the study of SynthesizeMe adds to the shared machinery."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from personalrm.run.stage import Files
from personalrm.studies.report.judgments import Shown
from personalrm.studies.report.shown import Headline, People
from personalrm.studies.study import Study
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.config_checks import problems_of
from personalrm.studies.synthesizeme.facts import facts_of
from personalrm.studies.synthesizeme.missing import missing
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.run_results import PACKAGES, conditions, result_files, result_settings


def _summary(plan: Plan, manifest: Mapping[str, Any]) -> Sequence[tuple[str, Sequence[str]]]:
    from personalrm.studies.synthesizeme.make_results import run_summary

    return run_summary(plan, manifest)


def _headline(plan: Plan) -> Headline | None:
    from personalrm.studies.synthesizeme.make_results import run_headline

    return run_headline(plan)


def _people(plan: Plan) -> People:
    from personalrm.studies.synthesizeme.make_results import run_people

    return run_people(plan)


def _not_run(config: Config, made: Collection[str]) -> Sequence[tuple[str, str]]:
    from personalrm.studies.synthesizeme.make_results import not_run

    return not_run(config, made)


def _shown(run: Path) -> str:
    from personalrm.studies.synthesizeme.summary import summarise

    return summarise(run) if (run / "tables" / "main.csv").is_file() else ""


def _simulated(config: Config, *given: Any) -> Any:  # noqa: ANN401 - as `simulated` has it
    from personalrm.studies.synthesizeme.simulate import simulated

    return simulated(config, *given)


def _training(config: Config, timed: bool) -> list[str]:
    from personalrm.studies.synthesizeme.simulate import read_data
    from personalrm.studies.synthesizeme.training_estimate import training_notes

    return training_notes(config, read_data(config), timed=timed) if config.reward_models else []


def _made_of(plan: Plan) -> Files:
    return {
        "scores": f"{plan.run}/data/calls.parquet",
        "cards": [f"{plan.run}/data/{name}/funnel.json" for name in plan.config.datasets],
        "attributes": plan.paths("score_attributes"),
        "analysis": [path for name in ("fidelity", "recovery", "axes", "tag") for path in plan.paths(name)],
    }


def _reported_from(plan: Plan) -> Files:
    tables = {name: f"{plan.run}/tables/{name}.csv" for name in ("main", "differences", "profiles")}
    shards = [path for name in plan.config.datasets for path in plan.shard_paths(name)]
    people = {"users": shards, "learned": plan.profile_paths(), "tastes": plan.paths("taste")}
    return {"verdicts": f"{plan.run}/data/verdicts.parquet", **tables, **people}


def _judgments(plan: Plan, max_judgments: int) -> Shown:
    from personalrm.studies.synthesizeme.transcripts import judgments_of

    return judgments_of(plan, max_judgments)


def _transcribed_from(plan: Plan) -> Files:
    from personalrm.studies.synthesizeme.transcripts import transcribed_from

    return transcribed_from(plan)


STUDY = Study(
    config=Config,
    plan=Plan,
    problems=problems_of,
    missing=missing,
    results=PACKAGES,
    files=result_files,
    settings=result_settings,
    conditions=conditions,
    facts=facts_of,
    made_of=_made_of,
    reported_from=_reported_from,
    headline=_headline,
    people=_people,
    summary=_summary,
    not_run=_not_run,
    shown=_shown,
    simulated=_simulated,
    training=_training,
    title="Personalised judges learned from preference votes",
    judgments=_judgments,
    transcribed_from=_transcribed_from,
    removed={
        "learn.search.strategy": "delete this key. Successive halving is gone; the exact search finds the best "
        "candidate. For fewer calls set stop_at_score, or a smaller num_search_candidates",
        "datasets.*.table": "delete this key. PRISM's answers are read from conversations.jsonl; utterances.jsonl "
        "holds the same without times",
    },
)
