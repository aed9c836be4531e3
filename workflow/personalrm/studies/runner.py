"""What all paid stages share: the client of a model, concurrent rows, and the rule when to fail."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from personalrm.core.errors import ModelCallError
from personalrm.core.files import file_lock, stable_hash
from personalrm.core.records import Record, Trace, Verdict, write_records
from personalrm.core.threads import beside
from personalrm.data.filters.ratings import PanelVote
from personalrm.judge.label_probe import Probed
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.client import ModelClient
from personalrm.llm.limits.budget import Budget
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import LanguageModel
from personalrm.results.marks import MOST_CUT
from personalrm.run.stage import Stage
from personalrm.studies.config_load import read_resolved
from personalrm.studies.study_config import C, StudyConfig

logger = logging.getLogger("personalrm.studies.stages")
T = TypeVar("T", bound=Record)
U = TypeVar("U")
USERS_AT_ONCE = 64
"""Users whose calls may wait at the client at the same time; its own limit decides how many calls are in flight."""


@dataclass(frozen=True)
class Job(Generic[C]):
    """What a stage needs in addition to its input and output files."""

    config: C
    runtime: RuntimeSettings
    clients: list[ModelClient] = field(default_factory=list, compare=False, kw_only=True)

    @classmethod
    def from_file(cls, config_file: Path) -> Job[Any]:
        """Read the resolved config that the workflow wrote, and the runtime from the environment."""
        return Job(read_resolved(config_file), runtime_from_env())

    @asynccontextmanager
    async def model(self, name: str, *, batches: bool = False) -> AsyncIterator[LanguageModel]:
        """Open the model's client over the run's response store.

        `batches`: no request depends on an answer, so that requests may be sent as batches where the config says so.
        Before the first label is read from log-probabilities, a probe checks that it can be (`label_probe`).
        """
        spec = self.config.models[name].spec(name)
        batch = self.config.models[name].batch if batches else None
        async with AsyncExitStack() as stack:
            # It may wait for a lock: in a thread, so that Ctrl-C ends the job all the same.
            store = await beside(partial(ResponseStore, self.config.store, self.config.store_journal, self.config.run))
            stack.callback(store.close)
            limits, budget = self.config.budget, None
            if limits.limits(name):
                longest = 3600 * batch.max_wait_h if batch else spec.deadline_s
                budget = Budget(store, spec, limits.usd, limits.models.get(name), longest)
            opened = partial(open_model, spec, store=store, runtime=self.runtime, budget=budget)
            client = await stack.enter_async_context(opened(batch=batch))
            self.clients.append(client)
            # The probe is one call, which must not wait for a batch.
            prober = await stack.enter_async_context(opened()) if batch else client
            yield Probed(client, self.config.models[name].prompts, prober)
            for line in told_of_cuts(self.config, name, client):
                logger.warning("%s", line)

    def sends_batches(self, name: str) -> bool:
        """Whether stages that can send the model's calls as batches do."""
        return self.config.models[name].batch is not None

    async def execute(
        self,
        stage: Stage[Any],
        model: str,
        groups: Iterable[Sequence[U]],
        work: Callable[[LanguageModel, U], Awaitable[T]],
        out: Path,
    ) -> None:
        """Write the row that `work` makes of each item, of one group after another, with the client of `model`.

        Where calls are sent as batches, all groups are done at once. Raises ModelCallError as `refuse_outage` does.
        """
        together = stage.batches and self.sends_batches(model)
        parts = [list(itertools.chain.from_iterable(groups))] if together else groups
        rows: list[T] = []
        async with self.model(model, batches=stage.batches) as client:
            for items in parts:
                label = f"{stage.name} {model}"
                rows += await each_user(items, lambda item: work(client, item), label, together=together)
        if stage.lost and stage.counted:
            self.refuse_outage(flags(sum(map(stage.lost, rows)), sum(map(stage.counted, rows))), f"{stage.name} calls")
        write_records(out, rows)

    def refuse_outage(self, failed: Iterable[bool], what: str, reason: str | None = None) -> None:
        """`refuse_outage` with the share of the config, and without the requests that the provider rejected."""
        rejected = sum(client.stats.rejected for client in self.clients)
        refuse_outage(failed, what, self.config.max_failed_share, reason, rejected=rejected)


