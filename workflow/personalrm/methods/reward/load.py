"""Reward models by name, without importing torch before one is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from personalrm.core.errors import ConfigError
from personalrm.methods.reward.hyper import HYPER
from personalrm.train import require_extra

if TYPE_CHECKING:
    from personalrm.methods.reward.base import RewardMethod

_MODULES = {name: name for name in HYPER} | {"gpo_pairs": "gpo"}
REWARD_METHODS: tuple[str, ...] = tuple(HYPER)
"""Names of all methods on frozen features; each is a constant of its module, in capitals."""


def reward_method(name: str) -> RewardMethod[Any, Any]:
    """The method `name`. Raises ConfigError for an unknown one, and where the extra `train` is not installed."""
    if name not in REWARD_METHODS:
        raise ConfigError(f"reward model {name!r}: unknown; known: {', '.join(REWARD_METHODS)}")
    require_extra(f"reward model {name!r}")
    method: RewardMethod[Any, Any] = getattr(importlib.import_module(f"{__package__}.{_MODULES[name]}"), name.upper())
    return method
