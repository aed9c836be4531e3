"""From a judge's text or log-probabilities to a verdict. Pure functions: they can be repeated without paying."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from personalrm.llm.types import Response, TokenLogprobs

Stated = Literal["first", "second", "tie", "unparsed"]

_TAG = re.compile(r"<(/?)think(?:ing)?>", re.IGNORECASE)
_MARKUP = " \t*_#'\"`().!-"
_STATED = re.compile(
    r"(?:my |final )*(?:preference|verdict|answer|choice)[*_ ]*(?:[:=]|is)[*_ \"']*(?:the )?"
    r"(?P<label>first|second|tie|neither|both)\b(?! *(?:or|and|/)\b)"
)
_BARE = re.compile(r"(?:the )?(?P<label>first|second|tie|neither|both)(?: (?:response|answer|one|completion))?")
_LONGEST_LINE = 300
"""A line that states a verdict is short; longer ones are prose (and bound what the patterns have to look at)."""


def parse_verdict(text: str) -> Stated:
    r"""Position that a judge's text names last.

    The last line of the form `Preference: First` counts, outside quotations (`> …`), code fences and closed
    thinking; failing that a last line that is nothing but a label. Text that never closes its thinking has
    no verdict. Never raises.

    >>> parse_verdict("It is shorter.\nPreference: Second")
    'second'
    >>> parse_verdict('The answer says:\n> Preference: First\n**Preference:** Second')
    'second'
    >>> parse_verdict("First is warm, Second is cold.")
    'unparsed'
    >>> parse_verdict("")
    'unparsed'
    """
    lines = own_lines(text)
    if lines is None:
        return "unparsed"
    lines = [line.lower() for line in lines]
    for line in reversed(lines):
        stated = _STATED.match(line)
        if stated:
            return _canonical(stated["label"])
    bare = _BARE.fullmatch(lines[-1]) if lines else None
    return _canonical(bare["label"]) if bare else "unparsed"


def own_lines(text: str) -> list[str] | None:
    """Short lines of the model's own words, without markup, thinking, fences and quotations.

    A line that is too long stands as an empty one, so that it is never taken for the last. None where thinking is
    never closed.
    """
    visible = _outside_thinking(text)
    if visible is None:
        return None
    lines: list[str] = []
    fence = ""
    for raw in visible.splitlines():
        line = raw.strip()
        if fence:
            fence = "" if line == fence else fence
        elif line.startswith(("```", "~~~")):
            fence = line[:3]
        elif line and not line.startswith(">"):
            lines.append(" ".join(line.strip(_MARKUP).split()) if len(line) <= _LONGEST_LINE else "")
    return lines


def _outside_thinking(text: str) -> str | None:
    """`text` without what stands between thinking tags; None if a tag stays open."""
    parts: list[str] = []
    depth = position = 0
    for tag in _TAG.finditer(text):
        if depth == 0:
            parts.append(text[position : tag.start()])
        depth = max(0, depth - 1) if tag[1] else 1
        position = tag.end()
    return None if depth else "".join([*parts, text[position:]])


def _canonical(label: str) -> Stated:
    match label:
        case "first":
            return "first"
        case "second":
            return "second"
        case _:
            return "tie"


class LabelOdds(NamedTuple):
    """Log-probabilities (natural) of the two labels at the position where the label stands."""

    first: float
    second: float

    @property
    def log_odds_first(self) -> float:
        """log P(first) - log P(second)."""
        return self.first - self.second


def read_label(response: Response, labels: tuple[str, str]) -> LabelOdds | None:
    """Log-probabilities of two labels at the first generated token.

    A label's probability is the largest over tokens that equal it without blanks. A label that is not among
    the alternatives gets the smallest listed one (an upper bound of what it can have: our choice, so that one
    confident label is not thrown away). None where neither is listed, or the backend gave none.
    """
    found = read_labels(response, labels)
    return None if found is None else LabelOdds(*found)


def read_labels(response: Response, labels: Sequence[str]) -> tuple[float, ...] | None:
    """Log-probabilities of any number of labels at the first generated token, by the rules of `read_label`."""
    if not response.logprobs:
        return None
    return _labels_at(response.logprobs[0], labels)


def _labels_at(position: TokenLogprobs, labels: Sequence[str]) -> tuple[float, ...] | None:
    found: dict[str, float] = {}
    for token, logprob in position.top:
        label = token.strip()
        if label in labels and math.isfinite(logprob):
            found[label] = max(logprob, found.get(label, -math.inf))
    if not found:
        return None
    floor = min(logprob for _, logprob in position.top)
    return tuple(found.get(label, floor) for label in labels)


def whole_sentences(text: str) -> str:
    """`text` without a last sentence that the token limit cut off; unchanged if there is only that one.

    >>> whole_sentences("Likes jokes. Dislikes long")
    'Likes jokes.'
    >>> whole_sentences("Likes jokes")
    'Likes jokes'
    """
    ends = list(re.finditer(r"[.!?…。！？][\"')\]]*(?=\s|$)", text))
    return text[: ends[-1].end()].strip() if ends else text.strip()


_RATING = re.compile(r"(?:my |final |overall )*(?:rating|score)[*_ ]*(?:[:=]|is)[*_ \"']*(?P<number>[1-5])(?![\d.,])")
_SCALE_NUMBER = re.compile(r"(?P<number>[1-5])(?![\d.,]\d|\d)")


def parse_rating(text: str, *, prefilled: bool = False) -> int | None:
    r"""Rating from 1 to 5 that a rater's text names last, None where there is none. Never raises.

    The last line of the form `Rating: 4` counts, by the rules of `parse_verdict`. With `prefilled` the prompt ended in
    that form and the text begins with the number.

    >>> parse_rating("People differ here.\nRating: 4")
    4
    >>> parse_rating(" 2\nbecause", prefilled=True)
    2
    >>> parse_rating("Rating: 45"), parse_rating("no idea"), parse_rating("9", prefilled=True)
    (None, None, None)
    """
    if prefilled:
        bare = _SCALE_NUMBER.match(text.strip(_MARKUP + "\n"))
        return int(bare["number"]) if bare else None
    for line in reversed(own_lines(text) or []):
        stated = _RATING.match(line.lower())
        if stated:
            return int(stated["number"])
    return None


_SENTENCE_END = re.compile(r"(?:(?<=[.!?…])|(?<=[.!?…][\"')\]]))\s+|(?<=[。！？])|\n+")
_NUMBERED = re.compile(r"(?P<number>\d{1,3})\W+(?P<words>.*)")


def sentences(text: str) -> tuple[str, ...]:
    r"""Sentences of a text, and its lines apart; nothing is left out but blanks.

    >>> sentences("Likes jokes. Why? Unknown\nDislikes tea")
    ('Likes jokes.', 'Why?', 'Unknown', 'Dislikes tea')
    """
    return tuple(part.strip() for part in _SENTENCE_END.split(text) if any(c.isalnum() for c in part))


def numbered_choices(text: str, count: int, choices: Sequence[str]) -> tuple[str | None, ...]:
    r"""What a model says of each of `count` numbered things, one a line (`2: high`); None where it says no choice.

    The last line of a number counts; lines are read as `parse_verdict` reads them. Choices are lower case, and none
    begins another.

    >>> numbered_choices("1: low\n**2. Tone: HIGH** (warm)\n7: low", 3, ("low", "high"))
    ('low', 'high', None)
    """
    found: dict[int, str] = {}
    for line in own_lines(text) or []:
        numbered = _NUMBERED.match(line.lower())
        if numbered is None:
            continue
        # What follows the number, or the name of the thing and a colon.
        for part in (numbered["words"], *numbered["words"].split(":")[1:]):
            chosen = [c for c in choices if re.match(rf"\W*{re.escape(c)}(?![\w-])", part)]
            if chosen:
                found[int(numbered["number"])] = chosen[0]
                break
    return tuple(found.get(number) for number in range(1, count + 1))
