"""Figures whose marks are methods: which panels they have, and which methods stand in them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from personalrm.core.conditions import MethodId
from personalrm.core.records import BASELINE
from personalrm.results.comparisons import largest_k
from personalrm.results.conditions import Condition
from personalrm.results.labels import UNUSED, judged_label, method_label, method_rank

Row = Mapping[str, Any]
MOST_METHODS = 8
"""Methods in a figure, and entries in its legend: with more, lines hide each other."""


class Panel(NamedTuple):
    """What a panel is of in figures whose marks are methods: all that is not the method."""

    dataset: str
    judge: str
    variant: str
    verdict: str

    @classmethod
    def of(cls, row: Mapping[str, object]) -> Panel:
        """The panel of a row of a table; `verdict` says what is judged, and how verdicts are read."""
        verdict = judged_label(MethodId.parse(str(row["method"]))).strip(" ,·")
        return cls(str(row["dataset"]), str(row["judge_model"]), str(row["variant"]), verdict)


def drawn_panels(known: Iterable[Panel]) -> dict[Panel, list[Panel]]:
    """The panels to draw, each with those whose rows stand in it.

    What no model judges is in all panels of its data set; what learns nothing, in those of every variant of its judge
    and kind of verdict. Such rows have panels of their own only where there are no others.
    """
    places = list(dict.fromkeys(known))
    learned = {place[:2] + place[3:] for place in places if place.variant != BASELINE}
    asked = {place.dataset for place in places if place.judge != UNUSED}

    def has_place(place: Panel) -> bool:
        if place.judge == UNUSED:
            return place.dataset not in asked
        return place.variant != BASELINE or place[:2] + place[3:] not in learned

    def belongs(mine: Panel, place: Panel) -> bool:
        if mine.dataset != place.dataset or mine.judge == UNUSED:
            return mine.dataset == place.dataset
        return mine[1::2] == place[1::2] and mine.variant in (place.variant, BASELINE)

    return {place: [mine for mine in places if belongs(mine, place)] for place in places if has_place(place)}


def judges_together(places: Iterable[Panel]) -> list[list[Panel]]:
    """Panels that differ in their judge alone, in one group each, in the order of the first of each; all in one group
    where none has several judges."""
    groups: dict[tuple[str, str, str], list[Panel]] = {}
    for place in places:
        groups.setdefault((place.dataset, place.variant, place.verdict), []).append(place)
    return alone_together(list(groups.values()))


def alone_together(groups: list[list[Panel]]) -> list[list[Panel]]:
    """One group of all panels where no group has several, so that a column of panels becomes a page."""
    return groups if any(len(group) > 1 for group in groups) else [[place for group in groups for place in group]]


def panel_heads(places: Iterable[Panel]) -> tuple[str, dict[Panel, str]]:
    """What all panels share of variant and kind of verdict, and the heading of each: data set, judge and the rest."""
    known = list(places)
    # Methods that learn nothing have no variant of their own, and are drawn with those that have.
    variants = {place.variant for place in known} - {BASELINE, UNUSED}
    verdicts = {place.verdict for place in known}

    def joined(*texts: str) -> str:
        return " · ".join(text for text in texts if text not in ("", UNUSED, BASELINE))

    heads = {
        place: joined(
            place.dataset,
            "no judge model" if place.judge == UNUSED else place.judge,
            place.variant if len(variants) > 1 else "",
            place.verdict if len(verdicts) > 1 else "",
        )
        for place in known
    }
    shared = [*(variants if len(variants) == 1 else ()), *(verdicts if len(verdicts) == 1 else ())]
    return joined(*shared), heads


def own_at_largest_k(rows: Iterable[Row]) -> list[Row]:
    """The rows of judges with their own profiles, each way of judging at its largest k."""
    known = [(Condition.of(row), row) for row in rows]
    tried: dict[Condition, list[Condition]] = {}
    for key, _ in known:
        tried.setdefault(key._replace(k=""), []).append(key)
    return [row for key, row in known if key.own and key.k == largest_k(tried[key._replace(k="")])]


def leading(accuracies: Iterable[tuple[str, float]], most: int = MOST_METHODS) -> tuple[list[str], list[str]]:
    """The methods that are drawn, in the order of tables, and the others: where there are more than `most`, Default and
    those of the highest accuracy (mean of the rows of the figure; nan counts for none).

    >>> leading([("default", 50.0), ("persona", 60.0), ("both", 55.0), ("both", 59.0)], most=2)
    (['default', 'persona'], ['both'])
    """
    rows: dict[str, list[float]] = {}
    for method, accuracy in accuracies:
        rows.setdefault(method, []).extend([] if math.isnan(accuracy) else [accuracy])
    means = {method: sum(values) / len(values) if values else -1.0 for method, values in rows.items()}
    best = sorted(means, key=lambda method: (method != "default", -means[method], method_rank(method)))
    return sorted(best[:most], key=method_rank), sorted(best[most:], key=method_rank)


def others_note(others: Sequence[str], table: str) -> str:
    """Which methods a figure leaves out, for its caption; empty without any.

    >>> others_note(["default", "longer"], "cost")
    ' Of lower accuracy, in the table cost alone: Default; Longer answer.'
    """
    named = "; ".join(map(method_label, others))
    return f" Of lower accuracy, in the table {table} alone: {named}." if others else ""


def others_foot(others: Sequence[str]) -> str:
    """The same as a line above the legend."""
    return f"and {len(others)} more of lower accuracy: see the caption" if others else ""
