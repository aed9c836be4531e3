"""Verdicts of leave-out folds as those of one data set: each pair is tested once, and a user is one over all folds."""

from __future__ import annotations

from personalrm.data.cross_validation import Pools
from personalrm.results.conditions import CONDITION_COLUMNS
from personalrm.results.lazy import pd


def pooled(frame: pd.DataFrame, pools: Pools) -> pd.DataFrame:
    """A frame of `collect_verdicts` or `collect_calls`, with folds under the name of their pool, other data as it is.

    Users are matched by id, and so are resampled with their verdicts of all folds. What is the same in each fold is
    kept once: judgments of methods that are judged on all pairs (`@all`, `@loo`; where a fold lost one to a provider
    error, that of another), responses, and users without any verdict. A user who has a verdict in one fold and none in
    another is one with the verdicts that there are.
    """
    if not pools:
        return frame
    pool_of = {fold: pool for pool, folds in pools.items() for fold in folds}
    names = frame["dataset"].astype("str")
    renamed = frame.assign(dataset=names.map(pool_of).fillna(names))
    if "key" in frame:
        return renamed.drop_duplicates([*CONDITION_COLUMNS, "key"])
    user = [*CONDITION_COLUMNS, "draw", "user_id"]
    judged = renamed["pair_id"].notna()
    anywhere = judged.groupby([renamed[name] for name in user], observed=True).transform("any")
    held = renamed[judged | ~anywhere]
    lost = held["outcome"] == "provider_error"
    return pd.concat([held[~lost], held[lost]]).drop_duplicates([*user, "pair_id", "swapped", "status"])


def with_pools(frame: pd.DataFrame, pools: Pools) -> pd.DataFrame:
    """The frame, and after it what `pooled` makes of the folds."""
    folds = frame[frame["dataset"].isin({fold for folds in pools.values() for fold in folds})]
    return pd.concat([frame, pooled(folds, pools)], ignore_index=True) if pools else frame


def without_pools(table: pd.DataFrame, pools: Pools) -> pd.DataFrame:
    """Rows of a table that are of data sets as they were judged."""
    return table[~table["dataset"].isin(set(pools))]


def without_folds(table: pd.DataFrame, pools: Pools) -> pd.DataFrame:
    """Rows of a table in which pools replace their folds."""
    return table[~table["dataset"].isin({fold for folds in pools.values() for fold in folds})]


def pool_notes(pools: Pools) -> list[str]:
    """What a reader of pooled rows must know."""
    return [
        f"{pool}: {len(folds)} leave-out folds pooled ({folds[0]} to {folds[-1]}). Each pair is tested once, by a "
        "profile that was learned without its fold: a user's profile differs from fold to fold, and may rest on pairs "
        "newer than the test. A user is one cluster over all folds."
        for pool, folds in pools.items()
    ]
