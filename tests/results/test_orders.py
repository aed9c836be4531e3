"""The confusion of orders: how often each judge says first and second where the chosen answer stands there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from support.comparison_cases import assert_readable, texts_of
from support.generated_verdicts import Cell, judged

from personalrm.core.records import Verdict, write_records
from personalrm.results.figures.orders_figure import confusions, orders_figure
from personalrm.results.method_panels import Panel
from personalrm.results.scores import collect_verdicts

FIRST = ("first", "first", "first", "second")
"""What Default says where the chosen answer is first."""


def verdict(pair: str, said: str | None, *, swapped: bool | None, outcome: str = "") -> Verdict:
    right = (said == "first") != swapped
    found = outcome or ("tie" if said is None else "correct" if right else "wrong")
    return Verdict.model_validate({"pair_id": pair, "swapped": swapped, "outcome": found, "said": said})


def frame(folder: Path) -> pd.DataFrame:
    """Default says first three times of four where that is right, and once of two where it is not."""
    cell = Cell("default", 0.5, "m", variant="baseline", dataset="d")
    said = [verdict(f"p{place}", name, swapped=False) for place, name in enumerate(FIRST)]
    said += [verdict(f"p{place}", name, swapped=True) for place, name in enumerate(("first", "second", None))]
    said += [verdict("p3", None, swapped=True, outcome="provider_error")]
    together = [verdict("p0", None, swapped=None, outcome="correct")]
    rows = [judged(cell._replace(method=name), "u", said) for name in ("default", "persona")]
    rows += [judged(cell._replace(method="default.logprob_both"), "v", together)]
    write_records(folder / "rows.jsonl", rows)
    return collect_verdicts([folder / "rows.jsonl"])


def test_verdicts_are_counted_by_order_and_what_is_said(tmp_path: Path) -> None:
    ((place, counts),) = confusions(frame(tmp_path)).items()
    assert (place.dataset, place.judge, place.verdict) == ("d", "m", "")
    assert counts.tolist() == [[3, 1, 0], [1, 1, 1]]


def test_all_pairs_stand_in_the_place_of_the_test_pairs(tmp_path: Path) -> None:
    verdicts = frame(tmp_path)
    test = verdicts[verdicts["method"] == "default"]
    every = pd.concat([verdicts, test.assign(pairs="all"), test.assign(pairs="all", user_id="v")])
    (counts,) = confusions(every).values()
    assert counts.sum() == 14


def test_cells_have_shares_of_their_row_and_right_ones_are_framed(tmp_path: Path) -> None:
    figure = orders_figure(confusions(frame(tmp_path)), title_note="run x")
    (axes,) = figure.axes
    texts = texts_of(figure)
    assert [text for text in texts if text.endswith(" %")] == ["75 %", "25 %", "0 %", "33 %", "33 %", "33 %"]
    bias = "first in 67 % of the 6 that name one (no bias: 50)"
    assert {"[3]", "chosen first", "says neither", bias, "run x"} <= set(texts)
    patches: list[Any] = list(axes.patches)
    assert [patch.get_xy() for patch in patches if patch.get_zorder() == 2] == [(0, 0), (1, 1)]
    # The larger share is the darker cell.
    assert sum(patches[0].get_facecolor()[:3]) < sum(patches[1].get_facecolor()[:3])
    assert_readable(figure)


def test_a_judge_that_never_names_one_is_not_said_to_be_biased() -> None:
    figure = orders_figure({Panel("d", "m", "baseline", ""): np.array([[0, 0, 3], [0, 0, 2]])})
    assert not any("no bias" in text for text in texts_of(figure))


def test_the_column_of_neither_stands_only_where_it_holds_something() -> None:
    figure = orders_figure({Panel("d", "m", "baseline", ""): np.array([[3, 1, 0], [1, 3, 0]])})
    assert "says neither" not in texts_of(figure)
    assert len(figure.axes[0].patches) == 4