def told_of_cuts(
    config: StudyConfig, model: str, client: ModelClient, named: Callable[[str], str] = str
) -> Iterator[str]:
    """A line for each limit of tokens at which more than `MOST_CUT` of the answers in words ended, with the keys to
    raise as `named` calls them."""
    for limit, count in sorted(client.stats.written.items()):
        cut = client.stats.cut[limit]
        if cut > MOST_CUT * count:
            keys = " or ".join(map(named, limits_of(config, model, limit))) or "max_tokens"
            said = f"{cut} of {count} answers were cut at {limit} tokens ({100 * cut / count:.0f} %)"
            yield f"model {client.spec.name}: {said}; raise {keys}"


def limits_of(config: StudyConfig, model: str, tokens: int) -> list[str]:
    """Keys of the config that hold this limit of tokens for answers of a model."""
    found: list[str] = []

    def walk(value: object, path: str) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                if name in ("max_tokens", "max_new_tokens") and inner == tokens:
                    found.append(f"{path}{name}")
                walk(inner, f"{path}{name}.")

    raw = config.model_dump(exclude={"reward_models"})
    walk(raw | {"models": {model: raw["models"][model]}}, "")
    return found


def runtime_from_env() -> RuntimeSettings:
    """Cores and folders for embedded models, as the workflow sets them (`PERSONALRM_CORES`, `PERSONALRM_RUNTIME`)."""
    return RuntimeSettings(
        runtime_dir=Path(os.environ.get("PERSONALRM_RUNTIME", ".snakemake/personalrm/servers")),
        cores=int(os.environ.get("PERSONALRM_CORES", os.cpu_count() or 1)),
    )


@contextmanager
def sole_writer(out: Path) -> Iterator[None]:
    """Hold the lock of `out`; waits until no other job writes it.

    A Snakemake that was killed leaves its jobs running on a cluster, and the same command submits them again. The
    second job waits and finds the answers of the first in the store, so that they are not paid for twice.
    """
    lock = runtime_from_env().runtime_dir / f"{stable_hash(str(out.absolute()))[:16]}.lock"
    with file_lock(lock, lambda: logger.info("waiting for another job, which writes %s", out)):
        yield


def flags(failed: int, asked: int) -> list[bool]:
    """One flag per call, true for those that failed."""
    return [number < failed for number in range(asked)]


def provider_errors(judged: Iterable[Verdict | Trace | PanelVote]) -> int:
    """Number of those that the provider failed."""
    return sum(one.outcome == "provider_error" for one in judged)


async def each_user(
    users: Sequence[U], work: Callable[[U], Awaitable[T]], what: str, *, together: bool = False
) -> list[T]:
    """Rows that `work` makes of users (or records of users) concurrently, in their order; logs one line for each.

    With `together` all start at once, as the requests of one batch do.
    """
    gate = asyncio.Semaphore(len(users) or 1 if together else USERS_AT_ONCE)
    done = itertools.count(1)

    async def one(user: U) -> T:
        async with gate:
            result = await work(user)
        logger.info("%s: %d of %d rows", what, next(done), len(users))
        return result

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(user)) for user in users]
    return [task.result() for task in tasks]


def refuse_outage(
    failed: Iterable[bool], what: str, max_failed_share: float, reason: str | None = None, *, rejected: int = 0
) -> None:
    """Raise ModelCallError when more than the given share failed: an outage must end a job, not become a score.

    As many failures as there were `rejected` requests do not count: each concerns its request alone, and the next
    attempt would meet it again (the client ends the job where they are many). Answers so far are in the response
    store, so that the next attempt calls only for what is missing.
    """
    found = list(failed)
    said = f"{sum(found)} of {len(found)} {what} failed at the provider"
    if found and (sum(found) - rejected) / len(found) > max_failed_share:
        detail = f" First reason: {reason}" if reason else ""
        raise ModelCallError(
            f"{said}, more than max_failed_share = {max_failed_share:g}. All answers so far are kept; run the same "
            f"command again later.{detail}"
        )
    if any(found):
        logger.warning("%s; `personalrm retry` repeats these calls", said)
