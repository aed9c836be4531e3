"""Texts that begin alike, read once: log-probabilities and gradients are those of the texts one by one."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra train: pip install 'personalrm[train]'")

from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    GPT2Config,
    JambaConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
)

from personalrm.train.texts import Tokens
from personalrm.train.token_trees import Tree, batch_of, grouped, reads_trees, text_log_probs, token_log_probs

SIZES: dict[str, Any] = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "initializer_range": 0.5}
SIZES |= {"num_attention_heads": 2, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 1}
LLAMA = {**SIZES, "intermediate_size": 32, "num_key_value_heads": 1}
SHOTS = tuple(range(2, 14))


def text(*ids: int, answer: int) -> Tokens:
    return Tokens(ids, answer, False, False)


def pair(*question: int) -> list[Tokens]:
    """Two answers of unlike length to a question, after votes."""
    return [text(*SHOTS, *question, *one, answer=len(one)) for one in ((30, 31, 1), (32, 33, 34, 35, 1))]


PAIRS = [pair(20, 21), pair(22, 23, 24)]
TEXTS = [one for two in PAIRS for one in two]


def model_of(config: Any) -> Any:  # noqa: ANN401
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")


def read(model: Any, rows: list[Tree]) -> Any:  # noqa: ANN401
    batch = batch_of(rows, 0)
    return text_log_probs(token_log_probs(model, batch), batch, sum(len(row.texts) for row in rows))


def test_a_tree_has_each_shared_start_once() -> None:
    texts = [text(5, 6, 7, answer=1), text(5, 6, 8, 7, answer=2), text(9, answer=1), text(5, 6, answer=1)]
    tree = Tree.of(texts)
    assert tree.ids == (5, 6, 7, 8, 7, 9)
    assert tree.paths == ((0, 1, 2), (0, 1, 3, 4), (5,), (0, 1))
    assert tree.branches
    assert not Tree.of(texts[:1]).branches
    batch = batch_of([tree, Tree.of(texts[:1])], 0)
    sees = [[place for place in range(6) if row[place]] for row in batch["attention_mask"][0, 0]]
    assert sees == [[0], [0, 1], [0, 1, 2], [0, 1, 3], [0, 1, 3, 4], [5]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 2, 3, 0], [0, 1, 2, 0, 0, 0]]
    # So does padding: what attends to nothing has no number.
    assert batch["attention_mask"][1, 0, 3:].long().argmax(dim=-1).tolist() == [3, 4, 5]
    # The first token of a text is not predicted: the third text has no entry.
    assert batch["labels"].tolist() == [-100, 7, 8, 7, 6, 7]
    assert batch["before"].tolist() == [1, 1, 3, 0, 6 + 1]
    assert batch["text"].tolist() == [0, 1, 1, 3, 4]


def test_texts_that_share_half_of_their_tokens_are_a_group() -> None:
    other = text(3, *range(20, 30), answer=2)
    assert grouped([*TEXTS[::-1], other], 100) == [TEXTS, [other]]
    # 12 votes, 2 and 3 tokens of questions, 3 and 5 of answers.
    assert grouped(TEXTS, 33) == [TEXTS]
    assert grouped(TEXTS, 32) == [TEXTS[:3], TEXTS[3:]]
    assert grouped([text(*range(4), answer=1), text(0, 1, 8, 9, answer=1), text(0, 8, 9, 10, answer=1)], 100) == [
        [text(*range(4), answer=1), text(0, 1, 8, 9, answer=1)],
        [text(0, 8, 9, 10, answer=1)],
    ]


@pytest.mark.parametrize("config", [LlamaConfig(**LLAMA), Qwen2Config(**LLAMA), GPT2Config(**SIZES)])
def test_sums_and_gradients_are_those_of_the_texts_one_by_one(config: Any) -> None:  # noqa: ANN401
    model = model_of(config).eval()
    assert reads_trees(model)
    found: list[tuple[Any, list[Any]]] = []
    weights = torch.tensor([1.0, -1.0, 0.5, 2.0])
    # Each alone, all as one tree, and a tree of a pair beside a shorter one, which is padded.
    for rows in ([Tree.of([one]) for one in TEXTS], [Tree.of(TEXTS)], [Tree.of(one) for one in PAIRS]):
        sums = torch.cat([read(model, [row]) for row in rows]) if len(rows) == 4 else read(model, rows)
        model.zero_grad()
        (sums * weights).square().sum().backward()
        found.append((sums.detach(), [one.grad.clone() for one in model.parameters()]))
    plain, slopes = found[0]
    assert float(plain.std()) > 0.1
    for sums, gradients in found[1:]:
        assert torch.allclose(sums, plain, atol=1e-4)
        for one, other in zip(gradients, slopes, strict=True):
            assert torch.allclose(one, other, atol=1e-4 * max(1.0, float(other.abs().max())))
    # One answer does not see the other.
    turned = [PAIRS[0][0], text(*PAIRS[0][1].ids[:-4], 37, 38, 39, 1, answer=5)]
    with torch.no_grad():
        assert read(model, [Tree.of(turned)])[0] == pytest.approx(float(plain[0]), abs=1e-4)


@pytest.mark.parametrize(
    "config",
    [
        FalconConfig(**SIZES, alibi=True),
        MistralConfig(**LLAMA, sliding_window=4),
        Qwen2Config(**LLAMA, layer_types=["full_attention", "sliding_attention"], use_sliding_window=True),
        JambaConfig(**LLAMA, attn_layer_period=2, attn_layer_offset=0, use_mamba_kernels=False),
    ],
)
def test_models_that_attend_otherwise_read_no_trees(config: Any) -> None:  # noqa: ANN401
    assert not reads_trees(model_of(config))
