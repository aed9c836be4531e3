"""Python environments for programs that must not, or need not, be installed beside the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from personalrm.core.files import file_lock, stable_hash


def environment_with(name: str, *pins: str) -> Path:
    """Interpreter of an environment with these requirements, over the packages that are here already.

    It is made once and kept beside the model files. Skips where the package index cannot be reached.
    """
    home = Path(os.environ.get("PERSONALRM_CACHE", Path.home() / ".cache" / "personalrm"))
    folder = home / name / stable_hash(*pins, sys.version, sysconfig.get_path("purelib"))[:12]
    # Tests run side by side: one makes it, the others wait.
    with file_lock(folder.with_suffix(".lock")):
        return _made(folder, pins)


def _made(folder: Path, pins: tuple[str, ...]) -> Path:
    if not (folder / "ready").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        # Without a pip of its own, and nothing compiled that is not imported: both take longer than the download.
        venv.create(folder)
        _see_our_packages(folder)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        done = subprocess.run(
            [*pip, "--python", folder / "bin" / "python", "install", "--quiet", "--no-compile", *pins],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            pytest.skip(f"{', '.join(pins)} could not be installed: {last}")
        (folder / "ready").touch()
    return folder / "bin" / "python"


def _see_our_packages(folder: Path) -> None:
    """A path file: what both need is not installed twice."""
    purelib = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    (Path(purelib) / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
