"""Which answer a prompt calls chosen: every prompt file that shows a labelled pair, by the function that makes it.

The chosen answer of each pair speaks of a heron, the other one of a walnut. A test reads a prompt as a model would, by
its words alone: which answer stands where, and which of them is named.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count, islice
from typing import NamedTuple

import pytest
from support.learning import BOOT, profile_of
from support.models import ScriptedModel, pair, text

from personalrm import SynthesizeMe
from personalrm.core.records import Demonstration, PreferencePair, UserData
from personalrm.judge.judge import JudgeContext, JudgeSettings, fitted, judge_messages, presented_swapped
from personalrm.judge.prompting import PROMPT_DIR
from personalrm.llm.types import Message, Request, Response, TokenLogprobs, Usage
from personalrm.methods.base import Known
from personalrm.methods.criteria import criteria_messages
from personalrm.methods.registry import METHODS
from personalrm.methods.reward.shots import answer_prompt, description_prompt
from personalrm.methods.scorecard import scorecard_messages
from personalrm.methods.synthesizeme.bootstrap import bootstrap_pairs, verified
from personalrm.methods.synthesizeme.memory import MemorySettings, remember
from personalrm.methods.synthesizeme.persona import PersonaSettings, persona_messages
from personalrm.methods.synthesizeme.search import LABELLED, UNSHUFFLED, draw_candidate
from personalrm.methods.synthesizeme.theta import PersonaDemonstration, Theta
from personalrm.methods.trained import system_turn

WORDS = JudgeSettings("standard", "text")
STANDARD_LABEL = JudgeSettings("standard", "logprob")
COMPACT_LABEL = JudgeSettings("compact", "logprob")
ASKED = pair("asked", chosen="An otter", rejected="A pebble", split="test")


class Said(NamedTuple):
    """What a prompt says of one labelled pair: the answer that it calls chosen, the other one, and the one that stands
    first."""

    chosen: str
    other: str
    first: str


Prompt = Callable[[Sequence[Demonstration]], list[Said]]


def tossed(swapped: bool, salt: str = "0") -> list[PreferencePair]:
    """Two context pairs of a user, both with this side of the coin of presentation."""
    made = (pair(f"p{n}", "A heron stands", "A walnut rolls", split="context", order=n) for n in count())
    return list(islice((one for one in made if presented_swapped(one, salt) == swapped), 2))


def placed(asked: str, statement: str, labels: tuple[str, str] = ("First", "Second")) -> list[Said]:
    """Pairs of a prompt that names the place of the chosen answer, in a line that begins with `statement`."""
    one, two = labels
    shown = rf"Response {one}:\n(?P<one>[^\n]+)\n\nResponse {two}:\n(?P<two>[^\n]+)\n"
    named = rf"(?:(?!\nResponse {one}:).)*?{re.escape(statement)}(?P<label>{one}|{two})\b"
    found = []
    for match in re.finditer(shown + named, asked, re.DOTALL):
        chosen, other = (match["one"], match["two"]) if match["label"] == one else (match["two"], match["one"])
        found.append(Said(chosen, other, match["one"]))
    return found


def called(asked: str, chosen: str, other: str) -> list[Said]:
    """Pairs of a prompt that calls the answers themselves by what the user thought of them; the chosen one is first."""
    found = re.findall(rf"{re.escape(chosen)}\s*([^\n]+)\n+{re.escape(other)}\s*([^\n]+)", asked)
    return [Said(one, two, one) for one, two in found]


def whole(messages: Sequence[Message]) -> str:
    """All messages, one after the other."""
    return "\n\n".join(message.content for message in messages)


def judge(settings: JudgeSettings, shown: Sequence[Demonstration]) -> str:
    """What the judge reads before the pair that it is asked about."""
    return whole(judge_messages(ASKED, False, JudgeContext("likes birds", tuple(shown)), settings)[:-1])


def reasoned_turns(shown: Sequence[Demonstration]) -> list[Said]:
    """Demonstrations of the judge that reasons: chat turns."""
    with_reasons = [one.model_copy(update={"reasoning": "Because."}) for one in shown]
    return placed(judge(WORDS, with_reasons), "\n\nBecause.\nPreference: ")


def labels_as_data(shown: Sequence[Demonstration]) -> list[Said]:
    """Labelled pairs of the judge that reasons: in the instruction."""
    messages = judge_messages(ASKED, False, JudgeContext(None, tuple(shown)), WORDS)
    assert [message.role for message in messages] == ["system", "user"]
    return placed(messages[0].content, "The user chose: ")


def label_turns(settings: JudgeSettings, statement: str) -> Prompt:
    """Labelled pairs of a judge whose label follows at once: chat turns."""
    return lambda shown: placed(judge(settings, shown), f"\n\n{statement}", settings.labels)


def history(settings: JudgeSettings, statement: str) -> Prompt:
    """All context pairs of a user, as the method `history` shows them; their order is the method's own coin."""

    def say(shown: Sequence[Demonstration]) -> list[Said]:
        pairs = tossed(shown[0].swapped, "history")
        made = METHODS["history"].adapt(Known.of(UserData(dataset="d", user_id="u", pairs=(*pairs, ASKED))))
        kept = fitted(made, [ASKED], settings, ScriptedModel(lambda _: text("")).spec)
        return placed(whole(judge_messages(ASKED, False, kept, settings)[:-1]), statement, settings.labels)

    return say


