"""One user's votes as a history: their order, their contradictions, the survey on them, their split."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from personalrm.core.records import PreferencePair, Turn
from personalrm.data.settings import SplitSettings, Untimed
from personalrm.data.sources.votes import Vote, decided
from personalrm.data.splits import UserSplit, split_user


def history(votes: Iterable[Vote], untimed: Untimed = "oldest") -> list[Vote]:
    """One user's votes, oldest first, whatever sequence they come in.

    By time; where no vote has one, by conversation, turn and pair (digits compared as numbers). Where some have one,
    `untimed` decides: votes without a time are the oldest (`oldest`: they are learned from, and the newest votes with a
    time are tested), or no time is used. `file` takes the sequence of the file where a time is missing, also for users
    without any: no other choice does, as results would depend on how a file was sorted (our choices).
    """
    mine = list(votes)
    complete = all(vote.timestamp is not None for vote in mine)
    timed = complete or untimed == "oldest"
    as_in_file = untimed == "file" and not complete

    def key(vote: Vote) -> tuple[bool, float, int, str, int, str, str, str, str]:
        return (
            timed and vote.timestamp is not None,
            vote.timestamp or 0.0 if timed else 0.0,
            vote.line if as_in_file else 0,
            _natural(vote.conversation_id or ""),
            vote.turn or 0,
            # Not the generated id, which depends on the user's name.
            _natural(vote.pair_id or ""),
            vote.content_hash,
            repr((vote.conversation_id, vote.turn, vote.timestamp, vote.pair_id, sorted(vote.survey.items()))),
            repr(vote.flip),
        )

    return sorted(mine, key=key)


def contradictions(votes: Sequence[Vote]) -> int:
    """Number of pairs of votes that choose oppositely between the same two answers in one context."""
    said = {(vote.context, vote.chosen, vote.rejected) for vote in decided(votes)}
    return sum((context, rejected, chosen) in said for context, chosen, rejected in said) // 2


class MergedSurvey(NamedTuple):
    """Survey answers of a user by question, and how many questions were answered in two ways."""

    answers: dict[str, str]
    conflicts: int


def merged_survey(votes: Iterable[Vote], untimed: Untimed = "oldest") -> MergedSurvey:
    """Join the survey answers on all rows of a user; the newest answer to a question is kept."""
    said: dict[str, list[str]] = {}
    for vote in history((vote for vote in votes if vote.survey), untimed):
        for question, answer in vote.survey.items():
            said.setdefault(question, []).append(answer)
    newest = {question: answers[-1] for question, answers in sorted(said.items())}
    return MergedSurvey(newest, sum(len(set(answers)) > 1 for answers in said.values()))


def _natural(text: str) -> str:
    """Sort key by which `c2` comes before `c10`; ids are hostile, so no number is ever built."""
    return re.sub(r"[0-9]+", lambda digits: f"{len(digits[0].lstrip('0')):09d}{digits[0].lstrip('0')}", text)


def split_votes(votes: Sequence[Vote], settings: SplitSettings) -> UserSplit:
    """Pairs of one user's votes, which are oldest first, split by the settings, or as the release has them.

    The release's parts are kept where each vote has one and each of the three has a decided pair.
    """
    pairs = [pair_of(vote, order) for order, vote in enumerate(votes)]
    parts = [vote.pair_split for vote in votes]
    if None in parts or len({vote.pair_split for vote in decided(votes)}) < 3:
        return resplit(pairs, settings)
    given = (pair.model_copy(update={"split": part}) for pair, part in zip(pairs, parts, strict=True))
    return UserSplit(tuple(given), "release")


def resplit(pairs: Sequence[PreferencePair], settings: SplitSettings) -> UserSplit:
    """Pairs of one user, whatever parts they have, split by the settings."""
    return split_user(pairs, settings.fractions, settings.keep_together, settings.fold, settings.similarity)


def pair_of(vote: Vote, order: int = 0) -> PreferencePair:
    """The record of a vote; `order` is its rank in the user's history."""
    return PreferencePair(
        user_id=vote.user_id,
        pair_id=vote.own_id,
        context=tuple(Turn.model_validate({"role": role, "content": text}) for role, text in vote.context),
        chosen=vote.chosen,
        rejected=vote.rejected,
        conversation_id=vote.conversation_id,
        turn=vote.turn,
        timestamp=vote.timestamp,
        conversation_type=vote.conversation_type,
        order=order,
        tie=vote.tie,
        flip=vote.flip,
    )
