"""What the study of FSPO's synthetic users (Singh et al., 2025) adds to the shared machinery."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from personalrm.core.errors import ConfigError
from personalrm.core.files import sha256_file
from personalrm.core.records import read_all
from personalrm.core.synthetic import PARTS, QuestionAnswers, QuestionGroup, SyntheticPair, SyntheticUser, UserLabels
from personalrm.data.card import source_facts
from personalrm.personas.synthetic.describe import decided_labels
from personalrm.results.spec import Result
from personalrm.run.stage import Files
from personalrm.studies.fspo.config import Config, problems_of
from personalrm.studies.fspo.plan import Plan
from personalrm.studies.fspo.run_results import PACKAGES, conditions, result_files, result_settings
from personalrm.studies.manifest import stage_usage, usage_text
from personalrm.studies.preflight import lacking
from personalrm.studies.run_results import not_made, tables_and_pages
from personalrm.studies.study import Needs, Study, later
from personalrm.train import CARD, WEIGHTS
from personalrm.train.base_names import kind_of_base

GENERATE = "generate_answers"
"""The stage that needs torch."""


def _missing(config: Config, needs: Needs) -> list[str]:
    compare = config.compare
    problems = [
        f"compare.given.{name}: no file {path}; make it first, or correct the path"
        for name, path in (compare.given if compare else {}).items()
        if not path.is_file()
    ]
    if compare is None or compare.policy is None or GENERATE not in needs.stages:
        return problems
    problems += lacking("train", "compare.policy")
    try:
        kind_of_base(compare.policy.base, compare.policy.revision)
    except ConfigError as error:
        problems.append(f"compare.policy.{error}")
    return problems + [
        f"compare.policy.trained: no training in {folder}; run its config first, or correct the path, methods or seed"
        for folder in _trainings(config)
        if not (folder / CARD).is_file()
    ]


def _facts(plan: Plan) -> dict[str, Any]:
    trained = {str(folder / WEIGHTS): sha256_file(folder / WEIGHTS) for folder in _trainings(plan.config)}
    return {
        "data": {name: _data(plan, name) for name in plan.config.datasets},
        "usage": stage_usage(plan),
        **({"trained_sha256": trained} if trained else {}),
    }


def _trainings(config: Config) -> list[Path]:
    """Folders of the trainings whose weights answer."""
    policy = config.compare.policy if config.compare else None
    return list(dict.fromkeys(path for method in policy.methods for path in policy.folders(method))) if policy else []


def _data(plan: Plan, name: str) -> dict[str, Any]:
    def of(stage: str) -> list[Path]:
        return [Path(path) for path in plan.paths(stage, dataset=name)]

    groups = list(read_all(of("ask_questions"), QuestionGroup))
    questions = [question for group in groups for question in group.questions]
    people = list(read_all(of("describe_users"), SyntheticUser))
    parts = Counter(user.part for user in people)
    labels = list(read_all(of("label_pairs"), UserLabels))
    return {
        **source_facts(plan.config.datasets[name]),
        "users": {part: parts[part] for part in PARTS if parts[part]},
        "questions": len(questions),
        "questions_held_out": sum(question.held_out for question in questions),
        "duplicate_questions": sum(group.duplicates for group in groups),
        "answers": sum(len(row.answers) for row in read_all(of("answer_questions"), QuestionAnswers)),
        "pairs": sum(1 for _ in read_all(of("pair_answers"), SyntheticPair)),
        "labels": sum(len(row.labels) for row in labels),
        "labels_kept": sum(len(decided_labels(row.labels)) for row in labels),
    }


def _made_of(plan: Plan) -> Files:
    names = [name for name in plan.stages if name not in ("fetch", "prepare")]
    return {"made": [path for name in names for path in plan.paths(name)]}


def _summary(plan: Plan, manifest: Mapping[str, Any]) -> Sequence[tuple[str, Sequence[str]]]:
    config, usage = plan.config, manifest["usage"]
    counts = [
        f"{name}: {sum(facts['users'].values()):,} users ({_listed(facts['users'])}), {facts['questions']:,} questions "
        f"({facts['questions_held_out']:,} held out, {facts['duplicate_questions']:,} near-duplicates dropped), "
        f"{facts['answers']:,} answers, {facts['pairs']:,} pairs; {facts['labels_kept']:,} of {facts['labels']:,} "
        "labels kept."
        for name, facts in manifest["data"].items()
    ]
    asked = {"Questions by": [config.asker], "Answers by": config.answer.models, "Labels by": [config.label.model]}
    if config.compare:
        asked |= {"Answers compared with Base by": config.compare.judges, "Systems": config.systems}
    said = [f"{what} {', '.join(names)}." for what, names in asked.items()]
    return [("What was run", [*counts, *said, f"Stored answers: {usage['calls']:,}, {usage_text(usage)}"])]


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {counts[name]:,}" for name in PARTS if name in counts)


def _not_run(config: Config, made: Collection[str]) -> Sequence[tuple[str, str]]:
    def why(result: Result) -> str:
        return "compare is not given" if result.when else "the table is not made"

    return not_made(config.study, made, why)


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
    reported_from=lambda _plan: {},
    summary=_summary,
    not_run=_not_run,
    shown=lambda run: tables_and_pages(run, ("label_entropy", "disagreement", "win_rates")),
    simulated=later(f"{__package__}.simulate", "simulated"),
    title="Synthetic users and their preferences",
)
