"""From a judge's text or log-probabilities to a verdict. Pure functions, so that stored answers can be read again.

A text that leaves a doubt states no verdict.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, cast

from personalrm.judge.own_words import own_lines, plain, without_tokens
from personalrm.judge.statements import RATING, VERDICT, last_stated
from personalrm.llm.types import Response

Stated = Literal["first", "second", "tie", "unparsed"]


def parse_verdict(text: str, *, cut: bool = False) -> Stated:
    r"""Position that a judge's text names last. Never raises.

    The last line of the form `Preference: First` counts, outside quotations (`> …`), code fences and closed thinking;
    without one, an end that is nothing but a label, a sentence such as `The user prefers the First response` or
    `Overall, the First response is better suited to this user`, a JSON object or a fence that holds the verdict.
    `unparsed` are two labels in one statement, the allowed lines one after the other, hedges, negations, a verdict that
    words after it take back, and text that never closes its thinking. Of a text that was `cut` at the token limit the
    last line alone counts.

    A `tie` is stated in a label's place (`Preference: Tie`, `Tied`, `Draw`, `Equal`, `Both`, `Neither`) or by a
    sentence that calls it one (`It is a tie.`), but not by `Preference: None` or by praise of both answers alike.

    >>> parse_verdict("It is shorter.\nPreference: Second")
    'second'
    >>> parse_verdict('The answer says:\n> Preference: First\n**Preference:** Second')
    'second'
    >>> parse_verdict('{"preference": "First"}')
    'first'
    >>> parse_verdict("Preference: First, Second"), parse_verdict("First is warm, Second is cold."), parse_verdict("")
    ('unparsed', 'unparsed', 'unparsed')
    """
    found = last_stated(text, VERDICT, cut=cut)
    return cast(Stated, found.value) if found and found.value else "unparsed"


def without_verdict(text: str) -> str:
    r"""`text` without the verdict that `parse_verdict` reads, verdicts on the lines that then end it, control tokens
    and what is struck out.

    >>> without_verdict("It is shorter. Preference: Second")
    'It is shorter.'
    """
    found = last_stated(text, VERDICT)
    if found and found.value:
        text = f"{text[: found.start]}{found.kept}{text[found.end :]}"
    lines = without_tokens(text).strip().splitlines()
    while lines and parse_verdict(lines[-1]) != "unparsed":
        lines.pop()
    return "\n".join(lines).strip()


_LEAST_REST = 1e-6
"""Servers round probabilities: less than this is never known to be left."""


def read_labels(response: Response, labels: Sequence[str]) -> tuple[float, ...] | None:
    """Natural log-probabilities of labels at the first generated token.

    A label's probability is the largest over tokens that equal it without blanks. A label that is not among
    the alternatives gets the most that it can have: the smallest listed probability, or what the listed ones leave of 1
    (our choice, so that one confident label is not thrown away; the log-odds are then the least that they can be).
    None where no label is listed, where one that is not listed may be the likeliest, or the backend gave none.
    """
    top = response.logprobs[0].top if response.logprobs else ()
    found: dict[str, float] = {}
    for token, logprob in top:
        label = token.strip()
        if label in labels and math.isfinite(logprob):
            found[label] = max(logprob, found.get(label, -math.inf))
    if not found:
        return None
    rest = 1.0 - math.fsum(_probability(logprob) for _, logprob in top)
    most = min(*(logprob for _, logprob in top), math.log(max(rest, _LEAST_REST)))
    if len(found) < len(labels) and not most < max(found.values()):
        return None
    return tuple(found.get(label, most) for label in labels)


def label_mass(response: Response, labels: Sequence[str]) -> float:
    """Probability, from 0 to 1, that is listed for the labels together at the first generated token, in any spelling
    with blanks."""
    top = response.logprobs[0].top if response.logprobs else ()
    return min(1.0, math.fsum(_probability(logprob) for token, logprob in top if token.strip() in labels))


def _probability(logprob: float) -> float:
    return math.exp(min(logprob, 0.0)) if math.isfinite(logprob) else 0.0


def whole_sentences(text: str) -> str:
    """`text` without a last sentence that the token limit cut off; unchanged if there is only that one.

    >>> whole_sentences("Likes jokes. Dislikes long")
    'Likes jokes.'
    >>> whole_sentences("Likes jokes")
    'Likes jokes'
    """
    ends = list(re.finditer(r"[.!?…。！？][\"')\]]*(?=\s|$)", text))
    return text[: ends[-1].end()].strip() if ends else text.strip()


_BROKEN_OBJECTS = 20
"""After so many braces that begin no object the rest of a text is not read as JSON, which bounds the work."""


class JsonObject(NamedTuple):
    """A JSON object, and where it stands in its text."""

    value: dict[str, Any]
    start: int
    end: int


def json_objects(text: str) -> Iterator[JsonObject]:
    """JSON objects in a text, one after the other, whatever stands around them. Those inside another one are part of
    it, unless that one is broken. Never raises.

    >>> [found.value for found in json_objects('{so} {"a": {"b": 1}} and {"c": [], {"d": 2}')]
    [{'a': {'b': 1}}, {'d': 2}]
    """
    # Not strict: models write line ends into strings, which JSON forbids.
    decoder, start, broken = json.JSONDecoder(strict=False), text.find("{"), 0
    while start >= 0 and broken < _BROKEN_OBJECTS:
        try:
            value, end = decoder.raw_decode(text, start)
            yield JsonObject(value, start, end)
        except (ValueError, RecursionError):
            end, broken = start + 1, broken + 1
        start = text.find("{", end)


_SCALE_NUMBER = re.compile(r"\W*(?P<number>[1-5])(?![\d%]|[.,]\d|\W*(?:or|to|and|-)\W*\d)")


def parse_rating(text: str, *, prefilled: bool = False, cut: bool = False) -> int | None:
    r"""Rating from 1 to 5 that a rater's text names last, None where there is none. Never raises.

    The last line of the form `Rating: 4` counts, by the rules of `parse_verdict`. With `prefilled` the prompt ended in
    that form and the text begins with the number.

    >>> parse_rating("People differ here.\nRating: 4")
    4
    >>> parse_rating(" 2\nbecause", prefilled=True)
    2
    >>> parse_rating("Rating: 45"), parse_rating("Rating: 2 or 3"), parse_rating("9", prefilled=True)
    (None, None, None)
    """
    if prefilled:
        bare = _SCALE_NUMBER.match(plain(text[:_PREFILLED_LENGTH]))
        return int(bare["number"]) if bare else None
    found = last_stated(text, RATING, cut=cut)
    return int(found.value) if found and found.value else None


_PREFILLED_LENGTH = 1000
_SENTENCE_END = re.compile(r"(?:(?<=[.!?…])|(?<=[.!?…][\"')\]]))\s+|(?<=[。！？])|\n+")
_NUMBERED = re.compile(
    r"(?:(?:fact|axis|scale|sentence|statement|item|number|no)\W*)?(?P<number>\d{1,3})(?:\W+)(?P<words>.*)"
)
_AFTER_CHOICE = r"(?=\W*$|\s*[.,;:!(\[/|—–-]|\s(?:the|it|this|because|since|as|is|or|and)\b)"


def sentences(text: str) -> tuple[str, ...]:
    r"""Sentences of a text, and its lines apart; nothing is left out but blanks.

    >>> sentences("Likes jokes. Why? Unknown\nDislikes tea")
    ('Likes jokes.', 'Why?', 'Unknown', 'Dislikes tea')
    """
    return tuple(part.strip() for part in _SENTENCE_END.split(text) if any(c.isalnum() for c in part))


def numbered_choices(text: str, count: int, choices: Sequence[str]) -> tuple[str | None, ...]:
    r"""What a model says of each of `count` numbered things, one a line (`2: high`); None where it says no choice.

    The last line of a number counts, and says nothing if it names two choices; lines are read as `parse_verdict` reads
    them. Choices are lower case, and none begins another.

    >>> numbered_choices("1: low\n**2. Tone: HIGH** (warm)\n7: low", 3, ("low", "high"))
    ('low', 'high', None)
    >>> numbered_choices("1: low or high", 1, ("low", "high"))
    (None,)
    """
    found: dict[int, str | None] = {}
    for line in own_lines(text):
        numbered = _NUMBERED.match(plain(line))
        if numbered is None:
            continue
        # What follows the number, or the name of the thing and a colon.
        parts = (numbered["words"], *numbered["words"].split(":")[1:])
        stated = {_choice(part, choices) for part in parts} - {None}
        if stated:
            found[int(numbered["number"])] = None if "" in stated or len(stated) > 1 else stated.pop()
    return tuple(found.get(number) for number in range(1, count + 1))


def _choice(words: str, choices: Sequence[str]) -> str | None:
    """The choice that `words` begin with, an empty text where they name another one, too."""
    for choice in choices:
        begun = re.match(rf"\W*{re.escape(choice)}(?![\w-]){_AFTER_CHOICE}", words)
        if begun:
            others = "|".join(re.escape(other) for other in choices if other != choice) or r"(?!)"
            two = rf"(?:\b(?:or|and|not|to|but|then)\b|[,/|&-])\W*(?:{others})(?![\w-])"
            return "" if re.search(two, words[begun.end() :]) else choice
    return None
