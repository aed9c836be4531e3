"""The table and figure of training: cards of all kinds of methods, and curves of all seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.comparison_cases import assert_readable

from personalrm.core.errors import DataError
from personalrm.results.figures.training_figure import curves_of, points_of, training_caption, training_figure
from personalrm.results.tables.training_table import (
    build,
    read_cards,
    read_training_table,
    training_block,
    training_notes,
    training_table,
)

HYPER = {"lore": {"k": 5}, "vpl": {"latent": 64}, "pal_a": {"k": 2}}


def card(method: str, seed: int = 0, curve: list[list[Any]] | None = None, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    known = {"dataset": "d", "name": "tiny", "regime": "unseen", "method": method, "seed": seed}
    known |= {"train_users": 300, "train_pairs": 4500, "validation_users": 40, "hyper": HYPER.get(method, {})}
    known["features"] = [{"tokens": 700, "contexts_cut": 2, "answers_cut": 0}, {"tokens": 300, "contexts_cut": 1}]
    return known | ({"curve": curve, "best_step": 100} if curve else {}) | more


def cards() -> list[dict[str, Any]]:
    curve = [[50, 0.6, None], [100, 0.5, 0.71], [150, 0.4, 0.69]]
    return [
        card("vpl", 1, curve, active_units=0),
        card("lore", 0, curve, k=10, held_out={"1": 0.6, "10": 0.71}),
        card("user_map", l2=0.01, penalty="inf", held_out={"1.0": 0.58, "inf": 0.6}),
        card("frozen_bt", regime="all-but-test", l2=0.01, held_out={}, validation_users=0),
        card("vpl", 0, curve, active_units=12),
        card("pal_a", 0, [[50, 1.0, None], [100, 0.9, None]]),
    ]


def test_each_training_has_a_row_that_says_what_it_saw_and_chose() -> None:
    table = training_table(cards())
    texts = training_block(table).texts
    assert texts[["Regime", "Seed", "Steps", "Loss at the end", "Held out %", "Values"]].to_numpy().tolist() == [
        ["all-but-test", "0", "–", "–", "–", "l2 0.01"],
        ["unseen", "0", "–", "–", "60.0", "l2 0.01, penalty inf"],
        ["unseen", "0", "100 of 150", "0.400", "71.0", "K = 10"],
        ["unseen", "0", "100 of 150", "0.400", "71.0", "12 of 64 units active"],
        ["unseen", "1", "100 of 150", "0.400", "71.0", "0 of 64 units active"],
        ["unseen", "0", "100 of 100", "0.900", "–", "K = 2"],
    ]
    assert set(texts["Train users"]) == {"300"}
    assert set(texts["Tokens read"]) == {"1,000"}
    notes = training_notes(table)
    assert "At most 3 texts lost the oldest part of their conversation, and 0 the end of their answer." in notes[1]
    assert notes[-1].startswith("0 active units: over train users, the mean of no unit")
    assert "nearly the same for all users" in notes[-1]
    assert not training_notes(training_table(cards()[1:]))[-1].startswith("0 active units")
    plain = training_table([card("frozen_bt", features=None)])
    assert plain["tokens"].isna().all()
    assert "At most 0 texts" in training_notes(plain)[1]


def test_a_model_that_tunes_the_base_counts_its_own_texts_and_keeps_the_last_weights() -> None:
    # As `methods.reward.bt.fit` and the stage write it.
    counts = {"tokens": 900, "contexts_cut": 7, "answers_cut": 1, "systems_cut": 0, "steps": 60, "best_step": 60}
    tuned = card("bt", curve=[[30, 0.7, 0.5], [60, 0.2, 0.6]], **counts)
    del tuned["features"]
    table = training_table([*cards(), tuned])
    texts = training_block(table).texts
    (row,) = texts[texts["Method"] == "Fine-tuned RM"].to_dict("records")
    assert (row["Tokens read"], row["Steps"], row["Held out %"]) == ("900", "60 of 60", "60.0")
    assert "At most 7 texts lost the oldest part of their conversation, and 1 the end" in training_notes(table)[1]


def test_votes_on_test_pairs_that_were_left_out_are_counted_where_there_are_any(tmp_path: Path) -> None:
    def notes(**more: int) -> str:
        (tmp_path / "card.json").write_text(json.dumps(card("lore", **more)), encoding="utf-8")
        return " ".join(build([tmp_path / "card.json"]).notes)

    assert "Up to 1,234 pairs were left out of a training: " in notes(pairs_left_out=1234)
    assert "left out of a training" not in notes()


def test_a_tuned_base_whose_best_weights_were_kept_is_named(tmp_path: Path) -> None:
    paths = []
    for keep, seed in (("last", 0), ("best", 0), ("best", 1)):
        curve = [[30, 30.0, 0.6], [60, 20.0, 0.5]]
        made = card("fspo", seed, curve, best_step=30 if keep == "best" else 60, hyper={"keep": keep}, name=keep)
        paths.append(tmp_path / f"{keep}{seed}.json")
        paths[-1].write_text(json.dumps(made), encoding="utf-8")
    chosen = " but of FSPO (best) those with the lowest loss on validation users (keep: best)."
    (said,) = (note for note in build(paths).notes if note.startswith("Held out"))
    assert said.endswith(f"the last weights are kept,{chosen}")
    (said,) = (note for note in build(paths[:1]).notes if note.startswith("Held out"))
    assert said.endswith("it chose nothing: the last weights are kept.")


def test_the_csv_has_the_curves_and_their_order_does_not_depend_on_that_of_cards(tmp_path: Path) -> None:
    table = training_table(cards())
    table.to_csv(tmp_path / "t.csv", index=False)
    read = read_training_table(tmp_path / "t.csv")
    assert read.to_csv() == table.to_csv() == training_table(cards()[::-1]).to_csv()
    curves = curves_of(read)
    assert [place[-1] for place in curves] == ["lore", "vpl", "pal_a"]
    assert points_of(curves["d", "tiny", "unseen", "vpl"], "held_out_at_step") == [
        (seed, step, at) for seed in (0, 1) for step, at in ((100, 0.71), (150, 0.69))
    ]
    assert len(points_of(curves["d", "tiny", "unseen", "pal_a"], "loss")) == 2


def test_the_figure_has_two_panels_for_each_method_with_steps() -> None:
    table = training_table(cards())
    figure = training_figure(table, title_note="run r")
    assert_readable(figure)
    losses, held_out = figure.axes[:3], figure.axes[3:]
    assert [len(axes.lines) for axes in losses] == [2, 4, 2]  # a line and a mark for each seed
    assert [round(float(y), 9) for y in held_out[1].lines[0].get_ydata()] == [71, 69]
    assert "no validation users" in {text.get_text() for text in held_out[2].texts}
    assert "2 linear models were solved without steps" in training_caption(table)
    # Without validation users there is no second row.
    assert len(training_figure(training_table(cards()[-1:])).axes) == 1


def test_a_file_that_is_no_card_is_named(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"card\.json: no card of a training"):
        read_cards([path])
