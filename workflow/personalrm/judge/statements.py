"""What a text states: the grammar of `Preference: First` and `Rating: 4` in the many forms that models give them.

Rules (ours; neither paper nor package has any): what is quoted, fenced or thought is not said; the last statement
counts; a statement that names two values, or doubts its own, states nothing.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from personalrm.judge.own_words import LONGEST_LINE, Line, OwnWords, own_words, plain

_NOUN = r"(?:response|answer|option|one|completion|reply|candidate|choice|description|assistant)s?"
_LABEL = rf"(?:the |an? )?(?:{_NOUN} )?(?P<value>first|second|1st|2nd|tie|neither|both)\b(?!-\w)(?: {_NOUN}\b)?"
_SAME = {"1st": "first", "2nd": "second", "neither": "tie", "both": "tie"}
_OTHERS = {"first": "second|2nd", "second": "first|1st", "tie": "first|1st|second|2nd"}
_OWNER = r"(?:(?:my|the|this|that|our|so|thus|therefore|final|overall|predicted|(?:user|person)(?:'?s)?)[ ,]+)*"
_PREFERS = (
    r"(?:(?:so|thus|therefore|hence|overall|finally|in conclusion|in summary)[, ]+)?"
    r"(?:i (?:predict|conclude|judge)(?: that)? )?"
    r"(?:(?:the |this |that |our )?(?:particular )?(?:user|person)|i|they|he|she)"
    r"(?: would| will|'d)?(?: clearly| strongly| definitely)? "
    r"(?:prefers?|chooses?|picks?|selects?|favou?rs?|(?:go|goes|vote|votes) (?:with|for)) "
)
_NEVER = r"(?!)"


@dataclass(frozen=True)
class Form:
    """How something is stated.

    `key` is what stands before the colon, `value` a pattern with a group of that name, `others` gives the values that
    make a statement of one doubtful. `sentence` is the start of a sentence that ends in a value; with `bare` a value
    alone says as much. Both count at the end of a text only.
    """

    key: str
    value: str
    others: Callable[[str], str]
    sentence: str = _NEVER
    bare: bool = False

    @functools.cached_property
    def keyed(self) -> re.Pattern[str]:
        """The key and its owner: `my final preference`."""
        return re.compile(rf"{_OWNER}(?:{self.key})(?: (?:of|for) (?:the|this) (?:user|person))?")

    @functools.cached_property
    def opening(self) -> re.Pattern[str]:
        """The key and what stands between it and the value."""
        between = r"[\"')\]}>]*\s*(?:[:=]|-+>|=>|\bis\b:?(?: for)?|[-–—]{1,2}(?=\s))\s*"
        return re.compile(self.keyed.pattern + between)

    @functools.cached_property
    def statement(self) -> re.Pattern[str]:
        """Opening and value; what follows is looked at apart."""
        return re.compile(rf"{self.opening.pattern}[\"'(\[{{<]*(?:{self.sentence})?{self.value}")

    @functools.cached_property
    def spoken(self) -> re.Pattern[str]:
        """The sentence and its value."""
        return re.compile(rf"[^\w]*{self.sentence}[\"'(\[{{<]*{self.value}")

    @functools.cached_property
    def alone(self) -> re.Pattern[str]:
        """A value and nothing else."""
        return re.compile(rf"[^\w]*{self.value}[^\w?:]*")


VERDICT = Form(
    key="preference|verdict|answer|choice|decision|judge?ment|conclusion|prediction|selection|pick|winner"
    rf"|(?:preferred|chosen|better|best) {_NOUN}",
    value=_LABEL,
    others=lambda value: _OTHERS.get(value, _NEVER),
    sentence=_PREFERS,
    bare=True,
)
RATING = Form(
    key="rating|score",
    value=r"(?P<value>[1-5])(?![\d%]|[.,]\d)(?:\s?/\s?5\b| out of 5\b)?",
    others=lambda _: r"\d+",
)

_NUMBERING = re.compile(r"[^\w]*(?:(?:\d{1,2}|[a-z])[.)]\s*[^\w]*)?")
_END = re.compile(r"[^\w?]*")
_REASON = re.compile(r"[\"')\]}>]*(?:\s*[.!;:(\[—–]|\s+-{1,2}\s|,?\s+(?:because|since|due to)\b)(?P<reason>.*)")
_DOUBT = re.compile(
    r"\?|n't\b|\b(?:not|no|never|cannot|neither|either|both|tied?|equal(?:ly)?|or|un(?:sure|certain|clear|decided|less)"
    r"|if|maybe|perhaps|possibly|probably|likely|might|could|would|wrong|incorrect|mistaken?|wait|actually|however|but"
    r"|al?though|instead|rather|hmm+|other|coin)\b"
)
_RETRACTS = re.compile(
    r"[^\w]*(?:wait|actually|hm+|no|nope|correction|sorry|apologies|oops|scratch|or|but|however|unless|if|rather|not"
    r"|on (?:first|second) thoughts?|on reflection|hold on|let me re|i mean|i (?:was|am) (?:wrong|mistaken))\b"
)
_OR = re.compile(r"[^\w]*(?:or|and)?[^\w]*")
_SENTENCE_START = re.compile(r"(?:[.!?][\"')\]]*\s*|\s[-–—]{1,2}\s+|—)(?=[\"'(\[<{]*\w)")
_QUOTED = re.compile(r"(?P<mark>[\"'“„«‘`])[^\"“”„«»`]*[\"'”“»’`][.,;!]?")
_INTRODUCES = re.compile(
    r"(?::|\b(?:says?|said|reads?|states?|claims?|contains?|writes?|wrote|quotes?|ends with|includes?))\W*$"
)
_INTRODUCES_OWN = re.compile(
    rf"(?:(?:here|this) is )?{_OWNER}(?:{VERDICT.key}|{RATING.key}|output|json)(?: (?:is|in json|as json))?\W*"
)
_TAGGED = re.compile(r"<(?P<tag>[a-z ]+)>\s*(?P<inside>.*?)\s*</(?P=tag)>\W*")
_LONE_TAG = re.compile(r"</?[a-z_]+>", re.IGNORECASE)


class Found(NamedTuple):
    """What a text states (an empty text: something that cannot be read), where, and what of that place is more than
    the statement. `firm` says that it names its key."""

    value: str
    start: int
    end: int
    kept: str = ""
    firm: bool = True


def last_stated(text: str, form: Form, *, cut: bool = False) -> Found | None:
    """The statement that counts; None where there is none. Takes time linear in the text, and never raises.

    Of a text that was `cut` at the token limit the last line alone counts: what it would have gone on to say is not
    known, and a line before it may be a quotation.
    """
    words = own_words(text)
    if words is None:
        return None
    lines = [line for line in words.lines if not _LONE_TAG.fullmatch(line.raw)]
    if not lines:
        return None if cut or words.quotes else _in_fence(words, lines, form)
    if cut:
        return _cut_end(lines, form) if words.own_end else None
    place, stated = _last_line(lines, form)
    closing = _object(text, lines, form) if words.own_end else None
    closing = closing or _closing(lines, form)
    if closing is not None and (stated is None or closing.firm):
        return closing
    if stated is not None:
        if closing is not None and closing.value != stated.value:
            return closing._replace(value="")
        retracted = any(_RETRACTS.match(plain(line.text)) for line in lines[place + 1 :])
        return stated._replace(value="") if retracted else stated
    return _in_fence(words, lines, form) or _in_quotes(lines, form)


def _states(words: str, form: Form, *, strict: bool = False) -> str | None:
    """Value that a plain line states; an empty text where it cannot be read, None where it states nothing.

    With `strict` nothing may follow.
    """
    tagged = _TAGGED.fullmatch(words)
    if tagged:
        words = f"{tagged['tag']}: {tagged['inside']}"
    numbering = _NUMBERING.match(words)
    words = words[numbering.end() :] if numbering else words
    opening = form.opening.match(words)
    if opening is None:
        return None
    stated = form.statement.match(words)
    if stated is None:
        # "The answer is clear" is prose, "Preference: Third" is not.
        prose = opening[0].rstrip().endswith(("is", "for")) and not re.search(
            rf"\b{form.value}", words[opening.end() :]
        )
        return None if prose else ""
    value = _SAME.get(stated["value"], stated["value"])
    return value if _ends(words[stated.end() :], value, form, strict=strict) else ""


def _ends(rest: str, value: str, form: Form, *, strict: bool = False) -> bool:
    """Whether what follows a value leaves it as it is: nothing, or a reason that names no other value and no doubt."""
    if _END.fullmatch(rest):
        return True
    reason = None if strict else _REASON.match(rest)
    if reason is None:
        return False
    return not (_DOUBT.search(reason["reason"]) or re.search(rf"\b(?:{form.others(value)})\b", reason["reason"]))


def _spoken(words: str, form: Form) -> str | None:
    """Value of a sentence such as `The user prefers the First response`."""
    said = form.spoken.match(words)
    if said is None:
        return None
    value = _SAME.get(said["value"], said["value"])
    return value if _ends(words[said.end() :], value, form) else None


def _alone(words: str, form: Form) -> str | None:
    said = form.alone.fullmatch(words) if form.bare else None
    return _SAME.get(said["value"], said["value"]) if said else None


def _last_line(lines: Sequence[Line], form: Form) -> tuple[int, Found | None]:
    """The last line that begins with a statement, and its place. Both allowed lines one after the other are an echo of
    the instruction, which states nothing."""
    for place in reversed(range(len(lines))):
        found = _on_line(lines, place, form)
        if found is None:
            continue
        before = place - 1
        if before > 0 and _OR.fullmatch(plain(lines[before].text)):
            before -= 1
        other = _on_line(lines, before, form) if before >= 0 else None
        echoed = other is not None and other.value not in ("", found.value)
        return place, found._replace(value="") if echoed else found
    return len(lines), None


def _on_line(lines: Sequence[Line], place: int, form: Form) -> Found | None:
    """What one line states. The value may stand on a line of its own below the key."""
    line = lines[place]
    if not line.text or line.raw[0] in '"“„«' or _QUOTED.fullmatch(line.raw):
        return None
    words = plain(line.raw)
    if words.startswith("{"):
        if place and _introduces(lines[place - 1]):
            return None
        held = _held(line.raw, form)
        if held is not None:
            return Found(held[0], line.start, line.end, held[1])
    end, value = line.end, _states(words, form)
    if not value and place + 1 < len(lines):
        numbering = _NUMBERING.match(words)
        heading = form.keyed.match(words, numbering.end() if numbering else 0)
        below = (
            _alone(plain(lines[place + 1].raw), form) if heading and _END.fullmatch(words[heading.end() :]) else None
        )
        if below is not None:
            end, value = lines[place + 1].end, below
    return None if value is None else Found(value, line.start, end)


def _closing(lines: Sequence[Line], form: Form) -> Found | None:
    """What the end of the last line states: its last sentence, or the whole of it."""
    line = lines[-1]
    if _QUOTED.fullmatch(line.raw):
        return None
    words = plain(line.raw)
    last = words[-LONGEST_LINE:]
    if line.text and _states(words, form):
        return None
    starts = [start.end() for start in _SENTENCE_START.finditer(last)]
    if starts:
        sentence, before = last[starts[-1] :], last[: starts[-1]]
        keyed = _states(sentence, form, strict=True)
        value = keyed or _spoken(sentence, form)
        quoted = words[: len(words) - len(sentence)].count('"') % 2 == 1
        if value and not quoted:
            others = (_SAME.get(one["value"], one["value"]) for one in form.statement.finditer(before))
            value = "" if any(other != value for other in others) else value
            return Found(value, *_place_of(sentence, line), firm=bool(keyed))
    if not line.text:
        return None
    value = _spoken(words, form)
    if value is None:
        value = _alone(words, form)
        if value and len(lines) > 1 and _alone(plain(lines[-2].raw), form) not in (None, value):
            value = ""
    return None if value is None else Found(value, line.start, line.end, firm=False)


def _place_of(sentence: str, line: Line) -> tuple[int, int, str]:
    """Where a line's last sentence stands, by its first word, and the words before it."""
    word = re.search(r"\w+", sentence)
    places = [found.start() for found in re.finditer(re.escape(word[0]), line.raw, re.IGNORECASE)] if word else []
    kept = line.raw[: places[-1]].rstrip(" *_`\"'(-–—") if places else ""
    return line.start, line.end, f"{kept}\n"


