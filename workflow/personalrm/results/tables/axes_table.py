"""The table of persona axes: along which axes personas describe people, what their sentences are about, and how far
personas of one user agree. A frame with a row of one of three parts; blocks and notes are in `axes_text.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from personalrm.core.records import K_NAMES, read_records
from personalrm.methods.synthesizeme.context_subsets import N_PARTS
from personalrm.personas.records import KINDS, TAGS, Axis, AxisSet, TaggedPersona
from personalrm.results.comparisons import Value, percent, read_table, seed_of
from personalrm.results.labels import UNUSED, k_label
from personalrm.results.tables.axes_agreement import UNREAD, Codes, agreement

if TYPE_CHECKING:
    import pandas as pd

PREVALENCE, SENTENCES, AGREEMENT = "axis", "sentences", "agreement"
"""Parts of the table."""
MODELS, DRAWS = "models", "draws"
"""Names of the rows of agreement: personas of one user by two models; from two draws of context pairs."""
PARTS: tuple[str, ...] = tuple(K_NAMES[k] for k in N_PARTS)
"""Names of further such rows: personas of one user from two disjoint parts of the context."""
NO_AXIS = "no axis named"
"""Name of the one row of a data set whose model named no axis."""
AXES_NAMES: tuple[str, ...] = ("part", "dataset", "variant", "profile_model", "k", "name", "low_end", "high_end")
AXES_COUNTS: tuple[str, ...] = ("n_users", "n_items", "n_found", "n_low", "n_high", "n_unread")
AXES_NUMBERS: tuple[str, ...] = ("share", "share_others", "difference", "ci_low", "ci_high")
AXES_COLUMNS: tuple[str, ...] = (*AXES_NAMES, *AXES_COUNTS, *AXES_NUMBERS)
CODES: dict[str | None, int] = {None: UNREAD} | {tag: code for code, tag in enumerate(TAGS)}
Row = dict[str, Value]


def read_axes_files(axes: Iterable[Path], tags: Iterable[Path]) -> tuple[list[AxisSet], list[TaggedPersona]]:
    """All rows of the stages `axes` and `tag`."""
    named = [row for path in axes for row in read_records(path, AxisSet)]
    return named, [row for path in tags for row in read_records(path, TaggedPersona)]


def axes_table(
    named: Iterable[AxisSet], tagged: Iterable[TaggedPersona], k: int, *, seed: int, n_resamples: int
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
    import pandas as pd

    personas: dict[tuple[str, str], list[TaggedPersona]] = {}
    for persona in sorted(tagged, key=lambda one: (one.k, one.draw, one.user_id)):
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
    table = pd.DataFrame(rows, columns=list(AXES_COLUMNS))
    kinds = dict.fromkeys(AXES_NAMES, "str") | dict.fromkeys(AXES_COUNTS, "Int64")
    return table.astype(kinds | dict.fromkeys(AXES_NUMBERS, "float64"))


def read_axes_table(path: Path) -> pd.DataFrame:
    """Read `axes.csv` as `axes_table` made it."""
    return read_table(path, AXES_COLUMNS, AXES_NAMES).astype(dict.fromkeys(AXES_COUNTS, "Int64"))


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
    k: int,
    seed: int,
    n_resamples: int,
) -> Iterator[Row]:
    """Agreement across each pair of models at `k`, and across the draws (or parts) of each model at each k that has
    several."""
    sets: list[tuple[str, str, int, list[Sequence[TaggedPersona]]]] = [
        (MODELS, f"{one}, {two}", k, [counted[one], counted[two]]) for one, two in combinations(counted, 2)
    ]
    for model, people in by_model(mine).items():
        for size in sorted({persona.k for persona in people}):
            draws: dict[int, list[TaggedPersona]] = {}
            for persona in people:
                if persona.k == size:
                    draws.setdefault(persona.draw, []).append(persona)
            if len(draws) > 1:
                sets.append((K_NAMES.get(size, DRAWS), model, size, list(draws.values())))
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
