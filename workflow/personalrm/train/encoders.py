"""Features of answers: the hidden states of a frozen base model, pooled to one vector per text.

A text is an answer, alone or after its conversation in the model's chat template. Tokens of the conversation and of the
answer are made apart, so that what is cut is known: the conversation loses its oldest tokens, and the answer is kept
whole. Only an answer that alone exceeds the limit loses its end. Both are counted.

Padding stands on the right, with a mask, and pooling reads lengths and no pad token, so that what else is in a batch
changes a feature by rounding alone: below 1e-4 in float32; in bfloat16 up to its own precision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoModel, AutoTokenizer

from personalrm.core.errors import ConfigError
from personalrm.core.records import Turn
from personalrm.train.bases import Base, open_base

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

Text = Literal["chat", "answer"]
Pooling = Literal["mean", "mean_answer", "last"]


@dataclass(frozen=True)
class EncoderSettings:
    """How texts become features.

    Attributes:
        base: id of an embedded model, a folder, or a hub id.
        revision: of a hub id.
        text: `chat`, conversation and answer in the chat template (a model without one reads the turns, separated by
            blank lines); `answer`, the answer alone without a template.
        pooling: `mean` of all tokens (GPO), `mean_answer` of those of the answer and its end, or the `last` token (VPL,
            LoRe).
        dtype: of weights and activations; features are float32.
        max_tokens: of a text; None for what the model takes.
        batch_tokens: most tokens of a batch, padding included; a longer text is a batch of its own.
        device: as torch names it.
    """

    base: str = "smollm2-135m"
    revision: str | None = None
    text: Text = "chat"
    pooling: Pooling = "mean"
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    max_tokens: int | None = None
    batch_tokens: int = 2048
    device: str = "cpu"


class Tokens(NamedTuple):
    """One text. The answer's tokens are the last `answer` ones."""

    ids: tuple[int, ...]
    answer: int
    context_cut: bool
    answer_cut: bool


class Encoded(NamedTuple):
    """Features of texts in the order in which they were given, and how they were made.

    Attributes:
        features: (texts, dim), float32.
        tokens: read by the model, without padding.
        contexts_cut: texts whose conversation lost its oldest tokens.
        answers_cut: texts whose answer was too long by itself.
    """

    features: Array
    tokens: int
    contexts_cut: int
    answers_cut: int


class Encoder:
    """A frozen model in memory; made by `open_encoder`."""

    def __init__(self, model: Any, tokenizer: Any, settings: EncoderSettings, limit: int, identity: str) -> None:  # noqa: ANN401
        self._model = model
        self._tokenizer = tokenizer
        self._settings = settings
        self._limit = limit
        self._before, self._after = _special_tokens(tokenizer)
        if limit <= (special := len(self._before) + len(self._after)):
            raise ConfigError(
                f"encoder {settings.base}: max_tokens {limit} has no room beside {special} special tokens"
            )
        self.dim = int(model.config.hidden_size)
        self.card: dict[str, Any] = {
            "encoder": {**asdict(settings), "max_tokens": limit},
            "base": identity,
            "dim": self.dim,
            "torch": torch.__version__.split("+")[0],
        }

    def encode(self, texts: Sequence[tuple[Sequence[Turn], str]]) -> Encoded:
        """Features of texts, each a conversation and an answer; equal texts are read once."""
        made = [self.tokenise(context, answer) for context, answer in texts]
        # Sorted by content, so that batches, and so the last bits, do not depend on the order of the texts.
        distinct = sorted({(*tokens.ids, -tokens.answer): tokens for tokens in made}.items(), key=_by_length)
        found: dict[tuple[int, ...], Array] = {}
        with torch.inference_mode():
            for batch in self._batches([tokens for _, tokens in distinct]):
                for tokens, vector in zip(batch, self._pooled(batch), strict=True):
                    found[(*tokens.ids, -tokens.answer)] = vector
        empty = np.zeros((0, self.dim), dtype=np.float32)
        return Encoded(
            np.stack([found[(*tokens.ids, -tokens.answer)] for tokens in made]) if made else empty,
            sum(len(tokens.ids) for _, tokens in distinct),
            sum(tokens.context_cut for tokens in made),
            sum(tokens.answer_cut for tokens in made),
        )

    def tokenise(self, context: Sequence[Turn], answer: str) -> Tokens:
        """The tokens of one text, cut to the limit."""
        before, after = list(self._before), list(self._after)
        if self._settings.text == "answer":
            head, tail = "", answer
        elif self._tokenizer.chat_template:
            head, tail = self._chat(context, answer)
            # The template has its own special tokens.
            before, after = [], []
        else:
            head, tail = "".join(f"{turn.content}\n\n" for turn in context), answer
        start, end = self._ids(head), self._ids(tail)
        room = self._limit - len(before) - len(after)
        kept = end[:room]
        start_kept = start[max(0, len(start) - (room - len(kept))) :]
        ids = (*before, *start_kept, *kept, *after)
        # A text without any token: its feature is that of the end token.
        ids = ids or (self._tokenizer.eos_token_id or 0,)
        return Tokens(
            ids,
            max(1, len(kept) + len(after)),
            len(start_kept) < len(start),
            len(kept) < len(end),
        )

    def _chat(self, context: Sequence[Turn], answer: str) -> tuple[str, str]:
        """The text in the chat template, in two parts: up to the answer, and from there with the end of its turn."""
        turns = [turn.model_dump() for turn in context]
        render = self._tokenizer.apply_chat_template
        try:
            # An answer without a conversation is the whole text.
            prompt = render(turns, tokenize=False, add_generation_prompt=True) if turns else ""
            whole = render([*turns, {"role": "assistant", "content": answer}], tokenize=False)
        except Exception as error:
            # Templates raise what they like: of jinja, or their own.
            raise ConfigError(
                f"encoder {self._settings.base}: its chat template refuses a conversation with the roles "
                f"{', '.join(turn.role for turn in context)}: {error}. Use text: answer, or another base"
            ) from error
        both = zip(prompt, whole, strict=False)
        start = next((n for n, (one, other) in enumerate(both) if one != other), min(len(prompt), len(whole)))
        return whole[:start], whole[start:]

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    def _batches(self, texts: Sequence[Tokens]) -> Iterator[list[Tokens]]:
        """Texts from short to long, as many at once as `batch_tokens` allows."""
        batch: list[Tokens] = []
        for tokens in texts:
            if batch and (len(batch) + 1) * len(tokens.ids) > self._settings.batch_tokens:
                yield batch
                batch = []
            batch.append(tokens)
        if batch:
            yield batch

    def _pooled(self, batch: Sequence[Tokens]) -> Array:
        """One vector per text, (texts, dim)."""
        lengths = torch.tensor([len(tokens.ids) for tokens in batch])
        longest = int(lengths.max())
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        for row, tokens in zip(ids, batch, strict=True):
            row[: len(tokens.ids)] = torch.tensor(tokens.ids)
        places = torch.arange(longest)[None]
        real = places < lengths[:, None]
        hidden = self._model(
            input_ids=ids.to(self._settings.device), attention_mask=real.long().to(self._settings.device)
        ).last_hidden_state.float()
        if self._settings.pooling == "last":
            read = places == lengths[:, None] - 1
        elif self._settings.pooling == "mean_answer":
            read = real & (places >= lengths[:, None] - torch.tensor([tokens.answer for tokens in batch])[:, None])
        else:
            read = real
        weights = read.float().to(hidden.device)
        # A product and no masked mean: what stands at padding is finite, and counts 0.
        pooled = torch.einsum("btd,bt->bd", hidden, weights) / weights.sum(dim=1, keepdim=True)
        found: Array = pooled.cpu().numpy().astype(np.float32)
        return found


