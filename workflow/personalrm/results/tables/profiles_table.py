"""The table of profiles: what the searches of each variant found, and how many profiles show no demonstration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personalrm.core.records import Demonstration, Profile, read_all
from personalrm.data.cross_validation import Pools
from personalrm.results.columns import Columns
from personalrm.results.comparisons import model_rank
from personalrm.results.labels import k_label, k_rank
from personalrm.results.scores import percent
from personalrm.results.spec import Table, TableResult
from personalrm.results.table_formats import EMPTY, Block, plain, table_rows
from personalrm.results.tables.comparison_text import HEADINGS, dataset_note

if TYPE_CHECKING:
    import pandas as pd

PROFILE_KEY: tuple[str, ...] = ("dataset", "variant", "profile_model", "k")
COUNTS: tuple[str, ...] = ("n_users", "n_profiles", "without_profile")
SHOWN: tuple[str, ...] = ("both", "demos")
"""The methods that show demonstrations: those found with the persona known, and those found without it."""
SHARES: tuple[str, ...] = tuple(
    f"{what}_{method}" for method in SHOWN for what in ("without_demonstrations", "labels_only", "mean_demonstrations")
)
PROFILE_COLUMNS = Columns(
    (*PROFILE_KEY, *COUNTS, "without_persona", "persona_says_nothing", *SHARES), texts=PROFILE_KEY, whole=COUNTS
)
_HEADS: Mapping[str, str] = {
    "n_profiles": "Profiles",
    "without_profile": "No profile",
    "without_persona": "No persona %",
    "persona_says_nothing": "Says nothing %",
    "without_demonstrations_both": "Both: none %",
    "labels_only_both": "Both: labels only %",
    "mean_demonstrations_both": "Both: mean",
    "without_demonstrations_demos": "Demos: none %",
    "labels_only_demos": "Demos: labels only %",
    "mean_demonstrations_demos": "Demos: mean",
}


@dataclass
class _Counted:
    """What is added up of the profiles of one row; `none`, `labels` and `shown` for each of `SHOWN`."""

    users: set[str] = field(default_factory=set)
    profiles: int = 0
    failed: int = 0
    bare: int = 0
    vague: int = 0
    none: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SHOWN, 0))
    labels: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SHOWN, 0))
    shown: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SHOWN, 0))

    def add(self, profile: Profile) -> None:
        self.users.add(profile.user_id)
        if profile.status != "ok":
            self.failed += 1
            return
        self.profiles += 1
        self.bare += not profile.persona
        self.vague += profile.persona is not None and profile.persona_flaw is not None
        self._add("both", profile.demonstrations)
        self._add("demos", profile.plain_demonstrations)

    def _add(self, method: str, demonstrations: Sequence[Demonstration]) -> None:
        self.none[method] += not demonstrations
        self.labels[method] += bool(demonstrations) and all(shown.reasoning is None for shown in demonstrations)
        self.shown[method] += len(demonstrations)

    def row(self) -> dict[str, float | int | None]:
        counts = {"n_users": len(self.users), "n_profiles": self.profiles, "without_profile": self.failed}
        personas = {"without_persona": self._share(self.bare), "persona_says_nothing": self._share(self.vague)}
        return {**counts, **personas} | {
            f"{what}_{method}": value
            for method in SHOWN
            for what, value in (
                ("without_demonstrations", self._share(self.none[method])),
                ("labels_only", self._share(self.labels[method])),
                ("mean_demonstrations", round(self.shown[method] / self.profiles, 2) if self.profiles else None),
            )
        }

    def _share(self, count: int) -> float | None:
        return percent(count / self.profiles) if self.profiles else None


def profiles_table(
    profiles: Iterable[Profile],
    *,
    pools: Pools | None = None,
    variants: Sequence[str] = (),
    model_order: Sequence[str] = (),
) -> pd.DataFrame:
    """Profiles counted by data set, variant, model and k, columns `PROFILE_COLUMNS`; a draw of k is a profile.

    `without_profile` are users (and draws) whose profile failed, is empty or makes no sense; all shares are percent of
    the others, `n_profiles`. `persona_says_nothing` are profiles that have a persona with a flaw
    (`persona_quality.py`). For the methods `both` and `demos` (columns that end so): `without_demonstrations` are
    profiles that show the judge none, `labels_only` those that show some, none of them with reasoning;
    `mean_demonstrations` is the mean number of demonstrations of a profile.

    Args:
        profiles: read once, one at a time.
        pools: data sets that were asked for in folds, each with its folds; a user has a profile in each fold.
        variants: names in the order of listing; others come last, by name.
        model_order: the same of models.
    """
    pool_of = {fold: pool for pool, folds in (pools or {}).items() for fold in folds}
    counted: dict[tuple[str, ...], _Counted] = {}
    for profile in profiles:
        dataset = pool_of.get(profile.dataset, profile.dataset)
        key = dataset, profile.variant, profile.model, k_label(profile.k)
        counted.setdefault(key, _Counted()).add(profile)

    def place(key: tuple[str, ...]) -> tuple[object, ...]:
        rank = list(variants).index(key[1]) if key[1] in variants else len(variants)
        return key[0], model_rank(key[2], model_order), rank, key[1], k_rank(key[3])

    rows = [dict(zip(PROFILE_KEY, key, strict=True)) | counted[key].row() for key in sorted(counted, key=place)]
    return PROFILE_COLUMNS.frame(rows)


read_profiles_table = PROFILE_COLUMNS.read


def profiles_blocks(table: pd.DataFrame) -> tuple[Block, ...]:
    """The table for people."""
    import pandas as pd

    several = table["dataset"].nunique() != 1
    names = {name: HEADINGS[name] for name in PROFILE_KEY if several or name != "dataset"}
    rows = [
        {head: str(row[name]) for name, head in names.items()}
        | {head: _shown(row[name]) for name, head in _HEADS.items()}
        for row in table_rows(table)
    ]
    return (Block("", pd.DataFrame(rows, columns=[*names.values(), *_HEADS.values()]), len(names)),)


def _shown(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) and plain(value) != EMPTY else plain(value)


def profiles_notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the table must know."""
    return [
        *dataset_note(table),
        "Both: demonstrations that were found with the persona known; Demos: those found without it. None: profiles "
        "that show the judge no demonstration, because that scored best on the user's validation pairs, was an equal "
        "that came first, or reached the stop score (as_published). Labels only: no demonstration has reasoning.",
        "Says nothing: the persona echoes the prompt, contradicts itself, copies an answer or an example, or names no "
        "taste, and no better one came of the attempts that learn.persona.attempts allows.",
        "No profile: users (and draws) without context pairs, or whose profile failed. Percent of the other profiles.",
    ]


