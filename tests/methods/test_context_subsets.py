"""Disjoint parts of a user's context, and personas that are learned from one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.learning import BOOT, PAIRS, VALIDATION, say, settings
from support.models import ScriptedModel, pair, text

from personalrm.core.conditions import K
from personalrm.core.records import PreferencePair, Profile, UserData, UserTraces
from personalrm.judge.judge import JudgeContext
from personalrm.llm.types import Request, Response
from personalrm.methods.synthesizeme.bootstrap import bootstrap_pairs
from personalrm.methods.synthesizeme.context_subsets import CONVERSATION_TYPES, N_PARTS
from personalrm.methods.synthesizeme.persona import PersonaSettings
from personalrm.methods.synthesizeme.profile import ProfileSettings, context_subset, learn_profile

ONCE = replace(BOOT, attempts=1)
HOW = ProfileSettings(ONCE, PersonaSettings(), settings(), rebootstrap=True)


def talk(name: str, conversation: str | None, kind: str | None = None) -> PreferencePair:
    changes = {"conversation_id": conversation, "conversation_type": kind}
    return pair(name, split="context").model_copy(update=changes)


def parts(pairs: Sequence[PreferencePair], k: K, seed: int = 1) -> list[tuple[PreferencePair, ...]]:
    return [context_subset(pairs, k, part, seed) for part in range(N_PARTS[k])]


@given(st.lists(st.sampled_from([None, "a", "b", "c", "d"]), max_size=9), st.integers(0, 5))
def test_halves_are_disjoint_keep_conversations_whole_and_miss_no_pair(names: list[str | None], seed: int) -> None:
    pairs = [talk(f"{number:02}", name) for number, name in enumerate(names)]
    one, two = parts(pairs, "halves", seed)
    units = [{p.conversation_id or p.pair_id for p in half} for half in (one, two)]
    assert not units[0] & units[1]
    together = len({p.conversation_id or p.pair_id for p in pairs})
    if together < 2:
        assert one == two == ()
    else:
        assert sorted(p.pair_id for p in (*one, *two)) == [p.pair_id for p in pairs]
        assert len(units[0]) - len(units[1]) == together % 2
        assert [p.pair_id for p in one] == sorted(p.pair_id for p in one)


def test_halves_are_drawn_by_the_seed() -> None:
    pairs = [talk(str(number), str(number)) for number in range(8)]
    assert len({parts(pairs, "halves", seed)[0] for seed in range(5)}) > 1
    assert parts(pairs, "halves")[0] == parts(pairs[::-1], "halves")[0][::-1]


def test_types_are_those_of_prism_in_order_and_need_two() -> None:
    free, values, hot = CONVERSATION_TYPES
    one, two, three = talk("1", "a", values), talk("2", "b", free), talk("3", "c", values)
    assert parts([one, two, three], "types") == [(two,), (one, three), ()]
    assert parts([one, three], "types") == [(), (), ()]
    assert parts([talk("4", "a", hot), talk("5", "b", "chatty"), talk("6", "c")], "types") == [(), (), ()]


def learned(k: K, part: int) -> tuple[Profile, ScriptedModel]:
    def answer(request: Request) -> Response:
        return text("Likes GOOD.") if "--- Choice" in request.messages[-1].content else say(True, request)

    user = UserData(dataset="d", user_id="u", pairs=(*PAIRS, *VALIDATION))
    rows = asyncio.run(bootstrap_pairs(ScriptedModel(answer), PAIRS, JudgeContext(), ONCE))
    traces = UserTraces(dataset="d", user_id="u", model="scripted", variant="corrected", status="ok", traces=rows)
    model = ScriptedModel(answer)
    return asyncio.run(learn_profile(model, user, traces, k, part, HOW)), model


@pytest.mark.parametrize("part", [0, 1])
def test_a_part_teaches_a_persona_alone_and_the_other_is_never_shown(part: int) -> None:
    profile, model = learned("halves", part)
    assert (profile.status, profile.persona, profile.draw) == ("ok", "Likes GOOD.", part)
    own, other = parts(PAIRS, "halves", HOW.seed)[:: 1 - 2 * part]
    assert set(profile.persona_pairs) <= {p.pair_id for p in own}
    shown = "\n".join(m.content for request in model.requests.values() for m in request.messages)
    assert any(f"GOOD {p.pair_id}" in shown for p in own)
    assert not any(f"GOOD {p.pair_id}" in shown for p in other)
    assert {ref.stage for ref in profile.calls} == {"search", "persona"}
    assert profile.demonstrations == ()


def test_who_has_no_two_parts_has_a_profile_that_says_so() -> None:
    profile, model = learned("types", 0)
    assert (profile.status, model.requests) == ("not_applicable", {})
    assert profile.reason == "no conversation of this type in the context, or of no other type"
