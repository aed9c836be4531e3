"""A run's budget in US dollars: the call that would pass it is not made."""

from __future__ import annotations

from personalrm.errors import PersonalRMError


class BudgetExceeded(PersonalRMError):
    """The next call could pass the budget; it was not made. Everything before it is stored."""


class Budget:
    """Money that one process may still spend.

    Args:
        limit_usd: the most that may be spent, at list prices; None for no limit.
        spent: what the run has spent before (for example `store.paid_totals(run)`).

    A call reserves its upper estimate before it is sent and settles its price afterwards, so that calls
    in flight together cannot pass the limit.
    """

    def __init__(self, limit_usd: float | None, spent: float = 0.0) -> None:
        self.limit_usd = limit_usd
        self.spent = spent
        self.reserved = 0.0

    def reserve(self, estimate_usd: float, model: str) -> None:
        """Set `estimate_usd` aside for one call of `model`. Raises BudgetExceeded if it does not fit."""
        if self.limit_usd is not None and self.spent + self.reserved + estimate_usd > self.limit_usd:
            raise BudgetExceeded(
                f"budget: ${self.spent:.4f} of ${self.limit_usd:.4f} is spent and ${self.reserved:.4f} is in flight; "
                f"the next call of {model} may cost ${estimate_usd:.4f} and was not made. Raise the budget in the "
                f"config and run the same command again: stored answers are not paid twice."
            )
        self.reserved += estimate_usd

    def settle(self, estimate_usd: float, cost_usd: float) -> None:
        """Give the reservation back and book `cost_usd` (0 for a call that failed)."""
        self.reserved = max(0.0, self.reserved - estimate_usd)
        self.spent += cost_usd
