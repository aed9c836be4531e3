"""Typed settings of `models.<name>.batch`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(gt=0)]


class BatchSettings(BaseModel):
    """How requests are sent as batches. None of it changes an answer. All waits are our choice."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    gather_s: Seconds = 1.0
    """Requests with less time between them go together, in seconds."""
    poll_s: Seconds = 5.0
    """Time until a batch is checked, in seconds; it grows."""
    max_poll_s: Seconds = 120.0
    """Longest time between two checks, in seconds."""
    window_h: Annotated[int, Field(ge=1)] = 24
    """Hours in which the provider promises the answers (OpenAI: 24 only)."""
    max_wait_h: Annotated[float, Field(gt=0)] = 72.0
    """Hours that a job waits, retries included; the same command then continues to wait."""
    max_requests: Annotated[int, Field(ge=1)] = 50_000
    """Most requests of a batch (the limit of OpenAI)."""
    max_file_mb: Annotated[float, Field(gt=0)] = 200.0
    """Largest file of a batch, in megabytes (the limit of OpenAI)."""
    settle_s: Seconds = 10.0
    """Seconds until a batch that was made appears in the provider's list."""
    price: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the list price that a batch costs."""
