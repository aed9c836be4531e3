"""Which requests are under way in which batch: what keeps a killed job, and its neighbours, from paying twice."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from personalrm.core.addresses import without_credentials
from personalrm.core.errors import StoreError
from personalrm.core.files import atomic_write_text, canonical_json, stable_hash, waiting_lock
from personalrm.llm.types import ModelSpec


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """One batch. `id` is ours, and stands in the batch's metadata; `batch` is the provider's, empty while it is not
    known whether the batch was made; `keys` are the requests whose answers it has or will have; `ended` says that
    these are to be had."""

    id: str
    keys: tuple[str, ...]
    batch: str = ""
    ended: bool = False


class BatchJournal:
    """The open batches of one model at one endpoint, a JSON file each, in `<store>.batches/<model and endpoint>/`.

    A file is written whole or not at all and read anew each time, so that any job may die at any moment. It holds
    hashes of requests and ids, and neither texts nor keys of providers.

    Args:
        store: the response store's file.
        spec: the model.
    """

    def __init__(self, store: Path, spec: ModelSpec) -> None:
        name = stable_hash(spec.identity, without_credentials(spec.api_base or ""))[:16]
        self._folder = store.with_name(f"{store.name}.batches") / name

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Keep all other jobs of this model from reading or writing, until the end or this process's death."""
        with self._writable():
            async with waiting_lock(self._folder / "lock"):
                yield

    def records(self) -> list[BatchRecord]:
        """All batches whose answers may still be wanted, in the order of their ids."""
        found = map(self._read, sorted(self._folder.glob("*.json")))
        return [record for record in found if record is not None]

    def write(self, record: BatchRecord) -> None:
        """Write `record` in place of what was known of it."""
        with self._writable():
            atomic_write_text(self._path(record), canonical_json(asdict(record)) + "\n")

    def drop(self, record: BatchRecord) -> None:
        """Forget a batch."""
        with self._writable():
            self._path(record).unlink(missing_ok=True)

    def end(self, record: BatchRecord, answered: Collection[str]) -> None:
        """Keep of an ended batch what it answered: its other requests may be sent again."""
        present = self._read(self._path(record))
        if present is None:
            return
        keys = tuple(key for key in present.keys if key in answered)
        if keys:
            self.write(replace(present, keys=keys, ended=True))
        else:
            self.drop(present)

    def _path(self, record: BatchRecord) -> Path:
        return self._folder / f"{record.id}.json"

    def _read(self, path: Path) -> BatchRecord | None:
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            return BatchRecord(kept["id"], tuple(kept["keys"]), kept["batch"], kept["ended"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"the journal of batches {path} cannot be read ({error}). It says which requests are paid for and "
                f"under way: mend it, or remove it and have them sent again."
            ) from error

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"the journal of batches {self._folder} cannot be written ({error.strerror}); nothing more was "
                f"submitted. Make room, or the folder writable, and run the same command again."
            ) from error
