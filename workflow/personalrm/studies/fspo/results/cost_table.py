"""The table of cost: what the stages of a run took."""

from personalrm.studies.stage_costs import RESULT

__all__ = ["RESULT"]
