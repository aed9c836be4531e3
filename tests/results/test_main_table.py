"""The main table: columns, counts, accuracy on known verdicts, and what never may look like a result."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.generated_verdicts import (
    Cell,
    always_first,
    judged,
    judged_users,
    oracle,
    outage,
    paper_cells,
    quickstart_cells,
    write_cells,
)

from personalrm.core.records import CallRef, JudgedUser, Label, Outcome, Verdict, write_records
from personalrm.results.scores import collect_calls, collect_verdicts
from personalrm.results.tables.main_table import (
    COLUMNS,
    gaps,
    is_outage,
    main_blocks,
    main_notes,
    main_table,
    read_main_table,
)

NAMED = (
    "dataset variant profile_model judge_model method k n_users n_pairs n_judgments accuracy ci_low ci_high "
    "ci_low_independent ci_high_independent accuracy_user_mean accuracy_readable tie unparsed refused context_overflow "
    "provider_error lossy_profiles share_first flip_rate n_draws draw_sd calls tokens_in tokens_out cost_usd_list"
)

MINE = Cell("both", 0.5, "judge", "profile", 0)


def tabled(rows: Iterable[JudgedUser], **settings: object) -> pd.DataFrame:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write_records(path, rows)
        options = {"seed": 1, "n_resamples": 200} | settings
        return main_table(collect_verdicts([path]), collect_calls([path]), **options)  # type: ignore[arg-type]


def verdicts(*outcomes: Outcome, pairs: str = "p") -> list[Verdict]:
    return [Verdict(pair_id=f"{pairs}{n // 2}", swapped=bool(n % 2), outcome=o) for n, o in enumerate(outcomes)]


def test_training_seeds_do_not_make_more_judgments_of_a_pair() -> None:
    """Half of 284 pairs right: the paper's half-width is that of 284 judgments, however many seeds there are."""

    def half_width(method: str, seeds: int) -> float:
        cell = Cell(method, 0.5, "rm", variant="baseline")
        said = [
            Verdict(pair_id=f"p{n}", swapped=None, outcome="correct" if n % 2 else "wrong", log_odds=float(n % 2) - 0.5)
            for n in range(284)
        ]
        row = tabled([judged(cell, "u", said, draw) for draw in range(seeds)]).iloc[0]
        assert (row["n_judgments"], row["n_pairs"], row["accuracy"]) == (284 * seeds, 284, 50)
        return float(row["ci_high_independent"] - row["ci_low_independent"]) / 2

    assert half_width("lore", 1) == half_width("lore", 3) == pytest.approx(5.8, abs=0.2)
    assert half_width("mine", 3) < half_width("mine", 1) / 1.6


def test_columns_are_the_ones_that_the_issue_names() -> None:
    table = tabled(judged_users(MINE, [2, 3]))
    assert " ".join(table.columns) == f"{NAMED} status" == " ".join(COLUMNS)


def test_counts_and_accuracies_by_hand() -> None:
    outcomes: list[Outcome] = ["wrong", "tie", "unparsed", "refused", "context_overflow", "correct"]
    table = tabled(
        [
            judged(MINE, "u", verdicts("correct", "correct", pairs="a")),
            judged(MINE, "v", verdicts(*outcomes, pairs="b")),
        ]
    )
    row = table.iloc[0]
    assert (row["n_users"], row["n_pairs"], row["n_judgments"], row["n_draws"]) == (2, 4, 8, 1)
    assert row["accuracy"] == 37.5
    assert row["accuracy_user_mean"] == round(100 * (1 + 1 / 6) / 2, 4)
    counts = [row[name] for name in ("tie", "unparsed", "refused", "context_overflow", "provider_error")]
    assert counts == [1, 1, 1, 1, 0]
    assert pd.isna(row["draw_sd"])
    assert pd.isna(row["share_first"])
    assert 0 <= row["ci_low"] < 100 / 6
    assert row["ci_high"] > 66


def test_independent_columns_are_the_published_interval() -> None:
    right = verdicts(*["correct"] * 322, *["wrong"] * 246)  # type: ignore[arg-type]
    row = tabled([judged(MINE, "u", right)]).iloc[0]
    assert round(row["accuracy"], 2) == 56.69
    assert round((row["ci_high_independent"] - row["ci_low_independent"]) / 2, 2) == 4.05
    assert pd.isna(row["ci_low"])
    assert pd.isna(row["ci_high"])


