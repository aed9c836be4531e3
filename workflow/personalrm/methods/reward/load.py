"""Reward models by name, without importing torch before one is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from personalrm.core.errors import ConfigError
from personalrm.core.extras import require_extra
from personalrm.methods.reward.hyper import FINE_TUNED, HYPER

if TYPE_CHECKING:
    from personalrm.methods.reward.base import RewardMethod

_MODULES = {"gpo_pairs": "gpo"}
"""Modules that have another name than their method."""
REWARD_METHODS: tuple[str, ...] = tuple(name for name in HYPER if name not in FINE_TUNED)
"""Names of all methods on frozen features; each is a constant of its module, in capitals."""


def reward_method(name: str) -> RewardMethod[Any, Any]:
    """The method `name`. Raises ConfigError for an unknown one, and where the extra `train` is not installed."""
    if name not in REWARD_METHODS:
        raise ConfigError(f"reward model {name!r}: unknown; known: {', '.join(REWARD_METHODS)}")
    require_extra("train", f"reward model {name!r}")
    module = importlib.import_module(f"{__package__}.{_MODULES.get(name, name)}")
    method: RewardMethod[Any, Any] = getattr(module, name.upper())
    return method
