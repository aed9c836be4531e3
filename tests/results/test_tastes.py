"""The table and figure of tastes: who is counted and named, at several k, draws and models."""

from __future__ import annotations

from pathlib import Path

from support.comparison_cases import assert_readable

from personalrm.core.conditions import K
from personalrm.core.tastes import Taste, TasteWeights, UserTaste
from personalrm.results.figures.tastes_figure import shown_users, tastes_caption, tastes_figure
from personalrm.results.tables.tastes_table import (
    MOST_PERSONAS,
    read_tastes_table,
    tastes_blocks,
    tastes_notes,
    tastes_table,
)


def row(user: str, k: K = "all", draw: int = 0, *, model: str = "m", own: bool = True) -> UserTaste:
    """The taste of a user, with effects of two attributes if it is their own."""
    effects = {"effect": (1.0, -2.0), "effect_sd": (0.9, 0.1)} if own else {}
    taste = Taste(
        names=("warm", "long"),
        bias=(0.0, 0.0),
        scale=(1.0, 1.0),
        weights=TasteWeights(mean=(1.0, 1.0), sd=(1.0, 1.0), **effects),
        own=own,
        n_votes=5,
        log_loss=0.5,
        null_log_loss=0.69,
        n_right=4,
    )
    persona = f"{user} prefers warm answers" if own else None
    return _named(user, k, draw, model, taste=taste, persona=persona)


def _named(user: str, k: K, draw: int, model: str, **more: object) -> UserTaste:
    named = {"dataset": "d", "user_id": user, "model": model, "k": k, "draw": draw, "status": "ok"}
    return UserTaste.model_validate(named | more)


def few_and_many() -> list[UserTaste]:
    """u and v have a taste of their own at k = all alone, and at k = 2 u in one of two draws; w has no votes."""
    nothing = {"status": "empty", "reason": "no context pairs"}
    two = [row("u", 2, 0, own=False), row("u", 2, 1), row("v", 2, 0, own=False), row("v", 2, 1, own=False)]
    return [*two, row("u"), row("v"), _named("w", "all", 0, "m", **nothing)]


def test_users_are_counted_for_each_draw_and_personas_are_of_the_largest_k() -> None:
    counted, told = (block.texts for block in tastes_blocks(tastes_table(few_and_many())))
    columns = ["k", "Draw", "Users", "With own taste", "With a persona"]
    assert counted[columns].astype(str).to_numpy().tolist() == [
        ["2", "0", "2", "0", "0"],
        ["2", "1", "2", "1", "1"],
        ["all", "0", "3", "2", "2"],
    ]
    assert told[["User", "Predicted from the others", "Own taste"]].to_numpy().tolist() == [
        ["u", "4 of 5", "yes"],
        ["v", "4 of 5", "yes"],
        ["w", "–", "no"],
    ]
    (all_alone, _) = tastes_blocks(tastes_table([row("u")]))
    assert "Draw" not in all_alone.texts


def test_no_order_of_rows_changes_the_table() -> None:
    rows = few_and_many()
    assert tastes_table(rows).equals(tastes_table(rows[::-1]))


def test_personas_that_are_left_out_are_counted_for_all_models() -> None:
    users = [f"u{number:02}" for number in range(MOST_PERSONAS // 2 + 2)]
    table = tastes_table([row(user, model=model) for user in users for model in "mn"])
    assert len(tastes_blocks(table)[1].texts) == MOST_PERSONAS
    assert tastes_notes(table)[-1] == "4 more personas: in the csv file."
    assert not any("more personas" in note for note in tastes_notes(tastes_table([row(user) for user in users])))


def test_the_figure_and_its_caption_are_of_the_largest_k() -> None:
    table = tastes_table(few_and_many())
    assert list(shown_users(table)) == [("d", "m", "u"), ("d", "m", "v")]
    assert [one["feature"] for one in shown_users(table)["d", "m", "u"]] == ["long", "warm"]
    caption = tastes_caption(table)
    assert "No taste of their own: w." in caption
    assert "more users" not in caption
    many = tastes_caption(tastes_table([row(f"u{number:02}", own=False) for number in range(11)]))
    assert "No taste of their own: u00, u01, " in many
    assert many.endswith("u05 and 5 more.")
    assert_readable(tastes_figure(table))


def test_the_axes_of_narrow_panels_stay_readable() -> None:
    published = Path(__file__).parents[2] / "docs" / "tastes" / "tastes.csv"
    assert_readable(tastes_figure(read_tastes_table(published)))