ORDERS: tuple[tuple[bool, Label], ...] = ((False, "first"), (True, "second"))
sizes = st.lists(st.integers(1, 9), min_size=1, max_size=8)


@settings(max_examples=25, deadline=None)
@given(sizes, st.sampled_from(["default", "both.logprob"]))
def test_always_first_scores_exactly_half_on_any_data(users: list[int], method: str) -> None:
    row = tabled(judged_users(Cell(method, 0.5), users, rule=always_first)).iloc[0]
    assert (row["accuracy"], row["accuracy_user_mean"], row["share_first"]) == (50.0, 50.0, 100.0)
    assert row["flip_rate"] == 100.0
    if len(users) > 1:
        # No user differs from another: what is left open is what so many pairs leave (Wilson's interval).
        score = 1.959964 / np.sqrt(sum(users) + 1.959964**2)
        assert row["ci_low"] <= 50 * (1 - score) + 1e-3
        assert row["ci_low"] == pytest.approx(100 - row["ci_high"])


@settings(max_examples=25, deadline=None)
@given(sizes, st.sampled_from(["oracle", "oracle.logprob_both"]))
def test_an_oracle_scores_exactly_100_on_any_data(users: list[int], method: str) -> None:
    row = tabled(judged_users(Cell(method, 0.5), users, rule=oracle)).iloc[0]
    values = ("accuracy", "accuracy_user_mean", "ci_low_independent", "ci_high_independent")
    assert all(row[value] == 100.0 for value in values)
    assert method.endswith("both") or row["flip_rate"] == 0.0
    assert row["n_judgments"] == sum(users) * (1 if method.endswith("both") else 2)
    assert row["n_pairs"] == sum(users)


@settings(max_examples=15, deadline=None)
@given(sizes, st.integers(0, 99))
def test_bounds_hold_the_estimate_and_outcomes_add_up(users: list[int], seed: int) -> None:
    row = tabled(judged_users(MINE, users, seed=seed)).iloc[0]
    right = round(row["accuracy"] * row["n_judgments"] / 100)
    assert right + row["tie"] + row["unparsed"] <= row["n_judgments"] == 2 * sum(users)
    if len(users) > 1:
        assert 0 <= row["ci_low"] <= row["accuracy"] + 1e-9
        assert row["accuracy"] - 1e-9 <= row["ci_high"] <= 100


def test_verdicts_on_both_orders_together_say_nothing_of_position() -> None:
    row = tabled(judged_users(Cell("default.logprob_both", 0.7), [3, 3])).iloc[0]
    assert pd.isna(row["share_first"])
    pointing = Verdict(pair_id="p", swapped=None, outcome="correct", said="first")
    assert pd.isna(tabled([judged(MINE, "u", [pointing])]).iloc[0]["share_first"])
    said = tabled(judged_users(Cell("default", 0.7), [9, 9])).iloc[0]["share_first"]
    assert 20 < said < 80


def test_flips_are_counted_over_pairs_with_a_readable_verdict_in_both_orders() -> None:
    same = [Verdict(pair_id="a", swapped=swapped, outcome="correct", said=said) for swapped, said in ORDERS]
    flip = [Verdict(pair_id="b", swapped=swapped, outcome="correct", said="first") for swapped, _ in ORDERS]
    unread = [Verdict(pair_id="c", swapped=False, outcome="wrong", said="first")]
    unread.append(Verdict(pair_id="c", swapped=True, outcome="unparsed"))
    assert tabled([judged(MINE, "u", [*same, *flip, *unread])]).iloc[0]["flip_rate"] == 50.0
    together = [
        Verdict(pair_id=name, swapped=None, outcome="correct", log_odds=1.0, flipped=flipped)
        for name, flipped in (("a", True), ("b", False), ("c", False), ("d", False))
    ]
    assert tabled([judged(MINE, "u", together)]).iloc[0]["flip_rate"] == 25.0
    assert pd.isna(tabled([judged(MINE, "u", unread)]).iloc[0]["flip_rate"])


def test_draws_are_averaged_and_their_spread_shown() -> None:
    rows = [
        judged(MINE, user, verdicts(*outcomes), draw)  # type: ignore[arg-type]
        for user in ("u", "v")
        for draw, outcomes in enumerate((["correct"] * 4, ["correct"] * 2 + ["wrong"] * 2, ["wrong"] * 4))
    ]
    row = tabled(rows).iloc[0]
    assert (row["n_draws"], row["n_pairs"], row["n_judgments"], row["n_users"]) == (3, 2, 24, 2)
    assert (row["accuracy"], row["draw_sd"]) == (50.0, 50.0)
    # Draws judge the same two pairs again: they leave open what two pairs do.
    assert row["ci_low"] == pytest.approx(9.4531, abs=1e-3)
    assert row["ci_high"] == pytest.approx(90.5469, abs=1e-3)


