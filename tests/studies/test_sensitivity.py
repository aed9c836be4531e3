"""Table and figure of the filters' thresholds: counts by hand, honest notes, bars where the table says, equal bytes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from support.result_cases import write_result, written_twice

from personalrm.core.errors import DataError
from personalrm.core.records import PreferencePair, Turn, write_records
from personalrm.data.filters.filter_settings import DisagreementSettings, FilterSettings, PersonalizableSettings
from personalrm.data.filters.filters import Said, Sensitivity, sensitivity, survivors
from personalrm.data.filters.ratings import PairRating, PanelVote
from personalrm.studies.synthesizeme.results.sensitivity_figure import sensitivity_caption, sensitivity_figure
from personalrm.studies.synthesizeme.results.sensitivity_table import (
    FILTER_LABELS,
    SENSITIVITY_COLUMNS,
    read_sensitivity,
    read_sensitivity_table,
    sensitivity_blocks,
    sensitivity_notes,
    sensitivity_table,
    went_in,
)

FILTERS = FilterSettings(
    personalizable=PersonalizableSettings(model="r", min_query=2.5),
    disagreement=DisagreementSettings(models=["a", "b"], remove_from=0.75),
)
MIN_PAIRS = 2
QUERY: dict[str, list[int | None]] = {"u": [5, 4, 3, None], "v": [1, 2, 3]}
"""Ratings of the queries of two users; all responses are rated 4."""


def pair(user: str, number: int) -> PreferencePair:
    context = (Turn(role="user", content=f"{user} {number}"),)
    return PreferencePair(user_id=user, pair_id=f"{user}{number}", context=context, chosen="x", rejected="y")


def vote(key: str, number: int, favours: Literal["chosen", "rejected"]) -> PanelVote:
    outcome: Literal["correct", "wrong"] = "correct" if favours == "chosen" else "wrong"
    return PanelVote(pair_id=key, swapped=bool(number % 2), favours=favours, outcome=outcome)


PAIRS = {user: [pair(user, n) for n in range(len(ratings))] for user, ratings in QUERY.items()}
SAID = Said(
    {
        f"{u}{n}": PairRating(pair_id=f"{u}{n}", query=q, responses=4)
        for u, mine in QUERY.items()
        for n, q in enumerate(mine)
    },
    {
        "u0": [vote("u0", n, "chosen") for n in range(4)],
        "u1": [vote("u1", n, "chosen" if n else "rejected") for n in range(4)],
        "u2": [vote("u2", n, "chosen" if n % 2 else "rejected") for n in range(4)],
        "v2": [vote("v2", n, "rejected") for n in range(4)],
    },
)


def by_hand(dataset: str = "data") -> list[Sensitivity]:
    """What the stage writes for two users, seven pairs, one pair without a query rating and without a vote."""
    return sensitivity(dataset, PAIRS, SAID, FILTERS, MIN_PAIRS)


def many(dataset: str, steps: int, pairs: int) -> list[Sensitivity]:
    """A panel of many members, whose numbers are as wide as they come."""
    return [
        Sensitivity(
            dataset=dataset,
            filter="panel",
            threshold=round((steps + n + 1) / (2 * steps), 6),
            is_default=n == steps - 2,
            users=n,
            pairs=pairs * n // steps,
            undecided=pairs * n // (3 * steps),
            base_users=1_234_567,
            base_pairs=pairs,
        )
        for n in range(steps)
    ]


APPLY = {"data": True, "$tried$": False, "members": True, "one": True}


@pytest.fixture
def table() -> pd.DataFrame:
    return sensitivity_table(
        [*by_hand(), *by_hand("$tried$"), *many("members", 11, 12_345_678), *many("one", 1, 0)],
    )


def cells(records: pd.DataFrame, name: str) -> list[tuple[float, int, int, int]]:
    rows = records[records["filter"] == name]
    return list(zip(rows["threshold"], rows["users"], rows["pairs"], rows["undecided"], strict=True))


def test_every_number_by_hand() -> None:
    table = sensitivity_table(by_hand())
    assert tuple(table.columns) == SENSITIVITY_COLUMNS
    query = [(1, 2, 7, 1), (2, 2, 6, 1), (2.5, 1, 4, 1), (3, 1, 4, 1), (4, 1, 3, 1), (5, 1, 2, 1)]
    assert cells(table, "query") == query
    assert [row[2] for row in cells(table, "responses")] == [7, 7, 7, 7, 0]
    # The ratings leave u0 to u3 and v2: v2 goes with its user, u3 has no votes and stays.
    assert cells(table, "panel") == [(0.75, 1, 2, 1), (1, 1, 3, 1)]
    assert table.loc[table["is_default"], "threshold"].tolist() == [2.5, 3, 0.75]
    assert table["pairs_share"].tolist()[:3] == [100, round(600 / 7, 4), round(400 / 7, 4)]
    assert table["pairs_share"].tolist()[-2:] == [40, 60]
    assert table.loc[table["filter"] == "panel", "base_users"].tolist() == [2, 2]
    # As the notes say: the panel's configured row is what all filters leave together.
    after = [len(mine) for mine in survivors(PAIRS, SAID, FILTERS)[-1][1].values()]
    assert [n for n in after if n >= MIN_PAIRS] == [2]


counts = st.integers(0, 10**7)


@st.composite
def sensitivities(draw: st.DrawFn) -> Sensitivity:
    base = draw(counts)
    pairs = draw(st.integers(0, base))
    return Sensitivity(
        dataset=draw(st.sampled_from(["NA", "nan", "1", "a,b", 'q"'])),
        filter=draw(st.sampled_from(list(FILTER_LABELS))),
        threshold=draw(st.floats(0, 5, allow_subnormal=False)),
        is_default=draw(st.booleans()),
        users=draw(counts),
        pairs=pairs,
        undecided=draw(st.integers(0, pairs)),
        base_users=draw(counts),
        base_pairs=base,
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(sensitivities(), max_size=5))
def test_the_csv_gives_back_table_and_records(
    tmp_path_factory: pytest.TempPathFactory, records: list[Sensitivity]
) -> None:
    path = tmp_path_factory.mktemp("t") / "table.csv"
    table = sensitivity_table(records)
    table.to_csv(path, index=False)
    pd.testing.assert_frame_equal(read_sensitivity_table(path), table)
    kept = table.drop(columns="pairs_share").to_dict(orient="records")
    assert [Sensitivity.model_validate(row) for row in kept] == records
    assert table["pairs_share"].dropna().between(0, 100).all()
    assert sum(len(block.texts) for block in sensitivity_blocks(table)) == len(records)


def test_blocks_mark_the_threshold_of_the_config(table: pd.DataFrame) -> None:
    query, responses, panel = sensitivity_blocks(table)
    assert query.title.startswith("Query")
    assert responses.title.startswith("Responses")
    assert query.texts.iloc[2].tolist() == ["data", "2.5", "yes", "1", "2", "4", "7", "57.1", "1"]
    assert query.texts["In the config"].tolist() == ["", "", "yes", "", "", ""] * 2
    assert panel.texts.iloc[-1].tolist()[-2:] == ["–", "0"]


def test_notes_say_what_went_in_and_where_nothing_was_removed() -> None:
    table = sensitivity_table([*by_hand(), *by_hand("tried")])
    apply, samples, least = {"data": True, "tried": False}, {"data": None, "tried": 3}, {"data": 2, "tried": 2}
    notes = sensitivity_notes(table, apply, samples, least)
    counted = "7 pairs of 2 users went into query and responses, 5 pairs of 2 users went into the panel; "
    counted += "users with fewer than 2 pairs left are taken out."
    assert f"data: {counted}" in notes
    assert f"tried: {counted}" in notes
    (warning,) = [note for note in notes if "nothing was removed" in note]
    assert warning.startswith("tried: ")
    assert "at most 3 pairs of each user" in warning
    assert notes[-1].endswith("goes on with: data.")
    text = " ".join(notes)
    for words in ("No model was asked again", "on the pairs that the ratings leave", "stay at every threshold"):
        assert words in text
    assert "about all pairs" in " ".join(sensitivity_notes(table, dict.fromkeys(apply, False), {}, {}))


def test_a_sample_below_the_user_filter_is_said_to_leave_nobody() -> None:
    table = sensitivity_table(by_hand())
    for sample, warned in ((1, True), (2, False)):
        notes = sensitivity_notes(table, {"data": False}, {"data": sample}, {"data": 2})
        assert any("none is left at any threshold" in note for note in notes) is warned
        assert any(f"at most {sample} pair{'s' * (sample > 1)} of each user" in note for note in notes)


def test_one_pair_of_one_user_is_not_plural() -> None:
    one = many("x", 1, 1)[0].model_copy(update={"base_users": 1})
    assert went_in(sensitivity_table([one])) == "1 pair of 1 user went into the panel"


def test_lines_that_are_no_record_and_filters_that_are_none_are_named(tmp_path: Path) -> None:
    path = tmp_path / "filter_sensitivity.jsonl"
    write_records(path, [by_hand()[0], by_hand()[1].model_copy(update={"filter": "mood"})])
    with pytest.raises(DataError, match=re.escape(str(path)) + ".*'mood'.*responses"):
        read_sensitivity([path])
    path.write_text('{"dataset": "x"}\n')
    with pytest.raises(DataError, match="line 1"):
        read_sensitivity([path])


def texts_of(figure: Figure) -> list[Text]:
    found = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    return [text for text in found if text.get_text() and text.get_visible()]


def bars(figure: Figure, panel: int) -> list[tuple[float, float, float]]:
    """Middle, bottom and top of each bar; frames reach over the whole column and are left out."""
    patches = [patch for patch in figure.axes[panel].patches if isinstance(patch, Rectangle)]
    return sorted(
        (round(p.get_x() + p.get_width() / 2, 6), p.get_y(), p.get_y() + p.get_height())
        for p in patches
        if p.get_width() < 1
    )


def test_bars_stack_undecided_decided_and_removed_pairs(table: pd.DataFrame) -> None:
    figure = sensitivity_figure(table, APPLY)
    assert len(figure.axes) == 3 + 3 + 1 + 1
    assert bars(figure, 2) == [(0, 0, 1), (0, 1, 2), (0, 2, 5), (1, 0, 1), (1, 1, 3), (1, 3, 5)]
    assert bars(figure, 0)[6:9] == [(2, 0, 1), (2, 1, 4), (2, 4, 7)]
    assert [axes.get_ylim()[1] for axes in figure.axes] == [7, 7, 5, 7, 7, 5, 12_345_678, 1]


def test_the_threshold_of_the_config_is_framed_and_bold(table: pd.DataFrame) -> None:
    axes = sensitivity_figure(table, APPLY).axes[0]
    frames = [p.get_x() for p in axes.patches if isinstance(p, Rectangle) and p.get_width() == 1]
    assert frames == [1.5, 1.5]  # a pale ground behind the bar, a frame before it
    bold = [text.get_text() for text in axes.texts if text.get_fontweight() == "bold"]
    assert bold == ["Query", "2.5", "4", "1", "1", "data"]


def test_headings_say_what_went_in_and_what_only_was_tried(table: pd.DataFrame) -> None:
    said = [text.get_text() for text in texts_of(sensitivity_figure(table, APPLY, title_note="run x"))]
    for text in ("run x", "data", "$tried$ (tried only: nothing removed)", "of 7 pairs, 2 users"):
        assert text in said
    assert said.count("threshold") == len(APPLY)
    caption = sensitivity_caption(table, APPLY)
    assert caption.count("nothing was removed") == 1
    assert "data: 7 pairs of 2 users went into query and responses, 5 pairs of 2 users went into the panel. " in caption


def test_nothing_is_drawn_outside_the_figure_and_no_texts_meet(table: pd.DataFrame) -> None:
    figure = sensitivity_figure(table, APPLY, title_note="run x")
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    drawn = [(text, text.get_window_extent()) for text in texts_of(figure)]
    for number, (text, box) in enumerate(drawn):
        assert 0 <= box.x0 <= box.x1 <= width, text
        assert 0 <= box.y0 <= box.y1 <= height, text
        for other, beside in drawn[number + 1 :]:
            assert not box.overlaps(beside), (text.get_text(), other.get_text())


def test_table_and_figure_have_equal_bytes_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_records(tmp_path / f"{name}.jsonl", by_hand(name))
    files = [tmp_path / f"{name}.jsonl" for name in ("b", "a")]
    apply = {"a": True, "b": False}
    notes: dict[str, object] = {"filters_sample": {"a": None, "b": 4}, "pairs_to_stay": {"b": 2}}
    stem = written_twice("table_filter_sensitivity", tmp_path, sensitivity=files, filters_apply=apply, **notes)
    csv = stem.with_suffix(".csv")
    written_twice("figure_filter_sensitivity", tmp_path, table_filter_sensitivity=csv, filters_apply=apply)
    assert read_sensitivity_table(tmp_path / "one" / "filter_sensitivity.csv")["dataset"].tolist()[0] == "b"
    assert "about at most 4 pairs of each user" in (tmp_path / "one" / "filter_sensitivity.md").read_text()


def test_no_filters_make_an_empty_table_and_figure(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").touch()
    settings: dict[str, object] = {"filters_apply": {}, "filters_sample": {}, "pairs_to_stay": {}}
    stem = write_result("table_filter_sensitivity", tmp_path, sensitivity=[tmp_path / "none.jsonl"], **settings)
    table = read_sensitivity_table(stem.with_suffix(".csv"))
    assert tuple(table.columns) == SENSITIVITY_COLUMNS
    assert [axes.axison for axes in sensitivity_figure(table, {}).axes] == [False]
    assert sensitivity_caption(table, {}).startswith("Preference pairs")
