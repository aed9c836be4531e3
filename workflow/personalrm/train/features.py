"""Pairs as features: arrays with one row per pair, and their files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from personalrm.core.errors import DataError
from personalrm.core.files import atomic_write_bytes, canonical_json

if TYPE_CHECKING:
    from personalrm.core.records import PreferencePair
    from personalrm.train.encoders import Encoder

Array = NDArray[np.float32]
Wide = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Features of pairs, keyed by pair id.

    Attributes:
        ids: of the pairs, distinct.
        chosen: features of the chosen answers, (pairs, dim), float32.
        rejected: the same of the rejected answers.
    """

    ids: tuple[str, ...]
    chosen: Array
    rejected: Array

    def __post_init__(self) -> None:
        """Raises DataError for shapes that do not go together, ids given twice, and values that are not finite."""
        shapes = (self.chosen.shape, self.rejected.shape)
        if self.chosen.ndim != 2 or shapes[0] != shapes[1] or len(self.ids) != shapes[0][0]:
            raise DataError(f"features: {len(self.ids)} pair ids with arrays of the shapes {shapes[0]} and {shapes[1]}")
        if len(set(self.ids)) != len(self.ids):
            twice = next(one for one in self.ids if self.ids.count(one) > 1)
            raise DataError(f"features: pair {twice} is given twice")
        finite = np.isfinite(self.chosen).all(axis=1) & np.isfinite(self.rejected).all(axis=1)
        if not finite.all():
            raise DataError(f"features: pair {self.ids[int(np.argmin(finite))]} has values that are not finite")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dim(self) -> int:
        """Length of a feature vector."""
        return int(self.chosen.shape[1])

    @property
    def difference(self) -> Array:
        """Chosen minus rejected, (pairs, dim)."""
        found: Array = self.chosen - self.rejected
        return found

    def select(self, ids: Iterable[str]) -> Pairs:
        """The pairs with these ids, in their order. Raises DataError for one that is not there."""
        places = {one: place for place, one in enumerate(self.ids)}
        wanted = tuple(ids)
        missing = [one for one in wanted if one not in places]
        if missing:
            raise DataError(f"features: no pair {missing[0]} ({len(missing)} of {len(wanted)} pairs are missing)")
        rows = [places[one] for one in wanted]
        return Pairs(wanted, self.chosen[rows], self.rejected[rows])

    def exchanged(self) -> Pairs:
        """The same pairs with chosen and rejected exchanged."""
        return Pairs(self.ids, self.rejected, self.chosen)


def join(parts: Sequence[Pairs]) -> Pairs:
    """The pairs of several parts. Raises DataError where lengths differ, an id is shared, or there are none."""
    if not parts or len({part.dim for part in parts}) > 1:
        raise DataError(f"features: parts of the lengths {sorted({part.dim for part in parts})} cannot be joined")
    return Pairs(
        tuple(one for part in parts for one in part.ids),
        np.concatenate([part.chosen for part in parts]),
        np.concatenate([part.rejected for part in parts]),
    )


def encode_pairs(encoder: Encoder, pairs: Sequence[PreferencePair]) -> tuple[Pairs, dict[str, int]]:
    """Features of pairs, and counts for the card: tokens read, and texts that were cut."""
    texts = [(pair.context, answer) for pair in pairs for answer in (pair.chosen, pair.rejected)]
    found = encoder.encode(texts)
    made = Pairs(tuple(pair.pair_id for pair in pairs), found.features[::2], found.features[1::2])
    counts = {"texts": len(texts), "tokens": found.tokens}
    return made, counts | {"contexts_cut": found.contexts_cut, "answers_cut": found.answers_cut}


def save_pairs(path: Path, pairs: Pairs, card: Mapping[str, Any]) -> None:
    """Write features as safetensors, whole or not at all. `card` says how they were made."""
    arrays = {"chosen": np.ascontiguousarray(pairs.chosen), "rejected": np.ascontiguousarray(pairs.rejected)}
    metadata = {"ids": canonical_json(pairs.ids), "card": canonical_json(card)}
    atomic_write_bytes(path, save(arrays, metadata))


def load_pairs(path: Path) -> tuple[Pairs, dict[str, Any]]:
    """Features and card of a file. Raises DataError for a file that `save_pairs` did not write."""
    try:
        with safe_open(path, "numpy") as stored:
            metadata = stored.metadata() or {}
            pairs = Pairs(
                tuple(json.loads(metadata["ids"])), stored.get_tensor("chosen"), stored.get_tensor("rejected")
            )
            return pairs, json.loads(metadata["card"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"{path}: not a file of features ({error}); delete it and run again") from error
