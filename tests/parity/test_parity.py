"""`as_published` decides as the authors' package does: same prompts in content, same winners, same verdicts.

Both are driven by one scripted model behind one local server; it answers by the content of a prompt (`content.py`).
The package learns by its own defaults, ours by the settings of `config/config.yaml`. Rows carry a stored coin of
presentation, as in the authors' sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from support.scripted_server import ScriptedServer

from parity.content import Content, answer, content_of, generated_user, is_package
from parity.sides import Found, Users, make_users, run_ours, run_package, shipped_options, with_coins
from personalrm.app.library.data import usable_pairs
from personalrm.core.records import Demonstration, PreferencePair
from personalrm.judge.judge import JudgeContext, JudgeSettings, judge_messages
from personalrm.methods.synthesizeme.persona import PersonaSettings, persona_messages
from personalrm.methods.synthesizeme.variants import CORRECTED, PUBLISHED


@dataclass
class Side:
    """What one side learned and judged, by user, and the distinct contents that it asked about."""

    found: Found
    asked: set[Content]


def package_side(users: Users, folder: Path) -> Side:
    with ScriptedServer(answer) as server:
        found = run_package(users, server.url, folder)
        asked = {content_of(body["messages"]) for body in server.requests}
        assert all(is_package(body["messages"]) for body in server.requests)
    return Side(found, asked)


def our_side(users: Users, variant: str = PUBLISHED, **search: object) -> Side:
    given = shipped_options()
    given["learn"]["search"] |= search
    with ScriptedServer(answer) as server:
        found = run_ours(users, server.url, variant, **given)
        return Side(found, {content_of(body["messages"]) for body in server.requests})


def check_parity(users: Users, folder: Path) -> None:
    package = package_side(users, folder)
    ours = our_side(users, exhaustive=True)
    for name in users:
        theirs, mine = package.found[name], ours.found[name]
        for what in ("persona", "shown", "results"):
            assert mine[what] == theirs[what], (name, what)
        assert mine["scores"] == theirs["scores"], name
        # The last event counts traces; before it stands what the last search said.
        hidden = f"{theirs['hidden']} labelled demonstrations were drawn and reach no prompt (as published)"
        assert (mine["events"][-2:-1] == (hidden,)) == (theirs["hidden"] > 0), (name, mine["events"])
    assert ours.asked == package.asked
    # Both say of each judgement what the user chose, and some have earlier turns.
    shown = [judgement for content in ours.asked for judgement in content.judgements]
    assert {judgement.label for judgement in shown} == {"First", "Second"}
    assert all("g" in (one.second if one.label == "Second" else one.first) for one in shown)
    assert {bool(judgement.earlier) for judgement in shown} == {True, False}
    # The exact bound finds the same with a part of the calls, and asks nothing that the package does not ask.
    bounded = our_side(users)
    same = ("persona", "shown", "winners", "results")
    assert [[u[w] for w in same] for u in bounded.found.values()] == [[u[w] for w in same] for u in ours.found.values()]
    assert bounded.asked < package.asked


def our_prompts(pair: PreferencePair, swapped: bool) -> list[Content]:
    """Every kind of prompt of ours that shows a judgement, by its content: as a chat turn, as data, for a persona."""
    shown = [Demonstration(pair=pair, swapped=swapped, reasoning=why) for why in ("Because of r0123456789ab.", None)]
    asked = pair.model_copy(update={"pair_id": "asked"})
    made = [judge_messages(asked, False, JudgeContext("p0123456789ab", (one,)), JudgeSettings()) for one in shown]
    made += [persona_messages([one], PersonaSettings()) for one in shown]
    return [content_of([{"content": message.content} for message in messages]) for messages in made]


@pytest.mark.parametrize("swapped", [False, True])
def test_a_content_has_the_labels_both_answers_and_the_turns_before(swapped: bool) -> None:
    (row,) = usable_pairs(generated_user(3, 3, 0)["fit"][2:], "rows").pairs
    contents = our_prompts(row, swapped)
    places = ("u3b2", "u3g2", "Second") if swapped else ("u3g2", "u3b2", "First")
    earlier = ("user u3e2", "assistant u3a2")
    for content in contents:
        (judgement,) = content.judgements
        assert (judgement.first, judgement.second, judgement.label) == places
        assert (judgement.question, judgement.earlier) == ("u3q2", earlier)
        assert content.kind == "persona" or content.asked == ("u3q2", "u3g2", "u3b2", "", "", earlier)
    assert [bool(content.judgements[0].reasoning) for content in contents] == [True, False, True, False]
    # What a prompt can get wrong makes another content.
    wrong = [
        row.model_copy(update={"chosen": row.rejected, "rejected": row.chosen}),
        row.model_copy(update={"rejected": "nothing"}),
        row.model_copy(update={"context": row.context[1:]}),
        row.model_copy(update={"context": row.context[2:]}),
        row.model_copy(update={"context": (row.context[1], row.context[0], row.context[2])}),
    ]
    for other in wrong:
        assert not {*our_prompts(other, swapped)} & {*contents}


@pytest.mark.timeout(600)
def test_as_published_decides_as_the_package(tmp_path: Path) -> None:
    # One user with more context pairs than any fixed number of demonstrations that was ever shipped.
    check_parity(make_users(5) | with_coins({"long": generated_user(6, n_fit=30, n_test=3)}), tmp_path)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_as_published_decides_as_the_package_on_fifty_users(tmp_path: Path) -> None:
    check_parity(make_users(50) | with_coins({"long": generated_user(50, n_fit=40, n_test=3)}), tmp_path)


def test_the_defects_are_absent_from_the_corrected_variant() -> None:
    """D1: labelled demonstrations reach the prompt. D2: among equals no demonstrations do not win."""
    users = make_users(4)
    published, corrected = our_side(users), our_side(users, CORRECTED)
    assert all(user["shown"] for user in corrected.found.values())
    assert any(not user["shown"] for user in published.found.values())
    assert any("reach no prompt" in event for user in published.found.values() for event in user["events"])
    assert not any("reach no prompt" in event for user in corrected.found.values() for event in user["events"])
    labelled = [shown for content in corrected.asked for shown in content.judgements if not shown.reasoning]
    assert labelled
    judged = [content for content in published.asked if content.kind == "judge"]
    assert all(shown.reasoning for content in judged for shown in content.judgements)
