"""Measure the bars of this machine: `python benchmarks/measure.py [--only NAME]`."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAIRS = 10_000
USERS = 100_000


def seconds(command: list[str], cwd: Path = ROOT, repeat: int = 3) -> float:
    """Best wall time of a command in seconds."""
    times = []
    for _ in range(repeat):
        begun = time.perf_counter()
        subprocess.run(command, cwd=cwd, check=True, capture_output=True)
        times.append(time.perf_counter() - begun)
    return min(times)


def calibration() -> float:
    """Seconds of `import snakemake.cli`."""
    return seconds([sys.executable, "-c", "import snakemake.cli"])


def measure_import() -> tuple[float, str]:
    """`import personalrm` beyond a bare interpreter."""
    bare = seconds([sys.executable, "-c", "pass"])
    return seconds([sys.executable, "-c", "import personalrm"]) - bare, "s, bar 0.5"


def measure_dry_run() -> tuple[float, str]:
    """Dry run of config/config.yaml."""
    command = [sys.executable, "-m", "snakemake", "-n", "--cores", "16", "--quiet", "all"]
    return seconds(command, repeat=2), "s, bar 10"


def measure_ten_models() -> tuple[float, str]:
    """Dry run of the paper's run with ten models: 6,612 jobs."""
    command = [sys.executable, "-m", "snakemake", "-n", "--cores", "16", "--quiet", "all", "--configfile"]
    return seconds([*command, "config/config.yaml", "config/ten_models.yaml"], repeat=1), "s"


def measure_store() -> tuple[float, str]:
    """10,000 pairs' judgments (both orders) scored from a warm store: second pass of `_score_all`."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_score_all(Path(folder) / "store.sqlite", PAIRS // 2))
        begun = time.perf_counter()
        asyncio.run(_score_all(Path(folder) / "store.sqlite", PAIRS // 2))
        return time.perf_counter() - begun, "s, bar 5"


def measure_memory() -> tuple[float, str]:
    """Peak memory of a process of its own that judges 10,000 pairs."""
    code = f"import measure; measure.judge_many({PAIRS})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)["peak_mb"], "MB, bar 500"


def judge_many(pairs: int) -> None:
    """Judge `pairs` pairs through the stage's own function and print the peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_score_all(Path(folder) / "store.sqlite", pairs))
    sys.stdout.write(json.dumps({"peak_mb": peak_mb()}))


def measure_prism() -> tuple[float, str]:
    """Raw PRISM-sized input (8,011 conversations, 68,371 utterances, generated) to splits, in a process of its own.

    As files of the hub, which are made Parquet first.
    """
    code = "import measure; measure.build_prism()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, check=True, capture_output=True, text=True
    )
    found = json.loads(done.stdout)
    return found["seconds"], f"s, bar 30; {found['peak_mb']:.0f} MB, bar 1000; {found['pairs']} pairs"


