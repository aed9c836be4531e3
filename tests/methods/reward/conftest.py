"""One small world of planted tastes, and what each method learned from it, for all tests of this folder."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from support.planted_features import World

    from personalrm.train.checkpoint import Fitted

QUICK: dict[str, dict[str, Any]] = {
    "frozen_bt": {},
    "user_map": {},
    "lore": {"k_grid": (1, 4), "steps": 120, "lr": 2.0, "adapt_steps": 100, "evaluate_every": 40},
    "vpl": {"latent": 16, "hidden": 64, "lr": 3e-3, "steps": 150, "evaluate_every": 50},
    "pal_a": {
        **{"k": 4, "width": 32, "lr": 3e-3, "user_lr": 5e-2, "scale_lr": 0.01, "batch": 64},
        **{"steps": 160, "adapt_steps": 30, "evaluate_every": 80},
    },
    "gpo": {"width": 32, "depth": 2, "layers": 2, "lr": 5e-3, "steps": 50, "context": 10, "targets": 6},
    "gpo_pairs": {"width": 32, "depth": 2, "layers": 2, "lr": 5e-3, "steps": 200, "context": 10, "targets": 6},
}
"""Hyper-parameters with which a method learns the small world in a second or two; where empty, the defaults do."""
SMALL: dict[str, Any] = {"train": 160, "validation": 24, "test": 60, "dim": 24}


@cache
def world(**changes: Any) -> World:  # noqa: ANN401
    from support.planted_features import planted

    return planted(**{**SMALL, **changes})


@cache
def learned(name: str, **changes: Any) -> Fitted:  # noqa: ANN401
    """The method trained on the small world."""
    from personalrm.methods.reward.load import reward_method
    from personalrm.train.trainer import Run

    method = reward_method(name)
    return method.fit(world(**changes).data, method.hyper(**QUICK[name]), 0, Run())


@pytest.fixture(autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)
