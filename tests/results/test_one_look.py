"""One look: a method has one label, colour and marker in all figures, and all figures can be read at any size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from support.comparison_cases import assert_readable, texts_of
from support.generated_verdicts import Cell, write_cells
from support.reported_cases import NUMBERS, paper_like, tables_of

from personalrm.core.conditions import MethodId
from personalrm.methods.base import Mark
from personalrm.methods.registry import FREE_MARKS, METHODS, mark_of
from personalrm.results.figure_style import (
    LETTER_INCHES,
    mark_line,
    method_entries,
    panel_rows,
    panels,
    set_up,
    set_up_rows,
    write_head,
)
from personalrm.results.figures.cost_figure import cost_figure
from personalrm.results.figures.demographics_figure import demographics_figure
from personalrm.results.figures.main_figure import main_figure
from personalrm.results.figures.scaling_figure import scaling_figure
from personalrm.results.figures.transfer_figure import transfer_figure
from personalrm.results.labels import METHOD_LABELS, METHOD_ORDER, method_label, method_mark
from personalrm.results.method_panels import MOST_METHODS
from personalrm.results.scores import collect_calls, collect_verdicts
from personalrm.results.tables.cost_table import cost_table
from personalrm.results.tables.demographics_table import UserFacts, demographics_table
from personalrm.results.tables.main_table import main_table
from personalrm.results.tables.scaling_table import Labelled, scaling_table
from personalrm.results.tables.transfer_table import transfer_table
from personalrm.studies.synthesizeme.results.reported_figure import reported_figure
from personalrm.studies.synthesizeme.results.reported_numbers import read_numbers
from personalrm.studies.synthesizeme.results.reported_table import reported_table

ROOT = Path(__file__).parents[2]
UNJUDGED = ("random", "longer", "surface", "surface_user", "words")
PLAIN = (
    *("default", "demographics", "history", "history_validation", "scorecard", "measured_persona"),
    *("attributes", "attributes_context", "attributes_population", "oracle"),
    *(name for name, method in METHODS.items() if method.needs == "reward"),
)
LEARNED = ("memory", "demos", "persona", "both", "criteria", "measured_persona_demos")
MODELS = ("Llama-3.2-3B", "Llama-3.1-8B", "Llama-3.3-70B", "Qwen2.5-0.5B", "gpt-4o-mini-2024-07-18", "gemini-1.5-pro")
MARKERS = {mark_of(name).marker for name in METHODS} | {mark.marker for mark in FREE_MARKS}
USERS = [f"u{number}" for number in range(3)]


def cells(methods: tuple[str, ...], models: tuple[str, ...]) -> list[Cell]:
    """Judges with their own profiles and, from the second on, with those of the first."""
    found = [Cell(name, 0.5, None, variant="baseline", dataset="d") for name in UNJUDGED if name in methods]
    for judge in models:
        found += [Cell(name, 0.5, judge, variant="baseline", dataset="d") for name in PLAIN if name in methods]
        for profile in dict.fromkeys((judge, models[0])):
            found += [Cell(name, 0.6, judge, profile, 0, dataset="d") for name in LEARNED if name in methods]
    return found


def figures(folder: Path, methods: tuple[str, ...], models: tuple[str, ...]) -> dict[str, Figure]:
    """All figures whose marks are methods."""
    paths = write_cells(folder, cells(methods, models), [2, 2, 2])
    verdicts, calls = collect_verdicts(paths), collect_calls(paths)
    main = main_table(verdicts, calls, seed=1, n_resamples=9)
    labelled = {("d", user): Labelled(4, 2) for user in USERS}
    facts = {("d", user): UserFacts({"age": "old"}, {}, {}) for user in USERS}
    scaling = scaling_table(verdicts, labelled, seed=1, n_resamples=9)
    grouped = [name for name in methods if name in PLAIN + LEARNED][:MOST_METHODS]
    groups = demographics_table(verdicts, facts, methods=grouped)
    return {
        "main": main_figure(main),
        "scaling": scaling_figure(scaling),
        "scaling_labels": scaling_figure(scaling, axis="labels_used"),
        "transfer": transfer_figure(transfer_table(verdicts, seed=1, n_resamples=9)),
        "demographics": demographics_figure(groups),
        "cost": cost_figure(cost_table(calls, main)),
    }


def marks_of(figure: Figure) -> set[Mark]:
    """Colours and markers that are drawn in panels and legends; what a hollow marker says is its edge's colour."""

    def lines() -> Iterator[Line2D]:
        for line in figure.findobj(Line2D):
            # Ticks, ends of intervals and what a legend says of size or fill are no marks of methods.
            # Markers of ticks are numbers.
            if isinstance(line, Line2D) and line.get_marker() in MARKERS:
                yield line

    return {
        Mark(to_hex(line.get_color()), str(line.get_marker()))
        for line in lines()
        if not str(line.get_label()).startswith("hollow")
    }


