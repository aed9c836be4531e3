"""The table of disagreement: how far do the labels of two users differ on the pairs that both labelled?"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from personalrm.core.records import Label, read_all
from personalrm.core.synthetic import PARTS, SyntheticUser, UserLabels
from personalrm.personas.synthetic.describe import decided_labels
from personalrm.personas.synthetic.labels import disagreements
from personalrm.results.columns import Columns
from personalrm.results.lazy import pd
from personalrm.results.spec import Table, TableResult
from personalrm.results.stats.exact_statistics import wilson_interval
from personalrm.results.table_formats import EMPTY, Block, table_rows

MOST_USERS = 60
"""Users of a domain between whom disagreements are listed; of more, the first by part and name."""
MATRIX_USERS = 12
"""Users of a domain whose matrix is shown to people; of more, the ends and the mean."""
NUMBERS = ("disagreement", "ci_low", "ci_high")
DISAGREEMENT_COLUMNS = Columns(
    ("dataset", "user", "part", "other", "other_part", "n_pairs", *NUMBERS),
    texts=("dataset", "user", "part", "other", "other_part"),
    whole=("n_pairs",),
)
read_disagreement_table = DISAGREEMENT_COLUMNS.read


def disagreement_table(rows: Iterable[UserLabels]) -> pd.DataFrame:
    """One row for every two users of a domain who labelled a pair in common; columns `DISAGREEMENT_COLUMNS`.

    - n_pairs: pairs that both labelled alike in both orders.
    - disagreement: mean absolute difference of their labels (0 or 1), with Wilson's 95 % interval; pairs as
      independent.
    """
    found = []
    for dataset, mine in sorted(_by_domain(rows).items()):
        parts = {row.user_id: row.part for row in mine}
        labels: Mapping[str, Mapping[str, Label]] = {row.user_id: decided_labels(row.labels) for row in mine}
        for (user, other), known in disagreements(labels).items():
            numbers = wilson_interval(round(known.difference * known.n_pairs), known.n_pairs)
            named = {"dataset": dataset, "user": user, "part": parts[user], "other": other, "other_part": parts[other]}
            shown = {name: round(number, 4) for name, number in zip(NUMBERS, numbers, strict=True)}
            found.append({**named, "n_pairs": known.n_pairs, **shown})
    return DISAGREEMENT_COLUMNS.frame(found)


def _by_domain(rows: Iterable[UserLabels]) -> dict[str, list[UserLabels]]:
    """Labels of each domain, those of at most `MOST_USERS` users by part and name."""
    grouped: dict[str, list[UserLabels]] = {}
    for row in sorted(rows, key=lambda row: (PARTS.index(row.part), row.user_id)):
        grouped.setdefault(row.dataset, []).append(row)
    return {dataset: mine[:MOST_USERS] for dataset, mine in grouped.items()}


def users_of(rows: pd.DataFrame) -> list[str]:
    """Users in the rows of a domain, in the order of the table."""
    pairs = itertools.chain(
        zip(rows["user"], rows["part"], strict=True), zip(rows["other"], rows["other_part"], strict=True)
    )
    return [user for _, user in sorted({(PARTS.index(part), str(user)) for user, part in pairs})]


def build(labels: list[Path], users: list[Path]) -> Table:
    """Make the table from the files of a run."""
    table = disagreement_table(read_all(labels, UserLabels))
    people = list(read_all(users, SyntheticUser))
    blocks = [_block(str(dataset), rows) for dataset, rows in table.groupby("dataset", sort=False)]
    notes = [
        "Mean absolute difference of two users' labels over the pairs that both labelled alike in both orders: 0 for "
        "equal labels, 1 for opposite ones, about 0.5 for unrelated ones. In brackets: number of pairs, or the 95 % "
        "interval with pairs as independent.",
        "Of the paper's five users (Figure 5) every two disagree in 0.32 to 0.72 (other users, other pairs): not "
        "comparable.",
        *_made_again(people),
    ]
    if any(sum(user.dataset == name for user in people) > MOST_USERS for name in {user.dataset for user in people}):
        notes.append(f"Of each domain the first {MOST_USERS} users by part and name.")
    return Table(table, blocks or None, notes)


def _made_again(people: Sequence[SyntheticUser]) -> list[str]:
    again = sorted(user.user_id for user in people if user.attempts > 1)
    left = sorted(user.user_id for user in people if user.conflicts)
    return [
        f"Made again because the disagreement with another user was out of the bounds: {', '.join(again) or 'nobody'}.",
        *([f"Still out of the bounds: {', '.join(left)}."] if left else []),
    ]


def _block(dataset: str, rows: pd.DataFrame) -> Block:
    names = users_of(rows)
    if len(names) > MATRIX_USERS:
        ordered = rows.sort_values(["disagreement", "user", "other"])
        ends = {"least": ordered.iloc[0], "most": ordered.iloc[-1]}
        shown: list[dict[str, Any]] = [
            {"": what, "Users": f"{row['user']}, {row['other']}", "Disagreement": _cell(row, bounds=True)}
            for what, row in ends.items()
        ]
        shown.append({"": "mean", "Users": f"{len(names)} users", "Disagreement": f"{rows['disagreement'].mean():.2f}"})
        return Block(dataset, pd.DataFrame(shown), 2)
    cells = {(row["user"], row["other"]): _cell(row) for row in table_rows(rows)}
    cells |= {(other, user): text for (user, other), text in cells.items()}
    matrix = [
        {"User": one, **{other: "0" if one == other else cells.get((one, other), EMPTY) for other in names}}
        for one in names
    ]
    return Block(dataset, pd.DataFrame(matrix), 1)


def _cell(row: Mapping[str, Any] | pd.Series, *, bounds: bool = False) -> str:
    more = f"[{row['ci_low']:.2f}, {row['ci_high']:.2f}]" if bounds else f"({row['n_pairs']})"
    return f"{row['disagreement']:.2f} {more}"


RESULT = TableResult(
    name="disagreement",
    order=30,
    title="How far do the labels of two users differ?",
    caption="Mean absolute difference of two users' labels over the pairs that both labelled.",
    mem_mb=2000,
    build=build,
)