def test_an_outage_is_missing_not_a_low_score() -> None:
    table = tabled([*judged_users(MINE, [3, 4], rule=outage), *judged_users(Cell("default", 0.5), [3, 4])])
    row = table[table["method"] == "both"].iloc[0]
    # What is counted is what was answered.
    assert (row["n_users"], row["n_judgments"], row["provider_error"], row["status"]) == (0, 0, 14, "no answers")
    assert all(pd.isna(row[column]) for column in COLUMNS[9:16])
    assert is_outage({str(name): value for name, value in row.items()})
    other = table[table["method"] == "default"].iloc[0]
    assert not is_outage({str(name): value for name, value in other.items()})


def test_one_percent_of_errors_is_not_marked_and_more_is() -> None:
    row = {"n_judgments": 100, "provider_error": 1, "unparsed": 0, "lossy_profiles": 0}
    assert not is_outage(row)
    assert is_outage(row | {"provider_error": 2})
    assert not is_outage(dict.fromkeys(row, 0))


def test_a_failed_cell_is_a_row_without_accuracy_and_a_note() -> None:
    failed = judged(MINE, "u", [])
    with_one = judged(MINE._replace(method="demos"), "u", verdicts("correct", "wrong"))
    empty = judged(MINE._replace(method="demos"), "v", []).model_copy(update={"status": "empty"})
    table = tabled([failed, with_one, empty])
    assert table["n_judgments"].tolist() == [2, 0]
    assert table["n_users"].tolist() == [1, 0]
    assert pd.isna(table["accuracy"][1])
    with TemporaryDirectory() as folder:
        write_records(Path(folder) / "x", [failed, with_one, empty])
        notes = gaps(collect_verdicts([Path(folder) / "x"]))
    assert table["status"].tolist() == ["ok", "no verdicts"]
    assert len(notes) == 2
    assert any("both" in note and "1 failed of 1 users" in note for note in notes)
    assert any("demos" in note and "1 empty of 2 users" in note for note in notes)


def test_the_notes_say_which_labels_the_methods_read_where_validation_pairs_chose_a_winner() -> None:
    learned = " ".join(
        main_notes(tabled(judged_users(Cell("both.logprob", 0.5, "judge", "profile", 0), [2, 3])), "all")
    )
    assert "all validation pairs choose the winner among its candidates at every k" in learned
    assert "70 % of a user's pairs" in learned
    for method in ("default", "history", "memory"):
        assert "validation" not in " ".join(main_notes(tabled(judged_users(Cell(method, 0.5), [2, 3])), "all"))


def test_bounds_are_rounded_once() -> None:
    table = tabled([judged(MINE, "u", verdicts("correct", "wrong"))]).assign(ci_low=16.6537, ci_high=75.1463)
    assert list(main_blocks(table)[0].texts["Accuracy % [95 % CI]"]) == ["50.00 [16.7, 75.1]"]


def test_a_row_is_not_applicable_where_it_is_for_every_user_and_only_there() -> None:
    rows = [judged(MINE, user, []).model_copy(update={"status": "not_applicable"}) for user in "uv"]
    demos = [row.model_copy(update={"method": "demos"}) for row in rows[:1]]
    demos.append(judged(MINE._replace(method="demos"), "v", verdicts("correct", "wrong")))
    persona = [row.model_copy(update={"method": "persona"}) for row in rows[:1]]
    persona.append(judged(MINE._replace(method="persona"), "v", []).model_copy(update={"status": "empty"}))
    table = tabled([*rows, *demos, *persona])
    assert table["method"].tolist() == ["demos", "persona", "both"]
    assert table["status"].tolist() == ["ok", "no verdicts", "not applicable"]
    assert table["n_users"].tolist() == [1, 0, 0]
    shown = main_blocks(table)[0].texts["Accuracy % [95 % CI]"]
    assert [text.partition(" [")[0] for text in shown] == ["50.00", "–", "not applicable"]
    assert any(note.startswith("not applicable: ") for note in main_notes(table, "all"))
    assert not any("not applicable" in note for note in main_notes(tabled(demos), "all"))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "main.csv"
        table.to_csv(path, index=False)
        pd.testing.assert_frame_equal(read_main_table(path), table)
        write_records(Path(folder) / "x", [*rows, *demos, *persona])
        notes = gaps(collect_verdicts([Path(folder) / "x"]))
    assert sorted(note.partition(": ")[2] for note in notes) == [
        "no verdict for 1 empty, 1 not applicable of 2 users.",
        "no verdict for 1 not applicable of 2 users.",
        "no verdict for 2 not applicable of 2 users.",
    ]


