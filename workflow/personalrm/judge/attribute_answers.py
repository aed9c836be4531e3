"""From a model's words to its ratings of attributes. A pure function, so that stored answers can be read again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from personalrm.judge.own_words import own_words

SCALE = 2.0
"""Ratings go from minus this to plus this."""
_NAMES, _VALUES = ("id", "name", "property", "attribute", "key"), ("score", "rating", "value", "number")
"""Keys under which models put an attribute and its rating, where each attribute has an object of its own."""
_BROKEN_OBJECTS = 20
"""After so many braces that begin no object the rest of a text is not read as JSON, which bounds the work."""
_SIGNS = str.maketrans("−–＋", "--+")
_NUMBER = r"[+-]?\d+(?:\.\d+)?"
_ALONE = r"(?![\w%/]|[.,]\d|\s*(?:or|to|and|[-–/])\s*[+-]?\d)"
"""What follows a rating is neither more of a number nor a second one."""


def parse_ratings(text: str, names: Sequence[str], *, cut: bool = False) -> dict[str, float]:
    r"""Ratings from -2 to 2 of the attributes `names`, in their order; without those that the text does not rate.

    Read are JSON objects anywhere in the text (an attribute's name or number as key, or both values of one object),
    or else pairs such as `warm: +1`, or else lines such as `2. -1` with the attribute's number. Of an attribute the
    last rating counts. A number outside the scale is no rating: it is not cut to the scale, because a model that
    writes 7 uses another one. Nothing counts in thinking, and in a text that was `cut` at the token limit its last
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
    said = words.visible.translate(_SIGNS).rstrip()
    for read in (_in_json, _by_name, _by_number):
        found = dict(read(said, names, cut))
        if found:
            return {name: found[name] for name in names if name in found}
    return {}


def _in_json(said: str, names: Sequence[str], cut: bool) -> Iterator[tuple[str, float]]:
    """Ratings in the JSON objects of a text, one after the other, whatever stands around them."""
    del cut
    known = {_key(name): name for name in names} | {str(n): name for n, name in enumerate(names, start=1)}
    decoder, place, broken = json.JSONDecoder(), said.find("{"), 0
    while place >= 0 and broken < _BROKEN_OBJECTS:
        try:
            value, place = decoder.raw_decode(said, place)
            yield from list(_in_value(value, known))
        except (ValueError, RecursionError):
            place, broken = place + 1, broken + 1
        place = said.find("{", place)


def _in_value(value: Any, known: dict[str, str]) -> Iterator[tuple[str, float]]:  # noqa: ANN401 - JSON
    if isinstance(value, list):
        for item in value:
            yield from _in_value(item, known)
    if not isinstance(value, dict):
        return
    own = next((known[_key(value[key])] for key in _NAMES if _key(value.get(key)) in known), None)
    for key, inside in value.items():
        name = own if own and key in _VALUES else known.get(_key(key))
        if name is None:
            yield from _in_value(inside, known)
            continue
        # A rating, or an object with the rating and its reason.
        given = [inside.get(key) for key in _VALUES] if isinstance(inside, dict) else [inside]
        yield from ((name, rating) for rating in map(_rating, given) if rating is not None)


def _by_name(said: str, names: Sequence[str], cut: bool) -> Iterator[tuple[str, float]]:
    """Ratings that stand behind a name and a colon, an equals sign or a bar."""
    known = {_key(name): name for name in names}
    spelled = "|".join(re.escape(name).replace("_", "[_ -]") for name in sorted(names, key=len, reverse=True))
    pattern = rf"(?<![\w-])(?P<name>{spelled})(?![\w-])[\"'`*]*\s?(?:\([^()\n]{{0,150}}\))?[\"'`*\s]{{0,5}}[:=|]"
    pattern += rf"[\"'`*\s|]{{0,5}}(?P<rating>{_NUMBER}){_ALONE}"
    yield from _matches(re.finditer(pattern, said, re.IGNORECASE), said, known, cut)


def _by_number(said: str, names: Sequence[str], cut: bool) -> Iterator[tuple[str, float]]:
    """Ratings that stand behind an attribute's number at the start of a line."""
    known = {str(number): name for number, name in enumerate(names, start=1)}
    pattern = (
        rf"^[ \t|*`]*(?:[-*•][ \t]+)?[*`]*(?P<name>\d{{1,3}})(?:[.)](?=\s)|\s?[:=|])[ \t|*`]*(?P<rating>{_NUMBER})"
    )
    yield from _matches(re.finditer(pattern + _ALONE, said, re.MULTILINE), said, known, cut)


def _matches(
    found: Iterator[re.Match[str]], said: str, known: dict[str, str], cut: bool
) -> Iterator[tuple[str, float]]:
    for match in found:
        name, rating = known.get(_key(match["name"])), _rating(match["rating"])
        if name and rating is not None and not (cut and match.end() == len(said)):
            yield name, rating


def _key(name: object) -> str:
    """A name in the one spelling in which names are compared; empty for what is no name."""
    if isinstance(name, bool) or not isinstance(name, str | int):
        return ""
    return re.sub(r"[\s-]+", "_", str(name).strip().lower())


def _rating(value: object) -> float | None:
    """A number on the scale, also as a text; None for all else."""
    if isinstance(value, str) and re.fullmatch(_NUMBER, value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -SCALE <= value <= SCALE else None
