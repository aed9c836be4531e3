"""Successive halving (opt-in; its winner may differ from `PrunedSearch`'s): all candidates are asked about a small
part of the validation pairs, the better half goes on to a part of twice the size, and so on to all pairs. What the last
ones score there decides. Fewer calls than the exact race where candidates are many and much alike, and no stop score
ends that early.

Our choices: the first part is as large as halving down to two candidates on all pairs allows; nobody is left without a
new verdict, so that few pairs mean few rounds; a candidate whose every call failed at the provider goes on, as an
outage is no wrong answer. Judgments that a candidate lost count as in `race.py`. Rounds are decided by answers alone:
equal answers, equal calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from personalrm.core.records import Verdict
from personalrm.methods.synthesizeme.pruned_search import Question, runners, tell

Rank = Callable[[int, Sequence[Verdict]], tuple[float, ...]]
"""Sort key of a candidate by its verdicts, larger is better; no two candidates have the same."""


def part_sizes(n_candidates: int, n_pairs: int) -> tuple[int, ...]:
    """How many pairs are known after each round.

    >>> part_sizes(13, 16), part_sizes(13, 3), part_sizes(2, 16), part_sizes(1, 16)
    ((2, 4, 8, 16), (1, 2, 3), (16,), (16,))
    """
    rounds = (n_candidates - 1).bit_length()
    first = max(1, -(-n_pairs // 2 ** max(0, rounds - 1)))
    sizes = [first]
    while sizes[-1] < n_pairs:
        sizes.append(min(n_pairs, 2 * sizes[-1]))
    return tuple(sizes)


def half(candidates: int) -> int:
    """How many go on: half of them, the larger half of an odd number."""
    return (candidates + 1) // 2


class Halving:
    """Rounds of questions to `n_candidates` candidates, with the methods of `race.PrunedSearch`.

    Args:
        order: validation pairs in the order in which the parts take them up.
        per_pair: verdicts a pair.
        rank: who is the better of two candidates that were asked about the same pairs.

    There is no stop score: until the last round nobody's score on all pairs is known.
    """

    def __init__(self, n_candidates: int, order: Sequence[int], per_pair: int, rank: Rank) -> None:
        self.runners = runners(n_candidates, len(order), per_pair)
        self._order = tuple(order)
        self._rank = rank
        self._left = list(range(n_candidates))
        self._sizes = part_sizes(n_candidates, len(order))
        self._round = 0

    def tell(self, candidate: int, pair: int, verdicts: Sequence[Verdict]) -> None:
        """The verdicts of a candidate on a pair."""
        tell(self.runners[candidate], pair, verdicts)

    def next_round(self) -> list[Question]:
        """What to ask next, all of it at the same time; empty when the last candidates are known in full."""
        if self._round == len(self._sizes):
            return []
        if self._round:
            self._left = self._better_half()
        known = self._sizes[self._round - 1] if self._round else 0
        part = self._order[known : self._sizes[self._round]]
        self._round += 1
        return [(candidate, part) for candidate in self._left]

    def stopper(self) -> int | None:
        """Nobody ends this search early."""
        return None

    def _better_half(self) -> list[int]:
        judged = [index for index in self._left if self.runners[index].score() is not None]
        judged.sort(key=lambda index: self._rank(index, self.runners[index].in_order()), reverse=True)
        dropped = set(judged[half(len(judged)) :])
        return [index for index in self._left if index not in dropped]
