"""The table of scaling: accuracy by the number of context pairs, its slope, and the first k better than Default."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from personalrm.core.conditions import MethodId
from personalrm.core.records import UserData, read_all
from personalrm.methods.registry import METHODS, is_trained
from personalrm.methods.reward.few_shot_settings import FEW_SHOT
from personalrm.results import claims
from personalrm.results.columns import Columns
from personalrm.results.comparisons import ACCURACY, NUMBERS, accuracy_of, compare, key_order, with_holm
from personalrm.results.conditions import ROW_KEY, Condition, by_condition
from personalrm.results.labels import ALL, NOT_APPLICABLE, OK, UNUSED, exempt_note, labels_note
from personalrm.results.lazy import pd
from personalrm.results.marks import FLAG_NAMES, Flags, mark_notes, marked, prefixed
from personalrm.results.scores import read_frame
from personalrm.results.spec import Table, TableResult
from personalrm.results.table_formats import EMPTY, Block, plain, table_rows
from personalrm.results.tables.comparison_text import (
    DIFFERENCE,
    Row,
    Shown,
    block_of,
    bounds,
    chance,
    dataset_note,
    headings_of,
    interval,
    notes_where,
    number,
)
from personalrm.results.tables.scaling_slope import slope_of
from personalrm.results.verdict_arrays import Cell, Floats, VerdictArrays, refuse_unknown, verdict_arrays_of


class Labelled(NamedTuple):
    """Numbers of a user's labelled pairs: those to learn from, and those that choose between candidates."""

    context: int
    validation: int = 0


LabelledPairs = Mapping[tuple[str, str], Labelled]
"""By data set and user."""
ShownVotes = Mapping[Condition, Mapping[str, tuple[float, float]]]
"""Of methods whose verdicts count the votes in their prompts: by user, means of `shots` and `shots_dropped`."""

