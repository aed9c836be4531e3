"""The tables of outcomes and of position bias against numbers worked out by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from support.comparison_cases import default, frame_of, learned, row_of
from support.generated_verdicts import Cell, always_first, judged, judged_users, oracle, quickstart_cells, write_cells
from support.models import ScriptedModel, label, pair, text
from support.result_cases import made_twice

from personalrm.core.records import Label, Outcome, UserData, Verdict, write_records
from personalrm.judge.judge import JudgeSettings
from personalrm.methods.base import Known
from personalrm.methods.registry import parse_method
from personalrm.results.scores import collect_calls, collect_verdicts, read_frame, write_frame
from personalrm.results.stats.statistics import share_interval
from personalrm.results.tables.main_table import main_table
from personalrm.results.tables.outcomes_table import outcomes_blocks, outcomes_notes, outcomes_table
from personalrm.results.tables.position_bias_table import (
    POSITION_COLUMNS,
    position_bias_blocks,
    position_bias_notes,
    position_bias_table,
)
from personalrm.studies.synthesizeme.stages.judging import judge_user

SAID: dict[str, tuple[bool, Outcome, Label | None]] = {
    # Letters: right or wrong, and where the judge pointed, in one order of showing.
    "A": (False, "correct", "first"),
    "B": (False, "wrong", "second"),
    "C": (True, "correct", "second"),
    "D": (True, "wrong", "first"),
    "t": (False, "tie", None),
    "x": (True, "provider_error", None),
}


def frame(folder: Path, pairs: dict[str, Sequence[str]]) -> pd.DataFrame:
    """Users to pairs, each pair two letters of `SAID`."""
    rows = []
    for user, texts in pairs.items():
        verdicts = [
            Verdict(pair_id=f"{user}{number}", swapped=SAID[letter][0], outcome=SAID[letter][1], said=SAID[letter][2])
            for number, text in enumerate(texts)
            for letter in text
        ]
        rows.append(judged(default(), user, verdicts))
    write_records(folder / "rows.jsonl", rows)
    return collect_verdicts([folder / "rows.jsonl"])


def test_counts_and_shares_of_each_outcome(tmp_path: Path) -> None:
    table = outcomes_table(frame_of(tmp_path, [(default(), {"u": "110t", "v": "1", "w": ""})]))
    row = table.iloc[0]
    assert (row["n_users"], row["users_without_verdict"], row["n_judgments"]) == (2, 1, 5)
    assert (row["correct"], row["wrong"], row["tie"], row["provider_error"]) == (3, 1, 1, 0)
    assert (row["share_correct"], row["share_wrong"], row["share_tie"]) == (60, 20, 20)
    assert not row["outage"]
    assert outcomes_blocks(table)[0].texts["Correct"].tolist() == ["3 (60.0 %)"]


def test_the_share_of_answers_without_reasoning(tmp_path: Path) -> None:
    """From what a judge said to the table: two of three readable answers are the bare verdict, one is unparsed."""
    said = iter(["Preference: First", "It is short.\nPreference: First", "First", "hm"])
    tests = (pair("a", split="test"), pair("b", split="test"))
    model, user = ScriptedModel(lambda _: text(next(said))), UserData(dataset="generated", user_id="u", pairs=tests)
    rows = [asyncio.run(judge_user(model, user, parse_method("default"), JudgeSettings(), Known.of(user)))]
    labels = JudgeSettings("compact", "logprob")
    rows += [
        asyncio.run(
            judge_user(ScriptedModel(lambda _: label(0.9)), user, parse_method("default"), labels, Known.of(user))
        )
    ]
    write_records(tmp_path / "rows.jsonl", rows)
    assert '"reasoned":false' in (tmp_path / "rows.jsonl").read_text("utf-8").splitlines()[0]
    # Rows of log-probabilities, and of earlier versions, have no such field, and can be read.
    assert "reasoned" not in (tmp_path / "rows.jsonl").read_text("utf-8").splitlines()[1]
    write_frame(collect_verdicts([tmp_path / "rows.jsonl"]), tmp_path / "verdicts.parquet")
    table = outcomes_table(read_frame(tmp_path / "verdicts.parquet")).set_index("method")
    assert table["share_without_reasoning"]["default"] == pytest.approx(100 * 2 / 3, abs=1e-3)
    assert pd.isna(table["share_without_reasoning"]["default.logprob"])
    shown = outcomes_blocks(table.reset_index())[0].texts["Without reasoning %"].tolist()
    assert shown == ["66.7", "–"]
    assert any(note.startswith("Without reasoning:") for note in outcomes_notes(table.reset_index()))


def test_more_than_one_percent_of_errors_is_marked(tmp_path: Path) -> None:
    cells = [(default(), {"u": "e" + "1" * 99}), (learned(), {"u": "ee" + "1" * 98}), (learned("demos"), {"u": "e"})]
    table = outcomes_table(frame_of(tmp_path, cells))
    assert dict(zip(table["method"], table["outage"], strict=True)) == {"default": False, "both": True, "demos": True}
    shown = outcomes_blocks(table)[0].texts.set_index("Method")["Provider error"]
    assert shown["Default"] == "1 (1.0 %)"
    assert shown["SynthesizeMe: persona + demonstrations"] == "2 (2.0 %) (!)"
    assert any("provider errors" in note for note in outcomes_notes(table))


def test_a_row_without_verdicts_has_no_shares(tmp_path: Path) -> None:
    row = outcomes_table(frame_of(tmp_path, [(default(), {"u": ""})])).iloc[0]
    assert (row["n_judgments"], row["users_without_verdict"], row["outage"]) == (0, 1, False)
    assert pd.isna(row["share_correct"])
    assert outcomes_table(collect_verdicts([])).empty


def test_rows_and_numbers_are_those_of_the_main_table(tmp_path: Path) -> None:
    paths = write_cells(tmp_path, [*quickstart_cells(), Cell("both", 0.6, "m", "m", 2, draws=2)], [3, 2, 4])
    held = collect_verdicts(paths)
    assert (held["outcome"] == "unparsed").any()
    main = main_table(held, collect_calls(paths), seed=0, n_resamples=9)
    outcomes, position = outcomes_table(held), position_bias_table(held)
    for name in ("method", "judge_model", "k", "n_judgments", "tie", "unparsed", "accuracy_readable"):
        assert outcomes[name].tolist() == main[name].tolist(), name
    for name in ("method", "judge_model", "k"):
        assert position[name].tolist() == main[name].tolist(), name
    assert position["share_first"].tolist() == main["share_first"].tolist()
    halves = (position["accuracy_chosen_first"] + position["accuracy_chosen_second"]) / 2
    assert halves.tolist() == pytest.approx(main["accuracy"].tolist(), abs=1e-3)


def test_position_and_consistency_by_hand(tmp_path: Path) -> None:
    # u: AC one response, AD first twice, BD one response, tC half; v: BC second twice, A in one order only.
    row = position_bias_table(frame(tmp_path, {"u": ["AC", "AD", "BD", "tC"], "v": ["BC", "A"]})).iloc[0]
    assert (row["status"], row["n_users"], row["n_judgments"], row["n_stated"]) == ("ok", 2, 11, 10)
    assert row["n_both_orders"] == 5
    assert (row["same_response"], row["same_position"], row["not_both_stated"]) == (40, 40, 20)
    # First: A A D D of u, A of v.
    assert row["share_first"] == 50
    found = share_interval([4, 1], [7, 3], units=6)
    assert [row["ci_low"], row["ci_high"]] == pytest.approx([100 * found.low, 100 * found.high], abs=1e-4)
    # Chosen first: A A B t of u, B A of v; chosen second: C D D C, C.
    assert row["accuracy_chosen_first"] == 50
    assert row["accuracy_chosen_second"] == 60


def test_always_first_is_all_position_and_an_oracle_none(tmp_path: Path) -> None:
    write_records(tmp_path / "a", judged_users(default(), [3, 2], rule=always_first))
    write_records(tmp_path / "b", judged_users(learned(), [3, 2], rule=oracle))
    table = position_bias_table(collect_verdicts([tmp_path / "a", tmp_path / "b"]))
    biased, fair = row_of(table, method="default"), row_of(table, method="both")
    names = ("share_first", "same_position", "same_response")
    assert [biased[name] for name in names] == [100, 100, 0]
    # Five pairs that all agree: Wilson's lower bound is 56.6.
    assert (biased["ci_low"] < 56.6, biased["ci_high"]) == (True, 100)
    assert (biased["accuracy_chosen_first"], biased["accuracy_chosen_second"]) == (100, 0)
    assert [fair[name] for name in names] == [50, 0, 100]
    assert fair["ci_high"] - fair["ci_low"] > 40


def test_what_has_no_position_says_why(tmp_path: Path) -> None:
    cells = [(default(method="default.logprob_both"), {"u": "10"}), (learned("demos"), {"u": "ee"})]
    cells += [(learned("persona"), {"u": ""})]
    table = position_bias_table(frame_of(tmp_path, cells))
    statuses = dict(zip(table["method"], table["status"], strict=True))
    assert statuses == {"default.logprob_both": "not applicable", "demos": "no answers", "persona": "no verdicts"}
    assert table["share_first"].isna().all()
    shown = position_bias_blocks(table)[0].texts["Said first % [95 % CI]"].tolist()
    assert shown == ["not applicable", "no answers (!)", "no verdicts"]
    assert any("names no position" in note for note in position_bias_notes(table))
    ties = position_bias_table(frame(tmp_path, {"u": ["t"]}))
    assert ties["status"].tolist() == ["no position named"]


def test_one_user_has_no_interval_and_errors_are_marked(tmp_path: Path) -> None:
    table = position_bias_table(frame(tmp_path, {"u": ["AC", "Ax"]}))
    assert pd.isna(table["ci_low"].iloc[0])
    # The second pair has an answer in one order only, and so is not among the pairs with both.
    assert (table["n_both_orders"].iloc[0], table["same_response"].iloc[0]) == (1, 100)
    assert (table["not_both_stated"].iloc[0], table["accuracy_chosen_second"].iloc[0]) == (0, 100)
    assert position_bias_blocks(table)[0].texts["Said first % [95 % CI]"].tolist() == ["66.67 [–] (!)"]
    empty = position_bias_table(collect_verdicts([]))
    assert list(empty.columns) == list(POSITION_COLUMNS)
    assert position_bias_notes(empty)


@pytest.mark.parametrize("name", ["outcomes", "position_bias"])
def test_the_tables_have_equal_bytes_each_time(tmp_path: Path, name: str) -> None:
    held = collect_verdicts(write_cells(tmp_path, quickstart_cells(), [2, 3, 1]))
    csv = made_twice(tmp_path, name, held, {}, {})
    assert len(pd.read_csv(csv)) == len(quickstart_cells())
