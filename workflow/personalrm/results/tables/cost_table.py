"""What a run took: calls, tokens, dollars and time, by stage and model and by method, with the accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from personalrm.data.cross_validation import Pools
from personalrm.methods.registry import needs_scores
from personalrm.methods.synthesizeme.profile import PROFILE_STAGES
from personalrm.results.columns import Columns
from personalrm.results.conditions import ROW_KEY, by_condition
from personalrm.results.labels import UNUSED
from personalrm.results.lazy import pd
from personalrm.results.marks import FLAG_NAMES, Flags, mark_notes, marked
from personalrm.results.pooling import without_pools
from personalrm.results.scores import count_estimated, read_frame
from personalrm.results.spec import Table, TableResult
from personalrm.results.table_formats import EMPTY, Block, dollars_shown, plain, table_rows
from personalrm.results.tables.comparison_text import HEADINGS, Shown, block_of, bounds, decimals, notes_where
from personalrm.results.tables.cost_sources import (
    RESULTS,
    JobTime,
    StageCall,
    analysis_calls,
    cached_tokens,
    filter_calls,
    job_times,
    scoring_calls,
)
from personalrm.results.tables.main_table import COST_DIGITS, read_main_table, row_flags
from personalrm.run.stage import JobPattern

RUN, STAGE, METHOD = "run", "stage", "method"
"""Levels: the whole run; a stage with one model, over all methods; a method with its models."""
ALL_STEPS = "all"
SCORES = "score_attributes"
STAGES: tuple[str, ...] = (
    *("fetch", "prepare", "rate", "panel", "released", "filter", SCORES, "features"),
    *("reward_model", "theta", "bootstrap", "profile", "judge", "fidelity", "recovery", "axes", "tag", RESULTS),
)
SPENT: tuple[str, ...] = ("calls", "tokens_in", "tokens_out", "tokens_cached", "cost_usd_list", "unpriced_calls")
EACH: tuple[str, ...] = ("calls_per_pair", "uncached_per_pair", "cached_per_pair", "written_per_pair")
"""Per judged pair, learning included: calls, prompt tokens that were not cached, those that were, and tokens out."""
ACCURACY: tuple[str, ...] = ("accuracy", "ci_low", "ci_high")
COST_NAMES: tuple[str, ...] = ("level", *ROW_KEY, "stage", "step")
COST_COLUMNS = Columns(
    (*COST_NAMES, "jobs", "wall_time_s", *SPENT, "n_pairs", *EACH, *ACCURACY, *FLAG_NAMES),
    texts=COST_NAMES,
    whole=("jobs", *SPENT[:4], "unpriced_calls", "n_pairs"),
    flags=FLAG_NAMES,
)
Row = dict[str, Any]
SECONDS_DIGITS, EACH_DIGITS = 1, 4
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

    A method that rests on scores by attributes rests on all of its data set's by its model: pairs are scored, whoever
    the user is, and other users' votes teach what to expect of one. The row's judged pairs share them.

    - calls, tokens_in, tokens_out: of distinct responses, whether this run or an earlier one paid for them.
    - tokens_cached: the part of tokens_in that the provider had cached when the response was first made; empty where
      the store no longer has one of the responses.
    - cost_usd_list: list price without any discount for cached tokens; empty where the price of one is unknown, and
      unpriced_calls counts those. Never 0 for want of a price.
    - n_pairs, EACH: of methods, the distinct pairs that the row judges, and what it took for each, learning included.
    - jobs, wall_time_s: jobs of the stage and the sum of their seconds; jobs side by side count each. A judge job
      judges by all methods, so that methods have no time of their own.

    Args:
        calls: frame of `collect_calls`.
        main: the main table.
        others: calls of the filters that ask models, of the scores by attributes, and of the analyses of personas.
        times: jobs of the run.
        cached: key to cached tokens, of the responses in the store.
    """
    every = _every_call(calls, others)
    every["tokens_cached"] = every["key"].astype(str).map(cached or {}).astype("float64")
    whole = _row(RUN, every, {}, times=times)
    return COST_COLUMNS.frame([whole, *_stage_rows(every, times), *_method_rows(every, main)])


