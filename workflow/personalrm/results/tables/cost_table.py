"""What a run took: calls, tokens, dollars and time, by stage and model and by method, beside the accuracy it bought."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.methods.synthesizeme.profile import PROFILE_STAGES
from personalrm.results.comparisons import Value, read_table
from personalrm.results.labels import UNUSED
from personalrm.results.marks import FLAG_NAMES, Flags
from personalrm.results.scores import ROW_KEY
from personalrm.results.table_formats import table_rows
from personalrm.results.tables.cost_sources import RESULTS, JobTime, StageCall
from personalrm.results.tables.main_table import COST_DIGITS, row_flags

if TYPE_CHECKING:
    import pandas as pd

RUN, STAGE, METHOD = "run", "stage", "method"
"""Levels: the whole run; a stage with one model, over all methods; a method with its models."""
ALL_STEPS = "all"
STAGES: tuple[str, ...] = (
    *("fetch", "convert", "prepare", "rate", "panel", "released", "filter"),
    *("theta", "bootstrap", "profile", "judge", "fidelity", "recovery", "axes", "tag", RESULTS),
)
SPENT: tuple[str, ...] = ("calls", "tokens_in", "tokens_out", "tokens_cached", "cost_usd_list", "unpriced_calls")
ACCURACY: tuple[str, ...] = ("accuracy", "ci_low", "ci_high")
COST_NAMES: tuple[str, ...] = ("level", *ROW_KEY, "stage", "step")
COST_COLUMNS: tuple[str, ...] = (*COST_NAMES, "jobs", "wall_time_s", *SPENT, *ACCURACY, *FLAG_NAMES)
WHOLE_NUMBERS: tuple[str, ...] = ("jobs", *SPENT[:4], "unpriced_calls")
SECONDS_DIGITS = 1


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
    import pandas as pd

    every = _every_call(calls, others)
    every["tokens_cached"] = every["key"].astype(str).map(cached or {})
    rows = [_row(RUN, every, stage=ALL_STEPS, times=times)]
    rows += _stage_rows(every, times)
    rows += _method_rows(every, main)
    table = pd.DataFrame(rows, columns=list(COST_COLUMNS))
    kinds = {name: "str" if name in COST_NAMES else "float64" for name in COST_COLUMNS} | dict.fromkeys(
        FLAG_NAMES, "bool"
    )
    return table.astype(kinds | dict.fromkeys(WHOLE_NUMBERS, "Int64"))


def _every_call(calls: pd.DataFrame, others: Iterable[StageCall]) -> pd.DataFrame:
    """Calls of scores, filters and analyses, with `stage` of the workflow, `step` as the calls name it, `model`."""
    import pandas as pd

    texts = [*ROW_KEY, "key", "stage"]
    frame = calls.astype(dict.fromkeys(texts, "str")).rename(columns={"stage": "step"})
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


def read_cost_table(path: Path) -> pd.DataFrame:
    """Read `cost.csv` as `cost_table` made it."""
    return read_table(path, COST_COLUMNS, COST_NAMES, FLAG_NAMES).astype(dict.fromkeys(WHOLE_NUMBERS, "Int64"))
