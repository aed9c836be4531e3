"""The table of cost against sums by hand, where its parts come from, and the figure of accuracy against cost."""

from __future__ import annotations

import random
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.lines import Line2D
from support.comparison_cases import assert_readable, row_of, texts_of
from support.generated_verdicts import Cell, quickstart_cells, write_cells
from support.result_cases import write_result

from personalrm.core.records import CallRef, JudgedUser, Profile, Verdict, write_records
from personalrm.data.filters.ratings import UserPanel, UserRatings
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.types import Response, Usage
from personalrm.personas.records import AxisSet, TaggedPersona, UserFidelity, UserRecovery
from personalrm.results.figures.cost_figure import DOLLARS, TOKENS, cost_caption, cost_figure, points_of, unit_of
from personalrm.results.scores import collect_calls, collect_verdicts, write_frame
from personalrm.results.tables.cost_sources import (
    JobTime,
    StageCall,
    analysis_calls,
    cached_tokens,
    filter_calls,
    job_times,
)
from personalrm.results.tables.cost_table import (
    COST_COLUMNS,
    EACH,
    cost_blocks,
    cost_notes,
    cost_table,
    read_cost_table,
)
from personalrm.results.tables.main_table import main_table
from personalrm.run.stage import JobPattern
from personalrm.studies.config_load import parse_config
from personalrm.studies.synthesizeme.plan import Plan


def ref(key: str, stage: str, tokens: int = 10, cost: float | None = 0.5) -> CallRef:
    return CallRef(key=key, stage=stage, tokens_in=tokens, tokens_out=1, cost_usd=cost)


def judged(method: str, refs: list[CallRef], *, judge: str | None = "j", profile: str | None = None) -> JudgedUser:
    return JudgedUser(
        dataset="d",
        user_id="u",
        variant="corrected" if profile else "baseline",
        profile_model=profile,
        judge_model=judge,
        method=method,
        k="all" if profile else None,
        draw=0,
        status="ok",
        verdicts=(Verdict(pair_id="p", swapped=None, outcome="correct"),),
        calls=tuple(refs),
    )


