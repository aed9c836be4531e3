"""What OpenAI's strict mode refuses in a JSON schema (its guide to structured outputs, "Supported schemas")."""

from __future__ import annotations

from typing import Any

REFUSED = frozenset(
    {"allOf", "not", "dependentRequired", "dependentSchemas", "if", "then", "else", "patternProperties"}
)


def strict_problem(schema: Any, root: bool = True) -> str | None:  # noqa: ANN401 - JSON
    """Why strict mode refuses a schema; None where it takes it.

    >>> strict_problem({"type": "object", "additionalProperties": {"type": "string"}})
    "'additionalProperties' is required to be supplied and to be false"
    >>> strict_problem({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False})
    "'required' must name every key of 'properties'"
    >>> one = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    >>> strict_problem({**one, "additionalProperties": False}) is None
    True
    """
    if not isinstance(schema, dict) or not {"type", "anyOf", "$ref"} & schema.keys():
        return f"{schema!r} has no type"
    if root and schema.get("type") != "object":
        return "the root must be an object"
    if refused := REFUSED & schema.keys():
        return f"{sorted(refused)} are not permitted"
    inner = [*schema.get("anyOf", ()), *schema.get("$defs", {}).values()]
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            return "'additionalProperties' is required to be supplied and to be false"
        if set(schema.get("required", ())) != set(schema.get("properties", {})):
            return "'required' must name every key of 'properties'"
        inner += schema.get("properties", {}).values()
    if schema.get("type") == "array":
        inner.append(schema.get("items"))
    return next((problem for one in inner if (problem := strict_problem(one, root=False))), None)
