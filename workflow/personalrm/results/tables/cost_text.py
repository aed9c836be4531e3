"""The table of cost as people read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from personalrm.results.labels import UNUSED
from personalrm.results.marks import mark_notes, marked
from personalrm.results.table_formats import EMPTY, Block, plain, table_rows
from personalrm.results.tables.comparison_text import HEADINGS, bounds, shown_names
from personalrm.results.tables.cost_table import ALL_STEPS, METHOD, STAGE
from personalrm.results.tables.main_table_text import dollars_shown

if TYPE_CHECKING:
    import pandas as pd

COST_CAPTION = "What the run took: calls, tokens, list price and wall time, by stage and by method"
NO_PRICE = "no price"


def duration(seconds: object) -> str:
    """Seconds as people read them.

    >>> duration(3725.2)
    '1:02:05 h'
    >>> duration(64)
    '1:04 min'
    >>> duration(7.25)
    '7.2 s'
    """
    if plain(seconds) == EMPTY:
        return EMPTY
    whole = round(float(str(seconds)))
    if whole < 60:
        return f"{float(str(seconds)):.1f} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} h"


def _spent(row: Mapping[str, object]) -> dict[str, str]:
    cost = dollars_shown(row["cost_usd_list"])
    return {
        "Calls": plain(row["calls"]),
        "Tokens in": plain(row["tokens_in"]),
        "of them cached": plain(row["tokens_cached"]),
        "Tokens out": plain(row["tokens_out"]),
        "List price $": NO_PRICE if cost == EMPTY else cost,
    }


def cost_blocks(table: pd.DataFrame) -> tuple[Block, Block]:
    """Stages with their time, and methods with their accuracy."""
    import pandas as pd

    stages, methods = [], []
    for row in table_rows(table):
        if row["level"] == METHOD and row["stage"] == ALL_STEPS:
            names = shown_names(row, HEADINGS)
            accuracy = marked(bounds(row, "accuracy", "ci_low", "ci_high", signed=False), row)
            methods.append(names | {"Accuracy % [95 % CI]": accuracy} | _spent(row))
        elif row["level"] != METHOD:
            stages.append(_stage_names(row) | _time(row) | _spent(row))
    first, second = pd.DataFrame(stages), pd.DataFrame(methods, columns=None if methods else list(HEADINGS.values()))
    return Block("By stage", first, 4), Block("By method", second, len(HEADINGS))


def _stage_names(row: Mapping[str, object]) -> dict[str, str]:
    stage, step = (str(row[name]) for name in ("stage", "step"))
    if row["level"] != STAGE:
        return {"Stage": "the whole run", "Data set": EMPTY, "Variant": EMPTY, "Model": EMPTY}
    models = {str(row[name]) for name in ("judge_model", "profile_model")} - {UNUSED}
    texts = {"Data set": str(row["dataset"]), "Variant": str(row["variant"]), "Model": min(models, default=EMPTY)}
    named = {name: EMPTY if text == UNUSED else text for name, text in texts.items()}
    return {"Stage": stage if step == ALL_STEPS else f"{stage}: {step.replace('_', ' ')}"} | named


def _time(row: Mapping[str, object]) -> dict[str, str]:
    return {"Jobs": plain(row["jobs"]), "Wall time": duration(row["wall_time_s"])}


def cost_notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the table must know."""
    notes = [
        "Calls and tokens: the distinct stored responses that the results rest on, each once a row, whether this run "
        "or an earlier one asked for them. Rows of methods share responses, and so do not add up to the run.",
        "Cached: tokens that the provider read from its cache when the response was first made, as it reports them; "
        "– where the store no longer has the response.",
        "List price: without any discount, for cached tokens either. Embedded models cost nothing.",
        "Wall time: sum over the jobs of a stage in this working directory, those side by side counted each; answers "
        "that were already stored cost no time. A judge job judges by all methods.",
    ]
    if "theta" in set(table["stage"]):
        notes.append(
            "theta: finding a Θ; its calls are not among those of this table (manifest.json has what was paid)."
        )
    unpriced = int(table.loc[table["level"] == "run", "unpriced_calls"].sum())
    if unpriced:
        notes.append(f"{NO_PRICE}: the list price of at least one response is unknown ({unpriced:,} in the run).")
    return notes + mark_notes(table)
