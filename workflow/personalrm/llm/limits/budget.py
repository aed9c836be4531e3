"""What a run, and each of its models, may spend in US dollars at list prices: the call that could pass it is not made.

All jobs of a run that share a response store share its budget. What is spent stands in the store; what calls in flight
may cost at most stands in a ledger beside it, a line for each process, and a dead process's line is dropped. Once a
call was not made, a mark beside the ledger keeps all later jobs and retries from trying smaller ones.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import platform
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from personalrm.core.errors import BudgetExceeded, StoreError
from personalrm.core.files import atomic_write_text, canonical_json, file_lock, stable_hash
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.types import ModelSpec

STALE_S = 3600.0
"""A line of another machine's process counts for so long after it last moved, or for as long as its calls may take."""
POLL_S = 0.2
"""How often a call that waits for money looks whether other processes gave some back."""
_LEAST = 1e-9
"""Dollars that sums of prices may be wrong by."""

log = logging.getLogger("personalrm.llm")

Ledger = dict[str, dict[str, Any]]
"""By process: until when its line counts for other machines, and dollars in flight by model identity."""


class Budget:
    """Money that one model may still spend in a run.

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
        self._path = _ledger(store.path, store.run)
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

        Waits while the price does not fit for what is in flight alone, which mostly costs less than is set aside.
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
        """Set a price aside as soon as it fits; one call of this process looks for room at a time."""
        async with self._turn:
            while not self._reserve(estimate_usd):
                if not self._told:
                    log.info("model %s: calls wait for those in flight, which hold what the budget has", self._name)
                    self._told = True
                self._freed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._freed.wait()

    def _reserve(self, estimate_usd: float) -> bool:
        """Set a price aside; False if there is no room yet. Raises BudgetExceeded if there will be none."""
        with self._shared() as ledger:
            self._check_mark()
            paid = {identity: totals.cost_usd for identity, totals in self._store.paid_totals(self._store.run).items()}
            in_flight = [line["usd"] for line in ledger.values()]
            run, model = f"run {self._store.run}", f"model {self._name}"
            fits = True
            for (key, limit), whose in zip(self._limits.items(), (run, model), strict=True):
                counted = None if whose == run else self._identity
                spent, aside = _sum([paid], counted), _sum(in_flight, counted)
                if limit is not None and spent + estimate_usd > limit + _LEAST:
                    raise self._refusal(
                        key,
                        limit,
                        f"{key}: ${spent:.4f} of the ${limit:.4f} for {whose} is spent; the next call of {self._name} "
                        f"may cost ${estimate_usd:.4f} and was not made. Raise {key} and run the same command again: "
                        "stored answers are not paid twice.",
                    )
                fits = fits and (limit is None or spent + aside + estimate_usd <= limit + _LEAST)
            if fits:
                self._add(ledger, estimate_usd)
        return fits

    def _check_mark(self) -> None:
        """Raise what an earlier call of the run was refused with, by a limit that is the same now."""
        marks = _marks(self._path)
        for key, limit in self._limits.items():
            if key in marks and marks[key]["limit"] == limit:
                raise BudgetExceeded(marks[key]["message"])

    def _refusal(self, key: str, limit: float, message: str) -> BudgetExceeded:
        """Leave a mark; returns the error that says the same."""
        marks = {**_marks(self._path), key: {"limit": limit, "message": message}}
        atomic_write_text(_mark(self._path), canonical_json(marks))
        return BudgetExceeded(message)

    def _give_back(self, estimate_usd: float) -> None:
        with self._shared() as ledger:
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
    def _shared(self) -> Iterator[Ledger]:
        """The ledger, which is kept as it is left."""
        try:
            with file_lock(self._path.with_suffix(".lock")):
                ledger = self._read()
                yield ledger
                # Renamed whole, so that a killed job leaves a ledger; not synced, for a dead machine has no calls left.
                partial = self._path.with_suffix(".tmp")
                partial.write_text(canonical_json(ledger), encoding="ascii")
                partial.replace(self._path)
        except OSError as error:
            raise StoreError(
                f"the budget's ledger is kept in {self._path}, which cannot be written ({error.strerror}); make its "
                "folder writable, or remove budget"
            ) from error

    def _read(self) -> Ledger:
        try:
            kept: Ledger = json.loads(self._path.read_text(encoding="ascii"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise StoreError(f"{self._path} is no ledger of a budget; remove it while no job runs") from error
        return {
            process: line for process, line in kept.items() if process == self._process or self._lives(process, line)
        }

    def _lives(self, process: str, line: Mapping[str, Any]) -> bool:
        """Whether the process that wrote a line may still have calls in flight."""
        from personalrm.llm.local.owner import Owner

        host, _, owner = process.partition("|")
        if host == platform.node():
            return Owner.parse(owner).process() is not None
        return bool(self._now() < line["until"])

    def _now(self) -> float:
        """Unix seconds by the ledger's file system: machines share that of a server, and may differ in their own."""
        lock = self._path.with_suffix(".lock")
        lock.touch()
        return lock.stat().st_mtime


def passed(store: Path, run: str) -> list[str]:
    """What calls of a run were refused with since the last `lift`: a message for each limit."""
    return [mark["message"] for _, mark in sorted(_marks(_ledger(store, run)).items())]


def lift(store: Path, run: str) -> None:
    """Let a run that came to the end of its budget ask again, for what smaller calls may still fit."""
    _mark(_ledger(store, run)).unlink(missing_ok=True)


def _ledger(store: Path, run: str) -> Path:
    return store.with_name(f"{store.name}.budget") / f"{stable_hash(run)[:16]}.json"


def _mark(ledger: Path) -> Path:
    return ledger.with_suffix(".passed")


def _marks(ledger: Path) -> dict[str, Any]:
    """By limit: how high it was when it was passed, and the message. Empty if damaged: a call then finds out anew."""
    try:
        marks = json.loads(_mark(ledger).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return marks if isinstance(marks, dict) else {}


def _sum(lines: list[dict[str, float]], identity: str | None) -> float:
    """Dollars of one model, or of all."""
    return sum(usd for line in lines for model, usd in line.items() if identity in (None, model))


def _this_process() -> str:
    from personalrm.llm.local.owner import Owner

    return str(Owner.of(os.getpid()))
