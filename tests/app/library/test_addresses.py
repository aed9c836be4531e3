"""A wrong address fails within seconds, with one line that names the argument."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.scripted_server import Fault, ScriptedServer

from personalrm import DefaultJudge, SynthesizeMe
from personalrm.core.errors import ConfigError, PersonalRMError
from personalrm.datasets import bundled

from .conftest import items, prefers_good


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1/v1", "no server listens at 127.0.0.1:1 (connection refused); start it"),
        ("http://nobody.invalid/v1", "host 'nobody.invalid' is not known"),
    ],
)
def test_the_first_call_says_what_is_wrong_with_the_address(url: str, said: str) -> None:
    judge, rm = DefaultJudge("m", url), SynthesizeMe("m", model_url=url)
    for call in (lambda: judge.predict_pairwise("Which?", "a", "b"), lambda: rm.fit(items(9))):
        begun = time.monotonic()
        with pytest.raises(PersonalRMError) as caught:
            call()
        assert time.monotonic() - begun < 3
        assert str(caught.value).startswith(f"model_url: {said}")
        assert "\n" not in str(caught.value)


def test_calls_beside_the_one_that_failed_print_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    train, validation, _ = bundled().get_user_data("amara")
    with pytest.raises(PersonalRMError, match=r"^model_url: "):
        SynthesizeMe("m", model_url="http://127.0.0.1:1/v1").fit(train, validation)
    assert not [record.getMessage() for record in caplog.records if record.name == "asyncio"]


def test_an_address_without_a_scheme_is_refused_when_the_object_is_made() -> None:
    with pytest.raises(ConfigError, match=r"^model_url: 'localhost:8000/v1' has no scheme; write http://localhost"):
        DefaultJudge("m", "localhost:8000/v1")


def test_errors_name_arguments_and_no_key_of_a_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    unknown = Fault("status", 404, body={"error": {"message": "no such model"}})
    with ScriptedServer(prefers_good, faults=lambda *_: unknown) as server:
        with pytest.raises(PersonalRMError, match=r"Check model_id and model_url\.$"):
            DefaultJudge("m", server.url).predict_pairwise("Which?", "a", "b")
        keyed = DefaultJudge("m", server.url, model_options={"api_key_env": "NOT_SET_HERE"})
        with pytest.raises(PersonalRMError, match=r"^model_options: api_key_env: the environment variable NOT_SET"):
            keyed.predict_pairwise("Which?", "a", "b")
