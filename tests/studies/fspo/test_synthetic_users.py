"""Synthetic users end to end without Snakemake, by a scripted model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.scripted_server import Answer, Fault, ScriptedServer
from support.synthetic_world import world

from personalrm.core.errors import ConfigError, DataError, ModelCallError
from personalrm.core.records import read_all
from personalrm.core.synthetic import QuestionAnswers, QuestionGroup, SyntheticPair, SyntheticUser, UserLabels
from personalrm.studies.config_load import parse_config
from personalrm.studies.fspo.plan import Plan
from personalrm.studies.fspo.results.diversity_table import diversity_table
from studies.fspo.cases import COLOURS, raw, run, table


def people(plan: Plan) -> dict[str, SyntheticUser]:
    return {user.user_id: user for user in read_all([Path(p) for p in plan.paths("describe_users")], SyntheticUser)}


def labels(plan: Plan) -> dict[str, UserLabels]:
    return {row.user_id: row for row in read_all([Path(p) for p in plan.paths("label_pairs")], UserLabels)}


def pairs(plan: Plan) -> dict[str, SyntheticPair]:
    return {pair.pair_id: pair for pair in read_all([Path(p) for p in plan.paths("pair_answers")], SyntheticPair)}


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A run that nothing happens to."""
    with ScriptedServer(world()) as server:
        return run(tmp_path_factory.mktemp("plain"), server.url)


def test_labels_are_what_descriptions_want(plan: Plan) -> None:
    known, users = pairs(plan), people(plan)
    for name in ("red", "blue"):
        for one in labels(plan)[name].labels:
            texts = (known[one.pair_id].first, known[one.pair_id].second)
            wanted = [any(f"offers {thing}" in text for thing in ("red", "blue", "green")
                          if f"wants {thing}" in users[name].description) for text in texts]  # fmt: skip
            assert one.label == (None if wanted[0] == wanted[1] else ("first", "second")[wanted[1]])
        assert {one.label for one in labels(plan)[name].labels} > {"first", "second"}
    # A trait that says nothing of colours decides nothing, until facts do.
    calm = users["calm"]
    assert all(one.label is None for one in calm.before)
    assert calm.facts
    assert set(calm.coins) <= {one.pair_id for one in calm.after}
    for pair_id, side in calm.coins.items():
        offered = getattr(known[pair_id], side).partition("offers ")[2].partition(".")[0]
        assert f"The person wants {offered}." in calm.facts


def test_the_table_of_entropy_counts_what_became_of_pairs(plan: Plan) -> None:
    (row,) = table(plan, "label_entropy").to_dict("records")
    every = [one for user in labels(plan).values() for one in user.labels]
    assert row["n_pairs"] == len(every) == 3 * (8 + 2)
    assert row["kept"] == sum(one.label is not None for one in every)
    assert row["kept"] + row["undecided"] == row["n_pairs"]
    before = [one.entropy for user in people(plan).values() for one in user.before]
    assert row["before"] == pytest.approx(sum(value or 0 for value in before) / len(before), abs=1e-4)
    assert row["after"] < row["before"]
    said = (Path(plan.run) / "tables" / "label_entropy.md").read_text(encoding="utf-8")
    assert "reported to give 0.64 (before refinement), 0.13 (after refinement) (third-party notes" in said


def test_a_judge_that_names_the_first_loses_all_pairs(tmp_path: Path) -> None:
    def first(body: dict[str, Any]) -> Answer | str:
        asked = "Which answer does the person prefer" in body["messages"][-1]["content"]
        return "Preference: First" if asked else world()(body)

    with ScriptedServer(first) as server:
        plan = run(tmp_path, server.url)
    (row,) = table(plan, "label_entropy").to_dict("records")
    assert (row["kept"], row["order_dependent"], row["undecided"]) == (0, 30, 0)
    assert (row["before"], row["after"]) == (pytest.approx(0.6931), pytest.approx(0.6931))
    assert table(plan, "disagreement").empty


