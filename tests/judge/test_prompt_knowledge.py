"""What the judge is asked: this user's taste where something about the user is shown, else no more than the choice.

The panel of the disagreement filter is asked what people in general prefer, with prompts of its own.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import pytest
from support.learning import BOOT, profile_of
from support.models import ScriptedModel, good_is_first, label, pair, text

from personalrm import SynthesizeMe
from personalrm.core.records import Demonstration, UserData
from personalrm.core.tastes import UserTaste
from personalrm.data.filters.rate import PanelSettings, panel_votes
from personalrm.judge.call_recorder import Listener
from personalrm.judge.judge import JudgeContext, JudgeSettings, fitted, is_reasoned, judge_messages, judge_pair
from personalrm.judge.prompting import load_prompt
from personalrm.llm.types import Message, Request, Response
from personalrm.methods.base import Known
from personalrm.methods.criteria import criteria_messages, judge_by_criteria
from personalrm.methods.registry import METHODS
from personalrm.methods.synthesizeme.bootstrap import bootstrap_pairs
from personalrm.studies.config_load import parse_config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.rating import panel_settings

WORDS = JudgeSettings("standard", "text")
STYLES = [WORDS, JudgeSettings("standard", "logprob"), JudgeSettings("compact", "logprob")]
BARE = Demonstration(pair=pair("bare"), swapped=False)
REASONED = Demonstration(pair=pair("reasoned"), swapped=True, reasoning="Because.")
KNOWN = [
    JudgeContext("likes tea"),
    JudgeContext(None, (BARE,)),
    JudgeContext(None, (REASONED,)),
    JudgeContext("likes tea", (BARE, REASONED)),
]
PERSONAL = re.compile(r"people in general|particular user|this user would|this user, not", re.IGNORECASE)
"""Words that set one user apart from others."""


def whole(messages: Sequence[Message]) -> str:
    return "\n\n".join(message.content for message in messages)


@pytest.mark.parametrize("settings", STYLES)
def test_the_judge_sets_general_taste_aside_only_where_it_knows_something(settings: JudgeSettings) -> None:
    assert not PERSONAL.search(whole(judge_messages(pair("p"), False, JudgeContext(), settings)))
    for shown in KNOWN:
        assert PERSONAL.search(judge_messages(pair("p"), False, shown, settings)[0].content)


def test_only_where_it_knows_something_is_the_judge_that_reasons_told_what_not_to_ask() -> None:
    (system, _), aside = (
        judge_messages(pair("p"), False, JudgeContext("tea"), WORDS),
        "not which one people in general would",
    )
    assert aside in " ".join(system.content.split())
    (system, _) = judge_messages(pair("p"), False, JudgeContext(), WORDS)
    assert "Decide which of the two the user would choose." in system.content


def test_criteria_and_generation_prompts_are_neutral_where_nothing_is_known() -> None:
    assert not PERSONAL.search(whole(criteria_messages(pair("p"), False, JudgeContext(), WORDS)))
    for shown in KNOWN:
        assert "not people in general" in whole(criteria_messages(pair("p"), False, shown, WORDS))
    model = ScriptedModel(lambda _: text("Weight 3: brevity"))
    asyncio.run(judge_by_criteria(model, [pair("p")], JudgeContext(), WORDS))
    assert len(model.requests) == 3
    assert not any(PERSONAL.search(whole(request.messages)) for request in model.requests.values())
    for learned, personal in (({}, False), ({"persona": "likes tea"}, True), ({"demonstrations": (BARE,)}, True)):
        rm = SynthesizeMe(lm=model)
        rm._take(profile_of(**learned))
        assert bool(PERSONAL.search(rm.get_generation_prompt())) == personal
        assert bool(PERSONAL.search(rm.get_judge_messages()[0]["content"])) == personal


def test_methods_are_personal_by_what_they_show() -> None:
    user = UserData(
        dataset="d",
        user_id="u",
        pairs=(pair("c", split="context"),),
        survey={"age": "30"},
        planted_taste="likes tea",
    )
    empty = profile_of()
    shown_pairs = {"demonstrations": (BARE,), "plain_demonstrations": (BARE,)}
    full = profile_of(persona="likes tea", memory=("likes tea",), **shown_pairs)
    taste = UserTaste(dataset="d", user_id="u", model="m", k="all", draw=0, status="ok", persona="likes tea")
    for (name, method), settings in product(METHODS.items(), STYLES):
        if method.needs in ("nothing", "scores", "reward"):
            continue
        shown = method.adapt(Known(user, user.pairs, profile=full, taste=taste))
        personal = bool(PERSONAL.search(whole(method.asked.messages(pair("p"), False, shown, settings))))
        assert personal == (name != "default"), name
        if method.needs in ("profile", "taste"):
            shown = method.adapt(Known(user, profile=empty, taste=taste.model_copy(update={"persona": None})))
            assert not PERSONAL.search(whole(method.asked.messages(pair("p"), False, shown, settings))), name


@pytest.mark.parametrize("settings", STYLES)
def test_attempts_of_stage_1_are_neutral_and_those_of_stage_3_are_not(settings: JudgeSettings) -> None:
    def asked(shown: JudgeContext) -> list[str]:
        model = ScriptedModel(lambda r: label(0.5) if r.top_logprobs else text("Because."))
        asyncio.run(bootstrap_pairs(model, [pair("p")], shown, replace(BOOT, judge=settings)))
        return [whole(request.messages) for request in model.requests.values()]

    assert not any(map(PERSONAL.search, asked(JudgeContext())))
    assert all(map(PERSONAL.search, asked(JudgeContext("likes tea"))))


def test_what_does_not_fit_is_not_known() -> None:
    shown = JudgeContext(
        None, (Demonstration(pair=pair("long", chosen="word " * 3000), swapped=False),), droppable=True
    )
    left = fitted(shown, [pair("p")], WORDS, ScriptedModel(lambda _: text(""), context_length=2000).spec)
    assert judge_messages(pair("p"), False, left, WORDS) == judge_messages(pair("p"), False, JudgeContext(), WORDS)


def panel_answer(request: Request) -> Response:
    """A member that votes for the better answer in words, or by the label's log-probabilities."""
    good = good_is_first(request)
    if request.top_logprobs:
        compact = "Response A:" in whole(request.messages)
        return label(0.9 if good else 0.1, (" A", " B") if compact else (" First", " Second"))
    return text(f"It is right.\nPreference: {'First' if good else 'Second'}")


