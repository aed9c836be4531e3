"""Tokens of a text, by the model's own tokenizer where it is at hand, else by a stated one."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import NamedTuple

from personalrm.llm.types import ModelSpec

FRAME_TOKENS = 4
"""Of each message, beside its text; chat templates take 3 to 5."""
OTHER = "cl100k_base"
"""Stands in for tokenizers that are not OpenAI's: those of Llama 3 and Qwen grew out of it and cut English alike."""


class Counter(NamedTuple):
    """Counts the `tokens` of a text; `how` says by what."""

    tokens: Callable[[str], float]
    how: str


def counter_of(spec: ModelSpec) -> Counter:
    """How a model's tokens are counted. Nothing is fetched."""
    from personalrm.llm.litellm_backend import load_litellm

    load_litellm()
    # It brings OpenAI's vocabularies along; this module of it tells tiktoken where they lie.
    importlib.import_module("litellm.litellm_core_utils.default_encoding")
    import tiktoken

    try:
        name = tiktoken.encoding_name_for_model(spec.model.rpartition("/")[2])
    except KeyError:
        return Counter(_encoded(OTHER), f"{OTHER}, for a tokenizer that is not at hand")
    return Counter(_encoded(name), name)


@functools.cache
def _encoded(name: str) -> Callable[[str], float]:
    import tiktoken

    encoding = tiktoken.get_encoding(name)

    @functools.lru_cache(maxsize=100_000)
    def count(text: str) -> float:
        return len(encoding.encode_ordinary(text.encode("utf-8", "replace").decode("utf-8")))

    return count
