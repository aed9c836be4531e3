"""What a text states: the grammar of `Preference: First` and `Rating: 4` in the many forms that models give them.

Rules (ours; neither paper nor package has any): what is quoted, fenced or thought is not said; the last statement
counts; a statement that names two values, doubts its own, or is taken back states nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from personalrm.judge.own_words import (
    CLOSING,
    LONGEST_LINE,
    OPENING,
    Line,
    OwnWords,
    own_words,
    plain,
    spelled,
    withdraws,
)

_NOUN = r"(?:response|answer|option|one|completion|reply|candidate|choice|description|assistant)s?"
_VALUE = r"(?P<value>first|second|1st|2nd|tied?|draw|equal|neither|both)\b(?!-\w)"
_LABEL = rf"(?:the |an? )?(?:{_NOUN} )?{_VALUE}(?: {_NOUN}\b)?"
_SAME = {"1st": "first", "2nd": "second", **dict.fromkeys(("tied", "draw", "equal", "neither", "both"), "tie")}
_OTHERS = {"first": "second|2nd", "second": "first|1st", "tie": "first|1st|second|2nd"}
_OWNER = (
    r"(?:(?:my|the|this|that|our|so|thus|therefore|final|overall|predicted|revised|corrected|(?:user|person)(?:'?s)?)"
    r"[ ,]+)*+"
)
_LEAD = (
    r"(?:(?:and|so|thus|therefore|hence|overall|finally|ultimately|accordingly|consequently|actually|correction"
    r"|all in all|here(?:'s| is)|to (?:conclude|sum up|summari[sz]e)|on (?:balance|the whole|second thoughts?)"
    r"|in (?:conclusion|summary|short|sum|total|the end)|(?:given|based on|considering|for|because of)"
    r" (?:all |of )*(?:this|that|these|the above|this reason|these reasons))[ ,:]+)*+"
)
_CLAUSE = re.compile(
    r"\A[^\w]*(?:since|because|given|considering|weighing|taking|having|based on|in (?:light|view) of)\b"
    r"[^:\"?!.]{1,200}, "
)
_WHO = r"(?:the|this|that|our) (?:particular |specific )?(?:user|person)"
_I_JUDGE = r"(?:i(?:'d| would)? (?:predict|conclude|judge|think|believe|say)(?: that)? )?"
_PREFERS = (
    rf"{_LEAD}{_I_JUDGE}(?:(?:it|this|that)(?:'s| is) (?=an? (?:tie|draw)\b)"
    rf"|(?:they|the two|both)(?: {_NOUN})? are (?=tied\b)"
    rf"|(?:{_WHO}|(?:user|person)|i|they|he|she)(?: would| will|'d)?(?: clearly| strongly| definitely)? "
    r"(?:prefers?|chooses?|picks?|selects?|favou?rs?|(?:go|goes|vote|votes) (?:with|for)) )"
)
_TASTE = r"(?:tastes?|needs?|preferences?|style|wishes|profile|persona|expectations|interests|values)"
_THEM = rf"{_WHO}(?:'?s (?:(?:stated|own|known|personal) )?{_TASTE}(?: and {_TASTE})?)?"
_MORE = r"(?:(?:a bit|a little|an?|the|clearly|much|far|slightly|somewhat|overall|definitely|marginally|by far) )*+"
_FITS = r"(?:fits?|suits?|match(?:es)?|serves?|meets?|aligns? with)"
_WINS = (
    rf"(?: (?:is|would be|will be) (?:{_MORE}(?:better|best|stronger|superior|preferable|preferred|winner"
    r"|(?:more|most) (?:suitable|appropriate|fitting|aligned|in (?:line|keeping|tune)|tailored))"
    rf"(?: (?:suited|suitable|fit|fitting|match|matched|aligned|tailored|adapted|option|pick|{_NOUN}))?"
    rf"(?: overall| here)?(?: (?:to|for|with|by|of) {_THEM})?"
    rf"|(?:what|the (?:one|{_NOUN})(?: that| which)?) {_WHO} (?:would |will )?(?:prefers?|chooses?|picks?))"
    rf"| (?:would |will )?(?:(?:{_MORE}better|more closely) {_FITS} {_THEM}|wins"
    rf"|{_FITS} {_THEM} {_MORE}(?:better|best|more closely)|aligns? (?:better|best|more closely) with {_THEM}))\b"
)
_OVER = rf" (?:over|than|rather than|instead of) (?:the )?(?:{_NOUN} )?(?:other|{{}})\b(?: {_NOUN}\b)?"
_EQUALLY = r"(?: are| being)? equal(?:ly)?(?: (?:good|well|suited|bad))?\b"
_ANNOUNCES = (
    rf"(?:{_OWNER}(?:answer|verdict|line|output|result|conclusion|decision|choice|response)(?: (?:line|is))*"
    r"\s*(?:[:=]|-+>|[-–—]|(?<=is)(?= ))|i(?:'d| would|'ll| will| am|'m)?(?: therefore| thus| now)?"
    r" (?:end|conclude|close|finish|answer|say|state|go|decide|settle|vote)(?:ing)?(?: with| by| on| for)?:?(?= ))"
    r"\s*[\"'(\[{<]*"
)
_NEVER = r"(?!)"


class Form:
    """How something is stated, as patterns for plain words."""

    def __init__(
        self, key: str, value: str, others: Mapping[str, str], sentence: str = _NEVER, wins: str = _NEVER
    ) -> None:
        """`key` is what stands before the colon, `value` a pattern with a group of that name, `others` gives, for each
        value, those that make a statement of it doubtful. `sentence` is the start of a sentence that ends in a value,
        `wins` the end of one that begins with a value; with it a value alone says as much. These count at the end of a
        text only.
        """
        keyed = rf"{_OWNER}(?:{key})(?: (?:of|for) (?:the|this) (?:user|person))?"
        # A colon and the like, the border of a table's cells, or the end of brackets around the key.
        between = r"(?:[:=]|-+>|=>|\bis\b:?(?: for)?|[-–—]{1,2}(?=\s)|(?P<cell>\|[\s|]*|(?<=\])(?=\s*\w)))"
        opening = rf"{_LEAD}(?:{_ANNOUNCES})?{keyed}[\"')\]}}>]*\s*{between}\s*"
        self.key, self.value, self.others, self.wins, self.bare = key, value, others, wins, wins != _NEVER
        self.keyed = re.compile(keyed)
        self.opening = re.compile(opening)
        self.statement = re.compile(rf"{opening}[\"'(\[{{<]*(?:{sentence})?{value}")
        self.spoken = re.compile(rf"{sentence}[\"'(\[{{<]*{value}")
        self.won = re.compile(rf"\b(?P<lead>{_LEAD}){_I_JUDGE}{value}{wins}")
        self.alone = re.compile(rf"[^\w]*{value}[^\w?:]*")


VERDICT = Form(
    key="preference|verdict|answer|choice|decision|judge?ment|conclusion|prediction|selection|pick|winner"
    rf"|(?:preferred|chosen|better|best) {_NOUN}",
    value=_LABEL,
    others=_OTHERS,
    sentence=_PREFERS,
    wins=_WINS,
)
RATING = Form(
    key="rating|score",
    value=r"(?P<value>[1-5])(?![\d%]|[.,]\d)(?:\s?/\s?5\b| out of 5\b)?",
    others=dict.fromkeys("12345", r"\d+"),
)

_NUMBERING = re.compile(r"\A[^\w]*(?:(?:\d{1,2}|[a-z])[.)]\s*[^\w]*)?")
_END = re.compile(r"[^\w?]*")
_REASON = re.compile(
    r"[\"')\]}>]*(?:\s*[.!;:(\[|—–]|\s+-{1,2}\s|,?\s+(?:because|since|due to|given|as (?=(?:it|this|that|the)\b))\b)"
    r"(?P<reason>.*)"
)
_DOUBT = re.compile(
    r"\?|n't\b|\b(?:not|no|never|cannot|neither|either|both|tied?|equal(?:ly)?|or|un(?:sure|certain|clear|decided|less)"
    r"|if|maybe|perhaps|possibly|probably|likely|might|could|would|wrong|incorrect|mistaken?|wait|actually|however|but"
    r"|al?though|instead|rather|hmm+|other|coin)\b"
)
_OR = re.compile(r"[^\w]*(?:or|and)?[^\w]*")
_SENTENCE_START = re.compile(r"(?:[.!?][\"')\]]*\s*|\s[-–—]{1,2}\s+|—)(?=[\"'(\[<{]*\w)")
_QUOTED = re.compile(rf"['‘`{OPENING}][^`{OPENING}{CLOSING}]*['’`{OPENING}{CLOSING}][.,;!。！；]?")
_ITEM = re.compile(r"(?:[-*+•]|\d{1,2}[.)])\s")
_RULE = re.compile(r"[\s|:–—-]+")
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
    the statement; `firm` statements name their key."""

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
        return None if cut else _in_fence(words, lines, form)
    if cut:
        return _cut_end(lines, form) if words.own_end else None
    place, stated = _last_line(lines, form)
    closing = _object(words.visible, lines, form) if words.own_end else None
    closing = closing or _closing(lines, form)
    if closing is not None and (stated is None or closing.firm):
        return closing
    if stated is not None:
        if closing is not None and closing.value != stated.value:
            return closing._replace(value="")
        retracted = any(withdraws(line.words) for line in lines[place + 1 :])
        return stated._replace(value="") if retracted else stated
    return _in_fence(words, lines, form) or _in_quotes(lines, form)


