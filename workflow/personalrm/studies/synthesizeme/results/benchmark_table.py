"""The table of the benchmark: what each data set holds, compared with what the paper reports of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from personalrm.core.errors import DataError
from personalrm.core.records import PreferencePair, UserData, read_records
from personalrm.data.sources.injection import is_suspicious
from personalrm.data.splits import PARTS, USER_PARTS
from personalrm.results.columns import Columns
from personalrm.results.lazy import pd
from personalrm.results.spec import Table, TableResult
from personalrm.results.table_formats import EMPTY, Block, plain, table_rows
from personalrm.studies.synthesizeme.results.benchmark_reported import COMPARED, Reported, read_reported

WHOLE = ("users", "excluded_users", "pairs", "ties", "suspicious_pairs")
BENCHMARK_COLUMNS = Columns(
    (
        *("dataset", "level", "split"),
        *("users", "excluded_users", "pairs", "ties", "median_pairs", "q1_pairs", "q3_pairs"),
        *("turns", "multi_turn_share", "context_words", "answer_words", "longer_chosen_share", "suspicious_pairs"),
        *(f"{kind}_{quantity}" for quantity in COMPARED for kind in ("reported", "difference")),
    ),
    texts=("dataset", "level", "split"),
    whole=(*WHOLE, *(f"{kind}_{quantity}" for quantity in ("users", "pairs") for kind in ("reported", "difference"))),
)
TEXTS: dict[str, tuple[str, int]] = {
    "User turns": ("turns", 2),
    "Multi-turn %": ("multi_turn_share", 1),
    "Words of context": ("context_words", 1),
    "Words of an answer": ("answer_words", 1),
    "Longer chosen %": ("longer_chosen_share", 1),
}
"""Headings of the block of texts: column of the table, and digits shown."""
COMPARED_LABELS: dict[str, str] = {"users": "Users", "pairs": "Pairs", "median_pairs": "Pairs a user"}
MEANS = ("turns", "multi_turn_share", "context_words", "answer_words", "longer_chosen_share")
"""Columns of the table that are means over pairs."""
DIGITS = 4

Value = str | int | float | None


def _measures(pair: PreferencePair) -> dict[str, object]:
    """Sizes of one pair; `longer` is 1 where the chosen answer is longer, 1/2 for equal lengths, missing for ties."""
    lead = len(pair.chosen) - len(pair.rejected)  # in characters, as the method `longer` has it
    turns = sum(turn.role == "user" for turn in pair.context)
    return {
        "split": pair.split,
        "turns": turns,
        "multi_turn_share": 100 * (turns > 1),
        "context_words": sum(len(turn.content.split()) for turn in pair.context),
        "answer_words": (len(pair.chosen.split()) + len(pair.rejected.split())) / 2,
        "longer_chosen_share": None if pair.tie else 50 * (1 + (lead > 0) - (lead < 0)),
        "ties": pair.tie,
        "suspicious_pairs": is_suspicious(pair),
    }


def _sizes(pairs: pd.DataFrame) -> dict[str, Value]:
    """Counts, means and quartiles of a row of the table; the latter two are missing where there is no pair."""
    per_user = pairs.groupby("user_id").size()
    row: dict[str, Value] = {"users": len(per_user), "pairs": len(pairs)}
    row |= {name: int(pairs[name].sum()) for name in ("ties", "suspicious_pairs")}
    if not len(pairs):
        return row
    row |= zip(("q1_pairs", "median_pairs", "q3_pairs"), map(float, per_user.quantile([0.25, 0.5, 0.75])), strict=True)
    means = pairs[list(MEANS)].astype("float64").mean()
    return row | {str(name): round(float(mean), DIGITS) for name, mean in means.items()}


def benchmark_table(
    paths: Iterable[Path],
    datasets: Sequence[str],
    answers_to: Mapping[str, str | None] | None = None,
    reported: Reported | None = None,
) -> pd.DataFrame:
    """What each data set holds, whole and by split, with the reported counts; columns `BENCHMARK_COLUMNS`.

    Rows: for each data set all pairs (level "all"); context, validation and test inside users (level B); and, where
    users carry a level-A part, train, validation and test users with all their pairs (level A).

    - users: with at least one pair in the row. excluded_users: removed by a filter; they enter nothing else, and are
      empty at level B.
    - ties: those of the pairs (`ties: keep`) that the user called a tie.
    - median_pairs, q1_pairs, q3_pairs: pairs a user.
    - turns: user turns of a context, mean. multi_turn_share: pairs with more than one user turn, percent.
    - context_words (all turns together), answer_words (chosen and rejected answers, each counts once): means of words
      between blanks.
    - longer_chosen_share: percent of the decided pairs whose chosen answer has more characters, equal lengths half: the
      accuracy of always choosing the longer answer.
    - suspicious_pairs: with text that could be taken for more than data (`data.sources.injection`).
    - reported_*, difference_* (ours less theirs): empty where nothing is reported, and for data that are not
      PersonalRewardBench.

    Args:
        paths: files of users (`UserData`), in any order; read one user at a time.
        datasets: names in the order of listing.
        answers_to: data set to set in `reported` (`reported_set`).
        reported: see `read_reported`.

    Raises DataError for a user of a data set that is not listed.
    """
    users, pairs = _measured(paths, datasets)
    rows: list[dict[str, Value]] = []
    for name in datasets:
        theirs = (reported or {}).get((answers_to or {}).get(name) or "", {})
        here, held = users[users["dataset"] == name], pairs[pairs["dataset"] == name]
        parts: list[tuple[str, str, pd.Series[bool] | None, pd.DataFrame]] = [("all", "all", here["excluded"], held)]
        parts += [("B", split, None, held[held["split"] == split]) for split in PARTS]
        for part in USER_PARTS if here["part"].notna().any() else ():
            parts.append(("A", part, here.loc[here["part"] == part, "excluded"], held[held["part"] == part]))
        for level, split, excluded, mine in parts:
            row: dict[str, Value] = {"dataset": name, "level": level, "split": split, **_sizes(mine)}
            row["excluded_users"] = None if excluded is None else int(excluded.sum())
            rows.append(row | _compared(row, theirs))
    return BENCHMARK_COLUMNS.frame(rows)


def _measured(paths: Iterable[Path], datasets: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row per user, and one per pair of the users who are not excluded."""
    people: list[dict[str, object]] = []
    measured: list[dict[str, object]] = []
    for path in paths:
        for user in read_records(path, UserData):
            if user.dataset not in datasets:
                raise DataError(
                    f"{path}: user {user.user_id!r} is of {user.dataset!r}, a data set that this run does not have"
                )
            who = {"dataset": user.dataset, "user_id": user.user_id, "part": user.user_split}
            people.append(who | {"excluded": user.excluded is not None})
            if user.excluded is None:
                measured += [who | _measures(pair) for pair in user.pairs]
    names = ("dataset", "user_id", "part")
    users = pd.DataFrame(people, columns=[*names, "excluded"])
    return users, pd.DataFrame(measured, columns=[*names, "split", *MEANS, "ties", "suspicious_pairs"])