def _by_length(item: tuple[tuple[int, ...], Tokens]) -> tuple[int, tuple[int, ...]]:
    return len(item[1].ids), item[0]


def _special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:  # noqa: ANN401
    """What the tokenizer puts before and after a text without a template (BERT: one each; GPT-2: none)."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    start = next(n for n in range(len(whole)) if whole[n : n + len(plain)] == plain)
    return list(whole[:start]), list(whole[start + len(plain) :])


@contextmanager
def open_encoder(
    settings: EncoderSettings, *, cache_dir: Path | None = None, threads: int | None = 1
) -> Iterator[Encoder]:
    """The encoder that `settings` name, with `threads` of torch (None: as many as the process has).

    Raises:
        EmbeddedModelError: the file of an embedded model is nowhere.
        ConfigError: there is no such base or device, the base has an encoder and a decoder, or `max_tokens` is more
            than it takes or too little for a text.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    with open_base(settings.base, settings.revision, cache_dir) as base:
        try:
            tokenizer: Any = AutoTokenizer.from_pretrained(base.path, revision=base.revision)
            model: Any = AutoModel.from_pretrained(
                base.path, revision=base.revision, dtype=getattr(torch, settings.dtype), attn_implementation="sdpa"
            )
        except (OSError, ValueError, ImportError, SafetensorError) as error:
            raise ConfigError(f"encoder {settings.base}: transformers cannot load it: {error}") from error
        if model.config.is_encoder_decoder:
            raise ConfigError(f"encoder {settings.base}: has an encoder and a decoder; give a base that is one of them")
        try:
            model.eval().to(settings.device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"encoder {settings.base}: device {settings.device!r} cannot be used: {error}") from error
        commit = getattr(model.config, "_commit_hash", None)
        identity = f"{base.identity.split('@')[0]}@{commit}" if commit else base.identity
        yield Encoder(model, tokenizer, settings, _limit(base, model, tokenizer, settings), identity)


def _limit(base: Base, model: Any, tokenizer: Any, settings: EncoderSettings) -> int:  # noqa: ANN401
    """Most tokens of a text, special ones included.

    The tokenizer is asked too: RoBERTa has two positions that no token can take.
    """
    known = (base.context_length, getattr(model.config, "max_position_embeddings", None), tokenizer.model_max_length)
    most = min(one for one in known if one is not None)
    if settings.max_tokens is not None and settings.max_tokens > most:
        raise ConfigError(f"encoder {settings.base}: max_tokens {settings.max_tokens} exceeds its {most}")
    return settings.max_tokens or most
