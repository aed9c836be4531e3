"""What models learn from pairs with personas, and how they are asked for answers: texts by hand."""

from __future__ import annotations

import pytest

from personalrm.core.persona_pairs import PersonaPair
from personalrm.personas.tailored import (
    TrainType,
    answer_messages,
    asked,
    begun,
    continued_text,
    laid_out,
    lessons,
)

CURT, KIND = "The user is curt and prefers orders.", "The user is gentle and prefers care."
PAIR = PersonaPair(
    dataset="d",
    pair_id="sft_train-0",
    split="sft_train",
    prompt="Why?",
    chosen="Because.",
    rejected="Ah, dear.",
    gold={"chosen": CURT, "rejected": KIND},
)
WITH_CURT, WITH_KIND = (f"Prompt: Why?\nPersona: {persona}\nResponse:" for persona in (CURT, KIND))


@pytest.mark.parametrize(
    ("train", "wanted"),
    [
        ("chosen", [(WITH_CURT, " Because.", " Ah, dear.")]),
        ("rejected", [(WITH_KIND, " Ah, dear.", " Because.")]),
        ("all", [(WITH_CURT, " Because.", " Ah, dear."), (WITH_KIND, " Ah, dear.", " Because.")]),
        ("none", [("Prompt: Why?\nResponse:", " Because.", " Ah, dear.")]),
    ],
)
def test_rows_of_each_training_type(train: TrainType, wanted: list[tuple[str, str, str]]) -> None:
    found = list(lessons([PAIR], train))
    # Supervised texts have the response, and prompts of preference optimisation do not: the published code at its head
    # has it the other way round.
    assert [one.choice for one in found] == wanted
    assert [one.text for one in found] == [(prompt, target) for prompt, target, _ in wanted]


def test_a_side_without_its_persona_or_response_is_not_learned() -> None:
    lacking = PAIR.model_copy(update={"gold": {"rejected": KIND}})
    assert [one.target for one in lessons([lacking], "all")] == ["Ah, dear."]
    assert not list(lessons([lacking], "chosen"))
    assert len(list(lessons([lacking], "none"))) == 1
    assert not list(lessons([PAIR.model_copy(update={"chosen": ""})], "none"))


def test_a_model_that_learned_without_personas_is_told_one_in_the_first_person() -> None:
    assert asked("Why?", CURT, "none") == ("Why? I am curt and prefers orders.", "")
    assert asked("Why?", "", "none") == ("Why?", "")
    assert {asked("Why?", CURT, train) for train in ("chosen", "rejected", "all")} == {("Why?", CURT)}


def test_examples_stand_before_what_is_asked_with_their_responses() -> None:
    found = continued_text(("How?", KIND), list(lessons([PAIR, PAIR], "chosen")))
    example = f"{WITH_CURT} Because."
    assert found == f"{example}\n\n{example}\n\nPrompt: How?\nPersona: {KIND}\nResponse:"
    assert continued_text(("How?", ""), []) == laid_out("How?") == "Prompt: How?\nResponse:"
    messages = answer_messages(("How?", KIND), list(lessons([PAIR], "chosen")), "a question")
    assert [(one.role, one.content) for one in messages[1:]] == [
        ("user", f"Prompt: Why?\nPersona: {CURT}"),
        ("assistant", "Because."),
        ("user", f"Prompt: How?\nPersona: {KIND}"),
    ]
    assert "a question" in messages[0].content
    plain = answer_messages(("How?", ""), [], "a question")
    assert plain[-1].content == "Prompt: How?"


def test_a_mnemonic_begins_with_its_term() -> None:
    start = begun(PAIR.model_copy(update={"prompt": "lugubrious"}), "mnemonic")
    assert start == "Lugubrious sounds like"
    assert continued_text(("lugubrious", ""), [], start) == "Prompt: lugubrious\nResponse: Lugubrious sounds like"
    assert begun(PAIR, "beavertails") == ""
