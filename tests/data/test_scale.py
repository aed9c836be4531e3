"""Memory of the workflow's stages hardly grows with the users of a data set (benchmarks/scale.py measures more)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FEW, MANY = 250, 1_250
KB_A_USER = {"prepare": 8, "judge": 10, "collect": 20}
"""What a user more may add to the peak, where some 7 KB of votes are read of each and 6 KB of verdicts written. Seen:
1, 1 and 7 KB, from 1,000 to 10,000 users. Held in memory as they are, votes or users alone would take some 30."""


def test_peak_memory_grows_by_kilobytes_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/proc/self/status").is_file():
        pytest.skip("peak memory is read from /proc")
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    from scale import steps_of

    found = {}
    for users in (FEW, MANY):
        folder = tmp_path / str(users)
        folder.mkdir()
        found[users] = dict(steps_of(folder, users, list(KB_A_USER)))
    # Two test pairs a user, both orders, by three methods.
    assert [found[users]["collect"]["rows"] for users in (FEW, MANY)] == [12 * FEW, 12 * MANY]
    for step, most in KB_A_USER.items():
        grown_kb = 1024 * (found[MANY][step]["peak_mb"] - found[FEW][step]["peak_mb"])
        assert grown_kb / (MANY - FEW) < most, step
