"""The judgments that a processed set contains, read as ratings and votes of models.

The types of the values are not published, so that several are read, and any other is an error:

- Ratings: 1 to 5; a column whose numbers all lie between 0 and 1 is stretched to that scale; yes and no (true and
  false) are its ends.
- Votes: `chosen` or `rejected`; a truth value is whether the member agreed with the user; else the position that it
  named (First, A, 1 or Second, B, 2, -1; tie; 0 is a tie if any prediction is -1). We assume that the chosen answer is
  first in `prediction_*` and second in `prediction_flip_*`. Were it the other way round, agreement would be the same.
- Null or blank values are missing. The column `agreement`, whose definition is not published, is not read: agreement
  is counted from the votes. All columns are exported as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from personalrm.core.errors import DataError
from personalrm.core.records import Outcome, Record, UserData, read_records
from personalrm.data.filters.filter_settings import RELEASED
from personalrm.data.filters.ratings import FAVOURS, PairRating, PanelVote, UserPanel, UserRatings
from personalrm.data.sources.votes import Vote, decided
from personalrm.judge.parsing import parse_rating, parse_verdict

JUDGMENTS = "judgments.jsonl"
"""File of `PairJudgments`, next to the users that `prepare` writes."""

Scalar = str | bool | int | float

_RATINGS = {"query": "personalizable_query", "responses": "personalizable_responses"}
_REASONS = {"query_reasoning": "query_reasoning", "responses_reasoning": "response_reasoning"}
_YES_NO = {"yes": 5, "true": 5, "no": 1, "false": 1}
_POSITIONS = {"a": "first", "1": "first", "b": "second", "2": "second", "-1": "second"}
_MISSING = ("", "none", "null", "nan")


class PairJudgments(Record):
    """The filter columns of one pair, as released. `row` is its row in the release's file."""

    user_id: str
    pair_id: str
    row: int
    columns: dict[str, Scalar]


def judgments_of(votes: Iterable[Vote]) -> Iterator[PairJudgments]:
    """The judgments on votes that have any. Raises DataError for a value that is not a text, number or truth value."""
    for vote in (vote for vote in votes if vote.judgments):
        for column, value in vote.judgments.items():
            if not isinstance(value, str | bool | int) and not (isinstance(value, float) and math.isfinite(value)):
                raise _Cell(str(value), column, vote.line).refusal("text, number or truth value")
        yield PairJudgments.model_validate(
            {"user_id": vote.user_id, "pair_id": vote.own_id, "row": vote.line, "columns": vote.judgments}
        )


class _Cell(NamedTuple):
    """A value of a column, and the row of the release's file."""

    value: Scalar
    column: str
    row: int

    @property
    def word(self) -> str:
        return str(self.value).strip().casefold()

    @property
    def number(self) -> float | None:
        """A number, or a text that is a number; None for a truth value."""
        if isinstance(self.value, bool):
            return None
        try:
            number = float(self.word)
        except ValueError:
            return None
        return number if math.isfinite(number) else None

    def refusal(self, what: str) -> DataError:
        return DataError(
            f"column {self.column!r}, row {self.row}: {str(self.value)[:60]!r} is not a {what}; correct the file, or "
            "let models judge"
        )

    def rating(self, stretched: bool) -> int | float | None:
        """A rating from 1 to 5, None where it is missing."""
        if self.word in _MISSING:
            return None
        number = _YES_NO.get(self.word, self.number)
        if number is None and isinstance(self.value, str):
            number = parse_rating(self.value)
        elif number is not None and self.word not in _YES_NO and stretched and 0 <= number <= 1:
            number = 1 + 4 * number
        if number is None or not 1 <= number <= 5:
            raise self.refusal("rating: a number from 1 to 5 (in all rows, or from 0 to 1 in all), yes or no")
        return int(number) if float(number).is_integer() else number

    def outcome(self, swapped: bool, signed: bool) -> Outcome:
        """Whether a member named the chosen answer; `unparsed` where the vote is missing."""
        if self.word in _MISSING:
            return "unparsed"
        if isinstance(self.value, bool) or self.word in ("chosen", "rejected"):
            return "correct" if self.word in ("chosen", "true") else "wrong"
        whole = self.number is not None and self.number.is_integer()
        word = str(int(self.number or 0)) if whole else self.word
        stated = _POSITIONS.get(word) or ("tie" if word == "0" and signed else parse_verdict(str(self.value)))
        if stated == "unparsed":
            raise self.refusal("vote: First or Second (A or B, 1 or 2, 1 or -1), chosen or rejected, or tie")
        if stated == "tie":
            return "tie"
        return "correct" if (stated == "first") != swapped else "wrong"


