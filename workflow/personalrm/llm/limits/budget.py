"""What a run, and each of its models, may spend in US dollars at list prices: the call that could pass it is not made.

All jobs of a run that share a response store share its budget. The store holds what is spent, and a ledger of what
calls in flight may cost at most: one entry per process, which is dropped when the process has died. Once a call was not
made, a mark in the store keeps all later jobs and retries from trying smaller ones.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from personalrm.core.errors import BudgetExceeded
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.cache.store_file import JournalMode
from personalrm.llm.local.owner import Owner
from personalrm.llm.types import ModelSpec

STALE_S = 3600.0
"""Seconds for which the entry of a process on another machine counts after its last change, at least."""
POLL_S = 0.2
"""Seconds between checks whether other processes released part of their reservations."""
_LEAST = 1e-9
"""Rounding error of sums of prices, in dollars."""

log = logging.getLogger("personalrm.llm")

Price = Callable[[int, int], float | None]
"""List price in US dollars of (prompt tokens, generated tokens); None where it is not known."""

Dollars = Annotated[float, Field(ge=0)]

Ledger = dict[str, dict[str, Any]]
"""By process: until when its entry counts on other machines, and dollars in flight by model identity."""


class BudgetSettings(BaseModel):
    """US dollars, at list prices, that the run's own calls may cost (docs/running.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    usd: Dollars | None = None
    """Dollars for the whole run."""
    models: dict[str, Dollars] = {}
    """Dollars by model."""

    def limits(self, model: str) -> bool:
        """Whether a model's calls are limited."""
        return self.usd is not None or model in self.models


class Budget:
    """The budget of one model in a run.

    A call sets its upper price aside before it is sent and gives it back when its answer is stored, so that calls in
    flight together, in any number of processes, cannot pass a limit. A call that fails costs nothing here, whatever the
    provider thinks.

    Args:
        store: the run's response store; its `run` is whose money is counted.
        spec: the model.
        run_usd: the most that the run may spend; None for no limit.
        model_usd: the most that it may spend on this model.
        longest_s: how long a call may take, retries included.
    """

    def __init__(
        self,
        store: ResponseStore,
        spec: ModelSpec,
        run_usd: float | None,
        model_usd: float | None = None,
        longest_s: float = 0.0,
    ) -> None:
        self._store = store
        self._name, self._identity = spec.name, spec.identity
        self._limits = {
            "budget.usd": (run_usd, f"run {store.run}", None),
            f"budget.models.{spec.name}": (model_usd, f"model {spec.name}", spec.identity),
        }
        self._process = f"{platform.node()}|{Owner.of(os.getpid())}"
        self._lasts_s = max(STALE_S, longest_s)
        self._paying = 0
        self._idle = asyncio.Event()
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()
        self._told = False

    @asynccontextmanager
    async def paying(self, estimate_usd: float) -> AsyncIterator[None]:
        """Around a call of at most `estimate_usd` and the storing of its answer.

        Waits if the call would fit once the calls in flight release the unused part of their reservations.
        Raises BudgetExceeded, without entering, if it does not fit for what is spent: after those that are being made
        have ended, so that no answer is lost that is being paid for. No later call of the run is made then, by whatever
        job, until the limit is another one or `lift` is called.
        """
        try:
            async with self._turn:
                while not self._reserve(estimate_usd):
                    await self._wait_for_room()
        except BudgetExceeded:
            if self._paying:
                await self._idle.wait()
            raise
        self._paying += 1
        self._idle.clear()
        try:
            yield
        finally:
            with self._ledger() as ledger:
                self._add(ledger, -estimate_usd)
            self._freed.set()
            self._paying -= 1
            if not self._paying:
                self._idle.set()

    async def _wait_for_room(self) -> None:
        if not self._told:
            log.info("model %s: calls are queued until those in flight release part of the budget", self._name)
            self._told = True
        self._freed.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._freed.wait(), POLL_S)

    def _reserve(self, estimate_usd: float) -> bool:
        """Reserve a price; False if it may fit later. Raises BudgetExceeded if it cannot."""
        fits = True
        mark: dict[str, dict[str, Any]] = {}
        with self._ledger() as ledger:
            marks = self._store.peek(_marks(self._store.run))
            paid = {identity: totals.cost_usd for identity, totals in self._store.paid_totals(self._store.run).items()}
            for key, (limit, whose, identity) in self._limits.items():
                if key in marks and marks[key]["limit"] == limit:
                    raise BudgetExceeded(marks[key]["message"])
                if limit is None:
                    continue
                spent, aside = _sum([paid], identity), _sum([line["usd"] for line in ledger.values()], identity)
                fits = fits and spent + aside + estimate_usd <= limit + _LEAST
                if spent + estimate_usd > limit + _LEAST and not mark:
                    message = (
                        f"{key}: ${spent:.4f} of the ${limit:.4f} for {whose} is spent; the next call of {self._name} "
                        f"may cost ${estimate_usd:.4f} and was not made. Raise {key} and run the same command again: "
                        "stored answers are not paid twice."
                    )
                    mark = {key: {"limit": limit, "message": message}}
            if fits:
                self._add(ledger, estimate_usd)
            if mark:
                with self._store.shared(_marks(self._store.run)) as kept:
                    kept.update(mark)
        if mark:
            raise BudgetExceeded(*(refused["message"] for refused in mark.values()))
        return fits

    def _add(self, ledger: Ledger, usd: float) -> None:
        """Add dollars to the reservation of this process."""
        mine = ledger.setdefault(self._process, {"usd": {}, "until": 0.0})
        left = mine["usd"].pop(self._identity, 0.0) + usd
        mine["until"] = max(mine["until"], time.time() + self._lasts_s)
        if left >= _LEAST:
            mine["usd"][self._identity] = left
        if not mine["usd"]:
            del ledger[self._process]

    @contextmanager
    def _ledger(self) -> Iterator[Ledger]:
        """What calls of living processes may cost at most, kept as it is left."""
        with self._store.shared(f"in flight in {self._store.run}") as ledger:
            for process, line in list(ledger.items()):
                host, _, owner = process.partition("|")
                here = host == platform.node()
                if (Owner.parse(owner).process() is None) if here else time.time() >= line["until"]:
                    del ledger[process]
            yield ledger


