"""`personalrm store migrate`: a store of format 1 keeps every answer, under the keys that today's requests have."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.ports import request
from support.scripted_server import ScriptedServer

from personalrm.app.cli import main
from personalrm.core.errors import StoreError
from personalrm.llm.cache.migrate import migrate
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import ModelSpec, Request

HOSTED = ModelSpec("hosted", "litellm", "openai/gpt-4o-mini", snapshot="2024-07-18")
OWN = ModelSpec("own", "openai", "llama", api_base="http://gpu1:8000/v1")
EMBEDDED = ModelSpec("small", "embedded", "smollm2-135m", snapshot="ab12")

# Written out: the format of version 0.1, which no code of ours makes any more.
TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE responses (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, identity TEXT NOT NULL,
 payload TEXT NOT NULL, sha256 TEXT NOT NULL, created REAL NOT NULL);
CREATE TABLE quarantine (id INTEGER PRIMARY KEY, key, identity, payload, sha256, created, found REAL);
CREATE TABLE paid (run TEXT NOT NULL, identity TEXT NOT NULL, calls INTEGER NOT NULL,
 tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, tokens_cached INTEGER NOT NULL,
 cost_usd REAL NOT NULL, PRIMARY KEY (run, identity));
INSERT INTO meta VALUES ('schema', '1'), ('needs', '0.1.0');
PRAGMA application_id = 1347570993;
PRAGMA user_version = 1;
"""


def old_key(spec: ModelSpec, asked: Request) -> str:
    facts = {
        "format": 1,
        "identity": f"{spec.model}@{spec.snapshot}",
        "messages": [[message.role, message.content] for message in asked.messages],
        "max_tokens": asked.max_tokens,
        "temperature": 0.0,
        "top_p": 1.0,
        "seed": 0,
        "sample_index": 0,
        "top_logprobs": 0,
        "stop": [],
        "json_schema": None,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def old_row(spec: ModelSpec, number: int) -> tuple[str, str, str, str]:
    key, identity = old_key(spec, request(f"q{number}")), f"{spec.model}@{spec.snapshot}"
    payload = json.dumps(
        {
            "cost_usd": 0.5,
            "finish_reason": "stop",
            "logprobs": [[["a", -0.5]]],
            "reasoning": "",
            "refusal": "",
            "text": f"{spec.model} says {number}",
            "usage": {"tokens_cached": 0, "tokens_in": 9, "tokens_out": 1},
        },
        sort_keys=True,
        separators=(",", ":"),
    )
    return key, identity, payload, hashlib.sha256(f"{key}\n{identity}\n{payload}".encode()).hexdigest()


def old_store(path: Path, specs: Sequence[ModelSpec] = (HOSTED, OWN, EMBEDDED), count: int = 5) -> Path:
    raw = sqlite3.connect(path)
    raw.executescript(TABLES)
    for spec in specs:
        rows = [old_row(spec, number) for number in range(count)]
        raw.executemany(
            "INSERT INTO responses (key, identity, payload, sha256, created) VALUES (?, ?, ?, ?, 1.5)", rows
        )
        raw.execute("INSERT INTO paid VALUES ('r', ?, ?, 45, 5, 0, 2.5)", (f"{spec.model}@{spec.snapshot}", count))
    raw.commit()
    raw.close()
    return path


def texts(path: Path, spec: ModelSpec, count: int = 5) -> list[str]:
    """What a client answers from the store; a call would fail."""

    async def run() -> list[str]:
        with ResponseStore(path) as store:
            async with open_model(spec, store=store, runtime=RuntimeSettings(path.parent, 1)) as model:
                return [(await model.complete(request(f"q{number}"))).text for number in range(count)]

    return asyncio.run(run())


def expected(spec: ModelSpec) -> list[str]:
    return [f"{spec.model} says {number}" for number in range(5)]


def test_a_run_refuses_the_old_format_and_names_the_command(tmp_path: Path) -> None:
    path = old_store(tmp_path / "s.sqlite")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=rf"earlier version.*personalrm store migrate {path} --config"):
        ResponseStore(path)
    assert path.read_bytes() == before


def test_every_answer_is_found_again_by_the_models_that_gave_it(tmp_path: Path) -> None:
    path = old_store(tmp_path / "s.sqlite")
    before = path.read_bytes()
    done = migrate(path, [HOSTED, OWN, EMBEDDED])
    assert (done.answers, done.bad, done.ambiguous, done.unclaimed) == (15, 0, {}, {})
    assert done.kept_as.read_bytes() == before
    for spec in (HOSTED, OWN, EMBEDDED):
        assert texts(path, spec) == expected(spec)
    with ResponseStore(path) as store:
        paid = store.paid_totals("r")
        assert {name: sums.calls for name, sums in paid.items()} == {
            spec.identity: 5 for spec in (HOSTED, OWN, EMBEDDED)
        }
        assert store.get(old_key(HOSTED, request("q1"))) is not None, "hosted models keep their keys"
    with pytest.raises(StoreError, match="nothing to convert"):
        migrate(path)


