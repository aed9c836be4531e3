"""Win rates against Base: counted by hand, and end to end by a scripted model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest
from support.scripted_server import Answer, ScriptedServer
from support.synthetic_world import world

from personalrm.core.errors import ConfigError, DataError
from personalrm.core.generations import Generation
from personalrm.core.records import Outcome, Verdict, read_all, write_records
from personalrm.core.synthetic import AnswerComparison, QuestionGroup, SyntheticPart
from personalrm.studies.config_load import parse_config
from personalrm.studies.fspo.plan import Plan
from personalrm.studies.fspo.results.win_rates_table import FATES, win_table
from personalrm.studies.fspo.study import STUDY
from personalrm.studies.study import Needs
from studies.fspo.cases import raw, run, table

COMPARE = {"model": "m", "shots": [2], "judges": ["m"]}
DOMAIN = {"questions": {"general": 10, "held_out": 0.3}}


def compared(user: str, part: SyntheticPart, *outcomes: Outcome, reason: str | None = None) -> AnswerComparison:
    verdicts = [Verdict(pair_id="x", swapped=bool(n), outcome=outcome) for n, outcome in enumerate(outcomes)]
    values = {"dataset": "d", "test": "s", "base": "base", "rubric": "description", "judge": "j", "mode": "text"}
    values |= {"pair_id": f"{user}/{outcomes}{reason}", "user_id": user, "part": part, "question_id": "q"}
    return AnswerComparison.model_validate({**values, "verdicts": verdicts, "reason": reason, "words": (6, 4)})


def rows() -> list[AnswerComparison]:
    return [
        compared("a", "train", "correct", "correct"),
        compared("a", "train", "wrong", "wrong"),
        compared("a", "train", "correct", "wrong"),
        compared("b", "train", "correct", "correct"),
        compared("b", "train", "tie", "tie"),
        compared("b", "train", reason="equal"),
        compared("b", "train", reason="no_answer"),
        compared("c", "held_out", "correct", "unparsed"),
        compared("c", "held_out", "wrong", "provider_error"),
        compared("c", "held_out", "wrong", "correct"),
    ]


def test_win_rates_are_those_computed_by_hand() -> None:
    found = win_table(rows(), seed=0, n_resamples=99).set_index("part")
    assert list(found.index) == ["train", "held_out", "all"]
    assert found.loc["train", list(FATES)].tolist() == [2, 1, 1, 2, 1, 0, 0]
    # Two of three that both orders decide; with three ties as half: (2 + 1.5) / 6.
    assert found.loc["train", "win_rate"] == pytest.approx(66.67, abs=0.01)
    assert found.loc["train", "with_ties"] == pytest.approx(58.33, abs=0.01)
    assert found.loc["held_out", list(FATES)].tolist() == [0, 0, 1, 0, 0, 1, 1]
    assert found["win_rate"].isna().tolist() == [False, True, False]
    assert found.loc["held_out", "with_ties"] == 50
    assert found.loc["all", "n_users"] == 3
    assert found.loc["train", ["words", "words_base"]].tolist() == [6, 4]


def test_other_names_of_users_change_neither_win_rates_nor_their_intervals() -> None:
    def made(names: list[str]) -> pd.DataFrame:
        won: tuple[Outcome, ...] = ("correct", "correct")
        lost: tuple[Outcome, ...] = ("wrong", "wrong")
        each = [(name, won if n <= place else lost) for place, name in enumerate(names) for n in range(4 + place % 3)]
        rows = [compared(name, "train", *outcomes) for name, outcomes in each]
        return win_table(rows, seed=0, n_resamples=999)

    names = [f"u{number}" for number in range(6)]
    pd.testing.assert_frame_equal(made(names), made(names[3:] + names[2::-1]))


def test_exchanged_systems_have_the_other_win_rate() -> None:
    turned: dict[Outcome, Outcome] = {"correct": "wrong", "wrong": "correct"}
    others = [
        row.model_copy(
            update={
                "verdicts": tuple(
                    v.model_copy(update={"outcome": turned.get(v.outcome, v.outcome)}) for v in row.verdicts
                )
            }
        )
        for row in rows()
    ]
    one, other = (win_table(each, seed=0, n_resamples=99) for each in (rows(), others))
    assert (one["win_rate"] + other["win_rate"]).dropna().tolist() == pytest.approx([100, 100], abs=0.02)
    assert (one["with_ties"] + other["with_ties"]).tolist() == pytest.approx([100, 100, 100], abs=0.02)


def answers(plan: Plan, system: str) -> list[Generation]:
    return list(read_all([Path(path) for path in plan.paths("write_answers", method=system)], Generation))


def test_systems_that_know_the_user_win_and_shots_hold_no_held_out_question(tmp_path: Path) -> None:
    with ScriptedServer(world()) as server:
        plan = run(tmp_path, server.url, compare=COMPARE, domain=DOMAIN)
        (given,) = [tmp_path / "given.jsonl"]
        mine = [row.model_copy(update={"system": "x", "response": "It offers all."}) for row in answers(plan, "base")]
        write_records(given, mine[: len(mine) // 2])
        plan = run(tmp_path, server.url, compare=COMPARE | {"given": {"own": str(given)}}, domain=DOMAIN)
        sent = [request["messages"][0]["content"] for request in server.requests]
    rows = table(plan, "win_rates").set_index("system")
    assert rows.loc["oracle", ["wins", "losses", "win_rate"]].tolist() == [9, 0, 100]
    assert rows.loc["prompted2", ["wins", "losses"]].tolist() == [9, 0]
    # Neither the given answer nor Base offers what anybody wants; half of the answers are missing.
    assert rows.loc["own", ["ties", "missing"]].tolist() == [4, 5]
    assert rows["win_rate"].isna().to_dict() == {"oracle": False, "prompted2": False, "own": True}
    text = (Path(plan.run) / "tables" / "win_rates.md").read_text(encoding="utf-8")
    assert "undefined" in text
    assert "Few-shot Prompted" in text
    assert re.search(r"FSPO vs SFT +\| people +\| v2 ", text)
    groups = read_all([Path(path) for path in plan.paths("ask_questions")], QuestionGroup)
    held = [question.text for group in groups for question in group.questions if question.held_out]
    assert len(held) == 3
    shown = [text for text in sent if "Earlier question 2: " in text]
    assert shown
    assert not any(question in text for question in held for text in shown)
    assert {row.persona for row in answers(plan, "base")} == {""}
    assert all(row.persona for row in answers(plan, "oracle"))


def test_users_are_asked_general_questions_and_those_of_their_own_traits(tmp_path: Path) -> None:
    domain = {"questions": {"general": 4, "per_trait": 2, "held_out": 0.5}}
    with ScriptedServer(world()) as server:
        plan = run(tmp_path, server.url, compare=COMPARE | {"shots": []}, domain=domain)
    groups = read_all([Path(path) for path in plan.paths("ask_questions")], QuestionGroup)
    held = {group.trait: [q.question_id for q in group.questions if q.held_out] for group in groups}
    assert {trait: len(mine) for trait, mine in held.items()} == {
        **{"": 2, "likes.red": 1, "likes.blue": 1, "mood.calm": 1},
    }
    for system in ("base", "oracle"):
        assert {row.pair_id for row in answers(plan, system)} == {
            f"{user}/{question}"
            for user, trait in (("red", "likes.red"), ("blue", "likes.blue"), ("calm", "mood.calm"))
            for question in (*held[""], *held[trait])
        }


def test_a_judge_that_names_the_first_leaves_nothing(tmp_path: Path) -> None:
    def first(body: dict[str, Any]) -> Answer | str:
        return "Preference: First" if "by the criterion?" in body["messages"][-1]["content"] else world()(body)

    with ScriptedServer(first) as server:
        plan = run(tmp_path, server.url, compare=COMPARE, domain=DOMAIN)
    rows = table(plan, "win_rates").set_index("system")
    assert rows.loc["oracle", ["wins", "losses", "order_dependent"]].tolist() == [0, 0, 9]
    assert rows["win_rate"].isna().all()
    assert rows.loc["oracle", "with_ties"] == 50


def test_a_share_that_holds_no_question_out_is_named(tmp_path: Path) -> None:
    few = {"questions": {"general": 5, "held_out": 0.05}}
    with ScriptedServer(world()) as server, pytest.raises(DataError, match=r"held_out: 0\.05 of so few .* is none"):
        run(tmp_path, server.url, compare=COMPARE, domain=few)


def test_users_and_domains_that_a_given_file_leaves_out_have_missing_answers(tmp_path: Path) -> None:
    domain = raw(tmp_path, "http://x/v1")["datasets"]["d"] | DOMAIN
    # Three users in eight shards: no two of them share one.
    domains = {"d": domain | {"shards": 8}, "e": domain | {"about": "shapes"}}
    given = tmp_path / "given.jsonl"
    with ScriptedServer(world()) as server:
        plan = run(tmp_path, server.url, compare=COMPARE, datasets=domains)
        mine = [row for row in answers(plan, "base") if row.dataset == "d" and row.pair_id.startswith("calm/")]
        write_records(given, [row.model_copy(update={"system": "x", "response": "It offers all."}) for row in mine])
        plan = run(tmp_path, server.url, compare=COMPARE | {"given": {"own": str(given)}}, datasets=domains)
    rows = table(plan, "win_rates").query("system == 'own'").set_index("dataset")
    assert rows["missing"].to_dict() == {"d": 6, "e": 9}
    assert rows["ties"].to_dict() == {"d": 3, "e": 0}


def test_given_answers_that_do_not_belong_are_named(tmp_path: Path) -> None:
    given = tmp_path / "given.jsonl"
    row = Generation(dataset="d", pair_id="nobody/0", system="x", prompt="?", response="a")
    compare = COMPARE | {"given": {"own": str(given)}}
    with ScriptedServer(world()) as server:
        write_records(given, [row])
        with pytest.raises(DataError, match=r"compare\.given\.own: .* has no answer to a question of domain d"):
            run(tmp_path, server.url, compare=compare, domain=DOMAIN)
        write_records(given, [row.model_copy(update={"dataset": "other"})])
        with pytest.raises(DataError, match=r"compare\.given\.own: .* has no answer to a question of domain d"):
            run(tmp_path, server.url, compare=compare, domain=DOMAIN)
        write_records(given, [row, row])
        with pytest.raises(DataError, match="two answers of 'own' for 'nobody/0'"):
            run(tmp_path, server.url, compare=compare, domain=DOMAIN)
    given.unlink()
    config = parse_config(raw(tmp_path, "http://x/v1", compare=compare, domain=DOMAIN))
    assert STUDY.missing(config, Needs())[0].startswith("compare.given.own: no file ")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "x"}, "compare.model: no model 'x'"),
        ({"judges": ["m", "m"]}, "compare.judges: 'm' is given twice"),
        ({"shots": [2, 2]}, "compare.shots: 2 is given twice"),
        ({"shots": [], "oracle": False}, "compare: there is no system to compare with base"),
        ({"given": {"oracle": "x"}}, "compare.given.oracle: is the name of a system"),
    ],
)
def test_wrong_comparisons_are_named_by_their_key(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(raw(tmp_path, "http://x/v1", compare=COMPARE | change, domain=DOMAIN))
    assert said in str(caught.value)
    with pytest.raises(ConfigError, match=r"datasets\.d\.questions\.held_out: compare needs"):
        parse_config(raw(tmp_path, "http://x/v1", compare=COMPARE, domain={"questions": {"general": 1}}))
    assert set(get_args(SyntheticPart)) >= {"held_out", "interpolated"}
