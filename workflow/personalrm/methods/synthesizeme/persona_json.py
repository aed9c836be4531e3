"""Personas as JSON, for the ablation's persona format: what is asked for, how the answer is read, how it is shown.

The paper reports that personas in plain text did better than in JSON, whose axes differ from user to user; neither its
fields nor its prompt are published. Ours have no fixed axes: lists of short statements, on what the text prompts ask
about, so that the format is all that differs. A persona stays a text: JSON in one spelling, which judges are shown.
"""

from __future__ import annotations

import json

from personalrm.core.files import canonical_json
from personalrm.judge.judge import PromptStyle
from personalrm.judge.parsing import sentences
from personalrm.llm.backends.openai_format import wire_text

FIELDS: dict[PromptStyle, tuple[str, ...]] = {
    "standard": ("likes", "dislikes", "unsure"),
    "compact": ("likes", "dislikes"),
}
"""Fields by prompt style, in the order in which they are asked for and shown."""
NO_OBJECT = "the model wrote no JSON object of the stated fields: its text is kept as the persona"
"""Event of a persona that could not be read."""


def json_schema(style: PromptStyle) -> str:
    """Schema of a persona, for models that can be held to one: each field a list of statements, and no other field."""
    statements = {"type": "array", "items": {"type": "string"}}
    return canonical_json(
        {
            "type": "object",
            "properties": dict.fromkeys(FIELDS[style], statements),
            "required": list(FIELDS[style]),
            "additionalProperties": False,
        }
    )


def canonical_persona(text: str, style: PromptStyle) -> str | None:
    r"""The persona in `text` in its one spelling, empty where it states nothing; None if it is none of the style's.

    Text before the first brace and after the last is ignored: models often fence their JSON.

    >>> canonical_persona('```json\n{"dislikes": [], "likes": [" short\n answers "]}\n```', "compact")
    '{"likes": ["short answers"], "dislikes": []}'
    >>> canonical_persona('{"likes": [""], "dislikes": []}', "compact")
    ''
    >>> canonical_persona('{"likes": "short answers"}', "compact") is None
    True
    """
    found = persona_fields(text[text.find("{") : text.rfind("}") + 1])
    if found is None or set(found) != set(FIELDS[style]):
        return None
    if not any(found.values()):
        return ""
    return json.dumps({name: found[name] for name in FIELDS[style]}, ensure_ascii=False)


def statements(persona: str) -> tuple[str, ...]:
    """What a persona says, one thing each: sentences of a text; statements of JSON, each behind its field's name.

    >>> statements('{"likes": ["tea. And milk"], "dislikes": []}')
    ('likes: tea. And milk',)
    >>> statements("Likes tea. Dislikes milk.")
    ('Likes tea.', 'Dislikes milk.')
    """
    found = persona_fields(persona)
    if found is None:
        return sentences(persona)
    return tuple(f"{name}: {statement}" for name, said in found.items() for statement in said)


def persona_fields(text: str) -> dict[str, list[str]] | None:
    """Field to statements, blanks in them made single; None for all that is no object of lists of texts."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not all(isinstance(said, list) for said in value.values()):
        return None
    if not all(isinstance(statement, str) for said in value.values() for statement in said):
        return None
    # JSON may name half a character, which no file can hold.
    plain = {name: [" ".join(wire_text(statement).split()) for statement in said] for name, said in value.items()}
    return {name: [statement for statement in said if statement] for name, said in plain.items()}
