"""The table and figure of persona axes: prevalence, sentences and agreement computed by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from personalrm.core.conditions import K
from personalrm.personas.records import Axis, AxisSet, Kind, Tag, TaggedPersona
from personalrm.results.figure_style import save_figure
from personalrm.results.figures.axes_figure import axes_caption, axes_figure, panels_of
from personalrm.results.table_formats import write_table
from personalrm.results.tables.axes_agreement import UNREAD, Codes, agreement, equal_shares
from personalrm.results.tables.axes_table import (
    AXES_COLUMNS,
    NO_AXIS,
    RESULT,
    axes_blocks,
    axes_notes,
    axes_table,
    read_axes_table,
)

AXES = (Axis(name="Tone", low="cold", high="warm"), Axis(name="Cost $5 to $9", low="a|b", high="c_d"))
NAMED = AxisSet(
    dataset="d", variant="corrected", model="j", axes=AXES, shown=4, events=("1 of 5 personas did not fit",)
)
LETTERS: dict[str, Tag | None] = {"l": "low", "h": "high", "-": "absent", "?": None}


def tagged(
    user: str, tags: str, kinds: Sequence[Kind | None] = (), *, model: str = "m", k: K = "all", draw: int = 0
) -> TaggedPersona:
    return TaggedPersona(
        dataset="d",
        user_id=user,
        variant="corrected",
        profile_model=model,
        model="j",
        k=k,
        draw=draw,
        status="ok" if tags else "empty",
        tags=tuple(LETTERS[letter] for letter in tags),
        kinds=tuple(kinds),
    )


PEOPLE = [
    tagged("a", "lh", ["values", "format", "format"]),
    tagged("b", "l-", ["format"]),
    tagged("c", "h?", ["topic", None]),
    tagged("e", "--"),
    tagged("f", ""),
]


def test_prevalence_and_sentences_by_hand() -> None:
    table = axes_table([NAMED], PEOPLE, "all", seed=1, n_resamples=99)
    assert tuple(table.columns) == AXES_COLUMNS
    counts = ["n_items", "n_found", "n_low", "n_high", "n_unread"]
    axes = table[table["part"] == "axis"].set_index("name")
    assert axes.loc["Tone", counts].tolist() == [4, 3, 2, 1, 0]
    assert axes.loc["Cost $5 to $9", counts].tolist() == [3, 1, 0, 1, 1]
    assert axes.loc["Tone", "share"] == 75
    assert axes.loc["Tone", ["ci_low", "ci_high"]].tolist() == pytest.approx([30.0642, 95.4413], abs=1e-3)
    kinds = table[table["part"] == "sentences"].set_index("name")
    assert kinds["n_found"].tolist() == [1, 1, 3, 0]
    assert kinds["share"].tolist() == [20, 20, 60, 0]
    assert (kinds["n_items"] == 5).all()
    assert (kinds["n_unread"] == 1).all()
    assert "agreement" not in set(table["part"])


def test_only_the_first_draw_at_the_largest_k_is_counted() -> None:
    more = [*PEOPLE, tagged("a", "hh", k=2), tagged("a", "hh", k="all", draw=1)]
    first, second = (axes_table([NAMED], people, "all", seed=1, n_resamples=9) for people in (PEOPLE, more))
    assert first.equals(second[second["part"] != "agreement"])


def test_no_axis_is_a_visible_row(tmp_path: Path) -> None:
    mute = NAMED.model_copy(update={"axes": (), "events": ("the model named no axis",)})
    people = [_bare(user) for user in "ab"]
    table = axes_table([mute], people, "all", seed=1, n_resamples=9)
    row = table[table["part"] == "axis"].iloc[0]
    assert (row["name"], row["n_users"], row["n_items"]) == (NO_AXIS, 2, 0)
    assert math.isnan(row["share"])
    assert any("the model named no axis" in note for note in axes_notes(table, [mute]))
    save_figure(axes_figure(table), tmp_path / "axes")


def _bare(user: str) -> TaggedPersona:
    return tagged(user, "-").model_copy(update={"tags": (), "kinds": ("other",)})


A, B = np.array([[0, 0], [1, 1]]), np.array([[0, 0], [1, 0]])


def test_agreement_by_hand() -> None:
    found = agreement([(A, B)], seed=1, n_resamples=99)
    # Own: 1 and 1/2. Others: u0 (A0 with B1: 1/2, A1 with B0: 0) 1/4, u1 the same.
    assert (found.n_users, found.n_tags, found.own, found.others) == (2, 4, 0.75, 0.25)
    assert found.difference.estimate == 0.5
    # Four tags of two users leave nearly everything open.
    assert found.difference.low < 0.25
    assert 0.75 < found.difference.high <= 1


def test_what_was_not_read_is_left_out() -> None:
    second = np.array([[0, UNREAD], [UNREAD, UNREAD]])
    assert equal_shares(A, second)[0].tolist()[0] == 1
    assert np.isnan(equal_shares(A, second)[:, 1]).all()
    third = np.array([[0, UNREAD], [1, 1]])
    found = agreement([(A, third)], seed=1, n_resamples=9)
    assert (found.own, found.n_tags) == (1, 3)
    nobody = agreement([(A, np.full_like(A, UNREAD))], seed=1, n_resamples=9)
    assert nobody.n_users == 0
    assert math.isnan(nobody.own)


codes = arrays(np.int64, (5, 3), elements=st.integers(-1, 2))


@given(codes, codes)
def test_agreement_is_symmetric_and_bounded(first: Codes, second: Codes) -> None:
    one, two = (agreement([pair], seed=1, n_resamples=20) for pair in ((first, second), (second, first)))
    assert one.n_users == two.n_users
    if one.n_users:
        assert one.own == pytest.approx(two.own)
        assert one.others == pytest.approx(two.others)
        assert one.difference.estimate == pytest.approx(one.own - one.others)
        assert 0 <= one.own <= 1
        assert 0 <= one.others <= 1


def test_agreement_across_models_and_draws_is_a_row_each() -> None:
    people = [tagged(user, tags, model=model) for model in "mn" for user, tags in (("a", "ll"), ("b", "hh"))]
    people += [tagged(u, t, k=2, draw=d) for d in range(3) for u, t in (("a", "ll"), ("b", "hl" if d == 2 else "hh"))]
    table = axes_table([NAMED], people, "all", seed=1, n_resamples=99)
    rows = table[table["part"] == "agreement"]
    assert rows[["name", "profile_model", "k"]].to_numpy().tolist() == [["models", "m, n", "all"], ["draws", "m", "2"]]
    models, draws = rows.to_dict(orient="records")
    assert (models["share"], models["share_others"], models["n_items"]) == (100, 0, 4)
    # Pairs of draws (0, 1), (0, 2), (1, 2): own 1, then 3/4 twice; two users 0, then 1/4 twice.
    assert draws["share"] == pytest.approx(100 * 2.5 / 3, abs=1e-3)
    assert draws["share_others"] == pytest.approx(100 * 0.5 / 3, abs=1e-3)
    assert draws["difference"] == pytest.approx(100 * 2 / 3, abs=1e-3)


def test_agreement_across_disjoint_parts_by_hand_and_not_applicable_to_those_of_one() -> None:
    halves = [("a", 0, "ll"), ("a", 1, "lh"), ("b", 0, "hh"), ("b", 1, "hh"), ("c", 0, "ll"), ("c", 1, "")]
    people = [tagged(user, tags, k="halves", draw=draw) for user, draw, tags in halves]
    people += [tagged(user, "", k="types", draw=draw) for user in "ab" for draw in range(3)]
    table = axes_table([NAMED], people, "all", seed=1, n_resamples=99)
    rows = table[table["part"] == "agreement"]
    assert rows[["name", "profile_model", "k"]].to_numpy().tolist() == [["halves", "m", "-"], ["types", "m", "-"]]
    found, types = rows.to_dict(orient="records")
    # a agrees on one axis of two, b on both; c has one half only.
    assert (found["n_users"], found["n_items"], found["share"]) == (2, 4, 75)
    # a0-b1 0 and b0-a1 1/2, for a also c0-a1 1/2, for b also c0-b1 0: a (0 + 1/2 + 1/2) / 3, b (0 + 1/2 + 0) / 3.
    assert found["share_others"] == 25
    assert found["difference"] == 50
    assert types["n_users"] == 0
    assert math.isnan(types["share"])
    shown = axes_blocks(table)[-1].texts.set_index("Personas from")["Difference, points [95 % CI]"]
    assert shown["conversations of different types"] == "not applicable"
    assert shown["disjoint halves of the conversations"].startswith("+50")
    notes = " ".join(axes_notes(table, [NAMED]))
    assert "no user has two such personas" in notes
    assert "not run: two models (it needs two models); several draws of context pairs (it needs draws > 1" in notes
    assert "in analysis.axes.disjoint" not in notes
    alone = " ".join(axes_notes(axes_table([NAMED], PEOPLE, "all", seed=1, n_resamples=9), [NAMED]))
    assert "disjoint halves of the conversations (it needs halves in analysis.axes.disjoint)" in alone


def test_table_and_figure_are_made_from_the_csv_alone(tmp_path: Path) -> None:
    table = axes_table([NAMED], PEOPLE, "all", seed=1, n_resamples=99)
    write_table(
        table, tmp_path / "axes", caption=RESULT.title, notes=axes_notes(table, [NAMED]), blocks=axes_blocks(table)
    )
    read = read_axes_table(tmp_path / "axes.csv")
    assert read.equals(table)
    assert [[row["name"] for row in rows] for rows in panels_of(read).values()] == [["Tone", "Cost $5 to $9"]]
    figure = axes_figure(read, title_note="synthetic")
    once, twice = (save_figure(figure, tmp_path / name) for name in ("one", "two"))
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in twice]
    shown = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert {"Tone", "cold … warm", "3 of 4", "1 of 3"} <= shown
    assert "d, m: 4 personas" in axes_caption(read)
    assert "1 of 5 personas did not fit" in (tmp_path / "axes.md").read_text()
