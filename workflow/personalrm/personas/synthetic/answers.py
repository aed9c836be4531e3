"""Different answers to one question: by persona steering and by view conditioning (FSPO, appendix on data)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from personalrm.core.concurrency import concurrently
from personalrm.core.errors import ModelCallError
from personalrm.core.files import stable_hash
from personalrm.core.synthetic import SyntheticAnswer, SyntheticQuestion, Way
from personalrm.judge.call_recorder import answer_of
from personalrm.judge.judge import failure_outcome
from personalrm.judge.prompting import Prompt, load_prompt
from personalrm.llm.types import LanguageModel, Request
from personalrm.personas.synthetic.questions import FOLDER, whole_items


@dataclass(frozen=True)
class Answering:
    """How questions are answered.

    Attributes:
        ways: how answers are made to differ.
        temperatures: of the calls that write answers and views.
        each: answers of each way at each temperature.
        words: length that is asked for.
        max_tokens, view_tokens: longest answer, and longest list of views.
        steers: traits that answers are written for, of which a seeded hash takes some for each question.
        seed: of the calls and of the hash.
    """

    ways: tuple[Way, ...]
    temperatures: tuple[float, ...] = (1.0,)
    each: int = 3
    words: int = 150
    max_tokens: int = 512
    view_tokens: int = 256
    steers: tuple[str, ...] = ()
    seed: int = 0

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """Prompt files in use."""
        names = ("answer", "views") if "views" in self.ways else ("answer",)
        return tuple(load_prompt(name, FOLDER) for name in names)


class Answers(NamedTuple):
    """Answers to one question, and how many lists of views could not be had."""

    answers: tuple[SyntheticAnswer, ...]
    viewless: int


async def answer_question(model: LanguageModel, question: SyntheticQuestion, answering: Answering) -> Answers:
    """All answers of one model to one question, in the order of temperatures and ways."""
    found: list[SyntheticAnswer] = []
    viewless = 0
    for temperature in answering.temperatures:
        for way in answering.ways:
            steers = await _steers(model, question, way, temperature, answering)
            viewless += not steers
            found += await concurrently(
                *(
                    _answer(model, question, way, temperature, steer, number, answering)
                    for number, steer in enumerate(steers)
                )
            )
    return Answers(tuple(found), viewless)


async def _steers(
    model: LanguageModel, question: SyntheticQuestion, way: Way, temperature: float, answering: Answering
) -> Sequence[str]:
    """What each answer of a way keeps to; empty texts for plain answers, none where there are no views."""
    if way == "plain":
        return [""] * answering.each
    if way == "persona_steering":
        drawn = sorted(
            answering.steers,
            key=lambda text: stable_hash("steer", str(answering.seed), question.question_id, str(temperature), text),
        )
        return drawn[: answering.each]
    messages = load_prompt("views", FOLDER).messages(count=answering.each, question=question.text)
    request = Request(messages, max_tokens=answering.view_tokens, temperature=temperature, seed=answering.seed)
    try:
        response = await model.complete(request)
    except ModelCallError as error:
        failure_outcome(error)  # raises an error that concerns the whole job again
        return []
    return whole_items(response)[: answering.each]


async def _answer(
    model: LanguageModel,
    question: SyntheticQuestion,
    way: Way,
    temperature: float,
    steer: str,
    number: int,
    answering: Answering,
) -> SyntheticAnswer:
    values = {"persona_steering": {"person": steer}, "views": {"view": steer}, "plain": {}}[way]
    messages = load_prompt("answer", FOLDER).messages(words=answering.words, question=question.text, **values)
    request = Request(messages, answering.max_tokens, temperature=temperature, seed=answering.seed, sample_index=number)
    base = SyntheticAnswer(model=model.spec.name, temperature=temperature, way=way, steer=steer, text="")
    return base.model_copy(update=(await answer_of(model, request))._asdict())