def test_log_probabilities_near_zero_do_not_decide(tmp_path: Path) -> None:
    with ScriptedServer(world()) as server:
        plan = run(tmp_path, server.url, model={"prompts": "compact", "verdicts": ["logprob"]})
    users = people(plan)
    assert users["red"].coins.keys() <= pairs(plan).keys()
    assert users["calm"].facts
    (sure,) = {one.log_odds for one in users["red"].before if one.label == "first"}
    assert sure == pytest.approx(3.0)


def renamed(names: dict[str, str]) -> dict[str, dict[str, str]]:
    return {key: {names.get(name, name): text for name, text in values.items()} for key, values in COLOURS.items()}


def test_what_is_no_sentence_about_the_person_is_no_fact(tmp_path: Path) -> None:
    def chats(body: dict[str, Any]) -> Answer | str:
        asked = body["messages"][0]["content"].startswith("You complete the description")
        return "The answer you gave is great." if asked else world()(body)

    with ScriptedServer(chats) as server:
        found = people(run(tmp_path, server.url))["calm"]
    assert (found.facts, found.coins) == ((), {})
    assert found.unusable == found.undecided == 10


def test_a_fact_that_the_provider_failed_is_no_unusable_answer(tmp_path: Path) -> None:
    def faults(_number: int, body: dict[str, Any]) -> Fault | None:
        asked = body["messages"][0]["content"].startswith("You complete the description")
        return Fault("status", 500) if asked else None

    few = {"traits": {"mood": {"calm": "Is calm."}}, "pairs": {"shared": 3, "own": 0}}
    with ScriptedServer(world(), faults=faults) as server:
        found = people(run(tmp_path, server.url, domain=few, max_failed_share=1.0, model={"max_attempts": 1}))["calm"]
    assert (found.facts, found.coins, found.unusable) == ((), {}, 0)
    assert found.undecided == found.failed == 3


def test_a_description_has_so_many_facts_at_most(tmp_path: Path) -> None:
    with ScriptedServer(world()) as server:
        found = people(run(tmp_path, server.url, describe={"facts": 1, "regenerate": 0}))["calm"]
    assert len(found.facts) == 1
    assert found.undecided > 1


def test_names_of_users_change_nothing(tmp_path: Path) -> None:
    with ScriptedServer(world()) as server:
        one = run(tmp_path / "one", server.url)
        asked = server.count
        store = tmp_path / "one" / "store.sqlite"
        other = run(tmp_path / "other", server.url, domain={"traits": renamed({"red": "aaa"})}, store=str(store))
        assert server.count == asked
    theirs = {
        name: user.model_dump(exclude={"user_id", "traits", "dataset", "conflicts"})
        for name, user in people(other).items()
    }
    mine = {
        name: user.model_dump(exclude={"user_id", "traits", "dataset", "conflicts"})
        for name, user in people(one).items()
    }
    assert theirs.pop("aaa") == mine.pop("red")
    assert theirs == mine


def test_neither_shards_nor_concurrency_change_a_result(tmp_path: Path) -> None:
    made = []
    with ScriptedServer(world()) as server:
        for number, most in enumerate((1, 9)):
            plan = run(
                tmp_path / str(number), server.url, domain={"shards": 1 + 2 * number}, model={"max_concurrency": most}
            )
            for name in ("disagreement", "label_entropy", "diversity"):
                table(plan, name)
            found = [path.read_bytes() for path in sorted((Path(plan.run) / "tables").glob("*"))]
            made.append(
                [*found, *(Path(plan.paths(name)[0]).read_bytes() for name in ("pair_answers", "describe_users"))]
            )
    assert len(made[0]) == 14
    assert made[0] == made[1]


