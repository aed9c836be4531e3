"""The forest of differences: which comparisons are drawn where, and what is left out."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from support.comparison_cases import assert_readable, points_of, texts_of

from personalrm.methods.registry import mark_of
from personalrm.results.figures.forest_figure import forest_caption, forest_figure, shown_lines
from personalrm.results.tables.differences_table import DIFFERENCE_COLUMNS


def row(
    method: str, reference: str = "default", difference: float = 10.0, half: float = 5.0, **more: object
) -> dict[str, object]:
    """A comparison by a judge with its own profile, at k = all."""
    named = {"dataset": "d", "variant": "corrected", "profile_model": "m", "judge_model": "m", "k": "all"}
    bounds = {"difference": difference, "ci_low": difference - half, "ci_high": difference + half}
    counts = {"n_users": 4, "status": "ok", "p_holm": 0.2}
    return {**named, "method": method, "reference": reference, **bounds, **counts, **more}


def tabled(*rows: dict[str, object]) -> pd.DataFrame:
    return DIFFERENCE_COLUMNS.frame({**dict.fromkeys(DIFFERENCE_COLUMNS, 0), **one} for one in rows)


ROWS = (
    row("both", difference=-12.5, p_holm=0.01),
    row("both", "persona", difference=2.0),
    row("persona"),
    row("persona", k="2", difference=77.0),
    row("both", difference=66.0, judge_model="n"),
    row("words@loo", "surface_user@loo", judge_model="-", profile_model="-", variant="baseline", difference=0.0),
    row("criteria", difference=math.nan, status="not applicable"),
)


def test_default_comes_first_and_lines_are_in_the_order_of_methods() -> None:
    ((lines), missing) = shown_lines(tabled(*ROWS))
    assert [list(found) for found in lines.values()] == [
        [("persona", "default"), ("both", "default"), ("both", "persona"), ("words@loo", "surface_user@loo")]
    ]
    assert missing == ["Criteria judge (opt-in) − Default: not applicable"]


def test_each_line_has_its_mark_interval_and_number() -> None:
    figure = forest_figure(tabled(*ROWS), title_note="run x")
    (axes,) = figure.axes
    markers = [mark_of(name).marker for name in ("persona", "both", "both", "words")]
    places = [(10.0, 1.5), (-12.5, 2.5), (2.0, 4.5), (0.0, 5.5)]
    assert points_of(axes) == [(marker, *place) for marker, place in zip(markers, places, strict=True)]
    intervals = [np.array(line.get_xdata()).tolist() for line in axes.lines if line.get_alpha()]
    assert intervals == [[5, 15], [-17.5, -7.5], [-3, 7], [-5, 5]]
    # Hollow where 0 lies inside.
    faces = [str(line.get_markerfacecolor()) for line in axes.lines if np.size(line.get_xdata()) == 1]
    assert faces == [mark_of("persona").colour, mark_of("both").colour, "white", "white"]
    texts = texts_of(figure)
    numbers = [text for text in texts if text in ("+10.0", "−12.5", "+2.0", "0.0", "+77.0", "+66.0")]
    assert numbers == ["+10.0", "−12.5", "+2.0", "0.0"]
    weights = {text.get_text(): text.get_weight() for text in axes.texts}
    assert (weights["−12.5"], weights["+10.0"]) == ("bold", "normal")
    assert {"less Default", "persona + demonstrations − persona"} <= set(texts)
    assert "Words: own weights − Surface: own weights, leave-one-out" in texts
    assert_readable(figure)


def test_judges_stand_side_by_side_with_the_same_rows() -> None:
    figure = forest_figure(tabled(*ROWS, row("memory", judge_model="o", profile_model="o")))
    assert len(figure.axes) == 2
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    (first, second) = (axes.get_position() for axes in figure.axes)
    assert first.y0 == second.y0
    # Rows are named once: Memory, of the second judge alone, is among the names of the first panel.
    assert [text.get_text() for text in figure.axes[0].texts].count("Memory (extracted facts)") == 1


def test_the_caption_names_what_has_no_number() -> None:
    caption = forest_caption(tabled(*ROWS))
    assert "(4 users)" in caption
    assert "Without a number: Criteria judge (opt-in) − Default: not applicable." in caption


def test_the_difference_of_one_user_has_no_interval_and_stands_in_the_panel() -> None:
    table = tabled(row("both", difference=50.0, half=math.nan, n_users=1))
    figure = forest_figure(table)
    assert points_of(figure.axes[0])[0][1] < figure.axes[0].get_xlim()[1]
    assert_readable(figure)
    assert "(1 user)" in forest_caption(table)
