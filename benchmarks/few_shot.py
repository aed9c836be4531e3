"""CPU seconds of training and judging with votes in the prompt, with shared prompts read once and text by text:
`python benchmarks/few_shot.py [--base smollm2-135m] [--shots 4]`. Needs the extra `train`.

Both ways are measured in turns in one process, on the same windows of invented users (`personalrm synthesise
--scripted --short`). The largest difference of log-odds is printed next to the times.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from personalrm.core.records import PreferencePair
from personalrm.data.prepare import read_users
from personalrm.data.scripted.settings import ScriptedSettings
from personalrm.data.scripted.synthesise import synthesise
from personalrm.data.settings import LocalDataset
from personalrm.data.sources.reading import ReadReport
from personalrm.methods.reward.few_shot_settings import FSPOHyper
from personalrm.methods.reward.fspo import Taught, fit, open_new
from personalrm.train.policy_settings import PolicySettings
from personalrm.train.trainer import Run, deterministic

UPDATES, BATCH, JUDGED, ROUNDS = 1, 4, 6, 2
PER = {"one update": UPDATES, "one judged pair": JUDGED}
"""What is measured, and how many of it one measurement has."""


def invented(users: int) -> list[tuple[PreferencePair, ...]]:
    """Votes of invented users, 20 each."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "votes")
        settings = ScriptedSettings(users=users, pairs=20, seed=7, axes=("tone",), tastes=1, population=0, short=True)
        synthesise(settings, folder)
        found = read_users(LocalDataset(name="invented", path=folder / "votes.jsonl"), ReadReport()).users
    return [user.pairs for user in found]


def measure(base: str, shots: int, dtype: Any) -> None:  # noqa: ANN401
    """Print the medians of `ROUNDS` turns."""
    users = invented(UPDATES * BATCH + 1)
    learned = [Taught(pairs) for pairs in users[:-1]]
    hyper = FSPOHyper(
        shots=shots, mixed=False, windows=1, steps=UPDATES, batch=BATCH, lr=1e-3, warmup=0, tuning="lora", beta=0.1
    )

    seconds: dict[tuple[str, bool], list[float]] = {(what, way): [] for what in PER for way in (False, True)}
    found: dict[tuple[str, bool], Any] = {}
    with deterministic(1):
        for shared in [False, True] * ROUNDS:
            with open_new(PolicySettings(base, dtype=dtype), hyper.weights, 0, "fspo", []) as model:
                model.policy.__dict__["_reads_trees"] = shared
                works: dict[str, Callable[[], Any]] = {
                    "one update": lambda model=model: fit(model, learned, [], hyper, 0, Run()).card["curve"],
                    "one judged pair": lambda model=model: model.adapt(users[-1][:shots])(users[-1][-JUDGED:]),
                }
                for what, work in works.items():
                    start = time.process_time()
                    found[what, shared] = work()
                    seconds[what, shared].append((time.process_time() - start) / PER[what])
    print(f"{base}, {dtype}, {shots} votes")
    for what in PER:
        apart, once = (float(np.median(seconds[what, way])) for way in (False, True))
        print(f"  {what}: {apart:.2f} s text by text, {once:.2f} s shared ({apart / once:.1f} x)")
    losses, odds = ([found[what, way] for way in (False, True)] for what in PER)
    gaps = abs(losses[0][-1]["loss"] - losses[1][-1]["loss"]), np.abs(np.subtract(*odds)).max()
    print(
        f"  loss {losses[1][-1]['loss']:.3f}, which differs by {gaps[0]:.1g}; log-odds differ by {gaps[1]:.1g} at most"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    given = parser.parse_args()
    measure(given.base, given.shots, given.dtype)
