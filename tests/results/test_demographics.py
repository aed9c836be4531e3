"""The table and figure of demographics: groups, pooling, numbers by hand, and what is missing."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from support.comparison_cases import Said, assert_readable, default, frame_of, learned, row_of, texts_of
from support.generated_verdicts import Cell, write_cells
from support.result_cases import made_twice, written_twice

from personalrm.core.errors import DataError
from personalrm.core.records import PreferencePair, UserData, write_records
from personalrm.results.figures.demographics_figure import demographics_caption, demographics_figure
from personalrm.results.scores import collect_calls, collect_verdicts
from personalrm.results.stats.statistics import share_interval
from personalrm.results.tables.demographics_table import (
    GROUP_COLUMNS,
    Facts,
    UserFacts,
    demographics_blocks,
    demographics_notes,
    demographics_table,
    read_demographics_table,
    read_facts,
)
from personalrm.results.tables.main_table import main_table


def facts_of(said: Said, answers: dict[str, str], dataset: str = "d") -> dict[tuple[str, str], UserFacts]:
    """Users of `said` with an age where they gave one; their first pair is guided, at turn 0, the others at turn 1."""
    return {
        (dataset, user): UserFacts(
            {"age": answers[user]} if user in answers else {},
            {f"{user}-{n}": "guided" if n == 0 else "free" for n in range(9)},
            {f"{user}-{n}": min(n, 1) for n in range(9)},
        )
        for user in said
    }


YOUNG, OLD = [f"y{i}" for i in range(10)], [f"z{i}" for i in range(9)]
SAID: Said = dict.fromkeys(YOUNG, "100") | dict.fromkeys(OLD, "111") | {"w": "000"}
FACTS: Facts = facts_of(SAID, dict.fromkeys(YOUNG, "young") | dict.fromkeys(OLD, "old"))


def test_groups_under_ten_users_are_pooled_and_counted(tmp_path: Path) -> None:
    table = demographics_table(frame_of(tmp_path, [(default(), SAID)]), FACTS)
    ages = table[table["question"] == "age"]
    assert ages["group"].tolist() == ["young", "other groups"]
    assert ages["cell_users"].tolist() == [10, 10]
    assert ages["cell_judgments"].tolist() == [30, 30]
    # All young users have one of three; of the others 9 have all and one has none.
    assert ages["accuracy"].tolist() == pytest.approx([100 / 3, 90], abs=1e-4)
    # Users who are all equal have a width, too: ten equal ones may be chance.
    for row, right in enumerate(([1] * 10, [3] * 9 + [0])):
        found = share_interval(right, [3] * 10)
        bounds = [ages["accuracy_low"].iloc[row], ages["accuracy_high"].iloc[row]]
        assert bounds == pytest.approx([100 * found.low, 100 * found.high], abs=1e-4)
        assert bounds[1] - bounds[0] > 20


def test_pairs_are_grouped_by_type_of_conversation_and_turn(tmp_path: Path) -> None:
    table = demographics_table(frame_of(tmp_path, [(default(), SAID)]), FACTS)
    kinds = table[table["question"] == "conversation type"].set_index("group")
    assert kinds["cell_judgments"].to_dict() == {"free": 40, "guided": 20}
    assert kinds["cell_users"].to_dict() == {"free": 20, "guided": 20}
    assert kinds["accuracy"].to_dict() == {"free": 45, "guided": 95}
    turns = table[table["question"] == "turn"]
    assert turns["group"].tolist() == ["0", "1"]
    assert turns["accuracy"].tolist() == [95, 45]


def test_turns_stand_by_number_and_what_was_not_stated_last(tmp_path: Path) -> None:
    users = [f"u{i:02d}" for i in range(10)]
    facts = {
        ("d", user): UserFacts({"age": "old"}, {}, {f"{user}-{n}": turn for n, turn in enumerate((10, 9, None))})
        for user in users
    }
    table = demographics_table(frame_of(tmp_path, [(default(), dict.fromkeys(users, "101"))]), facts)
    assert table[table["question"] == "turn"]["group"].tolist() == ["9", "10", "not stated"]
    assert "conversation type" not in set(table["question"])


def test_a_group_of_all_users_has_the_accuracy_of_the_main_table(tmp_path: Path) -> None:
    paths = write_cells(tmp_path, [default(), Cell("both", 0.6, "m", "m", 2, dataset="d", draws=2)], [3] * 12)
    frame = collect_verdicts(paths)
    facts = {("d", f"u{i}"): UserFacts({"gender": "x"}, {}, {}) for i in range(12)}
    main = main_table(frame, collect_calls(paths), seed=0, n_resamples=9)
    table = demographics_table(frame, facts)
    assert table["accuracy"].tolist() == main["accuracy"].tolist()
    assert table["method"].tolist() == ["default", "both"]


def test_methods_are_chosen_and_shown_at_their_largest_k_by_own_profiles(tmp_path: Path) -> None:
    cells = [(default(), SAID), (learned(k=2), SAID), (learned(), SAID), (learned(profile="n"), SAID)]
    cells += [(learned("demos"), SAID), (Cell("longer", 0.5, None, variant="baseline", dataset="d"), SAID)]
    frame = frame_of(tmp_path, cells)
    ways = demographics_table(frame, FACTS)[["method", "k", "profile_model"]].drop_duplicates()
    assert ways.to_numpy().tolist() == [["default", "-", "-"], ["both", "all", "m"]]
    chosen = demographics_table(frame, FACTS, methods=["demos", "longer"])
    assert set(chosen["method"]) == {"demos"}


def test_no_survey_and_no_verdicts_say_so(tmp_path: Path) -> None:
    facts = facts_of(SAID, {}) | facts_of({"u": "1"}, {}, "e")
    table = demographics_table(frame_of(tmp_path, [(default(), SAID)]), facts)
    assert row_of(table, dataset="d", question="survey")["cell"] == "not applicable"
    assert row_of(table, dataset="e")["cell"] == "not run"
    assert {"conversation type", "turn"} <= set(table["question"])
    notes = demographics_notes(table)
    assert any("has no survey" in note for note in notes)
    figure = demographics_figure(table)
    assert "e: no groups: not run" in texts_of(figure)
    assert_readable(figure)


def test_silent_missing_and_spoilt_groups(tmp_path: Path) -> None:
    both: Said = dict.fromkeys(YOUNG, "eee") | dict.fromkeys(OLD, "11e") | {"w": "000"}
    demos: Said = dict.fromkeys(YOUNG, "") | dict.fromkeys(OLD, "111")
    frame = frame_of(tmp_path, [(default(), SAID), (learned(), both), (learned("demos"), demos)])
    table = demographics_table(frame, FACTS, methods=["default", "both", "demos"])
    silent = row_of(table, question="age", group="young", method="both")
    assert (silent["cell"], silent["cell_outage"]) == ("no answers", True)
    missing = row_of(table, question="age", group="young", method="demos")
    assert (missing["cell"], missing["cell_users"], missing["cell_outage"]) == ("no verdicts", 0, False)
    assert pd.isna([row["accuracy"] for row in (silent, missing)]).all()
    spoilt = row_of(table, question="age", group="other groups", method="both")
    assert (spoilt["accuracy"], spoilt["cell_outage"]) == (pytest.approx(100 * 18 / 21, abs=1e-4), True)
    assert any("provider errors" in note for note in demographics_notes(table))
    assert "SynthesizeMe: persona + demonstrations: no answers" in texts_of(demographics_figure(table))


def test_one_user_has_no_interval_and_can_be_drawn(tmp_path: Path) -> None:
    said: Said = {"u": "10"}
    table = demographics_table(frame_of(tmp_path, [(default(), said)]), facts_of(said, {"u": "old"}))
    assert table["group"].tolist() == ["other groups"] * 3
    assert table["accuracy_low"].isna().all()
    assert_readable(demographics_figure(table))


def test_a_judged_user_that_no_file_knows_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"user 'w' and 0 more have verdicts but are not in the files"):
        demographics_table(
            frame_of(tmp_path, [(default(), SAID)]), {key: held for key, held in FACTS.items() if key[1] != "w"}
        )


def test_the_figure_has_a_panel_a_judge_and_its_caption_n(tmp_path: Path) -> None:
    cells = [(default(judge, "default.logprob"), SAID) for judge in ("m", "n")]
    cells += [(learned("both.logprob", judge="n", profile="n"), SAID)]
    table = demographics_table(frame_of(tmp_path, cells), FACTS)
    figure = demographics_figure(table, title_note="run $x$")
    assert len(figure.axes) == 2
    texts = texts_of(figure)
    assert texts.count("young (10)") == 1
    assert "d · n" in texts
    assert any("log-prob, each order" in text for text in texts)
    lines = [tuple(line.get_xdata()) for line in figure.axes[0].get_lines()]
    assert (row_of(table, judge_model="m", group="guided")["accuracy"],) in lines
    assert_readable(figure)
    assert "d: 20 users at most in a group" in demographics_caption(table)


def test_no_verdicts_and_no_users_give_an_empty_table_and_figure() -> None:
    table = demographics_table(collect_verdicts([]), {})
    assert list(table.columns) == list(GROUP_COLUMNS)
    assert demographics_notes(table)
    assert demographics_blocks(table)[0].texts.empty
    assert demographics_caption(table)
    demographics_figure(table)


def test_table_and_figure_have_equal_bytes_each_time(tmp_path: Path) -> None:
    users = [
        UserData(
            dataset="d",
            user_id=user,
            survey={"age": "old", "self_description": "secret"},
            pairs=tuple(
                PreferencePair(user_id=user, pair_id=f"{user}-{n}", context=(), chosen="a", rejected="b", turn=n)
                for n in range(3)
            ),
        )
        for user in SAID
    ]
    write_records(tmp_path / "users.jsonl", users)
    assert read_facts([tmp_path / "users.jsonl"])["d", "w"].survey == {"age": "old"}
    frame = frame_of(tmp_path, [(default(), SAID), (learned(), SAID)])
    csv = made_twice(tmp_path, "demographics", frame, {"users": [tmp_path / "users.jsonl"]}, {})
    assert "secret" not in csv.read_text()
    facts = read_facts([tmp_path / "users.jsonl"])
    pd.testing.assert_frame_equal(read_demographics_table(csv), demographics_table(frame, facts))
    written_twice("figure_demographics", tmp_path, table_demographics=csv)
