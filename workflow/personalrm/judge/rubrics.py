"""Comparison of two generated answers under a rubric, in both orders (Balepur et al., "Whose Boat Does it Float?", ACL
2025; Singh et al., "FSPO", 2025).

The rubrics' texts are ours. A judge is asked by a prompt of ours, or by that of Prometheus 2, which is read from an
installed package `prometheus-eval`.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from types import ModuleType
from typing import Any, Literal, NamedTuple, get_args

from personalrm.core.concurrency import concurrently
from personalrm.core.errors import ConfigError, ModelCallError
from personalrm.core.files import stable_hash
from personalrm.core.generations import Unasked
from personalrm.core.records import Verdict
from personalrm.judge.call_recorder import CallRecorder
from personalrm.judge.judge import (
    JudgeSettings,
    ask_verdict,
    both_orders,
    failure_outcome,
    text_verdict,
    verdict_request,
)
from personalrm.judge.parsing import Stated
from personalrm.judge.prompting import PROMPT_DIR, Prompt, load_prompt
from personalrm.llm.types import LanguageModel, Message, Request

FOLDER = PROMPT_DIR / "rubrics"
Rubric = Literal["quality", "personalization", "description"]
"""`quality` shows no persona. `personalization`: which answer serves the person better. `description`: which answer
would the person prefer."""
RUBRICS: tuple[Rubric, ...] = get_args(Rubric)
IMPERSONAL: frozenset[Rubric] = frozenset({"quality"})
"""Rubrics that concern nobody in particular."""
CleanUp = Literal["markers", "as_published", "none"]
"""What is removed from answers before they are judged: all markers that tell systems apart; those that the paper's code
removes ("Prompt:" and end tokens); nothing."""
_BEFORE: dict[CleanUp, tuple[str, ...]] = {
    "markers": ("Response:", "Assistant:", "Prompt:"),
    "as_published": ("Prompt:",),
    "none": (),
}
_AFTER = ("<|end_of_text|>", "<|eot_id|>", "<|endoftext|>", "<|im_end|>", "</s>", "Prompt:")
_FIELDS = {"instruction", "response_A", "response_B", "rubric"}
_GRADE = re.compile(
    r"(?:\[\s*result\s*:?\s*\]?|^\s*result\s*:)[\s(\[*:]*(?:response\s+)?(?P<grade>[AB])\b[\s)\]*.]*\Z",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True)
class Grader:
    """How Prometheus 2 is asked; by default as its package does. An answer without a grade is sampled anew, `retries`
    times at most."""

    temperature: float = 1.0
    top_p: float = 0.9
    max_tokens: int = 1024
    retries: int = 10


@dataclass(frozen=True)
class RubricQuestion:
    """How two answers are compared: the criterion, what a prompt is (`about`, as "a word to be learned"; may be empty),
    and how the judge answers. With a `grader` the prompt is that of Prometheus 2, which answers in words."""

    rubric: Rubric
    judge: JudgeSettings
    about: str = ""
    grader: Grader | None = None

    @property
    def prompt(self) -> Prompt:
        """The prompt file with all rubrics."""
        return load_prompt("rivals", FOLDER)

    @property
    def prompts(self) -> dict[str, str]:
        """What rows record: prompts in use, with their version and hash. Raises ConfigError as `prometheus` does."""
        own = {self.prompt.name: self.prompt.label}
        return own if self.grader is None else own | {"prometheus": prometheus().sha[:12]}


class Rivals(NamedTuple):
    """Answers of two systems to one prompt, cleaned up, and the description of the user; "" for none."""

    pair_id: str
    prompt: str
    test: str
    base: str
    person: str = ""


class Cleaned(NamedTuple):
    """An answer without the markers in `stripped`, in the order in which they were removed."""

    text: str
    stripped: tuple[str, ...]


def clean(text: str, how: CleanUp = "markers") -> Cleaned:
    r"""An answer without markers at its beginning and end, and without outer blanks.

    >>> clean("\nResponse: Assistant: Boil it.<|end_of_text|>")
    Cleaned(text='Boil it.', stripped=('<|end_of_text|>', 'Response:', 'Assistant:'))
    >>> clean("Assistant: Boil it.\nPrompt:", "as_published")
    Cleaned(text='Assistant: Boil it.', stripped=('Prompt:',))
    """
    text, stripped = text.strip(), []
    while how != "none" and (found := next(filter(text.endswith, _AFTER), None)):
        text = text.removesuffix(found).strip()
        stripped.append(found)
    while found := next(filter(text.startswith, _BEFORE[how]), None):
        text = text.removeprefix(found).strip()
        stripped.append(found)
    return Cleaned(text, tuple(stripped))


def parse_grade(text: str) -> Stated:
    r"""The answer that a text of Prometheus 2 names at its end: `[RESULT] A`. Never raises.

    >>> parse_grade("Feedback: A is short. [RESULT] B"), parse_grade("[RESULT: A]"), parse_grade("Result: (B)")
    ('second', 'first', 'second')
    >>> parse_grade("A is better."), parse_grade("[RESULT] A or B"), parse_grade("")
    ('unparsed', 'unparsed', 'unparsed')
    """
    found = _GRADE.search(text)
    if found is None:
        return "unparsed"
    return "first" if found["grade"].upper() == "A" else "second"


class Prometheus(NamedTuple):
    """The prompt of Prometheus 2 for two answers without a reference, and the hash of both texts."""

    system: str
    user: str
    sha: str


def prometheus() -> Prometheus:
    """The prompt, from the package that is installed. Raises ConfigError where it is missing or has another form."""
    module = _prometheus_prompts()
    system, user = (str(getattr(module, name, "")) for name in ("REL_SYSTEM_PROMPT", "RELATIVE_PROMPT_WO_REF"))
    if not system or {field for _, field, _, _ in Formatter().parse(user) if field is not None} != _FIELDS:
        raise ConfigError(
            "prometheus-eval has no prompt for two answers without a reference in the form that it has in version "
            "0.1.20; pip install --no-deps prometheus-eval==0.1.20"
        )
    return Prometheus(system, user, stable_hash(system, user))


@functools.cache
def _prometheus_prompts() -> ModuleType:
    """The module with the prompts alone: the package itself imports much that is not needed."""
    package = importlib.util.find_spec("prometheus_eval")
    places = list(package.submodule_search_locations or ()) if package else []
    path = Path(places[0]) / "prompts.py" if places else Path()
    spec = importlib.util.spec_from_file_location("prometheus_eval_prompts", path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise ConfigError(
            "the prompt of Prometheus 2 is read from the package prometheus-eval, which is not installed here; "
            "pip install --no-deps prometheus-eval==0.1.20, or use a judge that is asked by our own prompt"
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rubric_messages(rivals: Rivals, swapped: bool, question: RubricQuestion) -> tuple[Message, ...]:
    """Messages of one comparison; `swapped`: the answer of the test system stands second."""
    first, second = (rivals.base, rivals.test) if swapped else (rivals.test, rivals.base)
    own, judge = question.prompt, question.judge
    person = "" if question.rubric in IMPERSONAL else rivals.person
    criterion = own.render(question.rubric)
    if question.grader is not None:
        form = prometheus()
        asked = own.render("instruction", prompt=rivals.prompt, about=question.about, person=person)
        values = {"instruction": asked, "response_A": first, "response_B": second, "rubric": criterion}
        return Message("system", form.system), Message("user", form.user.format(**values))
    reasoned, labels = judge.mode == "text", judge.labels
    shown = {"prompt": rivals.prompt, "first": first, "second": second, "person": person, "labels": labels}
    system = own.render("system", criterion=criterion, about=question.about, labels=labels, reasoned=reasoned)
    begun = () if reasoned else (Message("assistant", own.render("assistant")),)
    return Message("system", system), Message("user", own.render("user", **shown)), *begun


def rubric_requests(rivals: Rivals, swapped: bool, question: RubricQuestion) -> list[Request]:
    """Requests of one comparison; those of a grader after the first are sent while no answer has a grade."""
    messages, grader = rubric_messages(rivals, swapped, question), question.grader
    if grader is None:
        return [verdict_request(messages, question.judge)]
    sampled = (grader.max_tokens, grader.temperature, grader.top_p)
    return [Request(messages, *sampled, attempt, sample_index=attempt) for attempt in range(1 + grader.retries)]


async def compare(model: LanguageModel, rivals: Rivals, question: RubricQuestion) -> tuple[Verdict, ...]:
    """Verdicts on two different answers, in both orders, or one for `logprob_both`; `correct`: that of the test system.

    What a difference between the orders means is left to the study: a tie (Balepur et al.), or no verdict (FSPO).
    """

    async def once(swapped: bool) -> Verdict:
        if question.grader is not None:
            return await _graded(model, rivals.pair_id, swapped, rubric_requests(rivals, swapped, question))
        messages = rubric_messages(rivals, swapped, question)
        return await ask_verdict(model, rivals.pair_id, swapped, messages, question.judge)

    return both_orders(*await concurrently(once(False), once(True)), question.judge)


async def compared(
    model: LanguageModel,
    stage: str,
    rivals: Rivals,
    texts: tuple[Cleaned, Cleaned],
    question: RubricQuestion,
    reason: Unasked | None,
) -> dict[str, Any]:
    """What `JudgedAnswers` records of one comparison, in which nothing is asked where there is a `reason`; `texts` are
    the answers of the test and of the base system."""
    recorder = CallRecorder(model, stage)
    return {
        **{"pair_id": rivals.pair_id, "rubric": question.rubric, "mode": question.judge.mode, "reason": reason},
        "verdicts": () if reason else await compare(recorder, rivals, question),
        "words": tuple(len(one.text.split()) for one in texts),
        "stripped": tuple(one.stripped for one in texts),
        **{"calls": recorder.calls, "prompts": question.prompts},
    }


async def _graded(model: LanguageModel, pair_id: str, swapped: bool, requests: Iterable[Request]) -> Verdict:
    """Verdict of a sampled answer, sampled anew until one names a grade. It rests on all of these answers."""
    verdict = Verdict(pair_id=pair_id, swapped=swapped, outcome="provider_error")
    for request in requests:
        try:
            response = await model.complete(request)
        except ModelCallError as error:
            return verdict.model_copy(update={"outcome": failure_outcome(error)})
        verdict = text_verdict(verdict, response, parse_grade(response.text))
        if verdict.outcome != "unparsed":
            break
    return verdict
