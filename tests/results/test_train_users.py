"""The figure of accuracy against the number of train users: what stands where, and what is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.comparison_cases import assert_readable

from personalrm.results.figures.train_users_figure import RESULT, Entry, build, lines_of, train_users_figure
from personalrm.results.tables.main_table import COLUMNS as MAIN
from personalrm.results.tables.training_table import training_table

FEWER = {
    "few (unseen, 8 train users)": Entry("all", "few"),
    "more (unseen, 24 train users)": Entry("all", "more"),
    "all (unseen)": Entry("all", "all"),
}


def row(judge: str, method: str, accuracy: float, k: str = "4", dataset: str = "d") -> dict[str, Any]:
    named = {"dataset": dataset, "variant": "baseline", "profile_model": "-", "judge_model": judge, "method": method}
    found = {"accuracy": accuracy, "ci_low": accuracy - 5, "ci_high": accuracy + 5, "status": "ok"}
    return named | found | {"k": k}


def card(name: str, method: str, users: int | None, dataset: str = "d") -> dict[str, Any]:
    known = {"dataset": dataset, "name": name, "regime": "unseen", "method": method, "seed": 0, "hyper": {}}
    return known | {"train_users": users, "train_pairs": 99, "validation_users": 4}


CARDS = [card("all", "fspo", 61), card("all", "ipo", 61), card("few", "fspo", 8), card("more", "fspo", 24)]


def rows() -> list[dict[str, Any]]:
    found = [row(judge, "fspo", 50 + 4.0 * place) for place, judge in enumerate(FEWER)]
    # A smaller k of the same, a method without training, another judge, and one without a number.
    found += [row("all (unseen)", "fspo", 51.0, k="1"), row("all (unseen)", "few_shot_prompt", 50.0)]
    return [*found, row("other (unseen)", "fspo", 99.0), row("all (unseen)", "ipo", 47.0, k="-")]


def test_points_stand_at_the_users_of_their_training_and_at_the_largest_k() -> None:
    lines = lines_of(MAIN.frame(rows()), training_table(CARDS), FEWER)
    assert {place: list(each) for place, each in lines.items()} == {("d", "all"): ["fspo", "ipo"]}
    fspo = lines["d", "all"]["fspo"]
    assert [(one.users, one.accuracy, one.low, one.high, one.k) for one in fspo] == [
        (8, 50.0, 45.0, 55.0, "4"),
        (24, 54.0, 49.0, 59.0, "4"),
        (61, 58.0, 53.0, 63.0, "4"),
    ]


def test_points_stand_at_the_users_of_their_data_set_or_of_the_one_that_all_weights_are_trained_on() -> None:
    judges = ("few (unseen, 8 train users)", "all (unseen)")
    main = MAIN.frame(row(judge, "fspo", 60.0, dataset=dataset) for dataset in ("d", "e") for judge in judges)
    own = [card(name, "fspo", users, "d") for name, users in (("few", 8), ("all", 61))]
    own += [card(name, "fspo", users, "e") for name, users in (("few", 8), ("all", 149))]

    def users(cards: list[dict[str, Any]], source: str) -> dict[str, list[int]]:
        lines = lines_of(main, training_table(cards), {judge: FEWER[judge]._replace(source=source) for judge in judges})
        return {dataset: [one.users for one in lines[dataset, "all"]["fspo"]] for dataset, _ in lines}

    assert users(own, "") == {"d": [8, 61], "e": [8, 149]}
    assert users(own[:2], "d") == {"d": [8, 61], "e": [8, 61]}


def test_a_control_stands_at_the_users_of_the_training_whose_weights_it_judges_with() -> None:
    controls = ("fspo_no_shots", "fspo_other_user", "bt_persona_other_user")
    main = MAIN.frame(row(judge, method, 50.0) for judge in FEWER for method in controls)
    cards = [*CARDS, *(card(name, "bt_persona", 5) for name in ("all", "few", "more"))]
    lines = lines_of(main, training_table(cards), FEWER)["d", "all"]
    found = {method: [one.users for one in line] for method, line in lines.items()}
    assert found == dict(zip(controls, ([8, 24, 61], [8, 24, 61], [5, 5, 5]), strict=True))


def test_the_figure_has_a_tick_for_each_number_and_a_line_for_each_method() -> None:
    lines = lines_of(MAIN.frame(rows()), training_table(CARDS), FEWER)
    figure, others = train_users_figure(lines, title_note="run r")
    assert_readable(figure)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["8", "24", "61"]
    drawn = [list(map(float, line.get_ydata())) for line in axes.lines if len(line.get_xdata()) == 3]
    assert drawn == [[50.0, 54.0, 58.0]]
    assert not others


def test_the_figure_is_made_of_published_tables_or_says_that_there_is_nothing(tmp_path: Path) -> None:
    for name, table in (("main", MAIN.frame(rows())), ("training", training_table(CARDS))):
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    paths = (tmp_path / "main.csv", tmp_path / "training.csv")
    drawing = build(*paths, fewer_users=FEWER, title_note="run r")
    assert drawing.figure is not None
    assert "each method at its largest k (4)" in drawing.caption
    nothing = build(*paths, fewer_users={"absent (unseen)": Entry("absent", "absent")}, title_note="")
    assert nothing.figure is None
    assert "no reward model that learned from fewer users has a result" in nothing.caption
    assert RESULT.when == "train_users"
