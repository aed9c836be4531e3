"""The funnel figure: bars where the table says, numbers beside, nothing outside, equal bytes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from support.comparison_cases import assert_readable, texts_of
from support.result_cases import written_twice

from personalrm.data.filters.funnel import Funnel, FunnelStep
from personalrm.studies.synthesizeme.results.funnel_figure import NAME_LENGTH, funnel_caption, funnel_figure
from personalrm.studies.synthesizeme.results.funnel_table import funnel_table

STEPS = {
    "prism": [
        ("votes read", 1396, 8011, 97211),
        ("personalizable: query and its answers rated at least 3 of 5 by the rater", 900, 4000, 20000),
        ("users with at least 5 pairs, $x$ and $y$", 723, 3900, 16705),
    ],
    "tiny": [("votes read", 1, 2, 3)],
    "millions": [("votes read", 1_234_567, 1_234_567, 12_345_678), ("everything dropped", 0, 0, 0)],
}


def funnel_of(name: str, steps: list[tuple[str, int, int, int]]) -> Funnel:
    left = tuple(FunnelStep(step=s, users=u, conversations=c, pairs=p) for s, u, c, p in steps)
    return Funnel(dataset=name, steps=left, dropped={"tie": 7})


@pytest.fixture
def table() -> pd.DataFrame:
    return funnel_table(funnel_of(name, steps) for name, steps in STEPS.items())


def spans(figure: Figure, panel: int) -> list[tuple[float, float]]:
    patches = [patch for patch in figure.axes[panel].patches if isinstance(patch, Rectangle)]
    return sorted((patch.get_x(), patch.get_x() + patch.get_width()) for patch in patches)


def test_bars_are_what_is_left_and_pale_ones_what_was_removed(table: pd.DataFrame) -> None:
    figure = funnel_figure(table)
    assert len(figure.axes) == 3
    assert spans(figure, 0) == [(0, 16705), (0, 20000), (0, 97211), (16705, 20000), (20000, 97211)]
    assert spans(figure, 2) == [(0, 0), (0, 12_345_678), (0, 12_345_678)]
    assert [axes.get_xlim()[1] for axes in figure.axes] == [97211, 3, 12_345_678]


def test_numbers_stand_beside_the_bars_on_their_row(table: pd.DataFrame) -> None:
    texts = texts_of(funnel_figure(table, title_note="run x"))
    for number in ("16,705", "−3,295", "723", "3,900", "run x", "prism", "millions"):
        assert number in texts
    # Bars and drops by reason are apart: the 7 ties have no bar and no number.
    assert "7" not in texts


def test_long_names_wrap_without_breaking_words(table: pd.DataFrame) -> None:
    (wrapped,) = [text for text in texts_of(funnel_figure(table)) if text.startswith("personalizable")]
    lines = wrapped.split("\n")
    assert " ".join(lines) == STEPS["prism"][1][0]
    assert len(lines) == 3
    assert max(map(len, lines)) <= NAME_LENGTH
    assert min(map(len, lines)) > NAME_LENGTH / 2


def test_nothing_is_drawn_outside_the_figure_and_no_texts_meet(table: pd.DataFrame) -> None:
    assert_readable(funnel_figure(table, title_note="run x"))


def test_the_figure_has_equal_bytes_each_time_and_a_caption(tmp_path: Path, table: pd.DataFrame) -> None:
    table.to_csv(tmp_path / "funnel.csv", index=False)
    written_twice("figure_funnel", tmp_path, table_funnel=tmp_path / "funnel.csv")
    assert "prism: 16,705 of 97,211 pairs and 723 of 1,396 users" in (tmp_path / "one" / "funnel.txt").read_text()


def test_an_empty_funnel_is_an_empty_panel() -> None:
    assert len(funnel_figure(funnel_table([])).axes) == 1
    empty = funnel_table([Funnel(dataset="none", dropped={"tie": 0})])
    assert "none" in texts_of(funnel_figure(empty))
    assert "Each data set" in funnel_caption(empty)