def what_profiles_show(table: pd.DataFrame) -> list[str]:
    """Sentences for each data set and model, at the largest k of each variant: the share of profiles without
    demonstrations, and, where there are any, that of profiles whose persona says nothing."""
    said: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in table_rows(table):
        if plain(row["without_demonstrations_both"]) != EMPTY:
            # Rows of a variant stand by k, so that the largest stays.
            said.setdefault((row["dataset"], row["profile_model"]), {})[row["variant"]] = row
    found: list[str] = []
    for (dataset, model), rows in said.items():
        begin = f"{dataset}, profiles by {model}:"
        found.append(f"{begin} no demonstration is shown by {_shares(rows, 'without_demonstrations_both')}.")
        vague = {variant: row for variant, row in rows.items() if row["persona_says_nothing"]}
        if vague:
            found.append(f"{begin} the persona says nothing in {_shares(vague, 'persona_says_nothing')}.")
    return found


def _shares(rows: Mapping[str, Mapping[str, Any]], column: str) -> str:
    return ", ".join(f"{row[column]:.1f} % of {row['n_profiles']:,} ({name})" for name, row in rows.items())


def build(profiles: list[Path], *, pools: Pools, variants: list[str], model_order: list[str]) -> Table:
    """Make the table from the files of a run."""
    table = profiles_table(read_all(profiles, Profile), pools=pools, variants=variants, model_order=model_order)
    return Table(table, profiles_blocks(table), profiles_notes(table))


RESULT = TableResult(
    name="profiles",
    order=50,
    title="What the profiles hold",
    message="Making the table of profiles",
    caption=(
        "What the profiles of each variant hold: how many have a persona that says nothing, how many show the judge no"
        " demonstration, or only such without reasoning, and how many demonstrations they show in the mean."
    ),
    mem_mb=2000,
    build=build,
)
