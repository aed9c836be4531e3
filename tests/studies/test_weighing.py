"""Leave-one-conversation-out: each pair is judged by what was learned from the user's other conversations alone."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from support.planted import planted_users
from support.scripted_tastes import scored_user

from personalrm.core.errors import ConfigError
from personalrm.core.records import (
    Fitted,
    JudgedUser,
    PairScores,
    PreferencePair,
    UserData,
    UserScores,
    read_records,
    write_records,
)
from personalrm.core.tastes import UserTaste
from personalrm.llm.open import RuntimeSettings
from personalrm.methods.registry import parse_method
from personalrm.methods.taste.prior import LEAST_USERS
from personalrm.studies.config_load import parse_config
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.fit import fit_stage
from personalrm.studies.synthesizeme.stages.runner import Job
from personalrm.studies.synthesizeme.stages.scoring import scoring_of
from personalrm.studies.synthesizeme.stages.tasting import taste_stage, user_taste
from personalrm.studies.synthesizeme.stages.weighing import left_out, weigh_stage

PAIRS = 9


def people() -> list[UserData]:
    """Two users with opposite tastes, and three pairs in each of three conversations."""
    return [_in_conversations(user) for user in planted_users({"ann": "long", "bob": "short"}, pairs=PAIRS)]


def _in_conversations(user: UserData) -> UserData:
    pairs = (pair.model_copy(update={"conversation_id": f"c{n // 3}"}) for n, pair in enumerate(user.pairs))
    return user.model_copy(update={"pairs": tuple(pairs)})


def turned(user: UserData, *conversations: str) -> UserData:
    """The user with the other choice in these conversations."""

    def other(pair: PreferencePair) -> PreferencePair:
        if pair.conversation_id not in conversations:
            return pair
        return pair.model_copy(update={"chosen": pair.rejected, "rejected": pair.chosen})

    return user.model_copy(update={"pairs": tuple(map(other, user.pairs))})


def judged(folder: Path, users: list[UserData], **config: object) -> dict[str, list[JudgedUser]]:
    """Rows of `surface_user@loo`, by user."""
    datasets = {"d": {"path": "votes.jsonl", "shards": 1}}
    asked = {"run": "r", "datasets": datasets, "methods": ["surface_user@loo"], **config}
    job, people_file, out = Job(parse_config(asked), RuntimeSettings(folder, 1)), folder / "users", folder / "out"
    write_records(people_file, users)
    fit_stage(job, users=[people_file], out=folder / "fit", dataset="d", method="surface")
    weigh_stage(job, users=people_file, out=out, fitted=[folder / "fit"])
    rows: dict[str, list[JudgedUser]] = {user.user_id: [] for user in users}
    for row in read_records(out, JudgedUser):
        rows[row.user_id].append(row)
    return rows


def test_each_conversation_is_left_out_once_and_the_others_are_learned_from() -> None:
    user = people()[0]
    parts = list(left_out(user))
    assert [[pair.pair_id for pair in part.part("test")] for part in parts] == [
        [pair.pair_id for pair in user.pairs[start : start + 3]] for start in (0, 3, 6)
    ]
    assert all(len(part.part("context")) == PAIRS - 3 for part in parts)


def test_one_row_has_all_pairs_whatever_k_and_is_right_where_the_taste_holds(tmp_path: Path) -> None:
    pairs = {user.user_id: user.pairs for user in people()}
    for name, rows in judged(tmp_path, people(), k=[2, "all"], draws=2).items():
        (row,) = rows
        assert (row.method, row.k, row.draw) == ("surface_user@loo", "all", 0)
        assert [verdict.pair_id for verdict in row.verdicts] == [pair.pair_id for pair in pairs[name]]
        assert {verdict.outcome for verdict in row.verdicts} == {"correct"}


def test_the_votes_of_a_conversation_change_no_odds_of_its_own_pairs(tmp_path: Path) -> None:
    odds = []
    for number, user in enumerate((people()[0], turned(people()[0], "c1"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        ((row,),) = judged(folder, [user]).values()
        odds.append([verdict.log_odds or 0.0 for verdict in row.verdicts])
    mine, others = slice(3, 6), slice(6, 9)
    # The answers that are called chosen changed places, so that the same answer has the same odds.
    assert odds[1][mine] == [-one for one in odds[0][mine]]
    assert odds[1][others] != odds[0][others]


def test_a_user_with_one_conversation_has_nothing_to_learn_from(tmp_path: Path) -> None:
    user = people()[0]
    alone = user.model_copy(update={"pairs": user.pairs[:3]})
    ((row,),) = judged(tmp_path, [alone]).values()
    assert (row.status, row.verdicts) == ("empty", ())


def test_a_user_whom_a_filter_left_without_pairs_has_a_row_that_says_why(tmp_path: Path) -> None:
    bare = UserData(dataset="d", user_id="cat", excluded="2 pairs, fewer than 5")
    rows = judged(tmp_path, [*people(), bare])
    assert [row.status for row in rows["ann"]] == ["ok"]
    (row,) = rows["cat"]
    assert (row.method, row.k, row.status, row.reason) == ("surface_user@loo", "all", "empty", bare.excluded)


MODEL = {"backend": "openai", "model": "x", "api_base": "http://localhost:1/v1", "context_length": 4096}
MODEL |= {"price_in": 0, "price_out": 0}


def scored_config(verdicts: list[str], **more: object) -> Config:
    """A run in which `tiny` scores the pairs, with these kinds of verdicts."""
    asked = {"run": "r", "datasets": {"d": {"path": "votes.jsonl", "shards": 1}}, "learn": {"models": ["tiny"]}}
    methods = ["attributes", "attributes@loo", "attributes_population"]
    return parse_config(
        asked | {"models": {"tiny": MODEL | {"verdicts": verdicts}}, "methods": methods, "k": [3], **more}
    )


def test_rows_that_would_have_another_name_are_made_again_though_the_scores_are_the_same() -> None:
    plans = [Plan(scored_config([mode])) for mode in ("logprob", "logprob_both")]
    jobs = {"score_attributes": {"model": "tiny"}, "weigh": {"judge": "tiny"}}
    read = {
        name: {plan.reads(name, dataset="d", shard="s00", **models) for plan in plans} for name, models in jobs.items()
    }
    assert {name: len(texts) for name, texts in read.items()} == {"score_attributes": 1, "weigh": 2}


def tasted(
    folder: Path, users: list[UserData], scores: list[UserScores], **more: object
) -> tuple[bytes, bytes, list[JudgedUser]]:
    """The files of prior and tastes, and the rows, of a run by attributes."""
    folder.mkdir()
    job = Job(scored_config(["logprob"], **more), RuntimeSettings(folder, 1))
    people_file, scored, fit = folder / "users", folder / "scores", folder / "fit"
    write_records(people_file, users)
    write_records(scored, scores)
    fit_stage(job, users=[people_file], out=fit, dataset="d", method="attributes", model="tiny", scores=[scored])
    taste_stage(job, users=people_file, scores=scored, fitted=[fit], out=folder / "tastes")
    weigh_stage(job, users=people_file, out=folder / "rows", fitted=[fit], judge="tiny", scores=scored)
    return fit.read_bytes(), (folder / "tastes").read_bytes(), list(read_records(folder / "rows", JudgedUser))


def scores_of(user: UserData, by_id: dict[str, list[PairScores]]) -> UserScores:
    """The file's row of a user's scores by pair id."""
    entries = tuple(itertools.chain(*by_id.values()))
    return UserScores(dataset="d", user_id=user.user_id, model="tiny", pairs=entries)


def other_choice(user: UserData, scores: UserScores, what: str) -> tuple[UserData, UserScores]:
    """The user with the other choice in the pairs of a part, or in one pair, and the same answers of the model."""
    there = {pair.pair_id for pair in user.pairs if what in (pair.split, pair.pair_id)}
    pairs = [
        pair.model_copy(update={"chosen": pair.rejected, "rejected": pair.chosen}) if pair.pair_id in there else pair
        for pair in user.pairs
    ]
    entries = [
        one.model_copy(update={"swapped": not one.swapped}) if one.pair_id in there else one for one in scores.pairs
    ]
    return user.model_copy(update={"pairs": tuple(pairs)}), scores.model_copy(update={"pairs": tuple(entries)})


def test_labels_of_test_pairs_reach_no_prior_and_no_taste_and_only_turn_verdicts(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    tastes_by_turns = [{"warm": sign * 2.0, "blunt": -sign} for sign in (1.0, -1.0)]
    made = [scored_user(f"u{n:02}", tastes_by_turns[n % 2], rng, bias=1.0) for n in range(LEAST_USERS + 2)]
    people = [(user, scores_of(user, by_id)) for user, by_id in made]

    def run(name: str, split: str) -> tuple[bytes, bytes, list[JudgedUser]]:
        users, scores = zip(*(other_choice(*one, split) for one in people), strict=True)
        return tasted(tmp_path / name, list(users), list(scores))

    (prior, tastes, rows), (same_prior, same_tastes, turned) = run("a", "no part"), run("b", "test")
    assert (same_prior, same_tastes) == (prior, tastes)
    assert b"prefers" in tastes
    for row, other in zip(rows, turned, strict=True):
        assert row.status == "ok"
        if not row.method.startswith("attributes@loo"):  # there the votes of other conversations are learned from
            assert [one.log_odds for one in other.verdicts] == [-(one.log_odds or 0) for one in row.verdicts]
    assert any(row.method == "attributes_population.logprob" for row in rows)
    # What is learned from does change them.
    assert run("c", "validation")[:2] != (prior, tastes)


def test_the_left_out_vote_reaches_nothing_that_its_own_verdict_rests_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    user, by_id = scored_user("u", {"warm": 2.0}, rng, bias=1.0)
    scores = scores_of(user, by_id)
    for place in (0, 9, 15):  # of the context, validation and test pairs
        one = user.pairs[place].pair_id
        turned_user, turned_scores = other_choice(user, scores, one)
        odds = []
        for name, (who, what) in {"a": (user, scores), "b": (turned_user, turned_scores)}.items():
            rows = tasted(tmp_path / f"{place}-{name}", [who], [what])[2]
            (row,) = (row for row in rows if row.method == "attributes@loo.logprob")
            odds.append([one.log_odds or 0.0 for one in row.verdicts])
        assert odds[1][place] == -odds[0][place] != 0
        assert odds[1][place - 1] != odds[0][place - 1]


@pytest.mark.parametrize("spec", ["default@loo", "history@loo", "both@loo", "surface@loo", "random@loo"])
def test_methods_that_ask_a_model_or_learn_nothing_are_not_judged_so(spec: str) -> None:
    with pytest.raises(ConfigError, match=f"'{spec}': '@loo' is for methods that learn from votes"):
        parse_method(spec)


def test_train_users_have_personas_for_training_that_rest_on_other_train_users(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    tastes_by_turns = [{"warm": sign * 2.0, "blunt": -sign} for sign in (1.0, -1.0)]
    made = [scored_user(f"u{n:02}", tastes_by_turns[n % 2], rng) for n in range(3 * LEAST_USERS // 2 + 4)]
    split = ["test" if n < 4 else "train" for n in range(len(made))]
    people = [
        (user.model_copy(update={"user_split": part}), scores_of(user, by_id))
        for (user, by_id), part in zip(made, split, strict=True)
    ]
    trained = {"reward_models": {"rm": {"methods": ["bt_measured_persona"]}}}

    def run(
        name: str, users: list[tuple[UserData, UserScores]], **more: object
    ) -> tuple[list[Fitted], list[UserTaste]]:
        tasted(tmp_path / name, *map(list, zip(*users, strict=True)), **more)  # type: ignore[arg-type]
        files = tmp_path / name / "fit", tmp_path / name / "tastes"
        return list(read_records(files[0], Fitted)), list(read_records(files[1], UserTaste))

    (plain,), known = run("plain", people)
    fitted, found = run("trained", people, **trained)
    assert fitted[0] == plain
    left = [name for row in fitted[1:] for name in row.left_out or ()]
    assert sorted(left) == [user.user_id for user, _ in people if user.user_split == "train"]
    assert {row.n_users for row in fitted} == {30, 24}
    # What judges may be shown is as without the reward model, and no verdict changes.
    assert [row.model_copy(update={"training_persona": None}) for row in found] == known
    rows = [(tmp_path / name / "rows").read_bytes() for name in ("plain", "trained")]
    assert rows[0] == rows[1]
    mine = {row.user_id: row for row in found}
    assert (mine["u00"].status, mine["u00"].training_persona, mine["u00"].for_training) == ("ok", None, mine["u00"])
    sure = next(row for row in found if row.training_persona)
    assert (sure.status, sure.persona) == ("empty", None)
    assert "prefers" in (sure.training_persona or "")
    shown = sure.for_training
    assert (shown.status, shown.reason, shown.persona) == ("ok", None, sure.training_persona)
    nothing = sure.model_copy(update={"training_persona": ""}).for_training
    assert (nothing.status, nothing.persona) == ("ok", None)
    # Each is what the user would be told whom the train users of the other groups taught.
    config = scored_config(["logprob"], **trained)

    def by(user: UserData, scores: UserScores, row: Fitted) -> str:
        judged, artefact = user.model_copy(update={"user_split": "test"}), row.model_copy(update={"left_out": None})
        bank = scoring_of(config).selected()
        return user_taste(config, judged, scores, {"attributes": [artefact]}, bank, k=3, draw=0).persona or ""

    told = [
        (user, scores, mine[user.user_id].training_persona) for user, scores in people if user.user_split == "train"
    ]
    groups = {name: row for row in fitted[1:] for name in row.left_out or ()}
    assert [by(user, scores, groups[user.user_id]) for user, scores, _ in told] == [persona for *_, persona in told]
    assert [by(user, scores, plain) for user, scores, _ in told] != [persona for *_, persona in told]
    # The choices of a user's test pairs, which the user's own reward model learns, reach no prior of the user.
    other = [other_choice(*one, "test") if one[0].user_id == sure.user_id else one for one in people]
    changed, again = run("changed", other, **trained)
    same = [before == after for before, after in zip(fitted, changed, strict=True)]
    assert same == [row.left_out is not None and sure.user_id in row.left_out for row in fitted]
    assert {row.user_id: row for row in again}[sure.user_id] == sure
