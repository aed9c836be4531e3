"""Files of a data set from the Hugging Face hub: fetched once, all or none, with recorded checksums.

The checksums of the first fetch are recorded in `checksums.json` next to the files, unless the config gives them; from
then on, a file with another checksum is an error. Files arrive in a folder of their own (`.incoming`) and are moved
when all are complete: Snakemake deletes the outputs of a failed job, and would delete what had been downloaded.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from personalrm.core.errors import ConfigError, DataError
from personalrm.core.files import atomic_write_text, file_lock, sha256_file
from personalrm.core.hub import HubError, HubFile, download, look_up
from personalrm.data.settings import CHECKSUMS, HubSource

if TYPE_CHECKING:
    from tenacity import Retrying

_INCOMING = ".incoming"
_LONGEST_PAUSE_S = 30.0


def shared_source(datasets: Mapping[str, Any], name: str) -> HubSource:
    """What all data sets of a config need of the revision that data set `name` is read from, as one source.

    Two data sets may be made of the same files (two ways of filtering, say); one job fetches them. Raises ConfigError
    if two data sets disagree.
    """
    own: HubSource | None = datasets[name].hub
    if own is None:
        raise ConfigError(f"datasets.{name}.hub: not given, so there is nothing to fetch")
    files: dict[str, None] = {}
    sums: dict[str, str] = {}
    for other, settings in datasets.items():
        source: HubSource | None = settings.hub
        if source is None or source.folder != own.folder:
            continue
        if (source.repo, source.revision) != (own.repo, own.revision):
            raise ConfigError(f"datasets.{other}.hub: would share {own.folder} with that of {name}; spell both alike")
        files |= dict.fromkeys(source.files)
        for file, value in source.sha256.items():
            if sums.setdefault(file, value.lower()) != value.lower():
                raise ConfigError(f"datasets.{other}.hub.sha256.{file}: differs from another data set's for this file")
    return own.model_copy(update={"files": list(files), "sha256": sums})


class _Noted(BaseModel):
    """Content of a `checksums.json`: the commit that the revision named at the first fetch, and SHA-256 by file."""

    commit: str = ""
    files: dict[str, str] = {}
    repo: str = ""
    revision: str = ""

    @classmethod
    def read(cls, folder: Path) -> _Noted:
        path = folder / CHECKSUMS
        try:
            return cls.model_validate_json(path.read_bytes()) if path.is_file() else cls()
        except ValidationError:
            raise DataError(
                f"{path}: not the record that was written; delete {folder} to fetch its files anew"
            ) from None


def noted_commit(source: HubSource) -> str:
    """The commit that the revision named at the first fetch; empty before it."""
    return _Noted.read(source.folder).commit


def check_files(dataset: str, source: HubSource) -> None:
    """Hash the files of a fetched data set.

    Raises DataError for the first that is missing, or that is not what the config or the first fetch says.
    """
    noted = _Noted.read(source.folder)
    for name in source.files:
        path = source.folder / name
        if not path.is_file():
            raise DataError(f"datasets.{dataset}.hub: {path} is not there; run the workflow again, which fetches it")
        _accept(dataset, source, noted, name, sha256_file(path))


def fetch_files(
    dataset: str, source: HubSource, note: Callable[[str], object], *, attempts: int = 4, pause_s: float = 1.0
) -> None:
    """Bring all files of `source` into its folder, and record their checksums. Needs no network if all are there.

    A branch or tag is resolved to a commit at the first fetch, and the commit is kept. One process at a time fetches
    into a folder; others wait and find the files. `note` gets lines of progress. Failures that may pass are tried
    `attempts` times in all, after pauses of `pause_s` seconds, twice that, and so on. Raises DataError of one line:
    gated, token refused, offline, no such repository, revision or file, checksum differs, disk full.
    """
    from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential

    def say(state: RetryCallState) -> None:
        if state.outcome is not None and state.next_action is not None:
            note(f"{state.outcome.exception()}; again in {state.next_action.sleep:g} s")

    insist = Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, HubError) and error.passing),
        stop=stop_after_attempt(attempts),
        wait=wait_exponential(multiplier=pause_s, max=_LONGEST_PAUSE_S),
        before_sleep=say,
        reraise=True,
    )
    folder = source.folder
    lock = folder.with_name(f".{folder.name}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file_lock(lock, lambda: note(f"{folder}: another process is fetching, waiting for it")):
            _fetch(dataset, source, note, insist)
    except HubError as error:
        raise DataError(f"datasets.{dataset}.hub: {source.repo}, revision {source.revision}: {error}") from None
    except OSError as error:
        raise DataError(f"datasets.{dataset}.hub: {folder}: {error.strerror or error}; it must be writable") from None


def _fetch(dataset: str, source: HubSource, note: Callable[[str], object], insist: Retrying) -> None:
    folder, incoming, noted = source.folder, source.folder / _INCOMING, _Noted.read(source.folder)
    missing = [name for name in source.files if not (folder / name).is_file()]
    for name in source.files:
        if name in missing:
            remote = insist(look_up, HubFile(source.repo, name, noted.commit or source.revision))
            noted.commit = noted.commit or remote.commit
            if remote.sha256 is not None:
                # Refused before a byte is downloaded.
                _accept(dataset, source, noted, name, remote.sha256)
            size = "" if remote.size is None else f", {remote.size / 1e6:.1f} MB"
            note(f"{source.repo}: fetching {name}{size}")
            insist(download, HubFile(source.repo, name, remote.commit), remote, incoming / name)
        path = (incoming if name in missing else folder) / name
        noted.files[name] = _accept(dataset, source, noted, name, sha256_file(path))
    # First the record, then the files: if the process is killed between the two, the files are still known.
    noted = noted.model_copy(update={"repo": source.repo, "revision": source.revision})
    noted.files = dict(sorted(noted.files.items()))
    atomic_write_text(folder / CHECKSUMS, noted.model_dump_json(indent=2) + "\n")
    for name in missing:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(incoming / name, folder / name)
    shutil.rmtree(incoming, ignore_errors=True)


def _accept(dataset: str, source: HubSource, noted: _Noted, name: str, found: str) -> str:
    """Return `found`, or raise DataError if it is not the SHA-256 that holds for this file."""
    given = source.sha256.get(name, "").lower()
    expected = given or noted.files.get(name) or found
    if found == expected:
        return found
    says = f"datasets.{dataset}.hub.sha256" if given else f"{source.folder / CHECKSUMS} (noted at the first fetch)"
    raise DataError(
        f"datasets.{dataset}.hub: {name} of {source.repo}, revision {source.revision}, was changed: its SHA-256 is "
        f"{found}, and {says} says {expected}; if the change is wanted, correct the config and delete {source.folder}"
    )
