"""Whose votes a taste is of: one object for several users, ids and rows without one, others, votes that are added."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.scripted_server import ScriptedServer
from support.traits import says

from personalrm import TasteModel
from personalrm.core.errors import DataError

from .conftest import Item, taste_model, vote, votes


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(says) as running:
        yield running


def test_one_object_learns_users_one_after_another(server: ScriptedServer, bank: Path, tmp_path: Path) -> None:
    people = {"ann": votes(5, user_id="ann"), "bob": votes(5, first=10, likes="?", user_id="bob")}
    rm = taste_model(server, bank, output_dir=tmp_path)
    for name, mine in people.items():
        rm.fit(mine, others=people)
        assert rm.user_id == name
        assert rm.learned.prior is not None
        assert (rm.learned.prior.n_users, rm.learned.prior.n_pairs) == (1, 5)
        assert f"others: user {name!r} left out (the user's own votes)" in rm.events
    assert len(list(tmp_path.glob("*.taste.json"))) == 2
    rm.close()


def test_own_votes_are_known_by_their_content_where_rows_name_no_user(server: ScriptedServer, bank: Path) -> None:
    people = {"ann": votes(6), "bob": votes(5, first=10)}
    for mine in (people["ann"], people["ann"][:4], [*people["ann"], vote(7)]):
        rm = taste_model(server, bank).fit(mine, others=people)
        assert rm.learned.prior is not None
        assert (rm.learned.prior.n_users, rm.learned.prior.n_pairs) == (1, 5)
        assert "others: user 'ann' left out (the user's own votes)" in rm.events


def test_ids_may_be_numbers_as_in_rows(server: ScriptedServer, bank: Path) -> None:
    mine = votes(5, user_id=7)
    others: dict[Any, list[Item]] = {7: mine, 8: votes(3, first=20), "a": votes(3, first=30), "b": []}
    for rm in (taste_model(server, bank, user_id=7), taste_model(server, bank)):
        rm.fit(mine, others=others)
        assert rm.user_id == "7"
        assert rm.learned.prior is not None
        assert rm.learned.prior.n_users == 2
        assert "others: user 'b' left out (no pair to learn from)" in rm.events
    with pytest.raises(DataError, match=r"^others: holds two entries of user '8'"):
        rm.fit(mine, others={**others, "8": votes(2)})


def test_votes_of_another_user_are_not_added(server: ScriptedServer, bank: Path, tmp_path: Path) -> None:
    rm = taste_model(server, bank).fit(votes(5, user_id="ann"))
    rm.add(votes(1, first=5, user_id="ann")).add(votes(1, first=6))
    with pytest.raises(DataError, match=r"^votes: are of user 'bob', not of 'ann'; .* user_id"):
        rm.add(votes(1, first=7, user_id="bob"))
    assert rm.learned.taste.n_votes == 7
    # With an id that was given, rows may be of whomever, as in `fit`.
    rm.save(tmp_path)
    same = TasteModel.from_saved(tmp_path, "ann").add(votes(1, first=7, user_id="bob"))
    assert (same.user_id, same.learned.taste.n_votes) == ("ann", 8)
