"""Successive halving: how many are asked about how much, who goes on, and what it never does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings as at_most
from hypothesis import strategies as st
from support.learning import PAIRS, Matrix, by_content, demonstrated, draw, ids, matrices, say, settings, trace_of
from support.models import ScriptedModel, pair

from personalrm.core.files import stable_hash
from personalrm.core.records import Outcome, Verdict
from personalrm.llm.types import Request, Response
from personalrm.methods.synthesizeme.halving import Halving, half, part_sizes
from personalrm.methods.synthesizeme.search import score, search

TRACES = {one.pair_id: trace_of(one.pair_id) for one in PAIRS}
Questions = list[tuple[int, tuple[int, ...]]]


def planned_questions(n_candidates: int, n_pairs: int) -> int:
    """Questions (a candidate and a pair) in all, where no call fails."""
    total, left = 0, n_candidates
    for before, size in pairwise((0, *part_sizes(n_candidates, n_pairs))):
        total += left * (size - before)
        left = half(left)
    return total


@pytest.mark.parametrize(
    ("candidates", "pairs", "sizes", "questions"),
    [
        (8, 8, (2, 4, 8), 8 * 2 + 4 * 2 + 2 * 4),
        (13, 16, (2, 4, 8, 16), 13 * 2 + 7 * 2 + 4 * 4 + 2 * 8),
        # Nobody is left without a new verdict: three rounds, though four halvings would lead from 13 to 1.
        (13, 3, (1, 2, 3), 13 + 7 + 4),
        (3, 5, (3, 5), 3 * 3 + 2 * 2),
        (2, 7, (7,), 14),
        (1, 7, (7,), 7),
        (6, 1, (1,), 6),
    ],
)
def test_parts_grow_to_all_pairs(candidates: int, pairs: int, sizes: tuple[int, ...], questions: int) -> None:
    assert part_sizes(candidates, pairs) == sizes
    assert planned_questions(candidates, pairs) == questions


LOST: Outcome = "provider_error"


def rank(index: int, verdicts: Sequence[Verdict]) -> tuple[float, ...]:
    points = score(index, (), verdicts).score
    return (-1.0 if points is None else points), -index


def run(matrix: Matrix, order: Sequence[int] | None = None) -> tuple[Halving, list[Questions]]:
    halving = Halving(len(matrix), order or range(len(matrix[0])), len(matrix[0][0]), rank)
    rounds: list[Questions] = []
    while questions := halving.next_round():
        rounds.append(questions)
        for candidate, pairs in questions:
            for number in pairs:
                told = [Verdict(pair_id="p", swapped=False, outcome=o) for o in matrix[candidate][number]]
                halving.tell(candidate, number, told)
    return halving, rounds


@given(matrices())
def test_never_more_questions_than_exhaustive_and_none_twice(matrix: Matrix) -> None:
    halving, rounds = run(matrix)
    asked = [(candidate, number) for questions in rounds for candidate, pairs in questions for number in pairs]
    assert len(asked) == len(set(asked)) <= len(matrix) * len(matrix[0])
    assert all(pairs for questions in rounds for _, pairs in questions)
    finalists = {candidate for candidate, _ in rounds[-1]}
    done = {i for i, runner in enumerate(halving.runners) if runner.done}
    assert done >= finalists
    assert halving.stopper() is None
    if not any(LOST in outcomes for row in matrix for outcomes in row):
        assert done == finalists
        assert [len(questions) for questions in rounds[1:]] == [half(len(one)) for one, _ in pairwise(rounds)]
        assert len(asked) == planned_questions(len(matrix), len(matrix[0]))
    assert run(matrix)[1] == rounds


@given(st.integers(1, 8), st.integers(1, 9), st.data())
def test_who_is_right_on_all_pairs_reaches_the_end_against_those_who_are_wrong_on_all(
    candidates: int, pairs: int, data: st.DataObject
) -> None:
    best = data.draw(st.integers(0, candidates - 1))
    outcomes: list[Outcome] = ["correct" if index == best else "wrong" for index in range(candidates)]
    halving, _ = run([[[outcome]] * pairs for outcome in outcomes])
    assert halving.runners[best].done
    assert max(range(candidates), key=lambda index: rank(index, halving.runners[index].in_order())) == best


@given(matrices())
def test_each_round_keeps_the_better_half(matrix: Matrix) -> None:
    """Nobody who goes on is worse, on the pairs so far, than one who is left."""
    _, rounds = run(matrix)
    told: dict[int, list[int]] = {index: [] for index in range(len(matrix))}
    for before, after in pairwise(rounds):
        for candidate, pairs in before:
            told[candidate] += pairs
        outcomes = {i: [(n, p, o) for n in told[i] for p, o in enumerate(row[n])] for i, row in enumerate(matrix)}
        live = [i for i, held in outcomes.items() if any(o != LOST for _, _, o in held)]
        lost = {(n, p) for i in live for n, p, o in outcomes[i] if o == LOST}
        stays = {candidate for candidate, _ in after}
        scores = {
            i: rank(i, [Verdict(pair_id="p", swapped=False, outcome=o) for n, p, o in held if (n, p) not in lost])
            for i, held in outcomes.items()
        }
        kept = [scores[candidate] for candidate, _ in before if candidate in stays]
        left = [scores[candidate] for candidate, _ in before if candidate not in stays]
        # One without any verdict that counts goes on beside the better half.
        assert all(one[0] == -1 or one > other for one in kept for other in left)


def test_an_outage_leaves_nobody_behind() -> None:
    failed: list[Outcome] = ["provider_error"]
    matrix: Matrix = [[["correct"]] * 4, [["wrong"]] * 4, [["wrong"]] * 4, [failed, failed, ["correct"], ["correct"]]]
    halving, rounds = run(matrix)
    # Two of four by rule; of the three that were judged the better two, and the one that was not.
    assert [candidate for candidate, _ in rounds[1]] == [0, 1, 3]
    assert halving.runners[3].score() == 1


def test_pairs_are_taken_up_in_the_order_that_is_given() -> None:
    _, rounds = run([[["correct"]] * 4, [["wrong"]] * 4, [["wrong"]] * 4], order=[2, 0, 3, 1])
    assert rounds == [[(0, (2, 0)), (1, (2, 0)), (2, (2, 0))], [(0, (3, 1)), (1, (3, 1))]]


def test_a_winner_is_scored_on_all_pairs_though_others_did_better_on_a_part() -> None:
    """Four candidates of 0, 1, 1 and 1 demonstrations, two pairs: all are right on the first pair, and the rule among
    equals lets two with a demonstration go on, the earlier ones; on the second pair only the last would be right."""
    validation = [pair(f"v{n}", split="validation") for n in range(2)]
    first = min(validation, key=lambda one: stable_hash("halving", "0", "u", one.pair_id)).pair_id
    how = settings(seeds=(-3, 0, 1, 3), max_bootstrapped=1, max_labelled=0, strategy="halving", stop_at_score=50)
    names = [ids(draw(seed, TRACES, 1, 0))[0][0] for seed in (0, 1, 3)]
    assert len(set(names)) == 3

    def answer(request: Request) -> Response:
        on_first = f"question {first}" in request.messages[-1].content
        return say(on_first or f"question {names[2]}" in demonstrated(request), request)

    found = asyncio.run(search(ScriptedModel(answer), PAIRS, TRACES, validation, how, allow_empty=True))
    scores = {c.seed: (c.score, c.n_scored) for c in found.candidates}
    assert scores == {-3: (100, 2), 0: (50, 4), 1: (50, 4), 3: (100, 2)}
    assert found.seed == 0
    assert found.events == ("2 of 4 candidates share the best score",)


@at_most(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=7, max_size=7), st.permutations(range(4)))
def test_the_order_of_the_file_changes_nothing(rows: list[list[bool]], turned: list[int]) -> None:
    scores = dict(zip((*(p.pair_id for p in PAIRS), "none"), rows, strict=True))
    validation = [pair(f"v{n}", split="validation") for n in range(4)]
    how = settings(seeds=(-3, *range(6)), max_bootstrapped=1, max_labelled=0, strategy="halving")
    results = []
    for asked in (validation, [validation[n] for n in turned]):
        model = ScriptedModel(lambda r: say(by_content(scores, r), r))
        found = asyncio.run(search(model, PAIRS, TRACES, asked, how, allow_empty=True))
        results.append((found, set(model.requests)))
    assert results[0] == results[1]
    assert len(results[0][1]) <= 2 * 4 * len({shown.pair_ids for shown in results[0][0].candidates})
