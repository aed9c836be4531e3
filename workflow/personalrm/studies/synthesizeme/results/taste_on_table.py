"""The table of pairs that are no matter of taste: what each method gains or loses there by being set aside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from personalrm.core.records import JudgedUser, Verdict, read_all
from personalrm.results.columns import Columns
from personalrm.results.conditions import ROW_KEY, Condition
from personalrm.results.labels import METHOD_ORDER, method_rank
from personalrm.results.lazy import pd
from personalrm.results.scores import percent, percents
from personalrm.results.spec import Table, TableResult
from personalrm.results.stats.statistics import paired_cluster_difference
from personalrm.results.table_formats import Block
from personalrm.results.tables.comparison_text import (
    DIFFERENCE,
    Shown,
    block_of,
    dataset_note,
    decimals,
    headings_of,
    interval,
)

COUNTS = ("n_users", "n_pairs")
TASTE_ON_COLUMNS = Columns(
    (*ROW_KEY, *COUNTS, "accuracy_taste", "accuracy_default", *DIFFERENCE), texts=ROW_KEY, whole=COUNTS
)
Shares = dict[str, list[tuple[float, float]]]
"""User to the shares of right verdicts on each pair, by the method and by the unpersonalised judge."""


def taste_on_table(rows: Iterable[JudgedUser], *, seed: int, n_resamples: int) -> pd.DataFrame:
    """One row per condition with pairs that were set aside; columns `TASTE_ON_COLUMNS`, percent and points.

    - accuracy_taste: of the method's own verdicts on these pairs, which do not count anywhere else.
    - accuracy_default: of the unpersonalised judge's verdicts on them, which count in their place.
    - difference: default minus taste, with its interval (`paired_cluster_difference`, users as clusters).

    Each pair (and draw) counts the same; one that either of the two has no answered verdict on is left out.
    """
    found: defaultdict[Condition, Shares] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for name in sorted({verdict.pair_id for verdict in row.set_aside}):
            own, plain = _right(row.set_aside, name), _right(row.verdicts, name)
            if own is not None and plain is not None:
                found[Condition.of_user(row)][row.user_id].append((own, plain))
    order = sorted(found, key=lambda key: (key.dataset, method_rank(str(key.method), METHOD_ORDER), key.order))
    return TASTE_ON_COLUMNS.frame({**key.row, **_effect(found[key], seed, n_resamples)} for key in order)


def _right(verdicts: Sequence[Verdict], pair: str) -> float | None:
    """Share of the answered verdicts on a pair that are right."""
    mine = [verdict for verdict in verdicts if verdict.pair_id == pair and verdict.outcome != "provider_error"]
    return sum(verdict.outcome == "correct" for verdict in mine) / len(mine) if mine else None


def _effect(shares: Shares, seed: int, n_resamples: int) -> dict[str, float | int]:
    people = [shares[user] for user in sorted(shares)]
    counts = [len(pairs) for pairs in people]
    own, plain = ([sum(pair[side] for pair in pairs) for pairs in people] for side in (0, 1))
    gain = paired_cluster_difference(plain, own, counts, seed=seed, n_resamples=n_resamples, units=sum(counts))
    n_pairs = sum(counts)
    accuracies = {"accuracy_taste": percent(sum(own) / n_pairs), "accuracy_default": percent(sum(plain) / n_pairs)}
    return {"n_users": len(people), "n_pairs": n_pairs, **accuracies, **percents(gain, *DIFFERENCE)}


def taste_on_blocks(table: pd.DataFrame) -> tuple[Block, ...]:
    """The table for people."""
    cells: Shown = {
        "Users": "n_users",
        "Pairs": "n_pairs",
        "By taste %": decimals("accuracy_taste"),
        "As Default %": decimals("accuracy_default"),
        "Difference, points [95 % CI]": interval(*DIFFERENCE, signed=True),
    }
    return (block_of(table, headings_of(table), cells),)


def taste_on_notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the table must know."""
    return [
        *dataset_note(table),
        "Pairs that the filters' rating finds no matter of taste (below the thresholds of filters.personalizable); of "
        "several draws each counts. There the verdicts of Default (same judge, same kind of verdict) count for every "
        "method that is shown something about the user, in all other tables: As Default. By taste: the method's own "
        "verdicts, which were set aside. For methods that weigh scores, Default is the model that scored, by its "
        "log-odds. Where these are not known, and where a method asks no model, nothing is set aside.",
    ]


def build(judged: list[Path], *, seed: int, n_resamples: int) -> Table:
    """Make the table from the files of a run."""
    table = taste_on_table(read_all(judged, JudgedUser), seed=seed, n_resamples=n_resamples)
    return Table(table, taste_on_blocks(table), taste_on_notes(table))


RESULT = TableResult(
    name="taste_on",
    order=75,
    title="Pairs that are no matter of taste: judged by taste, and as Default",
    caption=(
        "Accuracy on the pairs that are no matter of taste, by each method's own verdicts and by those of Default, "
        "which count in their place, with their paired difference."
    ),
    build=build,
    when="taste_on",
)