def frames_of(folder: Path, rows: list[JudgedUser]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Calls, and the main table."""
    path = folder / "rows.jsonl"
    write_records(path, rows)
    calls = collect_calls([path])
    return calls, main_table(collect_verdicts([path]), calls, seed=1, n_resamples=49)


SHARED = [ref("b", "bootstrap"), ref("s", "search", 20)]
ROWS = [
    judged("random", [], judge=None),
    judged("default", [ref("j0", "judge")]),
    judged("demos", [*SHARED, ref("j1", "judge", 100)], profile="m"),
    judged("persona", [*SHARED, ref("p", "persona", 40, None), ref("j2", "judge", 200)], profile="m"),
]


def test_each_response_counts_once_a_row_however_many_methods_rest_on_it(tmp_path: Path) -> None:
    calls, main = frames_of(tmp_path, ROWS)
    table = cost_table(calls, main)
    assert tuple(table.columns) == COST_COLUMNS
    bootstrap = row_of(table, level="stage", stage="bootstrap")
    assert (bootstrap["calls"], bootstrap["tokens_in"], bootstrap["profile_model"]) == (1, 10, "m")
    profile = row_of(table, level="stage", stage="profile", step="all")
    assert (profile["calls"], profile["tokens_in"], profile["tokens_out"]) == (2, 60, 2)
    assert row_of(table, level="stage", step="search")["calls"] == row_of(table, level="stage", step="persona")["calls"]
    judges = table[(table["level"] == "stage") & (table["stage"] == "judge")].set_index("variant")["tokens_in"]
    assert judges.to_dict() == {"baseline": 10, "corrected": 300}
    assert row_of(table, level="run")["calls"] == 6
    assert row_of(table, level="run")["tokens_in"] == 10 + 20 + 40 + 10 + 100 + 200


def test_methods_in_all_and_by_stage_beside_their_accuracy(tmp_path: Path) -> None:
    table = cost_table(*frames_of(tmp_path, ROWS))
    demos = table[(table["level"] == "method") & (table["method"] == "demos")].set_index("stage")
    assert demos["tokens_in"].to_dict() == {"all": 130, "bootstrap": 10, "profile": 20, "judge": 100}
    assert demos["cost_usd_list"].to_dict() == {"all": 1.5, "bootstrap": 0.5, "profile": 0.5, "judge": 0.5}
    assert demos.loc["all", "accuracy"] == 100
    assert demos["accuracy"].isna().tolist() == [False, True, True, True]
    free = row_of(table, level="method", method="random")
    assert (free["calls"], free["cost_usd_list"]) == (0, 0)


def test_an_unknown_price_is_no_price_and_never_nothing(tmp_path: Path) -> None:
    table = cost_table(*frames_of(tmp_path, ROWS))
    persona = row_of(table, level="method", method="persona", stage="all")
    assert pd.isna(persona["cost_usd_list"])
    assert persona["unpriced_calls"] == 1
    assert pd.isna(row_of(table, level="run")["cost_usd_list"])
    _, methods, _ = cost_blocks(table)
    shown = dict(zip(methods.texts["Method"], methods.texts["List price $"], strict=True))
    assert shown["SynthesizeMe: persona"] == "no price"
    assert shown["SynthesizeMe: demonstrations"] == "1.50"
    assert any("1 in the run" in note for note in cost_notes(table))


def test_cached_tokens_are_those_of_the_store_and_unknown_where_an_answer_is_gone(tmp_path: Path) -> None:
    calls, main = frames_of(tmp_path, ROWS)
    path = tmp_path / "store.sqlite"
    assert cached_tokens(path, ["b"]) == {}
    with ResponseStore(path) as store:
        for key, tokens in (("b", 7), ("s", 0), ("j1", 90)):
            store.put(key, "m@", Response("x", "stop", Usage(100, 1, tokens)))
    cached = cached_tokens(path, sorted(calls["key"].astype(str)))
    assert cached == {"b": 7, "s": 0, "j1": 90}
    table = cost_table(calls, main, cached=cached)
    assert row_of(table, level="method", method="demos", stage="all")["tokens_cached"] == 97
    assert row_of(table, level="stage", stage="bootstrap")["tokens_cached"] == 7
    assert pd.isna(row_of(table, level="method", method="default", stage="all")["tokens_cached"])
    assert row_of(table, level="method", method="random")["tokens_cached"] == 0


def test_methods_stand_side_by_side_per_judged_pair_learning_included(tmp_path: Path) -> None:
    """All counts by hand: one judged pair of each row, three pairs that `m` scored, one of them of a user who is not
    judged."""
    scored = [ref(f"a{n}", "score_attributes", 30) for n in range(3)]
    written = [ref("b", "bootstrap", 50), ref("s", "search", 20), ref("p", "persona", 40)]
    rows = [
        judged("attributes", scored[:2], judge="m"),
        judged("measured_persona", [scored[0], ref("j3", "judge", 200)], profile="m"),
        judged("persona", [*written, ref("j1", "judge", 100)], profile="m"),
        judged("both", [*written, ref("j2", "judge", 300)], profile="m"),
        judged("words", [], judge=None),
    ]
    others = [StageCall("d", "-", "m", call) for call in scored]
    others += [StageCall("d", "-", "n", ref("x", "score_attributes", 9))]
    others += [StageCall("e", "-", "m", ref("y", "score_attributes", 7))]
    cached = {"a0": 0, "a1": 25, "a2": 25, "b": 10, "s": 5, "p": 0, "j1": 60, "j2": 100, "j3": 80, "x": 0, "y": 0}
    table = cost_table(*frames_of(tmp_path, rows), others=others, cached=cached)
    alone = table[(table["level"] == "method") & (table["stage"] == "all")].set_index("method")
    assert alone[["n_pairs", *EACH]].loc[
        ["attributes", "measured_persona", "persona", "both", "words"]
    ].to_numpy().tolist() == [
        [1, 3, 90 - 50, 50, 3],
        [1, 3 + 1, 90 + 200 - 50 - 80, 50 + 80, 4],
        [1, 3 + 1, 110 + 100 - 15 - 60, 15 + 60, 4],
        [1, 3 + 1, 110 + 300 - 15 - 100, 15 + 100, 4],
        [1, 0, 0, 0, 0],
    ]
    shown = cost_blocks(table)[2].texts.set_index("Method").loc["Attributes: own weights"]
    assert shown.tolist()[-5:] == ["1", "3.0", "40.0", "50.0", "3.0"]
    assert any("also of users who only teach others" in note for note in cost_notes(table))
    stages = table[(table["level"] == "stage") & (table["stage"] == "score_attributes")]
    names = ["dataset", "variant", "judge_model", "calls"]
    assert stages[names].to_numpy().tolist() == [["d", "-", "m", 3], ["d", "-", "n", 1], ["e", "-", "m", 1]]
    judging = row_of(table, level="method", method="measured_persona", stage="judge")
    assert (judging["calls_per_pair"], judging["uncached_per_pair"]) == (1, 120)


def test_what_is_cached_of_a_lost_answer_is_not_known_per_pair_either(tmp_path: Path) -> None:
    row = row_of(cost_table(*frames_of(tmp_path, ROWS)), level="method", method="default", stage="all")
    assert (row["calls_per_pair"], row["written_per_pair"]) == (1, 1)
    assert pd.isna(row["uncached_per_pair"])
    assert pd.isna(row["cached_per_pair"])


def test_filters_count_with_their_models(tmp_path: Path) -> None:
    rated = UserRatings(dataset="d", user_id="u", model="r", calls=(ref("x", "rate", 5), ref("y", "rate", 6)))
    voted = UserPanel(dataset="d", user_id="u", model="v", calls=(ref("z", "panel", 7),))
    write_records(tmp_path / "rated", [rated])
    write_records(tmp_path / "voted", [voted])
    found = list(filter_calls([tmp_path / "rated"], [tmp_path / "voted"]))
    assert [(call.model, call.ref.key) for call in found] == [("r", "x"), ("r", "y"), ("v", "z")]
    calls, main = frames_of(tmp_path, ROWS)
    table = cost_table(calls, main, others=found)
    assert row_of(table, level="stage", stage="rate", judge_model="r")["tokens_in"] == 11
    assert row_of(table, level="stage", stage="panel", judge_model="v")["calls"] == 1
    assert row_of(table, level="run")["calls"] == 9


def test_analyses_count_with_the_personas_that_they_read(tmp_path: Path) -> None:
    who = {"dataset": "d", "variant": "corrected"}
    refs = (*SHARED, ref("p", "persona", 40), ref("t", "search_persona", 80))
    profile = Profile(**who, user_id="u", model="m", k="all", draw=0, status="ok", calls=refs)
    half = profile.model_copy(update={"k": "halves", "calls": (SHARED[0], ref("h", "persona", 41))})
    asked = (ref("f", "fidelity", 3),)
    fidelity = UserFidelity(**who, user_id="u", profile_model="m", judge_model="j", k="all", calls=asked)
    facts = UserRecovery(
        **who, user_id="u", profile_model="m", judge_model="j", k="all", calls=(ref("r", "recovery", 6),)
    )
    axes = AxisSet(**who, model="a", calls=(ref("x", "axes", 4),))
    tagged = TaggedPersona(**who, user_id="u", profile_model="m", model="a", k="all", draw=0, status="ok")
    tag = {"profile_model": "m", "model": "a", "k": "all", "draw": 0, "status": "ok"}
    tagged = TaggedPersona(**who, **tag, user_id="u", calls=(ref("g", "tag", 5),))
    for name, rows in enumerate(([profile, half], [fidelity], [facts], [axes], [tagged])):
        write_records(tmp_path / str(name), rows)
    found = list(analysis_calls(*([tmp_path / str(name)] for name in range(5))))
    assert [call.ref.key for call in found] == ["b", "s", "p", "b", "h", "f", "r", "x", "g"]
    table = cost_table(*frames_of(tmp_path, ROWS), others=found)
    assert row_of(table, level="stage", stage="fidelity", variant="corrected", judge_model="j")["tokens_in"] == 3
    assert row_of(table, level="stage", stage="recovery", judge_model="j")["tokens_in"] == 6
    assert row_of(table, level="stage", stage="axes", judge_model="a")["calls"] == 1
    assert row_of(table, level="stage", stage="tag", judge_model="a")["tokens_in"] == 5
    assert row_of(table, level="stage", stage="profile", step="all")["tokens_in"] == 60 + 41
    assert row_of(table, level="run")["calls"] == 6 + 5
    assert row_of(table, level="method", method="demos", stage="all")["tokens_in"] == 130


def timed(folder: Path, path: str, seconds: float) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(f"s\th:m:s\n{seconds}\t0:00:01\n")


def test_jobs_are_read_from_their_paths(tmp_path: Path) -> None:
    model = {"backend": "openai", "model": "x", "api_base": "http://x/v1"}
    filters = {"personalizable": {"model": "r"}, "disagreement": {"models": ["v"]}}
    config = parse_config(
        {
            "run": "r",
            "datasets": {"d": {"path": "votes.jsonl", "filters": filters}, "d-v2": {"path": "votes.jsonl"}},
            "models": dict.fromkeys(["m", "n-to-m", "j", "r", "v", "a"], model),
            "learn": {"models": ["m", "n-to-m"]},
            "variants": ["corrected", "corrected+ours"],
            "thetas": {"ours": {"optimise": {}}},
            "analysis": {"axes": {"asked": "a", "disjoint": ["halves"]}},
        }
    )
    patterns = Plan(config).job_patterns()
    assert job_times(tmp_path / "gone", patterns) == []
    for path, seconds in {
        "prepare/d.tsv": 1,
        "rate/d/u.tsv": 2,
        "panel/d/v/u.tsv": 3,
        "bootstrap/d/corrected/m/u.tsv": 4,
        "profiles/d/corrected/m/k2/u.tsv": 5,
        "verdicts/d/baseline/none/u.tsv": 6,
        "verdicts/d/baseline/j/u.tsv": 7,
        "verdicts/d/corrected/n-to-m-to-j/kall/u.tsv": 8.5,
        "table_main.tsv": 9,
        # Made at the same time as the table of cost: which of these have ended is chance.
        "figure_main.tsv": 90,
        "table_users.tsv": 91,
        "thetas/ours/m.tsv": 10,
        "analysis/fidelity/d/corrected/n-to-m-by-j/u.tsv": 11,
        "analysis/axes/d/corrected+ours.tsv": 12,
        "analysis/tags/d/corrected/m/khalves/u.tsv": 13,
        "fetch/d-v2.tsv": 14,
        "released/d.tsv": 15,
    }.items():
        timed(tmp_path, path, seconds)
    (tmp_path / "half.tsv").write_text("s\th:m:s\n")
    timed(tmp_path, "set_back.tsv", -86_395)
    assert sorted(job_times(tmp_path, patterns), key=lambda time: time.seconds) == [
        JobTime("prepare", "d", "-", "-", 1),
        JobTime("rate", "d", "-", "r", 2),
        JobTime("panel", "d", "-", "v", 3),
        JobTime("bootstrap", "d", "corrected", "m", 4),
        JobTime("profile", "d", "corrected", "m", 5),
        JobTime("judge", "d", "baseline", "-", 6),
        JobTime("judge", "d", "baseline", "j", 7),
        JobTime("judge", "d", "corrected", "j", 8.5),
        JobTime("results", "-", "-", "-", 9),
        JobTime("theta", "-", "+ours", "m", 10),
        JobTime("fidelity", "d", "corrected", "j", 11),
        JobTime("axes", "d", "corrected+ours", "a", 12),
        JobTime("tag", "d", "corrected", "a", 13),
        JobTime("fetch", "d-v2", "-", "-", 14),
        JobTime("released", "d", "-", "-", 15),
    ]


def test_wall_time_stands_beside_the_calls_of_its_stage(tmp_path: Path) -> None:
    times = [JobTime("bootstrap", "d", "corrected", "m", 4), JobTime("bootstrap", "d", "corrected", "m", 60.5)]
    times += [JobTime("prepare", "d", "-", "-", 1), JobTime("results", "-", "-", "-", 9)]
    table = cost_table(*frames_of(tmp_path, ROWS), times=times)
    row = row_of(table, level="stage", stage="bootstrap")
    assert (row["jobs"], row["wall_time_s"], row["calls"]) == (2, 64.5, 1)
    assert row_of(table, level="run")["wall_time_s"] == 74.5
    assert pd.isna(row_of(table, level="stage", stage="profile", step="all")["wall_time_s"])
    stages, *_ = cost_blocks(table)
    assert stages.texts.set_index("Stage").loc["bootstrap", "Wall time"] == "1:04 min"
    order = table.loc[table["level"] == "stage", "stage"].drop_duplicates().tolist()
    assert order == ["prepare", "bootstrap", "profile", "judge", "results"]


@settings(max_examples=8, deadline=None)
@given(
    owners=st.lists(st.sampled_from(["demos", "persona", "both"]), min_size=1, max_size=12),
    chance=st.randoms(use_true_random=False),
)
def test_the_run_is_what_its_distinct_keys_cost_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, owners: list[str], chance: random.Random
) -> None:
    refs = {
        method: [ref(f"k{n % 5}", "judge", 1 + n % 5) for n, o in enumerate(owners) if o == method] for method in owners
    }
    rows = [judged(method, found, profile="m") for method, found in refs.items()]
    chance.shuffle(rows)
    table = cost_table(*frames_of(tmp_path_factory.mktemp("t"), rows))
    distinct = {n % 5 for n in range(len(owners))}
    whole = row_of(table, level="run")
    assert (whole["calls"], whole["tokens_in"]) == (len(distinct), sum(1 + n for n in distinct))
    assert whole["cost_usd_list"] == pytest.approx(0.5 * len(distinct))


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Priced calls, two judges, two values of k, profiles of another model."""
    folder = tmp_path_factory.mktemp("cost")
    paths = write_cells(folder, [*quickstart_cells(), Cell("oracle@all.logprob", 0.9)], [3, 4, 2])
    calls = collect_calls(paths)
    return cost_table(calls, main_table(collect_verdicts(paths), calls, seed=1, n_resamples=49))


def test_dollars_only_where_all_that_ask_have_a_price(generated: pd.DataFrame) -> None:
    assert unit_of(generated) == DOLLARS
    for unknown in (0.0, float("nan")):
        one = generated.copy()
        one.loc[one["method"] == "demos.logprob", "cost_usd_list"] = unknown
        assert unit_of(one) == TOKENS
        assert "tokens" in cost_caption(one)
    point = points_of(generated, TOKENS)[2]
    row = row_of(generated, level="method", stage="all", method="default.logprob", judge_model=point.panel.judge)
    assert point.cost == float(str(row["tokens_in"])) + float(str(row["tokens_out"]))
    assert not any("oracle" in each.method for each in points_of(generated, DOLLARS))


def test_the_figure_has_a_point_a_method_and_its_models(generated: pd.DataFrame) -> None:
    figure = cost_figure(generated, title_note="run $x$")
    assert len(figure.axes) == 2
    for axes in figure.axes:
        dots = [line for line in axes.lines if isinstance(line, Line2D) and line.get_marker() not in ("None", "")]
        # Default, three methods at two k, and two that make no call at the left of all.
        assert len(dots) == 9
        free = [dot for dot in dots if float(dot.get_xdata()[0]) < axes.get_xlim()[0] + 0.2]  # type: ignore[index,arg-type]
        assert len(free) == 2
        assert next(iter(axes.get_xticklabels())).get_text() == "no call"
    assert "hollow: another model's profiles" in texts_of(figure)
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= width
        assert 0 <= box.y0 <= box.y1 <= height
    alone = generated[generated["k"] != "2"]
    assert_readable(cost_figure(alone))
    assert cost_caption(generated)
    assert cost_figure(generated.iloc[:0])


def test_table_and_figure_are_made_from_files(tmp_path: Path) -> None:
    paths = write_cells(tmp_path / "v", quickstart_cells(), [2, 1])
    calls = collect_calls(paths)
    write_frame(calls, tmp_path / "calls.parquet")
    main_table(collect_verdicts(paths), calls, seed=1, n_resamples=49).to_csv(tmp_path / "main.csv", index=False)
    timed(tmp_path / "b", "prepare/generated.tsv", 2)
    nothing: dict[str, object] = dict.fromkeys(
        ("ratings", "panels", "attribute_scores", "analysed_profiles", "fidelity", "recovery", "axes", "tags"), ()
    )
    settings: dict[str, object] = {"store": tmp_path / "none"}
    settings["jobs"] = [JobPattern("prepare", "prepare/(?P<dataset>generated)", "")]
    files = {"calls": tmp_path / "calls.parquet", "table_main": tmp_path / "main.csv", "benchmarks": tmp_path / "b"}
    csv = write_result("table_cost", tmp_path, **nothing, **files, **settings).with_suffix(".csv")
    table = read_cost_table(csv)
    assert row_of(table, level="stage", stage="prepare")["wall_time_s"] == 2
    assert table["tokens_cached"].dropna().eq(0).all()
    write_result("figure_cost", tmp_path, table_cost=csv)
    made = {path.suffix for path in tmp_path.glob("cost.*")}
    assert made == {".csv", ".md", ".tex", ".html", ".pdf", ".svg", ".png", ".txt"}
