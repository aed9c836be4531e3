"""Pandas, imported when it is first used: a plan of a run declares all results and makes none.

`Axes` and `Figure` of matplotlib are for annotations only.
"""

from typing import TYPE_CHECKING, Any

from personalrm.core.lazy import Lazy

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:
    pd, Axes, Figure = Lazy("pandas"), Any, Any

__all__ = ["Axes", "Figure", "pd"]
