"""Planted tastes at the size of a small benchmark: margins over Bradley-Terry on the same features, fixed before."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra train: pip install 'personalrm[train]'")

from support.planted_features import World

from personalrm.methods.reward.base import mean_accuracy
from personalrm.methods.reward.load import reward_method
from personalrm.train.checkpoint import Fitted
from personalrm.train.trainer import Run

from .conftest import world

pytestmark = pytest.mark.full
SIZE: dict[str, Any] = {"train": 600, "validation": 60, "test": 200, "dim": 576, "rank": 64}
NO_TASTE: dict[str, Any] = {**SIZE, "personal": 0.0, "shared": 1.12}
HYPER: dict[str, dict[str, Any]] = {
    "frozen_bt": {},
    "user_map": {},
    "lore": {"k_grid": (1, 8), "lr": 1.0, "steps": 300, "adapt_steps": 200},
    "vpl": {"latent": 64, "hidden": 128, "lr": 1e-3, "steps": 400},
    "pal_a": {
        **{"k": 4, "width": 64, "lr": 1e-3, "user_lr": 5e-2, "batch": 64, "steps": 500, "evaluate_every": 250},
    },
}
CONVERGED: dict[str, Any] = {"train": 2000, "validation": 60, "test": 200, "dim": 64}
"""What GPO needs: from fewer users, or longer features, it learns its train users by heart."""
GPO: dict[str, Any] = {
    **{"width": 64, "depth": 2, "layers": 2, "lr": 1e-3, "context": 10, "targets": 6},
    **{"steps": 4000, "evaluate_every": 400},
}
"""`gpo` is no better than Bradley-Terry up to some 1,400 updates, and then it is at once."""
MARGINS = {"user_map": 0.0, "lore": 0.08, "vpl": 0.05, "pal_a": 0.02}


def accuracy(name: str, how: dict[str, Any], hyper: dict[str, Any] | None = None) -> float:
    method, made = reward_method(name), world(**how)
    return right(name, made, method.fit(made.data, method.hyper(**(hyper or HYPER[name])), 0, Run()))


def right(name: str, made: World, fitted: Fitted) -> float:
    return mean_accuracy(reward_method(name).predict(fitted, one.context, one.target) for one in made.test)


@pytest.mark.parametrize("name", MARGINS)
def test_each_beats_bradley_terry_by_its_margin_where_there_are_tastes(name: str) -> None:
    assert accuracy(name, SIZE) >= accuracy("frozen_bt", SIZE) + MARGINS[name]


@pytest.mark.parametrize("name", MARGINS)
def test_where_there_are_none_no_method_wins(name: str) -> None:
    found, control = accuracy(name, NO_TASTE), accuracy("frozen_bt", NO_TASTE)
    # Where validation users may turn personalisation off, little is lost; a network that they cannot turn off loses.
    assert control - (0.02 if name in ("user_map", "lore") else 0.05) <= found <= control + 0.02


@pytest.mark.parametrize("name", ["gpo", "gpo_pairs"])
def test_gpo_beats_bradley_terry_by_its_margin_once_it_has_converged(name: str) -> None:
    assert accuracy(name, CONVERGED, GPO) >= accuracy("frozen_bt", CONVERGED) + 0.1