def persona(settings: PersonaSettings) -> Prompt:
    """Judgements of the prompt that induces a persona, with a reasoning and without one. With a Theta they are those of
    its demonstration, and the user has others."""

    def say(shown: Sequence[Demonstration]) -> list[Said]:
        first, *rest = shown
        given = [first.model_copy(update={"reasoning": "Because."}), *rest]
        asked = whole(persona_messages(given, settings))
        if settings.theta is not None:
            theta = replace(settings.theta, demonstrations=(PersonaDemonstration(tuple(given), "Likes herons."),))
            own = [Demonstration(pair=ASKED, swapped=False)]
            system, *demonstration, _ = persona_messages(own, replace(settings, theta=theta))[:4]
            assert [message.role for message in demonstration] == ["user", "assistant"]
            asked = whole([system, *demonstration])
        if settings.style == "compact":
            return called(asked, "Liked:", "Disliked:")
        return placed(asked, "The person chose: ")

    return say


def memory(settings: MemorySettings) -> Prompt:
    """Pairs of the prompt that extracts facts; their order is the method's own coin."""

    def say(shown: Sequence[Demonstration]) -> list[Said]:
        model = ScriptedModel(lambda _: text("- likes herons"))
        asyncio.run(remember(model, tossed(shown[0].swapped, "memory"), settings))
        (request,) = model.requests.values()
        if settings.style == "compact":
            return called(whole(request.messages), "The person liked this answer:", "The person liked this one less:")
        return placed(whole(request.messages), "The person chose: ")

    return say


def criteria(shown: Sequence[Demonstration]) -> list[Said]:
    """Demonstrations of the prompt that derives criteria."""
    return placed(whole(criteria_messages(ASKED, False, JudgeContext(None, tuple(shown)), WORDS)), "The user chose: ")


def scorecard(shown: Sequence[Demonstration]) -> list[Said]:
    """Labelled pairs of the scorecard judge."""
    return placed(
        scorecard_messages(ASKED, False, JudgeContext(None, tuple(shown)), WORDS)[0].content, "The user chose: "
    )


def generation(shown: Sequence[Demonstration]) -> list[Said]:
    """Examples for a model that writes for the user."""
    return called(learner(shown).get_generation_prompt(), "Chosen:", "Not chosen:")


def reward_system(shown: Sequence[Demonstration]) -> list[Said]:
    """What a fine-tuned reward model reads of the user."""
    return called(system_turn(JudgeContext("likes birds", tuple(shown))), "Chosen:", "Not chosen:")


def learner(shown: Sequence[Demonstration]) -> SynthesizeMe:
    """The library's object with a profile that holds these demonstrations."""
    made = SynthesizeMe(lm=ScriptedModel(lambda _: text("")))
    made._take(profile_of(demonstrations=tuple(shown)))
    return made


def few_shot_answer(shown: Sequence[Demonstration]) -> list[Said]:
    """The votes that a fine-tuned language model is shown before a question."""
    return called(answer_prompt([one.pair for one in shown], ASKED.context), "Preferred:\n", "Other:\n")


def few_shot_description(shown: Sequence[Demonstration]) -> list[Said]:
    """The same before it describes the user."""
    return called(description_prompt([one.pair for one in shown]), "Preferred:\n", "Other:\n")


THETA = Theta("mine", "Say who this is.")
SHOWN_IN: dict[str, list[Prompt]] = {
    "judge_standard": [
        reasoned_turns,
        labels_as_data,
        label_turns(STANDARD_LABEL, "Preference: "),
        history(WORDS, "The user chose: "),
        history(STANDARD_LABEL, "\n\nPreference: "),
    ],
    "judge_compact": [
        label_turns(COMPACT_LABEL, "The user prefers Response "),
        history(COMPACT_LABEL, "\n\nThe user prefers Response "),
    ],
    "persona_standard": [persona(PersonaSettings()), persona(PersonaSettings(theta=THETA))],
    "persona_compact": [persona(PersonaSettings("compact")), persona(PersonaSettings("compact", theta=THETA))],
    "persona_json_standard": [persona(PersonaSettings(format="json"))],
    "persona_json_compact": [persona(PersonaSettings("compact", format="json"))],
    "memory_standard": [memory(MemorySettings())],
    "memory_compact": [memory(MemorySettings("compact"))],
    "criteria": [criteria],
    "scorecard": [scorecard],
    "generation": [generation],
    "reward_system": [reward_system],
    "few_shot_preferences": [few_shot_answer, few_shot_description],
}
"""Prompt files that show labelled pairs, with every way in which pairs come into them."""
NO_LABELS = {
    *("attributes_compact", "attributes_standard", "axes_compact", "axes_standard", "constitution", "criteria_scores"),
    *("demographics", "fidelity_compact", "fidelity_standard"),
    *("kinds_compact", "kinds_standard", "match_compact", "match_standard", "panel_compact", "panel_standard"),
    *("measured_persona", "question_kinds"),
    *("rate_query_compact", "rate_query_standard", "rate_responses_compact", "rate_responses_standard"),
    *("recovery_compact", "recovery_standard", "statement", "tags_compact", "tags_standard"),
}
"""Prompt files that show no pair whose choice is known."""
NAMED = {
    "persona_compact",
    "persona_json_compact",
    "memory_compact",
    "generation",
    "reward_system",
    "few_shot_preferences",
}
"""Prompts that show the chosen answer first and say so."""


