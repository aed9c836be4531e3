"""Scores of pairs by attributes, on real sockets: whose scores they are, which calls are shared, what is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from support.models import ScriptedModel, label, pair, text
from support.scripted_judge import Answer
from support.scripted_server import Fault, ScriptedServer
from support.traits import BIAS, says, shown

from personalrm.core.errors import ContextOverflow, ModelCallError, PermanentError, RequestRejected
from personalrm.core.records import PairScores, PreferencePair, Turn
from personalrm.judge.attribute_bank import Attribute, Bank
from personalrm.judge.attributes import (
    CUT,
    LEAST_TEXT,
    ScoreSettings,
    label_requests,
    orders_of,
    score_pair,
    score_pairs,
    shorten,
)
from personalrm.judge.call_recorder import CallRecorder
from personalrm.judge.judge import JudgeContext, JudgeSettings, judge_pair
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import ModelSpec, Request, Response

BANK = Bank(
    tuple(
        Attribute(id=f"is_{name}", group="tone", comparative=name, more=name, less=f"not {name}")
        for name in ("loud", "curious")
    )
)
PAIR = pair("p", chosen="GOOD! Loud", rejected="BAD? Plain.")
TEXT, LABEL = ScoreSettings(), ScoreSettings("compact", "logprob_both")
STANDARD_LABEL = ScoreSettings("standard", "logprob")
FORMS = [TEXT, LABEL, STANDARD_LABEL]


def scored(
    server: ScriptedServer,
    pairs: Sequence[PreferencePair],
    settings: ScoreSettings,
    folder: Path,
    bank: Bank = BANK,
    **spec: Any,  # noqa: ANN401
) -> tuple[PairScores, ...]:
    """Scores by a model behind `server`, over the store of `folder`."""
    given: dict[str, Any] = {"api_base": server.url, "timeout_s": 10.0, "max_attempts": 1, **spec}
    known = ModelSpec("m", given.pop("backend", "openai"), "m", **given)

    async def run() -> tuple[PairScores, ...]:
        with ResponseStore(folder / "store.sqlite") as store:
            runtime = RuntimeSettings(folder / "runtime", cores=1)
            async with open_model(known, store=store, runtime=runtime, embedded_url=lambda _: server.url) as model:
                return await score_pairs(model, pairs, bank, settings)

    return asyncio.run(run())


def exchanged(one: PreferencePair, user: str = "other") -> PreferencePair:
    """The same pair of a user who chose the other answer."""
    changes = {"user_id": user, "pair_id": f"{user}-{one.pair_id}", "chosen": one.rejected, "rejected": one.chosen}
    return one.model_copy(update=changes)


@pytest.mark.parametrize("settings", FORMS)
def test_scores_are_those_of_the_answer_shown_first_and_both_orders_remove_the_bias(
    settings: ScoreSettings, tmp_path: Path
) -> None:
    with ScriptedServer(says) as server:
        straight, swapped = scored(server, [PAIR], settings, tmp_path)
    assert (straight.swapped, swapped.swapped) == (False, True)
    # The chosen answer has one exclamation mark more, and one question mark less.
    expected = {"is_loud": 1.0, "is_curious": -1.0} | ({} if settings.mode == "text" else {"default": 1.0})
    assert straight.scores == pytest.approx({name: lead + BIAS for name, lead in expected.items()})
    assert swapped.scores == pytest.approx({name: BIAS - lead for name, lead in expected.items()})
    unbiased = {name: (straight.of_chosen[name] + swapped.of_chosen[name]) / 2 for name in expected}
    assert unbiased == pytest.approx(expected)
    assert not straight.reason
    assert not straight.shortened


@pytest.mark.parametrize("settings", FORMS)
@pytest.mark.parametrize("orders", ["both", "one"])
def test_users_with_the_same_pair_share_all_calls_whatever_they_chose(
    settings: ScoreSettings, orders: str, tmp_path: Path
) -> None:
    settings = ScoreSettings(settings.style, settings.mode, orders)  # type: ignore[arg-type]
    calls = {"both": 2, "one": 1}[orders] * (1 if settings.mode == "text" else len(BANK.ids) + 1)
    with ScriptedServer(says) as server:
        mine = scored(server, [PAIR], settings, tmp_path)
        assert server.count == calls
        others = scored(server, [exchanged(PAIR)], settings, tmp_path)
        assert server.count == calls
    assert {call for one in mine for call in one.calls} == {call for one in others for call in one.calls}
    by_first = {one.swapped: one.scores for one in others}
    assert {one.swapped: one.scores for one in mine} == {not swapped: found for swapped, found in by_first.items()}


def test_the_coin_of_one_order_is_fair_and_knows_the_conversation() -> None:
    pairs = [pair(f"p{number}") for number in range(200)]
    first = [orders_of(one, "one") for one in pairs]
    assert 70 < sum(swapped for (swapped,) in first) < 130
    assert [orders_of(exchanged(one), "one") for one in pairs] == [(not swapped,) for (swapped,) in first]
    elsewhere = [one.model_copy(update={"context": (Turn(role="user", content="Hm?"),)}) for one in pairs]
    assert [orders_of(one, "one") for one in elsewhere] != first


def test_the_judges_own_preference_is_the_request_of_default(tmp_path: Path) -> None:
    settings = JudgeSettings("compact", "logprob_both")
    with ScriptedServer(says) as server:
        scored(server, [PAIR], LABEL, tmp_path)
        count = server.count

        async def verdict() -> float | None:
            spec = ModelSpec("m", "openai", "m", api_base=server.url)
            with ResponseStore(tmp_path / "store.sqlite") as store:
                async with open_model(spec, store=store, runtime=RuntimeSettings(tmp_path, cores=1)) as model:
                    return (await judge_pair(model, PAIR, JudgeContext(), settings))[0].log_odds

        assert asyncio.run(verdict()) == pytest.approx(1.0)
        assert server.count == count


def of_model(answer: Callable[[Request], Response | ModelCallError], settings: ScoreSettings, **spec: int) -> Any:  # noqa: ANN401
    """Scores of `PAIR` by a model in process, with its recorder."""
    model = CallRecorder(ScriptedModel(answer, **spec), "score_attributes")
    return asyncio.run(score_pair(model, PAIR, BANK, settings)), model


@pytest.mark.parametrize(
    ("answer", "reason", "lost"),
    [
        (lambda _: text("I like both."), "unparsed", 0),
        (lambda _: text("", finish_reason="content_filter"), "refused", 0),
        (lambda _: ModelCallError("gone"), "provider_error", 2),
        (lambda _: RequestRejected("what?"), "provider_error", 2),
        (lambda _: ContextOverflow("too long"), "context_overflow", 0),
    ],
)
def test_what_could_not_be_scored_is_missing_and_says_why(answer: Any, reason: str, lost: int) -> None:  # noqa: ANN401
    entries, model = of_model(answer, TEXT)
    assert [(one.scores, one.reason) for one in entries] == [({}, reason)] * 2
    assert model.failed == lost


def test_a_lost_call_is_the_reason_before_an_answer_that_could_not_be_read() -> None:
    def answer(request: Request) -> Response | ModelCallError:
        return text("Both.") if "is loud?" in str(request.messages) else ModelCallError("gone")

    entries, model = of_model(answer, LABEL)
    assert [(one.scores, one.reason, len(one.calls)) for one in entries] == [({}, "provider_error", 1)] * 2
    assert model.failed == 4


def test_a_permanent_error_ends_the_job() -> None:
    for settings in (TEXT, LABEL):
        with pytest.raises(PermanentError):
            of_model(lambda _: PermanentError("no key"), settings)


def test_attributes_that_a_model_leaves_out_are_missing_and_not_0() -> None:
    entries, _ = of_model(lambda _: text('{"is_curious": 1}'), TEXT)
    assert [(one.scores, one.reason) for one in entries] == [({"is_curious": 1.0}, None)] * 2


def test_a_lost_label_is_one_missing_attribute_and_one_lost_call(tmp_path: Path) -> None:
    def fault(_: int, body: dict[str, Any]) -> Fault | None:
        return Fault("status", 500) if "is loud?" in str(body["messages"]) else None

    with ScriptedServer(says, faults=fault) as server:
        entries = scored(server, [PAIR], LABEL, tmp_path)
    assert [set(one.scores) for one in entries] == [{"is_curious", "default"}] * 2
    assert [one.reason for one in entries] == [None, None]


def test_a_label_that_is_not_listed_is_a_missing_attribute(tmp_path: Path) -> None:
    def other(body: dict[str, Any]) -> Answer:
        unread = Answer("The", logprobs=[[("The", -0.1), ("It", -3.0)]], finish_reason="length")
        return unread if "is curious?" in str(body["messages"]) else says(body)

    with ScriptedServer(other) as server:
        entries = scored(server, [PAIR], LABEL, tmp_path)
    assert [set(one.scores) for one in entries] == [{"is_loud", "default"}] * 2
    assert [len(one.calls) for one in entries] == [3, 3]


def test_ratings_are_held_to_a_schema_unless_the_endpoint_has_none(tmp_path: Path) -> None:
    with ScriptedServer(says) as server:
        scored(server, [PAIR], TEXT, tmp_path)
        schema = server.requests[0]["response_format"]["json_schema"]["schema"]
        assert schema["required"] == ["is_loud", "is_curious"]
        assert schema["properties"]["is_loud"]["enum"] == [-2, -1, 0, 1, 2]
        assert schema["additionalProperties"] is False
        scored(server, [PAIR], ScoreSettings(json_schema=False), tmp_path)
        assert "response_format" not in server.requests[-1]


def test_an_embedded_model_evaluates_what_attributes_share_once_for_each_order(tmp_path: Path) -> None:
    pairs = [PAIR, pair("q"), pair("r")]
    with ScriptedServer(says) as server:
        scored(server, pairs, LABEL, tmp_path, backend="embedded", snapshot="x")
        prefixes = [body for body in server.requests if body["max_tokens"] == 0]
        asked = [body for body in server.requests if body["max_tokens"]]
    # The pair in each order, and once the instruction of the judge.
    assert len(prefixes) == 2 * len(pairs) + 1
    assert len(asked) == 2 * len(pairs) * (len(BANK.ids) + 1)
    # The calls of one pair follow each other, and in it those of one order.
    assert all(body["messages"][-2]["role"] == "assistant" for body in prefixes if len(body["messages"]) > 3)
    seen = [shown(body["messages"]) for body in asked]
    assert len([one for place, one in enumerate(seen) if not place or one != seen[place - 1]]) == 2 * len(pairs)


class Waiting(ScriptedModel):
    """Counts the calls in flight; a later call is answered sooner, if it is made at the same time."""

    def __init__(self, backend: Literal["openai", "embedded"]) -> None:
        super().__init__(lambda _: label(0.5))
        self._spec = replace(self._spec, backend=backend)
        self.in_flight = self.most = 0

    async def complete(self, request: Request) -> Response:
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        await asyncio.sleep(0.01 / self.in_flight)
        self.in_flight -= 1
        return await super().complete(request)


@pytest.mark.parametrize(("backend", "most"), [("embedded", 1), ("openai", 2 * 2 * (len(BANK.ids) + 1))])
def test_an_embedded_model_is_asked_one_thing_after_the_other(
    backend: Literal["openai", "embedded"], most: int
) -> None:
    model = Waiting(backend)
    asyncio.run(score_pairs(model, [PAIR, pair("q")], BANK, LABEL))
    assert model.most == most


def long_pair(turns: int, answers: tuple[int, int]) -> PreferencePair:
    context = tuple(Turn(role="user", content=f"turn {number} " + "x" * 300) for number in range(turns))
    return PreferencePair(
        user_id="u", pair_id="p", context=context, chosen="GOOD! " * answers[0], rejected="BAD? " * answers[1]
    )


@pytest.mark.parametrize("settings", [ScoreSettings(max_tokens=100), LABEL])
def test_a_pair_that_does_not_fit_is_scored_from_what_fits(settings: ScoreSettings, tmp_path: Path) -> None:
    window, whole = 1200, long_pair(8, (600, 500))
    with ScriptedServer(says) as server:
        entries = scored(server, [whole], settings, tmp_path, context_length=window)
        assert server.count == sum(len(one.calls) for one in entries)
        assert all(one.shortened and one.scores for one in entries)
        bodies = list(server.requests)
        # Another user's choice changes nothing of what is shown.
        scored(server, [exchanged(whole)], settings, tmp_path, context_length=window)
        assert server.count == len(bodies)
    first, second = shown(bodies[0]["messages"])
    assert first.endswith(CUT)
    assert len(first) == len(second) >= LEAST_TEXT
    assert {first[:4], second[:4]} == {"GOOD", "BAD?"}
    assert "turn 7" in str(bodies[0]["messages"])
    assert "turn 6" not in str(bodies[0]["messages"])


def test_the_oldest_turns_go_first_and_only_as_many_as_must() -> None:
    spec = ModelSpec("m", "openai", "m", context_length=1200)
    kept = shorten(long_pair(12, (3, 3)), spec, BANK, LABEL)
    assert kept is not None
    assert 1 < len(kept.context) < 12
    assert kept.context[-1].content.startswith("turn 11 ")
    assert (kept.chosen, kept.rejected) == ("GOOD! " * 3, "BAD? " * 3)
    more = kept.model_copy(update={"context": long_pair(12, (3, 3)).context[-len(kept.context) - 1 :]})
    assert shorten(more, spec, BANK, LABEL) == kept


def test_answers_keep_as_much_as_fits() -> None:
    spec, whole = ModelSpec("m", "openai", "m", context_length=1200), long_pair(1, (900, 900))
    kept = shorten(whole, spec, BANK, LABEL)
    assert kept is not None
    length = len(kept.chosen.removesuffix(CUT))
    longer = whole.model_copy(
        update={name: getattr(whole, name)[: length + 1] + CUT for name in ("chosen", "rejected")}
    )
    again = shorten(longer, spec, BANK, LABEL)
    assert again is not None
    assert len(again.chosen) == length + len(CUT)


@pytest.mark.parametrize("settings", [ScoreSettings(max_tokens=100), LABEL])
def test_a_long_last_turn_is_cut_in_the_middle_and_the_pair_is_scored(settings: ScoreSettings, tmp_path: Path) -> None:
    """Here of 9000 characters, in a window of some 3600: answers keep as much of it as the turn does."""
    asked = Turn(role="user", content="Summarise this. " + "word " * 1800 + "How do you like it?")
    short = PAIR.model_copy(update={"context": (Turn(role="user", content="Hello."), asked)})
    long = long_pair(1, (900, 1)).model_copy(update={"context": (asked,)})
    with ScriptedServer(says) as server:
        entries = scored(server, [short, long], settings, tmp_path, context_length=1200)
        assert all(one.shortened and one.scores for one in entries)
        sent = "\n".join(message["content"] for message in server.requests[0]["messages"])
        assert sent.count(CUT) == 1
        assert "Hello." not in sent
        assert "Summarise this. word " in sent
        assert sent.index("Summarise") < sent.index(CUT) < sent.index("word How do you like it?")
        assert {*shown(server.requests[0]["messages"])} == {short.chosen, short.rejected}
        count = server.count
        scored(server, [exchanged(short)], settings, tmp_path, context_length=1200)
        assert server.count == count
    spec = ModelSpec("m", "openai", "m", context_length=1200)
    for one in (short, long):
        kept = shorten(one, spec, BANK, settings)
        assert kept is not None
        turn = kept.context[-1].content
        # A turn with one more character on each side does not fit.
        half = (len(turn) - len(CUT) - 1) // 2
        more = f"{asked.content[: half + 1]}{CUT} {asked.content[-half - 1 :]}"
        fuller = kept.model_copy(update={"context": (Turn(role="user", content=more),)})
        assert shorten(fuller, spec, BANK, settings) != fuller
        if one is long:
            assert half * 2 <= len(kept.chosen) - len(CUT) <= half * 2 + 1
            assert kept.rejected == long.rejected


def test_what_does_not_fit_at_all_is_a_context_overflow(tmp_path: Path) -> None:
    with ScriptedServer(says) as server:
        entries = scored(server, [long_pair(1, (300, 300))], LABEL, tmp_path, context_length=150)
        assert server.count == 0
    assert [(one.reason, one.shortened) for one in entries] == [("context_overflow", False)] * 2


def test_the_server_decides_where_the_length_leaves_a_doubt(tmp_path: Path) -> None:
    """A pair that may fit is sent whole; what the server finds too long is sent again, in both orders alike."""
    whole = long_pair(1, (150, 150))
    body = {"error": {"message": "maximum context length is 500 tokens", "code": "context_length_exceeded"}}

    def fault(_: int, sent: dict[str, Any]) -> Fault | None:
        first, second = shown(sent["messages"])
        return Fault("status", 400, body) if first.startswith("BAD?") and CUT not in first + second else None

    with ScriptedServer(says, faults=fault) as server:
        entries = scored(server, [whole], LABEL, tmp_path, context_length=700)
    assert [one.shortened for one in entries] == [True, True]
    assert [set(one.scores) for one in entries] == [{"is_loud", "is_curious", "default"}] * 2


def test_a_server_whose_window_is_smaller_than_the_configs_is_asked_once() -> None:
    entries, model = of_model(lambda _: ContextOverflow("too long"), LABEL)
    assert [(one.reason, one.shortened) for one in entries] == [("context_overflow", False)] * 2
    assert model.asked == 2 * (len(BANK.ids) + 1)


def test_nothing_of_the_choice_is_in_a_request() -> None:
    for swapped in (False, True):
        mine = list(label_requests(PAIR, swapped, BANK, LABEL))
        assert mine == list(label_requests(exchanged(PAIR), not swapped, BANK, LABEL))
