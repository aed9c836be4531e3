"""The table of scaling: accuracy against the number of context pairs, its slope, and from where on it beats Default."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from personalrm.core.records import UserData, read_all
from personalrm.methods.registry import METHODS
from personalrm.results.columns import Columns
from personalrm.results.comparisons import NUMBERS, Value, accuracy_of, compare, key_order
from personalrm.results.conditions import ROW_KEY, Condition
from personalrm.results.labels import ALL, NOT_APPLICABLE, OK, UNUSED, exempt_note, k_rank, labels_note
from personalrm.results.marks import FLAG_NAMES, Flags, mark_notes, marked, prefixed
from personalrm.results.scores import read_frame
from personalrm.results.spec import Table, TableResult
from personalrm.results.table_formats import EMPTY, Block, plain, table_rows
from personalrm.results.tables.comparison_text import bounds, dataset_note, headings_of, probability, shown_names
from personalrm.results.tables.scaling_slope import slope_of
from personalrm.results.verdict_arrays import Cell, Floats, VerdictArrays, refuse_unknown, verdict_arrays_of

if TYPE_CHECKING:
    import pandas as pd


class Labelled(NamedTuple):
    """Numbers of a user's labelled pairs: those to learn from, and those that choose between candidates."""

    context: int
    validation: int = 0


LabelledPairs = Mapping[tuple[str, str], Labelled]
"""By data set and user."""

POINT_COLUMNS: tuple[str, ...] = (
    "context_pairs",
    "labels_used",
    "n_users",
    "users_below_k",
    "n_judgments",
    "n_draws",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
)
DEFAULT_COLUMNS: tuple[str, ...] = ("default_accuracy", "default_low", "default_high")
FLAGS: tuple[str, ...] = prefixed("", "default_")
DIFFERENCE_COLUMNS: tuple[str, ...] = ("status", *NUMBERS[:4])
SLOPE_COLUMNS: tuple[str, ...] = ("slope", "slope_low", "slope_high", "slope_users", "slope_users_left_out")
SCALING_NAMES: tuple[str, ...] = (*ROW_KEY, "status", "smallest_k")
WHOLE_NUMBERS: tuple[str, ...] = (
    "n_users",
    "users_below_k",
    "n_judgments",
    "n_draws",
    "slope_users",
    "slope_users_left_out",
)
SCALING_COLUMNS = Columns(
    (
        *ROW_KEY,
        *POINT_COLUMNS,
        *DEFAULT_COLUMNS,
        *DIFFERENCE_COLUMNS,
        *SLOPE_COLUMNS,
        "smallest_k",
        "smallest_k_pairs",
        *FLAGS,
    ),
    texts=SCALING_NAMES,
    whole=WHOLE_NUMBERS,
    flags=FLAGS,
)
CONTEXT_DIGITS = 4
NO_K = "none"
REPORTED_NOTE = (
    "Reported, not ours: accuracy grows about linearly, by some 0.8 points a context pair, in a talk by the authors "
    "(from its transcript); from about 5 pairs on the learned prompts beat the unpersonalised judge (a second-hand "
    "account of the paper). The paper's curve itself could not be read."
)


def read_labelled_pairs(paths: Iterable[Path]) -> dict[tuple[str, str], Labelled]:
    """Numbers of labelled pairs of each user, from files of `UserData`; one user in memory at a time."""
    return {
        (user.dataset, user.user_id): Labelled(len(user.part("context")), len(user.part("validation")))
        for user in read_all(paths, UserData)
    }


def scaling_table(
    verdicts: pd.DataFrame,
    labelled: LabelledPairs,
    *,
    seed: int,
    n_resamples: int,
    model_order: Sequence[str] = (),
) -> pd.DataFrame:
    """One row for each k of each method that reads k context pairs: learned by the judge, or without a model.

    Columns `SCALING_COLUMNS`:


    - context_pairs: mean over the users who have a verdict of the pairs that their profiles were made from: k, or all
      of theirs where they have fewer. The accuracies of a k stand here, in the figure and for the slope.
    - labels_used: the same, with the validation pairs for methods that choose a winner by them.
    - users_below_k: users with fewer context pairs than k, who have all of theirs.
    - accuracy, default_accuracy with bounds: percent, as in the main table.
    - status, difference .. p_value: to `default` on the same judgments (`comparisons.compare`).
    - outage .., default_outage ..: what spoils the accuracy at that k, or of `default` (`marks.Flags`).
    - slope and its bounds: points per pair, see `slope_of`; the same in all rows of a method, as is smallest_k.
    - smallest_k: smallest k whose interval of the difference lies above 0, "none" where there is no such k, "-"
      where no difference has an interval. It looks at every k without adjustment. smallest_k_pairs: `context_pairs`
      of that k.

    Args:
        verdicts: frame of `collect_verdicts`.
        labelled: numbers of labelled pairs of each user (`read_labelled_pairs`).
        seed: seed of the bootstrap; each row derives its own.
        n_resamples: its resamples.
        model_order: model ids in the order of listing; others come last, by name.

    Raises:
        DataError: if a judged user is not in `labelled`.
    """
    rows: list[dict[str, Value]] = []
    for arrays in verdict_arrays_of(verdicts).values():
        for keys in _series(arrays, model_order):
            rows += _series_rows(arrays, keys, labelled, seed, n_resamples)
    return SCALING_COLUMNS.frame(rows)


