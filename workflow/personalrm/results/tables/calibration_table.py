"""The table of calibration: are judges as often right as their log-odds say?"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from personalrm.core.lazy import np
from personalrm.core.records import READABLE, UserData, read_all
from personalrm.results.columns import Columns
from personalrm.results.conditions import ROW_KEY
from personalrm.results.labels import METHOD_ORDER
from personalrm.results.lazy import pd
from personalrm.results.scores import answered, percent, percents, read_frame
from personalrm.results.spec import Table, TableResult
from personalrm.results.stats.statistics import share_interval
from personalrm.results.table_formats import Block
from personalrm.results.tables.comparison_text import Shown, block_of, dataset_note, decimals, headings_of, interval
from personalrm.results.tables.main_table import listed

EDGES: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
"""Of the bins of confidence, which is never below one half."""
WHOLE = "all"
"""Instead of a bin: all verdicts of the condition."""
SCORES: tuple[str, ...] = ("log_loss", "brier", "ece")
BOUNDS: tuple[str, ...] = ("accuracy", "ci_low", "ci_high")
COUNTS: tuple[str, ...] = ("n_users", "n_verdicts")
COLUMNS = Columns((*ROW_KEY, "bin", *COUNTS, "confidence", *BOUNDS, *SCORES), texts=(*ROW_KEY, "bin"), whole=COUNTS)


def user_ties(users: Iterable[Path]) -> set[tuple[str, str]]:
    """Pairs that their users called a tie, (data set, pair id), from files of `UserData`."""
    return {(user.dataset, pair.pair_id) for user in read_all(users, UserData) for pair in user.pairs if pair.tie}


def calibration_table(
    verdicts: pd.DataFrame, ties: Collection[tuple[str, str]] = (), *, model_order: Sequence[str] = ()
) -> pd.DataFrame:
    """For each condition whose verdicts have log-odds one row for all verdicts, and one for each bin of confidence that
    holds any; columns `COLUMNS`, shares in percent.

    - confidence: mean probability that the log-odds give to the answer which they favour.
    - accuracy: share of verdicts that favour the answer which the user chose; log-odds of 0 count as half. ci_low,
      ci_high: 95 % with users as clusters (`statistics.share_interval`).
    - log_loss (nats), brier, ece: of the probability of the chosen answer, and the mean distance of accuracy and
      confidence over bins, weighted by their verdicts (expected calibration error, points); for all verdicts alone.

    Pairs that the user called a tie (`ties`, see `user_ties`) are left out: neither answer was chosen.
    """
    pairs = pd.MultiIndex.from_frame(verdicts[["dataset", "pair_id"]])
    groups = listed(verdicts[~pairs.isin(sorted(ties))], METHOD_ORDER, model_order)
    return COLUMNS.frame({**condition.row, **row} for condition, group in groups for row in _rows(group))


def _rows(group: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The rows of one condition: all verdicts, then the bins; none where no verdict has log-odds."""
    judged = answered(group)
    judged = judged[judged["log_odds"].notna() & judged["outcome"].isin(READABLE)]
    if judged.empty:
        return
    odds = judged["log_odds"].to_numpy()
    # Log-odds of 500 are certain; more would overflow.
    probability = 1 / (1 + np.exp(-np.clip(odds, -500, 500)))
    held = judged.assign(
        right=(np.sign(odds) + 1) / 2,
        confidence=np.maximum(probability, 1 - probability),
        loss=np.logaddexp(0, -odds),
        brier=(1 - probability) ** 2,
    )
    bins = np.clip(np.searchsorted(EDGES, held["confidence"], side="right"), 1, len(EDGES) - 1) - 1
    parts = [(place, held[bins == place]) for place in range(len(EDGES) - 1) if (bins == place).any()]
    distances = (len(part) * abs(float(part["right"].mean() - part["confidence"].mean())) for _, part in parts)
    scores = {
        "log_loss": round(float(held["loss"].mean()), 6),
        "brier": round(float(held["brier"].mean()), 6),
        "ece": percent(sum(distances) / len(held)),
    }
    yield {"bin": WHOLE, **_described(held), **scores}
    names = [f"{100 * low:g}-{100 * high:g}" for low, high in pairwise(EDGES)]
    yield from ({"bin": names[place], **_described(part)} for place, part in parts)


def _described(part: pd.DataFrame) -> dict[str, Any]:
    """Counts, confidence and accuracy of some verdicts."""
    by_user = part.groupby("user_id", observed=True)["right"].agg(["sum", "count"])
    found = share_interval(by_user["sum"], by_user["count"], units=int(part["pair_id"].nunique()))
    return {
        "n_users": len(by_user),
        "n_verdicts": len(part),
        "confidence": percent(float(part["confidence"].mean())),
        **percents(found, *BOUNDS),
    }


read_calibration_table = COLUMNS.read


def calibration_blocks(table: pd.DataFrame) -> tuple[Block, ...]:
    """The table for people: one row per condition."""
    cells: Shown = {
        "Users": "n_users",
        "Verdicts": "n_verdicts",
        "Confidence %": decimals("confidence"),
        "Accuracy % [95 % CI]": interval(*BOUNDS),
        "Log loss": decimals("log_loss", ".3f"),
        "Brier": decimals("brier", ".3f"),
        "ECE": decimals("ece"),
    }
    return (block_of(table[table["bin"] == WHOLE], headings_of(table), cells),)


def calibration_notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the table must know."""
    return [
        *dataset_note(table),
        "Confidence: mean probability that the log-odds of a verdict give to the answer which they favour. A "
        "calibrated judge is as often right as it is confident. Accuracy is that of these verdicts; in brackets the "
        "95 % interval with users as clusters.",
        "Log loss (nats; 0.693 is a coin) and Brier score (0.25 is a coin): of the probability of the answer that the "
        "user chose. ECE: expected calibration error in points, over the bins of confidence in the csv file.",
        "Methods whose verdicts are words have no log-odds and no row. Pairs that the user called a tie are left out.",
    ]


def build(verdicts: Path, users: list[Path], *, model_order: list[str]) -> Table:
    """Make the table from the collected verdicts, and from the users' pairs, which say what is a tie."""
    table = calibration_table(read_frame(verdicts), user_ties(users), model_order=model_order)
    return Table(table, calibration_blocks(table), calibration_notes(table))


RESULT = TableResult(
    name="calibration",
    order=65,
    title="Calibration: accuracy against the confidence that log-odds express",
    caption="Accuracy against confidence of all verdicts that have log-odds, with log loss, Brier score and ECE.",
    build=build,
)
