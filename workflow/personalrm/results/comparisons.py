"""Two conditions compared on the same judgments: what the tables of differences, scaling and transfer share.

`compare` compares two cells (`verdict_arrays.py`) judgment by judgment. Nothing depends on the order of rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from personalrm.core.conditions import PAIRS
from personalrm.core.files import stable_hash
from personalrm.results.columns import Columns
from personalrm.results.conditions import ROW_KEY, Condition
from personalrm.results.labels import (
    NO_ANSWERS,
    NOT_APPLICABLE,
    NOT_RUN,
    OK,
    UNUSED,
    VERDICT_LABELS,
    k_rank,
    method_rank,
)
from personalrm.results.marks import FLAG_NAMES, Flags, prefixed
from personalrm.results.scores import percent, percents
from personalrm.results.stats.logistic import cluster_logistic
from personalrm.results.stats.statistics import holm, paired_cluster_difference, share_interval
from personalrm.results.verdict_arrays import NO_JUDGMENT, Cell, Floats, VerdictArrays, sums_of

Value = str | int | float | bool | None
P_DIGITS = 6
"""Significant digits of a p-value: the smallest ones do not become 0."""

NOTHING_COMMON = "nothing in common"
"""Status of a comparison of which no judgment has a verdict on both sides; for the others see `labels.OK`."""

NAMED = Columns.text(*ROW_KEY)
"""The columns that name the condition of a row."""
COUNTS: tuple[str, ...] = (
    *("n_users", "n_pairs", "n_judgments", "n_draws"),
    *("users_left_out", "pairs_left_out", "judgments_left_out"),
)
NUMBERS: tuple[str, ...] = ("difference", "ci_low", "ci_high", "p_value", "p_logit")
COMPARED = Columns(("status", *COUNTS, *NUMBERS, *FLAG_NAMES), texts=("status",), whole=COUNTS, flags=FLAG_NAMES)
"""What `compare` says of two cells."""
ACCURACY: tuple[str, ...] = ("accuracy", "accuracy_low", "accuracy_high")
CELL_COUNTS: tuple[str, ...] = ("cell_users", "cell_judgments")
CELL_COLUMNS = Columns(
    ("cell", *CELL_COUNTS, *ACCURACY, *prefixed("cell_")),
    texts=("cell",),
    whole=CELL_COUNTS,
    flags=prefixed("cell_"),
)
"""What `describe_cell` says of one cell."""


def seed_of(seed: int, *names: str) -> int:
    """Seed of one row's resamples: that of the same cell in the main table, whatever other rows there are."""
    return int(stable_hash(str(seed), *names)[:15], 16)


def p_digits(p_value: float) -> float:
    """A p-value as tables keep it."""
    return float(f"{p_value:.{P_DIGITS}g}")


def with_holm(rows: Sequence[dict[str, Value]], part: str = "") -> list[dict[str, Value]]:
    """The rows with `p_holm`: p-values adjusted by Holm's method, within each value of the column `part`."""
    families: dict[Value, list[float]] = {}
    for row in rows:
        value = row.get("p_value")
        families.setdefault(row.get(part), []).append(np.nan if value is None else float(value))
    adjusted = {family: iter(holm(values)) for family, values in families.items()}
    return [row | {"p_holm": p_digits(next(adjusted[row.get(part)]))} for row in rows]


class PairedSums(NamedTuple):
    """Right judgments of two cells and the judgments that both have, each (users, draws)."""

    first: Floats
    second: Floats
    judged: Floats


def _common_draws(arrays: VerdictArrays, first: Cell, second: Cell) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """`Cell.right` of both, on the draws that both have, each (draws, places). What reads no context pairs has one
    draw for each training seed, or one in all: it is compared with each draw of context pairs of that seed. A verdict
    on both orders together stands for each order that the other has."""
    if UNUSED in (first.key.k, second.key.k):
        ours, theirs = np.broadcast_arrays(_for_each_draw(first, second), _for_each_draw(second, first))
    else:
        common = sorted(set(first.draws) & set(second.draws))
        ours, theirs = (cell.right[[cell.draws.index(draw) for draw in common]] for cell in (first, second))
    return _for_each_order(ours, theirs, arrays.together), _for_each_order(theirs, ours, arrays.together)


def _for_each_draw(mine: Cell, other: Cell) -> NDArray[np.int8]:
    """`mine.right`; where `mine` alone reads no context pairs, with each of its draws repeated for those of `other`."""
    if mine.key.k != UNUSED or other.key.k == UNUSED:
        return mine.right
    times, rest = divmod(len(other.draws), len(mine.draws))
    return mine.right[:1] if rest else np.repeat(mine.right, times, axis=0)


def _for_each_order(mine: NDArray[np.int8], other: NDArray[np.int8], together: NDArray[np.int64]) -> NDArray[np.int8]:
    """`mine` with verdicts on both orders together moved to the orders in which `other` has a verdict."""
    known = np.where(together >= 0, mine[:, together], NO_JUDGMENT) if mine.shape[1] else mine
    filled = (mine < 0) & (other >= 0) & (known >= 0)
    if not filled.any():
        return mine
    moved = np.where(filled, known, mine)
    draws, places = np.nonzero(filled)
    moved[draws, together[places]] = NO_JUDGMENT
    return moved


