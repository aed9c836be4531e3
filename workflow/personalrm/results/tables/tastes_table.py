"""The table of tastes: what each user's votes taught about attributes, and whether they are evidence of a taste."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from personalrm.core.records import read_all
from personalrm.core.tastes import Taste, UserTaste
from personalrm.results.columns import Columns
from personalrm.results.comparisons import model_rank
from personalrm.results.labels import k_label, k_rank
from personalrm.results.lazy import pd
from personalrm.results.scores import percent
from personalrm.results.spec import Table, TableResult
from personalrm.results.table_formats import EMPTY, Block
from personalrm.results.tables.comparison_text import Shown, block_of, dataset_note, decimals

KEY: tuple[str, ...] = ("dataset", "model", "k")
WHOLE: tuple[str, ...] = ("draw", "n_votes", "n_right", "rank")
COLUMNS = Columns(
    (
        *(*KEY, "user_id", "draw", "status", "own", "n_votes", "n_right", "log_loss", "null_log_loss", "persona"),
        *("rank", "feature", "effect", "ci_low", "ci_high"),
    ),
    texts=(*KEY, "user_id", "status", "persona", "feature"),
    whole=WHOLE,
    flags=("own",),
)
MOST_FEATURES = 8
"""Features of a user that are listed: those whose effect is the farthest from 0, in standard deviations."""
MOST_PERSONAS = 24
"""Users whose persona is shown; the csv file has all."""
NORMAL_975 = 1.959964


def tastes_table(tastes: Iterable[UserTaste], *, model_order: Sequence[str] = ()) -> pd.DataFrame:
    """One row for each user, k, draw and listed feature, columns `COLUMNS`; a user without a taste has one row.

    - own: whether the votes are evidence of a taste of the user's own (the evidence gate).
    - n_right of n_votes: votes that are predicted with the right sign from other conversations; log_loss (nats, mean)
      of these predictions, and null_log_loss without a taste of the user's own.
    - persona: the measured persona; empty where nothing is sure.
    - effect: by how much the log-odds of the user's votes grow with a typical difference in the feature, while the
      others change with it as they do in these votes; ci_low, ci_high: 95 % posterior interval. rank: 1 is the surest.
    """

    def order(row: UserTaste) -> tuple[object, ...]:
        return row.dataset, model_rank(row.model, model_order), k_rank(k_label(row.k)), row.user_id, row.draw

    rows = sorted(tastes, key=order)
    return COLUMNS.frame(found for row in rows for found in _rows(row))


def _rows(row: UserTaste) -> Iterator[dict[str, Any]]:
    named = {"dataset": row.dataset, "model": row.model, "k": k_label(row.k), "user_id": row.user_id}
    taste = row.taste
    known: dict[str, Any] = {**named, "draw": row.draw, "status": row.status, "persona": row.persona or ""}
    known |= {"own": bool(taste and taste.own), "n_votes": taste.n_votes if taste else 0, "feature": ""}
    if taste is None:
        yield known
        return
    known |= {name: getattr(taste, name) for name in ("n_right", "log_loss", "null_log_loss")}
    listed = list(_effects(taste))
    yield from (known | {"rank": place, **effect} for place, effect in enumerate(listed, start=1))
    if not listed:
        yield known


def _effects(taste: Taste) -> Iterator[dict[str, Any]]:
    """The features with the surest effects; those that never differ have none."""
    weights = taste.weights
    found = [one for one in zip(taste.names, weights.effect, weights.effect_sd, strict=False) if one[1] and one[2]]
    for name, effect, sd in sorted(found, key=lambda one: (-abs(one[1]) / one[2], one[0]))[:MOST_FEATURES]:
        half = NORMAL_975 * sd
        yield {"feature": name, "effect": effect, "ci_low": effect - half, "ci_high": effect + half}


read_tastes_table = COLUMNS.read


def by_user(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each user, k and draw."""
    return table.drop_duplicates([*KEY, "user_id", "draw"])


