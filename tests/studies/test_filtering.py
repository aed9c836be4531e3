"""The stage that applies the filters reads a shard at a time: how many there are changes nothing but the files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from personalrm.core.records import UserData, read_records, write_records
from personalrm.data.filters.filters import Sensitivity
from personalrm.data.filters.funnel import Funnel
from personalrm.data.filters.ratings import PairRating, PanelVote, UserPanel, UserRatings
from personalrm.studies.config_load import parse_config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.filtering import filter_stage
from personalrm.studies.synthesizeme.stages.prepare import prepare_stage

PAIRS = {"ann": 9, "ben": 6, "cat": 12, "dan": 5, "eve": 7, "fay": 4}
"""Votes of each user. Numbers that 5 divides are rated too low; about those that leave 1 the panel is at one."""
TIE = 7


def write_votes(path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for user, count in PAIRS.items():
            for number in range(count):
                context = [{"role": "user", "content": f"question {number} of {user}"}]
                row = {"user_id": user, "pair_id": f"{user}-{number}", "timestamp": number, "context": context}
                answers = {"response_a": f"one {number}", "response_b": f"two {number}"}
                winner = "tie" if number == TIE else "a"
                file.write(json.dumps({**row, **answers, "winner": winner}) + "\n")


def ratings_of(user: UserData) -> UserRatings:
    ratings = [PairRating(pair_id=p.pair_id, query=2 if p.order % 5 == 0 else 4, responses=4) for p in user.pairs]
    return UserRatings(dataset="d", user_id=user.user_id, model="m", ratings=tuple(ratings))


def panel_of(user: UserData) -> UserPanel:
    votes = [
        PanelVote(
            pair_id=pair.pair_id,
            swapped=swapped,
            favours="rejected" if swapped and pair.order % 5 != 1 else "chosen",
            outcome="correct",
        )
        for pair in user.pairs
        if not pair.tie
        for swapped in (False, True)
    ]
    return UserPanel(dataset="d", user_id=user.user_id, model="m", votes=tuple(votes))


def filtered(shards: int) -> tuple[Funnel, list[Sensitivity], list[UserData]]:
    """The stage's results with so many shards, in the folder of work."""
    filters = {"personalizable": {"model": "m"}, "disagreement": {"models": ["m"]}}
    entry = {"path": "votes.jsonl", "ties": "keep", "shards": shards, "filters": filters, "min_pairs": 3}
    model = {"backend": "openai", "model": "m", "api_base": "http://127.0.0.1:9/v1"}
    given = {"run": f"r{shards}", "methods": ["longer"], "datasets": {"d": entry}, "models": {"m": model}}
    config = parse_config(given)
    plan = Plan(config)
    prepare_stage(plan, "d")
    paths = (map(Path, found) for found in (plan.prepared_paths("d"), plan.rating_paths("d"), plan.panel_paths("d")))
    for users, ratings, panel in zip(*paths, strict=True):
        people = list(read_records(users, UserData))
        write_records(ratings, map(ratings_of, people))
        write_records(panel, map(panel_of, people))
    filter_stage(plan, "d")
    folder = Path(plan.run, "data", "d")
    left = [user for path in plan.shard_paths("d") for user in read_records(Path(path), UserData)]
    return (
        Funnel.model_validate_json((folder / "funnel.json").read_bytes()),
        list(read_records(folder / "filter_sensitivity.jsonl", Sensitivity)),
        sorted(left, key=lambda user: user.user_id),
    )


def test_shards_change_no_number_and_no_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_votes(Path("votes.jsonl"))
    funnel, rows, people = filtered(1)
    assert filtered(4) == (funnel, rows, people)
    # 43 votes: 11 are rated too low, the panel is at one about 10 of the others, and fay has 2 of her 4 left.
    assert [(step.users, step.pairs) for step in funnel.steps[-3:]] == [(6, 32), (6, 22), (5, 20)]
    assert (funnel.users_written, funnel.users_excluded) == (5, 1)
    assert sum(funnel.split_pairs.values()) == 20
    # The prompts differ by their digits alone. The counts are those of the users that are left, not of all six before.
    alike = {"pairs_joined": 0, "users_too_alike": 5, "test_pairs_leaked": funnel.split_pairs["test"]}
    assert funnel.near_duplicates == alike
    assert sum(funnel.split_ties.values()) == 2
