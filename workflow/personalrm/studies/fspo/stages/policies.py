"""Stage `generate_answers`: answers of a causal language model and of its trainings to held-out questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from personalrm.core.extras import require_extra
from personalrm.core.generations import Generation
from personalrm.core.records import PreferencePair, Turn, write_records
from personalrm.judge.prompting import load_prompt
from personalrm.methods.reward.shots import PROMPT
from personalrm.run.stage import Files, Stage, Wildcards
from personalrm.studies.fspo.plan import Plan
from personalrm.studies.fspo.stages.compare import Asked, Shot, answer_row, shown_to, written_inputs, written_reads
from personalrm.train import CARD, WEIGHTS, one_gpu
from personalrm.train.base_names import base_identity
from personalrm.train.policy_settings import Generated, PolicySettings

VERSION = 1
"""Raised when the code of this stage changes what it would write."""


Answered = Callable[[Plan, str, Sequence[tuple[Asked, Sequence[Shot]]]], list[Generated]]
"""What a system answers to what it is asked, given the labelled pairs that it shows."""


def by_policy(plan: Plan, system: str, asked: Sequence[tuple[Asked, Sequence[Shot]]]) -> list[Generated]:
    """Answers of the policy, with the weights of the system's training."""
    require_extra("train", "compare.policy")
    entry, training = plan.policy(None), plan.config.compared.written[system].training
    device = one_gpu(entry.device)
    from personalrm.methods.reward.fspo import Question, open_few_shot
    from personalrm.train.trainer import deterministic

    settings = PolicySettings(entry.base, entry.revision, device, entry.dtype)
    # The model as it is reads the prompts of a method without training.
    method, folders = training or "few_shot_prompt", entry.folders(training)
    questions = [
        Question(tuple(map(_vote, shots)), (Turn(role="user", content=one.question.text),), one.told)
        for one, shots in asked
    ]
    with deterministic(entry.threads), open_few_shot(settings, method, folders) as model:
        return model.answers(questions, plan.config.compared.max_tokens)


def generate_stage(
    plan: Plan,
    *,
    users: Path,
    questions: Path,
    pairs: Path,
    labels: Sequence[Path],
    out: Path,
    dataset: str,
    method: str,
    shard: str,
    answered: Answered = by_policy,
) -> None:
    """Write one `Generation` of a system for each user of a shard and each question that the user is asked."""
    known = shown_to(plan.config, users, questions, pairs, labels, dataset, method, shard)
    rows = []
    for (one, _), found in zip(known, answered(plan, method, known), strict=True):
        text = found.text.strip()
        said = {"response": text, "outcome": "ok" if text else "empty", "cut": found.cut}
        rows.append(answer_row(one, dataset, method, load_prompt(PROMPT)).model_copy(update=said))
    write_records(out, rows)


def _vote(shot: Shot) -> PreferencePair:
    """A labelled pair as the prompt of votes shows it."""
    question = (Turn(role="user", content=shot.question),)
    return PreferencePair(user_id="", pair_id="", context=question, chosen=shot.preferred, rejected=shot.other)


def _inputs(plan: Plan, job: Wildcards) -> Files:
    folders = plan.policy(job).folders(plan.config.compared.written[job.method].training)
    return {**written_inputs(plan, job), "trained": [str(path / name) for path in folders for name in (CARD, WEIGHTS)]}


def _reads(plan: Plan, job: Wildcards) -> Mapping[str, Any]:
    entry = plan.policy(job)
    where = entry.model_dump(mode="json", include={"dtype", "threads", "device"})
    base = base_identity(entry.base, entry.revision)
    return {"version": VERSION, "base": base, "prompt": load_prompt(PROMPT).sha, **where, **written_reads(plan, job)}


def _jobs(plan: Plan) -> list[Wildcards]:
    compare = plan.config.compare
    systems = compare.written if compare and compare.policy else {}
    return [Wildcards(dataset=dataset, method=system) for dataset in plan.config.datasets for system in systems]


GENERATE: Stage[Plan] = Stage(
    name="generate_answers",
    output="policy_answers/{dataset}/{method}/{shard}.jsonl",
    combinations=_jobs,
    inputs=_inputs,
    reads=_reads,
    work=generate_stage,
    record=Generation,
)
