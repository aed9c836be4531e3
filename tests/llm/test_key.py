"""The store's key: everything that changes the answer, nothing else."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from personalrm.llm.cache.key import request_key
from personalrm.llm.types import Message, ModelSpec, Request

texts = st.text(alphabet=st.characters(), max_size=30)
requests = st.builds(
    Request,
    messages=st.lists(st.builds(Message, st.sampled_from(("system", "user", "assistant")), texts), max_size=4).map(
        tuple
    ),
    max_tokens=st.integers(1, 4096),
    temperature=st.sampled_from((0.0, 0.5, 1.0)),
    top_p=st.sampled_from((0.9, 1.0)),
    seed=st.integers(0, 9),
    sample_index=st.integers(0, 9),
    top_logprobs=st.integers(0, 20),
    stop=st.lists(texts, max_size=2).map(tuple),
    json_schema=st.none() | texts,
)
CHANGES: dict[str, Any] = {
    "messages": lambda m: (*m, Message("user", "one more")),
    "max_tokens": lambda n: n + 1,
    "temperature": lambda t: t + 0.25,
    "top_p": lambda p: p - 0.25,
    "seed": lambda n: n + 1,
    "sample_index": lambda n: n + 1,
    "top_logprobs": lambda n: n + 1,
    "stop": lambda s: (*s, "x"),
    "json_schema": lambda s: "{}" if s is None else None,
}


def test_every_field_of_a_request_is_covered() -> None:
    assert set(CHANGES) == {field.name for field in dataclasses.fields(Request)}


@given(requests, st.sampled_from(sorted(CHANGES)))
def test_a_change_of_any_field_changes_the_key(request_: Request, name: str) -> None:
    changed = dataclasses.replace(request_, **{name: CHANGES[name](getattr(request_, name))})
    assert request_key("m@1", changed) != request_key("m@1", request_)


@given(requests, requests)
def test_keys_are_equal_only_for_equal_requests(one: Request, two: Request) -> None:
    assert (request_key("m@1", one) == request_key("m@1", two)) == (one == two)


@given(requests)
def test_identity_is_part_of_the_key(request_: Request) -> None:
    assert request_key("m@1", request_) != request_key("m@2", request_)


def test_lone_surrogates_have_keys_of_their_own() -> None:
    contents = ("\ud83d", "\ude00", "\ud83d\ude00", "\U0001f600", "�", "\\ud83d")
    keys = {request_key("m", Request((Message("user", content),), 5)) for content in contents}
    assert len(keys) == len(contents)


def test_text_cannot_move_between_messages_or_fields() -> None:
    joined = Request((Message("user", "a"), Message("user", "b")), 5)
    assert request_key("m", joined) != request_key("m", Request((Message("user", 'a"],["user","b'),), 5))
    assert request_key("m", Request((), 5, stop=("a", "b"))) != request_key("m", Request((), 5, stop=("a,b",)))


def test_numbers_are_normalised() -> None:
    assert request_key("m", Request((), 5, temperature=0)) == request_key("m", Request((), 5, temperature=0.0))


def test_settings_that_change_no_answer_change_no_identity() -> None:
    spec = ModelSpec("a", "openai", "x/y", snapshot="1")
    other = dataclasses.replace(spec, name="b", backend="litellm", api_key_env="K", timeout_s=1, max_concurrency=99)
    assert spec.identity == other.identity
    assert dataclasses.replace(spec, extra_body=(("reasoning_effort", "low"),)).identity != spec.identity


def test_key_is_stable_across_processes_and_versions() -> None:
    """The stored keys of all users depend on this value: it changes only with KEY_FORMAT."""
    code = (
        "from personalrm.llm.cache.key import request_key; from personalrm.llm.types import *;"
        "print(request_key('m@1', Request((Message('user', 'hé'),), 7, stop=('x',))))"
    )
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert fresh == request_key("m@1", Request((Message("user", "hé"),), 7, stop=("x",)))
    assert fresh == "34104bcd71c0508cd95d484c6bb371941796f9881ebfd1d681b87b3e55b0d5e6"
