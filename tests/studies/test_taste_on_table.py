"""The table `taste_on`: accuracy on pairs that are no matter of taste, with the switch and without."""

from __future__ import annotations

from personalrm.core.records import JudgedUser, Outcome, Verdict
from personalrm.studies.synthesizeme.results.taste_on_table import taste_on_blocks, taste_on_notes, taste_on_table


def judged(user: str, method: str, by_taste: str, plain: str) -> JudgedUser:
    """A row on as many pairs as there are letters: c for correct, w for wrong, x for lost."""
    names: dict[str, Outcome] = {"c": "correct", "w": "wrong", "x": "provider_error"}

    def verdicts(letters: str) -> tuple[Verdict, ...]:
        return tuple(Verdict(pair_id=f"{user}{n}", swapped=None, outcome=names[o]) for n, o in enumerate(letters))

    more = (Verdict(pair_id="other", swapped=None, outcome="wrong"),)
    found = {"verdicts": verdicts(plain) + more, "set_aside": verdicts(by_taste)}
    row = JudgedUser(
        **{"dataset": "d", "user_id": user, "variant": "baseline", "profile_model": None, "judge_model": "m"},  # type: ignore[arg-type]
        **{"method": method, "k": None, "draw": 0, "status": "ok"},  # type: ignore[arg-type]
    )
    return row.model_copy(update=found)


def test_the_table_compares_both_verdicts_on_the_pairs_that_were_set_aside() -> None:
    rows = [
        judged("b", "history", "cwx", "ccc"),
        judged("a", "history", "wwww", "cwcw"),
        judged("a", "default", "", ""),
    ]
    table = taste_on_table(rows, seed=1, n_resamples=99)
    (row,) = table.to_dict("records")
    # One of six, four of six; the pair whose own verdict was lost is left out.
    assert (row["method"], row["n_users"], row["n_pairs"]) == ("history", 2, 6)
    assert (row["accuracy_taste"], row["accuracy_default"], row["difference"]) == (16.6667, 66.6667, 50.0)
    assert row["ci_low"] <= 0 < row["ci_high"]
    (block,) = taste_on_blocks(table)
    assert "+50.00" in str(block.texts.to_dict("records"))
    assert any("filters.personalizable" in note for note in taste_on_notes(table))
    empty = taste_on_table([rows[2]], seed=1, n_resamples=99)
    assert (len(empty), len(taste_on_blocks(empty))) == (0, 1)
    assert taste_on_notes(empty)


def test_the_interval_depends_on_the_seed_and_not_on_the_order_of_rows() -> None:
    # One user has many of the pairs, so that the interval is that of the resamples.
    rows = [judged("a", "history", "wwwww", "ccccc"), *(judged(f"u{n}", "history", "cc", "wc") for n in range(12))]
    table, turned, reseeded = (
        taste_on_table(mine, seed=seed, n_resamples=999) for mine, seed in ((rows, 1), (rows[::-1], 1), (rows, 2))
    )
    assert turned.equals(table)
    assert not reseeded.equals(table)
