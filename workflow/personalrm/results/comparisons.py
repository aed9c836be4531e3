"""Methods beside each other on the same judgments: what the tables of differences, scaling and transfer share.

`compare` sets two cells of a arrays (`comparison_sheets.py`) against each other, judgment by judgment. Nothing depends
on the order of rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
from personalrm.results.scores import percent
from personalrm.results.verdict_arrays import Cell, Floats, VerdictArrays, sums_of

if TYPE_CHECKING:
    pass

Value = str | int | float | bool | None
P_DIGITS = 6
"""Significant digits of a p-value: the smallest ones do not become 0."""

NOTHING_COMMON = "nothing in common"
"""Status of a comparison of which no judgment has a verdict on both sides; for the others see `labels.OK`."""

NAMED = Columns.text(*ROW_KEY)
"""The columns that name the condition of a row."""
COUNTS: tuple[str, ...] = (
    "n_users",
    "n_pairs",
    "n_judgments",
    "n_draws",
    "users_left_out",
    "pairs_left_out",
    "judgments_left_out",
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
    from personalrm.results.stats.statistics import holm

    adjusted: dict[int, float] = {}
    for value in dict.fromkeys(row.get(part) for row in rows):
        mine = [place for place, row in enumerate(rows) if row.get(part) == value]
        values = (rows[place].get("p_value") for place in mine)
        found = holm([np.nan if value is None else float(value) for value in values])
        adjusted |= zip(mine, map(p_digits, found), strict=True)
    return [row | {"p_holm": adjusted[place]} for place, row in enumerate(rows)]


class PairedSums(NamedTuple):
    """Right judgments of two cells and the judgments that both have, each (users, draws)."""

    first: Floats
    second: Floats
    judged: Floats


class _Paired(NamedTuple):
    """Two cells on common draws, each (draws, places)."""

    first: NDArray[np.int8]
    second: NDArray[np.int8]

    @property
    def both(self) -> NDArray[np.bool_]:
        return (self.first >= 0) & (self.second >= 0)

    @property
    def either(self) -> NDArray[np.bool_]:
        return (self.first >= 0) | (self.second >= 0)

    def sums(self, arrays: VerdictArrays) -> PairedSums:
        both = self.both
        hits = (both & (self.first == 1), both & (self.second == 1), both)
        return PairedSums(*(sums_of(arrays.user_of, hit, len(arrays.users)) for hit in hits))


def _common_draws(first: Cell, second: Cell) -> _Paired:
    """Rows of draws that both have. What reads no context pairs has one draw, which stands beside every one."""
    if second.key.k == UNUSED:
        return _Paired(first.right, np.broadcast_to(second.right[:1], first.right.shape))
    if first.key.k == UNUSED:
        return _Paired(np.broadcast_to(first.right[:1], second.right.shape), second.right)
    common = sorted(set(first.draws) & set(second.draws))
    return _Paired(
        first.right[[first.draws.index(draw) for draw in common]],
        second.right[[second.draws.index(draw) for draw in common]],
    )


def compare(
    arrays: VerdictArrays, first: Condition, second: Condition, *, seed: int, n_resamples: int
) -> dict[str, Value]:
    """Paired difference of two cells in points, first minus second, on judgments that both have; keys `COMPARED`.

    Draws are matched by number. Judgments, pairs and users that one side lacks are left out and counted; a judgment
    that one side lost to a provider error is lacking. What went wrong with a judgment otherwise counts as not right, as
    in the main table. The flags (`marks.Flags`) are those of either side.
    """
    ours, theirs = arrays.cells.get(first), arrays.cells.get(second)
    empty: dict[str, Value] = dict.fromkeys(COUNTS, 0) | dict.fromkeys(NUMBERS, None)
    if ours is None or theirs is None:
        held = [cell for cell in (ours, theirs) if cell]
        status = NOT_RUN if all(cell.applies for cell in held) else NOT_APPLICABLE
        return {"status": status, **empty, **(held[0].flags() if held else Flags()).columns()}
    paired = _common_draws(ours, theirs)
    row = empty | _counts(arrays, paired, ours.asked | theirs.asked)
    row |= {"status": NOTHING_COMMON, **(ours.flags() | theirs.flags()).columns()}
    states = {ours.state, theirs.state}
    for why in (NOT_APPLICABLE, NO_ANSWERS):
        if why in states:
            return row | {"status": why}
    if not row["n_judgments"]:
        return row
    own_seed = seed_of(seed, *first.names, *second.names)
    return row | {"status": OK} | _difference(arrays, paired, own_seed, n_resamples)


def paired_sums(arrays: VerdictArrays, first: Condition, second: Condition) -> PairedSums | None:
    """What `compare` rests on, user by user; None where it has no numbers."""
    ours, theirs = arrays.cells.get(first), arrays.cells.get(second)
    if ours is None or theirs is None or not (ours.answered and theirs.answered):
        return None
    paired = _common_draws(ours, theirs)
    return paired.sums(arrays) if paired.both.any() else None


def compared_pairs(arrays: VerdictArrays, first: Condition, second: Condition) -> int:
    """Number of distinct pairs that both cells have a judgment of, in a draw that both have."""
    return _n_pairs(arrays, _common_draws(arrays.cells[first], arrays.cells[second]))


def _n_pairs(arrays: VerdictArrays, paired: _Paired) -> int:
    return np.unique(arrays.pair_of[paired.both.any(axis=0)]).size


def _counts(arrays: VerdictArrays, paired: _Paired, asked: NDArray[np.bool_]) -> dict[str, Value]:
    """What is compared, and what is left out because one side lacks it."""
    both, either = paired.both, paired.either
    used, seen = both.any(axis=0), either.any(axis=0)
    users, pairs = np.unique(arrays.user_of[used]).size, np.unique(arrays.pair_of[used]).size
    return {
        "n_users": users,
        "n_pairs": pairs,
        "n_judgments": int(both.sum()),
        "n_draws": int(both.any(axis=1).sum()),
        "users_left_out": int(asked.sum()) - users,
        "pairs_left_out": np.unique(arrays.pair_of[seen]).size - pairs,
        "judgments_left_out": int(either.sum() - both.sum()),
    }


def _difference(arrays: VerdictArrays, paired: _Paired, seed: int, n_resamples: int) -> dict[str, Value]:
    from personalrm.results.stats.logistic import cluster_logistic
    from personalrm.results.stats.statistics import paired_cluster_difference

    sums = paired.sums(arrays)
    found = paired_cluster_difference(*sums, seed=seed, n_resamples=n_resamples, units=_n_pairs(arrays, paired))
    return {
        "difference": percent(found.estimate),
        "ci_low": percent(found.low),
        "ci_high": percent(found.high),
        "p_value": p_digits(found.p_value),
        "p_logit": p_digits(cluster_logistic(*sums).p_value),
    }


def judged_pairs(arrays: VerdictArrays, cell: Cell, places: NDArray[np.bool_] | None = None) -> int:
    """Number of distinct pairs that the cell has an answer to, of all judgments or of those at `places`."""
    heard = (cell.right >= 0).any(axis=0)
    return np.unique(arrays.pair_of[heard if places is None else heard & places]).size


def accuracy_of(arrays: VerdictArrays, cell: Cell, *, seed: int, n_resamples: int) -> tuple[float, float, float]:
    """Accuracy of a cell with its clustered bounds in percent, as the main table has them; nan without an answer."""
    from personalrm.results.stats.statistics import share_interval

    if not cell.answered:
        return np.nan, np.nan, np.nan
    right, judged = cell.by_user(arrays.user_of)
    own_seed, units = seed_of(seed, *cell.key.names), judged_pairs(arrays, cell)
    found = share_interval(right, judged, seed=own_seed, n_resamples=n_resamples, units=units)
    return percent(found.estimate), percent(found.low), percent(found.high)


def describe_cell(arrays: VerdictArrays, key: Condition, *, seed: int, n_resamples: int) -> dict[str, Value]:
    """What a cell holds, or why nothing; keys `CELL_COLUMNS`. Accuracy in percent, as in the main table."""
    cell = arrays.cells.get(key)
    if cell is None:
        return {"cell": NOT_RUN, "cell_users": 0, "cell_judgments": 0, **Flags().columns("cell_")}
    judged = (cell.right >= 0).any(axis=0)
    row: dict[str, Value] = {
        "cell": cell.state,
        "cell_users": np.unique(arrays.user_of[judged]).size,
        "cell_judgments": cell.n_judgments,
        **cell.flags().columns("cell_"),
    }
    return row | dict(zip(ACCURACY, accuracy_of(arrays, cell, seed=seed, n_resamples=n_resamples), strict=True))


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
        (key.method.pairs == "all", list(VERDICT_LABELS).index(key.method.verdict)),
        method_rank(str(key.method)),
        k_rank(key.k),
    )


def model_rank(model: str, model_order: Sequence[str]) -> tuple[int, str]:
    """Sort key of a model: no model first, then its place in the order of listing, others last by name."""
    if model == UNUSED:
        return -1, model
    return (model_order.index(model) if model in model_order else len(model_order)), model