def _states(words: str, form: Form, *, strict: bool = False) -> str | None:
    """Value that a plain line states; an empty text where it cannot be read, None where it states nothing.

    With `strict` nothing may follow. A misspelt key, or a clause before it, counts only with its value.
    """
    value, mended = _states_as_is(words, form, strict), _CLAUSE.sub("", spelled(words), count=1)
    return _states_as_is(mended, form, strict) or None if value is None and mended != words else value


def _states_as_is(words: str, form: Form, strict: bool) -> str | None:
    tagged = _TAGGED.fullmatch(words)
    words = _NUMBERING.sub("", f"{tagged['tag']}: {tagged['inside']}" if tagged else words, count=1)
    opening, stated = form.opening.match(words), form.statement.match(words)
    if opening is None:
        return None
    if stated and _ends(words[stated.end() :], _named(stated), form, strict=strict):
        return _named(stated)
    # A table's row, an empty place and "The answer is clear" state nothing, "Preference: Third" cannot be read.
    rest = words[opening.end() :]
    prose = opening[0].rstrip().endswith(("is", "for")) and not (stated or re.search(rf"\b{form.value}", rest))
    return None if prose or not rest or opening["cell"] is not None else ""


def _named(found: re.Match[str]) -> str:
    return _SAME.get(found["value"], found["value"])


