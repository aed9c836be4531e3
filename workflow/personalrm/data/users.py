"""From votes to users: grouped, cleaned, filtered, ordered and split. The sequence of rows has no effect.

Users are built one at a time, so that the votes may be on disk.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import NamedTuple

from personalrm.core.errors import DataError
from personalrm.core.files import stable_hash
from personalrm.core.records import UserData, UserPart
from personalrm.data.filters.funnel import Funnel, FunnelStep, counts_of
from personalrm.data.history import contradictions, history, merged_survey, split_votes
from personalrm.data.settings import DatasetBase, Untimed
from personalrm.data.sources.votes import Vote, decided
from personalrm.data.splits import PARTS, user_split

ByUser = Mapping[str, Sequence[Vote]]

_REASONS = ("tie", "equal_answers", "duplicate")
"""Why a vote states no preference: words of the funnel, and keys of the steps that drop such votes (`ties: keep` drops
none of the first)."""


class Built(NamedTuple):
    """Users, sorted by id, and what was dropped on the way."""

    users: list[UserData]
    funnel: Funnel


def build_users(
    votes: Iterable[Vote],
    settings: DatasetBase,
    *,
    planted: Mapping[str, str] | None = None,
    seen: Collection[str] = (),
) -> Built:
    """Build all users of a data set, as `UserBuilder` does, with all votes in memory.

    `seen` are further users, whose votes could not be read. Raises what `UserBuilder` raises.
    """
    grouped: dict[str, list[Vote]] = {}
    for vote in votes:
        grouped.setdefault(vote.user_id, []).append(vote)
    # Only now: a reader adds to `seen` while it yields votes.
    for user in seen:
        grouped.setdefault(user, [])
    builder = UserBuilder(grouped, settings, planted)
    return Built(list(builder.build(builder.users)), builder.funnel())


class UserBuilder:
    """Build the users of a data set one by one: drop votes without a preference, filter users, split pairs, count.

    Ties (unless the settings keep them), votes between equal answers and repeated votes of one user (same context and
    answers) are dropped; a vote that contradicts another is kept, as people contradict themselves. `pick_users` chooses
    the users; a user with too few pairs (paper: fewer than 5) is a row without pairs, with the reason. `max_pairs`
    keeps each user's oldest pairs, so that later votes change nothing. Both limits count decided pairs: with and
    without ties, the users are the same.

    The constructor reads each user of `votes` once, makes all checks, and chooses `users`, sorted; `build` reads these
    again. Memory holds one user's votes, and 16 bytes per vote of the others. `planted` maps users to tastes.

    Raises DataError where two votes share a pair id, or a user in `settings.users` is not in the data.
    """

    def __init__(self, votes: ByUser, settings: DatasetBase, planted: Mapping[str, str] | None = None) -> None:
        self._votes, self._settings, self._planted = votes, settings, planted or {}
        self._listed = None if settings.users is None else frozenset(settings.users)
        missing = sorted((self._listed or frozenset()) - votes.keys())
        if missing:
            raise DataError(
                f"datasets.{settings.name}.users: no vote of {', '.join(map(repr, missing[:5]))} in the data; "
                "correct the list"
            )
        self._left = {key: Counter(counts_of([])) for key in _steps(settings)}
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._facts = {user: self._first_look(user) for user in votes}
        usable = {user: facts.usable for user, facts in self._facts.items()}
        self.users = pick_users(usable, settings.users, settings.max_users, settings.min_pairs)
        self._check_pair_ids()

    def build(self, users: Iterable[str]) -> Iterator[UserData]:
        """Yield the given users, in the given order. `funnel` counts each as often as it is built."""
        for user in users:
            votes, facts = self._votes[user], self._facts[user]
            enough = [votes[place] for place in facts.enough]
            kept = _oldest(enough, self._settings.max_pairs)
            split = split_votes(kept, self._settings.split) if kept else None
            survey = merged_survey(votes, self._settings.untimed)
            built = UserData(
                dataset=self._settings.name,
                user_id=user,
                pairs=split.pairs if split else (),
                user_split=self._user_split(user),
                survey=survey.answers,
                planted_taste=self._planted.get(user),
                excluded=None if split else too_few(facts.usable, self._settings.min_pairs),
            )
            self._add("first_users", enough)
            self._add("first_pairs", kept)
            self._counts["all"].update(contradictions=contradictions(kept), survey_conflicts=survey.conflicts)
            without = sum(vote.timestamp is None for vote in kept)
            if 0 < without < len(kept):
                self._counts["incomplete_times"].update(users=1, pairs_without=without)
            self._counts["split_pairs"].update(by_part([built]))
            self._counts["split_ties"].update(by_part([built], ties=True))
            if split:
                self._counts["split_grain"].update([split.grain])
                self._counts["near_duplicates"].update(split.alike(self._settings.split.similarity))
            yield built

    def kept(self, user: str) -> list[Vote]:
        """The votes that one of `users` keeps, oldest first."""
        votes = self._votes[user]
        return _oldest([votes[place] for place in self._facts[user].enough], self._settings.max_pairs)

    def funnel(self) -> Funnel:
        """What became of all votes, once all of `users` are built."""
        counts, written = self._counts, self._counts["split_grain"].total()
        before = self._left.get("listed", self._left["read"])["pairs"]
        left = [before, *(self._left[key]["pairs"] for key in _REASONS)]
        return Funnel(
            dataset=self._settings.name,
            votes=self._left["read"]["pairs"],
            dropped={reason: more - less for reason, (more, less) in zip(_REASONS, pairwise(left), strict=True)},
            steps=tuple(FunnelStep(step=name, **self._left[key]) for key, name in _steps(self._settings).items()),
            users_written=written,
            users_excluded=len(self.users) - written,
            contradictions=counts["all"]["contradictions"],
            survey_conflicts=counts["all"]["survey_conflicts"],
            split_pairs={part: counts["split_pairs"][part] for part in PARTS},
            split_ties=dict(counts["split_ties"]),
            split_grain=dict(sorted(counts["split_grain"].items())),
            near_duplicates=dict(counts["near_duplicates"]),
            incomplete_times=dict(sorted(counts["incomplete_times"].items(), reverse=True)),
        )

    def _add(self, step: str, votes: Sequence[Vote]) -> None:
        """Add what a step left of one more user; a step that the settings do not have is skipped."""
        if step in self._left:
            self._left[step].update(counts_of([votes]))

    def _first_look(self, user: str) -> _Facts:
        """Count one user's votes, and note what the choice of users and the checks rest on."""
        votes, settings = self._votes[user], self._settings
        self._add("read", votes)
        if self._listed is not None and user not in self._listed:
            return _Facts()
        wanted = votes if settings.ties == "keep" else decided(votes)
        differ = [vote for vote in wanted if vote.chosen != vote.rejected]
        distinct = _without_repeats(differ, settings.untimed)
        usable = len(decided(distinct))
        enough = distinct if usable >= settings.min_pairs else []
        for step, left in zip(("listed", *_REASONS, "enough"), (votes, wanted, differ, distinct, enough), strict=True):
            self._add(step, left)
        parts = {vote.user_split for vote in votes}
        place_of = {id(vote): place for place, vote in enumerate(votes)}
        return _Facts(
            usable=usable,
            enough=array("L", (place_of[id(vote)] for vote in enough)),
            ids=array("q", (hash(vote.own_id) for vote in _oldest(enough, settings.max_pairs))),
            user_split=parts.pop() if len(parts) == 1 else None,
        )

    def _user_split(self, user: str) -> UserPart | None:
        """The release's part where all of a user's votes name it, else by hash."""
        split, given = self._settings.user_split, self._facts[user].user_split
        if given is not None or len(self.users) < split.min_users:
            return given
        return user_split(user, split.fractions, split.seed)

    def _check_pair_ids(self) -> None:
        # Hashes take little memory; only the votes tell whether two equal hashes are of one id.
        hashes = sorted(chain.from_iterable(self._facts[user].ids for user in self.users))
        suspect = {one for one, other in pairwise(hashes) if one == other}
        owners: dict[str, tuple[int, str]] = {}
        for user in (user for user in self.users if not suspect.isdisjoint(self._facts[user].ids)):
            for vote in self.kept(user):
                if vote.own_id in owners:
                    line, owner = owners[vote.own_id]
                    raise DataError(
                        f"{self._settings.name}, line {vote.line}, field pair_id, user {user!r}: {vote.own_id!r} is "
                        f"also the id of line {line} (user {owner!r}), a different vote; make pair ids unique within "
                        "the data set, or leave them out"
                    )
                if hash(vote.own_id) in suspect:
                    owners[vote.own_id] = vote.line, user


