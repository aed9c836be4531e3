"""What a model writes around its answer: thinking between tags, and marks of a chat template that a server did not
take out. Both are taken out here, for everything that reads answers."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

from personalrm.llm.types import Response

_NAMES = (
    r"(?:\w{1,20}:)?(?:ant)?(?:think(?:ing)?|(?<!\w<)(?:thoughts?|reflection|scratchpad|inner_(?:monologue|thoughts)))"
)
"""Not "reasoning": judges are asked for one, which demonstrations show, and some models mark it so. Not
`List<Thought>`, which is code."""
_OPENS = (
    rf"<{_NAMES}(?:\s[^<>\n]{{0,80}})?>",
    r"\[THINK\]|◁think▷|<\|(?:think(?:ing)?|begin_of_thought|START_THINKING)\|>|<unused94>(?:thought\b)?"
    r"|<\|channel>thought\b",
    r"(?:<\|start\|>\s*assistant\s*)?<\|channel\|>\s*(?:analysis|commentary)\b[^<\n]{0,60}"
    r"(?:<\|constrain\|>\s*(?:\w+\s*)?)?<\|message\|>",
)
_BEGINS_THINKING = (
    r"\A\s*(?:(?:analysis|commentary)(?=[\s\S]*assistantfinal)|<analysis>(?=[\s\S]*</analysis>)"
    r"|here(?: is|'s) my thought process:(?=[\s\S]*here(?: is|'s) my response:))"
)
"""Thinking only if they begin a text that closes it."""
_CLOSES = (
    rf"</{_NAMES}\s{{0,9}}>",
    r"\[/THINK\]|◁/think▷|<\|(?:/think(?:ing)?|end_of_thought|END_THINKING)\|>|<unused95>|<channel\|>",
    r"(?:<\|(?:end|return|call)\|>\s*)?(?:<\|start\|>\s*assistant\s*)?<\|channel\|>\s*final\b[^<\n]{0,40}"
    r"(?:<\|constrain\|>\s*(?:\w+\s*)?)?<\|message\|>",
)
_CLOSES_BEGUN = r"</analysis>|assistantfinal|here(?: is|'s) my response:"
_TAG = re.compile(
    rf"(?P<begins>{_BEGINS_THINKING})|(?P<opens>{'|'.join(_OPENS)})|(?P<closes>{'|'.join(_CLOSES)})"
    rf"|(?P<closes_begun>{_CLOSES_BEGUN})",
    re.IGNORECASE,
)
"""Tags of DeepSeek, Qwen and many others (also with a prefix, as ByteDance Seed), of Mistral, Kimi, Cohere, Granite and
Gemma, and channels of gpt-oss. `closes` may stand alone, where the prompt opened the thinking."""

_TURN = r"<(?:[|｜](?:im_start|start_header_id|start|turn|start_of_turn_token)[|｜]?|start_of_turn)>"
_BEGINS = re.compile(
    rf"\s*(?:{_TURN}\s*(?:assistant|model|chatbot)\b\s*(?:<\|(?:end_header_id|message)\|>)?|<bos>"
    r"|<[|｜](?:begin|start)\w{1,40}[|｜]>)",
    re.IGNORECASE,
)
_ENDS = re.compile(r"(?:<[|｜][^|｜<>\s]{1,40}[|｜]>|<(?:eos|EOT|end_of_turn)>|\[(?:/INST|EOS)\])\Z")
_LONGEST_MARK = 50
_OTHER_TURN = re.compile(rf"(?:{_TURN}\s*(?:user|system|human|tool|developer)\b|<\|(?:user|system|human)\|>)")


class Thinking(NamedTuple):
    """Where a text holds thinking, tags included: (start, end) of each part; `closed` is false if a tag stays open."""

    parts: list[tuple[int, int]]
    closed: bool


def find_thinking(text: str) -> Thinking:
    """Thinking in a text, in time linear in its length.

    A closing tag alone ends thinking that the prompt began: all before it is thinking. A tag between backticks is only
    spoken of.

    >>> find_thinking("<think>Cats?</think>Dogs"), find_thinking("Cats?</think>Dogs <think>or")
    (Thinking(parts=[(0, 20)], closed=True), Thinking(parts=[(0, 13), (18, 27)], closed=False))
    """
    parts: list[tuple[int, int]] = []
    opened: int | None = None
    begun = False
    for tag in _TAG.finditer(text):
        spoken_of = text[max(0, tag.start() - 1)] == "`" == text[tag.end() : tag.end() + 1]
        # A text that is an analysis and nothing else is the answer.
        if opened is None and (spoken_of or (tag["begins"] and text.rstrip().endswith("</analysis>"))):
            continue
        if tag["opens"] or tag["begins"]:
            begun = begun or bool(tag["begins"])
            opened = tag.start() if opened is None else opened
        elif tag["closes_begun"] and not begun:
            continue
        elif opened is not None:
            parts.append((opened, tag.end()))
            opened = None
        elif tag["closes"]:
            parts = [(0, tag.end())]
    if opened is not None:
        parts.append((opened, len(text)))
    return Thinking(parts, opened is None)


def without_thinking(response: Response) -> Response:
    """`response` with thinking moved from its text to `reasoning`, and without marks of a chat template; an empty cut
    answer where thinking is never closed."""
    parts, closed = find_thinking(response.text)
    if not parts:
        said = without_marks(response.text)
        return response if said == response.text else replace(response, text=said)
    thoughts = [_TAG.sub("", response.text[start:end]).strip() for start, end in parts]
    reasoning = "\n".join(filter(None, [response.reasoning, *thoughts]))
    if not closed:
        return replace(response, text="", reasoning=reasoning, finish_reason="length")
    ends, starts = [0, *(end for _, end in parts)], [*(start for start, _ in parts), len(response.text)]
    said = " ".join(filter(None, (response.text[end:start] for end, start in zip(ends, starts, strict=True))))
    return replace(response, text=without_marks(said).strip(), reasoning=reasoning)


def without_marks(text: str) -> str:
    r"""`text` without marks of a chat template around it, tags that say that it is the answer, and turns of others that
    follow it; the text itself where there are none. Takes time linear in its length.

    >>> without_marks("<|im_start|>assistant\nLikes dogs.<|im_end|>"), without_marks("<answer>Likes dogs.</answer>")
    ('Likes dogs.', 'Likes dogs.')
    """
    other = _OTHER_TURN.search(text)
    # In code, between backticks, a mark is a part of the answer.
    said = (text[: other.start()] if other and not text.count("`", 0, other.start()) % 2 else text).strip()
    body, _, rest = said.partition("</s>")
    # In the midst of a text, `<s>…</s>` is a line through a part of it.
    if not rest.replace("</s>", "").strip() and "<s>" not in body[1:]:
        said = body.removeprefix("<s>")
    begun, ended = 0, len(said)
    while mark := _BEGINS.match(said, begun):
        begun = mark.end()
    while mark := _ENDS.search(said, max(begun, ended - _LONGEST_MARK), ended):
        ended = mark.start()
        while ended > begun and said[ended - 1].isspace():
            ended -= 1
    said = said[begun:ended].strip()
    for name in ("answer", "response", "output"):
        inner = said.removeprefix(f"<{name}>").removesuffix(f"</{name}>").strip()
        # Tags in them are a document.
        if said.startswith(f"<{name}>") and f"<{name}>" not in inner and f"</{name}>" not in inner and inner[:1] != "<":
            said = inner
    return text if said == text.strip() else said
