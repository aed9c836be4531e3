"""Typed settings of Thetas: a program file, or how to find one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(ge=1)]


class ThetaOptimiser(BaseModel):
    """How a Theta is found on train users of the user split: by MIPROv2 (docs/methods.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
    model: str | None = None
    """Model that writes the personas and judges with them; each learning model for itself if none is given; a name: its
    Θ is given to all ("Distill Θ")."""
    proposer: str | None = None
    """Model that writes the instructions; the same if none is given."""
    datasets: list[str] | None = None
    """Data sets whose train users are learned from; all if none are given."""
    max_users: Positive = 40
    """Most users of each data set, by a stable hash."""
    scored_share: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Share of the users that are scored; the others demonstrate."""
    num_candidates: Positive = 10
    """Instructions that are proposed."""
    num_trials: Positive = 30
    """Combinations that are tried."""
    max_demos: Annotated[int, Field(ge=0)] = 4
    """Most demonstrations in the prompt."""
    data_aware: bool = True
    """MIPROv2's setting: the proposer sees a summary of the data."""
    fewshot_aware: bool = True
    """MIPROv2's setting: the proposer sees demonstrations."""


class ThetaSource(BaseModel):
    """An optimised persona prompt: a program file, or how the run finds one."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
    path: Path | None = None
    """A program file, such as the authors' in an installed `SynthesizeMe`."""
    optimise: ThetaOptimiser | None = None
    """In place of `path`: find one by MIPROv2."""

    @model_validator(mode="after")
    def _one_origin(self) -> ThetaSource:
        if (self.path is None) == (self.optimise is None):
            raise ValueError("give either path, a program file, or optimise, how to find one")
        return self
