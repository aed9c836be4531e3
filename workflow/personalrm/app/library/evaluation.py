"""What `evaluate` returns: an accuracy with its interval, and every verdict behind it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from personalrm.core.records import OUTCOMES, READABLE, Outcome, PreferencePair, Verdict

if TYPE_CHECKING:
    from personalrm.results.stats.statistics import Interval

_KEYS = ("mean", "lower_bound", "upper_bound", "results")


@dataclass(frozen=True)
class Evaluation(Mapping[str, Any]):
    """Accuracy of a judge on pairs, in both orders each. Reads like the published dict: `mean`, `lower_bound`,
    `upper_bound`, `results` are keys as well as attributes.

    `mean` is the share of `correct` among the verdicts that were had; ties and what could not be read count as not
    correct (as published), provider errors do not count (published: as wrong). `lower_bound` and `upper_bound` are
    those of a 95 % interval (`statistics.share_interval`, seeded) that resamples what varies independently
    (`resampled`: users, where the pairs are of several, else conversations, else pairs) and is never narrower than
    what so few judgments leave open; nan where there is only one. `paper_interval` is the published
    one, which takes all judgments as independent. `mean_readable` is the share of `correct` among verdicts that could
    be read: correct, wrong and ties. `results` has 1 for correct and 0 for not, one per verdict that was
    had, `verdicts` all of them, `outcomes` their counts by kind. All numbers are fractions.
    """

    mean: float
    lower_bound: float
    upper_bound: float
    results: tuple[int, ...]
    verdicts: tuple[Verdict, ...]
    outcomes: Mapping[Outcome, int]
    paper_interval: Interval
    resampled: str
    events: tuple[str, ...] = ()

    @property
    def mean_readable(self) -> float:
        """Share of `correct` among correct, wrong and ties; nan without any."""
        read = sum(self.outcomes[outcome] for outcome in READABLE)
        return self.outcomes["correct"] / read if read else math.nan

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401  (as the published dict)
        if key not in _KEYS:
            raise KeyError(key)
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        return iter(_KEYS)

    def __len__(self) -> int:
        return len(_KEYS)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.outcomes.items() if count)
        return f"{self.mean:.3f} [{self.lower_bound:.3f}, {self.upper_bound:.3f}] ({counts})"


def evaluated(
    pairs: Sequence[PreferencePair], verdicts: Sequence[Verdict], seed: int, events: tuple[str, ...] = ()
) -> Evaluation:
    """The evaluation of verdicts on `pairs`, which have one or two verdicts each."""
    # Imported here: scipy takes longer than a prediction.
    from personalrm.results.stats.exact_statistics import independent_interval
    from personalrm.results.stats.statistics import share_interval

    if len({pair.user_id for pair in pairs}) > 1:
        resampled, units = "users", {pair.pair_id: pair.user_id for pair in pairs}
    else:
        resampled = "conversations" if any(pair.conversation_id for pair in pairs) else "pairs"
        units = {pair.pair_id: pair.conversation_id or f"pair {pair.pair_id}" for pair in pairs}
    had = [verdict for verdict in verdicts if verdict.outcome != "provider_error"]
    results = tuple(int(verdict.outcome == "correct") for verdict in had)
    judged = Counter(units[verdict.pair_id] for verdict in had)
    right = Counter(units[verdict.pair_id] for verdict in had if verdict.outcome == "correct")
    counted = [right[unit] for unit in sorted(judged)], [judged[unit] for unit in sorted(judged)]
    interval = share_interval(*counted, seed=seed, units=len({verdict.pair_id for verdict in had}) or None)
    counts = Counter(verdict.outcome for verdict in verdicts)
    return Evaluation(
        mean=interval.estimate,
        lower_bound=interval.low,
        upper_bound=interval.high,
        results=results,
        verdicts=tuple(verdicts),
        outcomes={outcome: counts[outcome] for outcome in OUTCOMES},
        paper_interval=independent_interval(sum(results), len(results)),
        resampled=resampled,
        events=events,
    )
