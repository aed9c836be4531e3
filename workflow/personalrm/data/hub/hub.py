"""Files of a data set from the Hugging Face hub: fetched once, whole or not at all, and the same ever after.

The checksums of the first fetch are noted in `checksums.json` beside the files, unless the config gives them; from then
on a file with another one is an error. Files arrive in a folder of their own (`.incoming`) and are moved when all are
there: Snakemake deletes the outputs of a failed job, and would throw away what had been fetched.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from personalrm.core.errors import ConfigError, DataError
from personalrm.core.files import atomic_write_text, file_lock, sha256_file
from personalrm.data.hub.hub_transfer import HubTransfer, TransientDataError
from personalrm.data.settings import Dataset, HubSource, LocalDataset

CHECKSUMS = "checksums.json"
_INCOMING = ".incoming"


def hub_of(settings: Dataset) -> HubSource | None:
    """The hub files of a data set; None where it lies in local files."""
    return None if isinstance(settings, LocalDataset) else settings.hub


def hub_paths(source: HubSource) -> list[Path]:
    """Where the files lie once fetched, in the config's order."""
    return [source.folder / name for name in source.files]


def shared_source(datasets: Mapping[str, Dataset], name: str) -> HubSource:
    """What all data sets of a config want of the revision that data set `name` is read from, as one source.

    Two data sets may be made of the same files (two ways of filtering, say); one job fetches them. Raises ConfigError
    for names that leave the folder, for checksums that are none or of no file, and where two data sets disagree.
    """
    own = hub_of(datasets[name])
    if own is None:
        raise ConfigError(f"datasets.{name}.hub: not given, so there is nothing to fetch")
    files: dict[str, None] = {}
    sums: dict[str, str] = {}
    for other, settings in datasets.items():
        source = hub_of(settings)
        if source is None or source.folder != own.folder:
            continue
        if (source.repo, source.revision) != (own.repo, own.revision):
            raise ConfigError(f"datasets.{other}.hub: would share {own.folder} with that of {name}; spell both alike")
        _check_names(other, source)
        files |= dict.fromkeys(source.files)
        for file, value in source.sha256.items():
            if sums.setdefault(file, value.lower()) != value.lower():
                raise ConfigError(f"datasets.{other}.hub.sha256.{file}: differs from another data set's for this file")
    return own.model_copy(update={"files": list(files), "sha256": sums})


def _check_names(dataset: str, source: HubSource) -> None:
    for file in source.files:
        path = PurePosixPath(file)
        if str(path) != file or path.is_absolute() or path.parts[0].startswith(".") or ".." in path.parts:
            raise ConfigError(f"datasets.{dataset}.hub.files: {file!r} is no name of a file in a repository")
        if file == CHECKSUMS:
            raise ConfigError(f"datasets.{dataset}.hub.files: {CHECKSUMS} is the name of our own record")
    for file, value in source.sha256.items():
        if file not in source.files:
            raise ConfigError(f"datasets.{dataset}.hub.sha256.{file}: no such file in datasets.{dataset}.hub.files")
        if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
            raise ConfigError(f"datasets.{dataset}.hub.sha256.{file}: a SHA-256 has 64 hexadecimal digits")


@dataclass
class _Noted:
    """Content of a `checksums.json`: the commit that the revision named at the first fetch, and SHA-256 by file."""

    commit: str = ""
    files: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> _Noted:
        path = folder / CHECKSUMS
        if not path.is_file():
            return cls()
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(str(content["commit"]), {str(name): str(value) for name, value in content["files"].items()})
        except (ValueError, LookupError, TypeError, AttributeError):
            raise DataError(
                f"{path}: not the record that was written; delete {folder} to fetch its files anew"
            ) from None

    def write(self, folder: Path, source: HubSource) -> None:
        content = {"repo": source.repo, "revision": source.revision, "commit": self.commit, "files": self.files}
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        atomic_write_text(folder / CHECKSUMS, text)


def noted_commit(source: HubSource) -> str:
    """The commit that the revision named at the first fetch; empty before it."""
    return _Noted.read(source.folder).commit


