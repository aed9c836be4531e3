"""The table of the benchmark: what each data set holds, compared with what the paper reports of it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from personalrm.core.errors import DataError
from personalrm.core.records import PreferencePair, UserData, read_records
from personalrm.data.sources.injection import is_suspicious
from personalrm.data.splits import PARTS, USER_PARTS
from personalrm.results.columns import Columns
from personalrm.results.spec import Table, TableResult
from personalrm.results.table_formats import EMPTY, Block, plain, table_rows
from personalrm.studies.synthesizeme.results.benchmark_reported import COMPARED, Reported, read_reported

if TYPE_CHECKING:
    import pandas as pd

BENCHMARK_NAMES: tuple[str, ...] = ("dataset", "level", "split")
BENCHMARK_COLUMNS = Columns(
    (
        *BENCHMARK_NAMES,
        "users",
        "excluded_users",
        "pairs",
        "ties",
        "median_pairs",
        "q1_pairs",
        "q3_pairs",
        "turns",
        "multi_turn_share",
        "context_words",
        "answer_words",
        "longer_chosen_share",
        "suspicious_pairs",
        *(f"{kind}_{quantity}" for quantity in COMPARED for kind in ("reported", "difference")),
    ),
    texts=BENCHMARK_NAMES,
    whole=(
        *("users", "excluded_users", "pairs", "ties", "suspicious_pairs"),
        *(f"{kind}_{quantity}" for quantity in ("users", "pairs") for kind in ("reported", "difference")),
    ),
)
COMPARED_LABELS: dict[str, str] = {"users": "Users", "pairs": "Pairs", "median_pairs": "Pairs a user"}
DIGITS = 4

Part = tuple[str, str]
"""Level ("all", "B" inside users, "A" between users) and split."""
ALL: Part = ("all", "all")
Value = str | int | float | None


class _Measures(NamedTuple):
    """Sizes of one pair, to be summed; `longer` is 2 where the chosen answer is longer, 1 for equal lengths, 0 for
    ties: whole numbers add up to the same in any order."""

    turns: int
    multi_turn: bool
    context_words: int
    answer_words: int
    longer: int
    tie: bool
    suspicious: bool


def _measures(pair: PreferencePair) -> _Measures:
    lead = len(pair.chosen) - len(pair.rejected)  # in characters, as the method `longer` has it
    turns = sum(turn.role == "user" for turn in pair.context)
    return _Measures(
        turns=turns,
        multi_turn=turns > 1,
        context_words=sum(len(turn.content.split()) for turn in pair.context),
        answer_words=len(pair.chosen.split()) + len(pair.rejected.split()),
        longer=0 if pair.tie else 1 + (lead > 0) - (lead < 0),
        tie=pair.tie,
        suspicious=is_suspicious(pair),
    )


@dataclass
class _Tally:
    """Counts of one row of the table; `sums` are those of `_Measures`."""

    excluded: int = 0
    per_user: list[int] = field(default_factory=list)
    sums: Counter[str] = field(default_factory=Counter)

    def add(self, pairs: Sequence[_Measures]) -> None:
        """Count one user's pairs; a user without any is not counted."""
        if not pairs:
            return
        self.per_user.append(len(pairs))
        for pair in pairs:
            self.sums.update(pair._asdict())

    def row(self) -> dict[str, Value]:
        """What the table shows; means and quartiles are empty where there is no pair."""
        pairs, sums = sum(self.per_user), self.sums
        row: dict[str, Value] = {"users": len(self.per_user), "pairs": pairs, "ties": sums["tie"]}
        row["suspicious_pairs"] = sums["suspicious"]
        if not pairs:
            return row
        q1, median, q3 = _quartiles(self.per_user)
        row |= {"median_pairs": median, "q1_pairs": q1, "q3_pairs": q3}
        row |= {"turns": round(sums["turns"] / pairs, DIGITS), "multi_turn_share": _percent(sums["multi_turn"], pairs)}
        row |= {"context_words": round(sums["context_words"] / pairs, DIGITS)}
        row |= {"answer_words": round(sums["answer_words"] / (2 * pairs), DIGITS)}
        decided = pairs - sums["tie"]
        return row | {"longer_chosen_share": _percent(sums["longer"], 2 * decided) if decided else None}


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, DIGITS)


def _quartiles(values: Sequence[int]) -> tuple[float, float, float]:
    """Quartiles with linear interpolation between ranks, as pandas and numpy have them."""
    if len(values) == 1:
        return float(values[0]), float(values[0]), float(values[0])
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return q1, median, q3


