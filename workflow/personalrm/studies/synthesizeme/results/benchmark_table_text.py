"""The benchmark's tables as people read them: which columns are shown, in what words, with which notes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from personalrm.results.table_formats import EMPTY, Block, plain, table_rows
from personalrm.studies.synthesizeme.results.benchmark_reported import COMPARED
from personalrm.studies.synthesizeme.results.benchmark_tables import FUNNEL_COUNTS

if TYPE_CHECKING:
    import pandas as pd

BENCHMARK_CAPTION = "The benchmark: users, pairs and texts of each data set, whole and by split"
FUNNEL_CAPTION = "From votes to the benchmark: what is left after each step, and what was dropped"
COMPARED_LABELS: dict[str, str] = {"users": "Users", "pairs": "Pairs", "median_pairs": "Pairs a user"}


def _number(value: object, digits: int) -> str:
    return EMPTY if plain(value) == EMPTY else f"{float(str(value)):,.{digits}f}"


def _short(value: object) -> str:
    """A number without needless zeros: `7`, `8.5`."""
    return EMPTY if plain(value) == EMPTY else f"{float(str(value)):,.2f}".rstrip("0").rstrip(".")


def _signed(value: object) -> str:
    text = _short(value)
    return f"+{text}" if text != EMPTY and float(str(value)) > 0 else text


def _quartiles(row: Mapping[str, object]) -> str:
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
            | {"Pairs a user: median [quartiles]": _quartiles(row)}
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


def funnel_blocks(table: pd.DataFrame) -> tuple[Block, ...]:
    """The funnel for people: steps, then reasons."""
    import pandas as pd

    steps, drops = [], []
    for row in table_rows(table):
        if row["kind"] == "step":
            cells = {"Data set": str(row["dataset"]), "Step": str(row["step"])}
            cells |= {name.capitalize(): plain(row[name]) for name in FUNNEL_COUNTS}
            steps.append(
                cells | {f"{name.capitalize()} removed": plain(row[f"removed_{name}"]) for name in FUNNEL_COUNTS}
            )
        else:
            reason = str(row["step"]).replace("_", " ")
            drops.append({"Data set": str(row["dataset"]), "Reason": reason, "Votes": plain(row["removed_pairs"])})
    blocks = [Block("What is left", pd.DataFrame(steps), 2)]
    return (*blocks, Block("Votes dropped, by reason", pd.DataFrame(drops), 2)) if drops else tuple(blocks)


def funnel_notes() -> list[str]:
    """What a reader of the funnel must know."""
    return [
        "Each step takes what the step above left. A conversation without an id is counted by its context.",
        "Reasons repeat what a step removed where it has one reason (ties, equal answers, repeats). Lines that could "
        "not be read, and what a reader drops while it makes votes, were never among the votes of the first step.",
    ]