def _every_call(calls: pd.DataFrame, others: Iterable[StageCall]) -> pd.DataFrame:
    """Calls of scores, filters and analyses, with `stage` of the workflow, `step` as the calls name it, `model`."""
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
    names: Mapping[str, str],
    stage: str = ALL_STEPS,
    step: str = ALL_STEPS,
    times: Sequence[JobTime] = (),
) -> Row:
    """Sums over the distinct responses among `calls`, and over jobs; a sum with an unknown term is empty."""
    once = calls.drop_duplicates("key")
    unpriced = int(once["cost_usd"].isna().sum())
    row: Row = {
        **dict.fromkeys(ROW_KEY, UNUSED),
        **names,
        **{"level": level, "stage": stage, "step": step},
        **Flags().columns(),
        "calls": len(once),
        "tokens_in": int(once["tokens_in"].sum()),
        "tokens_out": int(once["tokens_out"].sum()),
        "tokens_cached": None if once["tokens_cached"].isna().any() else int(once["tokens_cached"].sum()),
        "cost_usd_list": None if unpriced else round(math.fsum(once["cost_usd"]), COST_DIGITS),
        "unpriced_calls": unpriced,
    }
    seconds = round(math.fsum(time.seconds for time in times), SECONDS_DIGITS)
    return row | ({"jobs": len(times), "wall_time_s": seconds} if times else {})


def _stage_rows(every: pd.DataFrame, times: Sequence[JobTime]) -> Iterator[Row]:
    """Stages in the order of the workflow, by data set, variant and model.

    Scores of pairs are made once for all rows that rest on them: they are counted as their stage has them.
    """
    every = every[(every["stage"] != SCORES) | (every["variant"] == UNUSED)]
    groups = every.groupby(["stage", "dataset", "variant", "model"])
    by_calls = {tuple(map(str, key)): group for key, group in groups}
    for place in sorted({*by_calls, *(time[:4] for time in times)}, key=_place):
        stage, dataset, variant, model = place
        column = "profile_model" if stage in ("theta", "bootstrap", "profile") else "judge_model"
        mine, names = by_calls.get(place, every.iloc[:0]), {"dataset": dataset, "variant": variant, column: model}
        yield _row(STAGE, mine, names, stage, times=[time for time in times if time[:4] == place])
        steps = {str(step): group for step, group in mine.groupby("step")}
        yield from (_row(STAGE, group, names, stage, step) for step, group in steps.items() if len(steps) > 1)


def _place(place: tuple[str, ...]) -> tuple[object, ...]:
    """Sort key: data set (none last), then stage as the workflow has them, unknown ones before the results."""
    stage, dataset, *rest = place
    known = STAGES.index(stage) if stage in STAGES else len(STAGES) - 1
    return dataset == UNUSED, dataset, known, stage, rest


def _method_rows(every: pd.DataFrame, main: pd.DataFrame) -> Iterator[Row]:
    """Rows of the main table, in its order, in all and by stage."""
    by_row = {tuple(map(str, key)): group for key, group in every.groupby(list(ROW_KEY))}
    for row in table_rows(main):
        names = {name: str(row[name]) for name in ROW_KEY}
        mine = by_row.get(tuple(names.values()), every.iloc[:0])
        if needs_scores(names["method"]):
            mine = pd.concat([mine, _scores_of(every, names)])
        pairs, accuracy = int(row["n_pairs"]), {name: row[name] for name in ACCURACY}
        yield {**_per_pair(_row(METHOD, mine, names), pairs), **accuracy, **row_flags(row).columns()}
        stages = dict(iter(mine.groupby("stage")))
        yield from (_per_pair(_row(METHOD, stages[stage], names, stage), pairs) for stage in STAGES if stage in stages)


