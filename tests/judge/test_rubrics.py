from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.answer_judge import prometheus_package
from support.models import ScriptedModel, label, text

from personalrm.core.errors import ConfigError, RateLimited
from personalrm.core.generations import JudgedAnswers
from personalrm.core.records import Verdict
from personalrm.judge import rubrics
from personalrm.judge.judge import JudgeSettings
from personalrm.judge.rubrics import Grader, Rivals, RubricQuestion, clean, compare, rubric_messages
from personalrm.llm.types import Request, Response

WORDS = JudgeSettings("standard", "text")
RIVALS = Rivals("p", "Why {x}?", "An otter.", "A pebble.", "The user likes animals.")


def verdicts(model: ScriptedModel, question: RubricQuestion, rivals: Rivals = RIVALS) -> tuple[Verdict, ...]:
    return asyncio.run(compare(model, rivals, question))


def winner(found: tuple[Verdict, ...]) -> str | None:
    ids = {"dataset": "d", "pair_id": "p", "test": "t", "base": "b", "rubric": "quality", "judge": "j", "mode": "text"}
    return JudgedAnswers(**ids, verdicts=found, words=(2, 2)).winner


def otter_first(request: Request) -> bool:
    asked = next(message.content for message in reversed(request.messages) if message.role == "user")
    return asked.index("otter") < asked.index("pebble")


def by_words(request: Request) -> Response:
    return text(f"It is alive.\nPreference: {'First' if otter_first(request) else 'Second'}")


@pytest.mark.parametrize("rubric", rubrics.RUBRICS)
def test_the_answer_that_a_judge_names_wins_wherever_it_stands(rubric: rubrics.Rubric) -> None:
    question, model = RubricQuestion(rubric, WORDS), ScriptedModel(by_words)
    assert winner(verdicts(model, question)) == "test"
    assert winner(verdicts(model, question, RIVALS._replace(test="A pebble.", base="An otter."))) == "base"
    shown = [" ".join(message.content for message in request.messages) for request in model.requests.values()]
    # Only a rubric that concerns a person shows one; each has a criterion of its own.
    assert all(("likes animals" in prompt) == (rubric != "quality") for prompt in shown)
    assert all(("Quality:" in prompt, "Personalization:" in prompt) != (True, True) for prompt in shown)
    assert all("Why {x}?" in prompt for prompt in shown)


def test_a_judge_that_always_names_the_first_answer_gives_a_tie() -> None:
    found = verdicts(ScriptedModel(lambda _: text("Preference: First")), RubricQuestion("quality", WORDS))
    assert winner(found) == "tie"
    assert [verdict.outcome for verdict in found] == ["correct", "wrong"]


def test_a_lost_call_is_no_verdict() -> None:
    def half(request: Request) -> Response | RateLimited:
        return by_words(request) if otter_first(request) else RateLimited("wait")

    found = verdicts(ScriptedModel(half), RubricQuestion("quality", WORDS))
    assert (winner(found), found[1].outcome) == (None, "provider_error")
    assert winner(()) is None


def test_labels_are_read_after_the_start_of_the_answer() -> None:
    model = ScriptedModel(lambda request: label(0.9 if otter_first(request) else 0.4))
    for mode, outcomes in (("logprob", ["correct", "correct"]), ("logprob_both", ["correct"])):
        question = RubricQuestion("personalization", JudgeSettings("compact", mode), about="a riddle")
        assert [verdict.outcome for verdict in verdicts(model, question)] == outcomes
    messages = rubric_messages(RIVALS, False, question)
    assert messages[-1].content == "Preference:"
    assert "which is a riddle" in messages[0].content
    assert "sentences" not in messages[0].content
    # A judge that leans to one place is a tie in words, and its mean log-odds decide in the other mode.
    leaning = verdicts(ScriptedModel(lambda request: label(0.9 if otter_first(request) else 0.6)), question)
    ids = {"dataset": "d", "pair_id": "p", "test": "t", "base": "b", "rubric": "quality", "judge": "j"}
    assert JudgedAnswers(**ids, mode="logprob_both", verdicts=leaning, words=(1, 1)).orders_differ


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Path]:
    with prometheus_package(tmp_path) as prompts:
        yield prompts


@pytest.mark.usefixtures("package")
def test_the_prompt_of_prometheus_is_read_from_its_package() -> None:
    question = RubricQuestion("personalization", WORDS, about="a riddle", grader=Grader(retries=2))
    model = ScriptedModel(lambda request: text(f"It lives. [RESULT] {'A' if otter_first(request) else 'B'}"))
    assert winner(verdicts(model, question)) == "test"
    system, user = rubric_messages(RIVALS, True, question)
    assert system.content == "Be fair."
    asked, first, second, criterion = user.content.removeprefix("Ask ").split(" | ")
    assert asked == "The prompt is a riddle.\nWhy {x}?\n\nThe person: The user likes animals."
    assert (first, second) == ("A pebble.", "An otter.")
    assert criterion.startswith("Personalization:")
    assert {(each.temperature, each.top_p, each.max_tokens) for each in model.requests.values()} == {(1.0, 0.9, 1024)}
    assert len(model.requests) == 2
    assert set(question.prompts) == {"rivals", "prometheus"}


@pytest.mark.usefixtures("package")
def test_an_answer_without_a_grade_is_sampled_anew_and_no_more_often_than_allowed() -> None:
    def third(request: Request) -> Response:
        return text("[RESULT] A" if request.sample_index == 2 and otter_first(request) else "Both are fine.")

    model = ScriptedModel(third)
    straight, swapped = verdicts(model, RubricQuestion("quality", WORDS, grader=Grader(retries=3)))
    assert (straight.outcome, len(straight.calls)) == ("correct", 3)
    assert (swapped.outcome, len(swapped.calls)) == ("unparsed", 4)
    assert sorted(request.seed for request in model.requests.values()) == [0, 0, 1, 1, 2, 2, 3]


def test_a_package_that_is_missing_or_has_another_form_is_named(package: Path) -> None:
    package.write_text("REL_SYSTEM_PROMPT = 'x'\nRELATIVE_PROMPT_WO_REF = '{orig_response}'\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"pip install --no-deps prometheus-eval==0\.1\.20"):
        rubrics.prometheus()
    rubrics._prometheus_prompts.cache_clear()
    package.unlink()
    with pytest.raises(ConfigError, match="package prometheus-eval, which is not installed here"):
        rubrics.prometheus()


def test_markers_go_from_both_ends_and_are_counted() -> None:
    assert clean(" Response:\nA: see Response: 1</s>") == ("A: see Response: 1", ("</s>", "Response:"))
    assert clean("Assistant: So.<|eot_id|>", "none") == ("Assistant: So.<|eot_id|>", ())
    assert clean("Prompt: Assistant: So.<|eot_id|>", "as_published") == ("Assistant: So.", ("<|eot_id|>", "Prompt:"))
    assert clean("Response: Assistant: So.").text == "So."
    assert clean("Assistant:") == ("", ("Assistant:",))
