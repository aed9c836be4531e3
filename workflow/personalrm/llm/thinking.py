"""Thinking that a model writes into its answer, between tags: taken out here for everything that reads answers."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

from personalrm.llm.types import Response

_TAG = re.compile(
    r"<(?P<close>/?)(?:\w{1,20}:)?(?:think(?:ing)?|thought)>|\[(?P<close2>/?)THINK\]|◁(?P<close3>/?)think▷"
    r"|<\|channel\|>analysis<\|message\|>|(?P<close4>(?:<\|end\|><\|start\|>assistant)?<\|channel\|>final<\|message\|>)",
    re.IGNORECASE,
)
"""Tags of DeepSeek, Qwen and many others (also with a prefix, as ByteDance Seed), of Mistral, of Kimi, and channels of
gpt-oss that a server does not read. Not "reasoning": models that are asked for one mark it so."""


class Thinking(NamedTuple):
    """Where a text holds thinking, tags included: (start, end) of each part; `closed` is false if a tag stays open."""

    parts: list[tuple[int, int]]
    closed: bool


def find_thinking(text: str) -> Thinking:
    """Thinking in a text, in time linear in its length.

    A closing tag alone ends thinking that the prompt began: all before it is thinking.

    >>> find_thinking("<think>Cats?</think>Dogs"), find_thinking("Cats?</think>Dogs <think>or")
    (Thinking(parts=[(0, 20)], closed=True), Thinking(parts=[(0, 13), (18, 27)], closed=False))
    """
    parts: list[tuple[int, int]] = []
    opened: int | None = None
    for tag in _TAG.finditer(text):
        if not any(tag.groups()):
            opened = tag.start() if opened is None else opened
        elif opened is None:
            parts = [(0, tag.end())]
        else:
            parts.append((opened, tag.end()))
            opened = None
    if opened is not None:
        parts.append((opened, len(text)))
    return Thinking(parts, opened is None)


def without_thinking(response: Response) -> Response:
    """`response` with thinking moved from its text to `reasoning`; an empty cut answer where it is never closed."""
    parts, closed = find_thinking(response.text)
    if not parts:
        return response
    thoughts = [_TAG.sub("", response.text[start:end]).strip() for start, end in parts]
    reasoning = "\n".join(filter(None, [response.reasoning, *thoughts]))
    if not closed:
        return replace(response, text="", reasoning=reasoning, finish_reason="length")
    ends, starts = [0, *(end for _, end in parts)], [*(start for start, _ in parts), len(response.text)]
    said = (response.text[end:start] for end, start in zip(ends, starts, strict=True))
    return replace(response, text=" ".join(filter(None, said)).strip(), reasoning=reasoning)
