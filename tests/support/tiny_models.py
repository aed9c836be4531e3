"""Base models of a few thousand random weights, saved as transformers saves them, with a tokenizer of words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5Model,
)

WORDS = [f"w{n}" for n in range(60)]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "[CLS]", "[SEP]", "user", "assistant", "system"]
CHATML = (
    "{% for m in messages %}<|im_start|> {{ m.role }} {{ m.content }} <|im_end|> {% endfor %}"
    "{% if add_generation_prompt %}<|im_start|> assistant {% endif %}"
)


def _tokenizer(*, template: str | None, bert: bool) -> Any:  # noqa: ANN401
    names = [*SPECIAL, *WORDS, "[UNK]"]
    vocabulary = {word: n for n, word in enumerate(names)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if bert:
        ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
        words.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    # Padding is the end token, as many tokenizers have it.
    made = PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token="<|im_end|>", pad_token="<|im_end|>", unk_token="[UNK]"
    )
    made.chat_template = template
    return made


SIZES: dict[str, Any] = {
    **{"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    "initializer_range": 0.5,
}
"""Of all models but T5, whose config has other names."""


def tiny_llama(folder: Path, template: str | None = CHATML, tokens: int = 64) -> str:
    """A causal model with a chat template, dim 16, for 64 `tokens`; returns the folder."""
    tokenizer = _tokenizer(template=template, bert=False)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = LlamaConfig(
        vocab_size=len(tokenizer), num_key_value_heads=1, max_position_embeddings=tokens, **SIZES, **ends
    )
    return _saved(LlamaForCausalLM, config, tokenizer, folder, seed=0)


def tiny_bert(folder: Path) -> str:
    """A bidirectional encoder without a chat template, dim 16, for 64 tokens; returns the folder."""
    tokenizer = _tokenizer(template=None, bert=True)
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **SIZES)
    return _saved(BertModel, config, tokenizer, folder, seed=1)


def tiny_roberta(folder: Path) -> str:
    """As `tiny_bert`, with two positions that its tokens cannot take; returns the folder."""
    tokenizer = _tokenizer(template=None, bert=True)
    tokenizer.model_max_length = 64
    config = RobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=66, pad_token_id=1, **SIZES)
    return _saved(RobertaModel, config, tokenizer, folder, seed=2)


def tiny_t5(folder: Path) -> str:
    """A model with an encoder and a decoder; returns the folder."""
    tokenizer = _tokenizer(template=None, bert=True)
    config = T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    return _saved(T5Model, config, tokenizer, folder, seed=3)


def _saved(kind: Any, config: Any, tokenizer: Any, folder: Path, *, seed: int) -> str:  # noqa: ANN401
    torch.manual_seed(seed)
    kind(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