def test_a_run_that_broke_off_asks_nothing_twice(tmp_path: Path) -> None:
    broken = {"on": True}

    def faults(number: int, _body: dict[str, Any]) -> Fault | None:
        return Fault("status", 500) if broken["on"] and number >= 60 else None

    with ScriptedServer(world(), faults=faults) as server:
        with pytest.raises(ExceptionGroup) as broke:
            run(tmp_path, server.url, model={"max_attempts": 1})
        assert broke.group_contains(ModelCallError, match="All answers so far are kept")
        failed = server.count - 60
        broken["on"] = False
        run(tmp_path, server.url, model={"max_attempts": 1})
        sent = [json.dumps(request, sort_keys=True) for request in server.requests]
        assert len(sent) == len(set(sent)) + failed
        assert failed > 0


def test_users_who_are_too_alike_are_made_again(tmp_path: Path) -> None:
    alike = {"traits": {"mood": {"calm": "Is calm."}}, "people": {"personas": 4}, "pairs": {"shared": 10, "own": 0}}
    with ScriptedServer(world()) as server:
        once = run(
            tmp_path / "once", server.url, domain=alike, describe={"least": 0.5, "least_pairs": 1, "regenerate": 0}
        )
        again = run(
            tmp_path / "again", server.url, domain=alike, describe={"least": 0.5, "least_pairs": 1, "regenerate": 3}
        )
    assert {user.attempts for user in people(once).values()} == {1}
    first, later = people(once), people(again)
    out = {name for name, user in first.items() if user.conflicts}
    assert out
    assert {name for name, user in later.items() if user.attempts > 1} >= out
    assert all(later[name].facts == first[name].facts for name in later if later[name].attempts == 1)
    # Each attempt labels ten pairs three times in both orders.
    assert all(later[name].asked >= first[name].asked + 60 * (later[name].attempts - 1) for name in later)
    assert any(later[name].facts != first[name].facts for name in out)
    table(again, "disagreement")
    said = (Path(again.run) / "tables" / "disagreement.md").read_text(encoding="utf-8")
    assert "Made again because" in said
    assert "nobody" not in said


def test_pairs_that_are_not_shared_make_nobody_again(tmp_path: Path) -> None:
    alike = {"traits": {"mood": {"calm": "Is calm."}}, "people": {"personas": 3}, "pairs": {"shared": 3, "own": 9}}
    with ScriptedServer(world()) as server:
        plan = run(tmp_path, server.url, domain=alike, describe={"least": 1.0, "least_pairs": 4})
    assert [(user.attempts, user.conflicts) for user in people(plan).values()] == [(1, ())] * 3
    # By all pairs in common they would be too alike.
    assert (table(plan, "disagreement").query("n_pairs >= 4")["disagreement"] < 1).any()


def test_users_whose_traits_decide_everything_are_not_made_again(tmp_path: Path) -> None:
    twice = {"traits": {"likes": {"red": "The person wants red."}}, "people": {"personas": 2}}
    with ScriptedServer(world(("red", "blue"))) as server:
        plan = run(tmp_path, server.url, domain=twice, describe={"least_pairs": 1})
    assert [(user.attempts, user.facts) for user in people(plan).values()] == [(1, ())] * 2
    assert sorted(user.conflicts for user in people(plan).values())[0] == ()
    assert len([user for user in people(plan).values() if user.conflicts]) == 1


def test_questions_are_given_written_and_held_out_by_exact_shares(tmp_path: Path) -> None:
    seeds = tmp_path / "seeds.txt"
    seeds.write_text("Is it one?\n\nIs it another one?\nIs it one?\n", encoding="utf-8")
    questions = {"seeds": str(seeds), "general": 6, "per_trait": 2, "held_out": 0.5}
    with ScriptedServer(world()) as server:
        plan = run(tmp_path, server.url, domain={"questions": questions})
    groups = list(read_all([Path(p) for p in plan.paths("ask_questions")], QuestionGroup))
    assert [(group.trait, len(group.questions)) for group in groups] == [
        *(("", 6), ("mood.calm", 2), ("likes.blue", 2), ("likes.red", 2)),
    ]
    assert [question.source for question in groups[0].questions] == ["seed"] * 2 + ["model"] * 4
    assert [sum(question.held_out for question in group.questions) for group in groups] == [3, 1, 1, 1]
    # Each list ends with its first question in capitals.
    assert groups[0].duplicates >= 1
    answered = {row.question_id for row in read_all([Path(p) for p in plan.paths("answer_questions")], QuestionAnswers)}
    assert answered == {q.question_id for group in groups for q in group.questions if not q.held_out}


