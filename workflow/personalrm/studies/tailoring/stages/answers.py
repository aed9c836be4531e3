"""Stages `given_answers` and `judge_generations`: answers from elsewhere, and comparisons of two systems' answers."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from personalrm.core.errors import DataError
from personalrm.core.generations import Generation, JudgedAnswers, Unasked
from personalrm.core.persona_pairs import PersonaPair
from personalrm.core.records import read_all, read_records, write_records
from personalrm.data.given_answers import matched, read_answers
from personalrm.data.sharding import name_of_users_shard
from personalrm.judge.judge import JudgeSettings
from personalrm.judge.prompting import load_prompt
from personalrm.judge.rubrics import IMPERSONAL, Cleaned, CleanUp, Rivals, RubricQuestion, clean, compared
from personalrm.llm.types import LanguageModel
from personalrm.personas.of_pairs import FOLDER
from personalrm.run.stage import Files, Stage, Wildcards
from personalrm.studies.runner import Job as StudyJob
from personalrm.studies.runner import provider_errors
from personalrm.studies.settings import judge_settings, model_reads
from personalrm.studies.tailoring.config import Config
from personalrm.studies.tailoring.plan import Plan

Job = StudyJob[Config]
logger = logging.getLogger("personalrm.studies.stages")


class Asked(NamedTuple):
    """Two answers, cleaned up, and one question about them; `missing` says that a system has none."""

    test: Generation
    base: Generation
    texts: tuple[Cleaned, Cleaned]
    question: RubricQuestion

    @property
    def person(self) -> str:
        """Whom the judge decides for: the persona that the test system was told, or else the base system."""
        return self.test.persona or self.base.persona

    @property
    def rivals(self) -> Rivals:
        """The answers as they are compared."""
        test, base = self.texts
        return Rivals(self.test.pair_id, self.test.prompt, test.text, base.text, self.person)

    @property
    def reason(self) -> Unasked | None:
        """Why there is nothing to ask."""
        if any(one.outcome not in ("ok", "empty") for one in (self.test, self.base)):
            return "no_answer"
        if self.question.rubric not in IMPERSONAL and not self.person:
            return "no_person"
        test, base = self.texts
        return "equal" if test.text == base.text else None


def questions_of(config: Config, judge: str, dataset: str) -> list[RubricQuestion]:
    """How a judge compares answers to the prompts of a data set: for each rubric, in each of its verdict modes."""
    entry, grader = config.models[judge], config.compare.grader(judge)
    about = str(load_prompt(config.datasets[dataset].prompt, FOLDER).value("about"))
    ways = [JudgeSettings()] if grader else [judge_settings(entry, mode) for mode in entry.verdicts]
    return [RubricQuestion(rubric, way, about, grader) for rubric in config.compare.rubrics for way in ways]


def given_generations(config: Config, dataset: str, system: str, pairs: Iterable[PersonaPair]) -> list[Generation]:
    """The answers of a given system to pairs of a data set, sorted by their ids.

    Raises DataError where it has an answer to none of these pairs, or was told other personas than the config says.
    """
    given = config.compare.given[system]
    answers, path = read_answers(given.files[dataset]), given.files[dataset]
    found = matched(pairs, answers, system, given.persona)
    if not found.generations:
        raise DataError(f"{path}: no prompt is that of a pair of {dataset}; correct compare.given.{system}.files")
    if found.told_another:
        raise DataError(
            f"{path}: {found.told_another} of {len(answers)} answers were told another persona than the one that "
            f"{dataset} has as {given.persona}; correct compare.given.{system}.persona, or datasets.{dataset}.retrieval"
        )
    if found.unmatched:
        logger.warning("%s: %d of %d answers fit no pair of %s", path, found.unmatched, len(answers), dataset)
    return found.generations


def given_stage(plan: Plan, *, pairs: Sequence[Path], out: Path, dataset: str, system: str, shard: str) -> None:
    """Write one `Generation` for each pair of a shard that a given system has an answer to; errors as
    `given_generations`."""
    shards = plan.config.datasets[dataset].shards
    found = given_generations(plan.config, dataset, system, read_all(pairs, PersonaPair))
    write_records(out, (one for one in found if name_of_users_shard(one.pair_id, shards) == shard))


def rivals_of(test: Path, base: Path, clean_up: CleanUp, questions: Sequence[RubricQuestion]) -> list[list[Asked]]:
    """What is asked about the pairs that both systems have a row of, by question."""
    others = {one.pair_id: one for one in read_records(base, Generation)}
    both = [(one, others[one.pair_id]) for one in read_records(test, Generation) if one.pair_id in others]
    texts = [(clean(one.response, clean_up), clean(other.response, clean_up)) for one, other in both]
    return [[Asked(*pair, said, question) for pair, said in zip(both, texts, strict=True)] for question in questions]


async def judge_stage(
    job: Job, *, test_answers: Path, base_answers: Path, out: Path, dataset: str, system: str, base: str, judge: str
) -> None:
    """Write one `JudgedAnswers` for each pair that both systems have a row of, each rubric and each verdict mode."""

    async def work(client: LanguageModel, asked: Asked) -> JudgedAnswers:
        said = await compared(client, JUDGE.name, asked.rivals, asked.texts, asked.question, asked.reason)
        return JudgedAnswers(dataset=dataset, test=system, base=base, judge=judge, **said)

    questions = questions_of(job.config, judge, dataset)
    groups = rivals_of(test_answers, base_answers, job.config.compare.clean_up, questions)
    await job.execute(JUDGE, judge, groups, work, out)


def _given_inputs(plan: Plan, job: Wildcards) -> Files:
    """The pairs of the whole data set, and the file if it is there: a dry run needs none."""
    path = plan.config.compare.given[job.system].files[job.dataset]
    return {"pairs": plan.pair_files(job.dataset), **({"answers": str(path)} if path.is_file() else {})}


def _judge_inputs(plan: Plan, job: Wildcards) -> Files:
    return {"test_answers": plan.answers(job, job.system), "base_answers": plan.answers(job, job.base)}


def _judge_reads(plan: Plan, job: Wildcards) -> Mapping[str, Any]:
    questions = questions_of(plan.config, job.judge, job.dataset)
    read = model_reads(plan.config, job.judge, questions, [question.prompt for question in questions])
    return {**read, "clean_up": plan.config.compare.clean_up}


GIVEN: Stage[Plan] = Stage(
    name="given_answers",
    output="given/{dataset}/{system}/{shard}.jsonl",
    combinations=lambda plan: [
        Wildcards(dataset=dataset, system=system)
        for system in plan.config.compare.given
        for dataset in plan.config.systems[system]
    ],
    inputs=_given_inputs,
    reads=lambda plan, job: {"persona": plan.config.compare.given[job.system].persona},
    work=given_stage,
)
JUDGE: Stage[Plan] = Stage(
    name="judge_generations",
    output="verdicts/{dataset}/answers/{system}-vs-{base}-by-{judge}/{shard}.jsonl",
    combinations=lambda plan: [
        Wildcards(dataset=dataset, system=test, base=base, judge=judge)
        for dataset, test, base in plan.config.compare.jobs(plan.config.systems)
        for judge in plan.config.compare.all_judges
    ],
    inputs=_judge_inputs,
    reads=_judge_reads,
    work=judge_stage,
    asks="judge",
    batches=True,
    record=JudgedAnswers,
    lost=lambda row: provider_errors(row.verdicts),
    counted=lambda row: len(row.verdicts),
)
