"""Typed settings of the analyses that read personas (paper: persona fidelity, persona axes; their protocols are not
published, these are ours)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(strict=True, ge=1)]


class ReadingSettings(BaseModel):
    """Who reads whose personas, and others' beside them: shared by the analyses below.

    `models` are those whose personas are read (all of `learn.models`), `judge` the model that reads them (each profile
    model its own), `others` how many other users' personas are read with each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    models: list[str] | None = None
    judge: str | None = None
    others: Positive

    def pairs(self, learners: list[str]) -> list[tuple[str, str]]:
        """(profile model, judge) of a run whose `learn.models` are these."""
        return [(model, self.judge or model) for model in self.models or learners]


class FidelitySettings(ReadingSettings):
    """Is the user's own persona nearer to what the user stated than another user's?

    With `matches` each persona is judged alone, too: does it fit the person, yes or no?
    """

    others: Positive = 1
    matches: bool = False
    max_tokens: Positive = 512


class AxesSettings(BaseModel):
    """Axes that personas describe people along, and where each persona stands on them.

    `models` are those whose personas are read (all of `learn.models`), `asked` the model that names the axes of a data
    set and tags the personas (the first of `models`). It is shown at most `max_personas` of them, and at most
    `max_axes` of its axes are kept. `disjoint` learns personas from disjoint parts of each user's context, too
    (`parts.py`), to see how far these agree: `halves` of the conversations, conversations of different `types`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    models: list[str] | None = None
    asked: str | None = None
    max_personas: Positive = 60
    max_axes: Positive = 12
    disjoint: list[Literal["halves", "types"]] = []
    max_tokens: Positive = 1024


class RecoverySettings(ReadingSettings):
    """Which planted facts do the personas state?

    `rubric` is a JSON file {user: [fact, …]}; users who are not in it are counted and left out.
    """

    rubric: Path = Path("resources/quickstart/rubric.json")
    others: Positive = 3
    max_tokens: Positive = 256


class AnalysisSettings(BaseModel):
    """Which analyses of personas are made: none that is not given."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    fidelity: FidelitySettings | None = None
    axes: AxesSettings | None = None
    recovery: RecoverySettings | None = None

    def named(self) -> list[tuple[str, list[str]]]:
        """Keys that name models, with the names."""
        found: list[tuple[str, list[str]]] = []
        for name, judged in (("fidelity", self.fidelity), ("recovery", self.recovery)):
            if judged:
                found += [(f"analysis.{name}.models", judged.models or [])]
                found += [(f"analysis.{name}.judge", [judged.judge] if judged.judge else [])]
        if self.axes:
            found += [("analysis.axes.models", self.axes.models or [])]
            found += [("analysis.axes.asked", [self.axes.asked] if self.axes.asked else [])]
        return found
