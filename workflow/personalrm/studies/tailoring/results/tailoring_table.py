"""The table of persona tailoring: which of two systems' answers are better, and by how much (ΔPQ)."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from personalrm.core.generations import JudgedAnswers
from personalrm.core.lazy import np
from personalrm.core.records import read_all
from personalrm.results.columns import Columns
from personalrm.results.comparisons import seed_of
from personalrm.results.lazy import pd
from personalrm.results.marks import FLAG_NAMES, MOST_SPOILT, SIGNS, mark_notes, marked
from personalrm.results.scores import percent, percents
from personalrm.results.spec import Table, TableResult
from personalrm.results.stats.length_control import length_controlled
from personalrm.results.stats.statistics import Interval, share_interval
from personalrm.results.table_formats import EMPTY, Block, table_rows
from personalrm.results.tables.comparison_text import DIFFERENCE, Shown, block_of, decimals, interval
from personalrm.studies.tailoring.results.persona_accuracy_table import by_judge, headings, judged_flags, reading

COMPARED_KEY: tuple[str, ...] = ("dataset", "test", "base", "judge", "verdict")
ROW_KEY = (*COMPARED_KEY[:-1], "mode")
"""The same values in the names of records."""
PQ: tuple[str, ...] = ("personalization", "quality")
"""The two rubrics of ΔPQ."""
BOTH = "both (ΔPQ)"
SHARES: tuple[str, ...] = ("win", "tie", "loss")
WON = dict(zip(("test", "tie", "base"), SHARES, strict=True))
WIN_RATE: tuple[str, ...] = ("win_rate", "win_rate_low", "win_rate_high")
CONTROLLED: tuple[str, ...] = ("controlled", "controlled_low", "controlled_high")
COUNTS: tuple[str, ...] = (
    *("n_pairs", *(f"n_{name}" for name in SHARES), "n_equal", "n_unread", "n_lost", "no_answer", "no_person"),
    *("stripped_test", "stripped_base"),
)
LENGTHS: tuple[str, ...] = ("words_test", "words_base", "longer")
FLAGS: tuple[str, ...] = FLAG_NAMES[:2]
TAILORING_COLUMNS = Columns(
    (*COMPARED_KEY, "rubric", *COUNTS, *SHARES, *DIFFERENCE, *WIN_RATE, *CONTROLLED, "differ", *LENGTHS, *FLAGS),
    texts=(*COMPARED_KEY, "rubric"),
    whole=COUNTS,
    flags=FLAGS,
)
HEADINGS: dict[str, str] = {"dataset": "Data set", "test": "System", "base": "Against", "judge": "Judge"}


def tailoring_table(rows: Iterable[JudgedAnswers], *, seed: int, n_resamples: int) -> pd.DataFrame:
    """One row for each data set, two systems, judge, kind of verdict and rubric, and one for both rubrics of ΔPQ;
    columns `TAILORING_COLUMNS`.

    - n_pairs: pairs whose verdicts can be read in every order, of which shares are; n_win and so on: by what they say
      of the test system; n_equal: ties because both answers are the same, which are not judged.
    - n_unread, n_lost: pairs with a verdict that cannot be read, or that the provider failed; no_answer: a system has
      no answer; no_person: nobody to decide for. They are in no share.
    - win, tie, loss: percent of pairs.
    - difference: 100 (W - L) / (W + L), for both rubrics (ΔPQ) the mean of theirs; missing where all are ties. Bounds
      from a bootstrap over pairs.
    - win_rate: percent W / (W + L); controlled: the same at equal length (`stats.length_control`).
    - differ: percent of pairs whose orders name different answers.
    - words_test, words_base: mean length; longer: percent of pairs where the test system's answer is longer.
    - stripped_test, stripped_base: answers from which the clean-up removed something.
    """
    return TAILORING_COLUMNS.frame(
        row for key, mine in by_judge(rows, ROW_KEY) for row in _rows(key, mine, seed=seed, n_resamples=n_resamples)
    )


def _rows(
    key: tuple[str, ...], rows: Sequence[JudgedAnswers], *, seed: int, n_resamples: int
) -> Iterator[dict[str, Any]]:
    named, by_rubric = dict(zip(COMPARED_KEY, key, strict=True)), _by_rubric(rows)
    for rubric, mine in by_rubric.items():
        found = difference_of([mine], seed=seed_of(seed, *key, rubric), n_resamples=n_resamples)
        yield {**named, "rubric": rubric, **_counted(mine), **_differences(found), **_rates(mine, found)}
    if set(PQ) <= set(by_rubric):
        both = [by_rubric[rubric] for rubric in PQ]
        found = difference_of(both, seed=seed_of(seed, *key, BOTH), n_resamples=n_resamples)
        flags = _flags([row for mine in both for row in mine])
        read = {row.pair_id for mine in both for row in mine if row.winner}
        yield {**named, "rubric": BOTH, "n_pairs": len(read), **_differences(found), **flags}


def _by_rubric(rows: Iterable[JudgedAnswers]) -> dict[str, list[JudgedAnswers]]:
    found: dict[str, list[JudgedAnswers]] = {}
    for row in rows:
        found.setdefault(row.rubric, []).append(row)
    return found


def difference_of(metrics: Sequence[Sequence[JudgedAnswers]], *, seed: int, n_resamples: int) -> Interval:
    """Mean over metrics of (W - L) / (W + L), from -1 to 1, with bounds from a bootstrap over pairs; nan where a metric
    has ties alone. Both metrics of a pair are resampled together."""
    places = {pair: place for place, pair in enumerate(sorted({row.pair_id for mine in metrics for row in mine}))}
    margins = np.zeros((len(places), len(metrics)))
    for number, mine in enumerate(metrics):
        for row in mine:
            margins[places[row.pair_id], number] = {"test": 1, "base": -1}.get(row.winner or "", 0)
    decided = np.abs(margins)
    if not decided.sum(axis=0).all():
        return Interval(math.nan, math.nan, math.nan)
    units = int(decided.any(axis=1).sum())
    return share_interval(margins, decided, seed=seed, n_resamples=n_resamples, units=units, ends=(-1.0, 1.0))


def _differences(found: Interval) -> dict[str, float]:
    return percents(found, *DIFFERENCE)


def _counted(rows: Sequence[JudgedAnswers]) -> dict[str, Any]:
    read = Counter(WON[row.winner] for row in rows if row.winner)
    lost = sum(any(verdict.outcome == "provider_error" for verdict in row.verdicts) for row in rows)
    reasons = Counter(row.reason for row in rows)
    n_pairs, judged = read.total(), [row for row in rows if row.winner and row.verdicts]
    answered = [row for row in rows if row.reason != "no_answer"]
    return {
        "n_pairs": n_pairs,
        **{f"n_{name}": read[name] for name in SHARES},
        "n_equal": reasons["equal"],
        "n_unread": sum(not row.winner and row.reason is None for row in rows) - lost,
        "n_lost": lost,
        "no_answer": reasons["no_answer"],
        "no_person": reasons["no_person"],
        **{name: percent(read[name] / n_pairs) for name in SHARES if n_pairs},
        "differ": percent(sum(row.orders_differ for row in judged) / len(judged)) if judged else None,
        "words_test": _mean([row.words[0] for row in answered]),
        "words_base": _mean([row.words[1] for row in answered]),
        "longer": percent(sum(a > b for a, b in (row.words for row in answered)) / len(answered)) if answered else None,
        "stripped_test": sum(bool(row.stripped[0]) for row in answered),
        "stripped_base": sum(bool(row.stripped[1]) for row in answered),
        **_flags(rows),
    }


def _mean(values: Sequence[int]) -> float | None:
    return round(sum(values) / len(values), 1) if values else None


def _flags(rows: Iterable[JudgedAnswers]) -> dict[str, bool]:
    outcomes: Counter[str] = Counter(verdict.outcome for row in rows for verdict in row.verdicts)
    return judged_flags(outcomes, outcomes.total() - outcomes["provider_error"])


def _rates(rows: Sequence[JudgedAnswers], found: Interval) -> dict[str, float]:
    """Win rates: that of the decided pairs, whose bounds are those of the difference, and that at equal length."""
    decided = [row for row in rows if row.winner in ("test", "base")]
    wins = [row.winner == "test" for row in decided]
    controlled = length_controlled(wins, [row.words[0] - row.words[1] for row in decided])
    return {**percents(((1 + value) / 2 for value in found), *WIN_RATE), **percents(controlled, *CONTROLLED)}


read_tailoring_table = TAILORING_COLUMNS.read


def difference_shown(row: Mapping[str, Any]) -> str:
    """A difference with its bounds and marks, or that there are only ties."""
    if math.isnan(float(row["difference"])):
        return "only ties" if row["n_pairs"] else EMPTY
    return marked(interval(*DIFFERENCE, signed=True, digits=(1, 1))(row), {"lossy": False, **row})


def flag_notes(table: pd.DataFrame) -> list[str]:
    """What the marks of differences mean, for those that a row carries."""
    unread = f"({SIGNS['unread']}): more than {100 * MOST_SPOILT:g} % of the verdicts could not be read."
    return [*mark_notes(table.assign(lossy=False, unread=False)), *([unread] if table["unread"].any() else [])]


def _matrix(table: pd.DataFrame) -> list[Block]:
    """ΔPQ of each system against each other one, by data set, judge and kind of verdict; read by row."""
    blocks = []
    both = table[table["rubric"] == BOTH]
    for _, mine in both.groupby(["dataset", "judge", "verdict"], sort=False):
        rows = table_rows(mine)
        systems = list(dict.fromkeys(name for row in rows for name in (row["test"], row["base"])))
        known = {(row["test"], row["base"]): row["difference"] for row in rows}
        known |= {(base, test): -value for (test, base), value in known.items() if (base, test) not in known}
        values = [{"ΔPQ of": one, **{other: _cell(known.get((one, other))) for other in systems}} for one in systems]
        first = rows[0]
        title = f"ΔPQ between systems: {first['dataset']}, judge {first['judge']}, {reading(first['verdict'])}"
        blocks.append(Block(title, pd.DataFrame(values), 1))
    return blocks


def _cell(value: float | None) -> str:
    return EMPTY if value is None else "only ties" if math.isnan(value) else f"{value + 0.0:+.1f}"


def retrieval_notes(counts: Iterable[Path]) -> list[str]:
    """Which data sets' personas were retrieved by TF-IDF, and how often as shipped."""
    found = []
    for path in counts:
        kept = json.loads(path.read_text(encoding="utf-8")).get("retrieval_as_shipped")
        if kept:
            same = f"as shipped for {kept['equal']} of {kept['pairs']} pairs" if kept["pairs"] else "none are shipped"
            found.append(f"Retrieved personas of {path.parent.name}: nearest training prompt by TF-IDF; {same}.")
    return found


