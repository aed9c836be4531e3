"""The table of labels: which pairs survive both orders, and how sure are labels before and after the refinement?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from personalrm.core.records import read_all
from personalrm.core.synthetic import PARTS, UNDECIDED, PairLabel, SyntheticUser, UserLabels
from personalrm.results.columns import Columns
from personalrm.results.comparisons import seed_of
from personalrm.results.lazy import pd
from personalrm.results.scores import percents
from personalrm.results.spec import Table, TableResult
from personalrm.results.stats.statistics import in_order_of_values, share_interval
from personalrm.results.tables.comparison_text import Shown, block_of, decimals, interval
from personalrm.studies.fspo.reported import reported_values

ALL = "all"
KEY = ("dataset", "part")
FATES = ("kept", "order_dependent", "undecided", "unread", "lost")
"""What becomes of a pair: labelled alike in both orders; differently; called undecided; not read; lost."""
TIMES = ("before", "after")
ENTROPY_COLUMNS = Columns(
    (
        *KEY,
        "n_users",
        "n_pairs",
        *FATES,
        *("kept_share", "kept_low", "kept_high"),
        *(f"{name}{end}" for name in TIMES for end in ("", "_low", "_high")),
        *("facts", "unusable"),
    ),
    texts=KEY,
    whole=("n_users", "n_pairs", *FATES, "unusable"),
)


def entropy_table(
    people: Iterable[SyntheticUser], labels: Iterable[UserLabels], *, seed: int, n_resamples: int
) -> pd.DataFrame:
    """One row for each part of the users of a domain, and one for all; columns `ENTROPY_COLUMNS`.

    - n_pairs: pairs of users, by `FATES` what became of their labels. Kept pairs are in the data.
    - kept_share: percent, bounds from a bootstrap over users.
    - before, after: mean entropy of labels in nats, by the traits alone and by the final description, with bounds;
      empty where descriptions are not refined. See `PairLabel.entropy`.
    - facts: mean number of facts that were added to a description; unusable: answers of the model, in all, that were
      no sentence about the person.
    """
    known = {(user.dataset, user.user_id): user for user in people}
    rows: dict[tuple[str, str], list[UserLabels]] = {}
    for row in sorted(labels, key=lambda row: (row.dataset, PARTS.index(row.part), row.user_id)):
        for part in (row.part, ALL):
            rows.setdefault((row.dataset, part), []).append(row)
    order = sorted(rows, key=lambda key: (key[0], key[1] == ALL, (*PARTS, ALL).index(key[1])))
    single = {dataset for dataset, _ in rows if sum(name == dataset for name, _ in rows) == 2}
    return ENTROPY_COLUMNS.frame(
        _row(key, rows[key], [known[row.dataset, row.user_id] for row in rows[key]], seed, n_resamples)
        for key in order
        if key[1] != ALL or key[0] not in single
    )


def fate_of(label: PairLabel) -> str:
    """What becomes of a pair with this label, one of `FATES`."""
    if label.lost:
        return "lost"
    if not label.read:
        return "unread"
    if label.label:
        return "kept"
    return "undecided" if any(verdict.outcome == "tie" for verdict in label.verdicts) else "order_dependent"


def _row(
    key: tuple[str, str], rows: Sequence[UserLabels], people: Sequence[SyntheticUser], seed: int, n_resamples: int
) -> dict[str, Any]:
    fates = [Counter(map(fate_of, row.labels)) for row in rows]
    total = sum(fates, Counter())
    judged = [sum(each.values()) - each["lost"] for each in fates]
    kept = share_interval(
        *in_order_of_values([each["kept"] for each in fates], judged),
        seed=seed_of(seed, *key, "kept"),
        n_resamples=n_resamples,
    )
    values = percents(kept, "kept_share", "kept_low", "kept_high") if sum(judged) else {}
    for name in TIMES:
        entropies = [[label.entropy for label in getattr(user, name)] for user in people]
        known = [[value for value in mine if value is not None] for mine in entropies]
        if any(known):
            # As shares of the most that it can be, so that the bounds stay within what an entropy can be.
            found = share_interval(
                *in_order_of_values([sum(mine) / UNDECIDED for mine in known], map(len, known)),
                seed=seed_of(seed, *key, name),
                n_resamples=n_resamples,
            )
            ends = ("", "_low", "_high")
            values |= {f"{name}{end}": round(n * UNDECIDED, 4) for end, n in zip(ends, found, strict=True)}
    return {
        **dict(zip(KEY, key, strict=True)),
        "n_users": len(rows),
        "n_pairs": sum(total.values()),
        **{name: total[name] for name in FATES},
        **values,
        "facts": round(sum(len(user.facts) for user in people) / len(people), 2),
        "unusable": sum(user.unusable for user in people),
    }


def build(users: list[Path], labels: list[Path], reported_fspo: Path, *, seed: int, n_resamples: int) -> Table:
    """Make the table from the files of a run."""
    people, labelled = read_all(users, SyntheticUser), read_all(labels, UserLabels)
    table = entropy_table(people, labelled, seed=seed, n_resamples=n_resamples)
    shown: Shown = {
        "Users": "n_users",
        "Pairs": "n_pairs",
        "Kept % [95 % CI]": interval("kept_share", "kept_low", "kept_high", digits=(1, 1)),
        "Order-dependent": "order_dependent",
        "Undecided": "undecided",
        "Unread": "unread",
        "Lost": "lost",
        "Entropy before [95 % CI]": interval("before", "before_low", "before_high", digits=(3, 2)),
        "after [95 % CI]": interval("after", "after_low", "after_high", digits=(3, 2)),
        "Facts": decimals("facts"),
        "No fact": "unusable",
    }
    notes = [
        "Kept: both orders prefer the same answer. Pairs that are not kept are in no data. Intervals: bootstrap over "
        "users.",
        "Entropy of a label in nats, at most 0.693 (ln 2), by the traits alone and by the final description; with "
        "words it is ln 2 where the orders differ or the description is said not to decide. Empty where "
        "descriptions are not refined. Facts: mean of a user; no fact: answers that were no sentence about the person.",
        f"The paper's second version is reported to give {reported_values(reported_fspo, 'entropy of labels, nats')} "
        "(third-party notes; other judge, other users): not comparable.",
    ]
    return Table(table, (block_of(table, {"dataset": "Domain", "part": "Users who are"}, shown),), notes)


RESULT = TableResult(
    name="label_entropy",
    order=20,
    title="Which labels survive both orders, and how sure are they?",
    caption="Pairs whose label is the same in both orders, and entropy of labels before and after the refinement.",
    build=build,
)
