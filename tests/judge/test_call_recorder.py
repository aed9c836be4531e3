"""What comes of one call for a text: the text, or why there is none."""

from __future__ import annotations

import asyncio

import pytest

from personalrm.core.errors import ContextOverflow, ModelCallError, PermanentError, Refused
from personalrm.judge.call_recorder import Answered, answer_of
from personalrm.llm.types import Message, ModelSpec, Request, Response, Usage

ASKED = Request((Message("user", "Why?"),), 9)


class Model:
    """A model in process that answers, or fails, always alike."""

    spec = ModelSpec("m", "openai", "m")

    def __init__(self, does: Response | ModelCallError) -> None:
        self.does = does

    async def complete(self, _request: Request) -> Response:
        if isinstance(self.does, ModelCallError):
            raise self.does
        return self.does


@pytest.mark.parametrize(
    ("does", "expected"),
    [
        (Response("\n So. \n", "stop", Usage(1, 1)), Answered("So.", "ok")),
        (Response("So", "length", Usage(1, 1)), Answered("So", "ok", cut=True)),
        (Response(" \n", "stop", Usage(1, 1)), Answered("", "empty")),
        (Response("So", "content_filter", Usage(1, 1)), Answered("", "refused")),
        (Response("", "stop", Usage(1, 1), refusal="No."), Answered("", "refused")),
        (Refused("no"), Answered("", "refused")),
        (ContextOverflow("long"), Answered("", "context_overflow")),
        (ModelCallError("down"), Answered("", "provider_error")),
    ],
)
def test_a_text_or_why_there_is_none(does: Response | ModelCallError, expected: Answered) -> None:
    assert asyncio.run(answer_of(Model(does), ASKED)) == expected


def test_an_error_that_concerns_the_whole_job_is_raised() -> None:
    with pytest.raises(PermanentError, match="no key"):
        asyncio.run(answer_of(Model(PermanentError("no key")), ASKED))
