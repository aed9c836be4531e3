"""A race between candidates that makes no call whose answer cannot change the winner (our choice).

Candidates are in the order of their seeds. The winner is the first that reaches the stop score; failing that the
one with the highest score, equals decided by the caller's rule. A candidate is pruned as soon as it cannot win even
if all its remaining verdicts were correct: an exact bound, property-tested against full evaluation. Pairs that other
candidates missed are judged first, which changes no score and prunes sooner. Answers decide rounds, never timing:
equal answers give equal calls.

Candidates are compared on the same judgments: a judgment (pair and order) that the provider failed for one candidate
counts for none. A candidate none of whose calls was answered is no candidate, and takes no judgment from the others.
Each round computes the bounds anew on the judgments that count, so that a candidate that was pruned because of a
judgment that no longer counts is continued.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from personalrm.core.records import Verdict

Question = tuple[int, tuple[int, ...]]
"""A candidate, and the validation pairs that it is asked about next."""


def rounded_percent(share: Fraction) -> float:
    """A share in percent with two digits, as the authors' package keeps scores.

    >>> rounded_percent(Fraction(2, 3))
    66.67
    """
    return round(float(100 * share), 2)


@dataclass
class Runner:
    """What is known of one candidate: its verdicts by validation pair. `lost`, which all candidates share, are the
    judgments (pair and place among its verdicts) that count for none of them."""

    n_pairs: int
    per_pair: int
    lost: set[tuple[int, int]]
    verdicts: dict[int, tuple[Verdict, ...]] = field(default_factory=dict)

    @property
    def left(self) -> list[int]:
        """Pairs whose verdicts count and are not known."""
        return [pair for pair in range(self.n_pairs) if pair not in self.verdicts and self._size([pair])]

    @property
    def done(self) -> bool:
        """All pairs that count are judged."""
        return not self.left

    def in_order(self) -> list[Verdict]:
        """Verdicts so far that count, in the order of the pairs."""
        return [
            verdict
            for pair in sorted(self.verdicts)
            for place, verdict in enumerate(self.verdicts[pair])
            if (pair, place) not in self.lost
        ]

    def score(self) -> Fraction | None:
        """Share of correct verdicts among those that count, None without any."""
        return self._share(right=0, wrong=0)

    def at_best(self, wrong: Collection[int] = ()) -> Fraction | None:
        """The highest score that is still possible, if these of the pairs that are left turn out wrong."""
        missed = self._size(wrong)
        return self._share(right=self._size(self.left) - missed, wrong=missed)

    def _size(self, pairs: Iterable[int]) -> int:
        """Judgments on some pairs that count."""
        return sum((pair, place) not in self.lost for pair in pairs for place in range(self.per_pair))

    def _share(self, *, right: int, wrong: int) -> Fraction | None:
        """The score, with so many right and wrong verdicts more than are known."""
        # Verdicts that are lost and no part of `lost` are those of a candidate without an answer.
        known = [verdict.outcome for verdict in self.in_order() if verdict.outcome != "provider_error"]
        total = len(known) + right + wrong
        return Fraction(known.count("correct") + right, total) if total else None


class PrunedSearch:
    """Rounds of questions to `n_candidates` candidates about `n_pairs` validation pairs of `per_pair` verdicts each.

    Args:
        stop_at_score: percent; the first candidate that reaches it ends the race. None for never.
        first_of_equals: among equal scores the earlier candidate wins, so a later one that can only draw level is left.
        rounded: scores are compared in percent rounded to two digits, as the authors' package does.
        parallel: candidates that run at the same time. 1 makes the fewest calls and keeps a candidate's calls together
            (prefix caches); more is faster, for some calls that a candidate before would have saved.
        places: calls that can be made at the same time, where that is known: candidates beyond them would wait, and an
            earlier one may end the race meanwhile.
        exhaustive: ask every candidate about every pair, to measure against, or to have all scores. Same winner.
    """

    def __init__(
        self,
        n_candidates: int,
        n_pairs: int,
        per_pair: int,
        *,
        stop_at_score: float | None,
        first_of_equals: bool,
        rounded: bool,
        parallel: int,
        places: float,
        exhaustive: bool,
    ) -> None:
        lost: set[tuple[int, int]] = set()
        self.runners = [Runner(n_pairs, per_pair, lost) for _ in range(n_candidates)]
        self._stop = None if stop_at_score is None else Fraction(stop_at_score)
        self._first_of_equals = first_of_equals
        self._rounded = rounded
        self._parallel = parallel
        self._places = places
        self._exhaustive = exhaustive
        self._misses = Counter[int]()

    def tell(self, candidate: int, pair: int, verdicts: Sequence[Verdict]) -> None:
        """Note the verdicts of a candidate on a pair, and which judgments count for no candidate because of them."""
        runner = self.runners[candidate]
        runner.verdicts[pair] = tuple(verdicts)
        places = {
            (pair, place): verdict.outcome == "provider_error"
            for pair, held in runner.verdicts.items()
            for place, verdict in enumerate(held)
        }
        if not all(places.values()):
            runner.lost.update(place for place, is_lost in places.items() if is_lost)
        self._misses[pair] += sum(verdict.outcome not in ("correct", "provider_error") for verdict in verdicts)

    def next_round(self) -> list[Question]:
        """What to ask next, all of it at the same time; empty when the winner is known."""
        if self._exhaustive:
            return [(i, tuple(range(runner.n_pairs))) for i, runner in enumerate(self.runners) if not runner.done]
        if not self.runners[0].done:
            return [(0, tuple(range(self.runners[0].n_pairs)))]
        running = [
            index
            for index, runner in enumerate(self.runners)
            if not runner.done and self._can_win(index, runner.at_best())
        ]
        asked: list[Question] = []
        free = self._places
        for index in running[: self._parallel]:
            pairs = self._pairs(index)
            free -= len(pairs) * self.runners[index].per_pair
            if asked and free < 0:
                break
            asked.append((index, pairs))
        return asked

    def stopper(self) -> int | None:
        """The first candidate that reached the stop score."""
        return next((i for i, runner in enumerate(self.runners) if runner.done and self._reaches(runner.score())), None)

    def _percent(self, score: Fraction) -> Fraction:
        """A score as it is compared. Rounding keeps the order of any two, so that the bound stays exact."""
        return Fraction(rounded_percent(score)) if self._rounded else 100 * score

    def _reaches(self, score: Fraction | None) -> bool:
        return self._stop is not None and score is not None and self._percent(score) >= self._stop

    def _can_win(self, index: int, at_best: Fraction | None) -> bool:
        stopper = self.stopper()
        if stopper is not None:
            return index < stopper and self._reaches(at_best)
        scores = [(runner.score(), i) for i, runner in enumerate(self.runners) if runner.done]
        known = [(self._percent(score), -i) for score, i in scores if score is not None]
        if not known or at_best is None:
            return True
        best, place = max(known)
        possible = self._percent(at_best)
        return possible > best or (possible == best and not (self._first_of_equals and -place < index))

    def _pairs(self, index: int) -> tuple[int, ...]:
        """The pairs that most candidates missed, as many as it takes to fail; where speed counts all that are left, if
        that was survived or is more than half of them."""
        runner = self.runners[index]
        left = sorted(runner.left, key=lambda pair: (-self._misses[pair], pair))
        size = next((n for n in range(1, len(left)) if not self._can_win(index, runner.at_best(left[:n]))), len(left))
        if self._parallel > 1 and (runner.verdicts or 2 * size > len(left)):
            size = len(left)
        return tuple(left[:size])