def passed(store: Path, run: str, journal_mode: JournalMode = "wal") -> list[str]:
    """What calls of a run were refused with since the last `lift`: a message for each limit."""
    if not store.is_file():
        return []
    with ResponseStore(store, journal_mode) as opened:
        return [mark["message"] for _, mark in sorted(opened.peek(_marks(run)).items())]


def lift(store: Path, run: str, journal_mode: JournalMode = "wal") -> None:
    """Let a run that came to the end of its budget ask again, for what smaller calls may still fit."""
    if store.is_file():
        with ResponseStore(store, journal_mode) as opened, opened.shared(_marks(run)) as marks:
            marks.clear()


def _marks(run: str) -> str:
    """The kind of shared value that holds, by limit, how high it was when it was passed, and the message."""
    return f"budget passed in {run}"


def _sum(lines: list[dict[str, float]], identity: str | None) -> float:
    """Dollars of one model, or of all."""
    return sum(usd for line in lines for model, usd in line.items() if identity in (None, model))


def no_price(spec: ModelSpec) -> str:
    """What is wrong with a model of unknown price in a run with a budget, and which line mends it."""
    name = spec.name
    return (
        f"models.{name}.price_in: the run has a budget, but no price is known for {spec.model}. Add "
        f"models.{name}.price_in and models.{name}.price_out (US dollars per million tokens; 0 if it is free)."
    )


def spec_price(spec: ModelSpec, tokens_in: int, tokens_out: int) -> float | None:
    """List price in US dollars from the spec, 0 for embedded models, None where the spec has no prices."""
    if spec.price_in is not None and spec.price_out is not None:
        return (tokens_in * spec.price_in + tokens_out * spec.price_out) / 1e6
    return 0.0 if spec.backend == "embedded" else None
