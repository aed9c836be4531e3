"""Requests sent as batches: what comes back, what is asked again, and what it costs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backends import CANARY
from support.batch_server import BatchServer, Event, LineFault
from support.batches import QUICK, asked, complete, journals, records, spec_for
from support.scripted_judge import Answer
from support.scripted_server import ScriptedServer

from personalrm.core.errors import (
    ContextOverflow,
    ModelCallError,
    PermanentError,
    Refused,
    RequestRejected,
    StoreError,
    TransientError,
)
from personalrm.llm.backends.batch.batch_api import BatchApi, is_answered
from personalrm.llm.cache.key import request_key
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.limits.faults import ModelUnavailable
from personalrm.llm.types import ModelSpec, Response

FIELDS = ["response", "error", "status_code", "body", "choices", "message", "content", "code"]
NUMBER = '{"additionalProperties":false,"properties":{"n":{"type":"integer"}},"required":["n"],"type":"object"}'


def number_of(body: dict[str, object]) -> int:
    messages = body["messages"]
    assert isinstance(messages, list)
    return int(str(messages[0]["content"]).split()[1])


def echo(body: dict[str, object]) -> Answer:
    """An answer of its own for each question: 1,000 tokens in, 500 out."""
    return Answer(f"answer {number_of(body)}\u2028", tokens_in=1000, tokens_out=500)


def texts(found: list[Response | BaseException]) -> list[str]:
    return [one.text if isinstance(one, Response) else type(one).__name__ for one in found]


EXPECTED = [f"answer {number}\u2028" for number in range(5)]


def test_a_batch_stores_what_plain_calls_would_and_costs_half(tmp_path: Path) -> None:
    with (
        BatchServer(echo) as server,
        ResponseStore(tmp_path / "a.sqlite", run="r") as batched,
        ResponseStore(tmp_path / "b.sqlite", run="r") as plain,
    ):
        # The limits of plain calls are not those of batches.
        spec = spec_for(server, max_concurrency=1, requests_per_minute=1)
        requests = [*asked(5), replace(asked(1)[0], top_logprobs=2, stop=("x",), json_schema=NUMBER)]
        found, stats = complete(spec, batched, requests)
        assert (len(server.batches), server.count) == (1, 0)
        keys = [request_key(spec.identity, request) for request in requests]
        assert list(server.submitted.items()) == [(key, 1) for key in keys]
        assert complete(replace(spec, requests_per_minute=None), plain, requests, None)[0] == found
        assert sorted(map(str, server.requests)) == sorted(map(str, server.bodies))
        # 1,000 tokens at $2 and 500 at $4 a million: $0.004 by the list, which is what results say.
        assert [one.cost_usd for one in found if isinstance(one, Response)] == [0.004] * 6
        assert batched.paid_totals("r")[spec.identity].cost_usd == pytest.approx(0.012)
        assert stats.cost_usd == pytest.approx(0.012)
        assert plain.paid_totals("r")[spec.identity].cost_usd == pytest.approx(0.024)
        assert records(batched) == []
        complete(spec, batched, requests)
        assert len(server.batches) == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ((400, "maximum context length is 10 tokens"), ContextOverflow),
        ((400, "flagged by moderation"), Refused),
        ((401, "no such key"), ModelUnavailable),
        ((422, "nonsense"), RequestRejected),
    ],
)
def test_a_line_that_fails_for_good_is_the_failure_of_its_call_alone(
    store: ResponseStore, fault: LineFault, kind: type[Exception]
) -> None:
    with BatchServer(echo, line_fault=lambda body, times: fault if number_of(body) == 1 else None) as server:
        found, _ = complete(spec_for(server), store, asked(3))
        assert texts(found) == [EXPECTED[0], kind.__name__, EXPECTED[2]]
        assert fault[1] in str(found[1])
        assert set(server.submitted.values()) == {1}


def test_a_line_that_fails_for_now_is_sent_again_alone(store: ResponseStore) -> None:
    with BatchServer(echo, line_fault=lambda body, times: (500, "x") if number_of(body) and times == 1 else None) as s:
        found, stats = complete(spec_for(s), store, asked(3))
        assert (texts(found), stats.attempts) == (EXPECTED[:3], 5)
        assert [len(batch.lines) for batch in s.batches.values()] == [3, 2]
        assert records(store) == []


@pytest.mark.parametrize("outcome", ["expired", "cancelled"])
def test_what_an_ended_batch_left_out_is_sent_again(store: ResponseStore, outcome: str) -> None:
    with BatchServer(echo, outcomes=[outcome]) as server:  # type: ignore[list-item]
        found, _ = complete(spec_for(server), store, asked(4))
        assert texts(found) == EXPECTED[:4]
        assert [len(batch.lines) for batch in server.batches.values()] == [4, 2]


@pytest.mark.parametrize(("error", "max_attempts"), [("internal_error", 3), ("token_limit_exceeded", 1)])
def test_a_failed_batch_is_sent_again_whole(store: ResponseStore, error: str, max_attempts: int) -> None:
    # A full queue is no failure: it does not use up the attempts.
    with BatchServer(echo, outcomes=["failed"] * 2, error=error) as server:
        found, stats = complete(spec_for(server, max_attempts=max_attempts), store, asked(2))
        assert (texts(found), stats.attempts, len(server.batches)) == (EXPECTED[:2], 6, 3)
        assert records(store) == []


@pytest.mark.parametrize("error", ["invalid_request", "billing_hard_limit_reached", "model_not_found"])
def test_a_batch_that_is_refused_as_a_whole_ends_the_job(store: ResponseStore, error: str) -> None:
    with BatchServer(echo, outcomes=["failed"], error=error) as server:
        found, _ = complete(spec_for(server), store, asked(2))
        assert all(isinstance(one, PermanentError) and error in str(one) for one in found)
        assert (len(server.batches), records(store)) == (1, [])


def test_requests_are_split_by_number_and_by_size(store: ResponseStore) -> None:
    with BatchServer(echo) as server:
        found, _ = complete(spec_for(server), store, asked(5), QUICK.model_copy(update={"max_requests": 2}))
        assert texts(found) == EXPECTED
        assert [len(batch.lines) for batch in server.batches.values()] == [2, 2, 1]
        size = len(server.files["file-0"])
        # The characters beyond ASCII are escaped, so that bytes are characters.
        complete(spec_for(server), store, asked(5, "other"), QUICK.model_copy(update={"max_file_mb": size / 1e6}))
        assert [len(batch.lines) for batch in list(server.batches.values())[3:]] == [2, 2, 1]


def test_a_provider_that_does_not_answer_while_the_batch_runs_is_asked_on(store: ResponseStore) -> None:
    cuts: list[Event] = ["look", "look", "content", "content"]

    def cut(event: Event) -> bool:
        return event in cuts and (cuts.remove(event) or True)

    with BatchServer(echo, cut=cut) as server:
        assert texts(complete(spec_for(server), store, asked(3))[0]) == EXPECTED[:3]
        assert (cuts, len(server.batches)) == ([], 1)


def test_a_batch_that_the_provider_forgot_is_sent_again(store: ResponseStore) -> None:
    def forget(event: Event) -> bool:
        if event == "look" and len(server.batches) == 1:
            server.batches["forgotten"] = server.batches.pop("batch-0")
        return False

    with BatchServer(echo, cut=forget) as server:
        assert texts(complete(spec_for(server), store, asked(2))[0]) == EXPECTED[:2]
        assert set(server.submitted.values()) == {2}


def test_a_refused_key_and_an_endpoint_without_batches(store: ResponseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCH_KEY", CANARY)
    with BatchServer(echo, api_key="another") as server:
        spec = spec_for(server, api_key_env="BATCH_KEY")
        found, _ = complete(spec, store, asked(3))
        assert all(isinstance(one, ModelUnavailable) and "HTTP 401" in str(one) for one in found)
        assert CANARY not in str(found)
    with ScriptedServer(lambda _: "plain") as server:
        spec = spec_for(server)
        found, _ = complete(spec, store, asked(1))
        assert "remove models.tester.batch" in str(found[0])
        assert texts(complete(spec, store, asked(1), None)[0]) == ["plain"]


def test_a_job_waits_no_longer_than_it_may_and_the_next_one_waits_on(store: ResponseStore) -> None:
    with BatchServer(echo, held=True) as server:
        found, _ = complete(spec_for(server), store, asked(2), QUICK.model_copy(update={"max_wait_h": 0.5 / 3600}))
        assert all(isinstance(one, TransientError) and "batch.max_wait_h" in str(one) for one in found)
        assert [len(record["keys"]) for record in records(store)] == [2]
        server.held = False
        assert texts(complete(spec_for(server), store, asked(3))[0]) == EXPECTED[:3]
        assert set(server.submitted.values()) == {1}


def test_the_journal_holds_neither_texts_nor_credentials(store: ResponseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCH_KEY", CANARY)
    with BatchServer(echo, held=True) as server:
        base = server.url.replace("127.0.0.1", f"user:{CANARY[:5]}pass@127.0.0.1")
        spec = spec_for(server, api_key_env="BATCH_KEY", api_base=base)
        complete(spec, store, asked(2), QUICK.model_copy(update={"max_wait_h": 0.5 / 3600}))
        (record,) = records(store)
    assert record["keys"] == [request_key(spec.identity, request) for request in asked(2)]
    kept = b"".join(path.read_bytes() for path in store.path.parent.rglob("*") if path.is_file())
    assert b"Zo" not in kept
    assert CANARY.encode() not in kept
    assert b"pass@" not in kept


@pytest.mark.parametrize("text", ["{", '"x"', '{"id":"a"}'])
def test_a_damaged_record_of_a_batch_is_named_and_nothing_is_sent(store: ResponseStore, text: str) -> None:
    with BatchServer(echo, held=True) as server:
        complete(spec_for(server), store, asked(1), QUICK.model_copy(update={"max_wait_h": 0.2 / 3600}))
        (journal,) = journals(store)
        with closing(sqlite3.connect(store.path)) as raw, raw:
            raw.execute("UPDATE shared SET value = ? WHERE kind = ?", (text, journal))
        with pytest.raises(StoreError, match=f"{store.path}.*{journal}.*cannot be read"):
            complete(spec_for(server), store, asked(1))
        assert len(server.batches) == 1


def test_one_request_of_one_kind_reads_like_the_next(store: ResponseStore) -> None:
    """A line's answer goes to its own request, whatever the order of the file."""
    with BatchServer(echo) as server:
        found, _ = complete(spec_for(server), store, asked(200))
        assert texts(found) == [f"answer {number}\u2028" for number in range(200)]
        assert len(server.batches) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 600) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4))
def test_whatever_a_line_holds_it_is_an_answer_or_a_failure_of_its_call(line: dict[str, object]) -> None:
    api = BatchApi(ModelSpec("tester", "openai", "m", api_base="http://127.0.0.1:1/v1"), QUICK)
    try:
        assert isinstance(api.read(line, asked(1)[0], "b"), Response)
        assert is_answered(line)
    except ModelCallError:
        pass
    assert isinstance(api.failure({"id": "b", "status": "failed", "errors": {"data": [line]}}), ModelCallError)


def test_answers_are_kept_apart_by_model(store: ResponseStore) -> None:
    with BatchServer(echo) as server:
        complete(spec_for(server), store, asked(1))
        complete(replace(spec_for(server), snapshot="2"), store, asked(1))
        assert len(server.submitted) == 2
