"""Stages `ask_questions`, `answer_questions` and `pair_answers`: questions of a domain, and pairs of answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from personalrm.core.errors import DataError
from personalrm.core.files import stable_hash
from personalrm.core.records import read_all, read_records, write_records
from personalrm.core.synthetic import QuestionAnswers, QuestionGroup, SyntheticQuestion
from personalrm.data.sharding import name_of_users_shard
from personalrm.judge.call_recorder import CallRecorder
from personalrm.llm.types import LanguageModel
from personalrm.personas.synthetic.answers import Answering, answer_question
from personalrm.personas.synthetic.pairs import pairs_of
from personalrm.personas.synthetic.questions import QuestionAsking, ask_questions, distinct
from personalrm.personas.synthetic.settings import Domain
from personalrm.run.stage import Stage, Wildcards
from personalrm.studies.fspo.config import Config
from personalrm.studies.fspo.plan import Plan
from personalrm.studies.fspo.stages.prepare import question_id
from personalrm.studies.runner import Job as StudyJob
from personalrm.studies.runner import each_user, flags
from personalrm.studies.settings import model_reads

Job = StudyJob[Config]


class _Wanted(NamedTuple):
    """A group of questions to be had: the name of its trait, the sentence about it, and how many."""

    trait: str
    text: str
    number: int
    given: tuple[str, ...] = ()


def question_asking(config: Config, domain: Domain) -> QuestionAsking:
    """How the questions of a domain are asked for."""
    settings = config.ask.model_dump(exclude={"model"})
    return QuestionAsking(about=domain.about, seed=config.seed, **settings)


def answering_of(config: Config, domain: Domain) -> Answering:
    """How the questions of a domain are answered."""
    settings = config.answer.model_dump(exclude={"models"})
    settings |= {"ways": tuple(domain.ways), "temperatures": tuple(config.answer.temperatures)}
    return Answering(**settings, steers=tuple(sorted(set(domain.trait_texts.values()))), seed=config.seed)


async def ask_stage(job: Job, *, seeds: Path, out: Path, dataset: str) -> None:
    """Write one `QuestionGroup` for the general questions of a domain and one for each trait, in the order of the texts
    of the traits. A question that is a near-duplicate of one of an earlier group is dropped."""
    domain, name = job.config.datasets[dataset], job.config.asker
    asking = question_asking(job.config, domain)
    given = tuple(row.text for row in read_records(seeds, SyntheticQuestion))
    wanted = [_Wanted("", "", max(domain.questions.general, len(given)), given)]
    traits = sorted(domain.trait_texts.items(), key=lambda trait: trait[1])
    wanted += [_Wanted(trait, text, domain.questions.per_trait) for trait, text in traits if domain.questions.per_trait]

    async def ask(client: LanguageModel, group: _Wanted) -> QuestionGroup:
        recorder = CallRecorder(client, ASK.name)
        found = await ask_questions(recorder, asking, group.number, trait=group.text, given=group.given)
        questions = [_question(dataset, text, group) for text in found.texts]
        return QuestionGroup(
            dataset=dataset,
            model=name if recorder.asked else None,
            trait=group.trait,
            questions=tuple(questions),
            duplicates=found.duplicates,
            asked=recorder.asked,
            failed=recorder.failed,
            calls=recorder.calls,
            prompts={prompt.name: prompt.label for prompt in asking.prompts} if recorder.asked else {},
        )

    async with job.model(name) as client:
        rows = await each_user(wanted, lambda group: ask(client, group), f"{ASK.name} {name}")
    job.refuse_outage(flags(sum(row.failed for row in rows), sum(row.asked for row in rows)), f"{ASK.name} calls")
    kept = set(distinct([question.text for row in rows for question in row.questions], asking.similarity))
    write_records(out, [_without(row, kept, job.config, domain) for row in _once_each(rows)])


def _question(dataset: str, text: str, group: _Wanted) -> SyntheticQuestion:
    source = "seed" if text in group.given else "model"
    made = {"dataset": dataset, "question_id": question_id(text), "text": text, "trait": group.trait}
    return SyntheticQuestion.model_validate({**made, "source": source})


def _once_each(rows: Sequence[QuestionGroup]) -> list[QuestionGroup]:
    """The groups, each without texts that an earlier group has."""
    seen: set[str] = set()
    found = []
    for row in rows:
        mine = tuple(question for question in row.questions if question.text not in seen)
        seen |= {question.text for question in mine}
        dropped = len(row.questions) - len(mine)
        found.append(row.model_copy(update={"questions": mine, "duplicates": row.duplicates + dropped}))
    return found


def _without(row: QuestionGroup, kept: set[str], config: Config, domain: Domain) -> QuestionGroup:
    """A group with the questions that are kept, of which a seeded hash holds some out."""
    mine = [question for question in row.questions if question.text in kept]
    count = int(len(mine) * Fraction(str(domain.questions.held_out)) + Fraction(1, 2))
    ranked = sorted(question.question_id for question in mine)
    ranked.sort(key=lambda one: stable_hash("held out", str(config.seed), one))
    held = set(ranked[:count])
    marked = [question.model_copy(update={"held_out": question.question_id in held}) for question in mine]
    dropped = len(row.questions) - len(mine)
    return row.model_copy(update={"questions": tuple(marked), "duplicates": row.duplicates + dropped})


async def answer_stage(job: Job, *, questions: Path, out: Path, model: str, dataset: str, shard: str) -> None:
    """Write one `QuestionAnswers` for each question of a shard that is not held out."""
    domain = job.config.datasets[dataset]
    answering = answering_of(job.config, domain)
    mine = [
        question
        for question in all_questions([questions])
        if not question.held_out and name_of_users_shard(question.question_id, domain.shards) == shard
    ]

    async def work(client: LanguageModel, question: SyntheticQuestion) -> QuestionAnswers:
        recorder = CallRecorder(client, ANSWER.name)
        found = await answer_question(recorder, question, answering)
        return QuestionAnswers(
            dataset=dataset,
            question_id=question.question_id,
            model=model,
            answers=found.answers,
            viewless=found.viewless,
            asked=recorder.asked,
            failed=recorder.failed,
            calls=recorder.calls,
            prompts={prompt.name: prompt.label for prompt in answering.prompts},
        )

    await job.execute(ANSWER, model, [mine], work, out)


def all_questions(paths: Sequence[Path]) -> list[SyntheticQuestion]:
    """The questions of all groups in files, by id."""
    found = [question for row in read_all(paths, QuestionGroup) for question in row.questions]
    return sorted(found, key=lambda question: question.question_id)


def pair_stage(plan: Plan, *, questions: Path, answers: list[Path], out: Path, dataset: str) -> None:
    """Write the `SyntheticPair`s of a domain, by id. Raises DataError where there is none."""
    texts: defaultdict[str, list[str]] = defaultdict(list)
    for row in read_all(answers, QuestionAnswers):
        texts[row.question_id] += [answer.text for answer in row.answers if answer.outcome == "ok"]
    domain = plan.config.datasets[dataset]
    asked = all_questions([questions])
    if all(question.held_out for question in asked):
        raise DataError(
            f"datasets.{dataset}.questions: there are {len(asked)}, and {domain.questions.held_out:g} of them are held "
            "out, so that none is left to answer; give more, or lower held_out"
        )
    found = pairs_of(asked, texts, domain.pairs, plan.config.seed)
    if not found:
        raise DataError(
            f"datasets.{dataset}: no question has two answers that differ enough to be compared; raise answer.each or "
            f"datasets.{dataset}.pairs.similarity, or use datasets.{dataset}.ways: [views] (the table of diversity "
            "needs no pairs)"
        )
    write_records(out, found)


def _ask_reads(plan: Plan, job: Wildcards) -> Mapping[str, Any]:
    domain = plan.config.datasets[job.dataset]
    asking = question_asking(plan.config, domain)
    questions = domain.questions.model_dump(mode="json", exclude={"seeds"})
    more = {"questions": questions, "traits": domain.trait_texts}
    return model_reads(plan.config, plan.config.asker, asking, asking.prompts) | more


def _answer_reads(plan: Plan, job: Wildcards) -> Mapping[str, Any]:
    domain = plan.config.datasets[job.dataset]
    answering = answering_of(plan.config, domain)
    return model_reads(plan.config, job.model, answering, answering.prompts) | {"shards": domain.shards}


ASK: Stage[Plan] = Stage(
    name="ask_questions",
    output="questions/{dataset}.jsonl",
    combinations=Plan.domains,
    inputs=lambda plan, job: {"seeds": plan.seeds(job.dataset)},
    reads=_ask_reads,
    work=ask_stage,
    asks=lambda plan, _job: [plan.config.asker],
    record=QuestionGroup,
    lost=lambda row: row.failed,
    counted=lambda row: row.asked,
)
ANSWER: Stage[Plan] = Stage(
    name="answer_questions",
    output="answers/{dataset}/{model}/{shard}.jsonl",
    combinations=lambda plan: Wildcards.every(dataset=plan.config.datasets, model=plan.config.answer.models),
    inputs=lambda plan, job: {"questions": plan.path(ASK.name, dataset=job.dataset)},
    reads=_answer_reads,
    work=answer_stage,
    asks="model",
    record=QuestionAnswers,
    lost=lambda row: row.failed,
    counted=lambda row: row.asked,
)
PAIR: Stage[Plan] = Stage(
    name="pair_answers",
    output="pairs/{dataset}.jsonl",
    combinations=Plan.domains,
    inputs=lambda plan, job: {
        "questions": plan.path(ASK.name, dataset=job.dataset),
        "answers": plan.paths(ANSWER.name, dataset=job.dataset),
    },
    reads=lambda plan, job: {
        "seed": plan.config.seed,
        **plan.config.datasets[job.dataset].pairs.model_dump(mode="json", exclude={"own"}),
    },
    work=pair_stage,
)