def test_a_method_has_one_colour_and_marker_in_all_figures(tmp_path: Path) -> None:
    known = {mark_of(name): name for name in METHODS}
    drawn = figures(tmp_path, tuple(METHODS), MODELS[:2])
    # With two judges and one shared profile the maps of transfer have no markers; one pair of models makes a table.
    one_pair = [Cell("both", 0.6, MODELS[1], profile, 0, dataset="d") for profile in MODELS[:2]]
    verdicts = collect_verdicts(write_cells(tmp_path / "pair", one_pair, [2, 2, 2]))
    drawn["transfer"] = transfer_figure(transfer_table(verdicts, seed=1, n_resamples=9))
    frame, identity = paper_like(tmp_path / "reported")
    forest = reported_table(read_numbers(NUMBERS), frame, identity, tables_of(frame), seed=1, n_resamples=9)
    drawn["reported"] = reported_figure(forest)
    found = {name: {known[mark] for mark in marks_of(figure)} for name, figure in drawn.items()}
    assert found["main"] == set(METHODS)
    assert "default" in found["cost"] < set(METHODS)
    assert len(found["demographics"]) == MOST_METHODS
    assert found["scaling"] == found["scaling_labels"] == set(LEARNED)
    assert found["transfer"] == {"both"}
    assert found["reported"] == {"random", "default", "demographics", "memory", "demos", "persona", "both"}


def test_no_verdict_model_or_pairs_change_a_mark() -> None:
    for method in ("both.logprob", "both@all", "both@all.logprob_both"):
        assert method_mark(method) == METHODS["both"].mark


def test_marks_can_be_told_apart_in_grey_and_by_the_colour_blind() -> None:
    marks = [mark_of(name) for name in METHODS]
    assert len({mark.marker for mark in marks}) == len(METHODS)
    assert not set(marks) & set(FREE_MARKS)
    assert len(set(FREE_MARKS)) == len(FREE_MARKS)
    assert {mark.marker for mark in marks}.isdisjoint(mark.marker for mark in FREE_MARKS)


@pytest.mark.parametrize("config", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.stem)
def test_methods_that_stand_together_have_colours_of_their_own(config: Path) -> None:
    asked = yaml.safe_load(config.read_text(encoding="utf-8"))
    trained = [name for entry in (asked.get("reward_models") or {}).values() for name in entry["methods"]]
    names = {MethodId.parse(spec).name for spec in [*asked.get("methods", []), *trained]}
    colours = {mark_of(name).colour for name in names}
    # More colours than a dozen cannot be told apart: markers differ in any case.
    assert len(colours) >= min(len(names), 12)


def test_methods_of_the_controls_have_colours_of_their_own() -> None:
    assert len({mark_of(name).colour for name in ("attributes", "attributes_population", "words", "surface_user")}) == 4


@pytest.mark.parametrize("hollow", [False, True])
def test_every_mark_leaves_ink_in_its_colour(hollow: bool) -> None:
    for name in METHODS:
        line = mark_line(name, hollow=hollow)
        # A marker without an area is drawn by its edge alone.
        inked = [line.get_markeredgecolor()]
        inked += [line.get_markerfacecolor()] if line.get_marker() in Line2D.filled_markers else []
        assert method_mark(name).colour in [to_hex(colour) for colour in inked], name


def test_a_method_that_declares_no_mark_has_a_free_one_that_stays() -> None:
    assert mark_of("mine") == mark_of("mine") in FREE_MARKS
    assert len({mark_of(f"mine{number}") for number in range(9)}) > 5
    assert mark_line("mine").get_marker() == mark_of("mine").marker
    assert method_label("mine") == "mine"