def pick_users(
    pairs_of: Mapping[str, int], users: Collection[str] | None, max_users: int | None, min_pairs: int
) -> list[str]:
    """Users of the run, sorted, from the number of usable pairs of each user in the data.

    `users` limits the choice. Without `max_users` all of them stay, also those with fewer than `min_pairs`
    (they become rows with the reason); with it, the first `max_users` by a stable hash of the id among those
    with enough pairs. The hash does not depend on the data set, so that a user of two data sets is in both or
    in neither.
    """
    candidates = pairs_of.keys() if users is None else set(users)
    if max_users is None:
        return sorted(candidates)
    enough = [user for user in candidates if pairs_of.get(user, 0) >= min_pairs]
    return sorted(sorted(enough, key=lambda user: stable_hash("max_users", user))[:max_users])


def by_part(users: Iterable[UserData], *, ties: bool = False) -> dict[str, int]:
    """Pairs by part of the pair split; with `ties` the ties among them, without parts that have none."""
    parts = Counter(pair.split for user in users for pair in user.pairs if pair.tie or not ties)
    return {part: parts[part] for part in PARTS if parts[part] or not ties}


def too_few(pairs: int, min_pairs: int) -> str:
    """Reason of the user filter."""
    return f"{pairs} pair{'' if pairs == 1 else 's'}, fewer than {min_pairs}"


