"""Verdicts as arrays: one column per judgment (user, pair, order), shared by all conditions of a data set."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from personalrm.core.errors import DataError
from personalrm.core.records import OUTCOMES
from personalrm.results.conditions import CONDITION_COLUMNS, Condition, by_condition
from personalrm.results.labels import NO_ANSWERS, NO_VERDICTS, NOT_APPLICABLE, OK
from personalrm.results.lazy import pd
from personalrm.results.marks import Flags, flags_of

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]
NO_JUDGMENT = -1
CORRECT, UNPARSED, PROVIDER_ERROR = map(OUTCOMES.index, ("correct", "unparsed", "provider_error"))


@dataclass(frozen=True, eq=False)
class Cell:
    """One way of judging, on all places of its arrays.

    `outcome` is (draws, places): places in `OUTCOMES`, -1 where there is no judgment. `asked` is (users,): users with
    rows, with a verdict or without; `exempt` is (users,), too: those of them to which the method does not apply.
    `lossy` is how many of the profiles that were judged with were learned with lost calls.
    """

    key: Condition
    draws: tuple[int, ...]
    outcome: NDArray[np.int8]
    asked: NDArray[np.bool_]
    exempt: NDArray[np.bool_]
    lossy: int = 0

    @cached_property
    def right(self) -> NDArray[np.int8]:
        """(draws, places): 1 right, 0 not right, -1 no judgment, or one that was lost to a provider error."""
        missing = (self.outcome == NO_JUDGMENT) | (self.outcome == PROVIDER_ERROR)
        return np.where(missing, NO_JUDGMENT, self.outcome == CORRECT).astype(np.int8)

    @cached_property
    def errors(self) -> int:
        """Judgments that the provider did not answer."""
        return int((self.outcome == PROVIDER_ERROR).sum())

    @property
    def n_judgments(self) -> int:
        """Judgments of all draws that the provider answered."""
        return int((self.right >= 0).sum())

    def flags(self, places: NDArray[np.bool_] | None = None) -> Flags:
        """What spoils the cell's numbers, at all or some places."""
        held = self.outcome if places is None else self.outcome[:, places]
        return flags_of(
            judged=int(((held >= 0) & (held != PROVIDER_ERROR)).sum()),
            lost=int((held == PROVIDER_ERROR).sum()),
            unparsed=int((held == UNPARSED).sum()),
            lossy_profiles=self.lossy,
        )

    @property
    def answered(self) -> bool:
        """Whether the provider answered anything."""
        return self.n_judgments > 0

    @property
    def applies(self) -> bool:
        """Whether the method applies to any user."""
        return not bool(self.exempt[self.asked].all())

    @property
    def state(self) -> str:
        """`labels.OK`, or why the cell has no number."""
        if self.answered:
            return OK
        return NO_ANSWERS if self.errors else NO_VERDICTS if self.applies else NOT_APPLICABLE

    def by_user(self, user_of: Codes, places: NDArray[np.bool_] | None = None) -> tuple[Floats, Floats]:
        """Right judgments and judgments that were answered, each (users, draws), at all or some places."""
        there = (self.right >= 0) if places is None else (self.right >= 0) & places
        return sums_of(user_of, there & (self.right == 1), len(self.asked)), sums_of(user_of, there, len(self.asked))


@dataclass(frozen=True, eq=False)
class VerdictArrays:
    """All cells of a data set. Place i is a judgment of user `user_of[i]` on pair `pair_of[i]`; `users` and `pairs` are
    ids. A pair has a place for each order, and one for verdicts on both orders together, which is `together[i]`; -1
    where there is none, or where i is that place."""

    dataset: str
    users: tuple[str, ...]
    pairs: tuple[str, ...]
    user_of: Codes
    pair_of: Codes
    together: Codes
    cells: dict[Condition, Cell]


def sums_of(user_of: Codes, hits: NDArray[np.bool_], n_users: int) -> Floats:
    """Hits of each user in each draw, (users, draws)."""
    columns = [np.bincount(user_of[row], minlength=n_users) for row in hits]
    return np.stack(columns, axis=1).astype(np.float64)