def test_the_last_line_of_a_list_that_was_cut_is_no_question_and_no_view(tmp_path: Path) -> None:
    lists = {
        "You invent questions": "What is it?\nWhy is it?\nWhere does i",
        "You list different views": "It offers red.\nIt offers blue.\nIt offers gre",
    }

    def cut(body: dict[str, Any]) -> Answer | str:
        found = [text for begun, text in lists.items() if body["messages"][0]["content"].startswith(begun)]
        return Answer(found[0], finish_reason="length") if found else world()(body)

    with ScriptedServer(cut) as server:
        plan = run(tmp_path, server.url, domain={"questions": {"general": 4}})
    (group,) = read_all([Path(p) for p in plan.paths("ask_questions")], QuestionGroup)
    assert [question.text for question in group.questions] == ["What is it?", "Why is it?"]
    answered = read_all([Path(p) for p in plan.paths("answer_questions")], QuestionAnswers)
    assert [[answer.steer for answer in row.answers] for row in answered] == [["It offers red.", "It offers blue."]] * 2


def test_answers_of_all_ways_and_of_several_models(tmp_path: Path) -> None:
    values = raw(tmp_path, "http://x/v1")
    with ScriptedServer(world()) as server:
        model = values["models"]["m"] | {"api_base": server.url}
        models = {"m": model, "n": model | {"model": "n"}}
        ways = {"ways": ["plain", "persona_steering", "views"], "pairs": {"shared": 2, "own": 0}, "refine": False}
        answer = {"models": ["m", "n"], "temperatures": [0.3, 1.0], "each": 2}
        plan = run(tmp_path, server.url, models=models, answer=answer, domain=ways)
    found = table(plan, "diversity")
    assert len(found) == 3 * 3 * 2
    said = (Path(plan.run) / "tables" / "diversity.md").read_text(encoding="utf-8")
    assert "0.78 (+ view steering), 0.71 (ensemble + view steering), by embeddings" in said
    rows = found.set_index(["model", "way", "temperature"])["similarity"]
    # Plain samples of this model are all alike; views differ, and a second model adds equal texts.
    assert rows["m", "plain", 1.0] == pytest.approx(1.0)
    assert rows["m", "views", 1.0] < 0.5
    assert rows["all models", "views", 1.0] > rows["m", "views", 1.0]
    steered = [a for row in read_all([Path(p) for p in plan.paths("answer_questions")], QuestionAnswers)
               for a in row.answers if a.way == "persona_steering"]  # fmt: skip
    assert {answer.steer for answer in steered} == {text for values in COLOURS.values() for text in values.values()}


def test_similarity_is_that_computed_by_hand_and_missing_answers_do_not_count() -> None:
    def row(*texts: str) -> QuestionAnswers:
        answers = [{"model": "m", "temperature": 1.0, "way": "views", "text": text} for text in texts]
        answers = [answer | {"outcome": "ok" if answer["text"] else "provider_error"} for answer in answers]
        return QuestionAnswers.model_validate({"dataset": "d", "question_id": "q", "model": "m", "answers": answers})

    # Both have "tea" (weight 1), one of two has each of the others: (1 + ln 1.5) each.
    rare = 1 + math.log(3 / 2)
    for texts in (("tea now", "tea later"), ("tea now", "", "tea later", "")):
        (found,) = diversity_table([row(*texts)], seed=0, n_resamples=99).to_dict("records")
        assert found["similarity"] == pytest.approx(1 / (1 + rare**2), abs=1e-4)
        assert (found["n_answers"], found["n_empty"]) == (2, len(texts) - 2)


