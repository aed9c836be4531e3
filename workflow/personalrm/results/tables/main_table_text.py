"""The main table as people read it: which columns are shown, in what words, with which notes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from personalrm.methods.registry import METHODS
from personalrm.results.labels import METHOD_LABELS, NO_ANSWERS, NOT_APPLICABLE, UNUSED, method_label
from personalrm.results.marks import FLAG_NAMES, RETRY, marked, notes_of
from personalrm.results.table_formats import EMPTY, Block, plain, table_rows
from personalrm.results.tables.main_table import FAILURE_COLUMNS, row_flags

if TYPE_CHECKING:
    import pandas as pd


def _accuracy(row: Mapping[str, object]) -> str:
    """Accuracy, its clustered interval, and the mark of what spoils it: `61.97 [57.2, 66.0]`."""
    if row["status"] in (NOT_APPLICABLE, NO_ANSWERS):
        return marked(str(row["status"]), row_flags(row).columns())
    text = plain(row["accuracy"])
    if text != EMPTY:
        bounds = [plain(row[bound]) for bound in ("ci_low", "ci_high")]
        text += " [–]" if EMPTY in bounds else " [{:.1f}, {:.1f}]".format(*map(float, bounds))
    return marked(text, row_flags(row).columns())


def _half_width(row: Mapping[str, object]) -> str:
    low, high = (float(str(row[f"ci_{end}_independent"])) for end in ("low", "high"))
    return EMPTY if math.isnan(low) else f"± {(high - low) / 2:.2f}"


def _one_decimal(value: object) -> str:
    return EMPTY if plain(value) == EMPTY else f"{float(str(value)):.1f}"


def dollars_shown(value: object) -> str:
    """Dollars: two decimals from a dollar up, else three significant digits."""
    if plain(value) == EMPTY:
        return EMPTY
    dollars = float(str(value))
    return f"{dollars:,.2f}" if dollars >= 1 or dollars == 0 else f"{dollars:.3g}"


def _names(row: Mapping[str, object], constant: Iterable[str], labels: Mapping[str, str]) -> dict[str, str]:
    """The columns that name a row; those that are the same in all rows are left to a note."""
    texts = {
        "dataset": ("Data set", str(row["dataset"])),
        "method": ("Method", method_label(str(row["method"]), labels)),
        "k": ("k", str(row["k"])),
        "variant": ("Variant", str(row["variant"])),
        "profile_model": ("Profile by", str(row["profile_model"])),
        "judge_model": ("Judge", str(row["judge_model"])),
    }
    return {
        header: EMPTY if text == UNUSED else text for column, (header, text) in texts.items() if column not in constant
    }


def main_blocks(table: pd.DataFrame, labels: Mapping[str, str] = METHOD_LABELS) -> tuple[Block, Block]:
    """The main table for people: accuracy with intervals, then what was not right or wrong, and cost."""
    import pandas as pd

    constant = [c for c in ("dataset", "variant") if table[c].nunique() == 1]
    accuracy, outcomes = [], []
    for cells in table_rows(table):
        names = _names(cells, constant, labels)
        accuracy.append(
            names
            | {"Users": plain(cells["n_users"]), "Pairs": plain(cells["n_pairs"])}
            | {"Judgments": plain(cells["n_judgments"]), "Accuracy % [95 % CI]": _accuracy(cells)}
            | {"paper's CI": _half_width(cells), "Mean of users": _one_decimal(cells["accuracy_user_mean"])}
            | {"Said first %": _one_decimal(cells["share_first"])}
            | {"Draws": plain(cells["n_draws"]), "SD of draws": plain(cells["draw_sd"])}
        )
        outcomes.append(
            names
            | {column.replace("_", " ").capitalize(): plain(cells[column]) for column in FAILURE_COLUMNS}
            | {"Learned with lost calls": plain(cells["lossy_profiles"])}
            | {"Calls": plain(cells["calls"]), "Tokens in": plain(cells["tokens_in"])}
            | {"Tokens out": plain(cells["tokens_out"]), "List cost $": dollars_shown(cells["cost_usd_list"])}
        )
    first, second = pd.DataFrame(accuracy), pd.DataFrame(outcomes)
    if (table["n_draws"] <= 1).all():
        first = first.drop(columns=["Draws", "SD of draws"], errors="ignore")
    if (table["lossy_profiles"] == 0).all():
        second = second.drop(columns="Learned with lost calls", errors="ignore")
    n_names = 6 - len(constant)
    return Block("Accuracy", first, n_names), Block("Outcomes and cost", second, n_names)


def exempt_note(statuses: pd.Series[str]) -> list[str]:
    """What "not applicable" means, where a row says so."""
    text = (
        f"{NOT_APPLICABLE}: the method applies to none of the row's users, for want of a survey, a planted taste, a "
        "level A or verdicts as text; their rows in the verdict files say which."
    )
    return [text] if bool((statuses == NOT_APPLICABLE).any()) else []


def labels_note(methods: Iterable[str]) -> list[str]:
    """Which labels the methods read, where a row of the table has a winner chosen by validation pairs."""
    shown = {method.partition(".")[0] for method in methods}
    if not any("search" in METHODS[name].stages for name in shown & METHODS.keys()):
        return []
    return [
        "k counts context pairs. SynthesizeMe (and the criteria judge, which reads its profile) learns from these, and "
        "all validation pairs choose the winner among its candidates at every k, 1 included. Memory reads the k "
        "context pairs alone and History all context pairs: with the default split SynthesizeMe uses the labels of "
        "70 % of a user's pairs, Memory and History those of 50 %. History (context and validation) reads as many "
        "labels as SynthesizeMe.",
    ]


def main_notes(table: pd.DataFrame, evaluated: str = "all") -> list[str]:
    """What a reader of the main table must know. `evaluated` is the config's `evaluate_users`."""
    notes = [
        f"{name} of all rows: {table[column].iloc[0]}."
        for column, name in (("dataset", "Data set"), ("variant", "Variant"))
        if table[column].nunique() == 1
    ]
    notes += [
        "Accuracy: share of judgments that name the answer which the user chose; ties, unparsed answers, refusals and "
        "prompts that do not fit count as not right. A judgment that was lost to a provider error does not count: "
        "Users, Pairs and Judgments are those that were answered.",
        "In brackets: 95 % interval with users as clusters (resampled), never narrower than what so few judgments "
        "leave open; [–] with one user. ±: the paper's interval, which treats all judgments as independent.",
        'Mean of users: each user counts the same. Said first: share of "first" among verdicts on one order; '
        "50 is no position bias. Calls, tokens and list cost: the distinct stored responses that a row rests on.",
    ]
    notes.append(
        "Users: all of each data set."
        if evaluated == "all"
        else "Users: those of the level-A part test; of data sets without level A, all."
    )
    notes += labels_note(table["method"])
    notes += exempt_note(table["status"])
    if bool((table["status"] == NO_ANSWERS).any()):
        notes.append(f"{NO_ANSWERS}: the provider failed every judgment of the row, so that there is no number.")
    if bool((table["lossy_profiles"] > 0).any()):
        notes.append("Learned with lost calls: how many of the profiles judged with were.")
    flags = [row_flags(row) for row in table_rows(table)]
    notes += notes_of(name for name in FLAG_NAMES if any(getattr(held, name) for held in flags))
    lost = bool((table[["provider_error", "lossy_profiles"]] > 0).any(axis=None))
    return [*notes, RETRY] if lost else notes
