"""Backend that sends requests as batches: half the price, and answers within a day."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from personalrm.core.errors import ModelCallError, RateLimited, TransientError
from personalrm.llm.backends.batch.batch_api import ENDED, Batch, BatchApi, is_answered
from personalrm.llm.backends.batch.batch_journal import BatchJournal, BatchRecord
from personalrm.llm.backends.batch.batch_settings import BatchSettings
from personalrm.llm.cache.key import request_key
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.types import ModelSpec, Request, Response

GONE_AFTER = 3
"""Looks in a row that find no batch before it counts as gone: a new one may be unknown to some of the servers."""
_GROWTH = 1.5

log = logging.getLogger("personalrm.llm")


@dataclass(slots=True)
class _Asked:
    """A request, and who waits for its answer."""

    request: Request
    answer: asyncio.Future[Response]


Group = dict[str, _Asked]
"""Requests by their store keys, which are their custom_ids, too."""


class BatchBackend:
    """`Backend` for `{api_base}/batches`. One call a request at a time, which the client sees to.

    Each request is submitted once, by whatever process, however that ends. Under a lock of the journal: a request whose
    answer is stored by now is not sent; one in an open batch waits for that batch; the others are uploaded, noted (the
    intent, with an id of our own), made a batch under that id, and noted with the provider's id. An intent without the
    provider's id is of a process that died in between, or heard no answer: the provider's list of batches says whether
    it was made. A record goes when all its answers are stored.

    Args:
        spec: the model and its endpoint.
        settings: how to gather, how to wait.
        store: where the client puts the answers; only read here.
    """

    def __init__(self, spec: ModelSpec, settings: BatchSettings, store: ResponseStore) -> None:
        self._spec = spec
        self._settings = settings
        self._store = store
        self._api = BatchApi(spec, settings)
        self._journal = BatchJournal(store.path, spec)
        self._new: Group | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def call(self, request: Request) -> Response:
        """The answer to `request` from a batch. Raises a `ModelCallError` that says which kind of failure it was."""
        asked = _Asked(request, asyncio.get_running_loop().create_future())
        if self._new is None:
            self._new = {}
            self._start(self._gather(self._new), self._new)
        self._new[request_key(self._spec.identity, request)] = asked
        try:
            async with asyncio.timeout(self._settings.max_wait_h * 3600):
                return await asked.answer
        except TimeoutError:
            raise TransientError(
                f"model {self._spec.name}: no answer from a batch within {self._settings.max_wait_h:g} h "
                f"(models.{self._spec.name}.batch.max_wait_h). The same command waits on for it."
            ) from None

    async def aclose(self) -> None:
        """End all waiting, forget batches whose answers are stored, and close the connections. Safe to call twice."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tidy()
        await self._api.aclose()

    def _start(self, work: Coroutine[Any, Any, None], asked: Group) -> None:
        """Do `work` beside; those of `asked` that it leaves without an answer share its fate."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda ended: self._end(ended, asked))

    def _end(self, task: asyncio.Task[None], asked: Group) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        for one in asked.values():
            if one.answer.done():
                continue
            if error is None:
                one.answer.cancel()
            else:
                one.answer.set_exception(error)

    async def _gather(self, asked: Group) -> None:
        """Wait until no more requests come, then send those that did."""
        seen = 0
        while seen < len(asked) < self._settings.max_requests:
            seen = len(asked)
            await asyncio.sleep(self._settings.gather_s)
        # Who asks from now on begins another group.
        self._new = None
        await self._send(asked)

    async def _send(self, asked: Group) -> None:
        """See to it that each of `asked` is in one batch, and follow that batch. `asked` keeps those in none."""
        for key in [key for key, one in asked.items() if one.answer.done()]:
            del asked[key]
        async with self._journal.locked():
            # Another job may have stored an answer, and forgotten its batch, since the client looked.
            for key, response in self._store.get_many(list(asked)).items():
                asked.pop(key).answer.set_result(replace(response, cost_usd=0.0))
            for record in await self._open_batches():
                mine = {key: asked.pop(key) for key in record.keys if key in asked}
                if mine:
                    log.info("model %s: %d requests wait for batch %s", self._spec.name, len(mine), record.batch)
                    self._start(self._follow(record, mine), mine)
            for chunk, lines in self._chunks(asked):
                record = await self._submit(tuple(chunk), lines)
                for key in chunk:
                    del asked[key]
                self._start(self._follow(record, chunk), chunk)

    async def _open_batches(self) -> list[BatchRecord]:
        """Batches that have answers to come or to fetch; needs the lock."""
        found = []
        for record in self._journal.records():
            known = record
            if not record.batch:
                batch = await self._api.find(record.id)
                if batch is None:
                    await asyncio.sleep(self._settings.settle_s)
                    batch = await self._api.find(record.id)
                if batch is None:
                    self._journal.drop(record)
                    continue
                known = replace(record, batch=batch)
                self._journal.write(known)
            found.append(known)
        return found

    def _chunks(self, asked: Group) -> Iterator[tuple[Group, bytes]]:
        """The requests in groups that one batch may hold, each with its input file."""
        most, limit = self._settings.max_requests, self._settings.max_file_mb * 1e6
        chunk: Group = {}
        lines = bytearray()
        for key, one in list(asked.items()):
            line = self._api.line(key, one.request)
            if chunk and (len(chunk) == most or len(lines) + len(line) > limit):
                yield chunk, bytes(lines)
                chunk, lines = {}, bytearray()
            chunk[key] = one
            lines += line
        if chunk:
            yield chunk, bytes(lines)

    async def _submit(self, keys: tuple[str, ...], lines: bytes) -> BatchRecord:
        """Make a batch, noting the intent first; needs the lock."""
        file = await self._api.upload(lines)
        intent = BatchRecord(uuid.uuid4().hex, keys)
        self._journal.write(intent)
        try:
            batch = await self._api.create(file, intent.id)
        except TransientError:
            # It may have been made: who asks next finds the intent, and looks.
            raise
        except ModelCallError:
            self._journal.drop(intent)
            raise
        record = replace(intent, batch=batch)
        self._journal.write(record)
        log.info("model %s: batch %s of %d requests submitted", self._spec.name, batch, len(keys))
        return record

    async def _follow(self, record: BatchRecord, asked: Group) -> None:
        """Wait for a batch and hand out its answers. Raises what those are told who have none."""
        ended = await self._ended(record)
        if ended is None or ended[0].status == "failed":
            async with self._journal.locked():
                self._journal.drop(record)
            if ended is None:
                raise TransientError(f"model {self._spec.name}: the provider no longer knows batch {record.batch}")
            raise self._api.failure(ended[0])
        batch, lines = ended
        good: dict[str, Response] = {}
        bad: dict[str, ModelCallError] = {}
        for key in asked.keys() & lines.keys():
            try:
                good[key] = self._api.read(lines[key], asked[key].request, record.batch)
            except ModelCallError as error:
                bad[key] = error
        # Before anybody is told: who asks again must find the failed ones in no batch.
        async with self._journal.locked():
            self._journal.end(record, {key for key, line in lines.items() if is_answered(line)} - bad.keys())
        for key, answer in (good | bad).items():
            _tell(asked[key], answer)
        if len(good) + len(bad) < len(asked):
            raise TransientError(f"model {self._spec.name}: batch {record.batch} ({batch.status}) left this out")

    async def _ended(self, record: BatchRecord) -> tuple[Batch, Mapping[str, Mapping[str, Any]]] | None:
        """The batch when it has ended, with its lines by custom_id; None if it is gone."""
        wait, missing, before = self._settings.poll_s, 0, ""
        while missing < GONE_AFTER:
            await asyncio.sleep(wait)
            wait = min(wait * _GROWTH, self._settings.max_poll_s)
            try:
                batch = await self._api.look(record.batch)
                if batch is not None and batch.status in ENDED:
                    return batch, await self._api.answers(batch)
            except (RateLimited, TransientError) as error:
                log.warning("model %s: batch %s: %s", self._spec.name, record.batch, error)
                continue
            missing = missing + 1 if batch is None else 0
            now = f"{batch.status}, {batch.counts.get('completed', 0)} of {len(record.keys)}" if batch else "not found"
            if now != before:
                log.info("model %s: batch %s: %s", self._spec.name, record.batch, now)
                before = now
        return None

    def _tidy(self) -> None:
        """Forget ended batches whose answers are all stored. Whoever rewrites one at the same time leaves it to the
        next."""
        for record in self._journal.records():
            if record.ended and len(self._store.get_many(record.keys)) == len(record.keys):
                self._journal.drop(record)


def _tell(asked: _Asked, answer: Response | ModelCallError) -> None:
    if asked.answer.done():
        return
    if isinstance(answer, Response):
        asked.answer.set_result(answer)
    else:
        asked.answer.set_exception(answer)
