"""Typed settings of `models.<name>.batch`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(gt=0)]


class BatchSettings(BaseModel):
    """How requests are sent as batches. None of it changes an answer.

    Requests with less than `gather_s` seconds between them go together, up to `max_requests` and `max_file_mb` (the
    limits of OpenAI; other providers have lower ones). A batch is looked at after `poll_s` seconds, then in growing
    waits up to `max_poll_s`. `window_h` is the time in which the provider promises the answers (OpenAI: 24 only). A job
    waits `max_wait_h` hours, retries included; the same command then waits on. A batch that was being made when its job
    died may take `settle_s` to appear in the provider's list. `price` is the share of the list price that a batch
    costs. All waits are our choice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    gather_s: Seconds = 1.0
    poll_s: Seconds = 5.0
    max_poll_s: Seconds = 120.0
    window_h: Annotated[int, Field(ge=1)] = 24
    max_wait_h: Annotated[float, Field(gt=0)] = 72.0
    max_requests: Annotated[int, Field(ge=1)] = 50_000
    max_file_mb: Annotated[float, Field(gt=0)] = 200.0
    settle_s: Seconds = 10.0
    price: Annotated[float, Field(ge=0, le=1)] = 0.5
