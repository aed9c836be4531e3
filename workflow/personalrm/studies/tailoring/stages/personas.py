"""Stages `infer_personas`, `judge_personas` and `prefer_personas`: personas of pairs, and judgments of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from personalrm.core.concurrency import concurrently
from personalrm.core.conditions import VerdictMode
from personalrm.core.errors import DataError
from personalrm.core.persona_pairs import (
    SIDES,
    JudgedPersonas,
    JudgedPreference,
    PairPersonas,
    PersonaPair,
    Side,
)
from personalrm.core.records import Verdict, read_all, read_records
from personalrm.data.sources.rows import read_rows
from personalrm.judge.call_recorder import CallRecorder
from personalrm.llm.types import LanguageModel
from personalrm.personas.of_pairs import PairQuestion, PersonaQuestion, infer_persona, judge_persona, prefer_persona
from personalrm.run.stage import Files, Stage, Wildcards
from personalrm.studies.runner import Job as StudyJob
from personalrm.studies.runner import provider_errors
from personalrm.studies.settings import judge_settings, model_reads
from personalrm.studies.tailoring.config import Config
from personalrm.studies.tailoring.plan import Plan

Job = StudyJob[Config]


def persona_question(config: Config, dataset: str) -> PersonaQuestion:
    """How personas of a data set are asked for."""
    return PersonaQuestion(config.datasets[dataset].prompt, config.infer.max_tokens)


def pair_questions(config: Config, judge: str, dataset: str | None) -> list[PairQuestion]:
    """How a judge is asked, for each of its verdict modes: about choices in a data set, or (None) about personas
    alone."""
    entry, data = config.models[judge], config.datasets[dataset].prompt if dataset else None
    return [PairQuestion(judge_settings(entry, mode), data) for mode in entry.verdicts]


def personas_of(
    pairs: Sequence[PersonaPair], personas: Sequence[Path] = (), given: Sequence[Path] | None = None
) -> dict[str, Mapping[Side, str]]:
    """Personas by the id of the pair: those that a model wrote, those of the users of the pairs in files of another run
    (`given`), or (without `personas` and `given`) those that the data come with.

    Raises DataError if `given` has no file: they must not become personas of the data.
    """
    if given is not None:
        if not given:
            raise DataError("infer.given: no files *.jsonl; make that run first, or correct the path")
        of_users = user_personas(given)
        return {pair.pair_id: {"chosen": of_users[pair.user_id]} for pair in pairs if pair.user_id in of_users}
    if not personas:
        return {pair.pair_id: pair.gold for pair in pairs}
    return {row.pair_id: row.personas for row in read_all(personas, PairPersonas)}


def user_personas(paths: Sequence[Path]) -> dict[str | None, str]:
    """Personas by user, from files of profiles or of tastes: of the first draw, and of all votes where there are
    several numbers of them. Raises DataError for other files."""
    found: dict[str | None, str] = {}
    for path in paths:
        for row in read_rows(path):
            if not {"user_id", "persona", "k", "draw"} <= row.keys():
                raise DataError(f"{path}: holds no profiles and no tastes; correct infer.given")
            if row["persona"] and row["draw"] == 0 and (row["k"] == "all" or row["user_id"] not in found):
                found[str(row["user_id"])] = str(row["persona"])
    return found


async def infer_stage(job: Job, *, pairs: Path, out: Path, model: str, dataset: str) -> None:
    """Write one `PairPersonas` for each pair of a shard that has two different responses."""
    question = persona_question(job.config, dataset)

    async def work(client: LanguageModel, pair: PersonaPair) -> PairPersonas:
        recorder = CallRecorder(client, INFER.name)
        found = dict(
            zip(SIDES, await concurrently(*(infer_persona(recorder, pair, s, question) for s in SIDES)), strict=True)
        )
        return PairPersonas(
            dataset=dataset,
            pair_id=pair.pair_id,
            model=model,
            personas={side: persona for side, (persona, _) in found.items() if persona},
            outcomes={side: outcome for side, (_, outcome) in found.items()},
            calls=recorder.calls,
            prompts={prompt.name: prompt.label for prompt in question.prompts},
        )

    deciding = [pair for pair in read_records(pairs, PersonaPair) if pair.decides]
    await job.execute(INFER, model, [deciding], work, out)


Asked = tuple[PersonaPair, PairQuestion]


async def judge_stage(
    job: Job,
    *,
    pairs: Path,
    out: Path,
    model: str,
    judge: str,
    dataset: str,
    personas: Path | None = None,
    given: Sequence[Path] | None = None,
) -> None:
    """Write one `JudgedPersonas` for each pair with two different responses and each verdict mode of the judge."""
    known = list(read_records(pairs, PersonaPair))
    written = personas_of(known, [personas] if personas else [], given)

    async def work(client: LanguageModel, asked: Asked) -> JudgedPersonas:
        pair, question = asked
        mine = written.get(pair.pair_id, {})
        recorder = CallRecorder(client, ACCURACY.name)
        judged = await concurrently(*(judge_persona(recorder, pair, mine[s], s, question) for s in SIDES if s in mine))
        sides = (side for side in SIDES if side in mine)
        return JudgedPersonas(**_of(asked, recorder, model, judge), verdicts=dict(zip(sides, judged, strict=True)))

    questions = pair_questions(job.config, judge, dataset)
    groups = ([(pair, question) for pair in known if pair.decides] for question in questions)
    await job.execute(ACCURACY, judge, groups, work, out)


async def prefer_stage(
    job: Job, *, pairs: Path, out: Path, model: str, judge: str, personas: Path | None = None
) -> None:
    """Write one `JudgedPreference` for each pair with two different responses and each verdict mode of the judge."""
    known = list(read_records(pairs, PersonaPair))
    written = personas_of(known, [personas] if personas else [])

    async def work(client: LanguageModel, asked: Asked) -> JudgedPreference:
        pair, question = asked
        mine, recorder = written.get(pair.pair_id, {}), CallRecorder(client, PREFERENCE.name)
        both = len(mine) == len(SIDES)
        verdicts: tuple[Verdict, ...] = await prefer_persona(recorder, pair.pair_id, mine, question) if both else ()
        return JudgedPreference(**_of(asked, recorder, model, judge), verdicts=verdicts)

    questions = pair_questions(job.config, judge, None)
    groups = ([(pair, question) for pair in known if pair.decides] for question in questions)
    await job.execute(PREFERENCE, judge, groups, work, out)


def _of(asked: Asked, recorder: CallRecorder, model: str, judge: str) -> dict[str, Any]:
    pair, question = asked
    mode: VerdictMode = question.judge.mode
    return {
        **{"dataset": pair.dataset, "pair_id": pair.pair_id, "model": model, "judge": judge, "mode": mode},
        "calls": recorder.calls,
        "prompts": {prompt.name: prompt.label for prompt in question.prompts},
    }


def _verdicts(row: JudgedPersonas | JudgedPreference) -> list[Verdict]:
    sides = row.verdicts.values() if isinstance(row, JudgedPersonas) else [row.verdicts]
    return list(itertools.chain.from_iterable(sides))


def _pairs(plan: Plan, job: Wildcards) -> Files:
    return {"pairs": plan.pairs(job)}


def _infer_reads(plan: Plan, job: Wildcards) -> Mapping[str, Any]:
    question = persona_question(plan.config, job.dataset)
    return model_reads(plan.config, job.model, question, question.prompts)


def _judge_reads(plan: Plan, job: Wildcards, *, of_pairs: bool) -> Mapping[str, Any]:
    questions = pair_questions(plan.config, job.judge, job.dataset if of_pairs else None)
    return model_reads(plan.config, job.judge, questions, questions[0].prompts)


def _jobs(plan: Plan, pairs: Sequence[tuple[str, str]]) -> Iterator[Wildcards]:
    for dataset, (model, judge) in itertools.product(plan.config.datasets, pairs):
        yield Wildcards(dataset=dataset, model=model, judge=judge)


INFER: Stage[Plan] = Stage(
    name="infer_personas",
    output="personas/{dataset}/{model}/{shard}.jsonl",
    combinations=lambda plan: Wildcards.every(dataset=plan.config.datasets, model=plan.config.infer.models),
    inputs=_pairs,
    reads=_infer_reads,
    work=infer_stage,
    asks="model",
    batches=True,
    record=PairPersonas,
    lost=lambda row: list(row.outcomes.values()).count("provider_error"),
    counted=lambda row: len(row.outcomes),
)
_judges = partial(
    Stage[Plan],
    inputs=Plan.persona_files,
    asks="judge",
    batches=True,
    lost=lambda row: provider_errors(_verdicts(row)),
    counted=lambda row: len(_verdicts(row)),
)
ACCURACY = _judges(
    name="judge_personas",
    output="verdicts/{dataset}/accuracy/{model}-by-{judge}/{shard}.jsonl",
    combinations=lambda plan: _jobs(plan, list(itertools.product(plan.config.personas_of, plan.config.judge.accuracy))),
    reads=partial(_judge_reads, of_pairs=True),
    work=judge_stage,
    record=JudgedPersonas,
)
PREFERENCE = _judges(
    name="prefer_personas",
    output="verdicts/{dataset}/preference/{model}-by-{judge}/{shard}.jsonl",
    combinations=lambda plan: _jobs(plan, plan.config.preference_pairs),
    reads=partial(_judge_reads, of_pairs=False),
    work=prefer_stage,
    record=JudgedPreference,
)
