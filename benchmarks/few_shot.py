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
from personalrm.methods.reward.fspo import FewShot, Taught, fit, open_new
from personalrm.train.policy_settings import PolicySettings
from personalrm.train.trainer import Run, deterministic

UPDATES, BATCH, JUDGED, ROUNDS = 1, 4, 6, 2


def invented(users: int) -> list[tuple[PreferencePair, ...]]:
    """Votes of invented users, 20 each."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "votes")
        settings = ScriptedSettings(users=users, pairs=20, seed=7, axes=("tone",), tastes=1, population=0, short=True)
        synthesise(settings, folder)
        found = read_users(LocalDataset(name="invented", path=folder / "votes.jsonl"), ReadReport()).users
    return [user.pairs for user in found]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this process, and what was found."""
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def measure(base: str, shots: int, dtype: Any) -> None:  # noqa: ANN401
    """Print the means of `ROUNDS` turns."""
    users = invented(UPDATES * BATCH + 1)
    hyper = FSPOHyper(
        shots=shots, mixed=False, windows=1, steps=UPDATES, batch=BATCH, lr=1e-4, warmup=0, tuning="lora", beta=0.1
    )

    def train(shared: bool) -> Any:  # noqa: ANN401
        with open_new(PolicySettings(base, dtype=dtype), hyper.weights, 0, "fspo", []) as model:
            model.policy.__dict__["_reads_trees"] = shared
            return fit(model, [Taught(pairs) for pairs in users[:-1]], [], hyper, 0, Run()).card["curve"][-1]["loss"]

    def judge(model: FewShot, shared: bool) -> Any:  # noqa: ANN401
        model.policy.__dict__["_reads_trees"] = shared
        return np.array(model.adapt(users[-1][:shots])(users[-1][-JUDGED:]))

    pairs = {"one update": UPDATES, "one judged pair": JUDGED}
    seconds: dict[tuple[str, bool], list[float]] = {(what, way): [] for what in pairs for way in (False, True)}
    found: dict[tuple[str, bool], Any] = {}
    with deterministic(1):
        for _ in range(ROUNDS):
            for shared in (False, True):
                spent, found["one update", shared] = timed(lambda shared=shared: train(shared))
                seconds["one update", shared].append(spent)
            with open_new(PolicySettings(base, dtype=dtype), hyper.weights, 0, "fspo", []) as model:
                for shared in (False, True):
                    spent, found["one judged pair", shared] = timed(lambda shared=shared: judge(model, shared))
                    seconds["one judged pair", shared].append(spent)
    print(f"{base}, {dtype}, {shots} votes")
    for what, number in pairs.items():
        apart, once = (float(np.median(seconds[what, way])) / number for way in (False, True))
        gap = float(np.abs(np.subtract(found[what, False], found[what, True])).max())
        print(
            f"  {what}: {apart:.2f} s text by text, {once:.2f} s shared ({apart / once:.1f} x); results differ by {gap:.1g}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    given = parser.parse_args()
    measure(given.base, given.shots, given.dtype)