def _series(arrays: VerdictArrays, model_order: Sequence[str]) -> list[list[Condition]]:
    """Cells of a arrays that differ by k alone, each list by ascending k; a judge's own profiles only."""
    found: dict[Condition, list[Condition]] = {}
    keys = sorted(arrays.cells, key=lambda key: key_order(key, model_order))
    for key in keys:
        if key.k != UNUSED and key.own:
            found.setdefault(key._replace(k=UNUSED), []).append(key)
    return [sorted(keys, key=lambda key: k_rank(key.k)) for keys in found.values()]


def _series_rows(
    arrays: VerdictArrays, keys: Sequence[Condition], labelled: LabelledPairs, seed: int, n_resamples: int
) -> list[dict[str, Value]]:
    """The rows of one method."""
    default = arrays.cells.get(keys[0].default)
    reference = (np.nan,) * 3
    if default is not None:
        reference = accuracy_of(arrays, default, seed=seed, n_resamples=n_resamples)
    rows: list[dict[str, Value]] = []
    for key in keys:
        cell = arrays.cells[key]
        row: dict[str, Value] = {**key.row}
        row |= _point(arrays, cell, labelled)
        row |= zip(POINT_COLUMNS[-3:], accuracy_of(arrays, cell, seed=seed, n_resamples=n_resamples), strict=True)
        row |= zip(DEFAULT_COLUMNS, reference, strict=True)
        found = compare(arrays, key, key.default, seed=seed, n_resamples=n_resamples)
        row |= cell.flags().columns() | (default.flags() if default else Flags()).columns("default_")
        rows.append(row | {name: found[name] for name in DIFFERENCE_COLUMNS})
    at = [_context_pairs(arrays, key.k, labelled) for key in keys]
    slope = slope_of(arrays, [arrays.cells[key] for key in keys], at, seed=seed, n_resamples=n_resamples)
    smallest, pairs = _smallest_k(rows)
    shared: dict[str, Value] = dict(zip(SLOPE_COLUMNS, slope, strict=True))
    shared |= {"smallest_k": smallest, "smallest_k_pairs": pairs}
    return [row | shared for row in rows]


def _context_pairs(arrays: VerdictArrays, k: str, labelled: LabelledPairs) -> Floats:
    """Context pairs that the profile of each user is made from at this k; 0 for users that are not known."""
    own = [labelled.get((arrays.dataset, user), Labelled(0)).context for user in arrays.users]
    return np.minimum(own, np.inf if k == ALL else float(k)).astype(np.float64)


def _point(arrays: VerdictArrays, cell: Cell, labelled: LabelledPairs) -> dict[str, Value]:
    """Where a cell stands on the axis of context pairs, and its counts."""
    judged = np.unique(arrays.user_of[(cell.right >= 0).any(axis=0)])
    users = [arrays.users[int(user)] for user in judged]
    refuse_unknown(arrays.dataset, users, labelled)
    own = [labelled[arrays.dataset, user] for user in users]
    k = cell.key.k
    read = _context_pairs(arrays, k, labelled)[judged]
    searches = "search" in METHODS[cell.key.method.name].stages
    labels = read + [pairs.validation if searches else 0 for pairs in own]
    mean, labels_mean = (round(float(np.mean(n)), CONTEXT_DIGITS) if users else np.nan for n in (read, labels))
    return {
        "context_pairs": mean,
        "labels_used": labels_mean,
        "users_below_k": 0 if k == ALL else sum(pairs.context < int(k) for pairs in own),
        "n_users": len(users),
        "n_judgments": cell.n_judgments,
        "n_draws": len(cell.draws),
    }


def _smallest_k(rows: Sequence[Mapping[str, Value]]) -> tuple[str, float]:
    """First k whose interval lies above 0, and the context pairs that it stands for."""
    tested = [row for row in rows if row["status"] == OK and not np.isnan(float(str(row["ci_low"])))]
    above = [(str(row["k"]), float(str(row["context_pairs"]))) for row in tested if float(str(row["ci_low"])) > 0]
    return above[0] if above else (NO_K if tested else UNUSED, np.nan)


read_scaling_table = SCALING_COLUMNS.read


