"""Judgments that were lost to provider errors: in no number, paired or not, whatever the table; counted, and marked."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.comparison_cases import Said, default, frame_of, learned, row_of
from support.generated_verdicts import Cell, judged, judged_users, oracle, quickstart_cells, write_cells

from personalrm.core.records import JudgedUser, Outcome, Verdict, write_records
from personalrm.results.comparisons import seed_of
from personalrm.results.marks import RETRY
from personalrm.results.pooling import pooled
from personalrm.results.scores import collect_calls, collect_verdicts
from personalrm.results.stats.exact_statistics import independent_interval
from personalrm.results.stats.statistics import paired_cluster_difference, share_interval
from personalrm.results.tables.demographics_table import UserFacts, demographics_table
from personalrm.results.tables.differences_table import differences_table
from personalrm.results.tables.main_table import main_blocks, main_notes, main_table
from personalrm.results.tables.outcomes_table import outcomes_blocks, outcomes_notes, outcomes_table
from personalrm.results.tables.position_bias_table import position_bias_table
from personalrm.results.tables.scaling_table import Labelled, scaling_table
from personalrm.results.tables.transfer_table import transfer_table
from personalrm.results.tables.users_table import users_table
from personalrm.studies.synthesizeme.report_summary import what_failed
from personalrm.studies.synthesizeme.results.families_table import families_table
from personalrm.studies.synthesizeme.results.power_table import power_table
from personalrm.studies.synthesizeme.summary import summarise

N = 199
JUDGED = [default(), learned("demos"), learned("both")]
SIZES = [3, 2, 4, 5, 3]


def losing(rows: Sequence[JudgedUser], lost: Callable[[JudgedUser, Verdict], bool]) -> list[JudgedUser]:
    """The rows, with a provider error in the place of some verdicts."""
    changed = {"outcome": "provider_error", "said": None, "log_odds": None}
    return [
        row.model_copy(
            update={"verdicts": tuple(v.model_copy(update=changed) if lost(row, v) else v for v in row.verdicts)}
        )
        for row in rows
    ]


def rows_of_all(seed: int = 0) -> list[JudgedUser]:
    return [row for n, cell in enumerate(JUDGED) for row in judged_users(cell, SIZES, seed=seed + n)]


def collected(folder: Path, rows: Sequence[JudgedUser]) -> tuple[pd.DataFrame, pd.DataFrame]:
    folder.mkdir(parents=True, exist_ok=True)
    write_records(folder / "rows.jsonl", rows)
    return collect_verdicts([folder / "rows.jsonl"]), collect_calls([folder / "rows.jsonl"])


def some(row: JudgedUser, verdict: Verdict) -> bool:
    """About one judgment in six, of other pairs for each method; the first user's of `demos` in one order at all."""
    if row.method == "demos" and row.user_id == "u0" and verdict.swapped:
        return True
    return zlib.crc32(f"{row.method} {verdict.pair_id} {verdict.swapped}".encode()) % 6 == 0


def test_accuracies_and_their_intervals_are_those_of_the_judgments_that_were_answered(tmp_path: Path) -> None:
    verdicts, calls = collected(tmp_path, losing(rows_of_all(), some))
    table = main_table(verdicts, calls, seed=3, n_resamples=N)
    had = verdicts[verdicts["outcome"] != "provider_error"].assign(right=lambda frame: frame["outcome"] == "correct")
    assert 0 < len(had) < len(verdicts)
    for method, mine in had.groupby("method", observed=True):
        row = row_of(table, method=str(method))
        by_user = mine.groupby("user_id", observed=True)["right"].agg(["sum", "count", "mean"])
        key = [str(row[name]) for name in ("dataset", "variant", "profile_model", "judge_model", "method", "k")]
        counts = by_user["sum"], by_user["count"]
        found = share_interval(*counts, seed=seed_of(3, *key), n_resamples=N, units=mine["pair_id"].nunique())
        alone = independent_interval(int(mine["right"].sum()), len(mine))
        assert row["accuracy"] == pytest.approx(100 * mine["right"].mean(), abs=1e-4)
        assert row["accuracy_user_mean"] == pytest.approx(100 * by_user["mean"].mean(), abs=1e-4)
        bounds = [row[name] for name in ("ci_low", "ci_high", "ci_low_independent", "ci_high_independent")]
        assert bounds == pytest.approx([100 * x for x in (*found[1:], *alone[1:])], abs=1e-4)
        read = mine["outcome"].isin(["correct", "wrong", "tie"])
        assert row["accuracy_readable"] == pytest.approx(100 * mine.loc[read, "right"].mean(), abs=1e-4)
        lost = int((verdicts["method"] == method).sum()) - len(mine)
        assert (row["n_judgments"], row["provider_error"]) == (len(mine), lost)