def test_without_a_config_answers_of_a_server_wait_for_one_that_names_it(tmp_path: Path) -> None:
    path = old_store(tmp_path / "s.sqlite")
    done = migrate(path)
    assert set(done.unclaimed.values()) == {5}
    assert texts(path, HOSTED) == expected(HOSTED)
    with ScriptedServer(lambda _: "another server") as server:
        other = ModelSpec("other", "openai", "llama", api_base=server.url)
        assert texts(path, other, 2) == ["another server"] * 2
    migrate(done.kept_as, [OWN], tmp_path / "again.sqlite")
    assert texts(tmp_path / "again.sqlite", OWN) == expected(OWN)


def test_answers_that_two_servers_could_have_given_go_to_none(tmp_path: Path) -> None:
    path = old_store(tmp_path / "s.sqlite", [OWN])
    with ScriptedServer(lambda _: "asked") as server:
        here = ModelSpec("here", "openai", "llama", api_base=server.url)
        assert migrate(path, [OWN, here]).ambiguous == {"llama@": 5}
        assert texts(path, here) == ["asked"] * 5
        assert server.count == 5
    done = migrate(tmp_path / "s.sqlite.v1", [OWN], tmp_path / "again.sqlite")
    assert done.path == tmp_path / "again.sqlite"
    assert texts(done.path, OWN) == expected(OWN)


def test_rows_that_fail_their_checksum_and_journals_are_taken_along(tmp_path: Path) -> None:
    raw = sqlite3.connect(old_store(tmp_path / "open.sqlite", [HOSTED]))
    raw.execute("PRAGMA journal_mode = wal")
    raw.execute("UPDATE responses SET payload = replace(payload, 'says 2', 'says 3') WHERE id = 3")
    raw.commit()
    # A killed process leaves its write-ahead log.
    path = tmp_path / "s.sqlite"
    for side in ("", "-wal"):
        shutil.copy(tmp_path / f"open.sqlite{side}", tmp_path / f"s.sqlite{side}")
    raw.close()
    done = migrate(path)
    assert (done.answers, done.bad) == (4, 1)
    assert not (tmp_path / "s.sqlite.migrating").exists()
    with ResponseStore(path) as store:
        assert store.get(old_key(HOSTED, request("q2"))) is None
        assert store.get(old_key(HOSTED, request("q1"))) is not None


def test_a_migration_that_was_killed_is_done_again(tmp_path: Path) -> None:
    path = old_store(tmp_path / "s.sqlite", [HOSTED])
    (tmp_path / "s.sqlite.migrating").write_bytes(b"half")
    (tmp_path / "s.sqlite.v1").hardlink_to(path)
    assert migrate(path).answers == 5
    assert texts(path, HOSTED) == expected(HOSTED)


def test_what_cannot_be_converted_is_refused_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such file"):
        migrate(tmp_path / "absent.sqlite")
    path = old_store(tmp_path / "s.sqlite", [HOSTED])
    with pytest.raises(StoreError, match="it exists"):
        migrate(path, to=path)
    journal = tmp_path / "s.sqlite.batches" / "m"
    journal.mkdir(parents=True)
    (journal / "1.json").write_text("{}", encoding="ascii")
    with pytest.raises(StoreError, match="batches are under way"):
        migrate(path)
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    damaged = tmp_path / "d.sqlite"
    damaged.write_bytes(data)
    with pytest.raises(StoreError, match=r"damaged .*\.recover"):
        migrate(damaged)
    assert damaged.read_bytes() == data


def test_the_command_says_what_became_of_the_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = old_store(tmp_path / "s.sqlite", [OWN, HOSTED])
    config = tmp_path / "c.yaml"
    config.write_text(
        "run: small\ndatasets: {people: {path: votes.jsonl}}\n"
        "models: {own: {backend: openai, model: llama, api_base: 'http://GPU1:8000/v1/'}}\n",
        encoding="utf-8",
    )
    assert main(["store", "migrate", str(path), "--config", str(config)]) == 0
    out = capsys.readouterr().out
    assert f"{path}: 10 answers kept; the old file is {path}.v1." in out
    assert "5 of llama@ at http://gpu1:8000/v1" in out
    assert "5 of openai/gpt-4o-mini@2024-07-18" in out.split("hosted and embedded")[1]
    assert texts(path, OWN) == expected(OWN)


def test_the_command_that_it_names_gives_the_answers_to_a_server_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = old_store(tmp_path / "s.sqlite", [OWN])
    Path("c.yaml").write_text(
        "run: small\ndatasets: {people: {path: votes.jsonl}}\n"
        "models: {own: {backend: openai, model: llama, api_base: 'http://GPU1:8000/v1/'}}\n",
        encoding="utf-8",
    )
    assert main(["store", "migrate", str(path)]) == 0
    said = capsys.readouterr().out
    assert f"move {path} away" in said
    path.rename(tmp_path / "away.sqlite")
    again = said.split("python -m personalrm ")[1].split(" (")[0].replace("CONFIG", "c.yaml")
    assert main(again.split()) == 0
    assert texts(path, OWN) == expected(OWN)
