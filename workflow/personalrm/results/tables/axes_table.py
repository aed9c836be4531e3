"""The table of persona axes: along which axes personas describe people, what their sentences are about, and how far
personas of one user agree. Each row of the frame is of one of three parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from personalrm.core.conditions import K
from personalrm.core.records import read_all
from personalrm.methods.synthesizeme.context_subsets import CONVERSATION_TYPES, N_PARTS
from personalrm.personas.records import KINDS, TAGS, Axis, AxisSet, TaggedPersona
from personalrm.results.columns import Columns
from personalrm.results.comparisons import (
    Value,
    seed_of,
)
from personalrm.results.labels import UNUSED, k_label
from personalrm.results.scores import percent
from personalrm.results.spec import Table, TableResult
from personalrm.results.table_formats import EMPTY, Block, plain
from personalrm.results.tables.axes_agreement import UNREAD, Codes, agreement
from personalrm.results.tables.comparison_text import block_of, bounds, persona_headings

if TYPE_CHECKING:
    import pandas as pd

PREVALENCE, SENTENCES, AGREEMENT = "axis", "sentences", "agreement"
"""Parts of the table."""
MODELS, DRAWS = "models", "draws"
"""Names of the rows of agreement: personas of one user by two models; from two draws of context pairs."""
PARTS: tuple[str, ...] = tuple(map(str, N_PARTS))
"""Names of further such rows: personas of one user from two disjoint parts of the context."""
NO_AXIS = "no axis named"
"""Name of the one row of a data set whose model named no axis."""
AXES_NAMES: tuple[str, ...] = ("part", "dataset", "variant", "profile_model", "k", "name", "low_end", "high_end")
AXES_COUNTS: tuple[str, ...] = ("n_users", "n_items", "n_found", "n_low", "n_high", "n_unread")
AXES_NUMBERS: tuple[str, ...] = ("share", "share_others", "difference", "ci_low", "ci_high")
AXES_COLUMNS = Columns((*AXES_NAMES, *AXES_COUNTS, *AXES_NUMBERS), texts=AXES_NAMES, whole=AXES_COUNTS)
CODES: dict[str | None, int] = {None: UNREAD} | {tag: code for code, tag in enumerate(TAGS)}
KIND_LABELS: dict[str, str] = {
    "values": "values",
    "topic": "topics and content",
    "format": "format and style of answers",
    "other": "other",
}
AGREEMENT_LABELS: dict[str, str] = {
    MODELS: "two models",
    DRAWS: "several draws of context pairs",
    "halves": "disjoint halves of the conversations",
    "types": "conversations of different types",
}
NEEDED: dict[str, str] = {
    MODELS: "two models",
    DRAWS: "draws > 1 and a number as k",
    **{name: f"{name} in analysis.axes.disjoint" for name in PARTS},
}
"""What the config must have for a row of agreement."""
NOBODY = "not applicable"
"""Stands for the agreement of nobody: no user has two such personas."""
Row = dict[str, Value]


def axes_table(
    named: Iterable[AxisSet], tagged: Iterable[TaggedPersona], k: K, *, seed: int, n_resamples: int
) -> pd.DataFrame:
    """Rows of all three parts for each data set and variant; columns `AXES_COLUMNS`, shares in percent.

    - axis: of `n_items` personas (the first draw at `k`, one a user) whose tag on the axis was read, `n_found` speak of
      it, `n_low` and `n_high` at each end; share with Wilson's bounds. `n_unread` tags could not be read. A data set
      without an axis has one row, `NO_AXIS`.
    - sentences: of `n_items` sentences of the same personas, `n_found` are of the kind `name`; bounds from a bootstrap
      over users.
    - agreement: personas of one user by two models (`profile_model` names both), by one model from several draws of
      context pairs, or by one model from disjoint parts of the context (k "-"; no user where nobody has two): share of
      axes tagged equal, the same for personas of two users, and the difference in points with bounds from a bootstrap
      over users (`axes_agreement`). `n_items` tags of one user were compared.

    Args:
        named: axes of each data set and variant.
        tagged: personas on these axes.
        k: the number of context pairs at which personas are counted.
        seed: seed of the bootstrap; each row derives its own.
        n_resamples: its resamples.
    """
    personas: dict[tuple[str, str], list[TaggedPersona]] = {}
    for persona in sorted(tagged, key=lambda one: (_size(one.k), one.draw, one.user_id)):
        personas.setdefault((persona.dataset, persona.variant), []).append(persona)
    rows: list[Row] = []
    for axes in sorted(named, key=lambda one: (one.dataset, one.variant)):
        place: Row = {**dict.fromkeys(AXES_NAMES, ""), "dataset": axes.dataset, "variant": axes.variant}
        mine = personas.get((axes.dataset, axes.variant), [])
        counted = by_model([one for one in mine if one.k == k and one.draw == 0])
        for model, people in counted.items():
            here = place | {"profile_model": model, "k": k_label(k)}
            rows += [here | row for row in _axis_rows(axes.axes, people)]
            own_seed = seed_of(seed, axes.dataset, axes.variant, model)
            rows += [here | row for row in _sentence_rows(people, own_seed, n_resamples)]
        rows += [place | row for row in _agreements(axes, mine, counted, k, seed, n_resamples)]
    return AXES_COLUMNS.frame(rows)


read_axes_table = AXES_COLUMNS.read


def _size(k: K) -> tuple[bool, str | int]:
    """Sort key of k: names before numbers."""
    return isinstance(k, int), k


def by_model(tagged: Iterable[TaggedPersona]) -> dict[str, list[TaggedPersona]]:
    """Personas by the model that wrote them, models by name."""
    found: dict[str, list[TaggedPersona]] = {}
    for persona in tagged:
        found.setdefault(persona.profile_model, []).append(persona)
    return dict(sorted(found.items()))


def _axis_rows(axes: Sequence[Axis], people: Sequence[TaggedPersona]) -> Iterator[Row]:
    from personalrm.results.stats.exact_statistics import wilson_interval

    with_persona = [persona for persona in people if persona.status == "ok"]
    if not axes:
        yield {"part": PREVALENCE, "name": NO_AXIS, "n_users": len(with_persona), "n_items": 0}
    for number, axis in enumerate(axes):
        tags = Counter(persona.tags[number] for persona in with_persona)
        read, low, high = tags.total() - tags[None], tags["low"], tags["high"]
        share = wilson_interval(low + high, read)
        yield {
            "part": PREVALENCE,
            "name": axis.name,
            "low_end": axis.low,
            "high_end": axis.high,
            "n_users": read,
            "n_items": read,
            "n_found": low + high,
            "n_low": low,
            "n_high": high,
            "n_unread": tags[None],
            "share": percent(share.estimate),
            "ci_low": percent(share.low),
            "ci_high": percent(share.high),
        }


def _sentence_rows(people: Sequence[TaggedPersona], seed: int, n_resamples: int) -> Iterator[Row]:
    from personalrm.results.stats.statistics import share_interval

    read = [[kind for kind in persona.kinds if kind] for persona in people]
    sizes = [len(kinds) for kinds in read]
    for kind in KINDS:
        found = [kinds.count(kind) for kinds in read]
        share = share_interval(found, sizes, seed=seed, n_resamples=n_resamples)
        yield {
            "part": SENTENCES,
            "name": kind,
            "n_users": sum(size > 0 for size in sizes),
            "n_items": sum(sizes),
            "n_found": sum(found),
            "n_unread": sum(len(persona.kinds) for persona in people) - sum(sizes),
            "share": percent(share.estimate),
            "ci_low": percent(share.low),
            "ci_high": percent(share.high),
        }


def _agreements(
    axes: AxisSet,
    mine: Sequence[TaggedPersona],
    counted: Mapping[str, Sequence[TaggedPersona]],
    k: K,
    seed: int,
    n_resamples: int,
) -> Iterator[Row]:
    """Agreement across each pair of models at `k`, and across the draws (or parts) of each model at each k that has
    several."""
    sets: list[tuple[str, str, K, list[Sequence[TaggedPersona]]]] = [
        (MODELS, f"{one}, {two}", k, [counted[one], counted[two]]) for one, two in combinations(counted, 2)
    ]
    for model, people in by_model(mine).items():
        for size in sorted({persona.k for persona in people}, key=_size):
            draws: dict[int, list[TaggedPersona]] = {}
            for persona in people:
                if persona.k == size:
                    draws.setdefault(persona.draw, []).append(persona)
            if len(draws) > 1:
                sets.append((str(size) if size in N_PARTS else DRAWS, model, size, list(draws.values())))
    for name, model, size, descriptions in sets if axes.axes else []:
        users = sorted({persona.user_id for described in descriptions for persona in described})
        codes = [_codes(described, users, len(axes.axes)) for described in descriptions]
        found = agreement(
            list(combinations(codes, 2)),
            seed=seed_of(seed, axes.dataset, axes.variant, name, model, str(size)),
            n_resamples=n_resamples,
        )
        yield {
            "part": AGREEMENT,
            "name": name,
            "profile_model": model,
            "k": UNUSED if name in PARTS else k_label(size),
            "n_users": found.n_users,
            "n_items": found.n_tags,
            "share": percent(found.own),
            "share_others": percent(found.others),
            "difference": percent(found.difference.estimate),
            "ci_low": percent(found.difference.low),
            "ci_high": percent(found.difference.high),
        }


def _codes(described: Iterable[TaggedPersona], users: Sequence[str], n_axes: int) -> Codes:
    """Tags as codes, (users, axes); `UNREAD` for users without a persona."""
    codes = np.full((len(users), n_axes), UNREAD, dtype=np.int64)
    place = {user: number for number, user in enumerate(users)}
    for persona in described:
        if persona.status == "ok":
            codes[place[persona.user_id]] = [CODES[tag] for tag in persona.tags]
    return codes


Cells = dict[str, str]
Record = Mapping[str, object]


def axes_blocks(table: pd.DataFrame) -> tuple[Block, ...]:
    """A block a part of the table; parts without a row are left out."""
    parts: tuple[tuple[str, str, Callable[[Record], Cells], int], ...] = (
        (PREVALENCE, "How many personas speak of each axis", _axis, 4),
        (SENTENCES, "What the sentences of personas are about", _sentence, 2),
        (AGREEMENT, "Two personas of one user: axes tagged equal", _agreement, 3),
    )
    columns = persona_headings(table)
    blocks = [
        block_of(table[table["part"] == part], columns, cells, title, len(columns) + n_names)
        for part, title, cells, n_names in parts
        if bool((table["part"] == part).any())
    ]
    return tuple(blocks) or (block_of(table, columns, _axis),)


def _axis(row: Record) -> Cells:
    return {
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


def build(axes: list[Path], tags: list[Path], *, seed: int, n_resamples: int, largest_k: K) -> Table:
    """Make the table from the files of a run."""
    named = list(read_all(axes, AxisSet))
    table = axes_table(named, read_all(tags, TaggedPersona), largest_k, seed=seed, n_resamples=n_resamples)
    return Table(table, axes_blocks(table), axes_notes(table, named))


RESULT = TableResult(
    name="axes",
    order=150,
    title="Axes along which learned personas describe people",
    message="Making the table of persona axes",
    caption=(
        "Axes along which learned personas describe people, as a model named them from the personas: how many personas"
        " speak of each (Wilson's 95 % interval), what the personas' sentences are about, and how far two personas of "
        "one user agree beyond those of two users (95 % intervals clustered by user)."
    ),
    when="axes",
    build=build,
)
