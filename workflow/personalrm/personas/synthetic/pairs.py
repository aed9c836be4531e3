"""Pairs of answers, and which of them each user labels. No model is asked; seeded hashes of texts decide."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from personalrm.core.files import stable_hash
from personalrm.core.synthetic import SeedUser, SyntheticPair, SyntheticQuestion
from personalrm.data.near_duplicates import near_duplicates
from personalrm.personas.synthetic.settings import PairSettings


def pairs_of(
    questions: Iterable[SyntheticQuestion], answers: Mapping[str, Iterable[str]], settings: PairSettings, seed: int
) -> list[SyntheticPair]:
    """Pairs of answers to each question that is not held out, by pair id.

    Answers are paired unless they are near-equal; a seeded hash takes `per_question` of these pairs, and a coin says
    which answer stands first. `shared` of the pairs to general questions are marked as shared: first one of each
    question, then a second one.
    """
    found = [
        pair
        for question in questions
        if not question.held_out
        for pair in _of_question(question, answers.get(question.question_id, ()), settings, seed)
    ]
    places: dict[str, tuple[int, str]] = {}
    for mine in _by_question(pair for pair in found if not pair.trait).values():
        ranked = sorted((stable_hash("shared", str(seed), pair.pair_id), pair.pair_id) for pair in mine)
        places |= {pair_id: (place, rank) for place, (rank, pair_id) in enumerate(ranked)}
    shared = set(sorted(places, key=lambda pair_id: places[pair_id])[: settings.shared])
    marked = (pair.model_copy(update={"shared": pair.pair_id in shared}) for pair in found)
    return sorted(marked, key=lambda pair: pair.pair_id)


def _by_question(pairs: Iterable[SyntheticPair]) -> dict[str, list[SyntheticPair]]:
    grouped: defaultdict[str, list[SyntheticPair]] = defaultdict(list)
    for pair in pairs:
        grouped[pair.question_id].append(pair)
    return grouped


def _of_question(
    question: SyntheticQuestion, answers: Iterable[str], settings: PairSettings, seed: int
) -> Iterable[SyntheticPair]:
    texts = sorted(set(answers))
    alike = set(near_duplicates(texts, settings.similarity))
    usable = [pair for pair in itertools.combinations(range(len(texts)), 2) if pair not in alike]
    drawn = sorted(usable, key=lambda pair: stable_hash("pair", str(seed), question.text, *(texts[n] for n in pair)))
    for one, other in drawn[: settings.per_question]:
        turned = int(stable_hash("first", str(seed), question.text, texts[one], texts[other]), 16) % 2
        first, second = (texts[other], texts[one]) if turned else (texts[one], texts[other])
        yield SyntheticPair(
            dataset=question.dataset,
            pair_id=stable_hash("pair", question.text, first, second)[:12],
            question_id=question.question_id,
            question=question.text,
            trait=question.trait,
            first=first,
            second=second,
        )


def allotted(user: SeedUser, pairs: Sequence[SyntheticPair], own: int, seed: int) -> list[SyntheticPair]:
    """The pairs that a user labels, by pair id: all shared ones, and `own` others of general questions and of the
    user's traits, by a seeded hash of user and pair."""
    traits = {"", *(f"{dimension}.{value}" for dimension, value in user.traits.items())}
    others = (pair for pair in pairs if not pair.shared and pair.trait in traits)
    drawn = sorted(others, key=lambda pair: stable_hash("own", str(seed), user.key, pair.pair_id))[:own] if own else []
    return sorted([*(pair for pair in pairs if pair.shared), *drawn], key=lambda pair: pair.pair_id)