def benchmark_table(
    paths: Iterable[Path],
    datasets: Sequence[str],
    answers_to: Mapping[str, str | None] | None = None,
    reported: Reported | None = None,
) -> pd.DataFrame:
    """What each data set holds, whole and by split, beside the reported counts; columns `BENCHMARK_COLUMNS`.

    Rows: for each data set all pairs (level "all"); context, validation and test inside users (level B); and, where
    users carry a level-A part, train, validation and test users with all their pairs (level A).

    - users: with at least one pair in the row. excluded_users: removed by a filter; they enter nothing else, and are
      empty at level B.
    - ties: those of the pairs (`ties: keep`) that the user called a tie.
    - median_pairs, q1_pairs, q3_pairs: pairs a user.
    - turns: user turns of a context, mean. multi_turn_share: pairs with more than one user turn, percent.
    - context_words (all turns together), answer_words (chosen and rejected answers, each counts once): means of words
      between blanks.
    - longer_chosen_share: percent of the decided pairs whose chosen answer has more characters, equal lengths half: on
      these, the accuracy of always choosing the longer answer, equal lengths halved.
    - suspicious_pairs: with text that could be taken for more than data (`benchmark.injection`).
    - reported_*, difference_* (ours less theirs): empty where nothing is reported, and for data that are not
      PersonalRewardBench.

    Args:
        paths: files of users (`UserData`), in any order; read one user at a time.
        datasets: names in the order of listing.
        answers_to: data set to set in `reported` (`reported_set`).
        reported: see `read_reported`.

    Raises DataError for a user of a data set that is not listed.
    """
    tallies: dict[str, dict[Part, _Tally]] = {name: _parts() for name in datasets}
    for path in paths:
        for user in read_records(path, UserData):
            if user.dataset not in tallies:
                raise DataError(
                    f"{path}: user {user.user_id!r} is of {user.dataset!r}, a data set that this run has not"
                )
            _count(user, tallies[user.dataset])
    rows: list[dict[str, Value]] = []
    for name in datasets:
        theirs = (reported or {}).get((answers_to or {}).get(name) or "", {})
        for (level, split), tally in tallies[name].items():
            row: dict[str, Value] = {"dataset": name, "level": level, "split": split}
            row |= tally.row() | {"excluded_users": None if level == "B" else tally.excluded}
            rows.append(row | _compared(row, theirs))
    return BENCHMARK_COLUMNS.frame(rows)


def _parts() -> dict[Part, _Tally]:
    return {ALL: _Tally()} | {("B", split): _Tally() for split in PARTS}


def _count(user: UserData, tallies: dict[Part, _Tally]) -> None:
    mine = [tallies[ALL]]
    if user.user_split is not None:
        for part in USER_PARTS:
            tallies.setdefault(("A", part), _Tally())
        mine.append(tallies["A", user.user_split])
    if user.excluded is not None:
        for tally in mine:
            tally.excluded += 1
        return
    measured = [(pair.split, _measures(pair)) for pair in user.pairs]
    for tally in mine:
        tally.add([measures for _, measures in measured])
    for split in PARTS:
        tallies["B", split].add([measures for where, measures in measured if where == split])


def _compared(row: Mapping[str, Value], theirs: Mapping[str, float]) -> dict[str, Value]:
    """Reported values of a row, and ours less theirs. Nothing is reported of the parts inside users but shares."""
    suffix = {"all": "", "A": f"_{row['split']}"}.get(str(row["level"]))
    compared: dict[str, Value] = {}
    for quantity in COMPARED:
        value, ours = None if suffix is None else theirs.get(quantity + suffix), row.get(quantity)
        compared[f"reported_{quantity}"] = value
        compared[f"difference_{quantity}"] = None if value is None or ours is None else float(ours) - value
    return compared


def _number(value: object, digits: int) -> str:
    return EMPTY if plain(value) == EMPTY else f"{float(str(value)):,.{digits}f}"


def _short(value: object) -> str:
    """A number without needless zeros: `7`, `8.5`."""
    return EMPTY if plain(value) == EMPTY else f"{float(str(value)):,.2f}".rstrip("0").rstrip(".")


def _signed(value: object) -> str:
    text = _short(value)
    return f"+{text}" if text != EMPTY and float(str(value)) > 0 else text


def _shown_quartiles(row: Mapping[str, object]) -> str:
    """Median and quartiles: `7 [6, 11.5]`."""
    if plain(row["median_pairs"]) == EMPTY:
        return EMPTY
    return f"{_short(row['median_pairs'])} [{_short(row['q1_pairs'])}, {_short(row['q3_pairs'])}]"


def _split(row: Mapping[str, object]) -> str:
    """The split of a row: `all`, a part inside users (`context`), or a part of the users (`train users`)."""
    return f"{row['split']} users" if row["level"] == "A" else str(row["split"])


