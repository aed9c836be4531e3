"""The table of the ablation as people read it: combinations, then effects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from personalrm.results.comparisons import method_parts
from personalrm.results.labels import NOT_RUN, UNUSED
from personalrm.results.marks import mark_notes
from personalrm.results.table_formats import EMPTY, Block, plain, table_rows
from personalrm.results.tables.comparison_text import (
    dataset_note,
    headings_of,
    probability,
    shown_accuracy,
    shown_difference,
    shown_names,
)
from personalrm.results.tables.main_table_text import exempt_note
from personalrm.studies.synthesizeme.results.ablation_factors import FACTORS, SEPARATOR
from personalrm.studies.synthesizeme.results.ablation_table import COMBINATION, INCOMPLETE, MEAN

if TYPE_CHECKING:
    import pandas as pd

ABLATION_CAPTION = "Ablation: what each part of SynthesizeMe adds"


def ablation_blocks(table: pd.DataFrame) -> tuple[Block, Block]:
    """Accuracy of each combination, and the effect of each factor; factors with one level stand in a note."""
    import pandas as pd

    columns = {name: head for name, head in headings_of(table).items() if name in ("dataset", "judge_model", "k")}
    varied = {name: head for name, head in FACTORS.items() if name in _varied(table)}
    combinations, effects = [], []
    for row in table_rows(table):
        if row["part"] == COMBINATION:
            combinations.append(
                _names(row, columns)
                | shown_names(row, varied)
                | {"Users": plain(row["cell_users"]), "Judgments": plain(row["cell_judgments"])}
                | {"Accuracy % [95 % CI]": shown_accuracy(row)}
            )
            continue
        effects.append(
            _names(row, columns)
            | {"Factor": FACTORS[str(row["factor"])], "From": str(row["reference"]), "To": str(row["level"])}
            | {"Held fixed": _fixed(str(row["fixed"]), varied), "Users": plain(row["n_users"])}
            | {"Effect, points [95 % CI]": shown_difference(row)}
            | {"p": probability(row["p_value"]), "p (Holm)": probability(row["p_holm"])}
        )
    heads = [*columns.values(), "Verdict"]
    first = pd.DataFrame(combinations, columns=None if combinations else heads)
    second = pd.DataFrame(effects, columns=None if effects else heads)
    n_first, n_second = len(heads) + len(varied), len(heads) + 4
    return (
        Block("Combinations", first, min(n_first, first.shape[1])),
        Block("Effects", second, min(n_second, second.shape[1])),
    )


def _fixed(fixed: str, varied: Mapping[str, str]) -> str:
    """What is held fixed, without the factors that no combination varies."""
    parts = [part for part in fixed.split(SEPARATOR) if ": " not in part or part.split(": ")[0] in varied.values()]
    return SEPARATOR.join(parts) or EMPTY


def _names(row: Mapping[str, object], columns: Mapping[str, str]) -> dict[str, str]:
    verdict = method_parts(str(row["method"]))[1].removeprefix(".") or "text"
    return shown_names(row, columns) | {"Verdict": verdict}


def _varied(table: pd.DataFrame) -> list[str]:
    """Factors of which the run has more than one level."""
    held = table[table["part"] == COMBINATION]
    return [name for name in FACTORS if len(set(held[name]) - {UNUSED}) > 1]


def ablation_notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the table must know."""
    held = table[table["part"] == COMBINATION]
    fixed = [
        f"{head}: {level}"
        for name, head in FACTORS.items()
        if name not in _varied(table)
        for level in set(held[name]) - {UNUSED}
    ]
    notes = [
        *dataset_note(table),
        *([f"The same in all combinations: {'; '.join(fixed)}."] if fixed else []),
        "Judges with their own profiles, at the largest k. Combinations: accuracy as in the main table; without "
        "demonstrations and persona it is Default.",
        "Effects: accuracy at To less accuracy at From in points, on the judgments that both have, with everything "
        "else as under Held fixed. Mean: of these effects, each with the same weight.",
        "In brackets: 95 % intervals from a bootstrap that resamples users; p: from the same resamples. p (Holm): "
        "adjusted within this table, among the effects and among the means.",
    ]
    if bool((table[["cell", "status"]] == NOT_RUN).any(axis=None)):
        notes.append(f"{NOT_RUN}: a combination that the run has elsewhere is not among the verdicts here.")
    if bool((table["status"] == INCOMPLETE).any()):
        notes.append(f"{INCOMPLETE}: one of the effects has no number, so that there is no {MEAN.split()[0]}.")
    return notes + exempt_note(table["cell"]) + mark_notes(table, "cell_", "")