def build_prism() -> None:
    """Generate a raw release, build it, and print seconds and the peak memory of the building."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.raw_prism import generate_raw_prism

    from personalrm.data.prepare import prepare_dataset
    from personalrm.data.settings import PrismDataset

    with tempfile.TemporaryDirectory() as folder:
        generate_raw_prism(Path(folder) / "raw")
        settings = PrismDataset(name="prism", source="prism", path=Path(folder) / "raw", shards=8)
        begun = time.perf_counter()
        funnel = prepare_dataset(settings, Path(folder) / "out")
        took = time.perf_counter() - begun
    sys.stdout.write(json.dumps({"seconds": took, "peak_mb": peak_mb(), "pairs": funnel.steps[-1].pairs}))


def measure_big() -> tuple[float, str]:
    """Memory of building a data set from 1 GB of votes (generated, 2,000 users), in a process of its own."""
    return big(1000)


def big(size_mb: int) -> tuple[float, str]:
    """The same for another size. Takes about four times the size on disk for a while."""
    with tempfile.TemporaryDirectory() as folder:
        votes = _write_votes(Path(folder) / "votes.jsonl", size_mb * 10**6)
        code = f"import measure; measure.build_big({folder!r})"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=Path(__file__).parent, check=True, capture_output=True, text=True
        )
    found = json.loads(done.stdout)
    return found["peak_mb"], f"MB, bar 1000; {found['seconds']:.0f} s; {votes} votes, {found['pairs']} pairs"


def build_big(folder: str) -> None:
    """Build the votes in `folder`, and print seconds and the peak memory."""
    from personalrm.data.prepare import prepare_dataset
    from personalrm.data.settings import LocalDataset

    settings = LocalDataset(name="big", path=Path(folder) / "votes.jsonl", shards=8)
    begun = time.perf_counter()
    funnel = prepare_dataset(settings, Path(folder) / "out")
    took = time.perf_counter() - begun
    sys.stdout.write(json.dumps({"seconds": took, "peak_mb": peak_mb(), "pairs": funnel.steps[-1].pairs}))


def _write_votes(path: Path, size: int, users: int = 2_000) -> int:
    """Write votes of `users` users in any order, until the file has `size` bytes; returns their number."""
    rng = random.Random("big")
    text = "".join(rng.choices("abcdefghijklmnopqrstuvwxyzé     ", k=1_000_000))

    def cut(mean: int) -> str:
        start = rng.randrange(900_000)
        return "x" + text[start : start + rng.randrange(2 * mean)]

    count = user = 0
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < size:
            conversation, turn = divmod(count, 3)
            user = rng.randrange(users) if turn == 0 else user
            roles = ("user", "assistant", "user", "assistant", "user")[: 2 * turn + 1]
            row = {
                "user_id": f"u{user}",
                "context": [{"role": role, "content": cut(200)} for role in roles],
                "chosen": cut(600),
                "rejected": cut(600),
                "conversation_id": f"c{conversation}",
                "turn": turn,
                "timestamp": rng.randrange(10**9),
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def measure_synthesise() -> tuple[float, str]:
    """Votes of 10,000 invented users (15 pairs each), in a process of its own: CPU time and peak memory."""
    code = "import measure; measure.synthesise_users(10_000)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, check=True, capture_output=True, text=True
    )
    found = json.loads(done.stdout)
    return found["seconds"], f"s of CPU, bar 60; {found['peak_mb']:.0f} MB, bar 100; {found['pairs']} pairs"


def synthesise_users(users: int) -> None:
    """Write the votes of so many users, and print seconds and the peak memory."""
    from personalrm.data.scripted.settings import ScriptedSettings
    from personalrm.data.scripted.synthesise import synthesise

    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        card = synthesise(ScriptedSettings(users=users), Path(folder))
        took = time.process_time() - begun
    sys.stdout.write(json.dumps({"seconds": took, "peak_mb": peak_mb(), "pairs": card["measured"]["all"]["pairs"]}))


def measure_taste() -> tuple[float, str]:
    """CPU time and memory of the taste weights of 100,000 users, in a process of its own."""
    code = "import measure; measure.weigh_tastes()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, check=True, capture_output=True, text=True
    )
    found = json.loads(done.stdout)
    return found["seconds"], f"s of CPU, bar 60; {found['peak_mb']:.0f} MB, bar 1000; {found['own']} of {USERS} own"


def weigh_tastes(part: int = 1000) -> None:
    """Learn the tastes of generated users (ten votes, 45 features), a part at a time, and print CPU time and memory.

    Half of the users vote by a taste of their own, the others at random. The gate's left-out votes are included.
    """
    sys.path.insert(0, str(ROOT / "tests"))
    import numpy as np
    from support.scripted_tastes import prior, vectors, voted, votes

    from personalrm.methods.taste.weights import tastes

    rng, features, spent, own = np.random.default_rng(0), 45, 0.0, 0
    known = prior(np.full(features, 0.05), 0.1, learned=True)
    for _ in range(0, USERS, part):
        rows = vectors(rng, part, 10, features, axis=0)
        wanted = rng.normal(size=(part, 1, features)) * (np.arange(part) % 2)[:, None, None]
        people = [votes(user) for user in voted(rng, rows, (rows * wanted).sum(axis=2))]
        begun = time.process_time()
        own += sum(taste.own for taste in tastes(known, people))
        spent += time.process_time() - begun
    sys.stdout.write(json.dumps({"seconds": spent, "peak_mb": peak_mb(), "own": own}))


def measure_redraw() -> tuple[float, str]:
    """All figures of a generated run of the paper's size, from their tables; the text has the tables' time, too."""
    from redraw import redraw

    return redraw()


def peak_mb() -> float:
    """Peak memory of this process. Not ru_maxrss, which a new process inherits from the one it was forked from."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


async def _score_all(store_path: Path, pairs: int) -> None:
    """Judge generated pairs (100 users) with a scripted backend behind the real port and store."""
    from personalrm.core.records import PreferencePair, Turn
    from personalrm.judge.judge import CallRecorder, JudgeContext, JudgeSettings, judge_pairs
    from personalrm.llm.cache.store import ResponseStore
    from personalrm.llm.client import ModelClient
    from personalrm.llm.types import ModelSpec, Request, Response, Usage

    class Scripted:
        async def call(self, request: Request) -> Response:
            del request
            return Response("Reasons.\nPreference: First", "stop", Usage(300, 60))

        async def aclose(self) -> None:
            return None

    def pair(index: int) -> PreferencePair:
        text = f"answer {index} " + "word " * 150
        context = (Turn(role="user", content=f"question {index} " + "word " * 40),)
        return PreferencePair(
            user_id=f"u{index % 100}", pair_id=str(index), context=context, chosen=text, rejected=text + "x"
        )

    with ResponseStore(store_path) as store:
        port = ModelClient(ModelSpec(name="m", backend="openai", model="m", max_concurrency=64), Scripted(), store)
        recorder = CallRecorder(port, "judge")
        made = [pair(index) for index in range(pairs)]
        for user in range(100):
            await judge_pairs(recorder, made[user::100], JudgeContext(persona="likes tea"), JudgeSettings())


MEASURES: dict[str, Callable[[], tuple[float, str]]] = {
    "import": measure_import,
    "dry_run": measure_dry_run,
    "ten_models": measure_ten_models,
    "store": measure_store,
    "memory": measure_memory,
    "prism": measure_prism,
    "synthesise": measure_synthesise,
    "taste": measure_taste,
    "big": measure_big,
    "redraw": measure_redraw,
}
ONLY_WHEN_ASKED = ("big", "redraw")
"""Take minutes (and 4 GB of disk)."""


def main() -> None:
    """Print each number beside its bar and the calibration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(MEASURES))
    only = parser.parse_args().only
    for name, measure in MEASURES.items():
        if only == name or (only is None and name not in ONLY_WHEN_ASKED):
            calibrated = calibration()
            value, unit = measure()
            print(f"{name:10} {value:8.2f} {unit}   (import snakemake.cli: {calibrated:.2f} s)", flush=True)


if __name__ == "__main__":
    main()
