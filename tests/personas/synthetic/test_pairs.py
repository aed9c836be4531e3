"""Pairs of answers: which are made, which are shared, and who labels them."""

from __future__ import annotations

from personalrm.core.synthetic import SeedUser, SyntheticQuestion
from personalrm.personas.synthetic.pairs import allotted, pairs_of
from personalrm.personas.synthetic.questions import distinct
from personalrm.personas.synthetic.settings import PairSettings

ANSWERS = ["Take the train in the morning.", "A bicycle is enough for this.", "Stay at home and read a book."]


def question(name: str, **more: object) -> SyntheticQuestion:
    values = {"dataset": "d", "question_id": name, "text": f"How about {name}?", **more}
    return SyntheticQuestion.model_validate(values)


def test_near_equal_answers_are_not_paired_and_held_out_questions_have_no_pairs() -> None:
    texts = [*ANSWERS[:2], "Take the train in the mornings.", ANSWERS[0]]
    found = pairs_of([question("q"), question("h", held_out=True)], {"q": texts, "h": ANSWERS}, PairSettings(), 0)
    assert {pair.question_id for pair in found} == {"q"}
    # Of three different texts, two are near-equal.
    assert len(found) == 2
    assert all("bicycle" in pair.first + pair.second for pair in found)
    assert len(pairs_of([question("q")], {"q": texts}, PairSettings(per_question=1), 0)) == 1


def test_shared_pairs_are_of_general_questions_and_of_each_once_first() -> None:
    questions = [question("a"), question("b"), question("t", trait="x.y")]
    answers = dict.fromkeys("abt", ANSWERS)
    found = pairs_of(questions, answers, PairSettings(shared=2), 0)
    assert len(found) == 9
    assert sorted(pair.question_id for pair in found if pair.shared) == ["a", "b"]
    three = pairs_of(questions, answers, PairSettings(shared=3), 0)
    assert sum(pair.shared for pair in three) == 3
    assert {pair.pair_id for pair in found if pair.shared} < {pair.pair_id for pair in three if pair.shared}


def test_a_user_labels_all_shared_pairs_and_own_ones_of_the_own_traits() -> None:
    questions = [question("a"), question("mine", trait="x.y"), question("other", trait="x.z")]
    pairs = pairs_of(questions, dict.fromkeys(("a", "mine", "other"), ANSWERS), PairSettings(shared=1), 0)
    user = SeedUser(dataset="d", user_id="u", key="k", part="train", traits={"x": "y"}, seed="")
    everything = allotted(user, pairs, 99, 0)
    assert {pair.question_id for pair in everything} == {"a", "mine"}
    assert len(everything) == 6
    few = allotted(user, pairs, 2, 0)
    assert len(few) == 3
    assert sum(pair.shared for pair in few) == 1
    renamed = user.model_copy(update={"user_id": "v"})
    assert allotted(renamed, pairs, 2, 0) == few
    assert allotted(user.model_copy(update={"key": "l"}), pairs, 2, 0) != few


def test_of_near_duplicates_the_first_stays_and_what_is_like_a_dropped_one_alone_stays() -> None:
    texts = ["abcdefghij", "ABCDEFGHIJ!", "bcdefghijk", "cdefghijkl"]
    # The third is like the first, the fourth like the third alone.
    assert distinct(texts, 0.9) == ["abcdefghij", "cdefghijkl"]
