"""Modules that take long to import, imported when they are first used: most commands need none of them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any


class Lazy:
    """Stands for a module until one of its names is read."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the module has
        value = getattr(importlib.import_module(self._module), name)
        setattr(self, name, value)
        return value


if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from scipy import special

    Array = NDArray[np.float64]
else:
    np, special, Array = Lazy("numpy"), Lazy("scipy.special"), Any

__all__ = ["Array", "Lazy", "np", "special"]
