"""The table of profiles: what the searches of each variant found, and how many profiles show no demonstration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from personalrm.core.records import Profile, read_all
from personalrm.data.cross_validation import Pools
from personalrm.results.columns import Columns
from personalrm.results.comparisons import model_rank
from personalrm.results.labels import k_label, k_rank
from personalrm.results.lazy import pd
from personalrm.results.scores import percent
from personalrm.results.spec import Table, TableResult
from personalrm.results.table_formats import EMPTY, Block, plain, table_rows
from personalrm.results.tables.comparison_text import Shown, block_of, dataset_note, decimals, headings_of

PROFILE_KEY: tuple[str, ...] = ("dataset", "variant", "profile_model", "k")
COUNTS: tuple[str, ...] = ("n_users", "n_profiles", "without_profile")
SHARES: dict[str, str] = {
    "without_persona": "No persona %",
    "persona_says_nothing": "Says nothing %",
    "without_demonstrations_both": "Both: none %",
    "labels_only_both": "Both: labels only %",
    "mean_demonstrations_both": "Both: mean",
    "without_demonstrations_demos": "Demos: none %",
    "labels_only_demos": "Demos: labels only %",
    "mean_demonstrations_demos": "Demos: mean",
}
"""Column to heading. The methods that show demonstrations are `both` (found with the persona known) and `demos`."""
PROFILE_COLUMNS = Columns((*PROFILE_KEY, *COUNTS, *SHARES), texts=PROFILE_KEY, whole=COUNTS)


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
    names = [*PROFILE_KEY, "user", "ok", *SHARES]
    counted = pd.DataFrame(map(_counted, profiles), columns=names).astype(dict.fromkeys(SHARES, "float64"))
    counted["dataset"] = counted["dataset"].replace(pool_of)

    def place(key: tuple[str, ...]) -> tuple[object, ...]:
        dataset, variant, model, k = key
        rank = list(variants).index(variant) if variant in variants else len(variants)
        return dataset, model_rank(model, model_order), rank, variant, k_rank(k)

    groups = {tuple(map(str, key)): rows for key, rows in counted.groupby(list(PROFILE_KEY))}
    return PROFILE_COLUMNS.frame(
        {**dict(zip(PROFILE_KEY, key, strict=True)), **_summed(groups[key])} for key in sorted(groups, key=place)
    )


def _counted(profile: Profile) -> tuple[object, ...]:
    """The key of a profile, its user, whether there is one, and what it adds to each of `SHARES`."""
    shown = profile.demonstrations, profile.plain_demonstrations
    without = [[demonstration.reasoning is None for demonstration in demonstrations] for demonstrations in shown]
    parts = [part for bare in without for part in (not bare, bool(bare) and all(bare), len(bare))]
    persona = not profile.persona, profile.persona is not None and profile.persona_flaw is not None
    key = profile.dataset, profile.variant, profile.model, k_label(profile.k)
    return *key, profile.user_id, profile.status == "ok", *persona, *parts


def _summed(rows: pd.DataFrame) -> dict[str, float | int]:
    held = rows[rows["ok"]]
    means = {name: float(held[name].sum()) / len(held) for name in SHARES} if len(held) else {}
    shares = {name: round(mean, 2) if name.startswith("mean") else percent(mean) for name, mean in means.items()}
    return {
        "n_users": int(rows["user"].nunique()),
        "n_profiles": len(held),
        "without_profile": len(rows) - len(held),
        **shares,
    }


read_profiles_table = PROFILE_COLUMNS.read


def profiles_blocks(table: pd.DataFrame) -> tuple[Block, ...]:
    """The table for people."""
    cells: Shown = {"Profiles": "n_profiles", "No profile": "without_profile"}
    names = {column: head for column, head in headings_of(table).items() if column in PROFILE_KEY}
    names = {column: names[column] for column in PROFILE_KEY if column in names}
    return (block_of(table, names, {**cells, **{head: decimals(name) for name, head in SHARES.items()}}),)


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
            # Rows of a variant are sorted by k, so that the largest stays.
            said.setdefault((row["dataset"], row["profile_model"]), {})[row["variant"]] = row
    found: list[str] = []
    for (dataset, model), rows in said.items():
        begin = f"{dataset}, profiles by {model}:"
        found.append(f"{begin} without a demonstration {_shares(rows, 'without_demonstrations_both')}.")
        vague = {variant: row for variant, row in rows.items() if row["persona_says_nothing"]}
        if vague:
            found.append(f"{begin} with a persona that says nothing {_shares(vague, 'persona_says_nothing')}.")
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
    caption=(
        "What the profiles of each variant hold: how many have a persona that says nothing, how many show the judge no"
        " demonstration, or only such without reasoning, and how many demonstrations they show in the mean."
    ),
    mem_mb=2000,
    build=build,
)
