"""A persona that a provider refuses to write is an outcome of that user, by each way of saying no, and ends no job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.backends import error_body
from support.scripted_judge import Answer, judge
from support.scripted_server import Fault, ScriptedServer
from support.stages import bundled, run_stages

NO: dict[str, Answer | Fault] = {
    "refusal": Answer(None, refusal="I will not describe people."),
    "content filter": Answer("Likes", finish_reason="content_filter"),
    "400 of a filter": Fault("status", 400, body=error_body("Content Exists Risk")),
    "400 in unknown words": Fault("status", 400, body=error_body("gremlins")),
}


def is_persona(body: dict[str, Any]) -> bool:
    return "choices that one person made" in body["messages"][-1]["content"]


@pytest.mark.parametrize("way", NO)
def test_a_refused_persona_is_its_users_outcome(tmp_path: Path, way: str) -> None:
    no = NO[way]

    def answer(body: dict[str, Any]) -> Answer | str:
        return no if is_persona(body) and isinstance(no, Answer) else judge(body)

    def fault(number: int, body: dict[str, Any]) -> Fault | None:
        return no if is_persona(body) and isinstance(no, Fault) else None

    with ScriptedServer(answer, faults=fault) as server:
        profile, judged = run_stages(bundled("dalia"), server.url, tmp_path)
        asked = server.count
        assert any(map(is_persona, server.requests))
        assert run_stages(bundled("dalia"), server.url, tmp_path)[0] == profile
        # An answer that was paid for is stored; what the provider rejected is asked for again.
        assert (server.count == asked) == isinstance(no, Answer)
    # Words that are not known may mean a failure that passes: the call counts as lost, so that `retry` repeats it.
    assert (profile.status, profile.lost) == ("failed", {"persona": 1} if way == "400 in unknown words" else {})
    assert (profile.reason or "").startswith("refused: ")
    assert judged.status == "failed"
