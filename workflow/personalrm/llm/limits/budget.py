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
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from personalrm.core.errors import BudgetExceeded
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.cache.store_file import JournalMode
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
        self._limits = {"budget.usd": run_usd, f"budget.models.{spec.name}": model_usd}
        self._process = f"{platform.node()}|{_this_process()}"
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
        have ended, so that whoever gives up on it loses no answer that is being paid for. No later call of the run is
        made then, by whatever job, until the limit is another one or `lift` is called.
        """
        try:
            await self._room_for(estimate_usd)
        except BudgetExceeded:
            if self._paying:
                await self._idle.wait()
            raise
        self._paying += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._give_back(estimate_usd)
            self._freed.set()
            self._paying -= 1
            if not self._paying:
                self._idle.set()

    async def _room_for(self, estimate_usd: float) -> None:
        """Reserve a price as soon as it fits; one call of this process tries at a time."""
        async with self._turn:
            while not self._reserve(estimate_usd):
                if not self._told:
                    log.info("model %s: calls are queued until those in flight release part of the budget", self._name)
                    self._told = True
                self._freed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._freed.wait()

    def _reserve(self, estimate_usd: float) -> bool:
        """Reserve a price; False if it may fit later. Raises BudgetExceeded if it cannot."""
        refused: dict[str, Any] = {}
        with self._ledger() as ledger:
            self._check_marks()
            paid = {identity: totals.cost_usd for identity, totals in self._store.paid_totals(self._store.run).items()}
            in_flight = [line["usd"] for line in ledger.values()]
            run, model = f"run {self._store.run}", f"model {self._name}"
            fits = True
            for (key, limit), whose in zip(self._limits.items(), (run, model), strict=True):
                counted = None if whose == run else self._identity
                spent, aside = _sum([paid], counted), _sum(in_flight, counted)
                if limit is not None and spent + estimate_usd > limit + _LEAST:
                    message = (
                        f"{key}: ${spent:.4f} of the ${limit:.4f} for {whose} is spent; the next call of {self._name} "
                        f"may cost ${estimate_usd:.4f} and was not made. Raise {key} and run the same command again: "
                        "stored answers are not paid twice."
                    )
                    refused.setdefault(key, {"limit": limit, "message": message})
                fits = fits and (limit is None or spent + aside + estimate_usd <= limit + _LEAST)
            if fits:
                self._add(ledger, estimate_usd)
        for key, mark in refused.items():
            with self._store.shared(_marks(self._store.run)) as marks:
                marks[key] = mark
            raise BudgetExceeded(mark["message"])
        return fits

    def _check_marks(self) -> None:
        """Raise what an earlier call of the run was refused with, by a limit that is the same now."""
        marks = self._store.peek(_marks(self._store.run))
        for key, limit in self._limits.items():
            if key in marks and marks[key]["limit"] == limit:
                raise BudgetExceeded(marks[key]["message"])

    def _give_back(self, estimate_usd: float) -> None:
        with self._ledger() as ledger:
            self._add(ledger, -estimate_usd)

    def _add(self, ledger: Ledger, usd: float) -> None:
        mine = ledger.setdefault(self._process, {"usd": {}})
        left = mine["usd"].get(self._identity, 0.0) + usd
        mine["usd"][self._identity] = left
        mine["until"] = max(mine.get("until", 0.0), self._now() + self._lasts_s)
        if left < _LEAST:
            del mine["usd"][self._identity]
        if not mine["usd"]:
            del ledger[self._process]

    @contextmanager
    def _ledger(self) -> Iterator[Ledger]:
        """What calls of living processes may cost at most, kept as it is left."""
        with self._store.shared(f"in flight in {self._store.run}") as ledger:
            for process in [name for name, line in ledger.items() if not self._lives(name, line)]:
                del ledger[process]
            yield ledger

    def _lives(self, process: str, line: Mapping[str, Any]) -> bool:
        """Whether the process that wrote an entry may still have calls in flight."""
        from personalrm.llm.local.owner import Owner

        host, _, owner = process.partition("|")
        if process == self._process:
            return True
        if host == platform.node():
            return Owner.parse(owner).process() is not None
        return bool(self._now() < line["until"])

    def _now(self) -> float:
        """Unix seconds by the store's file system: machines share that of a server, and may differ in their own."""
        lock = self._store.path.with_name(f"{self._store.path.name}.lock")
        lock.touch()
        return lock.stat().st_mtime


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
    """Under what the store keeps, by limit, how high it was when it was passed, and the message."""
    return f"budget passed in {run}"


def _sum(lines: list[dict[str, float]], identity: str | None) -> float:
    """Dollars of one model, or of all."""
    return sum(usd for line in lines for model, usd in line.items() if identity in (None, model))


def _this_process() -> str:
    from personalrm.llm.local.owner import Owner

    return str(Owner.of(os.getpid()))


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
