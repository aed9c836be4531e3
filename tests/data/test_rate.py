"""What the raters of the filters are shown: each answer stands first as often, and nothing says which was chosen."""

from __future__ import annotations

import asyncio
import re

import pytest
from support.models import ScriptedModel, last_user, pair, text

from personalrm.core.records import PreferencePair
from personalrm.data.filters.rate import panel_votes, rate_pair
from personalrm.judge.call_recorder import Listener
from personalrm.judge.judge import JudgeSettings, PromptStyle
from personalrm.llm.types import Request

PAIRS = [pair(f"p{n}", "An answer in rhyme", "An answer in prose") for n in range(200)]


def first_of(request: Request, one: PreferencePair) -> str | None:
    """The answer that stands first in the prompt; None in a prompt that shows none."""
    places = {answer: last_user(request).find(answer) for answer in (one.chosen, one.rejected)}
    if set(places.values()) == {-1}:
        return None
    assert -1 not in places.values(), "one answer without the other"
    return min(places, key=lambda answer: places[answer])


def rated(one: PreferencePair, style: PromptStyle) -> list[Request]:
    model = ScriptedModel(lambda _: text("3"))
    asyncio.run(rate_pair(Listener(model, "rate"), one, style, 64))
    return list(model.requests.values())


@pytest.mark.parametrize("style", ["standard", "compact"])
def test_the_chosen_answer_stands_first_for_half_of_the_raters(style: PromptStyle) -> None:
    seen = [[first for request in rated(one, style) if (first := first_of(request, one))] for one in PAIRS]
    assert {len(firsts) for firsts in seen} == {1}
    share = sum(firsts == [one.chosen] for firsts, one in zip(seen, PAIRS, strict=True)) / len(PAIRS)
    # A fair coin lies in these bounds but once in 10,000 seeds; the coin has none, so this holds on every run or none.
    assert 0.36 < share < 0.64


def with_answers_exchanged(request: Request, one: PreferencePair) -> str:
    other = {one.chosen: one.rejected, one.rejected: one.chosen}
    return re.sub("|".join(map(re.escape, other)), lambda found: other[found[0]], str(request.messages))


@pytest.mark.parametrize("style", ["standard", "compact"])
def test_no_prompt_of_a_rater_names_the_choice(style: PromptStyle) -> None:
    for one in PAIRS[:20]:
        exchanged = one.model_copy(update={"chosen": one.rejected, "rejected": one.chosen})
        mine, theirs = (rated(each, style) for each in (one, exchanged))
        # The same prompt but for the answers, which have changed places: no word follows the label.
        assert sorted(with_answers_exchanged(each, one) for each in mine) == sorted(str(e.messages) for e in theirs)


def test_a_member_of_the_panel_is_asked_in_both_orders() -> None:
    for one in PAIRS[:20]:
        model = ScriptedModel(lambda _: text("Because.\nPreference: First"))
        votes = asyncio.run(panel_votes(Listener(model, "panel"), one, JudgeSettings()))
        assert sorted(str(first_of(request, one)) for request in model.requests.values()) == sorted(
            (one.chosen, one.rejected)
        )
        # A member that follows the position votes for each answer once.
        assert sorted(str(vote.favours) for vote in votes) == ["chosen", "rejected"]
