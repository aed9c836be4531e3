"""What the study of SynthesizeMe adds to the shared machinery."""

from __future__ import annotations

from pathlib import Path

from personalrm.run.stage import Files
from personalrm.studies.study import Study, later
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.config_checks import problems_of
from personalrm.studies.synthesizeme.facts import facts_of
from personalrm.studies.synthesizeme.missing import missing
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.run_results import PACKAGES, conditions, result_files, result_settings


def _shown(run: Path) -> str:
    from personalrm.studies.synthesizeme.summary import summarise

    return summarise(run) if (run / "tables" / "main.csv").is_file() else ""


def _training(config: Config, timed: bool) -> list[str]:
    from personalrm.studies.synthesizeme.simulate import read_data
    from personalrm.studies.synthesizeme.training_estimate import training_notes

    return training_notes(config, read_data(config), timed=timed) if config.reward_models else []


def _reported_from(plan: Plan) -> Files:
    tables = {name: f"{plan.run}/tables/{name}.csv" for name in ("main", "differences", "profiles")}
    shards = [path for name in plan.config.datasets for path in plan.shard_paths(name)]
    people = {"users": shards, "learned": plan.profile_paths(), "tastes": plan.paths("taste")}
    return {"verdicts": f"{plan.run}/data/verdicts.parquet", **tables, **people}


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
    made_of=lambda plan: {
        "scores": f"{plan.run}/data/calls.parquet",
        "cards": [f"{plan.run}/data/{name}/funnel.json" for name in plan.config.datasets],
        "attributes": plan.paths("score_attributes"),
        "analysis": [path for name in ("fidelity", "recovery", "axes", "tag") for path in plan.paths(name)],
    },
    reported_from=_reported_from,
    headline=later(f"{__package__}.make_results", "run_headline"),
    people=later(f"{__package__}.make_results", "run_people"),
    summary=later(f"{__package__}.make_results", "run_summary"),
    not_run=later(f"{__package__}.make_results", "not_run"),
    shown=_shown,
    simulated=later(f"{__package__}.simulate", "simulated"),
    training=_training,
    title="Personalised judges learned from preference votes",
    judgments=later(f"{__package__}.transcripts", "judgments_of"),
    transcribed_from=later(f"{__package__}.transcripts", "transcribed_from"),
    removed={
        "learn.search.strategy": "delete this key. Successive halving is gone; the exact search finds the best "
        "candidate. For fewer calls set stop_at_score, or a smaller num_search_candidates",
        "datasets.*.table": "delete this key. PRISM's answers are read from conversations.jsonl; utterances.jsonl "
        "holds the same without times",
    },
)
