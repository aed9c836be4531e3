"""Stages `write_answers` and `compare_answers`: answers of systems to held-out questions, and which of them each user
would prefer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from personalrm.core.errors import DataError
from personalrm.core.files import stable_hash
from personalrm.core.generations import Generation, Unasked
from personalrm.core.records import read_all, read_records
from personalrm.core.synthetic import (
    AnswerComparison,
    SyntheticPair,
    SyntheticQuestion,
    SyntheticUser,
    UserLabels,
    answer_id,
)
from personalrm.data.sharding import name_of_users_shard
from personalrm.judge.call_recorder import CallRecorder, answer_of
from personalrm.judge.prompting import Prompt, load_prompt
from personalrm.judge.rubrics import Rivals, RubricQuestion, clean
from personalrm.judge.rubrics import compared as judged
from personalrm.llm.types import LanguageModel, Request
from personalrm.personas.synthetic.describe import decided_labels
from personalrm.personas.synthetic.questions import FOLDER
from personalrm.run.stage import Files, Stage, Wildcards
from personalrm.studies.fspo.config import BASE, Config
from personalrm.studies.fspo.plan import Plan
from personalrm.studies.fspo.stages.labels import DESCRIBE, LABEL
from personalrm.studies.fspo.stages.texts import ASK, PAIR, all_questions
from personalrm.studies.runner import Job as StudyJob
from personalrm.studies.runner import provider_errors
from personalrm.studies.settings import judge_settings, model_reads

Job = StudyJob[Config]


class Shot(NamedTuple):
    """A labelled pair: a question, the answer that the user prefers, and the other one."""

    question: str
    preferred: str
    other: str


class Asked(NamedTuple):
    """A user, a held-out question, and what the prompt says of the user."""

    user: SyntheticUser
    question: SyntheticQuestion
    told: str = ""

    @property
    def pair_id(self) -> str:
        """What names the answers to it."""
        return answer_id(self.user.user_id, self.question.question_id)


def asked_of(
    users: Path, questions: Path, config: Config, dataset: str, shard: str | None
) -> list[tuple[SyntheticUser, list[SyntheticQuestion]]]:
    """The users of a shard (None: of the domain) with the held-out questions that each is asked: general ones and those
    of the user's traits, of which a seeded hash takes `compare.questions`. Raises DataError where no question of the
    domain is held out."""
    domain, most = config.datasets[dataset], config.compared.questions
    held = [question for question in all_questions([questions]) if question.held_out]
    if not held:
        raise DataError(
            f"datasets.{dataset}.questions.held_out: {domain.questions.held_out:g} of so few questions is none, and "
            "compare needs one; give more questions, or raise held_out"
        )
    found = []
    for user in read_records(users, SyntheticUser):
        if shard is not None and name_of_users_shard(user.key, domain.shards) != shard:
            continue
        traits = {"", *(f"{dimension}.{value}" for dimension, value in user.traits.items())}
        mine = [question for question in held if question.trait in traits]
        mine.sort(key=lambda question: stable_hash("asked", str(config.seed), question.question_id))
        found.append((user, mine[: most or None]))
    return found


async def write_stage(
    job: Job,
    *,
    users: Path,
    questions: Path,
    pairs: Path,
    labels: list[Path],
    out: Path,
    dataset: str,
    method: str,
    shard: str,
) -> None:
    """Write one `Generation` of a system for each user of a shard and each question that the user is asked."""
    settings = job.config.compared
    asked = shown_to(job.config, users, questions, pairs, labels, dataset, method, shard)

    async def work(client: LanguageModel, one: tuple[Asked, list[Shot]]) -> Generation:
        recorder = CallRecorder(client, WRITE.name)
        (_, question, told), shots = one
        (prompt,) = _prompts()
        messages = prompt.messages(words=job.config.answer.words, person=told, shots=shots, question=question.text)
        request = Request(messages, settings.max_tokens, settings.temperature, seed=job.config.seed)
        text, outcome, cut = await answer_of(recorder, request)
        said = {"response": text, "outcome": outcome, "cut": cut, "calls": recorder.calls}
        return answer_row(one[0], dataset, method, prompt).model_copy(update=said)

    await job.execute(WRITE, str(settings.model), [asked], work, out)


def shown_to(
    config: Config,
    users: Path,
    questions: Path,
    pairs: Path,
    labels: Sequence[Path],
    dataset: str,
    method: str,
    shard: str,
) -> list[tuple[Asked, list[Shot]]]:
    """What a system is asked for the users of a shard, and the labelled pairs that it shows."""
    system = config.compared.written[method]
    known = {pair.pair_id: pair for pair in read_records(pairs, SyntheticPair)}
    labelled = {row.user_id: row for row in read_all(labels, UserLabels)}
    return [
        (
            Asked(user, question, user.description if system.told else ""),
            shots_of(user, labelled, known, system.shots, config.seed),
        )
        for user, mine in asked_of(users, questions, config, dataset, shard)
        for question in mine
    ]


def answer_row(asked: Asked, dataset: str, system: str, prompt: Prompt) -> Generation:
    """The row of an answer, without its text."""
    return Generation(
        dataset=dataset,
        pair_id=asked.pair_id,
        system=system,
        prompt=asked.question.text,
        persona=asked.told,
        response="",
        prompts={prompt.name: prompt.label},
    )


def shots_of(
    user: SyntheticUser,
    labelled: Mapping[str, UserLabels],
    pairs: Mapping[str, SyntheticPair],
    number: int,
    seed: int,
) -> list[Shot]:
    """So many labelled pairs of a user, by a seeded hash; fewer where fewer labels were kept. No question of a labelled
    pair is held out."""
    decided = decided_labels(labelled[user.user_id].labels) if number else {}
    drawn = sorted(decided, key=lambda pair_id: stable_hash("shot", str(seed), user.key, pair_id))[:number]
    shots: list[Shot] = []
    for pair_id in drawn:
        pair = pairs[pair_id]
        texts = (pair.first, pair.second) if decided[pair_id] == "first" else (pair.second, pair.first)
        shots.append(Shot(pair.question, *texts))
    return shots


async def compare_stage(
    job: Job,
    *,
    users: Path,
    questions: Path,
    base: Path,
    test: Path,
    out: Path,
    dataset: str,
    method: str,
    judge: str,
    shard: str,
) -> None:
    """Write one `AnswerComparison` for each user of a shard, question and verdict mode of the judge.

    Raises DataError where a given file has two answers for one `pair_id`, or none that belongs here.
    """
    answers = {row.pair_id: row for row in read_records(base, Generation)}
    rivals = _of(test, dataset, method)

    def asked_in(part: str | None) -> list[Asked]:
        found = asked_of(users, questions, job.config, dataset, part)
        return [Asked(user, question) for user, mine in found for question in mine]

    asked = asked_in(shard)
    # A file may leave out users, and so all users of a shard or of a domain, whose answers are then missing.
    if method in job.config.compared.given and not any(one.pair_id in rivals for one in asked):
        named = {row.dataset for row in read_records(test, Generation)}
        strange = dataset in named and not any(one.pair_id in rivals for one in asked_in(None))
        if strange or not named & job.config.datasets.keys():
            raise DataError(
                f"compare.given.{method}: {test} has no answer to a question of domain {dataset}; its rows need the "
                f"dataset and the pair_id of those in {base.parent}"
            )

    async def work(client: LanguageModel, item: tuple[Asked, RubricQuestion]) -> AnswerComparison:
        one, question = item
        mine, other = (
            clean(answer.response if answer and answer.outcome == "ok" else "")
            for answer in (rivals.get(one.pair_id), answers[one.pair_id])
        )
        reason: Unasked | None = "equal" if mine.text == other.text else None
        if not (mine.text and other.text):
            reason = "no_answer"
        found = Rivals(one.pair_id, one.question.text, mine.text, other.text, one.user.description)
        said = await judged(client, COMPARE.name, found, (mine, other), question, reason)
        said |= {"user_id": one.user.user_id, "part": one.user.part, "question_id": one.question.question_id}
        return AnswerComparison(dataset=dataset, test=method, base=BASE, judge=judge, **said)

    groups = [[(one, question) for one in asked] for question in rubric_questions(job.config, judge)]
    await job.execute(COMPARE, judge, groups, work, out)


def _of(path: Path, dataset: str, system: str) -> dict[str, Generation]:
    """Answers of a file to questions of a domain, by `pair_id`. Raises DataError where there are two for one."""
    found: dict[str, Generation] = {}
    for row in read_records(path, Generation):
        if row.dataset == dataset and found.setdefault(row.pair_id, row) is not row:
            raise DataError(f"{path}: has two answers of {system!r} for {row.pair_id!r}; remove one")
    return found


def rubric_questions(config: Config, judge: str) -> list[RubricQuestion]:
    """How a judge compares, for each of its verdict modes."""
    entry = config.models[judge]
    return [RubricQuestion("description", judge_settings(entry, mode)) for mode in entry.verdicts]


def _prompts() -> tuple[Prompt, ...]:
    return (load_prompt("answer", FOLDER),)


def _systems(plan: Plan) -> list[str]:
    """Systems that a model of the client writes for."""
    compare = plan.config.compare
    return list(compare.written) if compare and compare.model else []


def written_inputs(plan: Plan, job: Wildcards) -> Files:
    """Files that the answers of a system rest on, for a model and for a policy."""
    return {
        "users": plan.path(DESCRIBE.name, dataset=job.dataset),
        "questions": plan.path(ASK.name, dataset=job.dataset),
        "pairs": plan.path(PAIR.name, dataset=job.dataset),
        "labels": [plan.path(LABEL.name, dataset=job.dataset, shard=job.shard)],
    }


def _write_reads(plan: Plan, job: Wildcards) -> Mapping[str, Any]:
    config = plan.config
    # No dataclass holds these settings: they go into one request.
    more = {**written_reads(plan, job), "words": config.answer.words}
    return model_reads(config, str(config.compared.model), [], _prompts()) | more


def written_reads(plan: Plan, job: Wildcards) -> dict[str, Any]:
    """Settings on which the answers of a system depend, for a model and for a policy."""
    settings = plan.config.compared
    named = settings.model_dump(mode="json", include={"max_tokens", "temperature", "questions"})
    shards = plan.config.datasets[job.dataset].shards
    return {"compare": named, "shots": settings.written[job.method].shots, "shards": shards}


def _compare_reads(plan: Plan, job: Wildcards) -> Mapping[str, Any]:
    questions = rubric_questions(plan.config, job.judge)
    more = {"questions": plan.config.compared.questions, "shards": plan.config.datasets[job.dataset].shards}
    return model_reads(plan.config, job.judge, questions, [questions[0].prompt]) | more


WRITE: Stage[Plan] = Stage(
    name="write_answers",
    output="generations/{dataset}/{method}/{shard}.jsonl",
    combinations=lambda plan: Wildcards.every(dataset=plan.config.datasets, method=_systems(plan)),
    inputs=written_inputs,
    reads=_write_reads,
    work=write_stage,
    asks=lambda plan, _job: [str(plan.config.compared.model)],
    batches=True,
    record=Generation,
    lost=lambda row: int(row.outcome == "provider_error"),
    counted=lambda _row: 1,
)
COMPARE: Stage[Plan] = Stage(
    name="compare_answers",
    output="comparisons/{dataset}/{method}-by-{judge}/{shard}.jsonl",
    combinations=lambda plan: (
        Wildcards.every(dataset=plan.config.datasets, method=asked.rivals, judge=asked.judges)
        if (asked := plan.config.compare)
        else []
    ),
    inputs=lambda plan, job: {
        "users": plan.path(DESCRIBE.name, dataset=job.dataset),
        "questions": plan.path(ASK.name, dataset=job.dataset),
        "base": plan.answers(job, BASE),
        "test": plan.answers(job, job.method),
    },
    reads=_compare_reads,
    work=compare_stage,
    asks="judge",
    batches=True,
    record=AnswerComparison,
    lost=lambda row: provider_errors(row.verdicts),
    counted=lambda row: len(row.verdicts),
)
