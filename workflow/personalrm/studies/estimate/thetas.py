"""Optimised persona prompts in a simulation: what a Theta may look like, and the calls that find one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from personalrm.core.files import atomic_write_text
from personalrm.core.records import UserData
from personalrm.judge.judge import JudgeContext, judge_pairs
from personalrm.methods.synthesizeme.persona import induce_persona
from personalrm.methods.synthesizeme.theta import PersonaDemonstration, Theta
from personalrm.methods.synthesizeme.theta_search import Student
from personalrm.methods.synthesizeme.variants import CORRECTED, parse_variant
from personalrm.studies.estimate.fake_model import FakeModel
from personalrm.studies.estimate.usage import Used
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.stages.learn import profile_settings
from personalrm.studies.synthesizeme.stages.theta import learn_student, optimised_thetas, optimiser_of, train_users

INSTRUCTION_TOKENS = 150
PROPOSALS, PROPOSAL = 2, Used(1500, 0, 200)
"""Calls of the proposer for each instruction, and their tokens: it is shown data and demonstrations (rough, ours)."""


def write_programs(config: Config, models: Mapping[str, FakeModel]) -> None:
    """Write a program file for each Theta that is still to be found: an instruction of usual length."""
    for name, model in optimised_thetas(config):
        instruction = models[model].written(INSTRUCTION_TOKENS, name)
        program = {"persona": {"signature": {"instructions": instruction}, "demos": []}}
        for variant in config.variants:
            path = config.theta_path(variant, model)
            if path and parse_variant(variant).theta == name:
                atomic_write_text(path, json.dumps(program))


async def find_theta(
    config: Config,
    theta: str,
    model: FakeModel,
    users: Sequence[UserData],
    most: int,
    count: Callable[[float], None],
) -> list[tuple[Used, float]]:
    """Make the calls of `model` that find a Theta, on at most `most` of its train users; `count` is called with the
    number of users that each represents. Returns the proposer's calls. No combination is assumed to be tried twice.
    """
    optimiser = optimiser_of(config, theta)
    names = optimiser.datasets or config.datasets
    chosen = train_users([user for user in users if user.dataset in names], optimiser.max_users)
    learned = profile_settings(config, model.spec.name, CORRECTED)
    students: list[Student] = []
    for user in chosen[:most]:
        model.set_user(user)
        student = await learn_student(model, user, learned)
        students.append(student)
        for trial in range(optimiser.num_trials + 1):
            shown = _demonstrations(students[0], model, optimiser.max_demos // 2)
            tried = Theta(theta, model.written(INSTRUCTION_TOKENS, f"{trial:04}"), shown)
            induced = await induce_persona(model, student.judgements, replace(learned.persona, theta=tried))
            await judge_pairs(model, student.validation, JudgeContext(persona=induced.persona), learned.search.judge)
        count(len(chosen) / min(most, len(chosen)))
    return [(PROPOSAL, float(PROPOSALS * (optimiser.num_candidates + 1)))] if students else []


def _demonstrations(student: Student, model: FakeModel, wanted: int) -> tuple[PersonaDemonstration, ...]:
    """Judgements of a student with a persona, `wanted` of them: half of the most demonstrations is their average. Their
    length counts, not whose they are."""
    written = (model.written(INSTRUCTION_TOKENS, f"demo {number}").split() for number in range(wanted))
    # Backwards: a fake model's personas are alike, and one that copies a demonstration would be sampled again.
    return tuple(PersonaDemonstration(student.judgements, " ".join(reversed(words))) for words in written)
