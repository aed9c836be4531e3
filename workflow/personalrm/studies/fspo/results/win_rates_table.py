"""The table of win rates: how often would a user prefer a system's answer to that of Base?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from personalrm.core.records import read_all
from personalrm.core.synthetic import PARTS, AnswerComparison
from personalrm.results.columns import Columns
from personalrm.results.comparisons import seed_of
from personalrm.results.labels import VERDICT_LABELS
from personalrm.results.lazy import pd
from personalrm.results.scores import percents
from personalrm.results.spec import Table, TableResult
from personalrm.results.stats.statistics import in_order_of_values, share_interval
from personalrm.results.table_formats import Block, plain
from personalrm.results.tables.comparison_text import Row, Shown, block_of, decimals, interval
from personalrm.studies.fspo.reported import reported_rows

ALL = "all"
KEY = ("dataset", "judge", "verdict", "system", "part")
FATES = ("wins", "losses", "order_dependent", "ties", "missing", "unread", "lost")
"""What becomes of a comparison: both orders name the system's answer, or that of Base; they name different ones; the
answers are equal or called so; an answer is missing; the judge's cannot be read; it is lost."""
RATE = ("win_rate", "ci_low", "ci_high")
WITH_TIES = ("with_ties", "with_ties_low", "with_ties_high")
WIN_COLUMNS = Columns(
    (*KEY, "n_users", *FATES, *RATE, *WITH_TIES, "words", "words_base"),
    texts=KEY,
    whole=("n_users", *FATES),
)
REPORTED_HEADS = {
    **{"domain": "Domain", "users": "Users", "shots": "Shots", "method": "Method", "judge": "Judge"},
    **{"version": "Version", "value": "Win rate %"},
}


def win_table(rows: Iterable[AnswerComparison], *, seed: int, n_resamples: int) -> pd.DataFrame:
    """One row for each domain, judge, kind of verdict, system and part of the users, and all of them; columns
    `WIN_COLUMNS`.

    - win_rate: percent of comparisons that the system wins, of those in which both orders name the same answer; empty
      where none is left. Bounds from a bootstrap over users.
    - with_ties: the same, with order-dependent comparisons and ties as half a win.
    - words, words_base: mean length of the answers that were compared.
    """
    groups: dict[tuple[str, ...], list[AnswerComparison]] = {}
    for row in sorted(rows, key=lambda row: (PARTS.index(row.part), row.pair_id)):
        for part in (row.part, ALL):
            groups.setdefault((row.dataset, row.judge, row.mode, row.test, part), []).append(row)
    ranks = {part: number for number, part in enumerate((*PARTS, ALL))}
    order = sorted(groups, key=lambda key: (*key[:4], ranks[key[4]]))
    sizes = Counter(key[:4] for key in groups)
    kept = (key for key in order if key[4] != ALL or sizes[key[:4]] > 2)
    return WIN_COLUMNS.frame(_row(key, groups[key], seed, n_resamples) for key in kept)


def fate_of(row: AnswerComparison) -> str:
    """What becomes of a comparison, one of `FATES`."""
    outcomes = {verdict.outcome for verdict in row.verdicts}
    if "provider_error" in outcomes:
        return "lost"
    if row.reason:
        return "ties" if row.reason == "equal" else "missing"
    if row.winner is None:
        return "unread"
    if row.orders_differ:
        return "order_dependent"
    return {"test": "wins", "base": "losses", "tie": "ties"}[row.winner]


def _row(key: tuple[str, ...], rows: Sequence[AnswerComparison], seed: int, n_resamples: int) -> dict[str, Any]:
    users: dict[str, Counter[str]] = {}
    for row in rows:
        users.setdefault(row.user_id, Counter())[fate_of(row)] += 1
    total = sum(users.values(), Counter())
    values: dict[str, float] = {}
    for names, half in ((RATE, ()), (WITH_TIES, ("order_dependent", "ties"))):
        halves = {user: sum(mine[name] for name in half) for user, mine in users.items()}
        won = [mine["wins"] + halves[user] / 2 for user, mine in users.items()]
        judged = [mine["wins"] + mine["losses"] + halves[user] for user, mine in users.items()]
        if any(judged):
            own_seed = seed_of(seed, *key, names[0])
            found = share_interval(*in_order_of_values(won, judged), seed=own_seed, n_resamples=n_resamples)
            values |= percents(found, *names)
    compared = [row.words for row in rows if row.reason != "no_answer"]
    lengths = [round(fmean(words), 1) for words in zip(*compared, strict=True)] if compared else [None, None]
    return {
        **dict(zip(KEY, key, strict=True)),
        "n_users": len(users),
        **{name: total[name] for name in FATES},
        **values,
        **dict(zip(("words", "words_base"), lengths, strict=True)),
    }


def build(comparisons: list[Path], reported_fspo: Path, *, seed: int, n_resamples: int) -> Table:
    """Make the table from the files of a run."""
    table = win_table(read_all(comparisons, AnswerComparison), seed=seed, n_resamples=n_resamples)

    def rate(names: Sequence[str]) -> Any:  # noqa: ANN401 - as `interval`
        shown = interval(*names, digits=(1, 1))
        return lambda row: "undefined" if plain(row[names[0]]) == "–" else shown(row)

    def judge(row: Row) -> str:
        return f"{row['judge']}{VERDICT_LABELS.get(row['verdict'], '')}"

    shown: Shown = {
        "Judge": judge,
        "Win rate % [95 % CI]": rate(RATE),
        "Ties as half % [95 % CI]": rate(WITH_TIES),
        "Users": "n_users",
        "Wins": "wins",
        "Losses": "losses",
        "Order-dependent": "order_dependent",
        "Ties": "ties",
        "Missing": "missing",
        "Unread": "unread",
        "Lost": "lost",
        "Words": decimals("words"),
        "Words of Base": decimals("words_base"),
    }
    columns = {"dataset": "Domain", "system": "System", "part": "Users who are"}
    notes = [
        "Percent of comparisons with the answer of Base (the question alone) that a system wins, as the judge says by "
        "the user's description, in both orders. Order-dependent comparisons are dropped, and count as half a win in "
        "the second column; undefined: none is left. Intervals: bootstrap over users. Base against itself is 50 by "
        "definition.",
        "Reported: against Llama 3.2 3B Instruct as Base unless the method says otherwise, with the paper's own "
        "questions and users: not comparable. Numbers of the second version alone are from third-party notes.",
    ]
    blocks = [block_of(table, columns, shown, n_names=len(columns) + 1), _reported(reported_fspo)]
    return Table(table, blocks, notes)


def _reported(path: Path) -> Block:
    """The paper's win rates, as text."""
    rows = reported_rows(path, "win rate, percent")
    texts = [{head: plain(row[name] or None) for name, head in REPORTED_HEADS.items()} for row in rows]
    return Block("Reported by the paper (not comparable)", pd.DataFrame(texts), len(REPORTED_HEADS) - 1)


RESULT = TableResult(
    name="win_rates",
    order=40,
    title="How often would a user prefer a system's answer to that of Base?",
    caption=(
        "Share of comparisons with Base that a system wins by the user's description, in both orders, with 95 % "
        "intervals."
    ),
    when="compare",
    build=build,
)
