"""TasteModel against a real server whose model sees two traits: `!` makes an answer loud, `?` curious."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from support.models import ScriptedModel, text
from support.scripted_server import Fault, ScriptedServer
from support.traits import says

from personalrm import PersonalRM, TasteModel
from personalrm.core.errors import ConfigError, DataError, ModelCallError, NotFittedError
from personalrm.llm.types import Request, Response

from .conftest import QUICK, Item, judge_of, prefers_good, taste_model, vote, votes

LABELS = {**QUICK, "verdicts": ["logprob_both"], "prompts": "compact"}
LOUD, CALM = "Sure! Do it!", "Sure. Do it."
OUTAGE = Fault("status", 503)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(says) as running:
        yield running


@pytest.mark.parametrize("options", [QUICK, LABELS], ids=["ratings", "labels"])
@pytest.mark.parametrize("orders", ["both", "one"])
def test_measure_predict_and_evaluate(orders: str, options: Item, server: ScriptedServer, bank: Path) -> None:
    rm = taste_model(server, bank, orders=orders, model_options=options)
    assert isinstance(rm, PersonalRM)
    assert rm.fit(votes(6), votes(2, first=6)) is rm
    assert rm.predict_pairwise("Which?", LOUD, CALM) == 1
    assert rm.predict_pairwise("Which?", CALM, LOUD) == -1
    probability = rm.predict_proba("Which?", LOUD, CALM)
    assert probability is not None
    assert probability > 0.8
    assert rm.predict_proba("Which?", CALM, LOUD) == pytest.approx(1 - probability, abs=1e-6)
    # Of a tie any verdict is wrong.
    result = rm.evaluate([*votes(3, first=20), vote(30, "?"), vote(31, tie=True)])
    assert (result.outcomes["correct"], result.outcomes["wrong"]) == (3, 2)
    found = rm.leave_one_out()
    assert (found.n_votes, found.n_right, found.accuracy, found.own) == (8, 8, 1.0, True)
    assert found.log_loss < 0.5 < found.null_log_loss
    per_order = 1 if options is QUICK else 3
    sent = [body for body in server.requests if "question 3?" in str(body["messages"])]
    assert len(sent) == per_order * (2 if orders == "both" else 1)
    assert "8 votes" in repr(rm)
    assert "not fitted" in repr(taste_model(server, bank))


@pytest.mark.parametrize("options", [QUICK, LABELS], ids=["ratings", "labels"])
@pytest.mark.parametrize("orders", ["both", "one"])
def test_equal_answers_are_a_tie_without_a_call(orders: str, options: Item, server: ScriptedServer, bank: Path) -> None:
    rm = taste_model(server, bank, orders=orders, model_options=options).fit(votes(6))
    count = server.count
    for number in range(3):
        assert rm.predict_pairwise(f"Which {number}?", LOUD, LOUD) == 0
        assert rm.predict_proba(f"Which {number}?", LOUD, LOUD) == 0.5
    assert len(rm.explain("Which?", LOUD, LOUD)) == 0
    assert rm.rank("Which?", [CALM, CALM])[0].score == 0
    assert server.count == count
    # Among others, each in its place.
    found = rm.predict_many(
        [("Which?", LOUD, LOUD), ("Which?", CALM, LOUD), ("Where?", CALM, CALM), ("Which?", LOUD, CALM)]
    )
    assert [one.preference for one in found] == [0, -1, 0, 1]
    low, high, again = rm.reward(["Which?"] * 3, [CALM, LOUD, LOUD])
    assert low < 0 < high == again
    with pytest.raises(NotFittedError):
        taste_model(server, bank).explain("Which?", LOUD, LOUD)


def test_without_others_own_weights_of_a_model_that_writes_ratings_predict_alone(
    server: ScriptedServer, bank: Path
) -> None:
    """Also where the votes are no evidence of a taste; a model that gives labels says what it prefers itself."""
    ratings, labels = (taste_model(server, bank, model_options=options).fit(votes(4)) for options in (QUICK, LABELS))
    assert (ratings.learned.taste.own, labels.learned.taste.own) == (False, False)
    assert ratings.learned.taste.own_probability is None
    assert 0 < (labels.learned.taste.own_probability or 0) < 1
    assert "default" not in {one.attribute for one in ratings.weights()}
    assert ratings.predict_pairwise("Which?", LOUD, CALM) == 1


def test_an_answer_of_which_too_little_is_sure_is_none(server: ScriptedServer, bank: Path) -> None:
    rm = taste_model(server, bank).fit(votes(8))
    probability = rm.predict_proba("Which?", CALM, LOUD)
    assert probability is not None
    sure = 1 - probability
    assert rm.predict_proba("Which?", CALM, LOUD, abstain=sure - 0.01) == probability
    assert rm.predict_proba("Which?", CALM, LOUD, abstain=sure + 0.01) is None
    assert rm.predict_pairwise("Which?", CALM, LOUD) == -1
    for wrong in (0.3, 1.5, "much"):
        with pytest.raises(ConfigError, match=r"^abstain: "):
            rm.predict_proba("Which?", CALM, LOUD, abstain=wrong)  # type: ignore[arg-type]


def test_votes_of_one_conversation_are_no_evidence_of_each_other(server: ScriptedServer, bank: Path) -> None:
    rm = taste_model(server, bank).fit(votes(8, conversation_id="one"))
    found = rm.leave_one_out()
    assert (found.n_votes, found.n_right, found.own) == (8, 0, False)
    assert rm.get_persona() is None
    # Votes on one question that share an answer are of one conversation, though it has no name.
    shared = [{"context": "Which?", "chosen": LOUD, "rejected": f"Answer {number}."} for number in range(8)]
    assert rm.fit(shared).leave_one_out().n_right == 0
    assert rm.add(votes(8)).leave_one_out().own


def test_what_was_measured_is_said_in_words(server: ScriptedServer, bank: Path) -> None:
    rm = taste_model(server, bank).fit(votes(4, likes="!") + votes(4, first=4))
    first, *_ = rm.weights()
    assert first.low < first.weight < first.high
    assert 0 < first.sd < (first.high - first.low) / 3
    sizes = [abs(one.weight) for one in rm.weights()]
    assert sizes == sorted(sizes, reverse=True)
    loud = next(one for one in rm.weights() if one.attribute == "is_loud")
    assert loud.weight > 0
    assert (loud.more, loud.less) == ("loud answers", "calm answers")
    frame = rm.weights().to_frame()
    assert list(frame.columns) == ["attribute", "weight", "sd", "low", "high", "more", "less", "kind"]
    assert len(frame) == len(rm.weights())
    persona = rm.get_persona()
    assert persona
    assert "prefers loud answers." in persona
    assert "question" not in persona
    assert any(one.feature == "is_loud" and one.votes for one in rm.statements())
    for prompt in (rm.get_generation_prompt(), rm.get_judge_prompt("Which?", LOUD, CALM)):
        assert persona in prompt


def test_reasons_name_the_pole_that_the_user_prefers_and_the_answer_that_has_it(
    server: ScriptedServer, bank: Path
) -> None:
    for likes, option, pole in (("!", 1, "loud answers"), ("", -1, "calm answers")):
        loves = [vote(n) if likes else {**vote(n), "chosen": f"A {n}.", "rejected": f"A {n}!"} for n in range(8)]
        rm = taste_model(server, bank).fit(loves)
        reasons = rm.explain("Which?", LOUD, CALM)
        one = next(one for one in reasons if one.attribute == "is_loud")
        assert (one.option, one.text) == (option, pole)
        assert one.log_odds * option > 0
        assert one.difference > 0
        assert str(one) == f"{abs(one.log_odds):.2f} for option{1 if option == 1 else 2}: {pole}"
        assert [abs(each.log_odds) for each in reasons] == sorted(
            (abs(each.log_odds) for each in reasons), reverse=True
        )
        turned = {each.attribute: (each.log_odds, each.text) for each in rm.explain("Which?", CALM, LOUD)}
        assert turned == {each.attribute: (-each.log_odds, each.text) for each in reasons}
        assert len(reasons.to_frame()) == len(reasons)


def test_more_votes_ask_about_these_alone_and_give_the_taste_of_all(server: ScriptedServer, bank: Path) -> None:
    rm = taste_model(server, bank).fit(votes(5))
    before = len(server.requests)
    rm.add(votes(3, first=5)).add(votes(2))
    assert len(server.requests) == before + 2 * 3
    assert rm.events[0] == "data: 2 rows left out (repeats)"
    once = taste_model(server, bank, user_id=rm.user_id).fit(votes(8))
    assert once.learned.record == rm.learned.record
    with pytest.raises(DataError, match=r"^votes\[1\], field chosen"):
        rm.add([vote(9), vote(10, chosen="")])
    with pytest.raises(NotFittedError):
        taste_model(server, bank).add(votes(1))


def test_votes_may_come_as_a_data_frame_a_generator_or_a_data_set(server: ScriptedServer, bank: Path) -> None:
    wanted = taste_model(server, bank, user_id="ann").fit(votes(5)).add(votes(3, first=5))
    rm = taste_model(server, bank, user_id="ann").fit(pd.DataFrame(votes(5)))
    rm.add(datasets.Dataset.from_list(votes(3, first=5)))
    assert rm.learned.record == wanted.learned.record
    one_by_one = taste_model(server, bank, user_id="ann").fit(each for each in votes(8))
    assert one_by_one.learned.record == wanted.learned.record
    assert rm.evaluate(each for each in votes(2, first=20)) == wanted.evaluate(votes(2, first=20))
    others = {f"u{user}": pd.DataFrame(votes(4, first=30 + 9 * user)) for user in range(2)}
    assert taste_model(server, bank, user_id="ann").fit(votes(8), others=others).learned.prior is not None


def test_a_loaded_object_goes_on_without_a_store(server: ScriptedServer, bank: Path, tmp_path: Path) -> None:
    rm = taste_model(server, bank, user_id="ann", orders="one").fit(votes(6))
    file = rm.save(tmp_path / "kept")
    before = len(server.requests)
    for loaded in (taste_model(server, bank, orders="one").load(file), TasteModel.from_saved(tmp_path / "kept", "ann")):
        assert loaded.learned == rm.learned
        assert (loaded.user_id, loaded.events, repr(loaded)) == ("ann", rm.events, repr(rm))
        loaded.add([])
        assert loaded.learned.record == rm.learned.record
    assert len(server.requests) == before
    assert loaded.predict_proba("Which?", LOUD, CALM) == rm.predict_proba("Which?", LOUD, CALM)
    assert json.loads(file.read_text(encoding="utf-8"))["kind"] == "personalrm.TasteModel"


REFUSED: dict[str, tuple[Callable[[Path], object], Item, str]] = {
    "another model's": (lambda file: None, {"model_id": "other"}, "model 'some/model', not 'other'"),
    "of other attributes": (lambda file: None, {"use": "core"}, "measured with other attributes"),
    "of another kind of scores": (lambda file: None, {"model_options": LABELS}, "another kind of verdicts"),
    "of a later version": (lambda file: file.write_text(file.read_text().replace(": 1,", ": 9,", 1)), {}, "schema"),
    "truncated": (lambda file: file.write_text(file.read_text()[:99]), {}, "not a taste that this version"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_does_not_fit_is_refused(case: str, server: ScriptedServer, bank: Path, tmp_path: Path) -> None:
    file = taste_model(server, bank).fit(votes(3)).save(tmp_path / "kept.json")
    damage, options, said = REFUSED[case]
    damage(file)
    rm = taste_model(server, bank, **options)
    with pytest.raises(DataError, match=said):
        rm.load(file)
    assert not rm.is_fitted


def test_a_profile_is_no_taste_and_no_file_holds_a_key(
    server: ScriptedServer, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(prefers_good) as other:
        made = judge_of(other, num_search_candidates=0).fit([vote(1, chosen="GOOD", rejected="BAD")])
        with pytest.raises(DataError, match="not a taste that this version of personalrm wrote"):
            taste_model(server, bank).load(made.save(tmp_path / "profile.json"))
    monkeypatch.setenv("MY_KEY", "sk-canary")
    folder = tmp_path / "kept"
    rm = taste_model(server, bank, user_id="a", output_dir=folder, model_options={**QUICK, "api_key_env": "MY_KEY"})
    rm.fit(votes(3)).close()
    assert server.headers[-1]["Authorization"] == "Bearer sk-canary"
    url = server.url.replace("http://", "http://me:canary@")
    taste_model(server, bank, user_id="b", output_dir=folder, model_url=url).fit(votes(3)).close()
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.name.endswith(".taste.json") for path in written) == 2
    assert not [path for path in written if b"canary" in path.read_bytes()]


def test_others_teach_the_prior_and_the_users_own_votes_are_not_among_them(server: ScriptedServer, bank: Path) -> None:
    others = {f"u{number:02}": votes(3, first=number) for number in range(20)}
    rm = taste_model(server, bank, user_id="ann", orders="one").fit(
        [{"context": "Hm?", "chosen": "Calm.", "rejected": "Cold."}], others={**others, "ann": votes(5, first=90)}
    )
    prior = rm.learned.prior
    assert prior is not None
    assert (prior.n_users, prior.n_pairs, prior.learned) == (20, 60, True)
    assert rm.predict_pairwise("Which?", LOUD, CALM) == 1
    assert any("'ann' left out" in event for event in rm.events)
    assert not any("question 91?" in str(body["messages"]) for body in server.requests)
    # The prior outlives `add`, which is given no others.
    assert rm.add(votes(1, first=50)).learned.prior == prior
    few = taste_model(server, bank).fit(votes(4), others={"u": votes(3, first=9)})
    assert few.learned.prior is not None
    assert any("fewer than 20" in event for event in few.events)
    with pytest.raises(DataError, match=r"^others\['u'\]\[0\], field chosen"):
        taste_model(server, bank).fit(votes(4), others={"u": [vote(1, chosen="")]})


def test_votes_without_a_pattern_are_no_taste(server: ScriptedServer, bank: Path) -> None:
    both = [
        vote(n) if n % 4 < 2 else {**vote(n), "chosen": vote(n)["rejected"], "rejected": vote(n)["chosen"]}
        for n in range(8)
    ]
    rm = taste_model(server, bank).fit(both)
    assert not rm.leave_one_out().own
    assert (rm.get_persona(), rm.statements()) == (None, ())
    assert "no taste of the user's own" in rm.events[-1]
    assert "no evidence" in repr(rm)
    assert len(rm.weights()) > 0


def test_in_a_running_loop(server: ScriptedServer, bank: Path) -> None:
    async def work() -> tuple[object, ...]:
        rm = await taste_model(server, bank).afit(votes(5))
        await rm.aadd(votes(1, first=5))
        first = (await rm.aexplain("Which?", LOUD, CALM))[0].option
        said = await rm.apredict_pairwise("Which?", LOUD, CALM), await rm.apredict_proba("Which?", LOUD, CALM)
        # The blocking forms work here, too.
        assert said == (rm.predict_pairwise("Which?", LOUD, CALM), rm.predict_proba("Which?", LOUD, CALM))
        return first, said[0], (await rm.aevaluate(votes(2, first=30))).mean

    assert asyncio.run(work()) == (1, 1, 1.0)


def test_a_model_of_ones_own_is_asked_once_about_a_vote(bank: Path, tmp_path: Path) -> None:
    def answer(request: Request) -> Response:
        messages = [{"role": one.role, "content": one.content} for one in request.messages]
        return text(str(says({"max_tokens": request.max_tokens, "messages": messages}).text))

    model = ScriptedModel(answer, context_length=8192)
    rm = TasteModel(lm=model, bank=bank, orders="one").fit(votes(5))
    rm.add(votes(2, first=5)).save(tmp_path / "kept")
    assert len(model.requests) == 7
    with pytest.raises(ConfigError, match="the taste was learned by an lm"):
        TasteModel.from_saved(tmp_path / "kept")
    loaded = TasteModel.from_saved(tmp_path / "kept", lm=model)
    assert loaded.predict_pairwise("Which?", CALM, LOUD) == rm.predict_pairwise("Which?", CALM, LOUD) == -1


WRONG: dict[str, tuple[list[Item], str]] = {
    "no votes": ([], r"^data: holds no pair"),
    "ties only": (votes(2, tie=True), r"^data: holds no pair .*2 rows left out \(ties\)"),
    "two users": ([vote(1, user_id="a"), vote(2, user_id="b")], "votes of 2 users"),
    "a blank answer": ([vote(1), vote(2, rejected=" ")], r"^data\[1\], field rejected"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_votes_are_named(case: str, server: ScriptedServer, bank: Path) -> None:
    given, said = WRONG[case]
    with pytest.raises(DataError, match=said):
        taste_model(server, bank).fit(given)
    assert server.requests == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bank": Path("nowhere.yaml")}, r"^bank: nowhere.yaml: no such file"),
        ({"use": ["is_odd"]}, r"^bank: .*no attribute 'is_odd'"),
        ({"orders": "some"}, r"^orders: "),
        ({"scoring_options": {"max_token": 3}}, r"^max_token: "),
        ({"scoring_options": {"use": "core"}}, r"^scoring_options: use: no key of it"),
        ({"scoring_options": {"kinds": "model"}}, r"^scoring_options: kinds: no key of it"),
        ({"scoring_options": ["max_tokens"]}, r"^scoring_options: is list; give a dict"),
        ({"model_options": ["prompts"]}, r"^model_options: is list; give a dict"),
        ({"model_id": "embedded/"}, r"^model_id: .* names no model"),
    ],
)
def test_wrong_settings_are_named(options: Item, said: str, server: ScriptedServer, bank: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        taste_model(server, bank, **options)


def test_before_fit_nothing_can_be_said(server: ScriptedServer, bank: Path) -> None:
    rm = taste_model(server, bank)
    asks: list[Callable[[], object]] = [
        lambda: rm.predict_pairwise("Which?", LOUD, CALM),
        lambda: rm.explain("Which?", LOUD, CALM),
        lambda: rm.reward(["Which?"] * 2, [LOUD, CALM]),
        lambda: rm.evaluate(votes(1)),
        rm.weights,
        rm.get_persona,
        rm.leave_one_out,
        rm.save,
    ]
    for ask in asks:
        with pytest.raises(NotFittedError):
            ask()
    assert server.requests == []


def test_an_outage_is_an_error_and_never_a_verdict(bank: Path) -> None:
    lost = ""

    def fault(_: int, body: dict[str, Any]) -> Fault | None:
        """One of the orders is lost, the other is answered."""
        text = str(body["messages"])
        return OUTAGE if lost and lost in text and text.index("Answer 40!") < text.index("Answer 40?") else None

    with ScriptedServer(says, faults=fault) as server:
        rm = taste_model(server, bank, max_failed_share=0.5)
        lost = "question 40?"
        with pytest.raises(ModelCallError, match="503"):
            taste_model(server, bank).fit(votes(6, first=35))
        rm.fit([*votes(5), vote(40)])
        assert "1 calls were lost to provider errors; fit again asks for them" in rm.events
        asked = rm.evaluate([vote(40), vote(41)])
        assert (asked.outcomes["provider_error"], asked.outcomes["correct"]) == (1, 1)
        pair = vote(40)
        for ask in (rm.predict_pairwise, rm.predict_proba, rm.explain):
            with pytest.raises(ModelCallError, match="503"):
                ask(pair["context"], pair["chosen"], pair["rejected"])
        lost = ""
        assert rm.add([]).learned.scores.lost == 0
        assert all(entry.scores for entry in rm.learned.scores.pairs)
        assert rm.events == ()


def test_a_model_that_rates_nothing_is_an_error(bank: Path) -> None:
    with ScriptedServer(lambda body: says(body) if "question 5" in str(body) else "I cannot say.") as server:
        for others in (None, {"u": votes(3, first=50)}):
            rm = taste_model(server, bank)
            with pytest.raises(ModelCallError, match=r"scored none of the votes \(unparsed\)"):
                rm.fit(votes(3), others=others)
            assert not rm.is_fitted


@pytest.mark.parametrize(("options", "calls"), [(QUICK, 2), (LABELS, 2 * 3)], ids=["ratings", "labels"])
def test_progress_rises_to_the_end(options: Item, calls: int, server: ScriptedServer, bank: Path) -> None:
    said: list[float] = []
    rm = taste_model(server, bank, progress_update_hook=lambda percent, _: said.append(percent), model_options=options)
    rm.fit(votes(4))
    assert said == sorted(said)
    assert said[-2] == pytest.approx(99)
    assert said[-3] < 99
    assert said[-1] == 100
    assert len(said) == 1 + calls * 4 + 1
