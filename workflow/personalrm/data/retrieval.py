"""Personas for prompts without any: the gold personas of the most similar training prompt (Balepur et al., ACL 2025).

Differs from the paper, which is said to retrieve by ColBERT: similarity is the cosine of TF-IDF vectors of letters, two
to four in a row within a word, so that a prompt of a single word has neighbours, too. The personas that the released
sets ship are read as they are (`retrieval: shipped`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from personalrm.core.errors import DataError
from personalrm.core.lazy import np
from personalrm.core.persona_pairs import PersonaPair

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

TRAINING = ("sft_train", "dpo_train", "train")
"""Splits whose personas may be retrieved."""
_STAGES = ("sft_", "dpo_")
"""How splits of a stage of training begin: their pairs retrieve from the training pairs of their own stage alone, as in
the released sets."""
_LENGTHS = range(2, 5)
_BLOCK = 1000
"""Pairs whose similarities are held in memory at a time."""


class Agreement(NamedTuple):
    """Pairs whose personas are those that the data ship, of those that ship any."""

    equal: int
    pairs: int


def with_retrieved(pairs: Sequence[PersonaPair], known: Iterable[PersonaPair]) -> list[PersonaPair]:
    """The pairs with `retrieved` personas: the gold ones of the most similar training prompt among `known`.

    Never that of the pair itself, nor of an equal prompt. A pair whose prompt shares nothing with any has none. Equally
    similar prompts: the first by the id of their pair. Raises DataError where no training pair has personas.
    """
    training = sorted((pair for pair in known if pair.split in TRAINING and pair.gold), key=lambda pair: pair.pair_id)
    if not training:
        raise DataError(
            f"retrieval: tfidf: no pair of the splits {', '.join(TRAINING)} has a persona; use retrieval: shipped"
        )
    vectors = _vectoriser([pair.prompt for pair in training])
    rows = vectors([pair.prompt for pair in training])
    found = []
    for start in range(0, len(pairs), _BLOCK):
        block = pairs[start : start + _BLOCK]
        similar = (vectors([pair.prompt for pair in block]) @ rows.T).toarray()
        found += [_with_nearest(pair, training, list(row)) for pair, row in zip(block, similar, strict=True)]
    return found


def agreement(found: Iterable[PersonaPair], shipped: Iterable[PersonaPair]) -> Agreement:
    """How many of the pairs have the personas that the data ship for them."""
    same = [one.retrieved == other.retrieved for one, other in zip(found, shipped, strict=True) if other.retrieved]
    return Agreement(sum(same), len(same))


def _with_nearest(pair: PersonaPair, training: Sequence[PersonaPair], similar: Sequence[float]) -> PersonaPair:
    stage = next((stage for stage in _STAGES if pair.split.startswith(stage)), "")
    best, personas = 0.0, {}
    for value, other in zip(similar, training, strict=True):
        if value > best and other.split.startswith(stage) and other.prompt != pair.prompt:
            best, personas = value, other.gold
    return pair.model_copy(update={"retrieved": personas})


def _vectoriser(texts: Sequence[str]) -> Callable[[Sequence[str]], csr_matrix]:
    """Makes TF-IDF vectors of texts, of length 1: counts of grams times ln((1 + n) / (1 + n with the gram)) + 1."""
    from scipy.sparse import csr_matrix

    held = Counter(gram for text in texts for gram in set(_grams(text)))
    place = {gram: number for number, gram in enumerate(sorted(held))}
    weight = np.log((1 + len(texts)) / (1 + np.array([held[gram] for gram in place]))) + 1

    def vectors(some: Sequence[str]) -> csr_matrix:
        counts = [Counter(gram for gram in _grams(text) if gram in place) for text in some]
        row = np.repeat(np.arange(len(some)), [len(mine) for mine in counts])
        column = np.array([place[gram] for mine in counts for gram in mine], dtype=np.int64)
        value = np.array([number for mine in counts for number in mine.values()]) * weight[column]
        lengths = np.sqrt(np.bincount(row, value**2, minlength=len(some)))
        return csr_matrix((value / lengths[row], (row, column)), shape=(len(some), len(place)))

    return vectors


def _grams(text: str) -> list[str]:
    """Letters of each word with a blank at both ends, two to four in a row; a shorter word is one.

    >>> _grams("To a")
    [' t', 'to', 'o ', ' to', 'to ', ' to ', ' a', 'a ', ' a ']
    """
    found = []
    for word in (f" {one} " for one in text.lower().split()):
        for length in _LENGTHS:
            found += [word[start : start + length] for start in range(max(1, len(word) - length + 1))]
            if len(word) <= length:
                break
    return found
