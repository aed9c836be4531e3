"""Log-probabilities of texts that begin alike: what several texts share is read once.

The tokens of such texts are a tree: each text is a path from its root. A tree is one row of a batch. A token attends to
the tokens before it on its path alone, at the places that they have in their text, so that sums and their gradients are
those of the texts one by one, but for rounding (below 1e-4 in float32). The answers of a pair share their prompt, and
the pairs of a user the votes that are shown.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from peft import PeftModel

from personalrm.train.texts import Tokens, alike

Batch = dict[str, torch.Tensor]


class Tree(NamedTuple):
    """Texts as one row of tokens.

    Attributes:
        ids: tokens, each after the one that precedes it in its texts.
        texts: in the order in which they were given.
        paths: places in `ids` of the tokens of each text.
    """

    ids: tuple[int, ...]
    texts: tuple[Tokens, ...]
    paths: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, texts: Iterable[Tokens]) -> Tree:
        """The tree of some texts: a start that several of them have stands in it once."""
        texts = tuple(texts)
        places: dict[tuple[int, int], int] = {}
        paths = []
        for text in texts:
            path: list[int] = []
            for token in text.ids:
                path.append(places.setdefault((path[-1] if path else -1, token), len(places)))
            paths.append(tuple(path))
        return cls(tuple(token for _, token in places), texts, tuple(paths))

    @property
    def branches(self) -> bool:
        """Whether the predecessor of some token is not the token before it in the row."""
        return any(path != tuple(range(len(path))) for path in self.paths)


def grouped(texts: Iterable[Tokens], most: int) -> list[list[Tokens]]:
    """Distinct texts, sorted, in groups that become trees of at most `most` tokens; a longer text is alone. Each text
    of a group shares at least half of its tokens with the one before it."""
    groups: list[list[Tokens]] = []
    size = 0
    for text in sorted(texts):
        shared = alike(groups[-1][-1].ids, text.ids) if groups else 0
        new = len(text.ids) - shared
        if groups and new <= shared and size + new <= most:
            groups[-1].append(text)
            size += new
        else:
            groups.append([text])
            size = len(text.ids)
    return groups


def reads_trees(model: Any) -> bool:  # noqa: ANN401
    """Whether a causal model reads trees: it takes places of tokens, and all its layers attend to whatever a mask
    allows (no sliding window, no recurrent state). The masks are for `sdpa`, which `open_policy` asks for."""
    inner, config = _inner(model), model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    narrow = kinds or getattr(config, "sliding_window", None) or getattr(config, "alibi", False)
    stateful = getattr(inner, "_is_stateful", False)
    return "position_ids" in inspect.signature(inner.forward).parameters and not (narrow or stateful)


def batch_of(rows: Sequence[Tree], pad: int, device: str = "cpu") -> Batch:
    """Trees as a batch: `input_ids` (rows, tokens), padded on the right, with what may be attended to, and an entry for
    each token of a completion, text by text.

    `labels` are the tokens of completions, after one -100, because transformers counts all labels but the first.
    `before` are the places of what precedes them, counted through all rows, and `text` the numbers of their texts, also
    counted through. The first token of a text is no label.
    """
    longest = max(len(tree.ids) for tree in rows)
    ids = torch.full((len(rows), longest), pad)
    for row, tree in zip(ids, rows, strict=True):
        row[: len(tree.ids)] = torch.tensor(tree.ids)
    before, labels, numbers = list[int](), [-100], list[int]()
    texts = [(n, tree, *one) for n, tree in enumerate(rows) for one in zip(tree.texts, tree.paths, strict=True)]
    for number, (row_number, tree, text, path) in enumerate(texts):
        scored = min(text.answer, len(path) - 1)
        before += [row_number * longest + place for place in path[len(path) - scored - 1 : -1]]
        labels += [tree.ids[place] for place in path[len(path) - scored :]]
        numbers += [number] * scored
    made = {"input_ids": ids, **_attended(rows, longest)}
    entries = {"before": before, "labels": labels, "text": numbers}
    made |= {name: torch.tensor(values, dtype=torch.long) for name, values in entries.items()}
    return {name: value.to(device) for name, value in made.items()}


def _attended(rows: Sequence[Tree], longest: int) -> Batch:
    """What the tokens of each row attend to; the plain mask of padding where no text is cut into pieces."""
    if not any(tree.branches for tree in rows):
        sizes = torch.tensor([len(tree.ids) for tree in rows])
        return {"attention_mask": (torch.arange(longest)[None] < sizes[:, None]).long()}
    positions = torch.zeros((len(rows), longest), dtype=torch.long)
    # Padding attends to itself: the output of a token that attends to nothing is NaN.
    seen = torch.eye(longest, dtype=torch.bool).repeat(len(rows), 1, 1, 1)
    for row, tree in enumerate(rows):
        for path in tree.paths:
            places, size = torch.tensor(path), len(path)
            positions[row, places] = torch.arange(size)
            seen[row, 0, places[:, None], places] = torch.ones((size, size), dtype=torch.bool).tril()
    return {"attention_mask": seen, "position_ids": positions}


def token_log_probs(model: Any, batch: Batch) -> torch.Tensor:  # noqa: ANN401
    """Log-probabilities, in float32, of the labels of a batch that `batch_of` made: (labels,)."""
    _, longest = batch["input_ids"].shape
    # What precedes no label needs no output.
    columns, column = (batch["before"] % longest).unique(return_inverse=True)
    asked = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids") if name in batch}
    keeps = "logits_to_keep" in inspect.signature(_inner(model).forward).parameters
    logits = model(**asked, use_cache=False, **({"logits_to_keep": columns} if keeps else {})).logits
    logits = (logits if keeps else logits[:, columns]).float()
    row = batch["before"] // longest
    return torch.as_tensor(logits[row, column, batch["labels"][1:]] - logits.logsumexp(dim=-1)[row, column])


def text_log_probs(found: torch.Tensor, batch: Batch, texts: int) -> torch.Tensor:
    """Log-probabilities of the labels of a batch, (labels,), summed by text: (texts,)."""
    return torch.zeros(texts, dtype=found.dtype, device=found.device).index_add(0, batch["text"], found)


def _inner(model: Any) -> Any:  # noqa: ANN401
    return model.get_base_model() if isinstance(model, PeftModel) else model
