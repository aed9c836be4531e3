"""Typed settings of a data set: an entry of `datasets` in the config."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

KeepTogether = Literal["turn", "conversation", "none"]


def _id_text(value: object) -> object:
    """YAML reads `users: [17]` as a number; vote files may also hold numbers, and both mean "17"."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


UserId = Annotated[str, BeforeValidator(_id_text)]


class SplitSettings(BaseModel):
    """Level-B split inside a user.

    `fractions` are the shares of context, validation and test (paper: 50/20/30 %). `keep_together` says what
    never straddles two parts: a `conversation` (default), a `turn`, or nothing (`none`, as published).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    fractions: tuple[float, float, float] = (0.5, 0.2, 0.3)
    keep_together: KeepTogether = "conversation"

    @field_validator("fractions")
    @classmethod
    def _shares(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if not all(math.isfinite(share) and share > 0 for share in value) or abs(sum(value) - 1) > 1e-9:
            raise ValueError(f"must be three shares above 0 that add up to 1, not {list(value)}")
        return value


class DatasetSettings(BaseModel):
    """One data set. Later sources (`prism`, `arena`, …) become further readers that yield votes.

    `users` limits the run to these users and `max_users` to the first so many, by a stable hash of the id, of those who
    pass the user filter (`min_pairs`; paper: 5). `on_bad` says whether a bad line stops the run or is dropped and
    counted. `planted` is a JSON file {user: {"taste": text}} for invented users. Paths are relative to the
    working directory.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    source: Literal["local"] = "local"
    path: Path
    licence: str = ""
    shards: Literal["per_user"] | Annotated[int, Field(strict=True, ge=1, le=10_000)] = "per_user"
    users: Annotated[list[UserId], Field(min_length=1)] | None = None
    max_users: Annotated[int, Field(strict=True, ge=1)] | None = None
    min_pairs: Annotated[int, Field(strict=True, ge=3)] = 5
    on_bad: Literal["error", "drop"] = "error"
    split: SplitSettings = SplitSettings()
    planted: Path | None = None

    @field_validator("name")
    @classmethod
    def _folder_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", value):
            raise ValueError(f"{value!r} names a folder: use letters, digits, _ and -, at most 40, not led by a sign")
        return value
