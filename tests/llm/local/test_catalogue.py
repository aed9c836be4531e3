"""The catalogue of embedded models, and entries that users add."""

from __future__ import annotations

import pytest

from personalrm.core.errors import EmbeddedModelError
from personalrm.llm.local.catalogue import CatalogueEntry, get_entry, load_catalogue


def test_catalogue_is_whole() -> None:
    entries = load_catalogue()
    assert [e.id for e in entries] == ["smollm2-135m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"]
    assert [len(e.wheels) for e in entries] == [1, 6, 22]
    assert [e.context_length for e in entries] == [8192, 32768, 32768]
    assert len({part.sha256 for e in entries for part in e.wheels}) == 29
    with pytest.raises(EmbeddedModelError, match=r"'nope'.*smollm2-135m, qwen2.5-coder-0.5b, qwen2.5-coder-1.5b"):
        get_entry("nope")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "../../x"),
        ("id", ""),
        ("file", "a/b.gguf"),
        ("file", ".hidden"),
        ("bytes", "3"),
        ("bytes", 0),
        ("bytes", True),
        ("sha256", "ABC"),
        ("context_length", None),
        ("hub", "someone/x"),
        ("hub", {"repo": "no-slash", "file": "x"}),
        ("wheels", [3]),
        ("wheels", [{"package": "-r x", "version": "1", "member": "m", "sha256": "0" * 64}]),
        ("wheels", [{"package": "x", "version": "1 --index-url=y", "member": "m", "sha256": "0" * 64}]),
        ("colour", "red"),
    ],
)
def test_bad_entries_are_refused(field: str, value: object) -> None:
    good = {"id": "x", "file": "a", "bytes": 3, "sha256": "0" * 64, "licence": "MIT", "context_length": 8}
    entry = CatalogueEntry.from_mapping(good)
    assert (entry.hub, entry.wheels) == (None, ())
    with pytest.raises(EmbeddedModelError, match=r"model catalogue, entry .*field"):
        CatalogueEntry.from_mapping({**good, field: value})