def _codes(column: pd.Series[str]) -> tuple[Codes, list[str]]:
    """Ranks in the sorted distinct texts (-1 where missing), and these texts."""
    held = pd.Categorical(column).remove_unused_categories()
    texts = sorted(map(str, held.categories))
    rank = {text: place for place, text in enumerate(texts)}
    # One more entry: code -1 reads the last one, so that missing stays missing.
    ranks = np.array([*(rank[str(text)] for text in held.categories), -1], dtype=np.int64)
    return ranks[held.codes], texts


def refuse_unknown(dataset: str, users: Sequence[str], known: Container[tuple[str, str]]) -> None:
    """Raises DataError if a judged user is not among the known users, (data set, user)."""
    lost = [user for user in users if (dataset, user) not in known]
    if lost:
        raise DataError(
            f"data set {dataset!r}: user {lost[0]!r} and {len(lost) - 1} more have verdicts but are not in the "
            "files of users. Remove verdicts of an older configuration and run again."
        )


def verdict_arrays_of(verdicts: pd.DataFrame, datasets: Iterable[str] = ()) -> dict[str, VerdictArrays]:
    """The arrays of each data set by name, from the frame of `collect_verdicts`; empty ones for more `datasets`."""
    codes, names = _codes(verdicts["dataset"])
    nowhere: Codes = np.zeros(0, dtype=np.int64)
    found = {name: VerdictArrays(name, (), (), nowhere, nowhere, nowhere, {}) for name in datasets}
    found |= {name: _arrays(name, verdicts[codes == code]) for code, name in enumerate(names)}
    return dict(sorted(found.items()))


def _arrays(dataset: str, rows: pd.DataFrame) -> VerdictArrays:
    user, users = _codes(rows["user_id"])
    pair, pairs = _codes(rows["pair_id"])
    order = rows["swapped"].astype("boolean").astype("Int8").fillna(2).to_numpy(dtype=np.int64)
    identity = ((user * max(len(pairs), 1)) + pair) * 3 + order
    places, where = np.unique(identity[pair >= 0], return_inverse=True)
    place = np.full(len(rows), NO_JUDGMENT, dtype=np.int64)
    place[pair >= 0] = where
    held = rows[[*CONDITION_COLUMNS, "draw"]].assign(
        user=user,
        place=place,
        outcome=pd.Categorical(rows["outcome"], categories=list(OUTCOMES)).codes,
        lossy=(rows["profile_lost"] > 0) & (pair >= 0),
        applies=rows["status"] != "not_applicable",
    )
    cells = {key: _cell(key, mine, len(users), len(places)) for key, mine in by_condition(held)}
    user_of, pair_of = places // 3 // max(len(pairs), 1), places // 3 % max(len(pairs), 1)
    return VerdictArrays(dataset, tuple(users), tuple(pairs), user_of, pair_of, _together(places), cells)


def _together(places: Codes) -> Codes:
    """For each place of one order, the place of verdicts on both orders of the same pair; else -1."""
    wanted = places - places % 3 + 2
    found = np.minimum(np.searchsorted(places, wanted), max(len(places) - 1, 0))
    there = (places % 3 != 2) & (places[found] == wanted)
    return np.where(there, found, NO_JUDGMENT)


def _cell(key: Condition, rows: pd.DataFrame, n_users: int, n_places: int) -> Cell:
    draws, draw = np.unique(rows["draw"], return_inverse=True)
    outcome = np.full((len(draws), n_places), NO_JUDGMENT, dtype=np.int8)
    there = (rows["place"] >= 0).to_numpy()
    outcome[draw[there], rows["place"][there]] = rows["outcome"][there]
    asked, concerned = np.zeros((2, n_users), dtype=np.bool_)
    asked[rows["user"]] = True
    concerned[rows["user"][rows["applies"]]] = True
    lossy = len(rows.loc[rows["lossy"], ["user", "draw"]].drop_duplicates())
    return Cell(key, tuple(map(int, draws)), outcome, asked, asked & ~concerned, lossy)
