"""SynthesizeMe and DefaultJudge against a real server: what users of the published package call, and get."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.scripted_server import ScriptedServer

from personalrm import DefaultJudge, PersonalRM, SynthesizeMe
from personalrm.app.library.data import transcript
from personalrm.core.errors import (
    ConfigError,
    DataError,
    NotFittedError,
)
from personalrm.core.records import Turn

from .conftest import QUICK, asked, item, items, judge_of, prefers_bad, prefers_good, prompts

CONTEXT = [{"role": "user", "content": "What now?"}]


def test_learn_predict_evaluate_and_read(server: ScriptedServer) -> None:
    rm = judge_of(server, user_id="ann")
    assert rm.fit(items(7)) is rm
    assert rm.is_fitted
    assert rm.get_persona() == "Likes what is good."
    assert rm.predict_pairwise(CONTEXT, "GOOD one", "BAD one") == 1
    assert rm.predict_pairwise(CONTEXT, "BAD one", "GOOD one") == -1
    result = rm.evaluate(items(3, first=50))
    assert (result.mean, result["mean"], result["upper_bound"]) == (1.0, 1.0, 1.0)
    # Three pairs, in two orders each, leave open what three judgments do: Wilson's bound is 0.438.
    assert 0.3 < result["lower_bound"] == result.lower_bound < 0.438
    assert list(result) == ["mean", "lower_bound", "upper_bound", "results"]
    assert dict(**result)["results"] == (1,) * 6
    assert result.outcomes["correct"] == 6
    assert "1.000 [0.356, 1.000] (6 correct)" in str(result)


def test_without_val_data_the_last_pairs_choose_and_are_not_learned_from(server: ScriptedServer) -> None:
    rm = judge_of(server).fit(items(10))
    shown = {demo.pair.context[0].content for demo in rm.profile.demonstrations}
    assert shown <= {f"question {number}?" for number in range(7)}
    own = judge_of(server).fit(items(4), items(2, first=20))
    tried = {demo.pair.context[0].content for demo in own.profile.demonstrations}
    assert tried <= {f"question {number}?" for number in range(4)}
    assert any("question 21?" in asked(body) for body in server.requests)


def test_demonstrations_and_prompts_hold_what_was_learned(server: ScriptedServer) -> None:
    rm = judge_of(server).fit(items(6))
    demos = rm.get_demos()
    assert demos
    for demo in demos:
        assert demo["conversation"].startswith("[user]: question ")
        stands = "first_completion" if demo["preference"] == "First" else "second_completion"
        assert demo[stands].startswith("GOOD")
        assert demo.get("reasoning", "Because.") == "Because."
    for prompt in (rm.get_judge_prompt(), rm.get_llm_judge_prompt(), rm.get_generation_prompt()):
        assert "Likes what is good." in prompt
        assert demos[0]["first_completion"] in prompt
    assert rm.get_judge_prompt() == rm.get_llm_judge_prompt()
    rm.predict_pairwise("Which?", "GOOD a", "BAD b")
    sent = [body["messages"] for body in server.requests[-2:]]
    assert rm.get_judge_messages("Which?", "GOOD a", "BAD b") in sent


def test_an_unpersonalised_judge_is_shown_no_user(server: ScriptedServer) -> None:
    judge = DefaultJudge("some/model", server.url, model_options=QUICK)
    assert isinstance(judge, PersonalRM)
    assert judge.fit(items(3)) is judge
    judge.save()
    assert judge.load() is judge
    assert judge.predict_pairwise("Which?", "BAD a", "GOOD b") == -1
    assert judge.evaluate(items(2)).mean == 1.0
    assert all(len(body["messages"]) == 2 for body in server.requests)
    assert "question" not in judge.get_judge_prompt()


@pytest.mark.parametrize("said", ["Preference: First", "Preference: tie", "I cannot tell."])
def test_what_names_no_answer_in_both_orders_is_zero(said: str) -> None:
    with ScriptedServer(lambda _: said) as server:
        judge = DefaultJudge("m", server.url, model_options=QUICK)
        assert judge.predict_pairwise(CONTEXT, "a", "b") == 0
        result = judge.evaluate(items(2))
    always_first = said == "Preference: First"
    assert result.mean == (0.5 if always_first else 0.0)
    assert result.outcomes["tie" if "tie" in said else "unparsed"] == (0 if always_first else 4)


UNFITTED: list[Callable[[SynthesizeMe], object]] = [
    lambda rm: rm.predict_pairwise("a", "b", "c"),
    lambda rm: rm.evaluate(items(2)),
    lambda rm: rm.get_persona(),
    lambda rm: rm.get_demos(),
    lambda rm: rm.get_judge_prompt(),
    lambda rm: rm.get_llm_judge_prompt(),
    lambda rm: rm.get_generation_prompt(),
    lambda rm: rm.save("somewhere"),
    lambda rm: asyncio.run(rm.apredict_pairwise("a", "b", "c")),
]


@pytest.mark.parametrize("use", UNFITTED)
def test_unfitted_use_says_what_to_do(use: Callable[[SynthesizeMe], object], server: ScriptedServer) -> None:
    with pytest.raises(NotFittedError, match=r"fit\(data\)"):
        use(judge_of(server))
    assert server.count == 0


def test_two_objects_with_two_models_coexist(server: ScriptedServer) -> None:
    with ScriptedServer(prefers_bad) as other:
        one, two = judge_of(server, model_id="one"), judge_of(other, model_id="two")
        one.fit(items(5))
        two.fit(items(5))
        assert [rm.predict_pairwise("Which?", "GOOD", "BAD") for rm in (one, two, one)] == [1, -1, 1]
        assert {body["model"] for body in other.requests} == {"two"}
    assert {body["model"] for body in server.requests} == {"one"}
    assert (one.profile.model, two.profile.model) == ("one", "two")


def test_dicts_and_strings_agree() -> None:
    turns = [Turn(role="user", content="hi"), Turn(role="assistant", content="yes?"), Turn(role="user", content="so?")]
    forms: list[Any] = [
        [turn.model_dump() for turn in turns],
        ({"role": "human", "content": "hi"}, {"role": "model", "content": "yes?"}, {"role": "user", "content": "so?"}),
        transcript(turns),
        "[user]: hi\n[model]: yes?\n[human]: so?",
    ]
    answers: list[Any] = ["GOOD", {"role": "model", "content": "GOOD"}, {"role": "assistant", "content": "GOOD"}]
    with ScriptedServer(prefers_good) as server:
        for context in forms:
            for answer in [*answers, "[assistant]: GOOD"]:
                # A new object each, as one would not ask twice.
                assert DefaultJudge("m", server.url).predict_pairwise(context, answer, "BAD") == 1
        assert server.count == 2 * len(forms) * 4
        assert len(set(prompts(server))) == 2


def test_fitting_on_dicts_and_on_strings_learns_the_same(server: ScriptedServer) -> None:
    plain = [
        {"context": f"question {n}?", "chosen": f"GOOD answer {n}", "rejected": f"BAD answer {n}"} for n in range(6)
    ]
    one, two = judge_of(server).fit(items(6, conversation_id=None, flip=None)), judge_of(server).fit(plain)
    assert one.profile.model_dump() == two.profile.model_dump()
    assert one.user_id == two.user_id


def test_one_object_learns_users_one_after_another(server: ScriptedServer) -> None:
    rm = judge_of(server, num_search_candidates=0)
    for name in ("ann", "bob"):
        assert rm.fit([{**item, "user_id": name} for item in items(3)]).profile.user_id == name
    with pytest.raises(DataError, match=r"^val_data: are of user 'bob', not of 'ann'"):
        rm.fit([{**item, "user_id": "ann"} for item in items(3)], ({**item, "user_id": "bob"} for item in items(2)))
    given = judge_of(server, num_search_candidates=0, user_id="one")
    assert given.fit([{**items(1)[0], "user_id": "ann"}], [{**items(2)[1], "user_id": "bob"}]).user_id == "one"


def test_the_seed_decides_and_repeats() -> None:
    seen = {}
    for run, seed in enumerate([1, 1, 2]):
        with ScriptedServer(prefers_good) as server:
            judge_of(server, seed=seed).fit(items(8, flip=None))
            seen[run] = prompts(server)
    assert seen[0] == seen[1]
    assert seen[0] != seen[2]


def test_no_two_names_for_the_same_data(server: ScriptedServer) -> None:
    names = [judge_of(server).fit(items(count)).user_id for count in (5, 5, 6)]
    assert names[0] == names[1] != names[2]
    assert judge_of(server).fit(items(5, user_id="bo")).user_id == "bo"
    assert judge_of(server, user_id="me").fit(items(5, user_id="bo")).user_id == "me"


def test_a_judge_without_demonstrations_says_why(server: ScriptedServer) -> None:
    stopped = judge_of(server, stop_at_score=80.0).fit(items(6))
    assert stopped.get_demos() == []
    assert any("reached stop_at_score first" in event for event in stopped.profile.events)
    searched = judge_of(server).fit(items(6))
    assert searched.get_demos()
    assert not any("stop_at_score" in event for event in searched.profile.events)


def test_the_search_ends_early_by_default_only_as_published(server: ScriptedServer) -> None:
    """This judge is right at once: 80 % is reached by the first candidate, which shows nothing."""
    given: Any = {"model_url": server.url, "model_options": QUICK, "num_search_candidates": 1}
    published, corrected = (
        SynthesizeMe("some/model", variant=variant, **given).fit(items(6)) for variant in ("as_published", "corrected")
    )
    assert [c.seed for c in published.profile.search["with_persona"]] == [-3]
    assert len(corrected.profile.search["with_persona"]) > 1
    assert corrected.get_demos()
    learn: Any = {"search": {"stop_at_score": 80}}
    stopped = SynthesizeMe("some/model", variant="corrected", learn_options=learn, **given).fit(items(6))
    assert stopped.get_demos() == []


def test_a_stored_coin_decides_which_answer_of_a_pair_stands_first(server: ScriptedServer) -> None:
    rm = judge_of(server, max_labeled_demos=0).fit([item(n, flip=n < 3) for n in range(6)])
    first = {demo["conversation"][-2]: demo["preference"] for demo in rm.get_demos()}
    assert first
    assert all((preference == "First") == (number < "3") for number, preference in first.items())


def test_one_pair_is_enough(server: ScriptedServer) -> None:
    rm = judge_of(server).fit(items(1))
    assert len(rm.get_demos()) == 1
    assert any("no validation pairs" in event for event in rm.profile.events)
    assert math.isnan(rm.evaluate(items(1, first=9)).lower_bound)


def test_the_interval_resamples_what_varies(server: ScriptedServer) -> None:
    judge = DefaultJudge("m", server.url)
    assert judge.evaluate(items(3)).resampled == "conversations"
    assert judge.evaluate(items(3, conversation_id=None)).resampled == "pairs"
    people = [*items(2, user_id="a"), *items(2, first=5, user_id="b")]
    assert judge.evaluate(people).resampled == "users"


def test_a_persona_alone_or_demonstrations_alone_can_be_shown(server: ScriptedServer) -> None:
    both = judge_of(server, method="persona").fit(items(5))
    assert "Likes what is good." in both.get_judge_prompt()
    assert both.get_demos() == []
    demos = judge_of(server, method="demos").fit(items(5))
    assert demos.get_demos()
    assert "Likes what is good." not in demos.get_judge_prompt()


def test_settings_reach_the_calls(server: ScriptedServer) -> None:
    options = {**QUICK, "max_tokens": 33}
    rm = judge_of(server, model_options=options, max_labeled_demos=0, max_bootstrapped_demos=2)
    rm.fit(items(8))
    assert len(rm.profile.demonstrations) <= 2
    assert any(body["max_tokens"] == 33 for body in server.requests)
    assert len(judge_of(server, max_bootstrapped_demos=-1).fit(items(8)).profile.plain_demonstrations) == 5
    only: Any = {"search": {"special_candidates": ["labelled"]}}
    labelled = judge_of(server, num_search_candidates=0, max_labeled_demos=-1, learn_options=only).fit(items(8))
    assert [demo.reasoning for demo in labelled.profile.demonstrations] == [None] * 5


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"train_val_ratio": 0}, "train_val_ratio"),
        ({"train_val_ratio": 1.5}, "train_val_ratio"),
        ({"num_workers": 0}, "num_workers: "),
        ({"num_workers_bootstrap": 0}, "num_workers_bootstrap: "),
        ({"max_labeled_demos": -2}, "max_labeled_demos"),
        ({"num_search_candidates": -1}, "num_search_candidates"),
        ({"stop_at_score": 101}, "stop_at_score"),
        ({"model_id": ""}, "model_id"),
        ({"model_id": "openai/"}, "model_id"),
        ({"model_id": "embedded/x", "model_url": "http://localhost:1/v1"}, "model_url"),
        ({"method": "default"}, "method"),
        ({"method": "nonsense"}, "method"),
        ({"variant": "nonsense"}, "variant"),
        ({"model_options": {"prompts": "long"}}, "model_options: prompts"),
        ({"model_options": {"api_key": "sk-1"}}, "model_options: api_key"),
        ({"learn_options": {"boot": {}}}, "learn_options: boot"),
        ({"learn_options": ["bootstrap"]}, "learn_options: is list"),
        ({"model_options": "prompts"}, "model_options: is str"),
        ({"lm": object()}, "lm"),
        ({"variant": "mended"}, "variant: no variant 'mended'"),
    ],
)
def test_a_wrong_setting_is_named_before_any_call(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=f"^{named}") as caught:
        SynthesizeMe(**options)
    assert "sk-1" not in str(caught.value)


def test_answers_are_kept_in_output_dir_and_the_profile_beside_them(server: ScriptedServer, tmp_path: Path) -> None:
    first = judge_of(server, output_dir=tmp_path / "ann", user_id="ann").fit(items(6))
    paid = server.count
    with judge_of(server, output_dir=tmp_path / "ann", user_id="ann") as again:
        assert again.fit(items(6)).profile == first.profile
        assert server.count == paid
        fresh = judge_of(server, output_dir=tmp_path / "ann", user_id="ann").load()
        assert fresh.profile == first.profile


def test_predict_on_one_answer_is_refused(server: ScriptedServer) -> None:
    with pytest.raises(NotImplementedError, match="predict_pairwise"):
        judge_of(server).predict("a", "b")


def test_contradicting_data_still_teach(server: ScriptedServer) -> None:
    other = item(0, chosen="BAD answer 0", rejected="GOOD answer 0")
    assert judge_of(server).fit([*items(4), other]).is_fitted


def scores_good(body: dict[str, Any]) -> str:
    """`prefers_good`, and as criteria judge: one criterion, which what is marked GOOD meets."""
    system = str(body["messages"][0]["content"])
    if "Weight <1-5>:" in system:
        return "Weight 3: goodness"
    if "Criterion <number>:" not in system:
        return prefers_good(body)
    first, second = (9, 2) if asked(body).index("GOOD") < asked(body).index("BAD") else (2, 9)
    return f"Criterion 1: First {first}, Second {second}"


def test_the_criteria_judge_asks_for_criteria_once_a_pair() -> None:
    with ScriptedServer(scores_good) as server:
        rm = judge_of(server, method="criteria").fit(items(6))
        learned = server.count
        assert rm.predict_pairwise("Which?", "GOOD a", "BAD b") == 1
        assert rm.predict_pairwise("Which?", "BAD b", "GOOD a") == -1
        # One call for the criteria of this query, and two orders; the other way round they are known.
        assert server.count == learned + 3
        assert rm.evaluate(items(2, first=50)).mean == 1.0
        assert server.count == learned + 3 + 6
        first = rm.get_judge_messages("Which?", "GOOD a", "BAD b")
        assert first in [body["messages"] for body in server.requests]
        assert "GOOD a" not in first[1]["content"]
        assert rm.get_demos()


def fills_in_scorecards(body: dict[str, Any]) -> str:
    """`prefers_good`, or a scorecard that favours what is marked GOOD."""
    if "response_format" not in body:
        return prefers_good(body)
    first, second = (9, 2) if asked(body).index("GOOD") < asked(body).index("BAD") else (2, 9)
    return f'{{"criteria": [{{"weight": 1, "first": {first}, "second": {second}}}]}}'


@pytest.mark.parametrize(("method", "shown"), [("scorecard", 6), ("history_validation", 6), ("history", 4)])
def test_methods_that_show_pairs_as_they_are_make_no_call_to_fit(tmp_path: Path, method: str, shown: int) -> None:
    with ScriptedServer(fills_in_scorecards) as server:
        rm = judge_of(server, method=method).fit(items(6))
        assert (server.count, len(rm.get_demos()), rm.get_persona()) == (0, shown, None)
        assert rm.predict_pairwise("Which?", "GOOD a", "BAD b") == 1
        assert rm.predict_pairwise("Which?", "BAD b", "GOOD a") == -1
        assert server.count == 2
        assert rm.evaluate(items(2, first=50)).mean == 1.0
        again = SynthesizeMe.from_saved(rm.save(tmp_path / "saved.json"))
        assert again.get_judge_messages("Which?", "GOOD a", "BAD b") in [body["messages"] for body in server.requests]
        options = {**QUICK, "context_length": 2600}
        small = judge_of(server, method=method, model_options=options).load(tmp_path / "saved.json")
        assert small.predict_pairwise("Which?", "GOOD a " * 700, "BAD b") == 1
        assert server.requests[-1]["messages"][0]["content"].count("--- Choice") < shown


def test_the_criteria_judge_refuses_log_probability_verdicts(server: ScriptedServer) -> None:
    for verdicts in (["logprob"], ["logprob", "text"]):
        with pytest.raises(ConfigError, match=r"^method: 'criteria' reads no log-probabilities"):
            judge_of(server, method="criteria", model_options={**QUICK, "verdicts": verdicts})