COUNTS: tuple[str, ...] = ("n_users", "users_below_k", "n_judgments", "n_draws")
DEFAULT_COLUMNS: tuple[str, ...] = ("default_accuracy", "default_low", "default_high")
SLOPE_COLUMNS: tuple[str, ...] = ("slope", "slope_low", "slope_high", "slope_users", "slope_users_left_out")
FLAGS: tuple[str, ...] = prefixed("", "default_")
SCALING_COLUMNS = Columns(
    (
        *(
            *ROW_KEY,
            "context_pairs",
            "pairs_dropped",
            "labels_used",
            *COUNTS,
            *ACCURACY,
            *DEFAULT_COLUMNS,
            "status",
            *NUMBERS[:4],
        ),
        *("p_holm", "claim", *SLOPE_COLUMNS, "smallest_k", "smallest_k_pairs", *FLAGS),
    ),
    texts=(*ROW_KEY, "status", "claim", "smallest_k"),
    whole=(*COUNTS, *SLOPE_COLUMNS[3:]),
    flags=FLAGS,
)
Values = dict[str, Any]
CONTEXT_DIGITS = 4
NO_K, NO_PAIRS = "none", "0"
FIRST_K = f"the first with a higher accuracy at which {claims.RULE}"
"""What the smallest k that is better than Default is."""
WITHOUT_PAIRS = "k = 0: the same model, shown no votes; its row of the main table has no k."
VOTES_DROPPED = (
    "Of models that are shown votes, context pairs are the votes in the prompt. Not shown (mean): votes that k allows "
    "but that did not fit in the prompt, or are on the answers that are judged."
)
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

    k is `NO_PAIRS` in the row of a method that is shown no pair: its numbers are those of `Method.without_pairs`.
    Leave-one-conversation-out (`@loo`) has no row: it learns from all other conversations, whatever k.
    Columns `SCALING_COLUMNS`:

    - context_pairs: mean over the users who have a verdict of the pairs that their profiles were made from: k, or all
      of theirs where they have fewer; of those, the votes that prompts show, where verdicts count them. It is the place
      of the accuracies of a k in the figure and for the slope.
    - pairs_dropped: mean of the votes that k allows and prompts do not show (`Verdict.shots_dropped`); empty where
      verdicts do not count them.
    - labels_used: the same, with the validation pairs for methods that learn from them, or choose a winner by them.
    - users_below_k: users with fewer context pairs than k, who have all of theirs.
    - accuracy, default_accuracy with bounds: percent, as in the main table.
    - status, difference .. p_value: to `default` on the same judgments (`comparisons.compare`).
    - outage .., default_outage ..: what spoils the accuracy at that k, or of `default` (`marks.Flags`).
    - p_holm: p-values adjusted for all comparisons of this table. claim: what the difference allows to be said, a
      value of `claims.Claim`; empty where it has no interval or an outage spoils it.
    - slope and its bounds: points per pair, see `slope_of`; the same in all rows of a method, as is smallest_k.
    - smallest_k: smallest k whose claim is that it is better, "none" where there is no such k, "-" where no k has a
      claim. smallest_k_pairs: `context_pairs` of that k.

    Raises:
        DataError: if a judged user is not in `labelled`.
    """
    rows: list[Values] = []
    settings = {"seed": seed, "n_resamples": n_resamples}
    shown = _shown_votes(verdicts)
    for arrays in verdict_arrays_of(verdicts).values():
        series: dict[Condition, list[Condition]] = {}
        for key in sorted(arrays.cells, key=lambda key: key_order(key, model_order)):
            if key.k != UNUSED and key.own and key.method.pairs != "loo":
                series.setdefault(key._replace(k=UNUSED), []).append(key)
        for keys in series.values():
            rows += _series_rows(arrays, _with_zero(arrays, keys), labelled, shown, settings)
    adjusted = [row | {"claim": _claim(row)} for row in with_holm(rows)]
    series_of = [list(rows) for _, rows in groupby(adjusted, key=_method)]
    return SCALING_COLUMNS.frame(row | _smallest_k(mine) for mine in series_of for row in mine)


def _shown_votes(verdicts: pd.DataFrame) -> ShownVotes:
    counts = ["shots", "shots_dropped"]
    if not {*counts} <= {*verdicts}:  # collected by an earlier version
        return {}
    known = verdicts[verdicts["shots"].notna()].astype(dict.fromkeys(counts, "float64"))
    means = ((key, rows.groupby("user_id", observed=True)[counts].mean()) for key, rows in by_condition(known))
    return {key: {str(user): (shots, lost) for user, shots, lost in frame.itertuples()} for key, frame in means}


def _with_zero(arrays: VerdictArrays, keys: Sequence[Condition]) -> list[Condition]:
    """The conditions of a series, after that of the method without pairs, if the series has one."""
    name = METHODS[keys[0].method.name].without_pairs
    zero = keys[0]._replace(method=keys[0].method._replace(name=name), k=UNUSED)
    return [zero, *keys] if zero in arrays.cells else [*keys]


def _claim(row: Row) -> str:
    """What a row's difference allows to be said; empty where it has no interval or an outage spoils it."""
    if row["status"] != OK or np.isnan(row["ci_low"]) or row["outage"] or row["default_outage"]:
        return ""
    return claims.claim_of({**row, "n_users": row["compared_users"]}).value


def _smallest_k(rows: Sequence[Row]) -> Values:
    """The smallest k at which a method is better than Default, of its rows by ascending k."""
    better = [row for row in rows if row["claim"] == claims.Claim.BETTER.value]
    if better:
        return {"smallest_k": better[0]["k"], "smallest_k_pairs": better[0]["context_pairs"]}
    return {"smallest_k": NO_K if any(row["claim"] for row in rows) else UNUSED, "smallest_k_pairs": np.nan}


