"""Planned calls and tokens, counted by hand."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.models import pair

from personalrm.core.errors import ConfigError, DataError
from personalrm.core.records import UserData, Weights
from personalrm.data.filters.rate import PanelSettings, panel_votes
from personalrm.judge.call_recorder import Listener
from personalrm.judge.judge import JudgeContext, JudgeSettings, judge_messages
from personalrm.judge.prompting import PROMPT_DIR, load_prompt
from personalrm.llm.backends.batch.batch_settings import BatchSettings
from personalrm.llm.types import Message, ModelSpec, Request
from personalrm.methods.base import Known, Method, Training
from personalrm.methods.registry import METHODS
from personalrm.methods.scorecard import judge_by_scorecard
from personalrm.studies.config_load import parse_config
from personalrm.studies.estimate.assumptions import Assumptions, read_assumptions
from personalrm.studies.estimate.fake_model import FakeModel
from personalrm.studies.estimate.usage import (
    FRAME_TOKENS,
    Counter,
    Estimate,
    Prices,
    Row,
    Simulated,
    Tally,
    Work,
    prices_of,
    rows_of,
)
from personalrm.studies.synthesizeme.simulate import read_data, simulate, simulate_run

LETTERS = Counter(lambda text: float(len(text)), "letters")
"""A tokenizer that needs no computing by hand."""
CONTEXT, VALIDATION, TEST = 4, 4, 5


def user(name: str, **values: Any) -> UserData:  # noqa: ANN401
    parts = (("context", CONTEXT), ("validation", VALIDATION), ("test", TEST))
    pairs = tuple(pair(f"{name}-{part}-{n}", split=part) for part, count in parts for n in range(count))
    return UserData(dataset="d", user_id=name, pairs=pairs, **values)


def plan(raw: dict[str, Any], users: int = 1, bound: Any = "expected", most: int = 99, **assumed: float) -> Tally:  # noqa: ANN401
    model: dict[str, Any] = {"backend": "openai", "model": "gpt", "api_base": "http://x/v1"}
    known = {"m": model, "n": {**model, "model": "other"}, **raw.pop("models", {})}
    dataset = {"path": "votes.jsonl", **raw.pop("dataset", {})}
    config = parse_config({"run": "x", "datasets": {"d": dataset}, "models": known, **raw})
    people = [user(f"u{n}", planted_taste=f"tea {n}") for n in range(users)]
    counters = dict.fromkeys(known, LETTERS)
    return simulate_run(config, {"d": people}, counters, Assumptions(**assumed), most, 1, bound)[0]  # type: ignore[arg-type]


def calls(tally: Tally) -> dict[str, float]:
    return {stage: work.calls for (stage, _), work in tally.items()}


def test_a_baseline_is_two_calls_a_pair_with_the_stages_own_prompt() -> None:
    tally = plan({"methods": ["default"], "learn": {"models": []}, "transfer": {"pairs": []}})
    assert tally == {}
    tally = plan({"methods": ["default"], "learn": {"models": ["m"], "search": {"num_search_candidates": 0}}})
    shown = [
        judge_messages(p, s, JudgeContext(), JudgeSettings()) for p in user("u0").part("test") for s in (False, True)
    ]
    letters = sum(len(message.content) + FRAME_TOKENS for messages in shown for message in messages)
    assert tally["baseline", "m"].calls == 2 * TEST
    assert tally["baseline", "m"].prompt == letters


def test_the_panel_votes_on_its_own_prompt() -> None:
    model, one = stand_in(right=1.0), user("u0")
    model.set_user(one)
    votes = asyncio.run(panel_votes(Listener(model, "panel"), one.pairs[0], PanelSettings()))
    assert [vote.favours for vote in votes] == ["chosen", "chosen"]


def test_attempts_and_searches_adapt_between_the_least_and_the_most() -> None:
    raw = {"methods": ["both"], "learn": {"models": ["m"], "rebootstrap": False}}
    least, most = calls(plan(dict(raw), bound="least")), calls(plan(dict(raw), bound="most"))
    # One try a pair, or all three; the first candidate on all validation pairs in both orders, or at most 12 and 13.
    assert (least["search"], least["search_persona"]) == (2 * VALIDATION, 2 * VALIDATION)
    assert (least["bootstrap"], most["bootstrap"]) == (CONTEXT, 3 * CONTEXT)
    assert least["search"] < most["search"] <= 12 * 2 * VALIDATION
    assert most["search_persona"] <= 13 * 2 * VALIDATION
    assert least["judge"] == most["judge"] == 2 * TEST


def test_criteria_cost_three_calls_a_pair_where_verdicts_are_words() -> None:
    def judged(methods: list[str], *verdicts: str) -> float:
        model = {"backend": "openai", "model": "m", "api_base": "http://x/v1", "verdicts": list(verdicts)}
        learn = {"models": ["m", "n"], "rebootstrap": False, "search": {"num_search_candidates": 0}}
        tally = plan({"methods": methods, "learn": learn, "models": {"m": model}})
        return tally["judge", "m"].calls

    assert judged(["both", "criteria"], "text") == judged(["both"], "text") + 3 * TEST
    assert judged(["both", "criteria"], "logprob") == judged(["both"], "logprob")


def test_a_scorecard_is_one_call_an_order_at_each_k_and_can_be_right() -> None:
    learn = {"models": ["m"], "search": {"num_search_candidates": 0}}
    none = calls(plan({"methods": ["default"], "learn": dict(learn)}))["baseline"]
    both = calls(plan({"methods": ["default", "scorecard"], "learn": dict(learn), "k": [1, "all"]}))["baseline"]
    assert both == none + 2 * 2 * TEST
    model, one = stand_in(right=1.0), user("u0")
    model.set_user(one)
    shown = METHODS["scorecard"].adapt(Known.of(one, pairs=one.part("context")))
    verdicts = asyncio.run(judge_by_scorecard(model, one.part("test"), shown, JudgeSettings()))
    assert [verdict.outcome for verdict in verdicts] == ["correct"] * TEST


def test_profiles_that_nothing_reads_are_not_learned() -> None:
    raw = {"methods": ["default", "attributes", "measured_persona"], "learn": {"models": ["m"]}}
    pairs = CONTEXT + VALIDATION + TEST
    scored = {"score_attributes": 2 * pairs, "baseline": 2 * TEST, "judge_taste": 2 * TEST}
    assert calls(plan(dict(raw))) == scored
    analysed = calls(plan(raw | {"analysis": {"fidelity": {"others": 1}}}, users=2))
    assert analysed["persona"] == 2


def test_a_sample_of_users_stands_for_all() -> None:
    raw = {"methods": ["default", "both"], "learn": {"models": ["m"], "rebootstrap": False}}
    some, one = plan(dict(raw), users=6, most=2), plan(dict(raw), users=1)
    assert calls(some)["baseline"] == 6 * calls(one)["baseline"]
    assert calls(some)["judge"] == 6 * calls(one)["judge"]


def test_filters_are_rated_voted_on_and_applied() -> None:
    filters = {"personalizable": {"model": "m"}, "disagreement": {"models": ["m", "n"], "remove_from": 1.0}}
    raw = {"methods": ["default"], "learn": {"models": ["n"]}, "dataset": {"filters": filters}}
    tally = plan(dict(raw), rated=1.0, steady=0.0, right=0.5)
    pairs = CONTEXT + VALIDATION + TEST
    assert tally["rate", "m"].calls == 2 * pairs
    assert tally["panel", "m"].calls == tally["panel", "n"].calls == 2 * pairs
    assert 0 < tally["baseline", "n"].calls <= 2 * TEST
    # Nobody is asked about what the ratings remove, and a user without pairs is learned from no more.
    assert calls(plan(dict(raw), rated=0.0)) == {"rate": 2 * pairs}


def test_personas_are_judged_and_tagged() -> None:
    analysis = {"fidelity": {"others": 1, "matches": True}, "axes": {"max_axes": 6}}
    learn = {"models": ["m"], "rebootstrap": False, "search": {"num_search_candidates": 0}}
    found = calls(plan({"methods": ["longer"], "learn": learn, "analysis": analysis}, users=3))
    assert (found["fidelity"], found["axes"], found["tag"]) == (3 * (2 + 4), 1, 3 * 2)


def test_a_theta_is_found_on_train_users() -> None:
    optimise = {"num_trials": 2, "num_candidates": 3, "max_demos": 2}
    config = {
        "methods": ["both"],
        "variants": ["corrected+found"],
        "thetas": {"found": {"optimise": optimise}},
        "learn": {"models": ["m"], "rebootstrap": False},
    }
    assert "theta" not in calls(plan(dict(config)))
    model = {"backend": "openai", "model": "gpt", "api_base": "http://x/v1"}
    parsed = parse_config({"run": "x", "datasets": {"d": {"path": "v.jsonl"}}, "models": {"m": model}, **config})
    people = [user("a", user_split="train"), user("b", user_split="test")]
    tally = simulate_run(parsed, {"d": people}, {"m": LETTERS}, Assumptions(), 9, 1, "expected")[0]
    # Three trials of one persona and all validation pairs, eight proposals, and what stage 1 took.
    assert tally["theta", "m"].calls >= 3 * (1 + 2 * VALIDATION) + 8 + CONTEXT


def stand_in(**assumed: float) -> FakeModel:
    return FakeModel(ModelSpec("m", "openai", "m"), "standard", LETTERS, Assumptions(**assumed))  # type: ignore[arg-type]


async def _ask(model: FakeModel, *texts: str) -> None:
    await model.complete(Request(tuple(Message("user", text) for text in texts), 5))


def test_equal_requests_count_once_and_whole_messages_are_cached() -> None:
    import asyncio

    model = stand_in(cached_least=10)

    async def run() -> list[Work]:
        await _ask(model, "a" * 10, "b")
        await _ask(model, "a" * 10, "b")
        await _ask(model, "a" * 10, "c")
        await _ask(model, "d")
        await _ask(model, "d", "e")
        return list(model.new_calls().values())

    frame = FRAME_TOKENS
    first, second, _, short = asyncio.run(run())
    assert first == Work(1, 11 + 2 * frame, 0, 5)
    assert second == Work(1, 11 + 2 * frame, 10 + frame, 5)
    assert short.cached == 0, "a prefix below the provider's least is not cached"
    assert model.new_calls() == {}


@settings(max_examples=30, deadline=None)
@given(st.integers(20, 400), st.text(min_size=4, max_size=8))
def test_what_is_written_has_the_assumed_length(tokens: int, seed: str) -> None:
    assert abs(len(stand_in().written(tokens, seed)) - tokens) <= 12


def test_prompts_are_told_apart_by_their_first_lines() -> None:
    """By which the stand-in of a model knows what it is asked."""
    named: dict[str, set[str]] = {}
    for path in PROMPT_DIR.glob("[!_]*.jinja"):
        prompt = load_prompt(path.stem)
        if prompt.has("system"):
            first, _, _ = prompt.render("system", persona=None, demonstrations=()).partition("\n")
            # A persona is as long in either format.
            named.setdefault(first, set()).add(prompt.name.replace("_json", ""))
    assert len(named) > 10
    assert [names for names in named.values() if len(names) > 1] == []


def test_dollars_of_a_row_are_those_computed_by_hand() -> None:
    price = Prices(prompt=2e-6, cached=1e-6, generated=4e-6)
    tally: Tally = {
        ("baseline", "m"): Work(10, 1_000_000, 400_000, 100_000),
        ("search", "m"): Work(5, 500_000, 0, 0),
        ("judge", "n"): Work(1, 1, 0, 1),
    }
    rows = {(row.stage, row.model): row for row in rows_of({"expected": tally}, {"m": price, "n": None}, {"baseline"})}
    assert [*rows] == [("baseline", "m"), ("search", "m"), ("judge", "n"), ("all", "m"), ("all", "n"), ("all", "all")]
    base = rows["baseline", "m"]
    assert (base.usd_list, base.usd_cached, base.usd_batched) == pytest.approx((2.4, 2.0, 1.2))
    assert rows["all", "m"].usd_batched == pytest.approx(1.2 + 1.0)
    assert rows["all", "all"].usd_list is None
    assert rows["all", "all"].calls == 16


def test_prices_come_from_the_config_or_from_litellms_list() -> None:
    own = ModelSpec("m", "openai", "m", price_in=2.0, price_out=4.0)
    assert prices_of(own, 0.5) == Prices(2e-6, pytest.approx(1e-6), 4e-6, 0.5)
    assert prices_of(own, 0.5, BatchSettings(price=0.3)) == Prices(2e-6, pytest.approx(1e-6), 4e-6, 0.3)
    assert prices_of(ModelSpec("m", "openai", "m"), 0.5) is None
    listed = prices_of(ModelSpec("m", "litellm", "openai/gpt-4o-mini-2024-07-18"), 0.1)
    assert listed == Prices(pytest.approx(0.15e-6), pytest.approx(0.075e-6), pytest.approx(0.6e-6))


def test_the_table_and_the_json_say_the_same() -> None:
    row = Row("judge", "m", 1234, 1000, 2000, 5, 4, 3, 2.5, None, 1.0)
    made = Estimate([row], {"d": "8, of whom 8 were simulated"}, {"m": "letters"}, Assumptions(), ["A note."])
    assert "judge  m      1,234  1,000-2,000       5         4        3    2.50         ?     1.00" in made.as_text()
    assert made.as_text().endswith("A note.\n")
    assert json.loads(made.as_json())["rows"][0]["usd_list"] == 2.5


def test_few_users_pass_several_times_and_the_average_counts() -> None:
    model = {"backend": "openai", "model": "gpt", "api_base": "http://x/v1", "price_in": 1.0, "price_out": 1.0}
    raw = {"run": "x", "datasets": {"d": {"path": "v.jsonl"}}, "models": {"m": model}}
    learn = {"models": ["m"], "rebootstrap": False, "search": {"num_search_candidates": 0}}
    config = parse_config({**raw, "methods": ["default"], "learn": learn})
    made = simulate(config, {"d": [user("a"), user("b")]}, {"m": LETTERS}, Assumptions())
    assert round(made.tallies["expected"]["baseline", "m"].calls) == 4 * TEST
    assert made.sampled == {"d": "2, of whom 2 were simulated"}


def test_of_users_who_are_only_trained_on_the_filters_alone_are_simulated() -> None:
    model = {"backend": "openai", "model": "gpt", "api_base": "http://x/v1", "price_in": 1.0, "price_out": 1.0}
    rewards = {"rm": {"methods": ["frozen_bt"], "train_on_dataset": "t"}}
    people = {name: [user(f"{name}{number}") for number in range(2)] for name in ("d", "t")}

    def made(**trained: Any) -> Simulated:  # noqa: ANN401
        sets = {"d": {"path": "v.jsonl"}, "t": {"path": "v.jsonl", "train_only": True, **trained}}
        raw = {"run": "x", "datasets": sets, "models": {"m": model}, "methods": ["default"], "reward_models": rewards}
        return simulate(parse_config({**raw, "learn": {"models": ["m"]}}), people, {"m": LETTERS}, Assumptions())

    plain = made()
    assert set(plain.sampled) == {"d"}
    assert {stage for stage, _ in plain.tallies["expected"]} == {"baseline"}
    filtered = made(filters={"personalizable": {"model": "m"}})
    assert set(filtered.sampled) == {"d", "t"}
    assert {stage for stage, _ in filtered.tallies["expected"]} == {"baseline", "rate"}


@pytest.mark.parametrize("text", ["rigth=0.5", "right=many", "right=1.5", "persona=-1", "persona=0.5"])
def test_a_wrong_assumption_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=f"--assume {text}"):
        read_assumptions([text])
    assert read_assumptions(["right=0.5", "persona=9"]) == Assumptions(right=0.5, persona=9)


def test_data_that_are_not_fetched_yet_are_named_with_what_to_do() -> None:
    hub = {"repo": "some/where", "revision": "main", "files": ["conversations.jsonl", "survey.jsonl"]}
    config = parse_config({"run": "x", "datasets": {"p": {"source": "prism", "hub": hub}}})
    with pytest.raises(DataError, match=r"datasets\.p\.hub: .*conversations.*the target prepare_p"):
        read_data(config)


def test_a_method_that_shows_what_it_learned_from_others_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    def learned(training: Training) -> Weights:
        return Weights(names=tuple(user.user_id for user in training.users), mean=(), scale=())

    def adapt(known: Known) -> JudgeContext:
        assert known.artefact
        return JudgeContext(persona=f"others: {', '.join(known.artefact.names)}; {len(known.pairs)} own")

    shown = Method("shown", "judge", adapt, fit=learned, reads="shown", learns=True, by_k=True)
    monkeypatch.setitem(METHODS, "shown", shown)
    tally = plan({"methods": ["shown"], "learn": {"models": ["m"]}, "k": [1, "all"]}, users=3, most=1)
    assert tally["baseline", "m"].calls == 2 * TEST * 3 * 2
