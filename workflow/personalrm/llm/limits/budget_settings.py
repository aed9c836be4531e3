"""Typed settings of `budget`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Dollars = Annotated[float, Field(ge=0)]


class BudgetSettings(BaseModel):
    """US dollars, at list prices, that the run's own calls may cost: `usd` in all, `models` by model."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    usd: Dollars | None = None
    models: dict[str, Dollars] = {}

    def limits(self, model: str) -> bool:
        """Whether a model's calls are limited."""
        return self.usd is not None or model in self.models
