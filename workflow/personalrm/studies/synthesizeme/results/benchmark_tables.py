"""The tables of the benchmark: what each data set holds beside what the paper reports, and how it came to that.

`benchmark_table` reads the users' files one user at a time; `funnel_table` reads the funnels. The reported counts:
`benchmark_reported.py`. How people read the tables: `benchmark_table_text.py`.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from personalrm.core.errors import DataError
from personalrm.core.records import PreferencePair, UserData, read_records
from personalrm.data.filters.funnel import Funnel
from personalrm.data.sources.injection import is_suspicious
from personalrm.data.splits import LEVEL_A, PARTS
from personalrm.studies.synthesizeme.results.benchmark_reported import COMPARED, Reported

if TYPE_CHECKING:
    import pandas as pd

BENCHMARK_NAMES: tuple[str, ...] = ("dataset", "level", "split")
BENCHMARK_COLUMNS: tuple[str, ...] = (
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
)
FUNNEL_NAMES: tuple[str, ...] = ("dataset", "kind", "step")
FUNNEL_COUNTS: tuple[str, ...] = ("users", "conversations", "pairs")
FUNNEL_COLUMNS: tuple[str, ...] = (*FUNNEL_NAMES, *FUNNEL_COUNTS, *(f"removed_{name}" for name in FUNNEL_COUNTS))
DIGITS = 4

Part = tuple[str, str]
"""Level ("all", "B" inside users, "A" between users) and split."""
ALL: Part = ("all", "all")
Value = str | int | float | None


class _Measures(NamedTuple):
    """Sizes of one pair; `longer` is 2 where the chosen answer is longer, 1 for equal lengths, 0 for ties: whole
    numbers add up to the same in any order."""

    turns: int
    context_words: int
    answer_words: int
    longer: int
    tie: bool
    suspicious: bool


def _measures(pair: PreferencePair) -> _Measures:
    lead = len(pair.chosen) - len(pair.rejected)  # in characters, as the method `longer` has it
    return _Measures(
        turns=sum(turn.role == "user" for turn in pair.context),
        context_words=sum(len(turn.content.split()) for turn in pair.context),
        answer_words=len(pair.chosen.split()) + len(pair.rejected.split()),
        longer=0 if pair.tie else 1 + (lead > 0) - (lead < 0),
        tie=pair.tie,
        suspicious=is_suspicious(pair),
    )


@dataclass
class _Tally:
    """Counts of one row of the table."""

    excluded: int = 0
    per_user: list[int] = field(default_factory=list)
    turns: int = 0
    multi_turn: int = 0
    context_words: int = 0
    answer_words: int = 0
    longer: int = 0
    ties: int = 0
    suspicious: int = 0

    def add(self, pairs: Sequence[_Measures]) -> None:
        """Count one user's pairs; a user without any is not counted."""
        if not pairs:
            return
        self.per_user.append(len(pairs))
        self.turns += sum(pair.turns for pair in pairs)
        self.multi_turn += sum(pair.turns > 1 for pair in pairs)
        self.context_words += sum(pair.context_words for pair in pairs)
        self.answer_words += sum(pair.answer_words for pair in pairs)
        self.longer += sum(pair.longer for pair in pairs)
        self.ties += sum(pair.tie for pair in pairs)
        self.suspicious += sum(pair.suspicious for pair in pairs)

    def row(self) -> dict[str, Value]:
        """What the table shows; means and quartiles are empty where there is no pair."""
        pairs = sum(self.per_user)
        row: dict[str, Value] = {"users": len(self.per_user), "pairs": pairs, "ties": self.ties}
        row["suspicious_pairs"] = self.suspicious
        if not pairs:
            return row
        q1, median, q3 = _quartiles(self.per_user)
        row |= {"median_pairs": median, "q1_pairs": q1, "q3_pairs": q3}
        row |= {"turns": round(self.turns / pairs, DIGITS), "multi_turn_share": _percent(self.multi_turn, pairs)}
        row |= {"context_words": round(self.context_words / pairs, DIGITS)}
        row |= {"answer_words": round(self.answer_words / (2 * pairs), DIGITS)}
        decided = pairs - self.ties
        return row | {"longer_chosen_share": _percent(self.longer, 2 * decided) if decided else None}


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
    import pandas as pd

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
    return _typed_benchmark(pd.DataFrame(rows, columns=list(BENCHMARK_COLUMNS)))


def _parts() -> dict[Part, _Tally]:
    return {ALL: _Tally()} | {("B", split): _Tally() for split in PARTS}


def _count(user: UserData, tallies: dict[Part, _Tally]) -> None:
    mine = [tallies[ALL]]
    if user.user_split is not None:
        for part in LEVEL_A:
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


def _typed_benchmark(table: pd.DataFrame) -> pd.DataFrame:
    """Whole numbers stay whole where some are missing, and the rest of the numbers are floats."""
    whole = ["users", "excluded_users", "pairs", "ties", "suspicious_pairs"]
    whole += [f"{kind}_{quantity}" for quantity in ("users", "pairs") for kind in ("reported", "difference")]
    kinds = {column: "str" if column in BENCHMARK_NAMES else "float64" for column in BENCHMARK_COLUMNS}
    return table.astype(kinds).astype(dict.fromkeys(whole, "Int64"))


def read_funnels(paths: Iterable[Path]) -> list[Funnel]:
    """Read `funnel.json` files. Raises DataError for a file that is none."""
    funnels = []
    for path in paths:
        try:
            funnels.append(Funnel.model_validate_json(path.read_text(encoding="utf-8")))
        except (ValidationError, UnicodeDecodeError) as error:
            raise DataError(
                f"{path}: is no funnel of this version of personalrm; delete it and run again ({error})"
            ) from error
    return funnels


def funnel_table(funnels: Iterable[Funnel]) -> pd.DataFrame:
    """What is left after each step, in the order of the funnels; columns `FUNNEL_COLUMNS`.

    A row of kind "step" has the users, conversations and pairs that are left, and what the step removed (empty for the
    first). Beneath a data set's steps, a row of kind "drop" has a reason and how many votes it dropped
    (`removed_pairs`); a vote that could not be read was never among the votes of the first step.
    """
    import pandas as pd

    rows: list[dict[str, Value]] = []
    for funnel in funnels:
        before: dict[str, int] = {}
        for step in funnel.steps:
            left = {name: int(getattr(step, name)) for name in FUNNEL_COUNTS}
            removed = {f"removed_{name}": count - left[name] for name, count in before.items()}
            rows.append({"dataset": funnel.dataset, "kind": "step", "step": step.step, **left, **removed})
            before = left
        for reason, count in funnel.dropped.items():
            rows.append({"dataset": funnel.dataset, "kind": "drop", "step": reason, "removed_pairs": count})
    return _typed_funnel(pd.DataFrame(rows, columns=list(FUNNEL_COLUMNS)))


def _typed_funnel(table: pd.DataFrame) -> pd.DataFrame:
    return table.astype({column: "str" if column in FUNNEL_NAMES else "Int64" for column in FUNNEL_COLUMNS})


def read_funnel_table(path: Path) -> pd.DataFrame:
    """Read `funnel.csv` as `funnel_table` made it."""
    import pandas as pd

    # A data set may be called "NA": names stay text, and only an empty field is a missing number.
    text = pd.read_csv(path, dtype="str", keep_default_na=False)
    numbers = [column for column in FUNNEL_COLUMNS if column not in FUNNEL_NAMES]
    text[numbers] = text[numbers].mask(text[numbers] == "")
    return _typed_funnel(text)