def _compared(row: Mapping[str, Value], theirs: Mapping[str, float]) -> dict[str, Value]:
    """Reported values of a row, and ours less theirs. Nothing is reported of the parts inside users but shares."""
    suffix = {"all": "", "A": f"_{row['split']}"}.get(str(row["level"]))
    compared: dict[str, Value] = {}
    for quantity in COMPARED:
        value, ours = None if suffix is None else theirs.get(quantity + suffix), row.get(quantity)
        compared[f"reported_{quantity}"] = value
        compared[f"difference_{quantity}"] = None if value is None or ours is None else float(ours) - value
    return compared


def _shown(value: object, digits: int) -> str:
    return EMPTY if plain(value) == EMPTY else f"{float(str(value)):,.{digits}f}"


def _short(value: object, sign: str = "") -> str:
    """A number without needless zeros: `7`, `8.5`; with `sign` "+", one above 0 has a sign."""
    text = _shown(value, 2)
    if text == EMPTY:
        return text
    return (sign if float(str(value)) > 0 else "") + text.rstrip("0").rstrip(".")


def benchmark_blocks(table: pd.DataFrame) -> tuple[Block, ...]:
    """The benchmark table for people: sizes, texts, and (where any data set answers to it) the paper's counts."""
    sizes, texts, compared = [], [], []
    ties = bool((table["ties"] > 0).any())
    for row in table_rows(table):
        names = {"Data set": row["dataset"], "Split": row["split"] + " users" * (row["level"] == "A")}
        median, q1, q3 = (_short(row[f"{name}_pairs"]) for name in ("median", "q1", "q3"))
        counts = {"Users": "users", "Excluded users": "excluded_users", "Pairs": "pairs"}
        counts |= {"Of these ties": "ties"} if ties else {}
        sizes.append(
            names
            | {head: plain(row[name]) for head, name in counts.items()}
            | {"Pairs a user: median [quartiles]": median if median == EMPTY else f"{median} [{q1}, {q3}]"}
        )
        texts.append(
            names
            | {head: _shown(row[name], digits) for head, (name, digits) in TEXTS.items()}
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
        cells[f"{label}, difference"] = _short(row[f"difference_{quantity}"], "+")
    return cells


def benchmark_notes(
    table: pd.DataFrame, answers_to: Mapping[str, str | None], limits: Mapping[str, str] | None = None
) -> list[str]:
    """What a reader of the benchmark table must know. `limits` has the reason why a data set is not whole."""
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
    caption=(
        "What each data set holds, whole and by split, beside the paper's counts where the data answer to "
        "PersonalRewardBench."
    ),
    mem_mb=500,
    runtime=30,
    build=build,
)
