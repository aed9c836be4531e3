"""The table of persona axes: along which axes personas describe people, what their sentences are about, and how far
personas of one user agree. Each row of the frame is of one of three parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from personalrm.core.conditions import K
from personalrm.core.records import read_all
from personalrm.methods.synthesizeme.context_subsets import CONVERSATION_TYPES, N_PARTS
from personalrm.personas.records import KINDS, TAGS, Axis, AxisSet, TaggedPersona
from personalrm.results.columns import Columns
from personalrm.results.comparisons import seed_of
from personalrm.results.labels import UNUSED, k_label
from personalrm.results.lazy import pd
from personalrm.results.scores import percents
from personalrm.results.spec import Table, TableResult
from personalrm.results.stats.exact_statistics import wilson_interval
from personalrm.results.stats.statistics import share_interval
from personalrm.results.table_formats import EMPTY, Block
from personalrm.results.tables.axes_agreement import UNREAD, Codes, agreement
from personalrm.results.tables.comparison_text import (
    DIFFERENCE,
    Shown,
    block_of,
    bounds,
    interval,
    notes_where,
    persona_headings,
)

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
SHARE: tuple[str, ...] = ("share", "ci_low", "ci_high")
AXES_COLUMNS = Columns(
    (*AXES_NAMES, *AXES_COUNTS, "share", "share_others", *DIFFERENCE), texts=AXES_NAMES, whole=AXES_COUNTS
)
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
"""Shown in place of an agreement where no user has two such personas."""
Row = dict[str, Any]
T = TypeVar("T")


def axes_table(
    named: Iterable[AxisSet], tagged: Iterable[TaggedPersona], k: K, *, seed: int, n_resamples: int
) -> pd.DataFrame:
    """Rows of all three parts for each data set and variant; columns `AXES_COLUMNS`, shares in percent.

    - axis: of `n_items` personas (the first draw at `k`, one per user) whose tag on the axis was read, `n_found` speak
      of it, `n_low` and `n_high` at each end; share with Wilson's bounds. `n_unread` tags could not be read. A data set
      without an axis has one row, `NO_AXIS`.
    - sentences: of `n_items` sentences of the same personas, `n_found` are of the kind `name`; bounds from a bootstrap
      over users.
    - agreement: personas of one user by two models (`profile_model` names both), by one model from several draws of
      context pairs, or by one model from disjoint parts of the context (k "-"; no users where none has two): share of
      axes tagged equal, the same for personas of two users, and the difference in points with bounds from a bootstrap
      over users (`axes_agreement`). `n_items` tags of one user were compared.
    """
    personas = sorted(tagged, key=lambda one: (_size(one.k), one.draw, one.user_id))
    rows: list[Row] = []
    for axes in sorted(named, key=_of_set):
        place: Row = {**dict.fromkeys(AXES_NAMES, ""), "dataset": axes.dataset, "variant": axes.variant}
        mine = [one for one in personas if _of_set(one) == _of_set(axes)]
        counted = _grouped((one for one in mine if one.k == k and one.draw == 0), lambda one: one.profile_model)
        for model, people in sorted(counted.items()):
            own_seed = seed_of(seed, axes.dataset, axes.variant, model)
            found = [*_axis_rows(axes.axes, people), *_sentence_rows(people, own_seed, n_resamples)]
            rows += [{**place, "profile_model": model, "k": k_label(k), **row} for row in found]
        sets = _several(mine, counted, k) if axes.axes else ()
        rows += [{**place, **_agreement_row(axes, several, seed, n_resamples)} for several in sets]
    return AXES_COLUMNS.frame(rows)


read_axes_table = AXES_COLUMNS.read


def _size(k: K) -> tuple[bool, str | int]:
    """Sort key of k: names before numbers."""
    return isinstance(k, int), k


def _of_set(one: AxisSet | TaggedPersona) -> tuple[str, str]:
    return one.dataset, one.variant


def _grouped(tagged: Iterable[TaggedPersona], by: Callable[[TaggedPersona], T]) -> dict[T, list[TaggedPersona]]:
    found: dict[T, list[TaggedPersona]] = {}
    for persona in tagged:
        found.setdefault(by(persona), []).append(persona)
    return found


def _axis_rows(axes: Sequence[Axis], people: Sequence[TaggedPersona]) -> Iterator[Row]:
    with_persona = [persona for persona in people if persona.status == "ok"]
    if not axes:
        yield {"part": PREVALENCE, "name": NO_AXIS, "n_users": len(with_persona), "n_items": 0}
    for number, axis in enumerate(axes):
        tags = Counter(persona.tags[number] for persona in with_persona)
        read, low, high = tags.total() - tags[None], tags["low"], tags["high"]
        yield {
            **{"part": PREVALENCE, "name": axis.name, "low_end": axis.low, "high_end": axis.high},
            **{"n_users": read, "n_items": read, "n_found": low + high, "n_low": low, "n_high": high},
            "n_unread": tags[None],
            **percents(wilson_interval(low + high, read), *SHARE),
        }


def _sentence_rows(people: Sequence[TaggedPersona], seed: int, n_resamples: int) -> Iterator[Row]:
    read = [[kind for kind in persona.kinds if kind] for persona in people]
    sizes = [len(kinds) for kinds in read]
    for kind in KINDS:
        found = [kinds.count(kind) for kinds in read]
        yield {
            "part": SENTENCES,
            "name": kind,
            "n_users": sum(size > 0 for size in sizes),
            "n_items": sum(sizes),
            "n_found": sum(found),
            "n_unread": sum(len(persona.kinds) for persona in people) - sum(sizes),
            **percents(share_interval(found, sizes, seed=seed, n_resamples=n_resamples), *SHARE),
        }


class _Several(NamedTuple):
    """Descriptions of the same users that are compared: by two models, or from several draws or parts."""

    name: str
    models: str
    k: K
    descriptions: list[list[TaggedPersona]]


def _several(mine: Iterable[TaggedPersona], counted: Mapping[str, list[TaggedPersona]], k: K) -> Iterator[_Several]:
    """Each pair of models at `k`, then the draws (or parts) of each model at each k that has several."""
    for one, two in combinations(sorted(counted), 2):
        yield _Several(MODELS, f"{one}, {two}", k, [counted[one], counted[two]])
    for (model, size), people in sorted(
        _grouped(mine, lambda one: (one.profile_model, one.k)).items(), key=lambda held: (held[0][0], _size(held[0][1]))
    ):
        draws = _grouped(people, lambda one: one.draw)
        if len(draws) > 1:
            yield _Several(str(size) if size in N_PARTS else DRAWS, model, size, list(draws.values()))


def _agreement_row(axes: AxisSet, several: _Several, seed: int, n_resamples: int) -> Row:
    users = sorted({persona.user_id for described in several.descriptions for persona in described})
    codes = [_codes(described, users, len(axes.axes)) for described in several.descriptions]
    own_seed = seed_of(seed, axes.dataset, axes.variant, several.name, several.models, str(several.k))
    found = agreement(list(combinations(codes, 2)), seed=own_seed, n_resamples=n_resamples)
    return {
        "part": AGREEMENT,
        "name": several.name,
        "profile_model": several.models,
        "k": UNUSED if several.name in PARTS else k_label(several.k),
        "n_users": found.n_users,
        "n_items": found.n_tags,
        **percents((found.own, found.others, *found.difference), "share", "share_others", *DIFFERENCE),
    }


def _codes(described: Iterable[TaggedPersona], users: Sequence[str], n_axes: int) -> Codes:
    """Tags as codes, (users, axes); `UNREAD` for users without a persona."""
    codes = np.full((len(users), n_axes), UNREAD, dtype=np.int64)
    place = {user: number for number, user in enumerate(users)}
    for persona in described:
        if persona.status == "ok":
            codes[place[persona.user_id]] = [CODES[tag] for tag in persona.tags]
    return codes


WRITTEN: Shown = {"Personas by": "profile_model"}
SHARES: Shown = {"% [95 % CI]": interval(*SHARE, digits=(1, 1))}
SHOWN: tuple[tuple[str, str, int, Shown], ...] = (
    (
        PREVALENCE,
        "How many personas speak of each axis",
        4,
        {
            **WRITTEN,
            "Axis": "name",
            "Low end": lambda row: row["low_end"] or EMPTY,
            "High end": lambda row: row["high_end"] or EMPTY,
            "Personas": "n_items",
            "speak of it": "n_found",
            **SHARES,
            "at the low end": "n_low",
            "at the high end": "n_high",
            "Unread": "n_unread",
        },
    ),
    (
        SENTENCES,
        "What the sentences of personas are about",
        2,
        {
            **WRITTEN,
            "About": lambda row: KIND_LABELS[row["name"]],
            "Users": "n_users",
            "Sentences": "n_items",
            "of the kind": "n_found",
            **SHARES,
            "Unread": "n_unread",
        },
    ),
    (
        AGREEMENT,
        "Two personas of one user: axes tagged equal",
        3,
        {
            "Personas from": lambda row: AGREEMENT_LABELS[row["name"]],
            **WRITTEN,
            "k": "k",
            "Users": "n_users",
            "Tags": "n_items",
            "One user %": "share",
            "Two users %": "share_others",
            "Difference, points [95 % CI]": lambda row: (
                bounds(row, *DIFFERENCE, signed=True) if row["n_users"] else NOBODY
            ),
        },
    ),
)
"""Parts of the table, with their titles, the number of columns that name a row, and the columns."""


def axes_blocks(table: pd.DataFrame) -> tuple[Block, ...]:
    """A block for each part of the table; parts without a row are left out."""
    columns = persona_headings(table)
    blocks = [
        block_of(table[table["part"] == part], columns, cells, title, len(columns) + n_names)
        for part, title, n_names, cells in SHOWN
    ]
    return tuple(block for block in blocks if len(block.texts)) or (block_of(table, columns, WRITTEN),)


def axes_notes(table: pd.DataFrame, named: Sequence[AxisSet]) -> list[str]:
    """What a reader of the table must know; `named` says how the axes of each data set came about."""
    rows = table[table["part"] == AGREEMENT]
    found = set(rows["name"])
    absent = [f"{label} (it needs {NEEDED[name]})" for name, label in AGREEMENT_LABELS.items() if name not in found]
    return [
        *map(_origin, sorted(named, key=_of_set)),
        "Axes are named anew for each data set, from its own personas: axes of two data sets are not the same scales.",
        "Speak of it: personas tagged at the low or the high end, of those whose tag was read, one persona a user, "
        "with Wilson's 95 % interval.",
        "Sentences: intervals from a bootstrap that resamples users. Tags are a model's, not a person's.",
        *notes_where(
            (
                found,
                "One user: share of axes that two personas of one user are tagged equal on (low, high, or not "
                "mentioned); two users: the same for one user's persona and another's, which is what chance would "
                "give. Difference with a 95 % interval from a bootstrap over users.",
            ),
            (
                found & set(PARTS),
                "Disjoint: the personas share no context pair; the validation pairs, which choose between sets of "
                f"demonstrations, are the same. Types are the source's own words: {', '.join(CONVERSATION_TYPES)}.",
            ),
            (
                (rows["n_users"] == 0).any(),
                f"{NOBODY}: no user has two such personas, as of one conversation, or of one type of them.",
            ),
            (absent, f"Agreement of personas of one user, not run: {'; '.join(absent)}."),
        ),
    ]


def _origin(axes: AxisSet) -> str:
    """How the axes of a data set came about."""
    form = ("the first axis was given to it as the form",) if "axes_compact" in axes.prompts else ()
    return (
        f"{axes.dataset} ({axes.variant}): {axes.model} named {len(axes.axes)} axes from {axes.shown} personas, "
        f"and tagged all personas{''.join(f'; {event}' for event in (*axes.events, *form))}."
    )


def build(axes: list[Path], tags: list[Path], *, seed: int, n_resamples: int, largest_k: K) -> Table:
    """Make the table from the files of a run."""
    named = list(read_all(axes, AxisSet))
    table = axes_table(named, read_all(tags, TaggedPersona), largest_k, seed=seed, n_resamples=n_resamples)
    return Table(table, axes_blocks(table), axes_notes(table, named))


RESULT = TableResult(
    name="axes",
    order=150,
    title="Axes along which learned personas describe people",
    caption=(
        "Axes along which learned personas describe people, as a model named them from the personas: how many personas"
        " speak of each (Wilson's 95 % interval), what the personas' sentences are about, and how far two personas of "
        "one user agree beyond those of two users (95 % intervals clustered by user)."
    ),
    when="axes",
    build=build,
)