def test_answers_that_are_all_alike_make_no_pairs(tmp_path: Path) -> None:
    with ScriptedServer(world()) as server, pytest.raises(DataError, match=r"use datasets\.d\.ways: \[views\]"):
        run(tmp_path, server.url, domain={"ways": ["plain"]})


def test_a_domain_without_a_question_to_answer_is_named(tmp_path: Path) -> None:
    seeds = tmp_path / "seeds.txt"
    seeds.write_text("\n", encoding="utf-8")
    with ScriptedServer(world()) as server:
        with pytest.raises(DataError, match=r"there are 2, and 0\.9 of them are held out"):
            run(tmp_path, server.url, domain={"questions": {"general": 2, "held_out": 0.9}})
        with pytest.raises(DataError, match="there are 0, and 0 of them are held out"):
            run(tmp_path, server.url, domain={"questions": {"seeds": str(seeds)}})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["ask"].update(model="x"), "ask.model: no model 'x' under 'models' (there are: m)"),
        (lambda c: c["answer"].update(models=["m", "m"]), "answer.models: 'm' is given twice"),
        (lambda c: c["label"].update(model="y"), "label.model: no model 'y'"),
        (lambda c: c["datasets"]["d"].update(ways=["views", "views"]), "datasets.d.ways: 'views' is given twice"),
        (lambda c: c["datasets"]["d"].update(questions={}), "datasets.d.questions: there are none"),
        (
            lambda c: c["datasets"]["d"].update(pairs={"shared": 0, "own": 0}),
            "datasets.d.pairs: shared and own are both 0",
        ),
        (
            lambda c: c["datasets"]["d"].update(questions={"per_trait": 4}, pairs={"shared": 8, "own": 0}),
            "datasets.d.pairs.own: is 0, and shared pairs are of general questions, of which there are none",
        ),
        (
            lambda c: c["datasets"]["d"].update(people={"personas": 2}, refine=False),
            "datasets.d.people.personas: users with the same traits differ by added facts alone, and "
            "datasets.d.refine: false adds none",
        ),
        (
            lambda c: (c["datasets"]["d"].update(people={"personas": 2}), c.update(describe={"facts": 0})),
            "datasets.d.people.personas: users with the same traits differ by added facts alone, and "
            "describe.facts: 0 adds none",
        ),
        (
            lambda c: c["datasets"]["d"].update(traits={"x": {"a": "A."}}, people={"interpolated": True}),
            "datasets.d.people.interpolated: there is one dimension",
        ),
        (
            lambda c: c["datasets"]["d"].update(traits={"x": {"a": "A."}, "y": {"a": "B."}}),
            "datasets.d.traits: two users would be named 'a'",
        ),
        (lambda c: c["datasets"]["d"].update(traits={"X y": {"a": "A."}}), "datasets.d.traits"),
        (lambda c: c["models"]["m"].update(prompts="compact"), "models.m.verdicts: 'text' is not read"),
    ],
)
def test_a_wrong_config_is_named_by_its_key(change: Callable[[Any], Any], said: str, tmp_path: Path) -> None:
    values = raw(tmp_path, "http://x/v1", ask={})
    change(values)
    with pytest.raises(ConfigError) as caught:
        parse_config(values)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"questions": {"per_trait": 4}, "pairs": {"shared": 8, "own": 1}},
        {"questions": {"general": 1, "per_trait": 4}, "pairs": {"shared": 8, "own": 0}},
        {"questions": {"seeds": "q.txt", "per_trait": 4}, "pairs": {"shared": 8, "own": 0}},
        {"people": {"personas": 2}},
        {"refine": False},
    ],
)
def test_domains_with_pairs_to_label_and_users_who_differ_are_fine(change: dict[str, Any], tmp_path: Path) -> None:
    parse_config(raw(tmp_path, "http://x/v1", domain=change))
