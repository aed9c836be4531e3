"""Tokens of a text, by the model's own tokenizer where it is at hand (`llm.tokens`), else by a stated one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

from personalrm.llm import tokens
from personalrm.llm.backends.openai_format import wire_text
from personalrm.llm.types import ModelSpec

FRAME_TOKENS = 4
"""Of each message, beside its text; chat templates take 3 to 5."""
OTHER = "gpt-4"
"""The model whose tokenizer stands in for others: those of Llama 3 and Qwen grew out of it and cut English alike."""
BYTES_A_TOKEN = 4.3
"""Of English in the bundled data, where no tokenizer can be had at all (ours)."""


class Counter(NamedTuple):
    """Counts the `tokens` of a text; `how` says by what."""

    tokens: Callable[[str], float]
    how: str


def counter_of(spec: ModelSpec) -> Counter:
    """How a model's tokens are counted. Nothing is fetched."""
    own = tokens.counter_of(spec)
    count = own or tokens.counter_of(ModelSpec(OTHER, "openai", OTHER))
    if count is None:
        return Counter(lambda text: len(text.encode("utf-8", "replace")) / BYTES_A_TOKEN, "estimated from bytes")

    @functools.lru_cache(maxsize=100_000)
    def counted(text: str) -> float:
        return count(wire_text(text))

    return Counter(counted, "its own tokenizer" if own else f"that of {OTHER}, for a tokenizer that is not at hand")