def _cut_end(lines: Sequence[Line], form: Form) -> Found | None:
    """The statement with which a cut text ends."""
    line = lines[-1]
    value = _states(plain(line.raw), form, strict=True) if line.text and not _QUOTED.fullmatch(line.raw) else None
    if value:
        _, found = _last_line(lines, form)
        return found
    closing = _closing(lines, form)
    return closing if closing and closing.firm else None


def _object(text: str, lines: Sequence[Line], form: Form) -> Found | None:
    """The statement in a JSON object of several lines that ends the text."""
    if not lines[-1].raw.endswith("}"):
        return None
    begun = [place for place, line in enumerate(lines) if line.raw.startswith("{")]
    for place in dict.fromkeys((*begun[:1], *begun[-1:])):
        held = None if place and _introduces(lines[place - 1]) else _held(text[lines[place].start :], form)
        if held is not None:
            return Found(held[0], lines[place].start, len(text), held[1])
    return None


def _held(text: str, form: Form) -> tuple[str, str] | None:
    """Value in a JSON object (an empty text where it cannot be read) and its other texts; None where it has none."""
    try:
        pairs = json.loads(text.strip(), object_pairs_hook=tuple)
    except (ValueError, RecursionError):
        return None
    if not isinstance(pairs, tuple):
        return None
    split = [(plain(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", key)), value) for key, value in pairs]
    said = {_alone_in(value, form) for key, value in split if form.keyed.fullmatch(key)}
    rest = [value for key, value in split if isinstance(value, str) and not form.keyed.fullmatch(key)]
    if not said:
        return None
    return (said.pop() if len(said) == 1 else ""), "\n".join(rest)


def _alone_in(value: object, form: Form) -> str:
    """The value that a JSON value is, an empty text for any other."""
    words = plain(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    said = form.alone.fullmatch(words)
    return _SAME.get(said["value"], said["value"]) if said else _spoken(words, form) or ""


def _introduces(line: Line) -> bool:
    """Whether a line introduces what somebody else says."""
    words = plain(line.raw)[-LONGEST_LINE:]
    return bool(_INTRODUCES.search(words)) and not _INTRODUCES_OWN.fullmatch(words)


def _in_fence(words: OwnWords, lines: Sequence[Line], form: Form) -> Found | None:
    """The statement that a code fence at the end of the text holds, where nothing is stated outside of it.

    Beside own words the fence must hold the statement alone: else it may be a quotation, as it is after words that
    introduce one.
    """
    if not words.fence or words.quotes or (lines and _leads_to_doubt(lines[-1])):
        return None
    held = _held("\n".join(line.raw for line in words.fence), form)
    if held is not None:
        return Found(held[0], words.fence_start, words.fence_end, held[1])
    if lines and len(words.fence) > 1:
        return None
    place, stated = _last_line(words.fence, form)
    found = stated or _closing(words.fence, form)
    kept = "\n".join(line.raw for line in words.fence[:place] if line.end <= (found.start if found else 0))
    return found and found._replace(start=words.fence_start, end=words.fence_end, kept=kept or found.kept)


def _in_quotes(lines: Sequence[Line], form: Form) -> Found | None:
    """The statement that a last line wholly in quotation marks holds, where nothing is stated outside of them."""
    line = lines[-1]
    if not line.text or line.raw[0] not in "\"'“„«‘`" or (len(lines) > 1 and _leads_to_doubt(lines[-2])):
        return None
    words = plain(line.raw)
    value = _states(words, form, strict=True) or _alone(words, form)
    return Found(value, line.start, line.end) if value else None


def _leads_to_doubt(line: Line) -> bool:
    return _introduces(line) or bool(_DOUBT.search(plain(line.raw)))