def _ends(rest: str, value: str, form: Form, *, strict: bool = False) -> bool:
    """Whether what follows a value leaves it as it is: nothing, or a reason that names no other value and no doubt."""
    others = form.others[value]
    if form.bare and not strict:
        more = _EQUALLY if value == "tie" else rf"(?:{form.wins})?(?:{_OVER.format(others)})?"
        rest = re.sub(rf"\A(?:{more})", "", rest)
    if _END.fullmatch(rest):
        return True
    reason = None if strict else _REASON.match(rest)
    why = reason["reason"] if reason else ""
    return reason is not None and not (_DOUBT.search(why) or withdraws(why) or re.search(rf"\b(?:{others})\b", why))


def _spoken(words: str, form: Form) -> str | None:
    """Value of a sentence such as `The user prefers the First response` or `The First response is the better one`."""
    start = re.sub(r"^\W+", "", words)
    for begun in dict.fromkeys((start, _CLAUSE.sub("", start, count=1))):
        said = form.spoken.match(begun) or form.won.match(begun)
        if said is not None and _ends(begun[said.end() :], _named(said), form):
            return _named(said)
    return None


def _alone(words: str, form: Form) -> str | None:
    said = form.alone.fullmatch(words) if form.bare else None
    return _named(said) if said else None


