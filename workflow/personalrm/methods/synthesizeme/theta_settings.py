"""Typed settings of Thetas: a program file, or how to find one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(ge=1)]


class ThetaOptimiser(BaseModel):
    """How a Theta is found on train users of level A: by MIPROv2 (`theta_search.ThetaSettings`).

    `model` writes the personas and judges with them (None: each learning model for itself; a name: its Theta is
    handed to all others, "Distill Theta"), `proposer` writes the instructions (None: the same). `datasets` are
    those whose train users are learned from (None: all), `max_users` of each, by a stable hash; `scored_share` of them
    are scored, the others demonstrate.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
    model: str | None = None
    proposer: str | None = None
    datasets: list[str] | None = None
    max_users: Positive = 40
    scored_share: Annotated[float, Field(gt=0, lt=1)] = 0.8
    num_candidates: Positive = 10
    num_trials: Positive = 30
    max_demos: Annotated[int, Field(ge=0)] = 4
    data_aware: bool = True
    fewshot_aware: bool = True


class ThetaSource(BaseModel):
    """An optimised persona prompt: a program file, such as the authors' in an installed `SynthesizeMe`, or one that
    the run finds."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
    path: Path | None = None
    optimise: ThetaOptimiser | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> ThetaSource:
        if (self.path is None) == (self.optimise is None):
            raise ValueError("give either path, a program file, or optimise, how to find one")
        return self