class _Facts(NamedTuple):
    """What is kept of one user between the two looks.

    `usable` is the number of votes that carry a preference; `enough` their places (and those of ties that are kept)
    among the user's votes, oldest first, or none where they are too few; `ids` hashes of the pair ids of those that are
    kept; `user_split` the release's part, where all votes name that one.
    """

    usable: int = 0
    enough: Sequence[int] = ()
    ids: Sequence[int] = ()
    user_split: UserPart | None = None


def _oldest(votes: Sequence[Vote], most: int | None) -> list[Vote]:
    """The votes up to the `most`-th decided one. Ties after it are left out, so that later votes change nothing."""
    if most is None or len(decided(votes)) <= most:
        return list(votes)
    last = decided(votes)[most - 1]
    return list(votes[: next(place for place, vote in enumerate(votes) if vote is last) + 1])


def _without_repeats(votes: Sequence[Vote], untimed: Untimed) -> list[Vote]:
    """One vote of each content, oldest first: the oldest of those with a time, else the oldest."""
    ordered = history(votes, untimed)
    first: dict[str, Vote] = {}
    for vote in sorted(ordered, key=lambda vote: vote.timestamp is None):
        first.setdefault(vote.content_hash, vote)
    # Without the repeats all may have a time, which orders them anew.
    return ordered if len(first) == len(votes) else history(first.values(), untimed)


def _steps(settings: DatasetBase) -> dict[str, str]:
    """Names of the steps that the settings have."""
    names = {
        "read": "votes read",
        "listed": settings.users is not None and "users listed in the config",
        "tie": "ties kept" if settings.ties == "keep" else "ties dropped",
        "equal_answers": "equal answers dropped",
        "duplicate": "duplicates dropped",
        "enough": f"users with at least {settings.min_pairs} pairs",
        "first_users": settings.max_users is not None and f"first {settings.max_users} users by hash",
        "first_pairs": settings.max_pairs is not None and f"first {settings.max_pairs} pairs of each user",
    }
    return {key: name for key, name in names.items() if name}
