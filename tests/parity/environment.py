"""The authors' package in an environment of its own, over the dependencies that are here already."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from personalrm.files import file_lock, stable_hash

PINS = ("SynthesizeMe==0.0.11a1", "dspy==2.6.27")
"""dspy 2.6.12 and 3.x do not work with the package (facts file, section 8)."""


def package_python() -> Path:
    """Interpreter of the environment, which is made once and kept beside the model files. Skips where the package index
    cannot be reached."""
    home = Path(os.environ.get("PERSONALRM_CACHE", Path.home() / ".cache" / "personalrm"))
    folder = home / "parity" / stable_hash(*PINS, sys.version, sysconfig.get_path("purelib"))[:12]
    # Tests run side by side: one makes it, the others wait.
    with file_lock(folder.with_suffix(".lock")):
        return _made(folder)


def _made(folder: Path) -> Path:
    if not (folder / "ready").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        _see_our_packages(folder)
        done = subprocess.run(
            [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PINS],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"the authors' package could not be installed: {done.stderr.strip().splitlines()[-1]}")
        (folder / "ready").touch()
    return folder / "bin" / "python"


def _see_our_packages(folder: Path) -> None:
    """A path file: what both need is not installed twice."""
    purelib = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    (Path(purelib) / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