def _absent_notes(table: pd.DataFrame, compared: Iterable[tuple[str, str, str]]) -> list[str]:
    """Which comparisons have no row, because no pair has an answer of both systems."""
    known = set(zip(*(table[name] for name in ("dataset", "test", "base")), strict=True))
    absent = [
        f"{test} against {base} on {dataset}" for dataset, test, base in compared if (dataset, test, base) not in known
    ]
    return [f"Not in the table, because no pair has an answer of both systems: {'; '.join(absent)}."] if absent else []


def build(
    judged_answers: list[Path],
    counts: list[Path],
    *,
    seed: int,
    n_resamples: int,
    clean_up: str,
    compared: Sequence[tuple[str, str, str]],
) -> Table:
    """Make the table from the files of a run."""
    table = tailoring_table(read_all(judged_answers, JudgedAnswers), seed=seed, n_resamples=n_resamples)
    shown: Shown = {
        **headings(table),
        "Rubric": "rubric",
        "W / T / L %": lambda row: " / ".join(decimals(name)(row) for name in SHARES),
        "Δ [95 % CI]": difference_shown,
        "Win rate % [95 % CI]": interval(*WIN_RATE, digits=(1, 1)),
        "At equal length % [95 % CI]": interval(*CONTROLLED, digits=(1, 1)),
        "Words": lambda row: f"{decimals('words_test')(row)} : {decimals('words_base')(row)}",
        "Longer %": decimals("longer"),
        "Orders differ %": decimals("differ"),
        "Pairs": "n_pairs",
        "Unread": "n_unread",
        "Lost": "n_lost",
        "No answer": "no_answer",
    }
    notes = [
        "A judge reads a prompt and the answers of two systems, in both orders, under one rubric. W: both orders name "
        "the system's answer; L: both name the other one's; T: they differ, or both answers are the same. Pairs with a "
        "verdict that cannot be read, or was lost, are in no number.",
        "Δ = 100 (W - L) / (W + L), and ΔPQ the mean of that of personalization and of quality; not defined where all "
        "are ties. Intervals: bootstrap over pairs.",
        "Win rate: W / (W + L). At equal length: sigmoid(a) of the logistic regression P(W) = sigmoid(a + b d / s) "
        "over won and lost pairs, d the difference in words, s its root mean square. Longer: pairs in which the "
        "system's answer has more words.",
        f"Clean-up of answers before judging: {clean_up}. It removed something from "
        f"{table['stripped_test'].max() if len(table) else 0} answers of a system at most, and from "
        f"{table['stripped_base'].max() if len(table) else 0} of those compared with.",
        "The persona is the one that the system was told, or else that of the system it is compared with.",
        *_absent_notes(table, compared),
        *retrieval_notes(counts),
        *flag_notes(table),
    ]
    return Table(table, (block_of(table, HEADINGS, shown, n_names=5), *_matrix(table)), notes)


RESULT = TableResult(
    name="tailoring",
    order=40,
    title="Are answers that are tailored to a persona better?",
    caption=(
        "Shares of pairs in which a system's answer wins, ties and loses under each rubric, ΔPQ with its 95 % "
        "interval, and win rates with and without control of length."
    ),
    when="answers",
    build=build,
)
