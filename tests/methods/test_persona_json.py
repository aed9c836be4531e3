"""Personas as JSON: what is asked for, what is read, and what becomes of an answer that is none."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.models import ScriptedModel, pair, text

from personalrm.core.errors import ConfigError
from personalrm.core.records import Demonstration
from personalrm.judge.judge import PromptStyle
from personalrm.methods.synthesizeme.persona import Induced, PersonaSettings, induce_persona
from personalrm.methods.synthesizeme.persona_json import FIELDS, NO_OBJECT, canonical_persona, json_schema, statements
from personalrm.methods.synthesizeme.variants import ALL, parse_variant
from personalrm.studies.config_load import parse_config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.learn import profile_settings

SHOWN = [Demonstration(pair=pair("a"), swapped=False)]
STYLES: tuple[PromptStyle, ...] = ("standard", "compact")


def induced(answer: str, style: PromptStyle = "standard", finish_reason: str = "stop") -> Induced:
    model = ScriptedModel(lambda _: text(answer, finish_reason=finish_reason))
    return asyncio.run(induce_persona(model, SHOWN, PersonaSettings(style, 64, format="json")))


def test_a_persona_in_json_has_one_spelling_whatever_the_model_wrote() -> None:
    said = '{\n "unsure": [],\n "dislikes": ["long\\nlists "], "likes": ["caf\\u00e9 talk", " "]}'
    one = '{"likes": ["café talk"], "dislikes": ["long lists"], "unsure": []}'
    assert induced(said) == Induced(one, ())
    assert induced(f"Here it is:\n```json\n{said}\n```\nAnything else?") == Induced(one, ())


@pytest.mark.parametrize(
    "answer",
    [
        "Likes tea.",
        '{"likes": ["tea"], "dislikes": []}',
        '{"likes": ["tea"], "dislikes": [], "unsure": [], "age": []}',
        '{"likes": "tea", "dislikes": [], "unsure": []}',
        '{"likes": [1], "dislikes": [], "unsure": []}',
        '{"likes": ["tea"], "dislikes": ["mi',
        '["tea"]',
        "}{",
        '{"likes":' * 5000 + "}",
    ],
)
def test_what_is_no_such_object_is_kept_as_text_and_recorded(answer: str) -> None:
    persona, events, _ = induced(answer)
    assert (persona, events[0]) == (answer, NO_OBJECT)


def test_a_text_that_was_cut_off_loses_its_last_sentence_and_an_empty_one_is_no_persona() -> None:
    assert induced("Likes tea. Dislikes lo", finish_reason="length") == Induced("Likes tea.", (NO_OBJECT,))
    empty = ("the model wrote an empty persona", "the persona says nothing: empty (attempts: 3)")
    assert induced('{"likes": [], "dislikes": [" "]}', "compact") == Induced(None, empty, "empty")
    assert induced("  ") == Induced(None, empty, "empty")


@pytest.mark.parametrize("style", STYLES)
def test_the_prompt_names_the_fields_and_the_request_has_their_schema(style: PromptStyle) -> None:
    model = ScriptedModel(lambda _: text("Likes tea."))
    for made in (PersonaSettings(style, 64, format="json"), PersonaSettings(style, 64)):
        asyncio.run(induce_persona(model, SHOWN, made))
    as_json, as_text = model.requests.values()
    assert as_text.json_schema is None
    assert as_json.json_schema == json_schema(style)
    schema = json.loads(json_schema(style))
    assert set(schema["properties"]) == set(schema["required"]) == set(FIELDS[style])
    assert all(f'"{name}":' in as_json.messages[-1].content for name in FIELDS[style])
    assert "GOOD a" in as_json.messages[-1].content
    assert as_json.messages[-1].role == "user"


objects = st.fixed_dictionaries(dict.fromkeys(FIELDS["standard"], st.lists(st.text())))


@given(objects)
def test_a_spelling_is_its_own_spelling_and_can_be_stored(value: dict[str, list[str]]) -> None:
    once = canonical_persona(json.dumps(value), "standard")
    assert once is not None
    assert once.encode("utf-8").decode("utf-8") == once
    if once:
        assert canonical_persona(once, "standard") == once
        assert len(statements(once)) == sum(bool(s.split()) for said in value.values() for s in said)


def test_half_a_character_is_replaced() -> None:
    assert canonical_persona(r'{"likes": ["\ud83d"], "dislikes": []}', "compact") == '{"likes": ["�"], "dislikes": []}'


def test_the_variant_alone_switches_the_format() -> None:
    variant = parse_variant("corrected+json")
    assert (variant.repairs, variant.theta, variant.persona_format) == (ALL, None, "json")
    raw = {"run": "r", "datasets": {"d": {"path": "votes"}}, "models": {"m": {"model": "openai/x"}}}
    raw |= {"variants": ["corrected", "corrected+json"], "learn": {"models": ["m"]}}
    config = parse_config(raw)
    text_form, json_form = (profile_settings(config, "m", name).persona for name in config.variants)
    assert (text_form.format, json_form.format) == ("text", "json")
    assert text_form.prompt.name == "persona_standard"
    one, two = (json.loads(Plan(config).reads("profile", model="m", variant=name)) for name in config.variants)
    assert one["prompts"] != two["prompts"]
    with pytest.raises(ConfigError, match=r"thetas.json: .* another name"):
        parse_config(raw | {"thetas": {"json": {"path": "x.json"}}})