def _scores_of(every: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Calls of the scores that a method rests on: by the model that measured the taste."""
    model = names["judge_model"] if names["profile_model"] == UNUSED else names["profile_model"]
    scored = (every["stage"] == SCORES) & (every["dataset"] == names["dataset"])
    return every[scored & (every["model"] == model)]


def _per_pair(row: Row, pairs: int) -> Row:
    """The row with what it took for each of its judged pairs."""
    cached = row["tokens_cached"]
    uncached = None if cached is None else row["tokens_in"] - cached
    sums = (row["calls"], uncached, cached, row["tokens_out"])
    known = {
        name: round(one / pairs, EACH_DIGITS) for name, one in zip(EACH, sums, strict=True) if pairs and one is not None
    }
    return row | {"n_pairs": pairs} | known


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


def cost_blocks(table: pd.DataFrame) -> tuple[Block, Block, Block]:
    """Stages with their time, methods with their accuracy, and methods per judged pair."""
    spent: Shown = {
        "Calls": "calls",
        "Tokens in": "tokens_in",
        "of them cached": "tokens_cached",
        "Tokens out": "tokens_out",
        "List price $": lambda row: dollars_shown(row["cost_usd_list"]).replace(EMPTY, NO_PRICE),
    }
    stages: Shown = {
        "Stage": _stage,
        "Data set": "dataset",
        "Variant": "variant",
        "Model": lambda row: min({row["judge_model"], row["profile_model"]} - {UNUSED, EMPTY}, default=EMPTY),
        "Jobs": "jobs",
        "Wall time": lambda row: duration(row["wall_time_s"]),
    }
    methods: Shown = {
        "Accuracy % [95 % CI]": lambda row: marked(bounds(row, *ACCURACY, signed=False), row),
    }
    each: Shown = {
        "Judged pairs": "n_pairs",
        "Calls": decimals("calls_per_pair"),
        "Prompt tokens, not cached": decimals("uncached_per_pair"),
        "Prompt tokens, cached": decimals("cached_per_pair"),
        "Written tokens": decimals("written_per_pair"),
    }
    of_methods = table["level"] == METHOD
    methods_alone = table[of_methods & (table["stage"] == ALL_STEPS)]
    return (
        block_of(table[~of_methods].replace(UNUSED, EMPTY), {}, {**stages, **spent}, "By stage", 4),
        block_of(methods_alone, HEADINGS, {**methods, **spent}, "By method"),
        block_of(methods_alone, HEADINGS, each, "Per judged pair, learning included"),
    )


def _stage(row: Mapping[str, object]) -> str:
    if row["level"] == RUN:
        return "the whole run"
    return str(row["stage"]) if row["step"] == ALL_STEPS else f"{row['stage']}: {row['step']}".replace("_", " ")


def cost_notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the table must know."""
    unpriced = int(table.loc[table["level"] == RUN, "unpriced_calls"].sum())
    return [
        "Calls and tokens: the distinct stored responses that the results rest on, each once a row, whether this run "
        "or an earlier one asked for them. Rows of methods share responses, and so do not add up to the run.",
        "Cached: tokens that the provider read from its cache when the response was first made, as it reports them; "
        "– where the store no longer has the response.",
        "List price: without any discount, for cached tokens either. Embedded models cost nothing.",
        "Wall time: sum over the jobs of a stage in this working directory, those side by side counted each; answers "
        "that were already stored cost no time. A judge job judges by all methods. results: scores and main table.",
        *notes_where(
            (
                (table["stage"] == SCORES).any(),
                "Scores by attributes are of pairs, whoever the user is: a method that rests on them rests on all of "
                "its data set's by its model, also of users who only teach others, and its judged pairs share them.",
            ),
            (
                (table["stage"] == "theta").any(),
                "theta: finding a Θ; its calls are not among those of this table (manifest.json has what was paid).",
            ),
            (unpriced, f"{NO_PRICE}: the list price of at least one response is unknown ({unpriced:,} in the run)."),
        ),
        *mark_notes(table),
    ]


def estimated_note(calls: int) -> list[str]:
    """What to know of responses whose tokens the provider did not count."""
    return notes_where(
        (calls, f"Tokens of {calls:,} responses are estimates from their lengths: the replies have no counts.")
    )


def build(
    calls: Path,
    table_main: Path,
    ratings: list[Path],
    panels: list[Path],
    attribute_scores: list[Path],
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
        *scoring_calls(attribute_scores),
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
    estimated = count_estimated(frame) + len({call.ref.key for call in others if call.ref.estimated})
    return Table(table, cost_blocks(table), [*cost_notes(table), *estimated_note(estimated)])


RESULT = TableResult(
    name="cost",
    order=170,
    title="What the run took: calls, tokens, list price and wall time, by stage and by method",
    caption=(
        "Calls, tokens, list price and wall time by stage and model, and by method beside its accuracy with a 95 % "
        "interval clustered by user. Each stored response counts once a row."
    ),
    build=build,
)
