"""The table of persona fidelity: hand-computed shares, the exact sign-flip test, who is left out."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalrm.core.records import Outcome, Verdict, read_all, write_records
from personalrm.personas.records import UserFidelity
from personalrm.results.stats.exact_statistics import sign_flip_p, wilson_interval
from personalrm.results.table_formats import to_markdown
from personalrm.results.tables.fidelity_table import fidelity_blocks, fidelity_notes, fidelity_table

WORDS: dict[str, Outcome] = {"o": "correct", "x": "wrong", "t": "tie", "u": "unparsed", "e": "provider_error"}


def verdicts(said: str, who: str = "other") -> tuple[Verdict, ...]:
    """A verdict a letter of `WORDS`; the first persona is named in each that is decided."""
    return tuple(
        Verdict(pair_id=who, swapped=bool(n % 2), outcome=WORDS[c], said="first" if c in "ox" else None)
        for n, c in enumerate(said)
    )


def row(user: str, said: str = "", **values: Any) -> UserFidelity:  # noqa: ANN401
    base: dict[str, Any] = {
        "dataset": "d",
        "variant": "corrected",
        "profile_model": "m",
        "judge_model": "j",
        "k": "all",
        "statement": "survey",
        "verdicts": verdicts(said),
    }
    return UserFidelity(user_id=user, **(base | values))


def table_of(*rows: UserFidelity) -> dict[str, Any]:
    (found,) = fidelity_table(rows, seed=1, n_resamples=99).to_dict(orient="records")
    return {str(name): value for name, value in found.items()}


def test_shares_and_p_by_hand() -> None:
    found = table_of(row("a", "oo"), row("b", "oox"), row("c", "xt"), row("e", "ue"))
    # Own 4 of 6 decided; own less other by user: 2, 1, -1; |sum| = 2 or more in 6 of 8 ways.
    assert (found["own"], found["other"], found["tie"], found["unparsed"], found["provider_error"]) == (4, 2, 1, 1, 1)
    assert (found["n_users"], found["n_verdicts"]) == (4, 8)
    assert found["share_own"] == pytest.approx(100 * 4 / 6, abs=1e-4)
    assert found["p_value"] == 0.75
    assert found["share_first"] == 100
    assert found["ci_low"] <= found["share_own"] <= found["ci_high"]
    assert found["outage"]


def test_users_without_statement_or_persona_are_counted() -> None:
    found = table_of(
        row("a", "oo"),
        row("b", "ox"),
        row("c", statement=None, missing="no statement"),
        row("d", missing="no persona"),
        row("e", missing="no persona"),
        row("f", missing="no other persona"),
    )
    counts = [found[name] for name in ("n_users", "no_statement", "no_persona", "no_other_persona")]
    assert counts == [2, 1, 2, 1]
    assert found["share_own"] == 75


def test_a_data_set_without_statements_is_a_row_without_a_share() -> None:
    table = fidelity_table(
        [row("a", "oo"), row("a", dataset="bare", statement=None, missing="no statement")], seed=1, n_resamples=9
    )
    bare = table[table["dataset"] == "bare"].iloc[0]
    assert (bare["statement"], bare["n_users"], bare["no_statement"]) == ("none", 0, 1)
    assert math.isnan(bare["share_own"])
    assert math.isnan(bare["p_value"])
    assert any("without statements" in note for note in fidelity_notes(table, 1))


def test_an_outage_has_no_share_and_no_p() -> None:
    found = table_of(row("a", "ee"), row("b", "ee"))
    assert math.isnan(found["share_own"])
    assert math.isnan(found["p_value"])


def test_personas_alone_by_hand() -> None:
    found = table_of(
        row("a", "oo", matches=verdicts("oo", "a") + verdicts("ox")),
        row("b", "oo", matches=verdicts("ox", "b") + verdicts("xx")),
        row("c", "oo", matches=verdicts("oo", "c") + verdicts("ee")),
    )
    assert found["match_users"] == 2
    assert [found[name] for name in ("match_own", "match_other", "match_difference")] == [75, 25, 50]


def test_the_planted_taste_is_named_as_such() -> None:
    table = fidelity_table([row("a", "ox", statement="planted")], seed=1, n_resamples=9)
    shown = to_markdown(fidelity_blocks(table), "caption", fidelity_notes(table, 2))
    assert "| planted taste |" in shown
    assert "Planted taste: bundled users" in shown
    assert "each of 2 other users" in shown


def test_variants_are_told_apart_where_there_are_several() -> None:
    table = fidelity_table([row("a", "ox"), row("a", "oo", variant="other")], seed=1, n_resamples=9)
    assert fidelity_blocks(table)[0].texts["Variant"].tolist() == ["corrected", "other"]
    assert "Variant" not in fidelity_blocks(table[:1])[0].texts


def test_rows_are_read_in_any_order_to_the_same_table(tmp_path: Path) -> None:
    rows = [row(user, said) for user, said in zip("abcd", ("oo", "ox", "xx", "oo"), strict=True)]
    write_records(tmp_path / "one", rows[:2])
    write_records(tmp_path / "two", rows[2:])
    tables = [
        fidelity_table(read_all([tmp_path / name for name in names], UserFidelity), seed=1, n_resamples=99)
        for names in (("one", "two"), ("two", "one"))
    ]
    assert tables[0].equals(tables[1])


@pytest.mark.parametrize(
    ("differences", "p"),
    [([2, 2, 2], 0.25), ([2, -2], 1.0), ([3, -1, 2], 0.5), ([0, 0], 1.0), ([2] * 10, 2 / 1024), ([2, 0, 2], 0.5)],
)
def test_sign_flips_by_hand(differences: list[int], p: float) -> None:
    assert sign_flip_p(differences) == pytest.approx(p, abs=1e-12)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_sign_flips_are_those_of_all_signs_and_symmetric(differences: list[int]) -> None:
    observed = abs(sum(differences))
    ways = [
        abs(sum(sign * number for sign, number in zip(signs, differences, strict=True))) >= observed
        for signs in itertools.product((-1, 1), repeat=len(differences))
    ]
    p = sign_flip_p(differences)
    assert p == pytest.approx(sum(ways) / len(ways), abs=1e-12)
    assert 0 < p <= 1
    assert sign_flip_p([-number for number in differences]) == pytest.approx(p, abs=1e-12)
    assert sign_flip_p(differences[::-1]) == pytest.approx(p, abs=1e-12)


def test_sign_flips_of_nobody_and_of_very_many() -> None:
    assert math.isnan(sign_flip_p([]))
    assert 0 < sign_flip_p([2] * 700 + [-2] * 500) < 1e-7


def test_wilson_by_the_book() -> None:
    assert wilson_interval(5, 10)[1:] == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson_interval(0, 10)[1:] == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson_interval(10, 10).high == 1
    assert math.isnan(wilson_interval(0, 0).estimate)
    with pytest.raises(ValueError, match="must not be greater"):
        wilson_interval(4, 3)


@given(st.integers(0, 50), st.integers(1, 50))
def test_wilson_holds_the_share(count: int, more: int) -> None:
    found = wilson_interval(count, count + more)
    assert 0 <= found.low <= found.estimate <= found.high <= 1


def test_an_order_that_one_side_lost_is_left_out_of_both_sides() -> None:
    """Shown alone, in the two orders: own fits, was lost; the other's fits, does not."""
    users = [row(f"u{n}", "oo", matches=(*verdicts("oe", f"u{n}"), *verdicts("ox", "other"))) for n in range(3)]
    found = table_of(*users)
    assert (found["match_own"], found["match_other"], found["match_difference"]) == (100, 100, 0)
    lost = table_of(row("u", "oo", matches=(*verdicts("ee", "u"), *verdicts("ox", "other"))))
    assert (lost["match_users"], lost["n_users"]) == (0, 1)
    silent = table_of(row("u", "ee"))
    assert (silent["n_users"], silent["n_verdicts"], silent["provider_error"], silent["outage"]) == (0, 0, 2, True)
