"""Dumbbells: which method is shown, in which order users stand, and who is left out."""

from __future__ import annotations

import pandas as pd
import pytest
from support.comparison_cases import assert_readable, points_of, texts_of

from personalrm.methods.registry import mark_of
from personalrm.results.figures.dumbbells_figure import MOST_USERS, dumbbells_caption, dumbbells_figure, largest_gains
from personalrm.results.tables.users_table import USER_COLUMNS


def row(user: str, method: str, accuracy: float, difference: float, **more: object) -> dict[str, object]:
    """A user under a judge with its own profile, at k = all."""
    named = {"dataset": "d", "variant": "corrected", "profile_model": "m", "judge_model": "m", "k": "all"}
    counts = {"n_judgments": 4, "n_compared": 4, "status": "ok"}
    return {**named, "user_id": user, "method": method, "accuracy": accuracy, "difference": difference} | counts | more


def tabled(*rows: dict[str, object]) -> pd.DataFrame:
    return USER_COLUMNS.frame({**dict.fromkeys(USER_COLUMNS, 0), **one} for one in rows)


NAMES = ("amara", "bjorn", "chen", "dalia", "elena")
ROWS = (
    row("amara", "both", 75.0, -25.0),
    row("bjorn", "both", 75.0, 75.0),
    row("chen", "both", 50.0, 0.0),
    *(row(user, "persona", 50.0, 10.0) for user in ("amara", "bjorn", "chen")),
    *(row(user, "oracle", 100.0, 100.0) for user in ("amara", "bjorn", "chen")),
    *(row(user, "both", 100.0, 90.0, k="2") for user in ("amara", "bjorn", "chen")),
    *(row(user, "demos@all", 100.0, 90.0) for user in ("amara", "bjorn", "chen")),
    *(row(user, "both", 100.0, 90.0, judge_model="n") for user in ("amara", "bjorn", "chen")),
    row("dalia", "both", 100.0, 90.0, n_compared=3),
    row("elena", "both", 0.0, 0.0, status="no verdicts"),
)


def test_the_method_has_the_largest_mean_over_judgments_and_is_not_the_oracle() -> None:
    (gain,) = largest_gains(tabled(*ROWS)).values()
    assert (gain.way["method"], gain.way["k"], gain.mean) == ("both", "all", pytest.approx(50 / 3))
    few = row("bjorn", "demos", 50.0, 60.0, n_judgments=1, n_compared=1)
    # 16 points over 5 judgments; 32.5 if each user counted alike.
    (gain,) = largest_gains(tabled(*ROWS, few, row("chen", "demos", 50.0, 5.0))).values()
    assert gain.way["method"] == "both"


def test_users_who_gain_most_come_first_and_each_has_both_marks() -> None:
    figure = dumbbells_figure(tabled(*ROWS), title_note="run x")
    (axes,) = figure.axes
    default, method = mark_of("default").marker, mark_of("both").marker
    assert points_of(axes) == [
        *((default, 0.0, 0.5), (method, 75.0, 0.5)),
        *((default, 50.0, 1.5), (method, 50.0, 1.5)),
        *((default, 100.0, 2.5), (method, 75.0, 2.5)),
    ]
    styles = [line.get_linestyle() for line in axes.lines if line.get_linewidth() == 2.2]
    assert styles == ["-", "-", ":"]
    texts = [text.get_text() for text in axes.texts]
    assert [text for text in texts if text in NAMES] == ["bjorn", "chen", "amara"]
    assert {"+75 (4)", "0 (4)", "−25 (4)", "1 gain, 1 lose, 1 stay; mean +16.7 points"} <= set(texts)
    assert {"Default", "SynthesizeMe: persona + demonstrations"} <= set(texts_of(figure))
    assert_readable(figure)


def test_of_many_users_a_sample_at_equal_distances_is_drawn_and_told() -> None:
    table = tabled(*(row(f"u{number:03}", "both", 50.0, float(100 - number)) for number in range(79)))
    (gain,) = largest_gains(table).values()
    drawn = [user["user_id"] for user in gain.drawn]
    assert drawn == [f"u{number:03}" for number in range(0, 79, 2)]
    assert len(drawn) == MOST_USERS
    assert "d: 40 of 79 users, at equal distances in the order of their difference." in dumbbells_caption(table)
    assert "of 3 users" not in dumbbells_caption(tabled(*ROWS))
    assert "d: SynthesizeMe: persona + demonstrations by m." in dumbbells_caption(tabled(*ROWS))