def check_files(dataset: str, source: HubSource) -> dict[str, str]:
    """Hash the files of a fetched data set, and return SHA-256 by file.

    Raises DataError for the first that is missing, or that is not what the config or the first fetch says.
    """
    noted = _Noted.read(source.folder)
    sums = {}
    for name in source.files:
        path = source.folder / name
        if not path.is_file():
            raise DataError(f"datasets.{dataset}.hub: {path} is not there; run the workflow again, which fetches it")
        sums[name] = _accept(dataset, source, noted, name, sha256_file(path))
    return sums


def fetch_files(
    dataset: str, source: HubSource, note: Callable[[str], object], *, attempts: int = 4, pause_s: float = 1.0
) -> None:
    """Bring all files of `source` into its folder, and note their checksums. Needs no network where all are there.

    A branch or tag is resolved to a commit at the first fetch, and stays there. One process at a time does this for a
    folder; others wait and find the files. `note` gets lines of progress; `attempts` and `pause_s` (seconds) are for
    failures that may pass. Raises DataError or ConfigError, of one line: gated, token refused, offline, no such
    repository, revision or file, checksum differs, disk full.
    """
    folder = source.folder
    transfer = HubTransfer(dataset, source, note, attempts, pause_s)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = folder.with_name(f".{folder.name}.lock")
        with file_lock(lock, lambda: note(f"{folder}: another process is fetching, waiting for it")):
            _fetch(transfer, folder)
    except OSError as error:
        raise DataError(f"datasets.{dataset}.hub: {folder}: {error.strerror or error}; it must be writable") from None


def _fetch(transfer: HubTransfer, folder: Path) -> None:
    dataset, source = transfer.dataset, transfer.source
    noted = _Noted.read(folder)
    present = [name for name in source.files if (folder / name).is_file()]
    for name in present:
        noted.files[name] = _accept(dataset, source, noted, name, sha256_file(folder / name))
    missing = [name for name in source.files if name not in present]
    if missing:
        _bring(transfer, folder / _INCOMING, noted, missing)
    # First the record, then the files: killed between the two, the files are still known and still there.
    noted.write(folder, source)
    for name in missing:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(folder / _INCOMING / name, folder / name)
    shutil.rmtree(folder / _INCOMING, ignore_errors=True)


def _bring(transfer: HubTransfer, incoming: Path, noted: _Noted, names: Iterable[str]) -> None:
    """Fetch `names` into `incoming`, adding to `noted`; what a former attempt brought is used."""
    incoming.mkdir(exist_ok=True)
    # The library's own notes, and what it left if it was killed.
    shutil.rmtree(incoming / ".cache", ignore_errors=True)
    arrived = _Noted.read(incoming)
    noted.commit = arrived.commit = noted.commit or arrived.commit
    for name in names:
        path = incoming / name
        if path.is_file() and arrived.files.get(name) == sha256_file(path):
            noted.files[name] = _accept(transfer.dataset, transfer.source, noted, name, arrived.files[name])
            continue
        noted.files[name] = arrived.files[name] = _bring_one(transfer, incoming, noted, name)
        arrived.commit = noted.commit
        arrived.write(incoming, transfer.source)


def _bring_one(transfer: HubTransfer, incoming: Path, noted: _Noted, name: str) -> str:
    """Fetch one file and return its SHA-256, which is what the config, the first fetch and the hub say."""
    dataset, source = transfer.dataset, transfer.source
    remote = transfer.look_up(name, noted.commit or source.revision)
    noted.commit = noted.commit or remote.commit
    if remote.sha256 is not None:
        # Known before a byte is fetched.
        _accept(dataset, source, noted, name, remote.sha256)
    transfer.require_room(name, remote.size, incoming)
    size = "" if remote.size is None else f", {remote.size / 1e6:.1f} MB"
    transfer.note(f"{source.repo}: fetching {name}{size}")

    def attempt() -> str:
        path = transfer.download(name, noted.commit, incoming)
        found = sha256_file(path)
        if remote.sha256 not in {None, found}:
            path.unlink()
            raise TransientDataError(
                f"datasets.{dataset}.hub: {name} of {source.repo} was damaged on the way: its SHA-256 is {found}, and "
                f"the hub says {remote.sha256}"
            )
        return _accept(dataset, source, noted, name, found)

    found = transfer.insist(name, attempt)
    with (incoming / name).open("rb+") as stream:
        os.fsync(stream.fileno())
    return found


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
