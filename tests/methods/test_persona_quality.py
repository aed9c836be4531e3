"""Which personas say nothing, and what becomes of them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.models import SPEC, ScriptedModel, pair, text

from personalrm.core.records import Demonstration, PersonaFlaw, Profile
from personalrm.judge.judge import PromptStyle
from personalrm.judge.prompting import load_prompt
from personalrm.llm.types import Request, Response
from personalrm.methods.synthesizeme.persona import Induced, PersonaSettings, induce_persona
from personalrm.methods.synthesizeme.persona_quality import persona_flaw, repeated_share, words_of
from personalrm.methods.synthesizeme.theta import PersonaDemonstration, Theta
from personalrm.methods.synthesizeme.variants import REPAIRS
from personalrm.studies.config_load import parse_config
from personalrm.studies.synthesizeme.stages.learn import profile_settings

EGGS = (
    "Put the eggs into boiling water, wait for seven minutes if you like the yolk soft or ten if you like it firm, "
    "and cool them under running water so that they are easy to peel."
)
SHOWN = [Demonstration(pair=pair("a", chosen=EGGS, rejected="It depends on the egg"), swapped=False)]

GOOD = [
    "This user likes answers that are short and direct, and dislikes long introductions.",
    "This user likes answers that are easy to understand, and they also dislike answers that are difficult to read.",
    "They value step-by-step explanations with numbered lists; they avoid jokes and small talk.",
    "A careful reader who wants sources for every claim. Prefers hedged statements to confident ones. I am unsure "
    "whether tone matters.",
    "Likes warm, encouraging replies that name the person's feelings, and dislikes cold or clinical ones.",
    "This user likes answers that are not too harsh, but they also dislike answers that are too harsh.",
    "Prefers answers with code to answers without code. Dislikes answers without code.",
    "Prefers long answers over short ones. Dislikes short answers over long ones.",
    "The answers that this person liked are shorter than those they disliked, and they open with the result.",
    "This user likes too much detail rather than too little, and dislikes too little detail.",
    "Enjoys playful language, puns and pop culture; dislikes moralising, warnings and anything that sounds like a "
    "lecture. Values honesty about what an assistant cannot know.",
    "This user likes answers that disagree with them where they are wrong, and does not like flattery.",
    "Likes tea.",
    "This user likes not only facts but also stories.",
]
FOREIGN = [
    "這位使用者喜歡簡短直接的回答，不喜歡客套話和冗長的開場白。",
    "このユーザーは具体例のある短い説明を好み、長い前置きや断定的な口調を嫌います。",
    "يفضل هذا المستخدم الإجابات القصيرة والمباشرة مع أمثلة، ولا يحب المقدمات الطويلة أو المزاح.",
    "Der Nutzer mag kurze, nüchterne Antworten mit Quellen und lehnt Floskeln ab.",
    "ผู้ใช้ชอบคำตอบที่สั้นและตรงประเด็น ไม่ชอบคำนำที่ยาว",
    "Пользователь любит короткие ответы с примерами и не любит длинных вступлений.",
    "इस व्यक्ति को उदाहरणों वाले छोटे उत्तर पसंद हैं और लंबी भूमिकाएँ नापसंद हैं।",
]
BAD: list[tuple[str, PersonaFlaw]] = [
    # What SmolLM2-135M wrote about bundled users.
    (
        "This user likes answers that are not their own, and they also dislike answers that are not their own.",
        "contradiction",
    ),
    ("This user likes answers that are not only liked but also disliked.", "contradiction"),
    (
        "This user likes answers that are either very helpful or very helpful, and they also dislike answers that are "
        "very helpful or very helpful.",
        "contradiction",
    ),
    ("This user likes answers that are not just a conversation but also a conversation.", "contradiction"),
    ("This user likes answers that are too much, and they also dislike answers that are too little.", "empty"),
    # As the issue has them, and relatives.
    ("This user likes answers that the person liked with those that the person disliked.", "echo"),
    ("Write one sentence on what this person likes and one on what this person dislikes, in plain words.", "echo"),
    ("This user likes answers that are short and are also disliked.", "contradiction"),
    ("Likes short answers with lists. Does not like short answers with lists.", "contradiction"),
    ("They prefer formal answers. They dislike answers that are formal!", "contradiction"),
    ("This user likes answers that", "empty"),
    ("This user likes answers that are liked by the user and not those that are disliked.", "empty"),
    ("The preferences of this person are unclear.", "empty"),
    ("", "empty"),
    (" …", "empty"),
    ("好", "empty"),
    (f"This user likes answers that {EGGS[0].lower()}{EGGS[1:90]}", "copy"),
]


def judged(persona: str, style: PromptStyle = "compact", **more: Any) -> PersonaFlaw | None:  # noqa: ANN401
    """The flaw of a persona that the model wrote about `SHOWN`."""
    model = ScriptedModel(lambda _: text(persona))
    return asyncio.run(induce_persona(model, SHOWN, PersonaSettings(style, 256, **more))).flaw


@pytest.mark.parametrize("persona", [*GOOD, *FOREIGN])
@pytest.mark.parametrize("style", ["standard", "compact"])
def test_a_persona_that_says_something_is_taken_at_once(persona: str, style: PromptStyle) -> None:
    model = ScriptedModel(lambda _: text(persona.removeprefix("This user likes answers that ")))
    induced = asyncio.run(induce_persona(model, SHOWN, PersonaSettings(style, 256)))
    assert (induced.flaw, induced.events, len(model.requests)) == (None, (), 1)


@pytest.mark.parametrize("persona", [*GOOD, *FOREIGN])
def test_the_same_in_json_is_taken_too(persona: str) -> None:
    assert judged(json.dumps({"likes": [persona], "dislikes": [], "unsure": []}), "standard", format="json") is None


@pytest.mark.parametrize(("persona", "flaw"), BAD)
def test_a_persona_that_says_nothing_is_recognised(persona: str, flaw: PersonaFlaw) -> None:
    start = "This user likes answers that"
    instruction = "\n".join(m.content for m in load_prompt("persona_compact").messages(demonstrations=()))
    assert persona_flaw(persona, instruction=instruction, start=start, sources=[EGGS]) == flaw


@pytest.mark.parametrize(("persona", "flaw"), BAD)
def test_the_check_knows_the_prompt_that_was_sent(persona: str, flaw: PersonaFlaw) -> None:
    written = persona.removeprefix("This user likes answers that")
    assert written == persona or judged(written) == flaw


@pytest.mark.parametrize(
    ("fields", "flaw"),
    [
        ({"likes": ["short answers"], "dislikes": ["Short answers."]}, "contradiction"),
        ({"likes": ["簡短的回答", "笑話"], "dislikes": ["簡短的回答"]}, "contradiction"),
        (
            {"likes": ["short answers", "lists"], "dislikes": ["jokes", "lists", "rude words", "tables"]},
            "contradiction",
        ),
        ({"likes": ["short answers", "lists", "tea"], "dislikes": ["jokes", "lists", "rude words"]}, None),
        ({"likes": ["short answers"], "dislikes": ["long answers"]}, None),
        ({"likes": ["what this person values"], "dislikes": ["what this person avoids"]}, "empty"),
        ({"likes": ["…"], "dislikes": ["…"]}, "empty"),
        ({"likes": [], "dislikes": []}, "empty"),
        ({"likes": [EGGS], "dislikes": []}, "copy"),
    ],
)
def test_json_is_read_by_its_fields(fields: dict[str, list[str]], flaw: PersonaFlaw | None) -> None:
    assert judged(json.dumps(fields | {"unsure": []}), "standard", format="json") == flaw


def test_an_instruction_or_a_persona_of_a_theta_is_no_persona() -> None:
    persona = "Values plain talk, dry wit and sources, and turns away from anything that smells of a sales pitch."
    theta = Theta("t", "Name the habits and the hopes of the person whom these judgements describe.")
    shown = PersonaDemonstration((SHOWN[0],), persona)
    with_demonstration = Theta("t", theta.instruction, (shown,))
    assert judged(persona, "standard", theta=with_demonstration) == "copy"
    assert judged(persona, "standard", theta=theta) is None
    assert (
        judged("The habits and the hopes of the person whom these judgements describe.", "standard", theta=theta)
        == "echo"
    )
    assert judged("The habits and the hopes of the person whom these judgements describe.", "standard") is None


def answers(*personas: str) -> Any:  # noqa: ANN401
    """Answers by the number of the sample."""

    def answer(request: Request) -> Response:
        return text(personas[request.sample_index])

    return answer


ECHO = "The person likes comparing the answers that the person liked with those that the person disliked."
CLASH, FINE = "Likes long answers. Dislikes long answers.", "Likes brevity."


def test_a_flawed_persona_is_sampled_again_at_the_temperature_with_a_seed_and_the_first_good_one_taken() -> None:
    model = ScriptedModel(answers("", CLASH, FINE, "Likes lists."))
    induced = asyncio.run(induce_persona(model, SHOWN, PersonaSettings("standard", 64, attempts=4, temperature=0.6)))
    said = "persona sampled again, for attempts that said nothing: empty, contradiction"
    assert induced == Induced(FINE, (said,), None)
    how = [(request.temperature, request.seed, request.sample_index) for request in model.requests.values()]
    assert how == [(0.0, 0, 0), (0.6, 1, 1), (0.6, 2, 2)]
    assert len({request.messages for request in model.requests.values()}) == 1


@pytest.mark.parametrize(
    ("personas", "kept", "flaw"),
    [
        (("", CLASH, "  "), CLASH, "contradiction"),
        ((CLASH, "Likes lists. Dislikes lists.", ""), CLASH, "contradiction"),
        ((ECHO, "", "It is likes."), ECHO, "echo"),
        (("", "", ""), None, "empty"),
    ],
)
def test_where_nothing_better_comes_the_least_bad_is_kept_and_marked(
    personas: tuple[str, ...], kept: str | None, flaw: PersonaFlaw
) -> None:
    compact = PersonaSettings("standard", 64, attempts=3, theta=Theta("t", ECHO.removeprefix("The person likes ")))
    model = ScriptedModel(answers(*personas))
    induced = asyncio.run(induce_persona(model, SHOWN, compact))
    assert (induced.persona, induced.flaw, len(model.requests)) == (kept, flaw, 3)
    assert induced.events[-1] == f"the persona says nothing: {flaw} (attempts: 3)"


def test_the_shortened_input_is_sampled_again_as_it_was_sent() -> None:
    shown = [Demonstration(pair=pair(f"{n} " + "word " * 150), swapped=False) for n in range(8)]
    model = ScriptedModel(answers(CLASH, FINE), context_length=1000)
    induced = asyncio.run(induce_persona(model, shown, PersonaSettings("standard", 64)))
    one, other = model.requests.values()
    assert one.messages == other.messages
    assert induced.events[0].startswith("persona input shortened by ")


@pytest.mark.parametrize(
    ("variant", "attempts"),
    [
        ("corrected", 5),
        ("as_published", 1),
        ("corrected-without-persona_check", 1),
        ("as_published-with-persona_check", 5),
    ],
)
def test_the_repair_is_switched_alone(variant: str, attempts: int) -> None:
    learn = {"models": ["m"], "persona": {"attempts": 5}, "bootstrap": {"temperature": 0.4}}
    config = parse_config(
        {"run": "r", "datasets": {"d": {"path": "v"}}, "models": {"m": {"model": "gpt"}}, "learn": learn}
    )
    settings = profile_settings(config, "m", variant).persona
    assert (settings.attempts, settings.temperature) == (attempts, 0.4)
    assert "persona_check" in REPAIRS


def test_without_the_repair_a_flawed_persona_is_kept_at_once_and_still_marked() -> None:
    model = ScriptedModel(answers(CLASH, FINE))
    induced = asyncio.run(induce_persona(model, SHOWN, PersonaSettings("standard", 64, attempts=1)))
    assert (induced.persona, induced.flaw, len(model.requests)) == (CLASH, "contradiction", 1)


def test_only_a_profile_whose_persona_says_nothing_has_the_field() -> None:
    base = {
        "dataset": "d",
        "user_id": "u",
        "model": SPEC.name,
        "variant": "corrected",
        "k": "all",
        "draw": 0,
        "status": "ok",
    }
    assert "persona_flaw" not in Profile.model_validate(base).model_dump_json()
    assert '"persona_flaw":"echo"' in Profile.model_validate(base | {"persona_flaw": "echo"}).model_dump_json()


@given(st.text(), st.text(), st.lists(st.text(), max_size=2), st.booleans())
def test_any_text_has_an_answer(persona: str, instruction: str, sources: list[str], is_json: bool) -> None:
    assert persona_flaw(persona, instruction=instruction, sources=sources, is_json=is_json) in (
        None,
        "empty",
        "echo",
        "contradiction",
        "copy",
    )


@given(st.lists(st.sampled_from("abcdef"), max_size=12), st.lists(st.sampled_from("abcdef"), max_size=12))
def test_repeated_words_are_those_of_common_runs(words: list[str], source: list[str]) -> None:
    """Against every common run, by brute force."""
    joined = " " + " ".join(source) + " "
    found = {
        place
        for begin in range(len(words))
        for end in range(begin + 3, len(words) + 1)
        if " " + " ".join(words[begin:end]) + " " in joined
        for place in range(begin, end)
    }
    assert repeated_share(words, source, 3) == (len(found) / len(words) if words else 0.0)


def test_characters_are_words_where_none_are_written_and_runs_are_longer() -> None:
    text = "喜歡簡短直接的回答不喜歡客套話"
    assert words_of(text) == list(text)
    assert repeated_share(words_of(text), words_of(f"他說{text}對"), 5) == 1.0
    assert repeated_share(words_of(text), words_of(text[:9]), 5) == 0.0