def scaling_blocks(table: pd.DataFrame) -> tuple[Block, Block]:
    """The table for people: each k, then each method's slope."""
    import pandas as pd

    columns = {column: text for column, text in headings_of(table).items() if column != "profile_model"}
    spoilt = {_method(row): dict.fromkeys(FLAG_NAMES, False) for row in table_rows(table)}
    for row in table_rows(table):
        spoilt[_method(row)] |= {name: True for name in FLAG_NAMES if row[name]}
    points, slopes = [], []
    for row in table_rows(table):
        names, nothing = shown_names(row, columns), row["status"] == NOT_APPLICABLE
        difference = bounds(row, "difference", "ci_low", "ci_high", signed=True)
        difference = difference if row["status"] == OK else str(row["status"])
        accuracy = bounds(row, "accuracy", "accuracy_low", "accuracy_high", signed=False)
        points.append(
            names
            | {"Context pairs": _mean_pairs(row["context_pairs"]), "Labels used": _mean_pairs(row["labels_used"])}
            | {"Users": plain(row["n_users"])}
            | {"Below k": plain(row["users_below_k"]), "Judgments": plain(row["n_judgments"])}
            | {"Draws": plain(row["n_draws"])}
            | {"Accuracy % [95 % CI]": NOT_APPLICABLE if nothing else marked(accuracy, row)}
            | {"Default %": marked(plain(row["default_accuracy"]), row, "default_")}
            | {"Difference [95 % CI]": marked(difference, row, "", "default_")}
            | {"p": probability(row["p_value"])}
        )
        del names["k"]
        slope = shown_slope(row)
        users = ("slope_users", "slope_users_left_out") if slope != EMPTY else ()
        shown = (
            names
            | dict.fromkeys(("Users", "Users left out"), EMPTY)
            | dict(zip(("Users", "Users left out"), (plain(row[name]) for name in users), strict=False))
            | {"Points per pair [95 % CI]": NOT_APPLICABLE if nothing else marked(slope, spoilt[_method(row)])}
            | {"Smallest k above Default": shown_smallest_k(row)}
        )
        if shown not in slopes:
            slopes.append(shown)
    heads = list(columns.values())
    first = pd.DataFrame(points, columns=None if points else heads)
    second = pd.DataFrame(slopes, columns=None if slopes else heads[:-1])
    return Block("Accuracy", first, len(columns)), Block("Slope", second, len(columns) - 1)


def _mean_pairs(value: object) -> str:
    pairs = plain(value)
    return pairs if pairs == EMPTY else f"{float(pairs):.4g}"


def shown_smallest_k(row: Mapping[str, object]) -> str:
    """Smallest k above Default, with the context pairs that it stands for where users have fewer than k."""
    k = str(row["smallest_k"])
    if k in (UNUSED, NO_K):
        return EMPTY if k == UNUSED else k
    pairs = _mean_pairs(row["smallest_k_pairs"])
    return k if pairs == k else f"{k} ({pairs} pairs)"


def _method(row: Mapping[str, object]) -> tuple[str, ...]:
    """What the rows of one slope share."""
    return tuple(str(row[name]) for name in ROW_KEY if name != "k")


def shown_slope(row: Mapping[str, object]) -> str:
    """Slope in points per pair with its bounds."""
    return bounds(row, "slope", "slope_low", "slope_high", signed=True, digits=(2, 2))


def scaling_notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the table must know."""
    few = table[table["users_below_k"] > 0]
    notes = [
        *dataset_note(table),
        *labels_note(table["method"]),
        "Context pairs: mean over the users of the pairs that their profiles were made from, k or all that they have. "
        "Labels used: the same with the validation pairs for methods that choose a winner by them. Judges with their "
        "own profiles.",
        "In brackets: 95 % intervals with users as clusters, never narrower than what so few judgments leave open. "
        "Difference: to Default of the same judge on the same judgments, in points.",
        "Points per pair: slope of accuracy over context pairs (of the same judgments) by weighted least squares, "
        "weights the judgments, on the judgments that every k has; users are resampled with all their k. This is our "
        "choice beside a model with a random effect of the user: it assumes no distribution of users. No slope "
        "is shown for a single k.",
        "Smallest k above Default: the first whose interval of the difference lies above 0 (each k is looked at, "
        "without adjustment); none: no such k.",
        REPORTED_NOTE,
    ]
    if (table["judge_model"] == UNUSED).any():
        notes.insert(-1, "A method without a judge has no Default of that judge, so that its difference is not run.")
    if len(few):
        notes.insert(-1, "Below k: users with fewer context pairs than k; their profiles have all of theirs.")
    return notes + exempt_note(table["status"]) + mark_notes(table, "", "default_")


def build(verdicts: Path, users: list[Path], *, seed: int, n_resamples: int, model_order: list[str]) -> Table:
    """Make the table from the files of a run."""
    table = scaling_table(
        read_frame(verdicts),
        read_labelled_pairs(users),
        seed=seed,
        n_resamples=n_resamples,
        model_order=model_order,
    )
    return Table(table, scaling_blocks(table), scaling_notes(table))


RESULT = TableResult(
    name="scaling",
    order=30,
    title="Accuracy against the number of context pairs",
    message="Making the table of scaling",
    caption=(
        "Accuracy against the number of context pairs, slopes in points per pair with 95 % intervals clustered by "
        "user, and the smallest k that lies above Default."
    ),
    build=build,
)