def _last_line(lines: Sequence[Line], form: Form) -> tuple[int, Found | None]:
    """The last line that begins with a statement, and its place. Both allowed lines one after the other are an echo of
    the instruction, which states nothing."""
    for place in reversed(range(len(lines))):
        found = _on_line(lines, place, form)
        if found is None:
            continue
        before = place - 2 if place > 1 and _OR.fullmatch(plain(lines[place - 1].text)) else place - 1
        other = _on_line(lines, before, form) if before >= 0 else None
        doubted = other is not None and other.value not in ("", found.value) and not withdraws(lines[place].words)
        return place, found._replace(value="") if doubted else found
    return len(lines), None


def _on_line(lines: Sequence[Line], place: int, form: Form) -> Found | None:
    """What one line states. The value may stand on a line of its own below the key."""
    line = lines[place]
    if not line.text or line.raw[0] in OPENING or _QUOTED.fullmatch(line.raw):
        return None
    if line.words.startswith("{"):
        if place and _introduces(lines[place - 1]):
            return None
        held = _held(line.raw, form, line.start, line.end)
        if held is not None:
            return held
    value = _states(line.words, form)
    under = lines[place + 1 : place + 3]
    if len(under) == 2 and line.raw[0] == "|" and _RULE.fullmatch(under[0].raw):
        value, under = None, under[1:]  # the head of a table
    if not value and under:
        words = spelled(_NUMBERING.sub("", line.words, count=1))
        heading = form.keyed.match(words)
        below = _alone(under[0].words, form) if heading and _END.fullmatch(words[heading.end() :]) else None
        if below is not None:
            return Found(below, line.start, under[0].end)
    return None if value is None else Found(value, line.start, line.end)


def _closing(lines: Sequence[Line], form: Form) -> Found | None:
    """What the end of the last line states: its last sentence, or the whole of it."""
    line, words = lines[-1], lines[-1].words
    if _QUOTED.fullmatch(line.raw) or (line.text and _states(words, form)):
        return None
    last = words[-LONGEST_LINE:]
    starts = [start.end() for start in _SENTENCE_START.finditer(last)]
    if starts:
        sentence, before = last[starts[-1] :], last[: starts[-1]]
        keyed = _states(sentence, form, strict=True)
        value = keyed or _spoken(sentence, form)
        quoted = words.removesuffix(sentence).count('"') % 2 == 1
        if value and not quoted:
            others = {_named(one) for one in form.statement.finditer(spelled(before))}
            value = "" if others - {value} or _disputed(sentence, lines, form) else value
            return Found(value, *_place_of(sentence, line), firm=bool(keyed))
    if not line.text:
        return None
    spoken, alone = _spoken(words, form), _alone(words, form)
    listed = len(lines) > 1 and alone and _alone(lines[-2].words, form) not in (None, alone)
    value = "" if listed or (spoken and _disputed(words, lines, form)) else spoken or alone
    return None if value is None else Found(value, line.start, line.end, firm=False)


def _disputed(sentence: str, lines: Sequence[Line], form: Form) -> bool:
    """Whether a sentence by which an answer wins is one of several: in a list, or the other answer wins elsewhere, too.
    One that begins with `Overall,` or the like stands against all that do not."""
    said = form.won.search(sentence)
    if said is None:
        return False
    if not said["lead"] and len(lines) > 1 and all(_ITEM.match(line.raw) for line in lines[-2:]):
        return True
    won = (one for line in lines for one in form.won.finditer(line.words[-LONGEST_LINE:]))
    return any(_named(one) != _named(said) for one in won if one["lead"] or not said["lead"])


