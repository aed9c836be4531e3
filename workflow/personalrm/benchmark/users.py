"""From votes to users: grouped, cleaned, filtered, ordered and split. The sequence of rows never matters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from personalrm.benchmark.funnel import Funnel, FunnelStep, step
from personalrm.benchmark.selection import pick_users
from personalrm.benchmark.settings import SplitSettings
from personalrm.benchmark.splits import PARTS, split_user
from personalrm.benchmark.votes import Vote
from personalrm.errors import DataError
from personalrm.records import PreferencePair, Turn, UserData

ByUser = dict[str, list[Vote]]


class Built(NamedTuple):
    """Users, sorted by id, and what was dropped on the way."""

    users: list[UserData]
    funnel: Funnel


class _Cleaned(NamedTuple):
    """Usable votes of every user, oldest first, and the counts on the way."""

    usable: ByUser
    dropped: dict[str, int]
    steps: list[FunnelStep]


def build_users(
    votes: Iterable[Vote],
    *,
    dataset: str,
    split: SplitSettings,
    min_pairs: int = 5,
    max_users: int | None = None,
    users: Collection[str] | None = None,
    planted: Mapping[str, str] | None = None,
    seen: Collection[str] = (),
) -> Built:
    """Group votes by user, drop what carries no preference, filter users (paper: at least 5 pairs), split.

    Ties, votes between equal answers and repeated votes of one user (same context and answers) are dropped;
    a vote that contradicts another is kept: people do. Which users come out: see `pick_users`; one
    with too few pairs is a row without pairs that says why. `planted` maps users to tastes; `seen` are
    users known from elsewhere, whose votes could not be read. Holds all votes in memory.

    Raises DataError where two votes share a pair id, or a user in `users` is not in the data.
    """
    if min_pairs < len(PARTS):
        raise ValueError(f"min_pairs must be at least {len(PARTS)}, one pair a part, not {min_pairs}")
    grouped = _by_user(votes, seen)
    _check_listed(dataset, users, grouped)
    cleaned = _clean(grouped, users)
    counts = {user: len(mine) for user, mine in cleaned.usable.items()}
    picked = pick_users(counts, users, max_users, min_pairs)
    enough = {user: mine for user, mine in cleaned.usable.items() if len(mine) >= min_pairs}
    steps = [*cleaned.steps, step(f"users with at least {min_pairs} pairs", enough)]
    kept = {user: enough[user] for user in picked if user in enough}
    if max_users is not None:
        steps.append(step(f"first {max_users} users by hash", kept))
    _check_pair_ids(dataset, kept)
    surveys = {user: merged_survey(grouped[user]) for user in picked}
    splits = {user: split_user(_pairs(mine), split.fractions, split.keep_together) for user, mine in kept.items()}
    built = [
        UserData(
            dataset=dataset,
            user_id=user,
            pairs=splits[user].pairs if user in splits else (),
            survey=surveys[user].answers,
            planted_taste=(planted or {}).get(user),
            excluded=None if user in splits else too_few(counts[user], min_pairs),
        )
        for user in picked
    ]
    funnel = Funnel(
        dataset=dataset,
        votes=sum(map(len, grouped.values())),
        dropped=cleaned.dropped,
        steps=tuple(steps),
        users_written=len(kept),
        users_excluded=len(picked) - len(kept),
        contradictions=sum(contradictions(mine) for mine in kept.values()),
        survey_conflicts=sum(survey.conflicts for survey in surveys.values()),
        split_pairs=_by_part(built),
        split_grain=dict(sorted(Counter(done.grain for done in splits.values()).items())),
    )
    return Built(built, funnel)


def _by_user(votes: Iterable[Vote], seen: Collection[str]) -> ByUser:
    grouped: ByUser = {}
    for vote in votes:
        grouped.setdefault(vote.user_id, []).append(vote)
    # Only now: a reader adds to `seen` while it yields votes.
    return {user: [] for user in seen} | grouped


def _by_part(users: Iterable[UserData]) -> dict[str, int]:
    parts = Counter(pair.split for user in users for pair in user.pairs)
    return {part: parts[part] for part in PARTS}


def too_few(pairs: int, min_pairs: int) -> str:
    """Reason of the user filter."""
    return f"{pairs} pair{'' if pairs == 1 else 's'}, fewer than {min_pairs}"


def history(votes: Iterable[Vote]) -> list[Vote]:
    """One user's votes, oldest first, whatever sequence they come in.

    By time where all have one. Else by conversation, turn and pair (digits compared as numbers): a file's sequence is
    no evidence of time, and trusting it would make results depend on how a file was sorted (our choice).
    """
    mine = list(votes)
    timed = all(vote.timestamp is not None for vote in mine)

    def key(vote: Vote) -> tuple[float, str, int, str, str, str]:
        return (
            vote.timestamp or 0.0 if timed else 0.0,
            _natural(vote.conversation_id or ""),
            vote.turn or 0,
            # Not the generated id, which depends on the user's name.
            _natural(vote.pair_id or ""),
            vote.content_hash,
            repr((vote.conversation_id, vote.turn, vote.timestamp, vote.pair_id, sorted(vote.survey.items()))),
        )

    return sorted(mine, key=key)


def contradictions(votes: Sequence[Vote]) -> int:
    """Number of pairs of votes that choose oppositely between the same two answers in one context."""
    said = {(vote.context, vote.chosen, vote.rejected) for vote in votes}
    return sum((context, rejected, chosen) in said for context, chosen, rejected in said) // 2


class MergedSurvey(NamedTuple):
    """Survey answers of a user by question, and how many questions were answered in two ways."""

    answers: dict[str, str]
    conflicts: int


def merged_survey(votes: Iterable[Vote]) -> MergedSurvey:
    """Join the survey answers on all rows of a user; the newest answer to a question stands."""
    answers: dict[str, str] = {}
    conflicts = set()
    for vote in history(vote for vote in votes if vote.survey):
        for question, answer in vote.survey.items():
            if answers.setdefault(question, answer) != answer:
                conflicts.add(question)
                answers[question] = answer
    return MergedSurvey(dict(sorted(answers.items())), len(conflicts))


def _natural(text: str) -> str:
    """Sort key by which `c2` comes before `c10`; ids are hostile, so no number is ever built."""
    return re.sub(r"[0-9]+", lambda digits: f"{len(digits[0].lstrip('0')):09d}{digits[0].lstrip('0')}", text)


def _clean(grouped: ByUser, users: Collection[str] | None) -> _Cleaned:
    """Drop the votes that carry no preference, step by step."""
    steps = [step("votes read", grouped)]
    if users is not None:
        grouped = {user: grouped[user] for user in set(users)}
        steps.append(step("users listed in the config", grouped))
    decided = {user: [vote for vote in mine if not vote.tie] for user, mine in grouped.items()}
    steps.append(step("ties dropped", decided))
    differ = {user: [vote for vote in mine if vote.chosen != vote.rejected] for user, mine in decided.items()}
    steps.append(step("equal answers dropped", differ))
    usable = {user: history(_without_repeats(mine)) for user, mine in differ.items()}
    steps.append(step("duplicates dropped", usable))
    left = [step_.pairs for step_ in steps[-4:]]
    dropped = {
        name: before - after
        for name, before, after in zip(("tie", "equal_answers", "duplicate"), left, left[1:], strict=False)
    }
    return _Cleaned(usable, dropped, steps)


def _without_repeats(votes: Iterable[Vote]) -> list[Vote]:
    """The oldest vote of each content."""
    first: dict[str, Vote] = {}
    for vote in history(votes):
        first.setdefault(vote.content_hash, vote)
    return list(first.values())


def _pairs(votes: Sequence[Vote]) -> list[PreferencePair]:
    """Records of one user's votes, which are oldest first."""
    return [
        PreferencePair(
            user_id=vote.user_id,
            pair_id=vote.own_id,
            context=tuple(Turn.model_validate({"role": role, "content": text}) for role, text in vote.context),
            chosen=vote.chosen,
            rejected=vote.rejected,
            conversation_id=vote.conversation_id,
            turn=vote.turn,
            timestamp=vote.timestamp,
            order=rank,
        )
        for rank, vote in enumerate(votes)
    ]


def _check_listed(dataset: str, users: Collection[str] | None, grouped: ByUser) -> None:
    missing = sorted(set(users or ()) - grouped.keys())
    if missing:
        raise DataError(
            f"datasets.{dataset}.users: no vote of {', '.join(map(repr, missing[:5]))} in the data; correct the list"
        )


def _check_pair_ids(dataset: str, kept: ByUser) -> None:
    owners: dict[str, Vote] = {}
    for mine in kept.values():
        for vote in mine:
            other = owners.setdefault(vote.own_id, vote)
            if other is not vote:
                raise DataError(
                    f"{dataset}, line {vote.line}, field pair_id, user {vote.user_id!r}: {vote.own_id!r} is also the "
                    f"id of line {other.line} (user {other.user_id!r}), a different vote; make pair ids unique within "
                    "the data set, or leave them out"
                )
