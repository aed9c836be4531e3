"""A search at a provider that refuses 40 % of the calls with a plain 429, whatever the load, against a calm one.

Computed with an event loop whose waits take no time (`benchmarks/storm.py` prints more cases).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from parity.sides import make_users

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
USERS = {name: user["fit"] for name, user in make_users(6, n_test=0).items()}


@pytest.mark.parametrize(
    ("latency", "refusal", "at_once"), [(0.05, 0.05, 1), (0.05, 0.02, 8), (0.3, 0.3, 1), (0.3, 0.02, 8), (4.0, 4.0, 1)]
)
def test_a_storm_takes_at_most_two_and_a_half_times_the_calm_search(
    monkeypatch: pytest.MonkeyPatch, latency: float, refusal: float, at_once: int
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import storm

    assert 1.0 < storm.ratio(USERS, latency, refusal, at_once) <= storm.BAR
