"""More votes for a `SynthesizeMe`: the same as a fit with all of them, without asking anything twice; and reprs."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.scripted_server import ScriptedServer
from support.traits import says

from personalrm import DefaultJudge, SynthesizeMe
from personalrm.core.errors import DataError, NotFittedError

from .conftest import items, judge_of, prefers_good, prompts, taste_model, votes


@pytest.mark.parametrize("apart", [False, True], ids=["split by ratio", "val_data given"])
def test_added_votes_give_the_profile_of_all_and_ask_nothing_twice(apart: bool) -> None:
    val = items(3, first=50) if apart else None
    with ScriptedServer(prefers_good) as server:
        whole = judge_of(server, user_id="me").fit(items(9), val)
        wanted = set(prompts(server))
    with ScriptedServer(prefers_good, port=server.port) as server:
        rm = judge_of(server, user_id="me").fit(items(6), val)
        assert rm.add(item for item in items(3, first=6)) is rm
        assert rm.profile == whole.profile
        assert len(prompts(server)) == len(set(prompts(server)))
        assert wanted <= set(prompts(server))


def test_the_user_stays_the_same_and_votes_of_another_are_refused(server: ScriptedServer) -> None:
    rm = judge_of(server).fit(items(5))
    user = rm.user_id
    rm.add(items(2, first=5))
    assert rm.user_id == user
    assert rm.add(items(1, first=7)).user_id == user
    before, count = rm.profile, server.count
    with pytest.raises(DataError, match="votes: are of user 'other'"):
        rm.add(items(1, first=8, user_id="other"))
    with pytest.raises(DataError, match=r"votes\[0\], field chosen"):
        rm.add(items(1, first=8, chosen=3))
    assert (rm.profile, server.count) == (before, count)


def test_without_the_votes_of_fit_nothing_can_be_added(server: ScriptedServer, tmp_path: Path) -> None:
    with pytest.raises(NotFittedError, match="call fit with all votes"):
        judge_of(server).add(items(2))
    fitted = judge_of(server).fit(items(5))
    file = fitted.save(tmp_path)
    for rm in (SynthesizeMe.from_saved(file), fitted.load(file)):
        with pytest.raises(NotFittedError, match="a saved profile has none"):
            rm.add(items(2, first=5))


def test_each_judge_says_what_it_is(server: ScriptedServer, bank: Path) -> None:
    assert repr(DefaultJudge("some/model", server.url)) == "DefaultJudge('some/model')"
    rm = judge_of(server, user_id="me")
    assert repr(rm) == "SynthesizeMe('some/model', 'both', not fitted)"
    rm.fit(items(5))
    count = len(rm.get_demos())
    assert repr(rm) == f"SynthesizeMe('some/model', 'both', a persona and {count} demonstrations of user 'me')"
    with ScriptedServer(says) as traits:
        taste = taste_model(traits, bank, user_id="me")
        assert repr(taste).endswith("attributes, not fitted)")
        assert "votes of user 'me'" in repr(taste.fit(votes(6)))
