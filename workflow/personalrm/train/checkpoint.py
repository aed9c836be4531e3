"""Trained weights as files: `weights.safetensors` and `card.json`; and checkpoints of unfinished training.

No file holds pickled objects: reading one runs no code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from personalrm.core.errors import ConfigError, DataError
from personalrm.core.files import atomic_write_bytes, atomic_write_text, canonical_json
from personalrm.train import CARD, WEIGHTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Tensors = dict[str, NDArray[Any]]


def read_card(folder: Path) -> dict[str, Any]:
    """How the weights of a folder were made. Raises DataError that names a folder without a card, or with a damaged
    one."""
    try:
        card: dict[str, Any] = dict(json.loads((folder / CARD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{folder}: no trained weights ({error}); train again") from error
    return card


S = TypeVar("S")


def base_settings(kind: type[S], folder: Path, given: Mapping[str, Any]) -> S:
    """How a base is read, as the dataclass `kind`, from values that the card of `folder` gives.

    Raises DataError that names the card's fields which this version does not know, or whose values it cannot use.
    """
    known = {one.name for one in fields(kind)}  # type: ignore[arg-type]
    wrong = [f"{name} is unknown" for name in sorted(given.keys() - known)]
    try:
        made: S | None = TypeAdapter(kind).validate_python({name: given[name] for name in known & given.keys()})
    except ValidationError as error:
        wrong += [f"{'.'.join(map(str, one['loc']))} is {one['input']!r}: {one['msg']}" for one in error.errors()]
        made = None
    if made is None or wrong:
        raise DataError(
            f"{folder / CARD}: settings of the base: {'; '.join(wrong)}; load it with the version of personalrm that "
            "wrote it, or train again"
        )
    return made


@dataclass(frozen=True, eq=False)
class Fitted:
    """What training found.

    Attributes:
        tensors: weights by name.
        card: how they were made, as JSON: method, hyper-parameters, seed, data, versions, curve.
    """

    tensors: Tensors
    card: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write both files. The card comes last, so that a folder with a card is whole."""
        atomic_write_bytes(folder / WEIGHTS, save({name: np.asarray(x, order="C") for name, x in self.tensors.items()}))
        atomic_write_text(folder / CARD, json.dumps(self.card, indent=1, sort_keys=True) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Fitted:
        """Read what `save` wrote. Raises DataError that names the file which is missing or damaged."""
        card = read_card(folder)
        try:
            return cls(load_file(folder / WEIGHTS), card)
        except (OSError, ValueError, SafetensorError) as error:
            raise DataError(f"{folder}: no trained weights ({error}); train again") from error


class Checkpoint(NamedTuple):
    """The state of unfinished training: arrays by name, and values that JSON keeps exactly."""

    tensors: Tensors
    values: dict[str, Any]


def save_checkpoint(path: Path, state: Checkpoint, settings: Mapping[str, Any]) -> None:
    """Replace the checkpoint, whole or not at all; `settings` decide who may resume from it."""
    metadata = {"settings": canonical_json(settings), "values": canonical_json(state.values)}
    atomic_write_bytes(path, save({name: np.asarray(x, order="C") for name, x in state.tensors.items()}, metadata))


def load_checkpoint(path: Path, settings: Mapping[str, Any]) -> Checkpoint | None:
    """The state to resume from, None without a file.

    Raises:
        ConfigError: the checkpoint was made with other settings; the message names those that differ.
        DataError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, "numpy") as stored:
            metadata = stored.metadata() or {}
            made_with, values = json.loads(metadata["settings"]), json.loads(metadata["values"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"checkpoint {path}: damaged ({error}); delete it to train from the start") from error
    now = json.loads(canonical_json(settings))
    different = [
        f"{name} {json.dumps(made_with.get(name))}, now {json.dumps(now.get(name))}"
        for name in sorted({*made_with, *now})
        if made_with.get(name) != now.get(name)
    ]
    if different:
        raise ConfigError(
            f"checkpoint {path}: made with other settings ({'; '.join(different)[:600]}); restore them to resume, or "
            "delete it to train from the start"
        )
    return Checkpoint(tensors, values)
