"""Features of answers: the hidden states of a frozen base model, pooled to one vector per text.

A text is an answer, alone or after its conversation in the model's chat template (`texts.py`). What is cut is counted.

Padding stands on the right, with a mask, and pooling reads lengths and no pad token, so that what else is in a batch
changes a feature by rounding alone: below 1e-4 in float32; in bfloat16 up to its own precision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoModel, AutoTokenizer

from personalrm.core.errors import ConfigError
from personalrm.core.records import Turn
from personalrm.train.bases import open_base
from personalrm.train.features import Array
from personalrm.train.texts import Text, Tokeniser, Tokens, batches, token_limit
from personalrm.train.trainer import use_threads

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
        self._settings = settings
        self.tokenise = Tokeniser(tokenizer, limit, settings.text, f"encoder {settings.base}").tokenise
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
            for batch in batches([tokens for _, tokens in distinct], self._settings.batch_tokens):
                for tokens, vector in zip(batch, self._pooled(batch), strict=True):
                    found[(*tokens.ids, -tokens.answer)] = vector
        empty = np.zeros((0, self.dim), dtype=np.float32)
        return Encoded(
            np.stack([found[(*tokens.ids, -tokens.answer)] for tokens in made]) if made else empty,
            sum(len(tokens.ids) for _, tokens in distinct),
            sum(tokens.context_cut for tokens in made),
            sum(tokens.answer_cut for tokens in made),
        )

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
    use_threads(threads)
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
        limit = token_limit(base.limits(model, tokenizer), settings.max_tokens, f"encoder {settings.base}")
        yield Encoder(model, tokenizer, settings, limit, base.identity_of(model))
