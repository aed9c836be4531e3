"""Which judgments differ from those of Default, the judge that knows nothing about the user."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from personalrm.core.conditions import MethodId
from personalrm.results.labels import is_told, method_rank

DEFAULT = "default"
CONTROLS = (DEFAULT, "random", "longer")
"""Methods that learn nothing about a user. The page opens with none of them, nor with one that is told the taste."""

Row = Mapping[str, Any]
Item = Sequence[Any]


def against_default(rows: Sequence[Row], items: Sequence[Item]) -> list[float | None]:
    """For each item, its share of right verdicts minus that of Default on the same pair; None where one has none.

    `rows` and `items` are those of `Judgments.data`. Default is that of the same judge (of any, for a method without
    one) and, where there are such rows, of the same kind of verdict and then the same pairs. Verdicts other than
    correct and wrong count as not right, lost calls as none.
    """
    defaults: dict[tuple[int, int], list[tuple[Row, float]]] = defaultdict(list)
    shares = [_share(verdicts) for _, _, verdicts in items]
    for (number, pair, _), share in zip(items, shares, strict=True):
        if share is not None and MethodId.parse(rows[number]["method"]).name == DEFAULT:
            defaults[rows[number]["user"], pair].append((rows[number], share))
    found: list[float | None] = []
    for (number, pair, _), share in zip(items, shares, strict=True):
        row = rows[number]
        of_judge = (one for one in defaults[row["user"], pair] if row["judge_model"] in (None, one[0]["judge_model"]))
        near = min(of_judge, key=lambda default: _distance(row, default[0]), default=None)
        is_default = MethodId.parse(row["method"]).name == DEFAULT
        found.append(None if share is None or near is None or is_default else round(share - near[1], 6))
    return found


def _share(verdicts: Sequence[Sequence[Any]]) -> float | None:
    """Share of right verdicts; None without any."""
    outcomes = [outcome for _, outcome, *_ in verdicts if outcome != "provider_error"]
    return outcomes.count("correct") / len(outcomes) if outcomes else None


def _distance(row: Row, default: Row) -> tuple[object, ...]:
    mine, its = MethodId.parse(row["method"]), MethodId.parse(default["method"])
    return mine.verdict != its.verdict, mine.pairs != its.pairs, str(default["judge_model"]), str(its)


def opening(rows: Sequence[Row], items: Sequence[Item], versus: Sequence[float | None]) -> dict[str, Any] | None:
    """The method that tells most: that with the most pairs on which it differs from Default, of all but `CONTROLS` and
    what is told the taste.

    Only methods that are judged on the pairs that Default is judged on (test, all, …) are compared. A method with
    several conditions (judge, model of the profile, variant, k, draw) counts those of one of them, the one with the
    most. Of equals, the first in the order of the tables. None where no method differs anywhere.
    """
    differing: dict[tuple[Any, ...], int] = defaultdict(int)
    compared: dict[tuple[Any, ...], int] = defaultdict(int)
    asked = [MethodId.parse(row["method"]) for row in rows]
    pairs = {method.pairs for method in asked if method.name == DEFAULT}
    for (number, _, _), difference in zip(items, versus, strict=True):
        row, method = rows[number], asked[number]
        condition = row["method"], row["judge_model"], row["profile_model"], row["variant"], row["k"], row["draw"]
        is_rival = method.name not in CONTROLS and not is_told(row["method"]) and method.pairs in pairs
        if difference is not None and is_rival:
            compared[condition] += 1
            differing[condition] += difference != 0
    if not any(differing.values()):
        return None

    def rank(condition: tuple[Any, ...]) -> tuple[Any, ...]:
        return -differing[condition], method_rank(condition[0]), [str(part) for part in condition]

    first = min(differing, key=rank)
    return {"method": first[0], "pairs": differing[first], "of": compared[first]}
