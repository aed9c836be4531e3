"""How many tokens a prompt has: by the model's own tokenizer where it is known, else estimates from its bytes.

A tokenizer is known where the config names its file (`models.<name>.tokenizer`), and for OpenAI's models, whose files
litellm brings. English takes 4 to 5 bytes of UTF-8 a token, other scripts fewer (our choice of bounds: 3 and 6). What
is shown to a judge rests on a count, so it never depends on the network, a server, or a model file that may be there.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from personalrm.core.errors import ConfigError
from personalrm.llm.backends.openai_format import wire_text
from personalrm.llm.types import Message, ModelSpec

FEWEST_BYTES = 3
"""Bytes a token where the prompt must not be under-estimated."""
MOST_BYTES = 6
"""Bytes a token where it must not be over-estimated."""
FRAME_TOKENS = 8
"""Tokens of a message in addition to its text."""
TEMPLATE_TOKENS = 40
"""What a chat template may add to a prompt (Llama 3.1's dates take some 25); the estimate has room for it anyway."""

Count = Callable[[str], int]
"""Tokens of a text."""


def prompt_bytes(messages: Sequence[Message]) -> int:
    """UTF-8 bytes of all messages."""
    return sum(len(message.content.encode("utf-8", "surrogatepass")) for message in messages)


def at_most(messages: Sequence[Message]) -> int:
    """An upper estimate of the prompt's tokens."""
    return math.ceil(prompt_bytes(messages) / FEWEST_BYTES) + FRAME_TOKENS * len(messages)


def of_text(text: str) -> int:
    """An upper estimate of the tokens of a text."""
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / FEWEST_BYTES)


def at_least(messages: Sequence[Message]) -> int:
    """A lower estimate of the prompt's tokens: a prompt that is longer than the window by it can not fit."""
    return math.ceil(prompt_bytes(messages) / MOST_BYTES)


def counted(messages: Sequence[Message], count: Count) -> int:
    """Tokens of the messages' texts."""
    return sum(count(wire_text(message.content)) for message in messages)


def fits(messages: Sequence[Message], room: int, spec: ModelSpec) -> bool:
    """Whether a prompt surely fits: by its bytes, and where these leave a doubt by the tokenizer, if it is known."""
    if at_most(messages) <= room:
        return True
    count = counter_of(spec)
    return count is not None and counted(messages, count) + FRAME_TOKENS * len(messages) + TEMPLATE_TOKENS <= room


def overflow(messages: Sequence[Message], spec: ModelSpec) -> int | None:
    """Tokens, at least, of a prompt that surely does not fit the window, whatever is added to its texts; None where
    it may fit."""
    if at_most(messages) <= spec.context_length:
        return None
    count = counter_of(spec)
    least = at_least(messages) if count is None else counted(messages, count)
    return least if least > spec.context_length else None


def counter_of(spec: ModelSpec) -> Count | None:
    """How the model's own tokenizer counts; None where it is not known. Cheap after the first time.

    Raises ConfigError where the file that the config names is not a tokenizer's.
    """
    return _of_file(spec.tokenizer, spec.name) if spec.tokenizer else _of_openai(spec.model.removeprefix("openai/"))


@cache
def _of_file(path: str, name: str) -> Count:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(path)
    except Exception as error:  # the library raises no narrower one
        raise ConfigError(f"models.{name}.tokenizer: {path}: {error}; give the model's tokenizer.json") from error
    # What the file says of cutting and filling is meant for training.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


@cache
def _of_openai(model: str) -> Count | None:
    import tiktoken

    try:
        encoding = tiktoken.encoding_name_for_model(model)
    except KeyError:
        return None
    found = importlib.util.find_spec("litellm")
    if found is None or found.origin is None:
        return None
    # Where litellm lets tiktoken look, too. A file that is not there would be fetched from the network.
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(Path(found.origin).parent / "litellm_core_utils" / "tokenizers"))
    address = f"https://openaipublic.blob.core.windows.net/encodings/{encoding}.tiktoken"
    if not Path(os.environ["TIKTOKEN_CACHE_DIR"], hashlib.sha1(address.encode()).hexdigest()).is_file():
        return None
    known = tiktoken.get_encoding(encoding)
    return lambda text: len(known.encode_ordinary(text))