def _place_of(sentence: str, line: Line) -> tuple[int, int, str]:
    """Where a line's last sentence stands, by its first word, and the words before it."""
    word = re.escape(re.findall(r"\w+", sentence)[0])
    places = [found.start() for found in re.finditer(word, line.raw, re.IGNORECASE)]
    kept = line.raw[: places[-min(len(re.findall(word, sentence)), len(places))]] if places else ""
    kept = kept.rstrip(" *_`\"'(-–—")
    return line.start, line.end, f"{kept}\n"


def _cut_end(lines: Sequence[Line], form: Form) -> Found | None:
    """The statement with which a cut text ends."""
    line = lines[-1]
    if line.text and not _QUOTED.fullmatch(line.raw) and _states(line.words, form, strict=True):
        return _last_line(lines, form)[1]
    closing = _closing(lines, form)
    return closing if closing and closing.firm else None


def _object(text: str, lines: Sequence[Line], form: Form) -> Found | None:
    """The statement in a JSON object of several lines that ends the text."""
    if not lines[-1].raw.endswith("}"):
        return None
    begun = [place for place, line in enumerate(lines) if line.raw.startswith("{")]
    for place in dict.fromkeys((*begun[:1], *begun[-1:])):
        start = lines[place].start
        held = None if place and _introduces(lines[place - 1]) else _held(text[start:], form, start, len(text))
        if held is not None:
            return held
    return None


def _held(text: str, form: Form, start: int, end: int) -> Found | None:
    """What the JSON object between `start` and `end` states, and its other texts; None where it states nothing."""
    try:
        pairs = json.loads(text.strip(), strict=False, object_pairs_hook=tuple)
    except (ValueError, RecursionError):
        return None
    said, rest = set(), []
    for key, value in pairs if isinstance(pairs, tuple) else ():
        if form.keyed.fullmatch(spelled(plain(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", key)))):
            words = plain(str(value)) if isinstance(value, str | int) else ""
            alone = form.alone.fullmatch(words)
            said.add(_named(alone) if alone else _spoken(words, form) or "")
        elif isinstance(value, str):
            rest.append(value)
    return Found(said.pop() if len(said) == 1 else "", start, end, "\n".join(rest)) if said else None


def _introduces(line: Line) -> bool:
    """Whether a line introduces what somebody else says."""
    words = line.words[-LONGEST_LINE:]
    return bool(_INTRODUCES.search(words)) and not _INTRODUCES_OWN.fullmatch(words)


def _in_fence(words: OwnWords, lines: Sequence[Line], form: Form) -> Found | None:
    """The statement that a code fence at the end of the text holds, where nothing is stated outside of it.

    Next to own words the fence must hold the statement alone: else it may be a quotation, as it is after words that
    introduce one.
    """
    if not words.fence or words.quotes or (lines and _leads_to_doubt(lines[-1])):
        return None
    inside, start, end = words.fence
    held = _held("\n".join(line.raw for line in inside), form, start, end)
    if held is not None or not inside or (lines and len(inside) > 1):
        return held
    place, stated = _last_line(inside, form)
    found = stated or _closing(inside, form)
    kept = "\n".join(line.raw for line in inside[:place] if line.end <= (found.start if found else 0))
    return found and found._replace(start=start, end=end, kept=kept or found.kept)


def _in_quotes(lines: Sequence[Line], form: Form) -> Found | None:
    """The statement that a last line wholly in quotation marks holds, where nothing is stated outside of them."""
    line = lines[-1]
    if not line.text or line.raw[0] not in f"'‘`{OPENING}" or (len(lines) > 1 and _leads_to_doubt(lines[-2])):
        return None
    value = _states(line.words, form, strict=True) or _alone(line.words, form)
    return Found(value, line.start, line.end) if value else None


def _leads_to_doubt(line: Line) -> bool:
    return _introduces(line) or bool(_DOUBT.search(line.words))
