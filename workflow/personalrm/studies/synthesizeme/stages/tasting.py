"""Stage `taste`: each user's own weights over attributes, and the persona that they make. No model is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from personalrm.core.conditions import K
from personalrm.core.records import Fitted, NoResult, UserData, UserScores, read_records, write_records
from personalrm.core.tastes import TasteStatement, UserTaste
from personalrm.judge.attribute_bank import Bank
from personalrm.judge.prompting import load_prompt
from personalrm.methods.attributes import ATTRIBUTES, SETTINGS, TasteState, learned_pairs, own, votes_of
from personalrm.methods.base import Known
from personalrm.methods.registry import MethodUse, needs_scores, parse_method
from personalrm.methods.taste import statements
from personalrm.methods.taste.features import Votes
from personalrm.run.stage import Files, Stage, Wildcards
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.fit import fitted_paths, read_fitted, scores_calls, scores_in
from personalrm.studies.synthesizeme.stages.runner import Job, evaluated_users
from personalrm.studies.synthesizeme.stages.scoring import scoring_of
from personalrm.studies.synthesizeme.stages.seen import known_of, state_of, turns_of
from personalrm.studies.synthesizeme.stages.settings import common_reads

USE = MethodUse(ATTRIBUTES, "all")
"""The method whose weights are read out; a user without test pairs has a taste, too."""


def taste_stage(job: Job, *, users: Path, scores: Path, fitted: Sequence[Path], out: Path) -> None:
    """Write one `UserTaste` for each user of a shard, k and draw."""
    config, artefacts = job.config, read_fitted(fitted)
    scored = {row.user_id: row for row in read_records(scores, UserScores)}
    bank = scoring_of(config).selected()
    rows = (
        user_taste(config, user, scored[user.user_id], artefacts, bank, k=k, draw=draw)
        for user in evaluated_users(users, config.evaluate_users)
        for k, draw in turns_of(config, MethodUse(ATTRIBUTES))
    )
    write_records(out, rows)


def user_taste(
    config: Config,
    user: UserData,
    scores: UserScores,
    artefacts: Mapping[str, Sequence[Fitted]],
    bank: Bank,
    *,
    k: K | None,
    draw: int,
) -> UserTaste:
    """The taste of a user from the context pairs that k allows and all validation pairs, or why there is none."""
    known = replace(known_of(config, user, ATTRIBUTES, artefacts, k=k, draw=draw), **scores_in(scores))
    row = UserTaste(
        dataset=user.dataset, user_id=user.user_id, model=scores.model, k=k or "all", draw=draw, status="ok"
    )
    state = state_of(user, USE, "text", known)
    if isinstance(state, NoResult):
        return row.model_copy(update={**state._asdict(), "training_persona": _training_persona(known, artefacts, bank)})
    votes, found = _said(state, known, bank)
    prompt = load_prompt(statements.PROMPT)
    return row.model_copy(
        update={
            "taste": state.taste,
            "statements": found,
            "persona": statements.persona_text(found),
            "calls": tuple(scores_calls(scores, votes.ids)),
            "prompts": {**scores.prompts, prompt.name: prompt.label},
        }
    )


def _said(state: TasteState, known: Known, bank: Bank) -> tuple[Votes, tuple[TasteStatement, ...]]:
    """The votes that a taste was learned from, and what it says in words."""
    votes = votes_of(state.taste, learned_pairs(known), known.scores, known.kinds)
    return votes, statements.statements(state.taste, bank.attributes, votes)


def _training_persona(known: Known, artefacts: Mapping[str, Sequence[Fitted]], bank: Bank) -> str | None:
    """The persona of a train user by what train users of other groups teach; None where this was not fitted."""
    rows = artefacts[ATTRIBUTES.reads] if known.user.user_split == "train" else ()
    for row in (row for row in rows if row.left_out and known.user.user_id in row.left_out):
        state = own(replace(known, artefact=row.artefact))
        if isinstance(state, TasteState):
            return statements.persona_text(_said(state, known, bank)[1]) or ""
    return None


def _jobs(plan: Plan) -> list[Wildcards]:
    """Of each model that scores, where any method rests on own weights."""
    trained = [method for entry in plan.config.reward_models.values() for method in entry.methods]
    methods = [parse_method(spec).method for spec in (*plan.config.methods, *trained) if needs_scores(spec)]
    measured = any(method.learns or method.tastes for method in methods)
    return Wildcards.every(dataset=plan.config.judged, model=plan.config.scoring_models if measured else ())


def _inputs(plan: Plan, job: Wildcards) -> Files:
    scores = plan.path("score_attributes", dataset=job.dataset, model=job.model, shard=job.shard)
    fitted = fitted_paths(plan, job.dataset, [ATTRIBUTES.name], job.model)
    return {"users": plan.users(job), "scores": scores, "fitted": fitted}


def _reads(plan: Plan, _job: Wildcards) -> dict[str, Any]:
    rules = [statements.SURE, statements.MOST, statements.MOST_VOTES, statements.STRENGTHS, statements.SURFACE_POLES]
    return common_reads(plan.config) | {
        "poles": [[one.id, one.more, one.less] for one in scoring_of(plan.config).selected().attributes],
        "settings": SETTINGS,
        "statements": rules,
        "prompts": [load_prompt(statements.PROMPT).id],
        "turns": turns_of(plan.config, MethodUse(ATTRIBUTES)),
    }


TASTE: Stage[Plan] = Stage(
    name="taste",
    output="tastes/{dataset}/{model}/{shard}.jsonl",
    combinations=_jobs,
    inputs=_inputs,
    reads=_reads,
    work=taste_stage,
)
