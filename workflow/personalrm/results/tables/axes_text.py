"""The table of persona axes for people: blocks and notes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from personalrm.core.records import HALVES, K_NAMES, TYPES
from personalrm.methods.synthesizeme.context_subsets import CONVERSATION_TYPES
from personalrm.personas.records import AxisSet
from personalrm.results.table_formats import EMPTY, Block, plain, table_rows
from personalrm.results.tables.axes_table import AGREEMENT, DRAWS, MODELS, PARTS, PREVALENCE, SENTENCES
from personalrm.results.tables.comparison_text import bounds, with_variant

if TYPE_CHECKING:
    import pandas as pd

AXES_CAPTION = "Axes along which learned personas describe people"
KIND_LABELS: dict[str, str] = {
    "values": "values",
    "topic": "topics and content",
    "format": "format and style of answers",
    "other": "other",
}
AGREEMENT_LABELS: dict[str, str] = {
    MODELS: "two models",
    DRAWS: "several draws of context pairs",
    K_NAMES[HALVES]: "disjoint halves of the conversations",
    K_NAMES[TYPES]: "conversations of different types",
}
NEEDED: dict[str, str] = {
    MODELS: "two models",
    DRAWS: "draws > 1 and a number as k",
    **{name: f"{name} in analysis.axes.disjoint" for name in PARTS},
}
"""What the config must have for a row of agreement."""
NOBODY = "not applicable"
"""Stands for the agreement of nobody: no user has two such personas."""
Cells = dict[str, str]
Record = Mapping[str, object]


def axes_blocks(table: pd.DataFrame) -> tuple[Block, ...]:
    """A block a part of the table; parts without a row are left out."""
    import pandas as pd

    parts: tuple[tuple[str, str, Callable[[Record], Cells], int], ...] = (
        (PREVALENCE, "How many personas speak of each axis", _axis, 5),
        (SENTENCES, "What the sentences of personas are about", _sentence, 3),
        (AGREEMENT, "Two personas of one user: axes tagged equal", _agreement, 4),
    )
    several = table["variant"].nunique() > 1
    blocks = []
    for part, title, cells, n_names in parts:
        known = table_rows(table[table["part"] == part])
        rows = [with_variant(cells(record), record["variant"], several=several) for record in known]
        if rows:
            blocks.append(Block(title, pd.DataFrame(rows), n_names + several))
    return tuple(blocks) or (Block("", pd.DataFrame(columns=["Data set"]), 1),)


def _axis(row: Record) -> Cells:
    return {
        "Data set": str(row["dataset"]),
        "Personas by": str(row["profile_model"]),
        "Axis": str(row["name"]),
        "Low end": str(row["low_end"]) or EMPTY,
        "High end": str(row["high_end"]) or EMPTY,
        "Personas": plain(row["n_items"]),
        "speak of it": plain(row["n_found"]),
        "% [95 % CI]": bounds(row, "share", "ci_low", "ci_high", signed=False, digits=(1, 1)),
        "at the low end": plain(row["n_low"]),
        "at the high end": plain(row["n_high"]),
        "Unread": plain(row["n_unread"]),
    }


def _sentence(row: Record) -> Cells:
    return {
        "Data set": str(row["dataset"]),
        "Personas by": str(row["profile_model"]),
        "About": KIND_LABELS[str(row["name"])],
        "Users": plain(row["n_users"]),
        "Sentences": plain(row["n_items"]),
        "of the kind": plain(row["n_found"]),
        "% [95 % CI]": bounds(row, "share", "ci_low", "ci_high", signed=False, digits=(1, 1)),
        "Unread": plain(row["n_unread"]),
    }


def _agreement(row: Record) -> Cells:
    return {
        "Data set": str(row["dataset"]),
        "Personas from": AGREEMENT_LABELS[str(row["name"])],
        "Personas by": str(row["profile_model"]),
        "k": str(row["k"]),
        "Users": plain(row["n_users"]),
        "Tags": plain(row["n_items"]),
        "One user %": plain(row["share"]),
        "Two users %": plain(row["share_others"]),
        "Difference, points [95 % CI]": bounds(row, "difference", "ci_low", "ci_high", signed=True)
        if row["n_users"]
        else NOBODY,
    }


def axes_notes(table: pd.DataFrame, named: Sequence[AxisSet]) -> list[str]:
    """What a reader of the table must know; `named` says how the axes of each data set came about."""
    notes = []
    for axes in sorted(named, key=lambda one: (one.dataset, one.variant)):
        events = "".join(f"; {event}" for event in axes.events)
        if "axes_compact" in axes.prompts:
            events += "; the first axis was given to it as the form"
        notes.append(
            f"{axes.dataset} ({axes.variant}): {axes.model} named {len(axes.axes)} axes from {axes.shown} personas, "
            f"and tagged all personas{events}."
        )
    notes += [
        "Axes are named anew for each data set, from its own personas: axes of two data sets are not the same scales.",
        "Speak of it: personas tagged at the low or the high end, of those whose tag was read, one persona a user, "
        "with Wilson's 95 % interval.",
        "Sentences: intervals from a bootstrap that resamples users. Tags are a model's, not a person's.",
    ]
    agreement = table[table["part"] == AGREEMENT]
    if len(agreement):
        notes.append(
            "One user: share of axes that two personas of one user are tagged equal on (low, high, or not mentioned); "
            "two users: the same for one user's persona and another's, which is what chance would give. Difference "
            "with a 95 % interval from a bootstrap over users."
        )
    found = set(agreement["name"])
    if found & set(PARTS):
        notes.append(
            "Disjoint: the personas share no context pair; the validation pairs, which choose between sets of "
            f"demonstrations, are the same. Types are the source's own words: {', '.join(CONVERSATION_TYPES)}."
        )
    if bool((agreement["n_users"] == 0).any()):
        notes.append(f"{NOBODY}: no user has two such personas, as of one conversation, or of one type of them.")
    absent = [f"{label} (it needs {NEEDED[name]})" for name, label in AGREEMENT_LABELS.items() if name not in found]
    return [*notes, f"Agreement of personas of one user, not run: {'; '.join(absent)}."] if absent else notes
