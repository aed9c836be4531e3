"""From which k on it may be said that a method is better than Default, in table, figure, notes and caption."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from support.comparison_cases import default, frame_of, learned, row_of, texts_of

from personalrm.results.claims import RULE
from personalrm.results.figures.scaling_figure import scaling_caption, scaling_figure
from personalrm.results.table_formats import table_rows
from personalrm.results.tables.scaling_table import Labelled, scaling_blocks, scaling_notes, scaling_table


def table_of(frame: pd.DataFrame, context: dict[tuple[str, str], int]) -> pd.DataFrame:
    labelled = {user: Labelled(pairs) for user, pairs in context.items()}
    return scaling_table(frame, labelled, seed=3, n_resamples=999)


def test_the_first_k_says_what_it_stands_for_where_users_have_fewer(tmp_path: Path) -> None:
    users = [f"u{n:02d}" for n in range(12)]
    cells = [(default(), dict.fromkeys(users, "0000" * 2)), (learned(k=1), dict.fromkeys(users, "0000" * 2))]
    cells.append((learned(k=30), dict.fromkeys(users, "1111" * 2)))
    table = table_of(frame_of(tmp_path, cells), {("d", user): 3 + n % 2 for n, user in enumerate(users)})
    assert set(table["smallest_k"]) == {"30"}
    assert set(table["smallest_k_pairs"]) == {3.5}
    assert set(scaling_blocks(table)[1].texts["Smallest k better than Default"]) == {"30 (3.5 pairs)"}
    assert any("30 (3.5 pairs)" in text for text in texts_of(scaling_figure(table)))


def test_the_smallest_k_is_the_first_of_which_it_may_be_said_that_it_is_better(tmp_path: Path) -> None:
    users = [f"u{n:02d}" for n in range(20)]
    half = {user: "1010" if n % 2 else "0101" for n, user in enumerate(users)}
    cells = [(default(), half), (learned(k=1), half), (learned(k="all"), dict.fromkeys(users, "1111"))]
    nearly = {user: "1111" if n % 2 else "1101" for n, user in enumerate(users)}
    cells += [(learned(k=4), nearly), (learned("demos", k=1), half)]
    cells += [(learned("both", 1, "n", "n"), half)]
    context = {("d", user): 8 for user in users}
    table = table_of(frame_of(tmp_path, cells), context)
    assert set(table.loc[(table["method"] == "both") & (table["judge_model"] == "m"), "smallest_k"]) == {"4"}
    assert row_of(table, method="demos")["smallest_k"] == "none"
    alone = row_of(table, judge_model="n")
    assert (alone["smallest_k"], alone["status"]) == ("-", "not run")
    assert pd.isna(alone["default_accuracy"])
    four = row_of(table, method="both", k="4")
    assert (four["difference"], four["default_accuracy"]) == (37.5, 50)
    # Of four comparisons with a p-value, two have the smallest one.
    assert four["p_holm"] == pytest.approx(4 * four["p_value"], rel=1e-4)
    assert {
        row["k"]: row["claim"] for row in table_rows(table) if (row["method"], row["judge_model"]) == ("both", "m")
    } == {
        "1": "small",
        "4": "better",
        "all": "better",
    }
    # Twelve users' interval lies above 0 as well, and p after adjustment does not carry it.
    some = [(cell, {user: said[user] for user in users[:12]}) for cell, said in cells]
    fewer = row_of(table_of(frame_of(tmp_path / "12", some), context), method="both", k="4", judge_model="m")
    assert (fewer["ci_low"] > 0, fewer["p_value"] < 0.05) == (True, True)
    assert (fewer["claim"], fewer["smallest_k"]) == ("too few", "none")


@pytest.mark.parametrize("spoilt", ["outage", "default_outage"])
def test_an_outage_carries_no_claim(tmp_path: Path, spoilt: str) -> None:
    users = [f"u{n:02d}" for n in range(20)]
    said = {"default_outage": dict.fromkeys(users, "0000"), "outage": dict.fromkeys(users, "1111")}
    said[spoilt]["u00"] = "eeee"
    cells = [(default(), said["default_outage"]), (learned(k=1), said["outage"])]
    table = table_of(frame_of(tmp_path, cells), {("d", user): 8 for user in users})
    assert (row_of(table)[spoilt], row_of(table)["claim"], row_of(table)["smallest_k"]) == (True, "", "-")


def test_a_claim_counts_the_users_that_are_compared(tmp_path: Path) -> None:
    users = [f"u{n:02d}" for n in range(20)]
    for compared, claim in ((5, "too few"), (6, "small")):
        cells = [(default(), dict.fromkeys(users[:compared], "10" * 8)), (learned(k=1), dict.fromkeys(users, "10" * 8))]
        row = row_of(table_of(frame_of(tmp_path / claim, cells), {("d", user): 8 for user in users}))
        assert (row["n_users"], row["claim"]) == (20, claim)


def test_notes_and_captions_say_when_a_k_is_better(tmp_path: Path) -> None:
    table = table_of(
        frame_of(tmp_path, [(learned(k=k), {"u": "10", "v": "11"}) for k in (1, 2)]), {("d", "u"): 8, ("d", "v"): 8}
    )
    (note,) = [note for note in scaling_notes(table) if note.startswith("Smallest k better than Default")]
    for text in (note, scaling_caption(table)):
        assert RULE in text
        assert "the numbers of no k allow that to be said" in text
    assert not any("lies above" in text for text in (*scaling_notes(table), scaling_caption(table)))
