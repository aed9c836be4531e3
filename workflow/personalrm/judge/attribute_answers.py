"""From a model's words to its ratings of attributes. A pure function, so that stored answers can be read again."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from personalrm.judge.own_words import own_words
from personalrm.judge.parsing import json_objects

SCALE = 2.0
"""Ratings go from minus this to plus this."""
_NAMES, _VALUES = ("id", "name", "property", "attribute", "key"), ("score", "rating", "value", "number")
"""Keys under which models put an attribute and its rating, where each attribute has an object of its own. The first
that is there counts: a `number` may be that of the attribute."""
_OF_ONE_RESPONSE = re.compile(r"(?:the_)?(?:(?:response|answer)_)?(?:first|second|1st|2nd|[ab])(?:_response|_answer)?")
"""Keys under which models rate one response by itself, which says nothing of the difference of both."""
_SIGNS = str.maketrans("−–＋", "--+")
_NUMBER = r"[+-]?\d+(?:\.\d+)?"
_ALONE = r"(?![\w%/]|[.,]\d|\s*(?:or|to|and|[-–/])\s*[+-]?\d)"
"""What follows a rating is neither more of a number nor a second one."""
_BEGUN = re.compile(rf"\s*(?P<rating>{_NUMBER}){_ALONE}")
_SIDE = re.compile(
    r"[^\S\n]*[(\[|=:,—-]*[^\S\n]*(?:(?:clearly|rather|slightly|somewhat|strongly|the|for|favou?rs)\s+){0,3}"
    r"(?P<side>first|second)\b(?:\s+response)?[^\S\n]*(?:[)\],.;|\"'*]|$)",
    re.IGNORECASE | re.MULTILINE,
)
"""The response that words behind a rating name."""


def parse_ratings(text: str, names: Sequence[str], *, cut: bool = False) -> dict[str, float]:
    r"""Ratings from -2 to 2 of the attributes `names`, in their order; without those that the text does not rate.

    Read are JSON objects anywhere in the text (an attribute's name or number as key, or both values of one object); or
    else, outside of them, pairs such as `warm: +1`, or else lines such as `2. -1` with the attribute's number. Of an
    attribute the last rating counts. A number outside the scale is no rating: it is not cut to the scale, because a
    model that writes 7 uses another one. Nor is one whose sign contradicts the words behind it, or one of a response
    by itself. Nothing counts in thinking and in quotations, and in a text that was `cut` at the token limit its last
    number does not. Never raises.

    >>> parse_ratings('So:\n```json\n{"warm": 1, "Long Text": "-2", "odd": 3}\n```', ["warm", "long_text", "odd"])
    {'warm': 1.0, 'long_text': -2.0}
    >>> parse_ratings("1. warm: +1\n- **odd**: 0.5 (alike)", ["warm", "odd"]), parse_ratings("2: -1", ["a", "b"])
    ({'warm': 1.0, 'odd': 0.5}, {'b': -1.0})
    >>> parse_ratings('{"warm": 1, "odd": -', ["warm", "odd"], cut=True), parse_ratings("warm: 1 or 2", ["warm"])
    ({'warm': 1.0}, {})
    """
    words = own_words(text)
    if words is None or not names:
        return {}
    said = words.unquoted.translate(_SIGNS).rstrip()
    known, found = _known(names) | {_key(name): name for name in names}, dict[str, float]()
    outside, place = "", 0
    for value, start, end in json_objects(said):
        with contextlib.suppress(RecursionError):
            found |= _in_value(value, known)
        outside, place = f"{outside}{said[place:start]} ", end
    outside += said[place:]
    found = found or dict(_by_name(outside, names, cut)) or dict(_by_number(outside, names, cut))
    return {name: found[name] for name in names if name in found}


def _known(names: Sequence[str]) -> dict[str, str]:
    """Names by their numbers in the prompt."""
    return {str(number): name for number, name in enumerate(names, start=1)}


def _in_value(value: Any, known: dict[str, str]) -> Iterator[tuple[str, float]]:  # noqa: ANN401 - JSON
    if isinstance(value, list):
        for item in value:
            yield from _in_value(item, known)
    if not isinstance(value, dict):
        return
    called = [key for key in (_key(value.get(name)) for name in _NAMES) if key in known]
    # A name counts before a number: some count from 0.
    for key, inside in (*((key, value) for key in sorted(called, key=str.isdigit)[:1]), *value.items()):
        name = _key(key)
        if name in known:
            # A rating, or an object with the rating and its reason.
            given = next((inside[of] for of in _VALUES if of in inside), None) if isinstance(inside, dict) else inside
            rating = _rating(given)
            if rating is not None:
                yield known[name], rating
        elif not _OF_ONE_RESPONSE.fullmatch(name):
            yield from _in_value(inside, known)


def _by_name(said: str, names: Sequence[str], cut: bool) -> Iterator[tuple[str, float]]:
    """Ratings that stand behind a name and a colon, an equals sign or a bar."""
    known = {_key(name): name for name in names}
    spelled = "|".join(re.escape(name).replace("_", "[_ -]") for name in sorted(names, key=len, reverse=True))
    pattern = rf"(?<![\w-])(?P<name>{spelled})(?![\w-])[\"'`*]*\s?(?:\([^()\n]{{0,150}}\))?[\"'`*\s]{{0,5}}[:=|]"
    pattern += rf"[\"'`*\s|]{{0,5}}(?P<rating>{_NUMBER}){_ALONE}"
    yield from _matches(re.finditer(pattern, said, re.IGNORECASE), said, known, cut)


def _by_number(said: str, names: Sequence[str], cut: bool) -> Iterator[tuple[str, float]]:
    """Ratings that stand behind an attribute's number at the start of a line."""
    known = _known(names)
    pattern = (
        rf"^[ \t|*`]*(?:[-*•][ \t]+)?[*`]*(?P<name>\d{{1,3}})(?:(?P<item>[.)])(?=\s)|\s?[:=|])[ \t|*`]*"
        # "1. 2 responses" begins a sentence.
        rf"(?P<rating>{_NUMBER}){_ALONE}(?(item)(?!\s*[^\W\d_]))"
    )
    yield from _matches(re.finditer(pattern, said, re.MULTILINE), said, known, cut)


def _matches(
    found: Iterator[re.Match[str]], said: str, known: dict[str, str], cut: bool
) -> Iterator[tuple[str, float]]:
    for match in found:
        name, rating = known.get(_key(match["name"])), _rating(said, match.start("rating"))
        if name and rating is not None and not (cut and match.end() == len(said)):
            yield name, rating


def _key(name: object) -> str:
    """A name in the one spelling in which names are compared; empty for what is no name."""
    if isinstance(name, bool) or not isinstance(name, str | int):
        return ""
    return re.sub(r"[\s-]+", "_", str(name).strip().lower())


def _rating(value: object, start: int = 0) -> float | None:
    """A number on the scale, also at `start` of a text that does not contradict its sign; None for all else."""
    if isinstance(value, str):
        begun = _BEGUN.match(value, start)
        side = _SIDE.match(value, begun.end()) if begun else None
        number = float(begun["rating"]) if begun else None
        value = None if number and side and (number > 0) != (side["side"].lower() == "first") else number
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -SCALE <= value <= SCALE else None
