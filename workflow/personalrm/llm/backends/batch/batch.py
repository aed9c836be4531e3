"""Backend that sends requests as batches: half the price, and answers within a day."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Collection, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from personalrm.core.addresses import without_credentials
from personalrm.core.errors import ModelCallError, RateLimited, StoreError, TransientError
from personalrm.core.files import stable_hash, waiting_lock
from personalrm.llm.backends.batch.batch_api import ENDED, BatchApi, Shown, is_answered
from personalrm.llm.backends.batch.batch_settings import BatchSettings
from personalrm.llm.backends.openai_format import as_mapping
from personalrm.llm.cache.key import request_key
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.cache.store_file import explained
from personalrm.llm.types import ModelSpec, Request, Response

JOURNAL = "batches of "
"""With the hash of a model and its endpoint: the name under which the store keeps the records of open batches."""
GONE_AFTER = 3
"""Looks in a row that find no batch before it counts as gone: a new one may be unknown to some of the servers."""
_GROWTH = 1.5

log = logging.getLogger("personalrm.llm")


class _Asked(NamedTuple):
    """A request, and the future answer."""

    request: Request
    answer: asyncio.Future[Response]


Group = dict[str, _Asked]
"""Requests by their store keys, which are their custom_ids, too."""


@dataclass(frozen=True, slots=True)
class _Record:
    """One batch. `id` is ours, and stands in the batch's metadata; `batch` is the provider's id, empty while it is not
    known whether the batch was made; `keys` are the requests that it answers; `ended`: its answers can be fetched."""

    id: str
    keys: Collection[str]
    batch: str = ""
    ended: bool = False


class BatchBackend:
    """`Backend` for `{api_base}/batches`. One call a request at a time, which the client sees to.

    Each request is submitted once, whichever process asks and however it ends. The store keeps a record of each open
    batch: keys of requests and ids, and neither texts nor API keys. Under a lock: a request whose answer is stored by
    now is not sent; one in an open batch waits for that batch; the others are uploaded, recorded (with an id of our
    own), made a batch under that id, and recorded with the provider's id. Where a record has no provider's id, its
    process died in between, or received no reply: the provider's list of batches says whether the batch was made. A
    record is removed when all its answers are stored.

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
        name = stable_hash(spec.identity, without_credentials(spec.api_base or ""))[:16]
        self._journal = f"{JOURNAL}{name}"
        self._lock = store.path.with_name(f"{store.path.name}.batches") / f"{name}.lock"
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
        """End all waiting, close the connections, and forget batches whose answers are stored. Safe to call twice."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._api.aclose()
        for record in self._records():
            if record.ended and len(self._store.get_many(list(record.keys))) == len(record.keys):
                self._note(record, ())

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """Keep all other jobs of this model from making batches until the end, or this process's death."""
        with explained(self._lock):
            async with waiting_lock(self._lock):
                yield

    def _records(self) -> list[_Record]:
        """All batches whose answers may still be wanted."""
        try:
            return [_Record(**record) for record in self._store.peek(self._journal, strict=True).values()]
        except (TypeError, ValueError) as error:
            raise StoreError(
                f"store {self._store.path}: a row of its table `shared` of kind {self._journal!r} cannot be read "
                f"({error}). It says which requests are under way and paid for: correct it; or delete it, and they are "
                f"sent and paid for again."
            ) from error

    def _note(self, record: _Record, keys: Collection[str]) -> None:
        """Write a record, with those of its requests that are in `keys`; without any, it is removed."""
        wanted = set(keys)
        with self._store.shared(self._journal) as journal:
            kept = [key for key in journal.get(record.id, asdict(record))["keys"] if key in wanted]
            journal[record.id] = asdict(replace(record, keys=kept))
            if not kept:
                del journal[record.id]

    def _start(self, work: Coroutine[Any, Any, None], asked: Group) -> None:
        """Start `work` as a task; those of `asked` that it leaves without an answer get its error."""
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
        # Requests from now on form another group.
        self._new = None
        await self._send(asked)

    async def _send(self, asked: Group) -> None:
        """See to it that each of `asked` is in one batch, and follow that batch. `asked` keeps those in none."""
        for key in [key for key, one in asked.items() if one.answer.done()]:
            del asked[key]
        async with self._locked():
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

    async def _open_batches(self) -> list[_Record]:
        """Batches that have answers to come or to fetch; needs the lock."""
        for record in self._records():
            if record.batch:
                continue
            batch = await self._api.find(record.id)
            if batch is None:
                await asyncio.sleep(self._settings.settle_s)
                batch = await self._api.find(record.id)
            self._note(replace(record, batch=batch or ""), record.keys if batch else ())
        return self._records()

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

    async def _submit(self, keys: tuple[str, ...], lines: bytes) -> _Record:
        """Make a batch, recorded before it is made; needs the lock."""
        file = await self._api.upload(lines)
        intent = _Record(uuid.uuid4().hex, keys)
        self._note(intent, keys)
        try:
            batch = await self._api.create(file, intent.id)
        except TransientError:
            # It may have been made: the next job finds the record, and looks for the batch.
            raise
        except ModelCallError:
            self._note(intent, ())
            raise
        record = replace(intent, batch=batch)
        self._note(record, keys)
        log.info("model %s: batch %s of %d requests submitted", self._spec.name, batch, len(keys))
        return record

    async def _follow(self, record: _Record, asked: Group) -> None:
        """Wait for a batch and hand out its answers. Raises the error of those that have none."""
        ended = await self._ended(record)
        if ended is None or ended[0]["status"] == "failed":
            async with self._locked():
                self._note(record, ())
            if ended is None:
                raise TransientError(f"model {self._spec.name}: the provider no longer knows batch {record.batch}")
            raise self._api.failure(ended[0])
        batch, lines = ended
        found: dict[str, Response | ModelCallError] = {}
        for key in asked.keys() & lines.keys():
            try:
                found[key] = self._api.read(lines[key], asked[key].request, record.batch)
            except ModelCallError as error:
                found[key] = error
        failed = {key for key, answer in found.items() if isinstance(answer, ModelCallError)}
        # Before answers are handed out: a request that failed and is sent again must be in no batch.
        async with self._locked():
            if any(record.id == open_.id for open_ in self._records()):
                answered = {key for key, line in lines.items() if is_answered(line)}
                self._note(replace(record, ended=True), answered - failed)
        for key, answer in found.items():
            if asked[key].answer.done():
                continue
            if isinstance(answer, Response):
                asked[key].answer.set_result(answer)
            else:
                asked[key].answer.set_exception(answer)
        if len(found) < len(asked):
            raise TransientError(f"model {self._spec.name}: batch {record.batch} ({batch['status']}) left this out")

    async def _ended(self, record: _Record) -> tuple[Shown, Mapping[str, Mapping[str, Any]]] | None:
        """The batch when it has ended, with its lines by custom_id; None if it is gone."""
        wait, missing, before = self._settings.poll_s, 0, ""
        while missing < GONE_AFTER:
            await asyncio.sleep(wait)
            wait = min(wait * _GROWTH, self._settings.max_poll_s)
            try:
                batch = await self._api.look(record.batch)
                if batch is not None and batch.get("status") in ENDED:
                    return batch, await self._api.answers(batch)
            except (RateLimited, TransientError) as error:
                log.warning("model %s: batch %s: %s", self._spec.name, record.batch, error)
                continue
            missing = missing + 1 if batch is None else 0
            done = as_mapping(batch.get("request_counts")).get("completed", 0) if batch else 0
            now = f"{batch.get('status')}, {done} of {len(record.keys)}" if batch else "not found"
            if now != before:
                log.info("model %s: batch %s: %s", self._spec.name, record.batch, now)
                before = now
        return None
