"""From whom a method learns, and who is judged with it: the two never meet."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.planted import Taste, planted_users

from personalrm.core.records import Fitted, JudgedUser, NoResult, UserData, read_records, write_records
from personalrm.llm.open import RuntimeSettings
from personalrm.methods import surface
from personalrm.methods.base import Known, Method
from personalrm.studies.config_load import parse_config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.fit import MOST_GROUPS, fit_stage, fitted_for, training_sets
from personalrm.studies.synthesizeme.stages.runner import Job
from personalrm.studies.synthesizeme.stages.seen import known_of
from personalrm.studies.synthesizeme.stages.weighing import weigh_stage

BASE = {"run": "r", "datasets": {"d": {"path": "votes.jsonl", "shards": 1}}, "k": [2, "all"], "draws": 2}
SURFACE = ["surface", "surface_user"]


def people(count: int, *parts: str) -> list[UserData]:
    """Users with opposite tastes by turns; of these parts of the user split by turns, if there are any."""
    tastes: dict[str, Taste] = {f"u{n}": "long" if n % 2 else "short" for n in range(count)}
    users = planted_users(tastes, pairs=10)
    if not parts:
        return users
    return [user.model_copy(update={"user_split": parts[n % len(parts)]}) for n, user in enumerate(users)]


def test_with_a_user_split_train_users_alone_teach_and_are_never_judged_with_it() -> None:
    users = people(9, "train", "validation", "test")
    ((left_out, taught),) = training_sets(users)
    assert left_out is None
    assert {user.user_id for user in taught} == {"u0", "u3", "u6"}
    assert sum(len(user.pairs) for user in taught) == 30
    row = Fitted(dataset="d", method="m", model=None, left_out=None, n_users=3, n_pairs=30, artefact=None)
    found = {user.user_id: fitted_for([row], user) for user in users}
    assert {name for name, one in found.items() if isinstance(one, NoResult)} == {"u0", "u3", "u6"}
    assert found["u0"] == NoResult("empty", "m was fitted on the train users")


@pytest.mark.parametrize("count", [1, 2, 7, MOST_GROUPS, 2 * MOST_GROUPS + 3])
def test_without_a_user_split_nobody_is_judged_with_what_was_learned_from_the_own_votes(count: int) -> None:
    users = people(count)
    sets = list(training_sets(users))
    left = [name for left_out, _ in sets for name in left_out or ()]
    assert sorted(left) == sorted(user.user_id for user in users)
    for left_out, taught in sets:
        assert left_out
        assert {user.user_id for user in taught} == {user.user_id for user in users} - set(left_out)
        assert not any(pair.split == "test" for user in taught for pair in user.pairs)
    if count <= MOST_GROUPS:
        assert all(len(left_out or ()) == 1 for left_out, _ in sets)
    # The order of the files changes nothing.
    assert list(training_sets(users[::-1])) == sets


def test_ties_and_pairs_of_no_part_teach_nothing() -> None:
    (user, other) = people(2)
    pairs = [user.pairs[0].model_copy(update={"tie": True}), user.pairs[1].model_copy(update={"split": None})]
    sets = dict(training_sets([user.model_copy(update={"pairs": (*pairs, *user.pairs[2:4])}), other]))
    (taught,) = sets[(other.user_id,)]
    assert [pair.pair_id for pair in taught.pairs] == [pair.pair_id for pair in user.pairs[2:4]]


def test_a_user_of_another_file_is_an_error() -> None:
    row = Fitted(dataset="d", method="m", model=None, left_out=("a",), n_users=1, n_pairs=1, artefact=None)
    with pytest.raises(ValueError, match="u0: not among the users of the artefact"):
        fitted_for([row], people(1)[0])


def judged(folder: Path, users: list[UserData]) -> tuple[bytes, list[JudgedUser]]:
    """The artefact file of `surface`, and the rows of both methods on these users."""
    job = Job(parse_config({**BASE, "methods": SURFACE}), RuntimeSettings(folder, 1))
    folder.mkdir()
    write_records(folder / "users.jsonl", users)
    fit_stage(job, users=[folder / "users.jsonl"], out=folder / "fit.jsonl", dataset="d", method="surface")
    out = folder / "rows.jsonl"
    weigh_stage(job, users=folder / "users.jsonl", out=out, fitted=[folder / "fit.jsonl"])
    return (folder / "fit.jsonl").read_bytes(), list(read_records(out, JudgedUser))


def with_labels_exchanged(user: UserData, split: str) -> UserData:
    pairs = (
        pair.model_copy(update={"chosen": pair.rejected, "rejected": pair.chosen}) if pair.split == split else pair
        for pair in user.pairs
    )
    return user.model_copy(update={"pairs": tuple(pairs)})


def test_labels_of_test_pairs_change_no_artefact_and_only_turn_verdicts(tmp_path: Path) -> None:
    users = people(4)
    artefact, rows = judged(tmp_path / "a", users)
    turned = [with_labels_exchanged(user, "test") for user in users]
    assert judged(tmp_path / "b", users) == (artefact, rows)
    other, others = judged(tmp_path / "c", turned)
    assert other == artefact
    odds = [[verdict.log_odds for verdict in row.verdicts] for row in rows]
    assert [[-(verdict.log_odds or 0) for verdict in row.verdicts] for row in others] == odds
    # What is learned from does change them.
    assert judged(tmp_path / "d", [with_labels_exchanged(user, "context") for user in users])[0] != artefact


def test_rows_of_each_k_and_draw_and_of_users_who_lack_pairs(tmp_path: Path) -> None:
    none, *users = people(4)
    bare = none.model_copy(update={"pairs": tuple(pair for pair in none.pairs if pair.split == "test")})
    _, rows = judged(tmp_path / "a", [bare, *users])
    mine = [row for row in rows if row.method == "surface_user" and row.user_id == users[0].user_id]
    assert [(row.k, row.draw) for row in mine] == [(2, 0), (2, 1), ("all", 0)]
    # Each is adapted to pairs of its own.
    assert len({tuple(verdict.log_odds for verdict in row.verdicts) for row in mine}) == 3
    assert {row.k for row in rows if row.method == "surface"} == {None}
    assert {(row.status, row.reason) for row in rows if row.user_id == bare.user_id and row.k is not None} == {
        ("empty", "no context pairs")
    }
    _, (alone, *_) = judged(tmp_path / "b", [users[0]])
    assert (alone.status, alone.reason) == ("not_applicable", "no pairs of other users to learn from")


def test_train_users_are_no_row_of_numbers_where_all_are_evaluated(tmp_path: Path) -> None:
    _, rows = judged(tmp_path / "a", people(6, "train", "test"))
    status = {(row.user_id, row.status) for row in rows if row.method == "surface"}
    assert status == {(f"u{n}", "ok" if n % 2 else "empty") for n in range(6)}


def test_other_features_rerun_what_rests_on_them_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with_surface = Plan(parse_config({**BASE, "methods": ["random", *SURFACE]}))
    without = Plan(parse_config({**BASE, "methods": ["random", "longer"]}))
    assert [job.method for job in with_surface.jobs("fit")] == ["surface"]
    assert not without.jobs("fit")
    assert with_surface.inputs("no_model", dataset="d", shard="s00")["fitted"] == [
        "results/r/fitted/d/surface/none.jsonl"
    ]

    def reads() -> list[str]:
        asked = [
            (with_surface, "fit", {"method": "surface"}),
            (with_surface, "no_model", {}),
            (without, "no_model", {}),
        ]
        return [plan.reads(name, dataset="d", **more) for plan, name, more in asked]

    before = reads()
    monkeypatch.setitem(surface.COUNTED, "questions", r"\?+")
    assert [one == other for one, other in zip(before, reads(), strict=True)] == [False, False, True]
    # Weights have an order, so that another order of the same features is another setting.
    assert all(f'"order":{json.dumps(surface.NAMES, separators=(",", ":"))}' in one for one in before[:2])


def test_a_method_sees_the_votes_of_its_user_only_where_it_says_that_it_learns() -> None:
    (user,), config = people(1), parse_config({**BASE, "methods": ["random"]})
    silent = Method("mine", "judge", lambda known: known)
    assert known_of(config, user, silent, {}) == Known(user.model_copy(update={"pairs": ()}))
    seen = known_of(config, user, replace(silent, learns=True), {})
    assert {pair.split for pair in seen.user.pairs} == {"context", "validation"}
    assert seen.pairs == user.part("context")


def test_the_pairs_that_k_allows_are_drawn_with_the_seed_of_the_run() -> None:
    (user,) = people(1)
    learner = Method("mine", "judge", lambda known: known, learns=True, by_k=True)
    drawn = {
        known_of(parse_config({**BASE, "methods": ["random"], "seed": seed}), user, learner, {}, k=2).pairs
        for seed in range(9)
    }
    assert len(drawn) > 2
    assert all(len(pairs) == 2 for pairs in drawn)


def test_a_measured_persona_rests_on_what_attributes_learned_whether_or_not_they_are_judged() -> None:
    model = {"backend": "openai", "model": "x", "api_base": "http://x/v1", "verdicts": ["logprob_both"]}
    for methods in (["measured_persona"], ["measured_persona_demos"], ["measured_persona", "attributes"]):
        config = parse_config({**BASE, "models": {"m": model}, "learn": {"models": ["m"]}, "methods": methods})
        plan = Plan(config)
        (fitted,) = plan.paths("fit")
        assert fitted.endswith("fitted/d/attributes/m.jsonl")
        assert plan.sources("taste", "fitted") == [fitted]
