"""Groups of users by their survey, and of pairs by type of conversation and turn, for the table of demographics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from personalrm.core.records import UserData, read_records
from personalrm.methods.registry import DEMOGRAPHIC_QUESTIONS
from personalrm.results.verdict_arrays import VerdictArrays

SURVEY, CONVERSATION, TURN = "survey", "conversation type", "turn"
OTHERS, UNSAID = "other groups", "not stated"
LEAST_USERS = 10
"""Groups of fewer users are pooled: a number for one would be of hardly anyone, and might tell who they are."""


class UserFacts(NamedTuple):
    """What groups are made of: survey answers, and conversation type and turn of each pair."""

    survey: Mapping[str, str]
    types: Mapping[str, str | None]
    turns: Mapping[str, int | None]


Facts = Mapping[tuple[str, str], UserFacts]
"""(data set, user) to what is known."""


class Groups(NamedTuple):
    """A question, the group of each place of a arrays, and the groups' names in order."""

    question: str
    group_of: NDArray[np.int64]
    names: tuple[str, ...]


def read_facts(paths: Iterable[Path]) -> dict[tuple[str, str], UserFacts]:
    """Facts of each user from files of `UserData`; one user in memory at a time."""
    facts = {}
    for path in paths:
        for user in read_records(path, UserData):
            survey = {name: text for name, text in user.survey.items() if name in DEMOGRAPHIC_QUESTIONS}
            types = {pair.pair_id: pair.conversation_type for pair in user.pairs}
            turns = {pair.pair_id: pair.turn for pair in user.pairs}
            facts[user.dataset, user.user_id] = UserFacts(survey, types, turns)
    return facts


def groups_of(arrays: VerdictArrays, facts: Facts) -> list[Groups]:
    """All questions that the users of a arrays answered, then conversation type and turn where any pair has one.

    Every place is in one group of each question.
    """
    known = [facts[arrays.dataset, user] for user in arrays.users]
    found = []
    for question in DEMOGRAPHIC_QUESTIONS:
        if any(question in user.survey for user in known):
            answers = [user.survey.get(question, UNSAID) for user in known]
            found.append(_pooled(arrays, question, [answers[user] for user in arrays.user_of]))
    places = list(zip(arrays.user_of, (arrays.pairs[pair] for pair in arrays.pair_of), strict=True))
    types = [known[user].types.get(pair) for user, pair in places]
    turns = [known[user].turns.get(pair) for user, pair in places]
    if any(text is not None for text in types):
        found.append(_pooled(arrays, CONVERSATION, [UNSAID if text is None else text for text in types]))
    if any(turn is not None for turn in turns):
        found.append(_pooled(arrays, TURN, [UNSAID if turn is None else str(turn) for turn in turns]))
    return found


def _pooled(arrays: VerdictArrays, question: str, texts: list[str]) -> Groups:
    """Groups of a text a place; those of fewer than `LEAST_USERS` users together, last."""
    users = Counter(text for _, text in set(zip(arrays.user_of.tolist(), texts, strict=True)))
    kept = sorted((text for text, count in users.items() if count >= LEAST_USERS), key=_rank)
    names = [*kept, OTHERS] if len(kept) < len(users) else kept
    place = {name: number for number, name in enumerate(names)}
    group_of = np.array([place.get(text, len(names) - 1) for text in texts], dtype=np.int64)
    return Groups(question, group_of, tuple(names))


def _rank(text: str) -> tuple[bool, float, str]:
    """Numbers by size, texts by name, what was not stated last."""
    return text == UNSAID, float(text) if text.isdecimal() else np.inf, text
