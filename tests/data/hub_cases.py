"""A small data set of the hub, and how to fetch it, for the tests of fetching."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest
from support.hub_server import COMMIT

from personalrm.core.errors import PersonalRMError
from personalrm.data.hub import fetch_files
from personalrm.data.settings import HubSource

SMALL, LARGE = b'{"user": "\xe9\x00"}\n' * 40, random.Random(3).randbytes(300_000)
FILES = {"conversations.jsonl": LARGE, "data/more.jsonl": b"more\n", "survey.jsonl": SMALL}
FOLDER = Path("data/hub/some--set") / COMMIT
TOKEN = "hf_verySecretToken"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def source(**changes: object) -> HubSource:
    return HubSource.model_validate({"repo": "some/set", "revision": COMMIT, "files": list(FILES)} | changes)


def fetch(wanted: HubSource | None = None, attempts: int = 4) -> list[str]:
    notes: list[str] = []
    fetch_files("prism", wanted or source(), notes.append, attempts=attempts)
    return notes


def refused(wanted: HubSource | None = None, attempts: int = 4) -> str:
    with pytest.raises(PersonalRMError) as caught:
        fetch(wanted, attempts)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(("datasets.prism.hub", "HF_"))
    assert TOKEN not in text
    return text


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
