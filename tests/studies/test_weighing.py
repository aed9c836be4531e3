"""Leave-one-conversation-out: each pair is judged by what was learned from the user's other conversations alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.planted import planted_users

from personalrm.core.errors import ConfigError
from personalrm.core.records import JudgedUser, PreferencePair, UserData, read_records, write_records
from personalrm.llm.open import RuntimeSettings
from personalrm.methods.registry import parse_method
from personalrm.studies.synthesizeme.config_load import parse_config
from personalrm.studies.synthesizeme.stages.fit import fit_stage
from personalrm.studies.synthesizeme.stages.runner import Job
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


@pytest.mark.parametrize("spec", ["default@loo", "history@loo", "both@loo", "surface@loo", "random@loo"])
def test_methods_that_ask_a_model_or_learn_nothing_are_not_judged_so(spec: str) -> None:
    with pytest.raises(ConfigError, match=f"'{spec}': '@loo' is for methods that learn from votes"):
        parse_method(spec)
