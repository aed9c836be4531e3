"""The catalogue of embedded models, and entries that users add."""

from __future__ import annotations

import pytest

from personalrm.core.errors import EmbeddedModelError
from personalrm.llm.local.catalogue import CatalogueEntry, get_entry, load_catalogue


def test_catalogue_is_whole() -> None:
    entries = load_catalogue()
    assert [e.id for e in entries] == ["smollm2-135m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b", "all-minilm-l6-v2"]
    assert [len(e.wheels) for e in entries] == [1, 6, 22, 1]
    assert [e.context_length for e in entries] == [8192, 32768, 32768, 256]
    assert len({part.sha256 for e in entries for part in e.wheels}) == 30
    with pytest.raises(EmbeddedModelError, match=r"'nope'.*smollm2-135m, qwen2.5-coder-0.5b, qwen2.5-coder-1.5b\."):
        get_entry("nope")


def test_an_encoder_is_no_chat_model() -> None:
    with pytest.raises(EmbeddedModelError, match="Unknown embedded model 'all-minilm-l6-v2'"):
        get_entry("all-minilm-l6-v2")
    entry = get_entry("all-minilm-l6-v2", encoders=True)
    # The file is the whole wheel, which pip checks by the same hash.
    assert (entry.kind, entry.wheels[0].member, entry.wheels[0].sha256) == ("encoder", None, entry.sha256)
    assert {e.kind for e in load_catalogue() if e != entry} == {"chat"}


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
        ("kind", "painter"),
    ],
)
def test_bad_entries_are_refused(field: str, value: object) -> None:
    good = {"id": "x", "file": "a", "bytes": 3, "sha256": "0" * 64, "licence": "MIT", "context_length": 8}
    entry = CatalogueEntry.from_mapping(good)
    assert (entry.hub, entry.wheels) == (None, ())
    with pytest.raises(EmbeddedModelError, match=r"model catalogue, entry .*field"):
        CatalogueEntry.from_mapping({**good, field: value})
