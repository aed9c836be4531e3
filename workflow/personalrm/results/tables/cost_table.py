"""What a run took: calls, tokens, dollars and time, by stage and model and by method, beside the accuracy it bought."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.data.cross_validation import Pools
from personalrm.methods.synthesizeme.profile import PROFILE_STAGES
from personalrm.results.columns import Columns
from personalrm.results.comparisons import Value
from personalrm.results.conditions import ROW_KEY, by_condition
from personalrm.results.labels import UNUSED
from personalrm.results.marks import FLAG_NAMES, Flags, mark_notes, marked
from personalrm.results.pooling import without_pools
from personalrm.results.scores import read_frame
from personalrm.results.spec import Table, TableResult
from personalrm.results.table_formats import EMPTY, Block, dollars_shown, plain, table_rows
from personalrm.results.tables.comparison_text import HEADINGS, bounds, shown_names
from personalrm.results.tables.cost_sources import (
    RESULTS,
    JobTime,
    StageCall,
    analysis_calls,
    cached_tokens,
    filter_calls,
    job_times,
)
from personalrm.results.tables.main_table import COST_DIGITS, read_main_table, row_flags
from personalrm.run.stage import JobPattern

if TYPE_CHECKING:
    import pandas as pd

RUN, STAGE, METHOD = "run", "stage", "method"
"""Levels: the whole run; a stage with one model, over all methods; a method with its models."""
ALL_STEPS = "all"
STAGES: tuple[str, ...] = (
    *("fetch", "prepare", "rate", "panel", "released", "filter"),
    *("theta", "bootstrap", "profile", "judge", "fidelity", "recovery", "axes", "tag", RESULTS),
)
SPENT: tuple[str, ...] = ("calls", "tokens_in", "tokens_out", "tokens_cached", "cost_usd_list", "unpriced_calls")
ACCURACY: tuple[str, ...] = ("accuracy", "ci_low", "ci_high")
COST_NAMES: tuple[str, ...] = ("level", *ROW_KEY, "stage", "step")
WHOLE_NUMBERS: tuple[str, ...] = ("jobs", *SPENT[:4], "unpriced_calls")
COST_COLUMNS = Columns(
    (*COST_NAMES, "jobs", "wall_time_s", *SPENT, *ACCURACY, *FLAG_NAMES),
    texts=COST_NAMES,
    whole=WHOLE_NUMBERS,
    flags=FLAG_NAMES,
)
SECONDS_DIGITS = 1
NO_PRICE = "no price"


def cost_table(
    calls: pd.DataFrame,
    main: pd.DataFrame,
    *,
    others: Iterable[StageCall] = (),
    times: Sequence[JobTime] = (),
    cached: Mapping[str, int] | None = None,
) -> pd.DataFrame:
    """What the run's results rest on, each stored response once a row; columns `COST_COLUMNS`.

    Levels: `run` (one row: everything); `stage` (data set, variant, stage and model, over all methods and k; with rows
    for the steps of a stage that has several); `method` (a row of the main table, with its accuracy, and by stage).

    - calls, tokens_in, tokens_out: of distinct responses, whether this run or an earlier one paid for them.
    - tokens_cached: the part of tokens_in that the provider had cached when the response was first made; empty where
      the store no longer has one of the responses.
    - cost_usd_list: list price without any discount for cached tokens; empty where the price of one is unknown, and
      unpriced_calls counts those. Never 0 for want of a price.
    - jobs, wall_time_s: jobs of the stage and the sum of their seconds; jobs side by side count each. A judge job
      judges by all methods, so that methods have no time of their own.

    Args:
        calls: frame of `collect_calls`.
        main: the main table.
        others: calls of the filters that ask models, and of the analyses of personas.
        times: jobs of the run.
        cached: key to cached tokens, of the responses in the store.
    """
    every = _every_call(calls, others)
    every["tokens_cached"] = every["key"].astype(str).map(cached or {}).astype("float64")
    rows = [_row(RUN, every, stage=ALL_STEPS, times=times)]
    rows += _stage_rows(every, times)
    rows += _method_rows(every, main)
    return COST_COLUMNS.frame(rows)


def _every_call(calls: pd.DataFrame, others: Iterable[StageCall]) -> pd.DataFrame:
    """Calls of scores, filters and analyses, with `stage` of the workflow, `step` as the calls name it, `model`."""
    import pandas as pd

    named = [rows.assign(**condition.row) for condition, rows in by_condition(calls)]
    frame = pd.concat(named or [calls.assign(**dict.fromkeys(ROW_KEY, UNUSED))], ignore_index=True)
    frame = frame.astype(dict.fromkeys([*ROW_KEY, "key", "stage"], "str")).rename(columns={"stage": "step"})
    frame["model"] = frame["judge_model"].where(frame["step"] == "judge", frame["profile_model"])
    asked = [
        dict.fromkeys(ROW_KEY, UNUSED)
        | {"dataset": call.dataset, "variant": call.variant, "step": call.ref.stage, "model": call.model}
        | {name: getattr(call.ref, name) for name in ("key", "tokens_in", "tokens_out", "cost_usd")}
        for call in others
    ]
    every = pd.concat([frame, pd.DataFrame(asked)], ignore_index=True) if asked else frame
    return every.assign(stage=every["step"].where(~every["step"].isin(PROFILE_STAGES), "profile"))


def _row(
    level: str,
    calls: pd.DataFrame,
    *,
    stage: str,
    step: str = ALL_STEPS,
    times: Sequence[JobTime] = (),
    names: Mapping[str, str] | None = None,
) -> dict[str, Value]:
    row: dict[str, Value] = {name: (names or {}).get(name, UNUSED) for name in ROW_KEY}
    row |= {"level": level, "stage": stage, "step": step, **Flags().columns()}
    row |= _spent(calls)
    if times:
        seconds = round(math.fsum(time.seconds for time in times), SECONDS_DIGITS)
        row |= {"jobs": len(times), "wall_time_s": seconds}
    return row


def _spent(calls: pd.DataFrame) -> dict[str, Value]:
    """Sums over distinct responses; a sum with an unknown term is empty."""
    once = calls.drop_duplicates("key")
    unpriced = int(once["cost_usd"].isna().sum())
    cost = round(math.fsum(once["cost_usd"]), COST_DIGITS) if not unpriced else None
    cached = None if once["tokens_cached"].isna().any() else int(once["tokens_cached"].sum())
    tokens = (int(once["tokens_in"].sum()), int(once["tokens_out"].sum()))
    return dict(zip(SPENT, (len(once), *tokens, cached, cost, unpriced), strict=True))


def _stage_rows(every: pd.DataFrame, times: Sequence[JobTime]) -> list[dict[str, Value]]:
    """Stages in the order of the workflow, by data set, variant and model."""
    groups = every.groupby(["stage", "dataset", "variant", "model"])
    by_calls = {tuple(map(str, key)): group for key, group in groups}
    by_time: dict[tuple[str, ...], list[JobTime]] = {}
    for time in times:
        by_time.setdefault(time[:4], []).append(time)
    rows = []
    for place in sorted({*by_calls, *by_time}, key=_place):
        stage, dataset, variant_of, model = place
        mine = by_calls.get(place, every.iloc[:0])
        column = "profile_model" if stage in ("theta", "bootstrap", "profile") else "judge_model"
        names = {"dataset": dataset, "variant": variant_of, column: model}
        rows.append(_row(STAGE, mine, stage=stage, times=by_time.get(place, ()), names=names))
        steps = {str(step): group for step, group in mine.groupby("step")}
        if len(steps) > 1:
            rows += [_row(STAGE, group, stage=stage, step=step, names=names) for step, group in steps.items()]
    return rows


def _place(place: tuple[str, ...]) -> tuple[object, ...]:
    """Sort key: data set (none last), then stage as the workflow has them, unknown ones before the results."""
    stage, dataset, *rest = place
    known = STAGES.index(stage) if stage in STAGES else len(STAGES) - 1
    return dataset == UNUSED, dataset, known, stage, rest


def _method_rows(every: pd.DataFrame, main: pd.DataFrame) -> list[dict[str, Value]]:
    """Rows of the main table, in its order, in all and by stage."""
    by_row = {tuple(map(str, key)): group for key, group in every.groupby(list(ROW_KEY))}
    rows = []
    for row in table_rows(main):
        names = {name: str(row[name]) for name in ROW_KEY}
        mine = by_row.get(tuple(names.values()), every.iloc[:0])
        whole = _row(METHOD, mine, stage=ALL_STEPS, names=names)
        rows.append(whole | {name: row[name] for name in ACCURACY} | row_flags(row).columns())
        stages = dict(iter(mine.groupby("stage")))
        rows += [_row(METHOD, stages[stage], stage=stage, names=names) for stage in STAGES if stage in stages]
    return rows


read_cost_table = COST_COLUMNS.read


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


def _shown_spent(row: Mapping[str, object]) -> dict[str, str]:
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
            methods.append(names | {"Accuracy % [95 % CI]": accuracy} | _shown_spent(row))
        elif row["level"] != METHOD:
            stages.append(_stage_names(row) | _time(row) | _shown_spent(row))
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
        "that were already stored cost no time. A judge job judges by all methods. results: scores and main table.",
    ]
    if "theta" in set(table["stage"]):
        notes.append(
            "theta: finding a Θ; its calls are not among those of this table (manifest.json has what was paid)."
        )
    unpriced = int(table.loc[table["level"] == "run", "unpriced_calls"].sum())
    if unpriced:
        notes.append(f"{NO_PRICE}: the list price of at least one response is unknown ({unpriced:,} in the run).")
    return notes + mark_notes(table)


def build(
    calls: Path,
    table_main: Path,
    ratings: list[Path],
    panels: list[Path],
    analysed_profiles: list[Path],
    fidelity: list[Path],
    recovery: list[Path],
    axes: list[Path],
    tags: list[Path],
    *,
    pools: Pools,
    benchmarks: Path,
    store: Path,
    jobs: Sequence[JobPattern],
) -> Table:
    """Make the table from the files of a run."""
    frame = read_frame(calls)
    others = [
        *filter_calls(ratings, panels),
        *analysis_calls(analysed_profiles, fidelity, recovery, axes, tags),
    ]
    keys = sorted({*frame["key"].astype(str), *(call.ref.key for call in others)})
    table = cost_table(
        frame,
        without_pools(read_main_table(table_main), pools),
        others=others,
        times=job_times(benchmarks, jobs),
        cached=cached_tokens(store, keys),
    )
    return Table(table, cost_blocks(table), cost_notes(table))


RESULT = TableResult(
    name="cost",
    order=170,
    title="What the run took: calls, tokens, list price and wall time, by stage and by method",
    message="Making the table of cost",
    caption=(
        "Calls, tokens, list price and wall time by stage and model, and by method beside its accuracy with a 95 % "
        "interval clustered by user. Each stored response counts once a row."
    ),
    build=build,
)
