"""The table of paired differences against answers worked out by hand."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.comparison_cases import default, frame_of, learned, row_of
from support.generated_verdicts import Cell, always_first, judged, judged_users, quickstart_cells, write_cells
from support.result_cases import written_twice

from personalrm.core.conditions import MethodId, VariantId
from personalrm.core.records import JudgedUser, Outcome, Verdict, write_records
from personalrm.results.comparisons import NUMBERS, compare, seed_of
from personalrm.results.conditions import Condition
from personalrm.results.scores import collect_verdicts, read_frame, write_frame
from personalrm.results.stats.statistics import holm, paired_cluster_difference
from personalrm.results.tables.differences_table import (
    DIFFERENCE_COLUMNS,
    differences_blocks,
    differences_notes,
    differences_table,
)
from personalrm.results.tables.transfer_table import transfer_table
from personalrm.results.verdict_arrays import verdict_arrays_of

N = 199


def table_of(frame: pd.DataFrame) -> pd.DataFrame:
    return differences_table(frame, seed=3, n_resamples=N)


def test_a_user_that_only_the_reference_has_is_left_out_and_counted(tmp_path: Path) -> None:
    frame = frame_of(tmp_path, [(default(), {"u": "10", "v": "11"}), (learned(), {"u": "11"})])
    row = row_of(differences_table(frame, seed=0, n_resamples=9), method="both", reference="default")
    assert (row["n_users"], row["users_left_out"], row["pairs_left_out"]) == (1, 1, 2)


def test_always_right_against_always_wrong_is_exactly_100(tmp_path: Path) -> None:
    right, wrong = {"u": "111", "v": "11"}, {"u": "000", "v": "00"}
    row = row_of(table_of(frame_of(tmp_path, [(default(), wrong), (learned(), right)])), reference="default")
    # Two users who both gain are one chance in two: 0 is not excluded.
    assert (row["difference"], row["ci_high"]) == (100, 100)
    assert row["ci_low"] < 0
    assert row["p_value"] == 0.5
    assert (row["n_users"], row["n_pairs"], row["n_judgments"]) == (2, 5, 5)


def test_a_reward_model_is_compared_with_the_control_of_the_same_seed(tmp_path: Path) -> None:
    control = Cell("frozen_bt", 0.5, "rm", variant="baseline")
    # Two seeds, and for each two draws of context pairs; the second pair is lost to the control of the first seed.
    by_draw = {"u": ["10", "10", "01", "01"]}
    cells = [
        (control, {"u": ["1.", "00"]}),
        (Cell("lore", 0.5, "rm", k=2, variant="baseline"), by_draw),
        (Cell("lore", 0.5, "rm", k="all", variant="baseline"), {"u": ["11", "11"]}),
    ]
    table = table_of(frame_of(tmp_path, cells))
    row = row_of(table, method="lore", k="2")
    assert (row["reference"], row["status"], row["n_draws"], row["n_judgments"]) == ("frozen_bt", "ok", 4, 6)
    # No difference in the first seed; one pair of two in the second.
    assert row["difference"] == 25
    assert row_of(table, method="lore", k="all")["difference"] == 50
    # There is no unpersonalised judge to compare it with.
    assert set(table["reference"]) == {"frozen_bt"}


def test_fine_tuned_models_that_read_profiles_are_compared_at_the_same_k_and_are_no_transfer(tmp_path: Path) -> None:
    plain = default("rm", "bt")
    persona, both = (learned(name, k=2, judge="rm", profile="m") for name in ("bt_persona", "bt_both"))
    frame = frame_of(tmp_path, [(plain, {"u": "00"}), (persona, {"u": "10"}), (both, {"u": "11"})])
    table = table_of(frame)
    found = {(row.method, row.reference, row.k): (row.status, row.difference) for row in table.itertuples()}
    assert found == {
        ("bt_persona", "bt", "2"): ("ok", 50),
        ("bt_both", "bt", "2"): ("ok", 100),
        ("bt_both", "bt_persona", "2"): ("ok", 50),
    }
    assert transfer_table(frame, seed=0, n_resamples=9).empty


def test_equal_methods_differ_by_exactly_0_with_p_1(tmp_path: Path) -> None:
    same = {"u": "101", "v": "0t", "w": "1"}
    row = row_of(table_of(frame_of(tmp_path, [(default(), same), (learned(), same)])), reference="default")
    assert row["difference"] == 0
    # Four pairs without a difference leave large ones open, equally on both sides.
    assert row["ci_low"] == -row["ci_high"] < -30
    assert (row["p_value"], row["p_holm"]) == (1, 1)


def test_the_difference_counts_pairs_and_its_bounds_are_the_clustered_ones(tmp_path: Path) -> None:
    frame = frame_of(
        tmp_path, [(default(), {"u": "1000", "v": "t1", "w": "0"}), (learned(), {"u": "1110", "v": "10", "w": "0"})]
    )
    row = row_of(table_of(frame), reference="default")
    first, second = ("d", "corrected", "m", "m", "both", "all"), ("d", "baseline", "-", "m", "default", "-")
    found = paired_cluster_difference(
        [3, 1, 0], [1, 1, 0], [4, 2, 1], seed=seed_of(3, *first, *second), n_resamples=N, units=7
    )
    assert row["difference"] == pytest.approx(100 * 2 / 7, abs=1e-4)
    assert [row["ci_low"], row["ci_high"]] == pytest.approx([100 * found.low, 100 * found.high], abs=1e-4)
    assert row["p_value"] == pytest.approx(found.p_value)


def test_what_one_side_lacks_is_left_out_and_counted(tmp_path: Path) -> None:
    ours = {"u": "11.", "v": "", "w": "11", "x": "1"}
    theirs = {"u": "000", "v": "0000", "w": "0."}
    row = row_of(table_of(frame_of(tmp_path, [(default(), theirs), (learned(), ours)])), reference="default")
    assert (row["n_users"], row["n_pairs"], row["n_judgments"]) == (2, 3, 3)
    # v failed on one side, x was never asked on the other; pairs: u's third, four of v, w's second, x's.
    assert (row["users_left_out"], row["pairs_left_out"], row["judgments_left_out"]) == (2, 7, 7)
    assert row["difference"] == 100


def test_orders_of_showing_are_matched_one_by_one(tmp_path: Path) -> None:
    cell = default()
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    write_records(paths[0], judged_users(cell, [3, 2], rule=always_first))
    write_records(paths[1], judged_users(learned(), [3, 2], rule=always_first))
    row = row_of(table_of(collect_verdicts(paths)), reference="default")
    # Right in one order, wrong in the other: 50 % each, and the same judgments are right.
    assert (row["n_pairs"], row["n_judgments"], row["difference"], row["p_value"]) == (5, 10, 0, 1)


def test_draws_are_matched_and_averaged_and_default_stands_beside_each(tmp_path: Path) -> None:
    both = {"u": ["11", "10"], "v": ["11", "00"]}
    demos = {"u": ["01", "11"], "v": ["11", ".."]}
    cells = [(default(), {"u": "00", "v": "00"}), (learned(), both), (learned("demos"), demos)]
    table = table_of(frame_of(tmp_path, cells))
    row = row_of(table, method="both", reference="default")
    assert (row["difference"], row["n_draws"], row["n_judgments"], row["n_pairs"]) == (100 * (1 + 0.25) / 2, 2, 8, 4)
    row = row_of(table, method="both", reference="demos")
    # First draw: 4 of 4 against 3 of 4. Second: u alone, 1 of 2 against 2 of 2.
    assert row["difference"] == 100 * (0.25 - 0.5) / 2
    assert (row["n_users"], row["users_left_out"], row["pairs_left_out"], row["judgments_left_out"]) == (2, 0, 0, 2)


def test_each_method_has_the_default_of_its_own_judge_verdict_and_pairs(tmp_path: Path) -> None:
    said = {"u": "10"}
    names = ("default.logprob", "default@all.logprob", "oracle@all.logprob", "oracle.logprob")
    cells = [(default(judge, name), said) for judge in ("m", "n") for name in names]
    cells += [(learned(f"{name}.logprob"), said) for name in ("demos", "persona", "both")]
    cells += [(Cell(name, 0.5, None, variant="baseline", dataset="d"), said) for name in ("longer", "random")]
    table = table_of(frame_of(tmp_path, cells))
    pairs = list(table[["judge_model", "method", "reference"]].itertuples(index=False, name=None))
    assert ("n", "oracle@all.logprob", "default@all.logprob") in pairs
    assert ("m", "oracle.logprob", "default.logprob") in pairs
    assert [pair[2] for pair in pairs if pair[1] == "both.logprob"] == [
        "default.logprob",
        "demos.logprob",
        "persona.logprob",
    ]
    assert len(pairs) == 2 * 2 + 5
    assert set(table["status"]) == {"ok"}
    assert not {"longer", "random"} & set(table["method"])


def test_outages_are_marked_and_never_a_number_of_their_own(tmp_path: Path) -> None:
    cells = [
        (default(), {"u": "10" * 30}),
        (learned("both"), {"u": "e" + "1" * 59}),
        (learned("demos"), {"u": "e" * 60}),
    ]
    table = table_of(frame_of(tmp_path, cells))
    assert row_of(table, method="both", reference="default")["outage"]
    gone = row_of(table, method="demos")
    assert (gone["status"], gone["outage"]) == ("no answers", True)
    assert pd.isna([gone[name] for name in ("difference", "ci_low", "p_value", "p_holm")]).all()
    shown = differences_blocks(table)[0].texts.to_csv()
    assert "no answers" in shown
    assert "(!)" in shown
    assert any("provider errors" in note for note in differences_notes(table))


def test_missing_cells_stay_as_rows_without_numbers(tmp_path: Path) -> None:
    said = {"u": "10", "v": "11"}
    cells = [(default(dataset=name), said) for name in ("d", "e")] + [(learned("demos"), said)]
    cells += [(learned("both", judge="n", profile="n", dataset="e"), {"u": ""})]
    table = table_of(frame_of(tmp_path, cells))
    assert row_of(table, dataset="e", method="demos")["status"] == "not run"
    assert row_of(table, dataset="d", method="demos")["status"] == "ok"
    # n has no default at all; and both's parts were not run.
    assert set(table.loc[table["judge_model"] == "n", "status"]) == {"not run"}
    assert table.loc[table["status"] == "not run", "difference"].isna().all()
    assert "not run" in differences_blocks(table)[0].texts.to_csv()


def test_holm_holds_over_the_whole_table_and_one_user_has_no_p(tmp_path: Path) -> None:
    table = table_of(
        collect_verdicts(
            write_cells(
                tmp_path, [default(), *(learned(m, k) for m in ("demos", "persona", "both") for k in (1, 2))], [4] * 9
            )
        )
    )
    adjusted = holm(list(table["p_value"]))
    assert list(table["p_holm"]) == pytest.approx(adjusted, rel=1e-5)
    alone = table_of(frame_of(tmp_path, [(default(), {"u": "0"}), (learned("demos"), {"u": "1"})]))
    assert (alone["difference"].iloc[0], len(alone)) == (100, 1)
    assert alone[["ci_low", "p_value", "p_holm"]].isna().all(axis=None)
    assert "+100.00 [–]" in differences_blocks(alone)[0].texts.to_csv()


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    cells = [cell._replace(variant="corrected" if cell.profile_model else "baseline") for cell in quickstart_cells()]
    return collect_verdicts(write_cells(tmp_path_factory.mktemp("quickstart"), cells, [2, 3, 1, 4]))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), as_text=st.booleans())
def test_the_order_of_rows_does_not_matter(frame: pd.DataFrame, seed: int, as_text: bool) -> None:
    mixed = frame.sample(frac=1, random_state=seed)
    if as_text:  # other categories, or none, as other readers of Parquet have them
        mixed = mixed.astype({"method": "str", "user_id": "str"})
    pd.testing.assert_frame_equal(
        differences_table(mixed, seed=0, n_resamples=20), differences_table(frame, seed=0, n_resamples=20)
    )


@settings(max_examples=30, deadline=None)
@given(said=st.lists(st.tuples(st.text("10.te", max_size=5), st.text("10.te", max_size=5)), min_size=1, max_size=5))
def test_swapping_the_sides_turns_the_sign(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[str, str]]
) -> None:
    ours, theirs = ({f"u{i}": pair[side] for i, pair in enumerate(said)} for side in (0, 1))
    frame = frame_of(tmp_path_factory.mktemp("swap"), [(default(), theirs), (learned(), ours)])
    sheet = verdict_arrays_of(frame)["d"]
    first = Condition("d", MethodId("both"), VariantId("corrected"), "m", "m", "all")
    one = compare(sheet, first, first.default, seed=0, n_resamples=20)
    other = compare(sheet, first.default, first, seed=0, n_resamples=20)
    for name in ("status", "outage", "n_users", "n_judgments", "users_left_out", "judgments_left_out"):
        assert one[name] == other[name], name
    if one["status"] == "ok":
        assert one["difference"] == -float(str(other["difference"]))


def test_a_row_does_not_depend_on_other_judges(frame: pd.DataFrame) -> None:
    alone = table_of(frame[frame["judge_model"] == "Qwen2.5-0.5B"])
    whole = table_of(frame)
    beside = whole[whole["judge_model"] == "Qwen2.5-0.5B"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone.drop(columns="p_holm"), beside.drop(columns="p_holm"))


def test_model_order_and_an_empty_frame(frame: pd.DataFrame) -> None:
    table = differences_table(frame, seed=0, n_resamples=9, model_order=["SmolLM2-135M", "Qwen2.5-0.5B"])
    assert table["judge_model"].iloc[0] == "SmolLM2-135M"
    empty = table_of(frame.iloc[:0])
    assert list(empty.columns) == list(DIFFERENCE_COLUMNS)
    assert empty.empty
    assert differences_blocks(empty)[0].texts.empty
    assert differences_notes(empty)


def test_the_table_has_equal_bytes_each_time_in_four_formats(tmp_path: Path, frame: pd.DataFrame) -> None:
    write_frame(frame, tmp_path / "verdicts.parquet")
    written_twice("table_differences", tmp_path, verdicts=tmp_path / "verdicts.parquet")
    table = pd.read_csv(tmp_path / "one" / "differences.csv", dtype={"k": "str"})
    expected = differences_table(read_frame(tmp_path / "verdicts.parquet"), seed=1, n_resamples=50)
    assert np.allclose(table["difference"], expected["difference"])
    assert "Holm" in (tmp_path / "one" / "differences.md").read_text()


def both_orders(*outcomes: Outcome) -> list[Verdict]:
    """Verdicts on pairs p0, p1, … in both orders, two outcomes a pair."""
    return [Verdict(pair_id=f"p{n // 2}", swapped=bool(n % 2), outcome=one) for n, one in enumerate(outcomes)]


def together(*outcomes: Outcome) -> list[Verdict]:
    """One verdict a pair."""
    return [Verdict(pair_id=f"p{n}", swapped=None, outcome=one) for n, one in enumerate(outcomes)]


def test_a_verdict_on_both_orders_stands_for_each_order_that_the_other_side_has(tmp_path: Path) -> None:
    """The judge is right in one order of p0 and in both of p1, and never saw p2; a taste is right on p0 and p2."""
    judge = Cell("default", 0.5, "m", variant="baseline")
    taste = Cell("surface_user", 0.5, "m", variant="baseline", k="all")
    for user in "uvw":
        rows = [
            judged(judge, user, both_orders("correct", "wrong", "correct", "correct")),
            judged(taste, user, together("correct", "wrong", "correct")),
        ]
        write_records(tmp_path / f"{user}.jsonl", rows)
    row = row_of(
        table_of(collect_verdicts(sorted(tmp_path.glob("*.jsonl")))), method="surface_user", reference="default"
    )
    assert (row["n_users"], row["n_pairs"], row["n_judgments"], row["pairs_left_out"]) == (3, 2, 12, 1)
    assert row["judgments_left_out"] == 3
    assert row["difference"] == -25


def test_two_methods_with_one_verdict_a_pair_are_compared_on_these(tmp_path: Path) -> None:
    cells = [
        (Cell("surface", 0.5, None, variant="baseline"), together("correct", "wrong")),
        (Cell("surface_user", 0.5, None, variant="baseline", k="all"), together("correct", "correct")),
        (Cell("random", 0.5, None, variant="baseline"), both_orders("wrong", "wrong", "wrong", "wrong")),
    ]
    write_records(tmp_path / "rows.jsonl", [judged(cell, user, said) for cell, said in cells for user in "uv"])
    table = table_of(collect_verdicts([tmp_path / "rows.jsonl"]))
    (row,) = (found for _, found in table.iterrows())
    assert (row["method"], row["reference"], row["n_judgments"], row["difference"]) == (
        "surface_user",
        "surface",
        4,
        50,
    )


def spelt(said: Mapping[str, Outcome | None], *orders: bool | None) -> list[Verdict]:
    """Outcomes by pair as verdicts in these orders; none for None."""
    return [
        Verdict(pair_id=name, swapped=swapped, outcome=one) for name, one in said.items() if one for swapped in orders
    ]


@pytest.mark.parametrize("seed", range(12))
def test_a_verdict_on_both_orders_is_compared_like_the_same_verdict_in_each(tmp_path: Path, seed: int) -> None:
    """Three conditions with draws of their own; ties, lost, unreadable and absent verdicts on either side."""
    outcomes: list[Outcome | None] = ["correct", "wrong", "tie", "provider_error", "unparsed", None]
    taste = Cell("attributes.logprob", 0.5, "m", variant="baseline", k="all", dataset="d")
    rng, rows = random.Random(seed), {"together": list[JudgedUser](), "each": list[JudgedUser]()}
    for user in "uvw":
        said = {f"{user}{pair}": rng.choice(outcomes) for pair in range(4)}
        rows["together"].append(judged(taste, user, spelt(said, None)))
        rows["each"].append(judged(taste, user, spelt(said, False, True)))
        for method, draw in (("both", 0), ("both", 1), ("persona", 0), ("persona", 1), ("persona", 2)):
            seen = [spelt({name: rng.choice(outcomes) for name in said}, swapped) for swapped in (False, True)]
            for found in rows.values():
                found.append(judged(learned(f"{method}.logprob"), user, [*seen[0], *seen[1]], draw))
    compared = []
    for name, found in rows.items():
        write_records(tmp_path / name, found)
        arrays = verdict_arrays_of(collect_verdicts([tmp_path / name]))["d"]
        key = {one.method.name: one for one in arrays.cells}
        sides = [("attributes", "both"), ("persona", "attributes"), ("both", "persona")]
        results = [compare(arrays, key[one], key[other], seed=0, n_resamples=20) for one, other in sides]
        numbers = [*NUMBERS, "status", "n_users", "n_pairs", "n_judgments", "n_draws", "pairs_left_out"]
        compared.append([[str(row[number]) for number in numbers] for row in results])
    assert compared[0] == compared[1]


def test_what_was_judged_with_each_conversation_left_out_is_compared_with_default_on_all_pairs() -> None:
    key = Condition("d", MethodId("attributes", "loo", "logprob_both"), VariantId("baseline"), judge_model="m", k="all")
    assert str(key.default.method) == "default@all.logprob_both"
