"""What all paid stages share: one model client a job, users side by side, one row a user, and the rule when to fail."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from personalrm.core.errors import ModelCallError
from personalrm.core.files import file_lock, stable_hash
from personalrm.core.records import Record, UserData, read_records
from personalrm.judge.label_probe import Probed
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.limits.budget import Budget
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import LanguageModel
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.config_load import read_resolved

logger = logging.getLogger("personalrm.studies.synthesizeme.stages")
T = TypeVar("T", bound=Record)
U = TypeVar("U", bound=Record)
USERS_AT_ONCE = 64
"""Users whose calls may wait at the client side by side; the client's own limit decides how many are in flight."""


@dataclass(frozen=True)
class Job:
    """Everything a stage needs beside its input and output files."""

    config: Config
    runtime: RuntimeSettings

    @classmethod
    def from_file(cls, config_file: Path) -> Job:
        """Read the resolved config that the workflow wrote, and the runtime from the environment."""
        return cls(read_resolved(config_file), runtime_from_env())

    @asynccontextmanager
    async def model(self, name: str, *, batches: bool = False) -> AsyncIterator[LanguageModel]:
        """Open the model's client over the run's response store.

        `batches`: what is asked does not hang on answers, so that it may be sent as batches where the config says so.
        Before the first label is read from log-probabilities a probe shows that it can be (`label_probe`).
        """
        spec = self.config.models[name].spec(name)
        batch = self.config.models[name].batch if batches else None
        async with AsyncExitStack() as stack:
            store = ResponseStore(self.config.store, self.config.store_journal, self.config.run)
            stack.callback(store.close)
            limits, budget = self.config.budget, None
            if limits.limits(name):
                longest = 3600 * batch.max_wait_h if batch else spec.deadline_s
                budget = Budget(store, spec, limits.usd, limits.models.get(name), longest)
            opened = partial(open_model, spec, store=store, runtime=self.runtime, budget=budget)
            client = await stack.enter_async_context(opened(batch=batch))
            # A batch may take a day, which is long for one call.
            prober = await stack.enter_async_context(opened()) if batch else client
            yield Probed(client, self.config.models[name].prompts, prober)

    def sends_batches(self, name: str) -> bool:
        """Whether the config has the model's calls sent as batches, by the stages that can."""
        return self.config.models[name].batch is not None


def runtime_from_env() -> RuntimeSettings:
    """Cores and folders for embedded models, as the workflow sets them (`PERSONALRM_CORES`, `PERSONALRM_RUNTIME`)."""
    return RuntimeSettings(
        runtime_dir=Path(os.environ.get("PERSONALRM_RUNTIME", ".snakemake/personalrm/servers")),
        cores=int(os.environ.get("PERSONALRM_CORES", os.cpu_count() or 1)),
    )


@contextmanager
def sole_writer(out: Path) -> Iterator[None]:
    """Wait until no other job is at work on `out`, and keep others waiting.

    A Snakemake that was killed leaves its jobs on a cluster at work, and the same command submits them again. Who has
    waited finds the other's answers in the store, instead of asking for them side by side and paying twice.
    """
    lock = runtime_from_env().runtime_dir / f"{stable_hash(str(out.absolute()))[:16]}.lock"
    with file_lock(lock, lambda: logger.info("another job is at work on %s; waiting for it", out)):
        yield


def read_users(path: Path) -> list[UserData]:
    """Users of one shard, in the order of the file."""
    return list(read_records(path, UserData))


def evaluated_users(path: Path, evaluate: Literal["test", "all"]) -> list[UserData]:
    """Users of one shard who are learned from and judged."""
    return [user for user in read_users(path) if is_evaluated(user, evaluate)]


def is_evaluated(user: UserData, evaluate: Literal["test", "all"]) -> bool:
    """Whether a user is learned from and judged: all are, or those of the level-A part test.

    Users without a level-A part (small data sets have none) always are.
    """
    return evaluate == "all" or user.user_split in (None, "test")


async def each_user(
    users: Sequence[U], work: Callable[[U], Awaitable[T]], what: str, *, together: bool = False
) -> list[T]:
    """Run `work` for all users (or records of users) side by side; results in their order; one progress line each.

    With `together` all wait at once, as the requests of one batch do.
    """
    gate = asyncio.Semaphore(len(users) or 1 if together else USERS_AT_ONCE)
    done = 0

    async def one(user: U) -> T:
        nonlocal done
        async with gate:
            result = await work(user)
        done += 1
        logger.info("%s: %d of %d users", what, done, len(users))
        return result

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(user)) for user in users]
    return [task.result() for task in tasks]


async def in_turn(works: Sequence[Callable[[], Awaitable[Sequence[T]]]], *, together: bool = False) -> list[T]:
    """What `works` give, in their order; done one after another, or with `together` side by side."""
    if not together:
        return [row for work in works for row in await work()]
    found = await asyncio.gather(*(work() for work in works))
    return [row for rows in found for row in rows]


def refuse_outage(failed: Iterable[bool], what: str, max_failed_share: float, reason: str | None = None) -> None:
    """Raise when more than the configured share failed: an outage must end a job, not become a score.

    What was paid for is in the response store, so the next attempt asks only for what is missing.
    """
    flags = list(failed)
    if flags and sum(flags) / len(flags) > max_failed_share:
        detail = f" First reason: {reason}" if reason else ""
        raise ModelCallError(
            f"{sum(flags)} of {len(flags)} {what} failed at the provider, more than max_failed_share = "
            f"{max_failed_share:g}. All answers so far are kept; run the same command again later.{detail}"
        )
    if any(flags):
        logger.warning(
            "%d of %d %s failed at the provider; `personalrm retry` asks again", sum(flags), len(flags), what
        )