@dataclass(frozen=True)
class ReleasedJudgments:
    """All judgments of a data set by pair id, and what depends on whole columns.

    `members` are those of the panel, sorted; `stretched` the rating columns with numbers from 0 to 1; `signed`
    whether any prediction is -1.
    """

    pairs: Mapping[str, PairJudgments]
    members: tuple[str, ...]
    stretched: frozenset[str]
    signed: bool

    @classmethod
    def read(cls, path: Path) -> ReleasedJudgments:
        """Read what `judgments_of` gave."""
        pairs = {row.pair_id: row for row in read_records(path, PairJudgments)}
        largest = dict.fromkeys(_RATINGS.values(), -math.inf)
        members: set[str] = set()
        signed = False
        for cell in (_Cell(value, column, row.row) for row in pairs.values() for column, value in row.columns.items()):
            number = cell.number
            if cell.column in largest and number is not None:
                largest[cell.column] = max(largest[cell.column], number)
            if cell.column.startswith("prediction_"):
                members.add(cell.column.removeprefix("prediction_").removeprefix("flip_"))
                signed = signed or number == -1
        stretched = frozenset(column for column, most in largest.items() if most <= 1)
        return cls(pairs, tuple(sorted(members)), stretched, signed)

    def ratings(self, user: UserData) -> UserRatings:
        """Ratings of one user's pairs. Raises DataError for a value that is not a rating."""
        rated = []
        for pair in user.pairs:
            cells = {column: self._cell(pair.pair_id, column) for column in (*_RATINGS.values(), *_REASONS.values())}
            numbers = {field: cells[column].rating(column in self.stretched) for field, column in _RATINGS.items()}
            reasons = {field: str(cells[column].value) for field, column in _REASONS.items()}
            rated.append(PairRating.model_validate({"pair_id": pair.pair_id, **numbers, **reasons}))
        return UserRatings(dataset=user.dataset, user_id=user.user_id, model=RELEASED, ratings=tuple(rated))

    def panel(self, user: UserData) -> list[UserPanel]:
        """Votes of each member on one user's pairs, in both orders; without ties, on which panels do not vote."""
        pairs = [pair.pair_id for pair in decided(user.pairs)]
        return [
            UserPanel(
                dataset=user.dataset,
                user_id=user.user_id,
                model=member,
                votes=tuple(self._vote(pair, member, swapped) for pair in pairs for swapped in (False, True)),
            )
            for member in self.members
        ]

    def _cell(self, pair_id: str, column: str) -> _Cell:
        """The value of a pair's column; "" where there is none."""
        row = self.pairs.get(pair_id)
        return _Cell(row.columns.get(column, ""), column, row.row) if row else _Cell("", column, 0)

    def _vote(self, pair_id: str, member: str, swapped: bool) -> PanelVote:
        column = f"flip_{member}" if swapped else member
        outcome = self._cell(pair_id, f"prediction_{column}").outcome(swapped, self.signed)
        return PanelVote(
            pair_id=pair_id,
            swapped=swapped,
            favours=FAVOURS.get(outcome),
            outcome=outcome,
            reasoning=str(self._cell(pair_id, f"reasoning_{column}").value),
        )