@pytest.mark.parametrize("settings", [PanelSettings(one.style, one.mode) for one in STYLES])
def test_the_panel_is_asked_what_people_in_general_prefer(settings: PanelSettings) -> None:
    assert settings.prompt.name == f"panel_{settings.style}"
    model = ScriptedModel(panel_answer)
    votes = asyncio.run(panel_votes(Listener(model, "panel"), pair("p"), settings))
    assert [(vote.swapped, vote.favours) for vote in votes] == [(False, "chosen"), (True, "chosen")]
    for request in model.requests.values():
        asked = whole(request.messages)
        assert "people in general" in " ".join(asked.split())
        assert not re.search(r"particular user|this user|user (?:would|prefers|chose)|\bnot (?:which|people)", asked)


@pytest.mark.parametrize("style", ["standard", "compact"])
def test_the_panels_prompt_is_part_of_its_fingerprint_and_of_no_other(style: str) -> None:
    verdict = "text" if style == "standard" else "logprob"
    model = {"backend": "openai", "model": "x", "api_base": "http://x/v1", "prompts": style, "verdicts": [verdict]}
    filters = {"disagreement": {"models": ["m", "n"]}}
    config = parse_config(
        {
            "run": "x",
            "datasets": {"d": {"path": "votes.jsonl", "filters": filters}},
            "models": {"m": model, "n": {**model, "model": "y"}},
            "learn": {"models": ["m"]},
            "methods": ["default", "both"],
        }
    )
    panel, judge = load_prompt(f"panel_{style}").id, load_prompt(f"judge_{style}").id
    assert panel_settings(config, "d", "m").prompt.id == panel
    plan = Plan(config)
    reads = plan.reads("panel", dataset="d", model="m")
    assert panel in reads
    assert judge not in reads
    for other in (
        plan.reads("baseline", judge="m"),
        plan.reads("bootstrap", model="m", variant="corrected"),
        plan.reads("profile", model="m", variant="corrected", k="all"),
        plan.reads("judge", variant="corrected", model="m", judge="m", k="all"),
    ):
        assert judge in other
        assert panel not in other