def benchmark_blocks(table: pd.DataFrame) -> tuple[Block, ...]:
    """The benchmark table for people: sizes, texts, and (where any data set answers to it) the paper's counts."""
    import pandas as pd

    sizes, texts, compared = [], [], []
    ties = bool((table["ties"] > 0).any())
    for row in table_rows(table):
        names = {"Data set": str(row["dataset"]), "Split": _split(row)}
        sizes.append(
            names
            | {"Users": plain(row["users"]), "Excluded users": plain(row["excluded_users"])}
            | {"Pairs": plain(row["pairs"])}
            | ({"Of these ties": plain(row["ties"])} if ties else {})
            | {"Pairs a user: median [quartiles]": _shown_quartiles(row)}
        )
        texts.append(
            names
            | {"User turns": _number(row["turns"], 2), "Multi-turn %": _number(row["multi_turn_share"], 1)}
            | {"Words of context": _number(row["context_words"], 1)}
            | {"Words of an answer": _number(row["answer_words"], 1)}
            | {"Longer chosen %": _number(row["longer_chosen_share"], 1)}
            | {"Suspicious pairs": plain(row["suspicious_pairs"])}
        )
        if any(plain(row[f"reported_{quantity}"]) != EMPTY for quantity in COMPARED):
            compared.append(names | _comparison(row))
    blocks = [Block("Users and pairs", pd.DataFrame(sizes), 2), Block("Texts", pd.DataFrame(texts), 2)]
    if compared:
        blocks.append(Block("Beside the paper's counts", pd.DataFrame(compared), 2))
    return tuple(blocks)


def _comparison(row: Mapping[str, object]) -> dict[str, str]:
    cells: dict[str, str] = {}
    for quantity, label in COMPARED_LABELS.items():
        cells[label] = _short(row[quantity])
        cells[f"{label}, paper"] = _short(row[f"reported_{quantity}"])
        cells[f"{label}, difference"] = _signed(row[f"difference_{quantity}"])
    return cells


def benchmark_notes(
    table: pd.DataFrame, answers_to: Mapping[str, str | None], limits: Mapping[str, str] | None = None
) -> list[str]:
    """What a reader of the benchmark table must know. `limits` says of a data set why it is not whole."""
    notes = [
        "context, validation and test are parts inside each user; the users of a row are those with a pair in it. "
        "Excluded users were removed by a filter and are in no other number.",
        "User turns: of the context, mean over pairs; multi-turn: more than one. Words: what stands between blanks; of "
        "context, all turns together; of an answer, chosen and rejected alike.",
        "Longer chosen: pairs whose chosen answer has more characters, equal lengths half.",
        "Suspicious pairs hold text that a judge could take for more than data: orders to whoever judges, lines of our "
        "own prompts, template syntax, or tokens of chat templates. They are shown as data, and are in all other "
        "numbers.",
    ]
    if (table["ties"] > 0).any():
        notes.append(
            "Ties: pairs that the user called one. Nothing is learned from them; a judge is right on those of the test "
            "if it says tie, so that naming an answer at random is right less than half of the time."
        )
    if (table["level"] == "A").any():
        notes.append("train, validation and test users: the split between users, each with all pairs.")
    datasets = list(dict.fromkeys(table["dataset"]))
    others = [name for name in datasets if not answers_to.get(name)]
    if others:
        notes.append(f"Not PersonalRewardBench, so nothing reported to compare with: {', '.join(others)}.")
    if len(others) < len(datasets):
        notes.append(
            "Difference: ours less the paper's. Its counts, with where they were read and how sure they are: "
            "resources/reported/benchmark.csv."
        )
    compared = [name for name in datasets if name not in others and (limits or {}).get(name)]
    return notes + [f"{name} is limited in the config ({(limits or {})[name]}): no like for like." for name in compared]


def build(
    users: list[Path],
    reported_benchmark: Path,
    *,
    datasets: list[str],
    reported_sets: Mapping[str, str | None],
    limits: Mapping[str, str],
) -> Table:
    """Make the table from the files of a run."""
    table = benchmark_table(users, datasets, reported_sets, read_reported(reported_benchmark))
    return Table(table, benchmark_blocks(table), benchmark_notes(table, reported_sets, limits))


RESULT = TableResult(
    name="benchmark",
    order=180,
    title="The benchmark: users, pairs and texts of each data set, whole and by split",
    message="Making the table of the benchmark",
    caption=(
        "What each data set holds, whole and by split, beside the paper's counts where the data answer to "
        "PersonalRewardBench."
    ),
    mem_mb=500,
    runtime=30,
    build=build,
)
