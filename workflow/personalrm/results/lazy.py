"""What takes long to import: a plan of a run declares all results, and makes none.

Pandas is imported when it is first used; `Axes` and `Figure` of matplotlib are for annotations alone.
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
