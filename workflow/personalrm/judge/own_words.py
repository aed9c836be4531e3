"""A model's own words: its lines without thinking, quotations, code fences, struck-out text and leaked control tokens,
and whether they take a statement back. Shared by all parsers of answers."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from rapidfuzz.distance import OSA

from personalrm.llm.thinking import find_thinking

LONGEST_LINE = 300
"""A line that states something is short. Longer ones are prose; the limit also bounds the work of the patterns."""

OPENING, CLOSING = '"“„«「『《〈〝❝', '"”“»」』》〉〞❞'
"""Quotation marks but for single ones, which may be apostrophes."""
_MARKUP = f" \t*_#'`().!-[]{{}}<>|~$•–—→‘’【】〔〕{OPENING}{CLOSING}"
# A fence of one line; a fence, to its end or the text's; a quotation.
_BLOCK = re.compile(
    r"^[^\S\n]*+(?:`{3,}(?P<inline>[^`\n]+)`{3,}[^\S\n]*+(?:\n|\Z)"
    r"|(?P<marks>(?P<mark>[`~])(?P=mark){2,})[^`\n]*(?:\n|\Z)(?P<inside>.*?)"
    r"(?:(?P<closed>^[^\S\n]*+(?P=marks)(?P=mark)*[^\S\n]*+(?:\n|\Z))|\Z)"
    r"|(?P<quote>(?:(?:[-*+•]|\d{1,3}[.)])[^\S\n]+)*[>＞][^\n]*\n?))",
    re.MULTILINE | re.DOTALL,
)
_LINE = re.compile(r".+\n?")
_LINE_ENDS = re.compile(r"[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_DRESS = re.compile(r"\\[a-z]+(?=\{)|[$\\]|</?(?:b|i|u|p|em|br|strong|code|span)\s*/?>")
_PLAIN = str.maketrans(
    dict.fromkeys(f"‟{OPENING}{CLOSING}", '"')
    | dict.fromkeys("‘’‚‛‹›´", "'")
    | dict.fromkeys("*`", "")
    | {"_": " ", "→": "->", "⇒": "=>", "【": "[", "】": "]", "〔": "[", "〕": "]"}
    # Invisible: zero width, marks of direction, soft hyphens, variants of signs.
    | dict.fromkeys("\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufe0e\ufe0f\ufeff", "")
    | dict.fromkeys(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))), "")
)

# Chat templates' tokens that a server did not strip: `<|im_end|>`, `</s>`, `<end_of_turn>`, also without their end.
_OPENS_TURN = r"<(?:[|｜](?:im_start|start_header_id|start|turn|start_of_turn_token)[|｜]?|start_of_turn)>\s*"
_TOKEN = re.compile(
    rf"{_OPENS_TURN}(?:assistant|model|chatbot)\b|<[|｜][^|｜<>\n]{{1,40}}[|｜]?>|<\w{{1,30}}[|｜]>|</?s>"
    r"|<[|｜]\w{0,40}[|｜]?\s*\Z"
    r"|</?(?:eos|bos|eot|eod|eom|pad|unk|sep|cls|(?:end|start|begin)_?of_?\w{1,20}|(?:eos|bos|pad)_token)>"
    r"|\[(?:/?INST|EOS|BOS|PAD|SEP|CLS|end of text)\]",
    re.IGNORECASE,
)
_OTHER_TURN = re.compile(
    rf"(?:^|(?<=>))[ \t]*(?:{_OPENS_TURN}(?:user|system|human|tool|developer)\b|<\|(?:user|system|human)\|>|\[INST\])",
    re.IGNORECASE | re.MULTILINE,
)
# Channels of which the final one alone is said; without their tokens they read `analysis…assistantfinal…`.
_CHANNEL = re.compile(r"\s*(?:<\|start\|>\s*assistant\s*)?<\|channel\|>")
_FINAL_CHANNEL = re.compile(
    r"(?:^[ \t]*|<\|(?:end|return|call)\|>\s*)(?:<\|start\|>\s*assistant\s*)?<\|channel\|>\s*final\b[^<\n]{0,40}"
    r"(?:<\|constrain\|>\s*\w*\s*)?<\|message\|>|\A\s*(?:analysis|commentary)[\s\S]*assistantfinal",
    re.MULTILINE,
)
# `<s>…</s>` around the whole of a text are its tokens, not a line through it.
_STRUCK = re.compile(
    r"(?<!~)~~(?=[^\s~])(?:(?!\n[ \t]*\n)[^~])*(?<!\s)~~(?!~)"
    r"|(?!\A\s*<s>[^<]*(?:</s>\s*)+\Z)<(?P<tag>s|del|strike)>(?:[^<]|<(?!/?(?:s|del|strike)>))*</(?P=tag)>"
)

_LABELS = r"(?:first|second|1st|2nd)\b"
_SAID = r"(?:answer|verdict|choice|preference|decision|judge?ment|conclusion|statement|vote|pick|line)\b"
_EARLIER = r"(?: (?:above|previous|preceding|last|first|earlier|initial|own|final))*"
_THAT = (
    rf"(?:that|this|it|everything|what i|(?:my|the|that|this){_EARLIER} {_SAID}|(?:my|the) (?:above|previous|last)\b)"
)
_I = (
    r"\b(?:i|we)(?:'(?:ll|d|m|ve|re))?(?: (?:will|would|must|should|have|had|need|want|like|am|are|was|do|did|can|may"
    r"|to|now|then|actually|really|hereby|also|just|therefore|going|better|think|fear|believe|guess|that|i|we)){0,6} "
)
_WHICH = r"which(?=\W*$| (?:one|of|response|answer|this|the|is|to|they|he|she|would|i|better|wins)\b)"
_WHAT_OF = (
    rf"(?=\W*$|\s*[.,;:!(—–]|\s(?:{_WHICH}|who wins|(?:what|how) (?:this|the) (?:user|person) (?:would|want|prefer"
    r"|like)|(?:whether|if) .{0,200}\b(?:first|second|either|one)\b|between|for (?:sure|certain)"
    rf"|with (?:any )?(?:certainty|confidence)|(?:about|of|by) {_THAT}|either|any ?more|any longer|after all"
    r"|now|one|them apart"
    r"|(?:a|the|this|that|my) (?:clear )?(?:better|best|winner|preference|verdict|two|difference|choice|decision))\b)"
)
_WRONG = r"(?:wrong|incorrect|mistaken|not (?:right|correct)|an? (?:mistake|error|slip|typo))\b"
# What takes a statement back at the start of a line, and in the midst of one may speak of anything.
_RETRACTS = re.compile(
    r"[^\w]*(?:(?:wait|actually|hm+|no|nope|correction|sorry|apologies|oops|or|but|however|unless|if|rather|not"
    r"|on reflection|my (?:bad|mistake|error|apologies))\b|(?:that|this) (?:cannot|can't) be (?:right|correct)\b"
    rf"|(?:that|this)(?:'s| is| was) {_WRONG}|(?:it is|it's|quite)? ?the (?:other way|opposite|reverse)\b)"
)
_WITHDRAWALS = (
    # I take that back; I have changed my mind; I was wrong.
    rf"{_I}(?:(?:tak(?:e|en|ing)|took)(?: {_THAT}(?: \w+){{0,2}})? back|withdr[ae]w|withdrawn|retract(?:ed)?|revoked?"
    rf"|rescind|recant|(?:reverse|undo|overturn|revise|correct) (?:{_THAT}|myself)|re-?consider(?:ed|ing)?|re-?think"
    rf"|rethought|chang(?:e|ed|ing) my (?:mind|view|{_SAID})|misread|misjudged|misspoke|mistyped|confused the two"
    rf"|(?:mixed|got|had) (?:{_THAT}|them|the two|these|things)(?: all)? (?:up|wrong|backwards?|reversed|the wrong way)"
    rf"|spoke too soon|stand corrected|meant (?:to|it|that|the {_LABELS}|{_LABELS})|made an? (?:mistake|error|slip)"
    r"|(?:wrong|mistaken|too (?:hasty|quick))(?=\W*$|\s*[.,;:!—–]|\s(?:about|in|there|to|and)\b)"
    r"|(?:having )?second thoughts|(?:abstain|give up)(?=\W*$|\s*[.,;:!—–]|\sand\b)|rather not\b"
    r"|never said that|should(?: not|n't) have (?:said|chosen|picked|decided|answered|written)"
    r"|no longer (?:think|believe|stand by|hold|trust|want) (?:so|that|this|it|my)"
    r"|(?:do not|don't) (?:think|believe|mean) (?:so|(?:that|this|it)(?=\W*$|(?: is| was) (?:right|correct|true))))\b",
    # Scratch that; never mind; please disregard my last line; make that the other.
    r"(?:^|[.!?:,(…—–-])[\s\"')]{0,3}(?:(?:please|so|oh|and|but|well|ok|okay|um+|uh|let(?:'s| me| us)|now|then|just"
    r"|you (?:can|should))[\s,]+){0,4}(?:never ?mind\b|pretend (?:that )?i\b"
    r"|(?:scratch|strike|ignore|disregard|forget|discard|delete|cancel|undo|retract|withdraw|erase"
    rf"|(?:do not|don't) (?:count|use|record|trust|rely on))(?: about)? {_THAT}"
    rf"|(?:make|change|correct) {_THAT}(?: to)? (?:the )?(?:response )?{_LABELS})",
    # Wait; let me reconsider; correction: the other; or maybe not.
    r"(?:^|[.!?…])[\s\"')]{0,3}(?:(?:wait|hold on|nope|oops)\s*(?:[.,!;:…—–-]|$)|hm+\W{1,3}(?:no|wait)\b|i mean\b"
    r"|sorry\W{1,3}i mean\b|(?:correction|erratum|edit)\s*[:—–-]|(?:retracted|withdrawn|void|cancell?ed|undecided)\W*$"
    r"|let me (?:re-?(?:consider|think|do|read|evaluate|assess|vise|tract|phrase)|correct|change|think again)\b"
    rf"|(?:or )?(?:maybe|perhaps) (?:not|neither|either|both|the other|(?:the )?{_LABELS})|take (?:it|that|this) back\b"
    rf"|(?:that|this)(?:'s| is| was) not my{_EARLIER} {_SAID})",
    # On second thought; after further consideration; thinking about it again.
    r"\b(?:on|upon|after) (?:second|further|more|re) ?(?:thoughts?|reflection|consideration)\b",
    r"\bthinking (?:about (?:it|this) )?(?:again|more|further|twice)\b",
    # I cannot tell which; I am no longer sure; it is impossible to say.
    r"\b(?:i|we|one)(?:'m| am| are)?(?: (?:really|honestly|simply|actually|just|truly|still|also))* ?"
    r"(?:cannot|can't|can not|could not|couldn't|do not|don't|not able to|unable to|won't|will not|wouldn't|would not"
    r"|refuse to|decline to)(?: (?:really|honestly|actually|truly|even|possibly|in fact|yet))* "
    r"(?:decide|tell|say|judge|choose|determine|pick|know|commit|make|give|name|stand|settle|call|state|have|favou?r"
    rf"|prefer)\b{_WHAT_OF}",
    r"\b(?:i|we)(?:'m| am| are)(?: (?:now|really|honestly|actually|so|quite|at all|still))* "
    r"(?:unsure|uncertain|undecided|torn|(?:not|no longer)(?: (?:really|so|quite|entirely|at all|yet))* "
    rf"(?:sure|certain|convinced|confident))\b{_WHAT_OF}",
    rf"\bi have no idea\b{_WHAT_OF}",
    rf"\b(?:i have|there is|there's) (?:really |actually )?no (?:clear |real )?(?:{_SAID}|winner)",
    r"\b(?:it|this|that)(?:'s| is) (?:(?:really|just|simply|too|almost|basically|essentially) )*"
    rf"(?:a (?:toss-?up|coin (?:flip|toss))|close to call|unclear {_WHICH}|(?:impossible|not possible)(?: for me)? to "
    rf"(?:say|tell|decide|judge|choose|know|determine)\b{_WHAT_OF})|\bthere(?:'s| is) no way (?:for me )?(?:to|of) "
    rf"(?:say|tell|decid|judg|choos|know|determin)\w*\b{_WHAT_OF}",
    r"\beither (?:one |response |answer )?(?:could|can|may|might|would) be (?:right|chosen|preferred|better)\b",
    # My answer above is wrong; it should be the other.
    rf"\b(?:(?:my|the above|the previous){_EARLIER} {_SAID}(?: above)?|the above"
    r"|(?:that|this) (?:verdict|choice|preference|decision|line)) (?:is|was) "
    rf"(?:(?:probably|likely|actually|just|simply) )*(?:{_WRONG}|premature|too hasty|void|no longer|withdrawn|retracted"
    r"|backwards|reversed|the wrong way)",
    rf"\b(?:it|that|this) should (?:be|have been|read|say)\W+(?:the |response )*(?:preference|{_LABELS})",
)
_WITHDRAWS = re.compile("|".join(_WITHDRAWALS))
_QUOTATION = re.compile(r"^[^\S\n]*>.*$", re.MULTILINE)
_NEAR = re.compile(r"\bp(?!recedence\b)[^\W\d_]{7,11}\b")
_INLINE_QUOTE = re.compile(r'"[^"]*"')


@dataclass(frozen=True)
class Line:
    """One line without blanks around it, and where it stands in the text, with its end."""

    raw: str
    start: int
    end: int

    @cached_property
    def text(self) -> str:
        """The line without outer markup; empty where it is too long to state anything."""
        words = " ".join(self.raw.split())
        return " ".join(words.strip(_MARKUP).split()) if len(words) <= LONGEST_LINE else ""

    @cached_property
    def words(self) -> str:
        """The line for matching (`plain`)."""
        return plain(self.raw)


class Fence(NamedTuple):
    """Lines of a code fence, and where the fence stands in the text."""

    lines: list[Line]
    start: int
    end: int


class OwnWords(NamedTuple):
    """What a model says itself.

    `fence` is a closed code fence that ends the text. `quotes` says that there are quotations; `own_end` that the text
    ends with neither. `visible` is the text with blanks in place of what is not said.
    """

    lines: list[Line]
    fence: Fence | None
    quotes: bool
    own_end: bool
    visible: str

    @property
    def unquoted(self) -> str:
        """`visible` without quotations (`> …`)."""
        return _QUOTATION.sub("", self.visible)


def own_words(text: str) -> OwnWords | None:
    """Lines of the model's own words; None where thinking is never closed. Takes time linear in the text.

    A closing tag alone ends thinking that the prompt began, so that nothing before it counts; nor does what stands in
    another channel than the final one, from the start of another speaker's turn on, or struck out.
    """
    visible = _visible(text)
    if visible is None:
        return None
    blocks = list(_BLOCK.finditer(visible))
    lines = _lines(_BLOCK.sub(_blank, visible), 0, len(visible))
    last = blocks[-1] if blocks and not visible[blocks[-1].end() :].strip() else None
    part = "inline" if last and last["inline"] else "inside" if last and last["closed"] is not None else None
    fence = Fence(_lines(visible, *last.span(part)), *last.span()) if last and part else None
    return OwnWords(lines, fence, any(block["quote"] for block in blocks), last is None, visible)


def _lines(text: str, start: int, end: int) -> list[Line]:
    lines = (Line(found[0].strip(), found.start(), found.end()) for found in _LINE.finditer(text, start, end))
    return [line for line in lines if line.raw]


def own_lines(text: str, *, cut: bool = False) -> list[str]:
    """Short lines of the model's own words, without outer markup; none where thinking is never closed.

    A line that is too long stands as an empty one, so that it is never taken for the last. Where the answer is nothing
    but one code fence, its lines are the model's own. Of a text that was `cut` at the token limit there are lines only
    if the last of the text is among them.
    """
    words = own_words(text)
    if words is None or (cut and not words.own_end):
        return []
    lines = words.lines
    if words.fence and not (lines or words.quotes):
        lines = words.fence.lines
    return [line.text for line in lines]


def plain(line: str) -> str:
    """`line` for matching: lower case, one form for wide letters, quotes, arrows and blanks, without emphasis.

    >>> plain("**Preference**： “First”")
    'preference: "first"'
    """
    return " ".join(_DRESS.sub("", unicodedata.normalize("NFKC", line).translate(_PLAIN)).lower().split())


def spelled(words: str) -> str:
    """Plain words with those at most two letters from "preference", such as its plural, spelled so.

    >>> spelled("preferrence: second"), spelled("precedence: second")
    ('preference: second', 'precedence: second')
    """
    return _NEAR.sub(
        lambda word: "preference" if OSA.distance(word[0], "preference", score_cutoff=2) <= 2 else word[0], words
    )


def without_tokens(text: str) -> str:
    """`text` without the control tokens of chat templates and what is struck out."""
    return _TOKEN.sub("", _STRUCK.sub("", text))


def withdraws(words: str) -> bool:
    """Whether plain words that follow a statement take it back, or deny that there is one.

    >>> withdraws("scratch that."), withdraws("the second rambles, i take it.")
    (True, False)
    """
    return bool(_RETRACTS.match(words) or _WITHDRAWS.search(_INLINE_QUOTE.sub("", words)))


def _visible(text: str) -> str | None:
    """`text` with blanks in place of thinking, other channels and turns, tokens and what is struck out; None where
    thinking is never closed, or there are channels and no final one."""
    final = list(_FINAL_CHANNEL.finditer(text))
    if not final and _CHANNEL.match(text):
        return None
    begun = final[-1].end() if final else 0
    other = _OTHER_TURN.search(text, begun)
    end = other.start() if other else len(text)
    said = _TOKEN.sub(_blank, _STRUCK.sub(_blank, text[begun:end]))
    said = f"{_blank(text[:begun])}{said}{_blank(text[end:])}"
    parts, closed = find_thinking(said)
    seen, position = [], 0
    for start, end in parts:
        seen += [said[position:start], " " * (end - start)]
        position = end
    seen.append(said[position:])
    return _LINE_ENDS.sub("\n", "".join(seen).replace("\r\n", " \n")) if closed else None


def _blank(removed: str | re.Match[str]) -> str:
    """Blanks as long, with the same ends of lines."""
    return re.sub(r"\S", " ", removed if isinstance(removed, str) else removed[0])