def spent(*costs: float | None) -> pd.Series:
    calls = [CallRef(key=str(n), stage="judge", tokens_in=10, tokens_out=n, cost_usd=c) for n, c in enumerate(costs)]
    users = [judged(MINE, u, verdicts("tie")).model_copy(update={"calls": tuple(calls)}) for u in "uv"]
    return tabled(users).iloc[0]


def test_calls_are_counted_once_and_an_unknown_price_is_no_price() -> None:
    row = spent(0.1, 0.2, 0.3)
    assert (row["calls"], row["tokens_in"], row["tokens_out"]) == (3, 30, 3)
    assert row["cost_usd_list"] == 0.6
    assert pd.isna(spent(0.1, None)["cost_usd_list"])
    assert spent()["cost_usd_list"] == 0


def test_rows_stand_in_a_stable_order() -> None:
    cells = [Cell("both", 0.5, "j", "p", k) for k in ("all", 10, 2)]
    cells += [Cell("zeta", 0.5), Cell("default.logprob", 0.5), Cell("default", 0.5), Cell("random", 0.5, None)]
    cells += [Cell("oracle", 0.5, dataset="another")]
    table = tabled(row for cell in cells for row in judged_users(cell, [1]))
    assert list(zip(table["method"], table["k"], strict=True)) == [
        ("oracle", "-"),
        ("random", "-"),
        ("default", "-"),
        ("default.logprob", "-"),
        ("both", "2"),
        ("both", "10"),
        ("both", "all"),
        ("zeta", "-"),
    ]


def test_models_stand_in_the_order_that_is_asked_for() -> None:
    cells = [Cell("default", 0.5, model) for model in ("a", "b", "c")]
    rows = [row for cell in cells for row in judged_users(cell, [1])]
    assert tabled(rows)["judge_model"].tolist() == ["a", "b", "c"]
    assert tabled(rows, model_order=["c", "b"])["judge_model"].tolist() == ["c", "b", "a"]


def test_a_row_does_not_depend_on_the_other_rows() -> None:
    rows = list(judged_users(MINE, [12, 40, 25, 2] * 8))
    alone = tabled(rows)
    beside = tabled([*rows, *judged_users(Cell("default", 0.5), [3, 3])])
    pd.testing.assert_frame_equal(alone, beside[beside["method"] == "both"].reset_index(drop=True))
    assert not tabled(rows, seed=2, n_resamples=50).equals(tabled(rows, seed=1, n_resamples=50))


def test_rows_have_resamples_of_their_own() -> None:
    # Users who are always right or always wrong: their resamples say more than the judgments do.
    right, wrong = verdicts(*["correct"] * 10), verdicts(*["wrong"] * 10)  # type: ignore[arg-type]
    one = [judged(MINE, f"u{n}", wrong if n % 5 else right) for n in range(15)]
    two = [user.model_copy(update={"method": "demos"}) for user in one]
    table = tabled([*one, *two], n_resamples=199)
    assert table["accuracy"][0] == table["accuracy"][1]
    assert (table["ci_low"][0], table["ci_high"][0]) != (table["ci_low"][1], table["ci_high"][1])


@pytest.mark.parametrize("cells", [quickstart_cells(), paper_cells()])
def test_the_table_survives_its_csv(tmp_path: Path, cells: list[Cell]) -> None:
    paths = write_cells(tmp_path, [*cells, Cell("NA", 0.5, "1e5", "nan", 3)], [2, 3])
    table = main_table(collect_verdicts(paths), collect_calls(paths), seed=0, n_resamples=99)
    table.to_csv(tmp_path / "main.csv", index=False)
    pd.testing.assert_frame_equal(read_main_table(tmp_path / "main.csv"), table)


def test_no_verdicts_give_an_empty_table(tmp_path: Path) -> None:
    table = main_table(collect_verdicts([]), collect_calls([]), seed=0, n_resamples=9)
    assert " ".join(table.columns) == f"{NAMED} status"
    assert len(table) == 0
