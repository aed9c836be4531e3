"""Pairs that are no matter of taste are judged as the unpersonalised judge does, and a table says what that does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.in_process import Answering, ScriptedJob
from support.models import ScriptedModel, good_is_first, pair, text
from support.scripted_judge import Answer, judge

from personalrm.core.conditions import VerdictMode
from personalrm.core.errors import ConfigError, RateLimited
from personalrm.core.records import (
    CallRef,
    JudgedUser,
    Outcome,
    PairScores,
    UserData,
    UserScores,
    Verdict,
    read_records,
    write_records,
)
from personalrm.data.filters.ratings import PairRating, UserRatings
from personalrm.judge.judge import JudgeSettings
from personalrm.llm.types import Request, Response
from personalrm.methods.base import Known
from personalrm.methods.registry import parse_method
from personalrm.studies.config_load import parse_config
from personalrm.studies.run_results import RunResults
from personalrm.studies.runner import runtime_from_env
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.fit import fit_stage, scores_in
from personalrm.studies.synthesizeme.stages.judging import judge_stage, judge_user
from personalrm.studies.synthesizeme.stages.runner import Job
from personalrm.studies.synthesizeme.stages.taste_on import as_one
from personalrm.studies.synthesizeme.stages.weighing import weigh_stage, weigh_user

TESTS = tuple(pair(name, split="test") for name in ("fact", "taste"))
LEARNED = (pair("c", split="context"), pair("v", split="validation"))
USER = UserData(dataset="d", user_id="u", pairs=(*LEARNED, *TESTS), planted_taste="x")
SCORES = '{"criteria": [{"weight": 1, "first": %d, "second": %d}]}'


def impressed(request: Request) -> Response:
    """Chooses GOOD where nothing is known of the user, else BAD; a scorecard in its form."""
    personal = "particular user" in request.messages[0].content
    first = good_is_first(request) != personal
    if request.json_schema:
        return text(SCORES % ((9, 2) if first else (2, 9)))
    return text(f"So.\nPreference: {'First' if first else 'Second'}")


def prefers_bad(body: dict[str, Any]) -> Answer:
    """A judge in words who knows nothing of the user."""
    asked = str(body["messages"][-1]["content"])
    return Answer(f"So.\nPreference: {'First' if asked.index('BAD') < asked.index('GOOD') else 'Second'}")


def row_of(method: str, general: tuple[str, ...] = ("fact",), answer: Any = impressed) -> tuple[JudgedUser, int]:  # noqa: ANN401
    model, use = ScriptedModel(answer), parse_method(method)
    known = Known.of(USER, pairs=USER.part("context"))
    return asyncio.run(judge_user(model, USER, use, JudgeSettings(), known, general)), len(model.requests)


def outcomes(verdicts: tuple[Verdict, ...]) -> list[tuple[str, Outcome]]:
    return [(verdict.pair_id, verdict.outcome) for verdict in verdicts]


@pytest.mark.parametrize("method", ["history", "oracle", "scorecard"])
def test_a_pair_that_is_no_matter_of_taste_is_judged_as_by_default(method: str) -> None:
    row, asked = row_of(method)
    orders = 1 if method == "scorecard" else 2
    assert outcomes(row.verdicts) == [("fact", "correct")] * orders + [("taste", "wrong")] * orders
    assert outcomes(row.set_aside) == [("fact", "wrong")] * orders
    # Two calls of the pair of taste, two by taste and two without of the other, the last two those of default.
    assert asked == 6
    plain, _ = row_of("default")
    mine = {key for verdict in row.verdicts if verdict.pair_id == "fact" for key in verdict.calls}
    assert mine == {key for verdict in plain.verdicts if verdict.pair_id == "fact" for key in verdict.calls}
    # Without ratings nothing differs, and no row has the field.
    bare, asked = row_of(method, ())
    assert (outcomes(bare.verdicts)[0], asked) == (("fact", "wrong"), 4)
    assert "set_aside" not in bare.model_dump_json()
    assert bare.verdicts[orders:] == row.verdicts[orders:]


def test_default_is_shown_nothing_and_sets_nothing_aside() -> None:
    row, asked = row_of("default")
    assert (row.set_aside, asked) == ((), 4)


CORRECT, WRONG, TIE, UNPARSED, LOST = ("correct", "wrong", "tie", "unparsed", "provider_error")


@pytest.mark.parametrize(
    ("orders", "outcome", "on_tie"),
    [
        ((CORRECT, CORRECT), CORRECT, CORRECT),
        ((CORRECT, WRONG), TIE, WRONG),
        ((WRONG, WRONG), WRONG, WRONG),
        ((CORRECT, UNPARSED), CORRECT, CORRECT),
        ((WRONG, TIE), WRONG, WRONG),
        ((UNPARSED, "refused"), UNPARSED, UNPARSED),
        ((CORRECT, LOST), LOST, LOST),
    ],
)
def test_both_orders_as_one_verdict(orders: tuple[Outcome, Outcome], outcome: str, on_tie: str) -> None:
    found = [Verdict(pair_id="p", swapped=n == 1, outcome=o, calls=(str(n),)) for n, o in enumerate(orders)]
    one = as_one(found, pair("p"))
    assert (one.outcome, one.swapped, one.calls) == (outcome, None, ("0", "1"))
    assert as_one(found, pair("p").model_copy(update={"tie": True})).outcome == on_tie


def test_a_lost_call_of_the_plain_judge_loses_the_verdict() -> None:
    def answer(request: Request) -> Any:  # noqa: ANN401
        return impressed(request) if "particular user" in request.messages[0].content else RateLimited("wait")

    row, _ = row_of("history", answer=answer)
    assert outcomes(row.verdicts)[:2] == [("fact", "provider_error")] * 2


MODEL = {"backend": "openai", "model": "x", "api_base": "http://127.0.0.1:9/v1"}
LABELS = {"m": {**MODEL, "prompts": "compact", "verdicts": ["logprob_both"]}}


def config_of(folder: Path = Path(), **changes: Any) -> Config:  # noqa: ANN401
    filters = {"apply": False, "personalizable": {"model": "m", "min_query": 3}}
    base = {
        "run": "r",
        "results": str(folder / "results"),
        "store": str(folder / "store.sqlite"),
        "datasets": {"d": {"path": "v.jsonl", "shards": 1, "filters": filters}},
        "models": {"m": MODEL},
        "learn": {"models": ["m"]},
        "methods": ["longer", "default", "history", "both"],
        "taste_on": "personalizable",
    }
    return parse_config(base | changes)


def test_stages_read_the_ratings_where_the_switch_asks_for_them(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    plan, off = Plan(config), Plan(config_of(tmp_path, taste_on="all"))
    job = {"dataset": "d", "shard": plan.shards("d")[0], "judge": "m"}
    learned = job | {"variant": "corrected", "model": "m", "k": "all"}
    for stage, names in (("baseline", job), ("judge", learned)):
        assert plan.inputs(stage, **names)["ratings"] == plan.rating_paths("d")
        assert plan.reads(stage, **names) != off.reads(stage, **names)
        assert "ratings" not in off.inputs(stage, **names)
    scored = Plan(config_of(tmp_path, methods=["attributes", "default"]))
    assert scored.inputs("weigh", **job)["ratings"] == scored.rating_paths("d")
    # Ratings in words say nothing of what the model itself prefers, log-odds of labels do.
    assert scored.inputs("weigh", **job)["plain"] == scored.path("baseline", **job)
    assert "plain" not in Plan(config_of(tmp_path, methods=["attributes"], models=LABELS)).inputs("weigh", **job)
    all_taste = Plan(config_of(tmp_path, methods=["attributes", "default"], taste_on="all"))
    assert not {"plain", "ratings"} & all_taste.inputs("weigh", **job).keys()
    assert "ratings" not in plan.inputs("no_model", dataset="d", shard=job["shard"])
    assert "table_taste_on" in [result.rule for result in RunResults(plan).results]
    assert "table_taste_on" not in [result.rule for result in RunResults(off).results]
    users, ratings, out = (tmp_path / name for name in ("users.jsonl", "ratings.jsonl", "out.jsonl"))
    write_records(users, [USER])
    # What was rated low, what was rated high enough, and what has no number.
    rated = (PairRating(pair_id="fact", query=2, responses=5), PairRating(pair_id="taste", query=3, responses=None))
    write_records(ratings, [UserRatings(dataset="d", user_id="u", model="m", ratings=rated)])
    scripted = ScriptedJob(config, runtime_from_env(), lambda spec: Answering(spec, judge))
    asyncio.run(judge_stage(scripted, users=users, out=out, ratings=[ratings], judge="m"))
    rows = {row.method: row for row in read_records(out, JudgedUser)}
    assert [len(rows[name].set_aside) for name in ("default", "history")] == [0, 2]
    plain = [verdict for verdict in rows["default"].verdicts if verdict.pair_id == "fact"]
    assert [verdict for verdict in rows["history"].verdicts if verdict.pair_id == "fact"] == plain


def weighed_rows(names: tuple[str, ...], default: float) -> tuple[list[str], UserScores]:
    """Ids of all pairs, and their scores: the user prefers what is warmer, and the model that scored prefers it by
    `default`."""
    said = {"warm": 2.0, "default": default}
    ids = [one.pair_id for one in USER.pairs]
    rows = [
        PairScores(pair_id=name, swapped=turned, scores={one: -said[one] if turned else said[one] for one in names})
        for name in ids
        for turned in (False, True)
    ]
    return ids, UserScores(dataset="d", user_id="u", model="m", pairs=tuple(rows))


def weighed(
    general: tuple[str, ...],
    names: tuple[str, ...] = ("warm", "default"),
    default: float = -1.0,
    plain: JudgedUser | None = None,
    mode: VerdictMode = "text",
    **changes: bool,
) -> JudgedUser:
    user = USER.model_copy(update={"pairs": (*LEARNED, *(one.model_copy(update=changes) for one in TESTS))})
    _, scores = weighed_rows(names, default)
    known = replace(Known.of(user, pairs=user.part("context")), **scores_in(scores))
    given: dict[str, Any] = {"judge": "m", "mode": mode, "scores": scores, "general": general, "plain": plain}
    return weigh_user(user, parse_method("attributes"), known, **given)


def by_default(*orders: Outcome) -> JudgedUser:
    """A row of `default` on all test pairs, with a call for each order."""
    row, _ = row_of("default")
    verdicts = [
        Verdict(pair_id=one.pair_id, swapped=n == 1, outcome=outcome, calls=(f"{one.pair_id}{n}",))
        for one in TESTS
        for n, outcome in enumerate(orders)
    ]
    calls = tuple(CallRef(key=key, stage="judge", tokens_in=1, tokens_out=1) for one in verdicts for key in one.calls)
    return row.model_copy(update={"verdicts": tuple(verdicts), "calls": calls})


def test_methods_that_weigh_scores_take_the_log_odds_of_default_there() -> None:
    row, bare = weighed(("fact",)), weighed(())
    assert outcomes(bare.verdicts) == [("fact", "correct"), ("taste", "correct")]
    assert outcomes(row.verdicts) == [("fact", "wrong"), ("taste", "correct")]
    assert row.verdicts[0].log_odds == pytest.approx(-1.0)
    assert row.set_aside == bare.verdicts[:1]
    assert bare.set_aside == ()
    # A tie of the user that an answer is named for is wrong, whoever names it.
    tied = weighed(("fact",), default=1.0, tie=True)
    assert (outcomes(tied.verdicts)[0], outcomes(tied.set_aside)[0]) == (("fact", "wrong"), ("fact", "wrong"))


@pytest.mark.parametrize(
    ("orders", "outcome", "on_tie"),
    [
        ((WRONG, WRONG), WRONG, WRONG),
        ((CORRECT, WRONG), TIE, WRONG),
        ((CORRECT, CORRECT), CORRECT, CORRECT),
        ((CORRECT, LOST), LOST, LOST),
    ],
)
def test_methods_that_weigh_ratings_in_words_take_the_verdicts_of_default_there(
    orders: tuple[Outcome, Outcome], outcome: Outcome, on_tie: Outcome
) -> None:
    plain = by_default(*orders)
    row, bare = (weighed(general, ("warm",), plain=plain) for general in (("fact",), ()))
    assert outcomes(bare.verdicts) == [("fact", "correct"), ("taste", "correct")]
    assert outcomes(row.verdicts) == [("fact", outcome), ("taste", "correct")]
    assert (row.verdicts[0].log_odds, row.verdicts[0].swapped) == (None, None)
    assert row.set_aside == bare.verdicts[:1]
    # The row owes the calls that its verdicts rest on, and no other.
    assert {ref.key for ref in row.calls} == {"fact0", "fact1"}
    assert (bare.calls, bare.set_aside) == ((), ())
    assert row.prompts == bare.prompts | plain.prompts != bare.prompts
    # Of a tie of the user, `default` was told.
    assert outcomes(weighed(("fact",), ("warm",), plain=plain, tie=True).verdicts)[0] == ("fact", on_tie)


def test_a_verdict_by_taste_never_stands_in_silently() -> None:
    other = by_default("wrong", "wrong")
    other = other.model_copy(update={"verdicts": other.verdicts[2:]})
    for plain in (None, other):
        with pytest.raises(ValueError, match="pair fact is no matter of taste; 'default' did not judge it"):
            weighed(("fact",), ("warm",), plain=plain)
    # Of a model whose labels were read for attributes alone nothing stands in, and nothing is set aside.
    assert weighed(("fact",), ("warm",), mode="logprob_both").set_aside == ()


def test_default_judges_what_models_that_write_ratings_weigh(tmp_path: Path) -> None:
    """The stages, with each conversation left out: where all pairs are judged, so does `default`."""
    config = config_of(tmp_path, methods=["default", "default@all", "attributes@loo"])
    users, scored, ratings, fit, plain, out = (tmp_path / name for name in ("u", "s", "r", "f", "p", "o"))
    write_records(users, [USER])
    write_records(scored, [weighed_rows(("warm",), 0.0)[1]])
    rated = tuple(PairRating(pair_id=name, query=2, responses=2) for name in ("fact", "c"))
    write_records(ratings, [UserRatings(dataset="d", user_id="u", model="m", ratings=rated)])
    # Default is wrong, and taste right.
    scripted = ScriptedJob(config, runtime_from_env(), lambda spec: Answering(spec, prefers_bad))
    asyncio.run(judge_stage(scripted, users=users, out=plain, judge="m"))
    job = Job(config, runtime_from_env())
    fit_stage(job, users=[users], out=fit, dataset="d", method="attributes", model="m", scores=[scored])
    weigh_stage(job, users=users, out=out, fitted=[fit], judge="m", scores=scored, ratings=[ratings], plain=plain)
    (row,) = read_records(out, JudgedUser)
    assert dict(outcomes(row.verdicts)) == {
        "c": "wrong",
        "fact": "wrong",
        "v": "correct",
        "taste": "correct",
    }
    assert {name for name, _ in outcomes(row.set_aside)} == {"fact", "c"}
    default = [one for one in read_records(plain, JudgedUser) if one.method == "default@all"]
    assert {ref.key for ref in row.calls} < {ref.key for ref in default[0].calls}


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (["attributes"], "'attributes' takes the verdicts of 'default' .*; add default, or give taste_on: all"),
        (["attributes@loo", "default"], "'attributes@loo' takes .*; add default@all, or give taste_on: all"),
        (["attributes", "default@all"], ""),
        (["attributes", "default"], ""),
        (["attributes@loo", "default@all"], ""),
        (["measured_persona"], ""),
    ],
)
def test_default_must_judge_what_models_that_write_ratings_weigh(methods: list[str], said: str) -> None:
    assert config_of(methods=methods, models=LABELS)
    assert config_of(methods=methods, taste_on="all")
    if said:
        with pytest.raises(ConfigError, match=f"^methods: {said}$"):
            config_of(methods=methods)
    else:
        assert config_of(methods=methods)


def test_a_model_that_only_writes_ratings_does_not_judge() -> None:
    models = {"m": MODEL, "w": MODEL}
    asked: dict[str, Any] = {"models": models, "methods": ["default", "attributes"], "attributes": {"models": ["w"]}}
    with pytest.raises(ConfigError, match=r"'w' does not judge by it; add w to learn\.models$"):
        config_of(**asked)
    transfer = {"pairs": [["m", "w"]], "baselines": ["history"]}
    with pytest.raises(ConfigError, match="'w' does not judge by it"):
        config_of(**{**asked, "methods": ["default", "attributes", "both", "history"]}, transfer=transfer)
    transfer["baselines"] = ["default"]
    assert config_of(**{**asked, "methods": ["default", "attributes", "both"]}, transfer=transfer)


def test_what_is_set_aside_of_each_left_out_conversation_is_kept(tmp_path: Path) -> None:
    rows, scores = weighed_rows(("warm", "default"), -1.0)
    users, scored, ratings, fit, out = (tmp_path / name for name in ("users", "scores", "ratings", "fit", "out"))
    write_records(users, [USER])
    write_records(scored, [scores])
    rated = tuple(PairRating(pair_id=one.pair_id, query=2, responses=2) for one in TESTS)
    write_records(ratings, [UserRatings(dataset="d", user_id="u", model="m", ratings=rated)])
    job = Job(config_of(tmp_path, methods=["attributes@loo"], models=LABELS), runtime_from_env())
    fit_stage(job, users=[users], out=fit, dataset="d", method="attributes", model="m", scores=[scored])
    weigh_stage(job, users=users, out=out, fitted=[fit], judge="m", scores=scored, ratings=[ratings])
    (row,) = read_records(out, JudgedUser)
    assert len(row.verdicts) == len(rows)
    assert outcomes(row.set_aside) == [("fact", "correct"), ("taste", "correct")]
    assert {name: outcome for name, outcome in outcomes(row.verdicts) if name in ("fact", "taste")} == {
        "fact": "wrong",
        "taste": "wrong",
    }


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"personalizable": {"model": "m"}}, "set apply: false"),
        ({"apply": False, "disagreement": {"models": ["m"]}}, "nothing is rated"),
    ],
)
def test_a_switch_that_sets_no_pair_aside_is_refused(filters: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"^taste_on: personalizable has no pair to set aside: .*{said}"):
        config_of(datasets={"d": {"path": "v.jsonl", "filters": filters}})