def test_differences_and_p_are_those_of_the_judgments_that_both_sides_had(tmp_path: Path) -> None:
    """By pandas: the judgments of each side, joined on user, pair and order."""
    verdicts, _ = collected(tmp_path, losing(rows_of_all(), some))
    table = differences_table(verdicts, seed=3, n_resamples=N)
    had = verdicts[verdicts["outcome"] != "provider_error"].assign(right=lambda frame: frame["outcome"] == "correct")
    for method in ("demos", "both"):
        ours, theirs = (had[had["method"] == name] for name in (method, "default"))
        both = ours.merge(theirs, on=["user_id", "pair_id", "swapped"], suffixes=("", "_default"))
        by_user = both.groupby("user_id", observed=True)[["right", "right_default"]].agg(["sum", "count"])
        row = row_of(table, method=method, reference="default")
        second = ("d", "baseline", "-", "m", "default", "-")
        first = ("d", "corrected", "m", "m", method, "all")
        counts = (by_user["right", "sum"], by_user["right_default", "sum"], by_user["right", "count"])
        own_seed, units = seed_of(3, *first, *second), both["pair_id"].nunique()
        found = paired_cluster_difference(*counts, seed=own_seed, n_resamples=N, units=units)
        assert row["n_judgments"] == len(both) < max(len(ours), len(theirs))
        assert row["judgments_left_out"] == len(ours) + len(theirs) - 2 * len(both)
        assert row["difference"] == pytest.approx(100 * found.estimate, abs=1e-4)
        assert [row["ci_low"], row["ci_high"]] == pytest.approx([100 * found.low, 100 * found.high], abs=1e-4)
        assert row["p_value"] == pytest.approx(found.p_value, rel=1e-5)


def test_losses_on_one_side_at_random_make_no_difference_between_equal_methods(tmp_path: Path) -> None:
    """One judgment in a hundred: -1.0 point and p = 0.002 where errors count as not right."""
    rows = list(judged_users(default(), [25] * 20, seed=5))
    same = [
        row.model_copy(update={"method": "both", "variant": "corrected", "profile_model": "m", "k": "all"})
        for row in rows
    ]
    numbers = iter(range(10_000))
    verdicts, calls = collected(tmp_path, [*rows, *losing(same, lambda row, verdict: next(numbers) % 100 == 7)])
    row = row_of(differences_table(verdicts, seed=3, n_resamples=N), reference="default")
    assert (row["difference"], row["p_value"]) == (0, 1)
    # 500 pairs without a difference leave less than a point open.
    assert -1 < row["ci_low"] == -row["ci_high"] < 0
    assert (row["n_judgments"], row["judgments_left_out"], row["outage"]) == (990, 10, False)
    table = main_table(verdicts, calls, seed=3, n_resamples=N)
    assert (row_of(table, method="both")["provider_error"], row_of(table, method="both")["n_judgments"]) == (10, 990)