def test_every_prompt_file_is_tested_here_or_shows_no_labelled_pair() -> None:
    files = {path.stem for path in PROMPT_DIR.glob("[!_]*.jinja")}
    assert files == set(SHOWN_IN) | NO_LABELS
    assert not set(SHOWN_IN) & NO_LABELS
    # A prompt that can be given demonstrations shows labels.
    given = re.compile(r"\{% macro \w+\([^)]*\b(?:demonstrations|labelled|label|shots)\b")
    texts = {name: (PROMPT_DIR / f"{name}.jinja").read_text("utf-8") for name in files}
    assert {name for name, text in texts.items() if given.search(text)} == set(SHOWN_IN)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(("name", "way"), [(name, way) for name, ways in SHOWN_IN.items() for way in range(len(ways))])
def test_a_prompt_calls_the_chosen_answer_chosen(name: str, way: int, swapped: bool) -> None:
    pairs = tossed(swapped)
    said = SHOWN_IN[name][way]([Demonstration(pair=one, swapped=swapped) for one in pairs])
    assert len(said) == len(pairs)
    for one in said:
        assert one.chosen.startswith("A heron stands p")
        assert one.other.startswith("A walnut rolls p")
        # The same pair: both answers end in its name.
        assert one.chosen.split()[-1] == one.other.split()[-1]
        assert (one.first == one.other) == (swapped and name not in NAMED)


@pytest.mark.parametrize("swapped", [False, True])
def test_the_librarys_demonstrations_prefer_the_chosen_answer(swapped: bool) -> None:
    made = learner([Demonstration(pair=one, swapped=swapped) for one in tossed(swapped)])
    for demo in made.get_demos():
        names = {"First": demo["first_completion"], "Second": demo["second_completion"]}
        assert names.pop(demo["preference"]).startswith("A heron stands")
        assert names.popitem()[1].startswith("A walnut rolls")
    said = placed(made.get_judge_prompt("Which?", "An otter", "A pebble"), "The user chose: ")
    assert [one.chosen[:7] for one in said] == ["A heron"] * 2


@pytest.mark.parametrize("settings", [WORDS, COMPACT_LABEL])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_traces_reasoning_stays_with_the_order_that_it_speaks_of(settings: JudgeSettings, swapped: bool) -> None:
    """The scripted judge is right, and its reasoning says what it saw first."""
    one, two = settings.labels

    def answer(request: Request) -> Response:
        asked = next(message.content for message in request.messages if message.role == "user")
        first = re.search(rf"Response {one}:\n([^\n]+)", asked)
        assert first is not None
        right = one if first[1].startswith("A heron") else two
        if request.top_logprobs:
            return scored(right, two if right == one else one)
        said = f"The one that begins with <{first[1]}>."
        return text(f"{said}\nPreference: {right}" if settings.mode == "text" else said)

    pairs, model = tossed(swapped), ScriptedModel(answer)
    traces = verified(asyncio.run(bootstrap_pairs(model, pairs, JudgeContext(), replace(BOOT, judge=settings))))
    shown = draw_candidate(UNSHUFFLED, pairs, traces, max_bootstrapped=2, max_labelled=0, salt="0")
    assert [demonstration.swapped for demonstration in shown] == [swapped] * 2
    turns = judge_messages(ASKED, False, JudgeContext(None, shown), settings)[1:-1]
    for user, assistant in zip(turns[::2], turns[1::2], strict=False):
        first = re.search(rf"Response {one}:\n([^\n]+)", user.content)
        assert first is not None
        assert f"<{first[1]}>" in assistant.content


def scored(likely: str, other: str) -> Response:
    """A label with its log-probabilities."""
    odds = TokenLogprobs(((f" {likely}", -0.1), (f" {other}", -3.0)))
    return Response(likely, "length", Usage(1, 1), logprobs=(odds,))


@pytest.mark.parametrize("swapped", [False, True])
def test_labelled_candidates_show_pairs_by_the_coin(swapped: bool) -> None:
    pairs = tossed(swapped)
    shown = draw_candidate(LABELLED, pairs, {}, max_bootstrapped=0, max_labelled=2, salt="0")
    assert [(one.swapped, one.reasoning) for one in shown] == [(swapped, None)] * 2
