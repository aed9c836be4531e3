"""Event loops, workers, progress and models of one's own."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.models import ScriptedModel, good_is_first, last_user, text
from support.scripted_server import ScriptedServer

from personalrm import DefaultJudge, SynthesizeMe
from personalrm.app.library.calls import TrackedModel, run_blocking
from personalrm.core.errors import ConfigError, TransientError
from personalrm.llm.types import Request, Response

from .conftest import items, judge_of, prefers_good


def test_sync_methods_work_where_a_loop_runs_as_in_a_notebook(server: ScriptedServer) -> None:
    async def notebook() -> tuple[int, float]:
        rm = judge_of(server).fit(items(5))
        return rm.predict_pairwise("Which?", "GOOD", "BAD"), rm.evaluate(items(2)).mean

    assert asyncio.run(notebook()) == (1, 1.0)
    assert not [thread for thread in threading.enumerate() if thread.name == "personalrm-call"]


def test_an_error_in_a_notebook_is_the_same_error(server: ScriptedServer) -> None:
    async def fails() -> int:
        raise TransientError("gone")

    async def notebook() -> None:
        with pytest.raises(TransientError, match="gone"):
            run_blocking(fails)

    asyncio.run(notebook())


def test_an_interrupted_notebook_cancels_what_it_was_waiting_for() -> None:
    ended: list[str] = []

    async def endless() -> None:
        # A signal as Ctrl-C sends one; not SIGINT, which pytest would take for its own.
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cleaned up")

    async def notebook() -> None:
        with pytest.raises(KeyboardInterrupt):
            run_blocking(endless)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        asyncio.run(notebook())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert ended == ["cleaned up"]


def test_async_variants_run_many_users_side_by_side(server: ScriptedServer) -> None:
    async def work(user: str) -> tuple[str, int, float]:
        rm = judge_of(server, user_id=user)
        await rm.afit(items(4))
        prediction = await rm.apredict_pairwise("Which?", "BAD", "GOOD")
        return str(rm.user_id), prediction, (await rm.aevaluate(items(2))).mean

    async def many() -> list[tuple[str, int, float]]:
        return await asyncio.gather(*(work(f"u{number}") for number in range(4)))

    assert asyncio.run(many()) == [(f"u{number}", -1, 1.0) for number in range(4)]


def test_one_object_serves_many_threads(server: ScriptedServer) -> None:
    rm = judge_of(server).fit(items(4))
    with ThreadPoolExecutor(6) as pool:
        said = list(pool.map(lambda n: rm.predict_pairwise(f"Which {n}?", "GOOD", "BAD"), range(12)))
    assert said == [1] * 12


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_calls_at_once_than_workers(workers: int) -> None:
    with ScriptedServer(prefers_good, latency=0.02) as server:
        DefaultJudge("m", server.url, num_workers=workers).evaluate(items(6))
        assert server.most_in_flight == workers
    with ScriptedServer(prefers_good, latency=0.02) as server:
        judge_of(server, num_workers=1, num_workers_bootstrap=workers).fit(items(6))
        assert server.most_in_flight == workers


def test_progress_never_falls_and_ends_at_100(server: ScriptedServer) -> None:
    told: list[tuple[float, str]] = []
    judge_of(server, progress_update_hook=lambda percent, message: told.append((percent, message))).fit(items(6))
    percents = [percent for percent, _ in told]
    assert percents == sorted(percents)
    assert (percents[0], percents[-1]) == (0.0, 100.0)
    assert len({message for _, message in told}) > 5
    assert sum(percent == 100.0 for percent in percents) == 1


def answer(request: Request) -> Response:
    if "The person chose" in last_user(request):
        return text("Likes what is good.")
    return text(f"Preference: {'First' if good_is_first(request) else 'Second'}")


def test_a_model_of_ones_own_is_asked_and_nothing_else() -> None:
    model = ScriptedModel(answer)
    rm = SynthesizeMe(lm=model, num_search_candidates=1, stop_at_score=None).fit(items(5))
    assert rm.get_persona() == "Likes what is good."
    assert rm.predict_pairwise("Which?", "GOOD", "BAD") == 1
    assert rm.profile.model == "scripted"
    assert model.requests


class Keyless(ScriptedModel):
    """A model that gives no keys, as one written in ten lines would."""

    async def complete(self, request: Request) -> Response:
        response = await super().complete(request)
        return Response(response.text, response.finish_reason, response.usage)


def test_answers_of_ones_own_model_are_told_apart_without_keys() -> None:
    profile = SynthesizeMe(lm=Keyless(answer), num_search_candidates=1, stop_at_score=None).fit(items(5)).profile
    assert len(profile.calls) == len({call.key for call in profile.calls}) > 5


class FakeDspy:
    """What a `dspy.LM` looks like: called with a prompt, and no `complete`."""

    def __call__(self, prompt: str) -> list[str]:
        return [prompt]


def test_a_dspy_model_is_refused_with_what_to_give_instead() -> None:
    with pytest.raises(ConfigError, match=r"FakeDspy.*model_url instead"):
        DefaultJudge(lm=FakeDspy())  # type: ignore[arg-type]


def test_a_model_of_ones_own_is_asked_nothing_twice_in_a_call() -> None:
    asked: list[Request] = []

    def noted(request: Request) -> Response:
        asked.append(request)
        return answer(request)

    class Slow(ScriptedModel):
        async def complete(self, request: Request) -> Response:
            await asyncio.sleep(0.01)
            return await super().complete(request)

    for model in (ScriptedModel(noted), Slow(noted)):
        asked.clear()
        SynthesizeMe(lm=model).fit(items(8))
        assert len(asked) == len(set(asked))


def test_equal_requests_in_flight_are_one_call_and_a_failed_one_is_asked_again() -> None:
    asked: list[Request] = []

    class Slow(ScriptedModel):
        async def complete(self, request: Request) -> Response:
            asked.append(request)
            await asyncio.sleep(0.01)
            return await super().complete(request)

    said = iter([TransientError("gone"), text("yes")])
    request = Request(messages=(), max_tokens=1)

    async def together() -> list[object]:
        model = TrackedModel(Slow(lambda _: next(said)), None, at_once=4)
        return list(await asyncio.gather(*(model.complete(request) for _ in range(3)), return_exceptions=True))

    one, *others = asyncio.run(together())
    assert isinstance(one, TransientError)
    assert [getattr(other, "text", None) for other in others] == ["yes", "yes"]
    assert len(asked) == 2