@pytest.mark.parametrize("suffix", ["", ".logprob", ".logprob_both"])
def test_a_perfect_method_with_lost_calls_stays_at_100_in_every_table(tmp_path: Path, suffix: str) -> None:
    cells = [cell._replace(method=cell.method + suffix) for cell in (default(), learned("both"), learned("both", 2))]
    cells.append(learned("both" + suffix, 0, "n", "m"))
    cells.append(learned("both" + suffix, 0, "n", "n"))
    rows = [row for cell in cells for row in judged_users(cell, [4, 4, 3], rule=oracle)]
    lost = losing(rows, lambda row, verdict: row.method.startswith("both") and verdict.pair_id == "u1-p2")
    verdicts, calls = collected(tmp_path, lost)
    options = {"seed": 1, "n_resamples": 50}
    main = main_table(verdicts, calls, **options)  # type: ignore[arg-type]
    names = ["accuracy", "ci_high", "accuracy_user_mean", "accuracy_readable", "ci_low_independent"]
    assert (main[names].stack() == 100).all()
    differences = differences_table(verdicts, **options).dropna(subset=["difference"])  # type: ignore[arg-type]
    assert len(differences)
    assert (differences["difference"] == 0).all()
    assert (differences["ci_low"] == -differences["ci_high"]).all()
    assert (users_table(verdicts)["accuracy"].dropna() == 100).all()
    assert (users_table(verdicts)["difference"].dropna() == 0).all()
    assert (outcomes_table(verdicts)["share_correct"] == 100).all()
    facts = {("d", f"u{n}"): UserFacts({"age": "30"}, {}, {f"u{n}-p{p}": p for p in range(4)}) for n in range(3)}
    groups = demographics_table(verdicts, facts)
    assert (groups["accuracy"].dropna() == 100).all()
    for table in (families_table(verdicts, **options), transfer_table(verdicts, **options)):  # type: ignore[arg-type]
        assert (table["accuracy"].dropna() == 100).all()
        assert (table["difference"].dropna() == 0).all()
    scaling = scaling_table(verdicts, {("d", f"u{n}"): Labelled(5) for n in range(3)}, **options)  # type: ignore[arg-type]
    assert (scaling["accuracy"] == 100).all()
    assert (scaling["slope"].dropna() == 0).all()
    power = power_table(verdicts, [], datasets=["d"], answers_to={})
    assert (power["difference"].dropna() == 0).all()
    if suffix != ".logprob_both":
        position = position_bias_table(verdicts)
        assert (position[["accuracy_chosen_first", "accuracy_chosen_second", "same_response"]].stack() == 100).all()


def test_a_judgment_lost_in_a_baseline_is_left_out_of_every_draw(tmp_path: Path) -> None:
    cells: list[tuple[Cell, Said]] = [(default(), {"u": "1e"}), (learned(k=2), {"u": ["11", "10"], "v": ["1", "1"]})]
    row = row_of(differences_table(frame_of(tmp_path, cells), seed=0, n_resamples=9), reference="default")
    assert (row["difference"], row["n_judgments"], row["n_draws"], row["judgments_left_out"]) == (0, 2, 2, 4)


def test_a_draw_that_was_lost_as_a_whole_takes_no_part(tmp_path: Path) -> None:
    frame = frame_of(tmp_path, [(learned(k=2), {"u": ["11", "ee"], "v": ["10", "ee"]})])
    row = main_table(frame, collect_calls([]), seed=0, n_resamples=9).iloc[0]
    assert (row["accuracy"], row["accuracy_user_mean"], row["n_judgments"]) == (75, 75, 4)
    assert pd.isna(row["draw_sd"])
    mixed = frame_of(tmp_path / "x", [(learned(k=2), {"u": ["11", "e1", "00"], "v": ["10", "ee", "00"]})])
    row = main_table(mixed, collect_calls([]), seed=0, n_resamples=9).iloc[0]
    # Draws: 3 of 4, 1 of 1, 0 of 4.
    assert row["accuracy"] == pytest.approx(100 * (0.75 + 1 + 0) / 3, abs=1e-4)
    assert row["draw_sd"] == pytest.approx(100 * np.std([0.75, 1, 0], ddof=1), abs=1e-4)


def test_of_folds_that_judged_the_same_the_answer_counts(tmp_path: Path) -> None:
    cells = [default(method="default@all", dataset=name) for name in ("f1", "f2")]
    for first, second in (("e1", "11"), ("11", "1e")):
        frame = frame_of(tmp_path / first, [(cells[0], {"u": first}), (cells[1], {"u": second})])
        held = pooled(frame, {"d": ("f1", "f2")})
        assert sorted(held["outcome"].astype("str")) == ["correct", "correct"]


def main_of(folder: Path, said: dict[str, list[Outcome]], lost: int = 0) -> pd.DataFrame:
    rows = [
        judged(
            learned(), user, [Verdict(pair_id=f"{user}{n}", swapped=None, outcome=o) for n, o in enumerate(outcomes)]
        )
        for user, outcomes in said.items()
    ]
    rows[0] = rows[0].model_copy(update={"profile_lost": lost})
    return main_table(*collected(folder, rows), seed=0, n_resamples=9)