def _series_rows(
    arrays: VerdictArrays,
    keys: Sequence[Condition],
    labelled: LabelledPairs,
    shown: ShownVotes,
    settings: dict[str, int],
) -> list[Values]:
    """The rows of one method, by ascending k."""
    default, cells = arrays.cells.get(keys[0].default), [arrays.cells[key] for key in keys]
    reference = accuracy_of(arrays, default, **settings) if default else (np.nan,) * 3
    compared = [compare(arrays, cell.key, cell.key.default, **settings) for cell in cells]
    at = [_context_pairs(arrays, key, labelled, shown) for key in keys]
    names = [(keys[-1]._replace(k=NO_PAIRS) if key.k == UNUSED else key).row for key in keys]
    shared: Values = dict(zip(SLOPE_COLUMNS, slope_of(arrays, cells, at, **settings), strict=True))
    return [
        {**difference, "compared_users": difference["n_users"], **name, **_point(arrays, cell, labelled, read)}
        | {"pairs_dropped": _pairs_dropped(shown.get(cell.key, {}))}
        | dict(zip(ACCURACY, accuracy_of(arrays, cell, **settings), strict=True))
        | dict(zip(DEFAULT_COLUMNS, reference, strict=True))
        | cell.flags().columns()
        | (default.flags() if default else Flags()).columns("default_")
        | shared
        for cell, difference, name, read in zip(cells, compared, names, at, strict=True)
    ]


def _context_pairs(arrays: VerdictArrays, key: Condition, labelled: LabelledPairs, shown: ShownVotes) -> Floats:
    """Context pairs that the profile of each user is made from at this k, or that prompts show (mean); 0 for users that
    are not known."""
    most = np.inf if key.k == ALL else 0.0 if key.k == UNUSED else float(key.k)
    own = (labelled.get((arrays.dataset, user), Labelled(0)).context for user in arrays.users)
    counted = shown.get(key, {})
    read = [counted.get(user, (min(pairs, most),))[0] for user, pairs in zip(arrays.users, own, strict=True)]
    return np.array(read, dtype=np.float64)


def _pairs_dropped(shown: Mapping[str, tuple[float, float]]) -> float:
    """Mean over users; nan where verdicts do not count them."""
    return round(fmean(lost for _, lost in shown.values()), CONTEXT_DIGITS) if shown else np.nan


def _point(arrays: VerdictArrays, cell: Cell, labelled: LabelledPairs, every: Floats) -> Values:
    """Place of a cell on the axis of context pairs, and its counts; `every`: context pairs of each user."""
    judged = np.unique(arrays.user_of[(cell.right >= 0).any(axis=0)])
    users = [arrays.users[int(user)] for user in judged]
    refuse_unknown(arrays.dataset, users, labelled)
    own = [labelled[arrays.dataset, user] for user in users]
    k = cell.key.k
    read = every[judged]
    method = METHODS[cell.key.method.name]
    validated = method.validation or "search" in method.stages
    labels = read + [pairs.validation if validated else 0 for pairs in own]
    mean, labels_mean = (round(float(np.mean(n)), CONTEXT_DIGITS) if users else np.nan for n in (read, labels))
    return {
        "context_pairs": mean,
        "labels_used": labels_mean,
        "users_below_k": 0 if k in (ALL, UNUSED) else sum(pairs.context < int(k) for pairs in own),
        "n_users": len(users),
        "n_judgments": cell.n_judgments,
        "n_draws": len(cell.draws),
    }


read_scaling_table = SCALING_COLUMNS.read


