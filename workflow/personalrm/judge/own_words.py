"""A model's own words: its lines without thinking, quotations and code fences. What all parsers of answers share."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

LONGEST_LINE = 300
"""A line that states something is short; longer ones are prose (and bound what patterns have to look at)."""

_TAG = re.compile(r"(?:<(?P<close>/?)(?:think(?:ing)?|thought)>|\[(?P<close2>/?)THINK\])", re.IGNORECASE)
_MARKUP = " \t*_#'\"`().!-[]{}<>|~$•–—→“”‘’„«»"
_QUOTE = re.compile(r"(?:(?:[-*+•]|\d{1,3}[.)])\s+)*[>＞]")
_FENCE = re.compile(r"(?P<marks>`{3,}|~{3,})(?P<info>.*)")
_ONE_LINE_FENCE = re.compile(r"`{3,}(?P<inside>[^`]+)`{3,}")
_DRESS = re.compile(r"\\[a-z]+(?=\{)|[$\\]|</?(?:b|i|u|p|em|br|strong|code|span)\s*/?>")
_PLAIN = str.maketrans(
    dict.fromkeys("“”„‟«»", '"')
    | dict.fromkeys("‘’‚‛‹›´", "'")
    | dict.fromkeys("*`", "")
    | {"_": " ", "→": "->", "⇒": "=>"}
    # Invisible: zero width, marks of direction, soft hyphens, variants of signs.
    | dict.fromkeys("\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufe0e\ufe0f\ufeff", "")
    | dict.fromkeys(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))), "")
)


class Line(NamedTuple):
    """One line without outer markup (empty where it is too long to state anything), as it stands, and where."""

    text: str
    raw: str
    start: int
    end: int


class OwnWords(NamedTuple):
    """What a model says itself.

    `fence` holds the lines of a code fence that is closed and ends the text, from `fence_start` to `fence_end`.
    `quotes` says that there are quotations; `own_end` that the text's last line is one of `lines`.
    """

    lines: list[Line]
    fence: list[Line]
    fence_start: int
    fence_end: int
    quotes: bool
    own_end: bool


def own_words(text: str) -> OwnWords | None:
    """Lines of the model's own words; None where thinking is never closed. Takes time linear in the text.

    A closing tag alone ends thinking that the prompt began, so that nothing before it counts.
    """
    visible = _without_thinking(text)
    if visible is None:
        return None
    lines: list[Line] = []
    fence: list[Line] = []
    marks, position, fence_start, fence_end = "", 0, 0, 0
    quotes = own_end = False
    for kept in visible.splitlines(keepends=True):
        start, position = position, position + len(kept)
        raw = kept.strip()
        line = Line(_outer(raw), raw, start, position)
        if marks:
            if raw.startswith(marks) and not raw.strip(marks[0]):
                marks, fence_end = "", position
            elif raw:
                fence.append(line)
        elif not raw:
            continue
        elif inline := _ONE_LINE_FENCE.fullmatch(raw):
            inside = inline["inside"].strip()
            fence, fence_start, own_end = [Line(_outer(inside), inside, start, position)], start, False
            fence_end = position
        elif (opened := _FENCE.match(raw)) and "`" not in opened["info"]:
            marks, fence, fence_start, own_end = opened["marks"], [], start, False
        elif _QUOTE.match(raw):
            fence, quotes, own_end = [], True, False
        else:
            fence, own_end = [], True
            lines.append(line)
    return OwnWords(lines, [] if marks else fence, fence_start, fence_end, quotes, own_end)


def own_lines(text: str, *, cut: bool = False) -> list[str]:
    """Short lines of the model's own words, without outer markup; none where thinking is never closed.

    A line that is too long stands as an empty one, so that it is never taken for the last. Where the answer is nothing
    but one code fence, its lines are the model's own. Of a text that was `cut` at the token limit there are lines only
    if the last of the text is among them.
    """
    words = own_words(text)
    if words is None or (cut and not words.own_end):
        return []
    lines = words.lines if words.lines or words.quotes else words.fence
    return [line.text for line in lines]


def plain(line: str) -> str:
    """`line` for matching: lower case, one form for wide letters, quotes, arrows and blanks, without emphasis.

    >>> plain("**Preference**： “First”")
    'preference: "first"'
    """
    return " ".join(_DRESS.sub("", unicodedata.normalize("NFKC", line).translate(_PLAIN)).lower().split())


def _outer(raw: str) -> str:
    words = " ".join(raw.split())
    return " ".join(words.strip(_MARKUP).split()) if len(words) <= LONGEST_LINE else ""


def _without_thinking(text: str) -> str | None:
    """`text` with blanks in place of what stands between thinking tags; None if a tag stays open."""
    parts: list[str] = []
    inside, begun, position = False, 0, 0
    for tag in _TAG.finditer(text):
        closes = bool(tag["close"] or tag["close2"])
        if closes and not inside:
            # All so far was thinking, begun by the prompt.
            parts, begun = [], tag.start()
        else:
            parts.append(" " * (tag.start() - position) if inside else text[position : tag.start()])
        parts.append(" " * len(tag[0]))
        inside, position = not closes, tag.end()
    return None if inside else "".join([" " * begun, *parts, text[position:]])
