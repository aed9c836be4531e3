"""Optimised persona prompts in a rehearsal: what a Theta may look like, and what finding one asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from personalrm.core.errors import ConfigError
from personalrm.core.records import UserData
from personalrm.judge.judge import JudgeContext, judge_pairs
from personalrm.methods.synthesizeme.persona import induce_persona
from personalrm.methods.synthesizeme.theta import PersonaDemonstration, Theta, read_theta
from personalrm.methods.synthesizeme.theta_search import Student
from personalrm.methods.synthesizeme.variants import CORRECTED, parse_variant
from personalrm.studies.estimate.fake_model import FakeModel
from personalrm.studies.estimate.work import Used
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.stages.settings import profile_settings
from personalrm.studies.synthesizeme.stages.theta import learn_student, train_users

INSTRUCTION_TOKENS = 150
PROPOSALS, PROPOSAL = 2, Used(1500, 0, 200)
"""Calls of the proposer for each instruction, and their tokens: it is shown data and demonstrations (rough, ours)."""


def stand_in_theta(config: Config, variant: str, model: str, stand_in: FakeModel) -> Theta | None:
    """The Theta of a variant: the given file, or for one that is still to be found an instruction of usual length."""
    name, path = parse_variant(variant).theta, config.theta_path(variant, model)
    if name is None or path is None:
        return None
    if path.is_file() or config.thetas[name].optimise is None:
        return read_theta(path, name)
    return Theta(name, stand_in.written(INSTRUCTION_TOKENS, name))


async def find_theta(
    config: Config,
    theta: str,
    model: FakeModel,
    users: Sequence[UserData],
    most: int,
    book: Callable[[float], None],
) -> list[tuple[Used, float]]:
    """Ask `model` what finding a Theta asks, on at most `most` of its train users; `book` is told for how many each
    stands. Returns the proposer's calls. No combination is taken to be tried twice.
    """
    optimiser = config.thetas[theta].optimise
    if optimiser is None:
        raise ConfigError(f"thetas.{theta}.optimise: not set, so there is nothing to find")
    names = optimiser.datasets or config.datasets
    chosen = train_users([user for user in users if user.dataset in names], optimiser.max_users)
    learned = profile_settings(config, model.spec.name, CORRECTED)
    students: list[Student] = []
    for user in chosen[:most]:
        model.meet(user)
        student = await learn_student(model, user, learned)
        students.append(student)
        for trial in range(optimiser.num_trials + 1):
            shown = _demonstrations(students[0], model, optimiser.max_demos // 2)
            tried = Theta(theta, model.written(INSTRUCTION_TOKENS, f"{trial:04}"), shown)
            induced = await induce_persona(model, student.judgements, replace(learned.persona, theta=tried))
            await judge_pairs(model, student.validation, JudgeContext(persona=induced.persona), learned.search.judge)
        book(len(chosen) / min(most, len(chosen)))
    return [(PROPOSAL, float(PROPOSALS * (optimiser.num_candidates + 1)))] if students else []


def _demonstrations(student: Student, model: FakeModel, count: int) -> tuple[PersonaDemonstration, ...]:
    """Judgements of a student with a persona, `count` times: half of the most demonstrations is their average. Their
    length counts, not whose they are."""
    written = (model.written(INSTRUCTION_TOKENS, f"demo {number}").split() for number in range(count))
    # Backwards: a stand-in's personas are alike, and one that copies a demonstration would be sampled again.
    return tuple(PersonaDemonstration(student.judgements, " ".join(reversed(words))) for words in written)