def scaling_blocks(table: pd.DataFrame) -> tuple[Block, Block]:
    """The table for people: each k, then each method's slope."""
    columns = {column: text for column, text in headings_of(table).items() if column != "profile_model"}
    spoilt = {_method(row): dict.fromkeys(FLAG_NAMES, False) for row in table_rows(table)}
    for row in table_rows(table):
        spoilt[_method(row)] |= {name: True for name in FLAG_NAMES if row[name]}

    def unless_exempt(show: Callable[[Row], str], spoils: Callable[[Row], Row]) -> Callable[[Row], str]:
        return lambda row: NOT_APPLICABLE if row["status"] == NOT_APPLICABLE else marked(show(row), spoils(row))

    points: Shown = {
        "Context pairs": lambda row: _mean_pairs(row["context_pairs"]),
        **({"Not shown": lambda row: _mean_pairs(row["pairs_dropped"])} if drops_votes(table) else {}),
        "Labels used": lambda row: _mean_pairs(row["labels_used"]),
        "Users": "n_users",
        "Below k": "users_below_k",
        "Judgments": "n_judgments",
        "Draws": "n_draws",
        "Accuracy % [95 % CI]": unless_exempt(interval(*ACCURACY), lambda row: row),
        "Default %": lambda row: marked(plain(row["default_accuracy"]), row, "default_"),
        "Difference [95 % CI]": lambda row: marked(
            bounds(row, *DIFFERENCE, signed=True) if row["status"] == OK else row["status"], row, "", "default_"
        ),
        "p": chance("p_value"),
        "p (Holm)": chance("p_holm"),
    }
    slopes: Shown = {
        "Users": lambda row: _of_slope(row, "slope_users"),
        "Users left out": lambda row: _of_slope(row, "slope_users_left_out"),
        "Points per pair [95 % CI]": unless_exempt(shown_slope, lambda row: spoilt[_method(row)]),
        "Smallest k better than Default": shown_smallest_k,
    }
    named = {column: text for column, text in columns.items() if column != "k"}
    second = block_of(table, named, slopes, "Slope")
    return block_of(table, columns, points, "Accuracy"), second._replace(texts=second.texts.drop_duplicates())


def _counts_votes(table: pd.DataFrame) -> pd.Series[bool]:
    """Rows of methods whose verdicts count the votes in their prompts, in files of this version."""
    return table["method"].isin(FEW_SHOT) & (table["k"] != NO_PAIRS) & (table["n_users"] > 0)


def drops_votes(table: pd.DataFrame) -> bool:
    """Whether prompts do not show all votes that k allows."""
    return bool((table["pairs_dropped"] > 0).any())


def _of_slope(row: Row, column: str) -> str:
    return EMPTY if shown_slope(row) == EMPTY else plain(row[column])


def _mean_pairs(value: object) -> str:
    return number(None if plain(value) == EMPTY else plain(value), ".4g")


def shown_smallest_k(row: Mapping[str, object]) -> str:
    """Smallest k better than Default, with its mean number of context pairs where users have fewer than k."""
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
    return [
        *dataset_note(table),
        *labels_note(table["method"]),
        "Context pairs: mean over the users of the pairs that their profiles were made from, k or all that they have. "
        "Labels used: the same with the validation pairs for methods that choose a winner by them. Judges with their "
        "own profiles.",
        "In brackets: 95 % intervals with users as clusters, never narrower than what so few judgments leave open. "
        "Difference: to Default of the same judge on the same judgments, in points. "
        "p (Holm): adjusted for all comparisons of this table.",
        "Points per pair: slope of accuracy over context pairs (of the same judgments) by weighted least squares, "
        "weights the judgments, on the judgments that every k has; users are resampled with all their k. This is our "
        "choice beside a model with a random effect of the user: it assumes no distribution of users. No slope "
        "is shown for a single k.",
        f"Smallest k better than Default: {FIRST_K}; none: the numbers of no k allow that to be said.",
        *notes_where(
            (
                (table["judge_model"] == UNUSED).any(),
                "A method without a judge has no Default of that judge, so that its difference is not run.",
            ),
            (
                table["method"].map(lambda method: is_trained(MethodId.parse(method).name)).any(),
                "Nor has a trained reward model: the table of differences compares it with frozen Bradley-Terry.",
            ),
            ((table["k"] == NO_PAIRS).any(), WITHOUT_PAIRS),
            (drops_votes(table), VOTES_DROPPED),
            (
                (_counts_votes(table) & table["pairs_dropped"].isna()).any(),
                "Where models are shown votes, verdicts of an earlier version do not say how many fitted in the "
                "prompt: context pairs are then k, or all that a user has. `score` counts them where it is run again.",
            ),
            (
                (table["users_below_k"] > 0).any(),
                "Below k: users with fewer context pairs than k; their profiles have all of theirs.",
            ),
        ),
        REPORTED_NOTE,
        *exempt_note(table["status"]),
        *mark_notes(table, "", "default_"),
    ]


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
    caption=(
        "Accuracy against the number of context pairs, slopes in points per pair with 95 % intervals clustered by "
        "user, and the smallest k at which a method is better than Default."
    ),
    build=build,
)