def test_labels_and_order_are_those_of_the_registry() -> None:
    assert tuple(METHODS) == METHOD_ORDER
    assert METHOD_LABELS["both"] == METHODS["both"].label == "SynthesizeMe: persona + demonstrations"
    entries = [str(line.get_label()) for line in method_entries(["both", "random", "mine", "default"])]
    assert entries == ["Random", "Default", "SynthesizeMe: persona + demonstrations", "mine"]


@pytest.mark.parametrize("methods", [("both",), tuple(METHODS)], ids=["one", "all"])
@pytest.mark.parametrize("models", [MODELS[:1], MODELS], ids=["one", "six"])
def test_one_and_all_methods_one_and_six_models_can_be_read(
    tmp_path: Path, methods: tuple[str, ...], models: tuple[str, ...]
) -> None:
    drawn = figures(tmp_path, methods, models)
    # Marks of spoilt points of the cost figure may meet where points lie close.
    for name in drawn.keys() - {"cost"}:
        assert_readable(drawn[name])
    for figure in drawn.values():
        assert figure.get_figwidth() < 24
        for legend in figure.legends:
            assert len(legend.legend_handles) <= MOST_METHODS
            box = legend.get_window_extent()
            panel = min(axes.get_tightbbox().y0 for axes in figure.axes)  # type: ignore[union-attr]
            assert box.y1 <= panel
            assert box.x1 <= figure.get_figwidth() * figure.dpi
    assert any("One k was run (all)" in text for text in texts_of(drawn["scaling"]))


def test_panels_keep_their_size_whatever_stands_beside_them() -> None:
    for name in ("a", "a very long name of a row, longer than most of them are"):
        page = panels([2.0, 3.0], [1.0, 0.5])
        for axes in page.figure.axes:
            axes.set_yticks([0.5], [name])
        figure = page.finish("Title", "note", method_entries(METHODS), foot="foot")
        width, height = figure.get_size_inches()
        boxes = [[axes.get_position() for axes in row] for row in page.grid]
        assert [round(box.width * width, 2) for box in boxes[0]] == [2, 3]
        assert [round(row[0].height * height, 2) for row in boxes] == [1, 0.5]
        assert_readable(figure)


def test_equal_pages_have_equal_places() -> None:
    def places() -> tuple[float, ...]:
        page, found = panel_rows([range(4)], lambda _: 1.9, lambda _: 1.0, widest=6.0)
        for number, axes, _ in found:
            axes.set_yticks([0.1, 0.5], ["name" * (number + 1), "b"])
        return tuple(float(value) for axes in page.finish("title", "note").axes for value in axes.get_position().bounds)

    # The solver of the layout follows addresses of memory, so that each draw in one process may have other last bits.
    assert len({places() for _ in range(10)}) == 1


def test_several_variants_have_panels_and_no_marks_of_their_own(tmp_path: Path) -> None:
    two = [Cell("both", 0.6, "m", "m", 0, variant=name, dataset="d") for name in ("corrected", "as_published")]
    paths = write_cells(tmp_path, [*two, Cell("default", 0.5, "m", variant="baseline", dataset="d")], [2, 2])
    main = main_table(collect_verdicts(paths), collect_calls(paths), seed=1, n_resamples=9)
    figure = cost_figure(cost_table(collect_calls(paths), main))
    assert {"d · m · corrected", "d · m · as_published"} <= set(texts_of(figure))
    for axes in figure.axes:
        dots = [line for line in axes.lines if str(line.get_marker()) in "oP"]
        assert len(dots) == 2
    assert isinstance(main, pd.DataFrame)


def test_the_longest_names_have_room_beside_panels_of_their_size() -> None:
    page = panels([2.0], [1.0])
    ((axes,),) = page.grid
    set_up(axes)
    set_up_rows(axes, [0.5], ["m" * 160], bottom=1.0)
    figure = page.finish("Names")
    assert_readable(figure)
    assert figure.get_figwidth() * axes.get_position().width == pytest.approx(2.0, abs=0.02)


def test_headings_of_panels_are_broken_between_parts_or_words() -> None:
    axes = Figure().subplots()
    texts = ("invented · few (unseen, trained on invented, 30 train users)", "a · b", "one_long_name_without_any_blank")
    for text in texts:
        write_head(axes, text, 24 * LETTER_INCHES)
    found = [note.get_text() for note in axes.texts]
    assert found[:2] == ["invented ·\nfew (unseen, trained on\ninvented, 30 train\nusers)", "a · b"]
    assert found[2].replace("\n", "") == texts[2]