def at_largest_k(table: pd.DataFrame) -> pd.DataFrame:
    """The rows at the largest k, of the first draw of context pairs."""
    return table[(table["k"] == max(table["k"], key=k_rank, default="")) & (table["draw"] == 0)]


def tastes_blocks(table: pd.DataFrame) -> tuple[Block, ...]:
    """The table for people: users counted by data set, model, k and draw; then personas."""
    users = by_user(table)
    several = table["dataset"].nunique() != 1
    heads = ({"dataset": "Data set"} if several else {}) | {"model": "Scores by", "k": "k"}
    draws = {"draw": "Draw"} if users["draw"].nunique() > 1 else {}
    counted = [
        _counted(dict(zip((*KEY, "draw"), map(str, key), strict=True)), group)
        for key, group in users.groupby([*KEY, "draw"], sort=False)
    ]
    shown = at_largest_k(users).head(MOST_PERSONAS)
    told: Shown = {
        "User": "user_id",
        "Votes": "n_votes",
        "Predicted from the others": lambda row: f"{row['n_right']} of {row['n_votes']}" if row["n_votes"] else EMPTY,
        "Own taste": lambda row: "yes" if row["own"] else "no",
        "Measured persona": lambda row: str(row["persona"]) or EMPTY,
    }
    summary: Shown = {
        "Users": "n_users",
        "With own taste": "n_own",
        "With a persona": "n_personas",
        "Votes a user": decimals("votes"),
        "Predicted from the others %": decimals("right"),
        "Log loss": decimals("log_loss", ".3f"),
        "Without own taste": decimals("null_log_loss", ".3f"),
    }
    return (
        block_of(counted, heads | draws, summary, "All users"),
        block_of(shown, {name: head for name, head in heads.items() if name != "k"}, told, "Personas"),
    )


def _counted(key: Mapping[str, str], group: pd.DataFrame) -> dict[str, Any]:
    votes = int(group["n_votes"].sum())
    return {
        **key,
        "n_users": int(group["user_id"].nunique()),
        "n_own": int(group["own"].sum()),
        "n_personas": int((group["persona"] != "").sum()),
        "votes": float(group["n_votes"].mean()),
        "right": percent(float(group["n_right"].sum()) / votes) if votes else None,
        **{name: float((group[name] * group["n_votes"]).sum()) / votes if votes else None for name in _LOSSES},
    }


_LOSSES = ("log_loss", "null_log_loss")


def tastes_notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the table must know."""
    hidden = len(at_largest_k(by_user(table))) - MOST_PERSONAS
    return [
        *dataset_note(table),
        "Votes: context pairs that k allows and all validation pairs; test pairs are not among them. Predicted from "
        "the others: each of these votes by weights fitted to the other votes of the same user. Log loss (nats; 0.693 "
        "is a coin) is that of these predictions; beside it, without a taste of the user's own.",
        "Own taste: the log loss is clearly below that without one (the evidence gate, docs/methods.md). Without it "
        "there is no persona. All users are judged by the average of their own weights and those of other users, or "
        "where these taught no prior the log-odds of Default, by how probable the votes make own weights.",
        "Measured persona: statements whose sign has a posterior probability of 0.9 or more, the strongest first.",
        *([f"{hidden} more personas: in the csv file."] if hidden > 0 else []),
    ]


def build(tastes: list[Path], *, model_order: list[str]) -> Table:
    """Make the table from the files of a run."""
    table = tastes_table(read_all(tastes, UserTaste), model_order=model_order)
    return Table(table, tastes_blocks(table), tastes_notes(table))


RESULT = TableResult(
    name="tastes",
    order=15,
    title="Tastes that were measured from each user's votes",
    caption=(
        "What each user's votes taught about named attributes: votes predicted from the other votes, whether they are "
        "evidence of a taste of the user's own, and the persona that the sure weights make."
    ),
    build=build,
    when="tastes",
)