def test_labels_without_a_reasoning_are_never_the_judges_own_answers_where_it_reasons() -> None:
    bare = tuple(Demonstration(pair=pair(f"b{n}"), swapped=n % 2 == 1, reasoning=("", None)[n % 2]) for n in range(4))
    shown = JudgeContext("likes tea", (*bare[:2], REASONED, *bare[2:]))
    messages = judge_messages(pair("p"), False, shown, WORDS)
    assert [message.role for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[2].content == "Because.\nPreference: Second"
    places = [messages[0].content.index(f"question b{n}") for n in range(4)]
    assert places == sorted(places)
    assert messages[0].content.index("likes tea") < places[0]
    # What is asked of the model comes after the data.
    assert places[-1] < messages[0].content.index("\nPreference: First\nPreference: Second")


@pytest.mark.parametrize("settings", STYLES[1:])
def test_labels_are_turns_where_the_label_follows_at_once(settings: JudgeSettings) -> None:
    messages = judge_messages(pair("p"), False, JudgeContext(None, (BARE, REASONED)), settings)
    begun = messages[-1].content
    answers = [message.content for message in messages[:-1] if message.role == "assistant"]
    one, two = settings.labels
    assert answers[0] == f"{begun} {one}"
    assert answers[1].startswith("Because.")
    assert answers[1].endswith(f"{begun} {two}")
    assert "bare" not in messages[0].content


@pytest.mark.parametrize("settings", STYLES)
def test_all_pairs_of_a_user_share_what_stands_before_them(settings: JudgeSettings) -> None:
    shown = JudgeContext("likes tea", (BARE, REASONED))
    asked = [judge_messages(pair(name), swapped, shown, settings) for name in "pq" for swapped in (False, True)]
    place = max(number for number, message in enumerate(asked[0]) if message.role == "user")
    assert len({messages[:place] for messages in asked}) == 1
    assert len({messages[place] for messages in asked}) == 4


@pytest.mark.parametrize(
    ("said", "reasoned"),
    [
        ("It is shorter.\nPreference: First", True),
        ("Preference: First", False),
        ("**Preference:** First", False),
        ("First", False),
        ("Preference: First\n\nPreference: First", False),
        ("Preference: tie", False),
        ("短い。\nPreference: First", True),
        ("<think>Short is good.</think>\nPreference: First", True),
        ("<think>\n</think>\n\nPreference: First", False),
        ("no verdict at all", None),
        ("", None),
    ],
)
def test_a_verdict_knows_whether_the_answer_holds_more_than_it(said: str, reasoned: bool | None) -> None:
    verdicts = asyncio.run(judge_pair(ScriptedModel(lambda _: text(said)), pair("p"), JudgeContext(), WORDS))
    assert [verdict.reasoned for verdict in verdicts] == [reasoned, reasoned]
    assert ("reasoned" in verdicts[0].model_dump()) == (reasoned is not None)


def test_a_reasoning_may_stand_on_the_verdicts_line() -> None:
    assert is_reasoned(text("It is shorter. Preference: First"))
    assert not is_reasoned(text("The user prefers the First response."))


def test_separate_thinking_is_a_reasoning_and_a_label_has_none() -> None:
    thought = Response("Preference: First", "stop", text("").usage, reasoning="Short is good.")
    (verdict, _) = asyncio.run(judge_pair(ScriptedModel(lambda _: thought), pair("p"), JudgeContext(), WORDS))
    assert verdict.reasoned is True
    compact = STYLES[2]
    (verdict, _) = asyncio.run(judge_pair(ScriptedModel(lambda _: label(0.9)), pair("p"), JudgeContext(), compact))
    assert verdict.reasoned is None
    silent = text("Preference: First", finish_reason="content_filter")
    (verdict, _) = asyncio.run(judge_pair(ScriptedModel(lambda _: silent), pair("p"), JudgeContext(), WORDS))
    assert (verdict.outcome, verdict.reasoned) == ("refused", None)