def test_more_than_one_percent_unread_is_marked_and_accuracy_among_read_answers_stands_beside(tmp_path: Path) -> None:
    right: list[Outcome] = ["correct"] * 97
    rest: list[Outcome] = ["wrong", "refused"]
    few, many = (main_of(tmp_path / str(n), {"u": [*right, *rest, *["unparsed"] * n]}) for n in (1, 2))  # type: ignore[list-item]
    assert main_blocks(few)[0].texts["Accuracy % [95 % CI]"].tolist() == ["97.00 [–]"]
    assert not any("could not be read" in note for note in main_notes(few, "all"))
    assert main_blocks(many)[0].texts["Accuracy % [95 % CI]"].tolist() == ["96.04 [–] (?)"]
    assert any(
        note.startswith("(?): more than 1 % of the answers could not be read") for note in main_notes(many, "all")
    )
    assert many["accuracy_readable"].iloc[0] == pytest.approx(100 * 97 / 98, abs=1e-4)
    assert RETRY not in main_notes(many, "all")
    frame = frame_of(tmp_path / "o", [(learned(), {"u": "110t"})])
    assert outcomes_table(frame)["accuracy_readable"].tolist() == [50]
    assert outcomes_blocks(outcomes_table(frame))[0].texts["Right of those read %"].tolist() == ["50.00"]


def test_rows_judged_with_profiles_that_lost_calls_are_counted_and_marked(tmp_path: Path) -> None:
    rows = list(judged_users(learned(k=2)._replace(draws=2), [2, 2, 2], rule=oracle))
    rows = [row.model_copy(update={"profile_lost": 3}) if (row.user_id, row.draw) == ("u1", 1) else row for row in rows]
    rows += judged_users(default(), [2, 2, 2], rule=oracle)
    verdicts, calls = collected(tmp_path, rows)
    table = main_table(verdicts, calls, seed=0, n_resamples=9)
    assert row_of(table, method="both")["lossy_profiles"] == 1
    assert row_of(table, method="default")["lossy_profiles"] == 0
    accuracy, outcomes = main_blocks(table)
    assert [text.endswith(" (~)") for text in accuracy.texts["Accuracy % [95 % CI]"]] == [False, True]
    assert outcomes.texts["Learned with lost calls"].tolist() == ["0", "1"]
    assert any(note.startswith("(~): ") for note in main_notes(table, "all"))
    assert RETRY in main_notes(table, "all")
    difference = row_of(differences_table(verdicts, seed=0, n_resamples=9), reference="default")
    assert (difference["lossy"], difference["outage"], difference["unread"]) == (True, False, False)
    assert any(note.startswith("(~): ") for note in outcomes_notes(outcomes_table(verdicts)))
    clean = main_table(*collected(tmp_path / "clean", rows[-3:]), seed=0, n_resamples=9)
    assert "Learned with lost calls" not in main_blocks(clean)[1].texts


def test_the_printed_main_table_and_the_report_say_what_is_marked(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    table = main_of(tmp_path / "x", {"u": ["correct", "unparsed", "provider_error"]}, lost=1)
    table.to_csv(tmp_path / "tables" / "main.csv", index=False)
    said = summarise(tmp_path)
    assert "50.0 (!?~)" in said
    assert RETRY in said
    frame = frame_of(tmp_path, [(learned(), {"u": "1"})])
    failed = "\n".join(what_failed(table, differences_table(frame, seed=0, n_resamples=9), frame))
    assert "is no result: 1 of 3 judgments were lost to provider errors." in failed
    assert "1 more judgment lost to provider errors" in failed
    assert "1 profile learned with lost calls." in failed
    assert "could not be read" in failed


def test_marks_stand_together_and_an_empty_cell_has_none(tmp_path: Path) -> None:
    table = main_of(tmp_path, {"u": ["correct", "unparsed", "provider_error"]}, lost=1)
    assert main_blocks(table)[0].texts["Accuracy % [95 % CI]"].tolist() == ["50.00 [–] (!?~)"]
    silent = main_of(tmp_path / "silent", {"u": ["provider_error"] * 3})
    assert main_blocks(silent)[0].texts["Accuracy % [95 % CI]"].tolist() == ["no answers (!)"]
    assert any(note.startswith("no answers: ") for note in main_notes(silent, "all"))
    assert not any(
        "(" in text for text in main_blocks(main_of(tmp_path / "e", {"u": []}))[0].texts["Accuracy % [95 % CI]"]
    )


def test_the_row_order_changes_nothing_where_judgments_were_lost(tmp_path: Path) -> None:
    paths = write_cells(tmp_path, quickstart_cells(), [3, 2])
    frame = collect_verdicts(paths)
    lost = frame.assign(outcome=frame["outcome"].astype("str").where(np.arange(len(frame)) % 7 > 0, "provider_error"))
    mixed = lost.sample(frac=1, random_state=1)
    one, two = (differences_table(each, seed=0, n_resamples=20) for each in (lost, mixed))
    pd.testing.assert_frame_equal(one, two)
