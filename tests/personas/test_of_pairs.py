"""What a model is shown of a pair: worked examples whose answers are right, and both orders."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from personalrm.core.persona_pairs import SIDES, PersonaPair
from personalrm.data.pair_sets import PairSet
from personalrm.judge.judge import JudgeSettings
from personalrm.judge.prompting import load_prompt
from personalrm.llm.types import Message
from personalrm.personas.of_pairs import FOLDER, PairQuestion, PersonaQuestion, accuracy_messages, persona_request

PAIR = PersonaPair(dataset="d", pair_id="p", split="s", prompt="Q", chosen="right", rejected="left")
DATA = get_args(PairSet.model_fields["prompt"].annotation)


def examples(data: str) -> list[dict[str, str]]:
    """The worked examples of a prompt file."""
    found: list[dict[str, str]] = load_prompt(data, FOLDER).value("examples")
    return found


def turns(messages: tuple[Message, ...]) -> list[tuple[str, str]]:
    """Questions and answers of the worked examples."""
    shown = [message.content for message in messages[1:-1]]
    return list(zip(shown[::2], shown[1::2], strict=True))


@pytest.mark.parametrize("data", DATA)
def test_each_worked_persona_is_of_the_preferred_response_and_both_sides_are_shown(data: str) -> None:
    request = persona_request(PAIR, "rejected", PersonaQuestion(data))
    sides = []
    for one, (asked, persona) in zip(examples(data), turns(request.messages), strict=True):
        (side,) = (side for side in SIDES if f"Preferred response:\n{one[side]}\n\nOther response:" in asked)
        assert persona == one[f"{side}_persona"]
        sides.append(side)
    assert sorted(sides) == ["chosen"] * 3 + ["rejected"] * 2
    assert "Preferred response:\nleft\n\nOther response:\nright" in request.messages[-1].content
    assert request.stop == ("\nPrompt:",)


@pytest.mark.parametrize("data", DATA)
def test_each_worked_judgment_names_the_response_of_the_personas_owner(data: str) -> None:
    messages = accuracy_messages(PAIR, "somebody", PairQuestion(JudgeSettings(), data), first="rejected")
    seen = set()
    for one, (asked, said) in zip(examples(data), turns(messages), strict=True):
        (owner,) = (side for side in SIDES if f"The person: {one[f'{side}_persona']}\n" in asked)
        (first,) = (side for side in SIDES if f"Response First:\n{one[side]}\n\nResponse Second:" in asked)
        assert said == f"Preference: {'First' if owner == first else 'Second'}"
        seen.add((owner, said))
    # Neither a side nor a place is always right.
    assert len(seen) == 4
    # The question has the texts and nothing that tells which is the chosen one.
    assert re.fullmatch(
        r"Prompt:\nQ\n\nResponse First:\nleft\n\nResponse Second:\nright\n\nThe person: somebody\n\n.*\?",
        messages[-1].content,
    )
