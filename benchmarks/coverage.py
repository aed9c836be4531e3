"""How often intervals hold the true accuracy: `python benchmarks/coverage.py [--trials 2000] [--resamples 999]`.

Simulates runs of 4, 8, 30 and 131 users with 2 to 5 pairs each at a true accuracy of 50, 60, 90 and 97 %, and prints
how many of them (in percent) have a nominal 95 % interval that holds the truth: of `statistics.share_interval`, which
the tables show, of its form without resampling, of the bootstrap over users alone, and of the paper's, which takes
judgments as independent. Then, for two methods: how often the test of their difference rejects although none is better,
and how often it finds the difference that the table of power calls the smallest at 80 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from personalrm.results.stats.exact_statistics import independent_interval
from personalrm.results.stats.statistics import (
    Interval,
    cluster_bootstrap,
    paired_cluster_difference,
    share_interval,
)
from personalrm.studies.synthesizeme.results.power_table import resolvable

Counts = NDArray[np.int64]
USERS, ACCURACIES = (4, 8, 30, 131), (0.50, 0.60, 0.90, 0.97)
PAIRS = (2, 5)
"""Fewest and most pairs of a user."""
ALIKE = 0.1
"""How alike the judgments of one user are (intraclass correlation of a beta-binomial)."""


class Sample(NamedTuple):
    """Right judgments, judgments and pairs of each user."""

    right: Counts
    judged: Counts
    pairs: Counts


def sampled(users: int, accuracy: float, *, alike: float, orders: int, generator: np.random.Generator) -> Sample:
    """One run: each user has an accuracy of its own, and each pair `orders` verdicts, of which two agree half the time.

    Agreement beyond chance: with two orders the second verdict repeats the first with probability 1/2 and is drawn
    anew otherwise. At `alike` 0 all users have the accuracy of the whole.
    """
    pairs = generator.integers(PAIRS[0], PAIRS[1] + 1, size=users)
    rates = np.full(users, accuracy)
    if alike:
        spread = 1 / alike - 1
        rates = generator.beta(spread * accuracy, spread * (1 - accuracy), size=users)
    right = first = generator.binomial(pairs, rates)
    if orders == 2:
        kept = generator.binomial(first, 0.5)
        anew = pairs - kept - generator.binomial(pairs - first, 0.5)
        right = first + kept + generator.binomial(anew, rates)
    return Sample(right, orders * pairs, pairs)


def intervals(sample: Sample, seed: int, resamples: int) -> Mapping[str, Interval]:
    """The interval of each kind."""
    units = int(sample.pairs.sum())
    return {
        "shown": share_interval(sample.right, sample.judged, seed=seed, n_resamples=resamples, units=units),
        "linear": share_interval(sample.right, sample.judged, units=units),
        "bootstrap": cluster_bootstrap(sample.right, sample.judged, seed=seed, n_resamples=resamples),
        "paper": independent_interval(int(sample.right.sum()), int(sample.judged.sum())),
    }


def coverage(
    users: int, accuracy: float, *, alike: float, orders: int, trials: int, resamples: int
) -> dict[str, float]:
    """Share of `trials` runs whose interval holds the true accuracy, by kind of interval."""
    generator = np.random.default_rng([users, round(100 * accuracy), round(100 * alike), orders])
    held: dict[str, int] = {}
    for trial in range(trials):
        sample = sampled(users, accuracy, alike=alike, orders=orders, generator=generator)
        for name, found in intervals(sample, trial, resamples).items():
            held[name] = held.get(name, 0) + bool(found.low - 1e-12 <= accuracy <= found.high + 1e-12)
    return {name: count / trials for name, count in held.items()}


def found_differences(users: int, gain: float, *, trials: int, resamples: int) -> tuple[float, float]:
    """Share of runs in which a true `gain` over 35 % has p < 0.05, and the mean smallest difference of such runs.

    Both methods judge the same 2 to 5 pairs of each user in both orders. A user's own gain varies by 0.15 around the
    true one (with `gain` 0, too: a null in which users differ).
    """
    generator = np.random.default_rng([users, round(1000 * gain)])
    rejected, smallest = 0, []
    for trial in range(trials):
        pairs = generator.integers(PAIRS[0], PAIRS[1] + 1, size=users)
        own = generator.normal(gain, 0.15, users)
        first, second = (2 * generator.binomial(pairs, np.clip(0.35 + shift, 0, 1)) for shift in (own, 0 * own))
        units = int(pairs.sum())
        test = paired_cluster_difference(first, second, 2 * pairs, seed=trial, n_resamples=resamples, units=units)
        rejected += test.p_value < 0.05
        sides = (side.astype(np.float64)[:, None] for side in (first, second, 2 * pairs))
        smallest.append(resolvable(*sides, units=units))
    return rejected / trials, float(np.mean(smallest))


def _coverage_lines(trials: int, resamples: int) -> Iterator[str]:
    yield "| users | accuracy | alike | orders | shown | without resampling | bootstrap alone | paper's |"
    yield "|---|---|---|---|---|---|---|---|"
    for orders in (1, 2):
        for alike in (0.0, ALIKE):
            for users in USERS:
                for accuracy in ACCURACIES:
                    found = coverage(users, accuracy, alike=alike, orders=orders, trials=trials, resamples=resamples)
                    shown = " | ".join(f"{100 * share:.1f}" for share in found.values())
                    yield f"| {users} | {accuracy:.0%} | {alike} | {orders} | {shown} |"


def _difference_lines(trials: int, resamples: int) -> Iterator[str]:
    yield "| users | rejected without a gain | smallest difference, points | found |"
    yield "|---|---|---|---|"
    for users in (8, 30, 131):
        null, smallest = found_differences(users, 0.0, trials=trials, resamples=resamples)
        power, _ = found_differences(users, smallest, trials=trials, resamples=resamples)
        yield f"| {users} | {100 * null:.1f} | {100 * smallest:.1f} | {100 * power:.1f} |"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=999)
    args = parser.parse_args()
    for lines in (_coverage_lines, _difference_lines):
        for line in lines(args.trials, args.resamples):
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