def compare(
    arrays: VerdictArrays, first: Condition, second: Condition, *, seed: int, n_resamples: int
) -> dict[str, Value]:
    """Paired difference of two cells in points, first minus second, on judgments that both have; keys `COMPARED`.

    Draws are matched by number. Judgments, pairs and users that one side lacks are left out and counted; a judgment
    that one side lost to a provider error is lacking. What went wrong with a judgment otherwise counts as not right, as
    in the main table. The flags (`marks.Flags`) are those of either side.
    """
    held = [cell for cell in map(arrays.cells.get, (first, second)) if cell]
    flags = Flags()
    for cell in held:
        flags |= cell.flags()
    row: dict[str, Value] = {**dict.fromkeys(COUNTS, 0), **dict.fromkeys(NUMBERS, None), **flags.columns()}
    if len(held) < 2:
        return row | {"status": NOT_RUN if all(cell.applies for cell in held) else NOT_APPLICABLE}
    ours, theirs = _common_draws(arrays, *held)
    both, either = (ours >= 0) & (theirs >= 0), (ours >= 0) | (theirs >= 0)
    used, seen = both.any(axis=0), either.any(axis=0)
    n_users, n_pairs = np.unique(arrays.user_of[used]).size, np.unique(arrays.pair_of[used]).size
    row |= {
        "n_users": n_users,
        "n_pairs": n_pairs,
        "n_judgments": int(both.sum()),
        "n_draws": int(both.any(axis=1).sum()),
        "users_left_out": int((held[0].asked | held[1].asked).sum()) - n_users,
        "pairs_left_out": np.unique(arrays.pair_of[seen]).size - n_pairs,
        "judgments_left_out": int(either.sum() - both.sum()),
    }
    states = {cell.state for cell in held}
    for why in (NOT_APPLICABLE, NO_ANSWERS):
        if why in states:
            return row | {"status": why}
    sums = paired_sums(arrays, first, second)
    if sums is None:
        return row | {"status": NOTHING_COMMON}
    own_seed = seed_of(seed, *first.names, *second.names)
    found = paired_cluster_difference(*sums, seed=own_seed, n_resamples=n_resamples, units=n_pairs)
    return {
        **row,
        "status": OK,
        **percents(found, *NUMBERS[:3]),
        "p_value": p_digits(found.p_value),
        "p_logit": p_digits(cluster_logistic(*sums).p_value),
    }


def paired_sums(arrays: VerdictArrays, first: Condition, second: Condition) -> PairedSums | None:
    """What `compare` rests on, user by user; None where it has no numbers."""
    cells = arrays.cells.get(first), arrays.cells.get(second)
    if cells[0] is None or cells[1] is None:
        return None
    ours, theirs = _common_draws(arrays, cells[0], cells[1])
    both = (ours >= 0) & (theirs >= 0)
    hits = (both & (ours == 1), both & (theirs == 1), both)
    return PairedSums(*(sums_of(arrays.user_of, hit, len(arrays.users)) for hit in hits)) if both.any() else None


def compared_pairs(arrays: VerdictArrays, first: Condition, second: Condition) -> int:
    """Number of distinct pairs that both cells have a judgment of, in a draw that both have."""
    ours, theirs = _common_draws(arrays, arrays.cells[first], arrays.cells[second])
    return np.unique(arrays.pair_of[((ours >= 0) & (theirs >= 0)).any(axis=0)]).size


def judged_pairs(arrays: VerdictArrays, cell: Cell, places: NDArray[np.bool_] | None = None) -> int:
    """Number of distinct pairs that the cell has an answer to, of all judgments or of those at `places`."""
    heard = (cell.right >= 0).any(axis=0)
    return np.unique(arrays.pair_of[heard if places is None else heard & places]).size


def accuracy_of(arrays: VerdictArrays, cell: Cell, *, seed: int, n_resamples: int) -> tuple[float, float, float]:
    """Accuracy of a cell with its clustered bounds in percent, as the main table has them; nan without an answer."""
    if not cell.answered:
        return np.nan, np.nan, np.nan
    own_seed, units = seed_of(seed, *cell.key.names), judged_pairs(arrays, cell)
    found = share_interval(*cell.by_user(arrays.user_of), seed=own_seed, n_resamples=n_resamples, units=units)
    return percent(found.estimate), percent(found.low), percent(found.high)


def describe_cell(arrays: VerdictArrays, key: Condition, *, seed: int, n_resamples: int) -> dict[str, Value]:
    """What a cell holds, or why nothing; keys `CELL_COLUMNS`. Accuracy in percent, as in the main table."""
    cell = arrays.cells.get(key)
    if cell is None:
        return {"cell": NOT_RUN, "cell_users": 0, "cell_judgments": 0, **Flags().columns("cell_")}
    accuracy = accuracy_of(arrays, cell, seed=seed, n_resamples=n_resamples)
    return {
        "cell": cell.state,
        "cell_users": np.unique(arrays.user_of[(cell.right >= 0).any(axis=0)]).size,
        "cell_judgments": cell.n_judgments,
        **cell.flags().columns("cell_"),
        **dict(zip(ACCURACY, accuracy, strict=True)),
    }


def largest_k(keys: Iterable[Condition]) -> str:
    """The largest k among the keys; "-" where none reads context pairs."""
    return max((key.k for key in keys), key=k_rank, default=UNUSED)


def key_order(key: Condition, model_order: Sequence[str] = ()) -> tuple[object, ...]:
    """Sort key of a cell: data set, judge, whose profile (its own first), variant, verdict, method, k."""
    return (
        key.dataset,
        model_rank(key.judge_model, model_order),
        not key.own,
        model_rank(key.profile_model, model_order),
        str(key.variant),
        (PAIRS.index(key.method.pairs), list(VERDICT_LABELS).index(key.method.verdict)),
        method_rank(str(key.method)),
        k_rank(key.k),
    )


def model_rank(model: str, model_order: Sequence[str]) -> tuple[int, str]:
    """Sort key of a model: no model first, then its place in the order of listing, others last by name."""
    if model == UNUSED:
        return -1, model
    return (model_order.index(model) if model in model_order else len(model_order)), model
