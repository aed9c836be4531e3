"""The baseline Memory: facts from context pairs."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from support.learning import BOOT, settings
from support.models import ScriptedModel, last_user, pair, text

from personalrm.core.errors import ContextOverflow
from personalrm.core.records import Split, UserData, UserTraces
from personalrm.judge.judge import JudgeContext
from personalrm.llm.types import Request, Response
from personalrm.methods.synthesizeme.bootstrap import bootstrap_pairs
from personalrm.methods.synthesizeme.memory import MemorySettings, read_facts, remember
from personalrm.methods.synthesizeme.persona import PersonaSettings
from personalrm.methods.synthesizeme.profile import ProfileSettings, context_subset, learn_profile

PAIRS = [pair(f"p{n}", chosen="GOOD tea", rejected="BAD coffee") for n in range(4)]


def test_facts_are_the_items_of_the_list_each_once() -> None:
    said = "What I know:\n- likes tea\n\n3. is a nurse\n* likes tea\n  - asks in the evening \nDone."
    assert read_facts(said) == ("likes tea", "is a nurse", "asks in the evening")
    assert read_facts("no list at all") == ()


@pytest.mark.parametrize(("said", "facts"), [("- a b\n- c d", ("a b",)), ("- a b", ("a b",)), ("", ())])
def test_a_broken_last_fact_is_left_out(said: str, facts: tuple[str, ...]) -> None:
    assert read_facts(said, cut=True) == facts


def test_one_call_sees_all_pairs_and_their_choices() -> None:
    model = ScriptedModel(lambda _: text("- likes tea\n- hurries"))
    found = asyncio.run(remember(model, PAIRS, MemorySettings()))
    assert (found.facts, found.events) == (("likes tea", "hurries"), ())
    (request,) = model.requests.values()
    asked = last_user(request)
    assert [asked.count(f"GOOD tea p{n}") for n in range(4)] == [1] * 4
    assert asked.count("The person chose: ") == 4


def test_the_start_that_a_small_model_is_given_belongs_to_the_first_fact() -> None:
    model = ScriptedModel(lambda _: text("likes tea\n- This person hurries"))
    found = asyncio.run(remember(model, PAIRS, MemorySettings("compact", max_facts=1)))
    assert found.facts == ("This person likes tea",)


def test_input_that_does_not_fit_loses_its_oldest_pairs_and_says_so() -> None:
    def answer(request: Request) -> Response:
        if "GOOD tea p0" in last_user(request):
            raise ContextOverflow("too long")
        return text("- likes tea")

    found = asyncio.run(remember(ScriptedModel(answer), PAIRS, MemorySettings()))
    assert found.events == ("memory input shortened by 1 of 4 pairs",)


def test_at_k_memory_reads_the_context_pairs_of_k_while_the_search_asks_about_all_validation_pairs() -> None:
    model = ScriptedModel(lambda request: text("- likes tea\nPreference: First"))
    split: tuple[Split, ...] = ("context", "context", "validation", "validation", "test")
    pairs = [pair(f"p{n}", split=part, order=n) for n, part in enumerate(split)]
    user = UserData(dataset="d", user_id="u", pairs=tuple(pairs))
    boot = replace(BOOT, attempts=1)
    rows = asyncio.run(bootstrap_pairs(model, user.part("context"), JudgeContext(), boot))
    traces = UserTraces(dataset="d", user_id="u", model="m", variant="corrected", status="ok", traces=rows)
    how = ProfileSettings(boot, PersonaSettings(), settings(), rebootstrap=True, memory=MemorySettings())
    asyncio.run(learn_profile(model, user, traces, 1, 0, how))
    kept = {one.pair_id for one in context_subset(user.part("context"), 1, 0, how.seed)}
    (memory,) = (last_user(request) for request in model.requests.values() if "can be remembered" in last_user(request))
    assert {one.pair_id for one in pairs if one.chosen in memory} == kept
    asked = {
        one.pair_id for one in pairs for request in model.requests.values() if last_user(request).count(one.chosen)
    }
    assert {"p2", "p3"} <= asked
    assert "p4" not in asked


def test_nothing_to_remember_asks_nobody() -> None:
    model = ScriptedModel(lambda _: text("- likes tea"))
    assert asyncio.run(remember(model, [], MemorySettings())).facts == ()
    assert not model.requests
    silent = asyncio.run(remember(ScriptedModel(lambda _: text("I know nothing.")), PAIRS, MemorySettings()))
    assert (silent.facts, silent.events) == ((), ("the model wrote no facts",))
