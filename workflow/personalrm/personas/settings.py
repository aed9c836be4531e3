"""Typed settings of the analyses that read personas (paper: persona fidelity, persona axes; their protocols are not
published, these are ours)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

NAMING = ("models", "judge", "asked")
Positive = Annotated[int, Field(strict=True, ge=1)]


class PersonaSettings(BaseModel):
    """Whose personas an analysis reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    models: list[str] | None = None
    """Models whose personas are read; all of `learn.models` if none are given."""


class ReadingSettings(PersonaSettings):
    """Which model reads the personas, and how many others': shared by fidelity and recovery."""

    judge: str | None = None
    """Model that reads them; each profile model its own if none is given."""
    others: Positive
    """Other users whose personas are read with each."""

    def pairs(self, learners: list[str]) -> list[tuple[str, str]]:
        """(profile model, judge) of a run whose `learn.models` are these."""
        return [(model, self.judge or model) for model in self.models or learners]


class FidelitySettings(ReadingSettings):
    """Is the user's own persona nearer to what the user stated than another user's? Personas are those at the largest
    k."""

    others: Positive = 1
    """Other users whose personas are compared with each."""
    matches: bool = False
    """Judge each persona alone, too: does it fit?"""
    max_tokens: Positive = 512
    """Longest answer of a `text` judge, in tokens."""


class AxesSettings(PersonaSettings):
    """Axes along which personas describe people, and where each persona stands on them."""

    asked: str | None = None
    """Model that names the axes and tags personas; the first of `models` if none is given."""
    max_personas: Positive = 60
    """Most personas from which the axes are named."""
    max_axes: Positive = 12
    """Most axes that are kept."""
    disjoint: list[Literal["halves", "types"]] = []
    """Also learn personas from disjoint parts of each user's context: every other conversation of a seeded order, or
    PRISM's types of conversation."""
    max_tokens: Positive = 1024
    """Longest list of axes or tags, in tokens."""


class RecoverySettings(ReadingSettings):
    """Which planted facts do the personas state? For invented users."""

    rubric: Path = Path("resources/quickstart/rubric.json")
    """JSON file `{user: [fact, …]}`; other users are left out and counted."""
    others: Positive = 3
    """Other users whose personas are read with the same facts."""
    max_tokens: Positive = 256
    """Longest list of answers, in tokens; `compact` prompts read one fact per call, in both orders."""


class AnalysisSettings(BaseModel):
    """Which analyses of personas are made; an analysis that is not given is not made."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    fidelity: FidelitySettings | None = None
    """Does a persona fit what the user stated? `{}` for all defaults."""
    axes: AxesSettings | None = None
    """Along which axes do personas describe people?"""
    recovery: RecoverySettings | None = None
    """Which planted facts do personas state?"""

    def named(self) -> list[tuple[str, list[str]]]:
        """Keys that name models, with the names."""
        parts = self.model_dump(exclude_none=True).items()
        named = [(f"analysis.{name}.{key}", part.get(key, [])) for name, part in parts for key in NAMING]
        return [(key, [value] if isinstance(value, str) else value) for key, value in named]
