"""Every JSON schema that models are sent is one that OpenAI's strict mode takes; the scripted server refuses others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.strict_schemas import strict_problem

from personalrm.judge.attribute_bank import load_bank
from personalrm.judge.attributes import ratings_schema
from personalrm.judge.question_kinds import kinds_schema
from personalrm.methods.scorecard import scorecard_schema
from personalrm.methods.synthesizeme.persona_json import json_schema

SENT = {
    "ratings": ratings_schema(load_bank()),
    "kinds": kinds_schema(),
    "scorecard": scorecard_schema(),
    "persona standard": json_schema("standard"),
    "persona compact": json_schema("compact"),
}
CLOSED: dict[str, Any] = {"type": "object", "additionalProperties": False}
TEXT = {"type": "string"}


@pytest.mark.parametrize("name", SENT)
def test_strict_mode_takes_what_is_sent(name: str) -> None:
    assert strict_problem(json.loads(SENT[name])) is None


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "object", "additionalProperties": TEXT}, "'additionalProperties' is required"),
        ({"type": "object"}, "'additionalProperties' is required"),
        (CLOSED | {"properties": {"a": TEXT}}, "'required' must name"),
        (CLOSED | {"properties": {"a": {"type": "array", "items": {"type": "object"}}}, "required": ["a"]}, "is req"),
        (CLOSED | {"properties": {"a": {}}, "required": ["a"]}, "has no type"),
        (CLOSED | {"allOf": [TEXT]}, "not permitted"),
        ({"type": "array", "items": TEXT}, "the root must be an object"),
    ],
)
def test_what_strict_mode_refuses(schema: dict[str, Any], problem: str) -> None:
    assert problem in str(strict_problem(schema))
