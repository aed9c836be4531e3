"""Asking models for axes, and where personas stand on them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.models import ScriptedModel, last_user, letters, text

from personalrm.core.errors import ModelCallError, Refused, TransientError
from personalrm.core.records import Profile
from personalrm.judge.call_recorder import Listener
from personalrm.judge.parsing import numbered_choices, sentences
from personalrm.llm.types import Request, Response
from personalrm.personas.axes import AxesQuestion, name_axes, read_axes, sample_of_personas
from personalrm.personas.records import Axis
from personalrm.personas.tags import TagQuestion, tag_axes, tag_sentences

AXES = (Axis(name="Tone", low="cold", high="warm"), Axis(name="Length", low="short", high="long"))


def profile(user: str, persona: str | None, draw: int = 0, model: str = "m") -> Profile:
    return Profile(
        dataset="d", user_id=user, model=model, variant="corrected", k="all", draw=draw, status="ok", persona=persona
    )


def test_axes_are_lines_of_the_form_each_name_once() -> None:
    said = (
        "Here are the axes:\n"
        "- **Tone**: cold ... warm\n"
        "2) Length of answers: short … long\n"
        "* tone : dry ... kind\n"
        "- Ends missing: only one\n"
        f"- {'x' * 61}: a ... b\n"
        "Humour: none vs. much\n"
        "- Depth: shallow ... deep"
    )
    assert [(a.name, a.low, a.high) for a in read_axes(said, 9)] == [
        ("Tone", "cold", "warm"),
        ("Length of answers", "short", "long"),
        ("Humour", "none", "much"),
        ("Depth", "shallow", "deep"),
    ]
    assert [axis.name for axis in read_axes(said, 2)] == ["Tone", "Length of answers"]
    assert [axis.name for axis in read_axes(said, 9, cut=True)][-1] == "Humour"


@given(st.text(), st.integers(1, 5), st.booleans())
def test_reading_axes_never_fails_and_is_bounded(said: str, most: int, cut: bool) -> None:
    found = read_axes(said + "\n- A: b ... c", most, cut=cut)
    assert len(found) <= most
    assert len({axis.name.casefold() for axis in found}) == len(found)


def test_axes_are_named_by_one_call_over_a_sample() -> None:
    model = ScriptedModel(lambda _: text("- Tone: cold ... warm"))
    profiles = [profile(f"u{n}", f"persona {n}") for n in range(5)]
    question = AxesQuestion(max_personas=3)
    named = asyncio.run(name_axes(model, [*profiles, profile("x", None), profile("u0", "late", draw=1)], question))
    assert (named.axes, named.shown, named.events) == ((AXES[0],), 3, ())
    (request,) = model.requests.values()
    assert last_user(request).count("--- Description") == 3
    assert sample_of_personas(profiles[::-1], 3, 0) == sample_of_personas(profiles, 3, 0)
    assert "late" not in last_user(request)


def test_personas_that_do_not_fit_are_left_out_whole_and_counted() -> None:
    model = ScriptedModel(lambda _: text("- Tone: cold ... warm"), context_length=900)
    profiles = [profile(f"u{n}", f"persona {n} " + "x" * 600) for n in range(4)]
    named = asyncio.run(name_axes(model, profiles, AxesQuestion(max_tokens=100)))
    (request,) = model.requests.values()
    assert named.shown == last_user(request).count("x" * 600) == 4 - int(named.events[0].split()[0])
    assert named.events == (f"{4 - named.shown} of 4 personas did not fit",)


@pytest.mark.parametrize(
    ("answer", "events"),
    [
        (lambda _: text("I see no axis."), ("the model named no axis",)),
        (lambda _: Refused("no"), ("refused: no",)),
    ],
)
def test_a_model_without_axes_leaves_an_empty_set_that_says_so(
    answer: Callable[[Request], Response | ModelCallError], events: tuple[str, ...]
) -> None:
    named = asyncio.run(name_axes(ScriptedModel(answer), [profile("u", "likes tea")], AxesQuestion()))
    assert (named.axes, named.events) == ((), events)


def test_an_outage_while_axes_are_named_is_raised() -> None:
    with pytest.raises(TransientError):
        asyncio.run(name_axes(ScriptedModel(lambda _: TransientError("down")), [profile("u", "x")], AxesQuestion()))
    assert asyncio.run(name_axes(ScriptedModel(lambda _: text("")), [], AxesQuestion())).events == (
        "there is no persona to name axes from",
    )


def test_the_start_of_a_small_models_list_belongs_to_it() -> None:
    model = ScriptedModel(lambda _: text("Tone: cold ... warm\n- bold ... shy\n- bold ... shy"))
    named = asyncio.run(name_axes(model, [profile("u", "x")], AxesQuestion("compact")))
    # The first was given; without a name an axis is called by its ends.
    assert [axis.name for axis in named.axes] == ["short answers or long answers", "Tone", "bold or shy"]


def test_one_list_tags_all_axes_and_one_all_sentences() -> None:
    def answer(request: Request) -> Response:
        return text("1: format\n2: values" if "Sentences:" in last_user(request) else "1: HIGH\n2: not mentioned")

    model = Listener(ScriptedModel(answer), "tag")
    question = TagQuestion()
    assert asyncio.run(tag_axes(model, "Warm. Fair.", AXES, question)) == ("high", "absent")
    assert asyncio.run(tag_sentences(model, "Warm. Fair. Odd.", question)) == ("format", "values", None)
    assert asyncio.run(tag_axes(model, "Warm.", (), question)) == ()
    assert model.asked == 2


def test_small_models_choose_by_letter_in_both_orders() -> None:
    def answer(request: Request) -> Response:
        # What is said of the warm end counts most, the letter C a little.
        letter = next(line[0] for line in last_user(request).splitlines() if line[1:] in (": warm", ": short"))
        return letters(**({"A": 0.1, "B": 0.15, "C": 0.25} | {letter: 0.6}))

    model = ScriptedModel(answer)
    found = asyncio.run(tag_axes(Listener(model, "tag"), "Warm.", AXES, TagQuestion("compact")))
    assert found == ("high", "low")
    assert len(model.requests) == 4
    assert all(request.max_tokens == 1 for request in model.requests.values())


def test_a_model_that_looks_at_the_letters_alone_has_chosen_nothing() -> None:
    always = Listener(ScriptedModel(lambda _: letters(A=0.9, B=0.04, C=0.04, D=0.02)), "tag")
    assert asyncio.run(tag_axes(always, "Warm.", AXES, TagQuestion("compact"))) == (None, None)
    assert asyncio.run(tag_sentences(always, "One. Two.", TagQuestion("compact"))) == (None, None)
    assert always.asked == 8


def test_answers_without_a_letter_and_failed_calls_are_no_tags() -> None:
    mute = Listener(ScriptedModel(lambda _: text("hm")), "tag")
    assert asyncio.run(tag_axes(mute, "Warm.", AXES, TagQuestion("compact"))) == (None, None)
    down = Listener(ScriptedModel(lambda _: TransientError("down")), "tag")
    assert asyncio.run(tag_axes(down, "Warm.", AXES, TagQuestion())) == (None, None)
    assert (down.asked, down.failed) == (1, 1)


def test_the_last_line_of_a_number_counts() -> None:
    said = "<think>1: low</think>\n1. Tone: low\n> 1: low\n1: high (it says so)\n2 - low-key: high\n3: lowest"
    assert numbered_choices(said, 3, ("low", "high")) == ("high", "high", None)


@given(st.text())
def test_sentences_lose_nothing_but_blanks(said: str) -> None:
    kept = "".join(c for part in sentences(said) for c in part if c.isalnum())
    assert kept == "".join(c for c in said if c.isalnum())
