"""Fields of a row: the types that readers declare their rows with, and errors that say where, what and what to do.

A reader declares a row as a pydantic model of these types (`SoundRow`) and calls `checked`; of all that is wrong with a
row, the first fault in the order of the model's fields is raised as a `FieldError`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

Row = Mapping[str, object]

_EXACT = 2**53
"""From here on not every whole number is a floating-point number."""
BRANCHES = ("<text>", "<object>")
"""Tags of the branches of a union, which are no part of a field's path."""


class FieldError(ValueError):
    """A field of a row is wrong. `field` is its path in the row, `advice` what to do about it.

    Validators raise it, too. They may leave `field` empty, which means the field that they are called for.
    """

    def __init__(self, field: str, problem: str, advice: str) -> None:
        super().__init__(problem)
        self.field = field
        self.advice = advice


class SoundRow(BaseModel):
    """A row, or an object in it: types are strict, and fields that are not declared are passed over."""

    model_config = ConfigDict(strict=True)


@dataclass(frozen=True)
class Advice:
    """What to do about a wrong field.

    `by_field` maps the last name of a field's path to advice, `expected` to the words for its right values; `otherwise`
    is for all other fields. `missing` is the problem and the advice for a field that is not there.
    """

    otherwise: str
    missing: tuple[str, str] = ("is missing", "add it to the row")
    by_field: Mapping[str, str] = field(default_factory=dict)
    expected: Mapping[str, str] = field(default_factory=dict)


R = TypeVar("R", bound=BaseModel)


def checked(model: type[R], row: Row, advice: Advice) -> R:
    """The row as `model`. Raises FieldError for the first thing that is wrong."""
    try:
        return model.model_validate(row)
    except ValidationError as error:
        # The causes are cut off: they repeat the row.
        raise _first(error.errors(include_url=False)[0], advice) from None


def _first(found: Any, advice: Advice) -> FieldError:  # noqa: ANN401
    path = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in found["loc"] if part not in BRANCHES
    ).removeprefix(".")
    name = next((part for part in reversed(found["loc"]) if isinstance(part, str) and part not in BRANCHES), "")
    todo = advice.by_field.get(name, advice.otherwise)
    own = found.get("ctx", {}).get("error")
    if isinstance(own, FieldError):
        return FieldError(own.field or path, str(own), own.advice or todo)
    if found["type"] == "missing":
        return FieldError(path, *advice.missing)
    value = found["input"]
    expected = advice.expected.get(name) or _EXPECTED.get(found["type"]) or found.get("ctx", {}).get("expected", "")
    return FieldError(path, f"is {shown(value)}, not {expected or 'what the format asks for'}", todo)


_EXPECTED = {
    "string_type": "a string",
    "list_type": "a list",
    "too_short": "a list with something in it",
    "dict_type": "an object",
    "model_type": "an object",
    "bool_type": "true or false",
    "int_type": "a whole number",
}


def shown(value: object) -> str:
    """A value in a message: short, as JSON if it is not text.

    >>> shown("a" * 60), shown(None), shown([True])
    ("'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...", 'null', '[true]')
    """
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:37]}..."


def utf8(value: str, field: str = "", advice: str = "") -> str:
    """The text, if UTF-8 can hold it. Raises FieldError if not."""
    lone = None if value.isascii() else re.search("[\ud800-\udfff]", value)
    if lone:
        where = f"\\u{ord(lone[0]):04x}, character {lone.start()}"
        problem = f"holds half of a surrogate pair ({where}), which no UTF-8 file can hold"
        raise FieldError(field, problem, advice)
    return value


@contextmanager
def fields_named(names: Mapping[str, str]) -> Iterator[None]:
    """Name the release's field in a FieldError about a row that was put into the local format first."""
    try:
        yield
    except FieldError as error:
        name = re.split(r"\W", error.field, maxsplit=1)[0]
        raise FieldError(names.get(name, name) + error.field[len(name) :], str(error), error.advice) from error


def _spoken(value: str) -> str:
    if not value or value.isspace():
        raise FieldError("", "is empty or blank", "")
    return value


def _id_text(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        if abs(value) >= _EXACT:
            problem = f"is {shown(value)}, a number of floating point that may have lost digits"
            raise FieldError("", problem, "write ids as strings")
        return str(int(value))
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Text = Annotated[str, AfterValidator(utf8)]
"""Text exactly as it is; UTF-8 can hold it."""
Spoken = Annotated[Text, AfterValidator(_spoken)]
"""Text that is not blank."""
Id = Annotated[Spoken, BeforeValidator(_id_text)]
"""A string that is not blank, or a whole number (7, or 7.0), which becomes its decimal form."""
Number = Annotated[int, Field(ge=0, lt=2**31), BeforeValidator(_whole)]
"""A whole number from 0 (7, or 7.0)."""
