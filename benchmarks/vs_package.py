r"""The authors' package and ours: same users, same model behind the same local server, one run.

    python benchmarks/vs_package.py --model scripted --latency 0.3
    python benchmarks/vs_package.py --data prism_slice --users 3 --fit-pairs 20
    python benchmarks/vs_package.py --model embedded/qwen2.5-coder-0.5b --users 1 --fit-pairs 5 --candidates 0 \
        --max-tokens 200

`fit` is timed and counted (calls and tokens, by a proxy in front of the server), then the test pairs are judged in
both orders. Each side is a process of its own; peak memory is that of the process. The package gets a persona program
without the authors' demonstrations (some 20,000 tokens, more than the embedded model's window), and its cache is on.
The scripted model knows users and answers by tokens that are added to the texts (tests/parity/content.py); the
embedded ones read the texts as they are, and ours asks them as the library serves them. A user whom
the package cannot fit counts for time and calls, and not for accuracy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
from measure import ROOT, peak_mb
from parity.content import answer
from parity.sides import SEED, Found, Items, Users, ours, run_ours, run_package, with_coins
from proxy import CountingProxy
from support.scripted_server import ScriptedServer

from personalrm.core.files import atomic_write_text
from personalrm.datasets import LocalDataset
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import ModelSpec
from personalrm.methods.synthesizeme.variants import CORRECTED, PUBLISHED
from personalrm.results.stats.statistics import paired_cluster_difference, share_interval

BUNDLED = ROOT / "resources" / "quickstart" / "votes.jsonl"
SCRIPTED, WINDOW = "scripted", 8192
PACKAGE = "package"
SIDES = (PUBLISHED, CORRECTED)
"""Our variants, with the library's own settings."""
SHARED = Path(os.environ.get("PERSONALRM_SHARED_DATA", ROOT.parent / "shared" / "data"))
REAL = {
    "prism_slice": ("convert_prism_slice.py", SHARED / "prism_slice" / "pairs.jsonl.gz"),
    "mtbench": ("convert_mtbench.py", SHARED / "mtbench_judges" / "judgments.jsonl.gz"),
}
"""Real votes that lie beside the checkout on some machines: their converter in examples/, and their file."""
BAR = 0.5
"""Wall time of our `fit` as a share of the package's."""


@dataclass(frozen=True)
class Row:
    """One side. Counts are those of `fit` over all users, `failed` requests answered with an error; shares in percent,
    the difference is to the package on the same pairs, users resampled (nan for one user, or none)."""

    side: str
    users: int
    users_failed: int
    fit_s: float
    time_share: float
    distinct: int
    sent: int
    failed: int
    tokens_in: int
    tokens_out: int
    peak_mb: float
    test_pairs: int
    accuracy: tuple[float, float, float]
    difference: tuple[float, float, float]


def load_users(path: Path, count: int | None, fit_pairs: int | None, marked: bool) -> Users:
    """Users of a vote file: the first `fit_pairs` of what is not for testing are fitted on, oldest first."""
    data = LocalDataset(path)
    users: Users = {}
    for number, name in enumerate(data.get_user_ids()[:count]):
        train, val, test = data.get_user_data(name)
        users[name] = {"fit": (train + val)[:fit_pairs], "test": test}
        if marked:
            rows = [row for part in users[name].values() for row in part]
            for place, row in enumerate(rows):
                mark(row, number, place)
    return with_coins(users)


def votes_file(data: str, folder: Path) -> Path:
    """The file of votes that was named; real ones are converted into `folder`."""
    if data not in REAL:
        return Path(data)
    converter, source = REAL[data]
    if not source.is_file():
        raise SystemExit(f"{source} is not here: set PERSONALRM_SHARED_DATA to a folder that has it")
    votes = folder / f"{data}.jsonl"
    subprocess.run([sys.executable, ROOT / "examples" / converter, source, votes], check=True, stdout=sys.stderr)
    return votes


def mark(row: dict[str, Any], user: int, place: int) -> None:
    """Add the tokens by which the scripted model knows question, chosen and rejected answer."""
    for turn, kind in ((row["context"][-1], "q"), (row["chosen"], "g"), (row["rejected"], "b")):
        turn["content"] += f" (u{user}{kind}{place})"


@contextmanager
def upstream(model: str, latency: float, folder: Path) -> Iterator[str]:
    """Base URL of the server that all sides ask."""
    if model == SCRIPTED:
        with ScriptedServer(answer, latency=latency) as server:
            yield server.url
        return
    from personalrm.llm.local.catalogue import get_entry
    from personalrm.llm.local.fetch import ensure_model
    from personalrm.llm.local.owner import Owner
    from personalrm.llm.local.server import ensure_server, stop_servers

    entry = get_entry(model.removeprefix("embedded/"))
    how = {"threads": os.cpu_count() or 1, "context": WINDOW}
    handle = ensure_server(entry, ensure_model(entry), runtime_dir=folder, owner=Owner.of(os.getpid()), **how)
    try:
        yield f"{handle.url}/v1"
    finally:
        stop_servers(folder)


def options_of(model: str, candidates: int, max_tokens: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of the package and of ours: the defaults of each, but for what the embedded model needs."""
    shared = {"num_search_candidates": candidates}
    if model == SCRIPTED:
        return shared, shared
    # The package's own limit of an answer, 8,192 tokens, is the model's whole window.
    return shared | {"max_tokens": max_tokens}, shared | {"model_id": model}


def run_child(users: Users, url: str, folder: Path, variant: str, options: Mapping[str, Any]) -> Found:
    """Ours in a process of its own."""
    given = folder / f"{variant}.json"
    given.write_text(json.dumps({"users": users, "url": url, "variant": variant, **options}), encoding="utf-8")
    code = f"import vs_package; vs_package.child({str(given)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{variant} failed:\n{done.stderr[-3000:]}")
    found: Found = json.loads(given.read_text(encoding="utf-8"))
    return found


def child(path: str) -> None:
    """What `run_child` runs: the settings in the file are replaced by what was found."""
    file = Path(path)
    given = json.loads(file.read_text(encoding="utf-8"))
    served = str(given.get("model_id", "")).startswith("embedded/")
    found = asyncio.run(run_served(file.parent, **given)) if served else run_ours(**given)
    for user in found.values():
        user["peak_mb"] = peak_mb()
    file.write_text(json.dumps(found, default=str), encoding="utf-8")


async def run_served(folder: Path, users: Users, url: str, model_id: str, **options: Any) -> Found:  # noqa: ANN401
    """Ours with an embedded model as the library serves it, but for the proxy between them."""
    name = model_id.removeprefix("embedded/")
    spec = ModelSpec(model_id, "embedded", name, context_length=WINDOW)
    with tempfile.TemporaryDirectory(dir=folder) as own, ResponseStore(Path(own, "answers.sqlite")) as store:
        runtime = RuntimeSettings(Path(own), os.cpu_count() or 1)
        async with open_model(spec, store=store, runtime=runtime, embedded_url=lambda _: url) as port:
            return await ours(users, model_id=model_id, lm=port, **options)


def hits(found: Found, tests: Mapping[str, Items]) -> list[float]:
    """Right test pairs of each user: a pair right in one of two orders counts half."""
    return [
        float(np.reshape(found[name]["results"], (-1, len(pairs))).mean(axis=0).sum()) for name, pairs in tests.items()
    ]


def percents(values: Sequence[float]) -> tuple[float, float, float]:
    """Estimate and bounds in percent."""
    estimate, low, high = (round(100 * value, 1) for value in values[:3])
    return estimate, low, high


def row_of(side: str, found: Found, proxy: CountingProxy, users: Users, package: Found) -> Row:
    """What one side took and how it judged."""
    calls = [call for user in found.values() for call in proxy.between(*user["fitted"])]
    seconds, theirs = (sum(u["fitted"][1] - u["fitted"][0] for u in one.values()) for one in (found, package))
    tests = {name: user["test"] for name, user in users.items() if user["test"] and "results" in package[name]}
    pairs = [len(rows) for rows in tests.values()]
    right, reference = hits(found, tests), hits(package, tests)
    accuracy = difference = (math.nan,) * 3
    if tests:
        accuracy = percents(share_interval(right, pairs, seed=SEED))
        difference = percents(paired_cluster_difference(right, reference, pairs, seed=SEED))
    return Row(
        side=side,
        users=len(users),
        users_failed=sum("error" in user for user in found.values()),
        fit_s=round(seconds, 2),
        time_share=round(seconds / theirs, 3),
        distinct=len({call.body for call in calls}),
        sent=len(calls),
        failed=sum(not call.ok for call in calls),
        tokens_in=sum(call.tokens_in for call in calls),
        tokens_out=sum(call.tokens_out for call in calls),
        peak_mb=round(max(user["peak_mb"] for user in found.values()), 1),
        test_pairs=sum(pairs),
        accuracy=accuracy,
        difference=difference,
    )


def measure(model: str, latency: float, users: Users, candidates: int, max_tokens: int) -> list[Row]:
    """A row a side, the package first."""
    theirs, mine = options_of(model, candidates, max_tokens)
    made = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(upstream(model, latency, folder))
        with CountingProxy(url) as proxy:
            package = run_package(users, proxy.url, folder, may_fail=True, **theirs)
            for name, user in package.items():
                if "error" in user:
                    print(f"the package failed on {name}: {user['error']}")
            made.append(row_of(PACKAGE, package, proxy, users, package))
        for variant in SIDES:
            with CountingProxy(url) as proxy:
                found = run_child(users, proxy.url, folder, variant, mine)
                made.append(row_of(variant, found, proxy, users, package))
    return made


def report(found: Sequence[Row]) -> str:
    """The rows as a table, a side a column, and what became of the bar."""
    lines = [("", *(row.side for row in found))]
    for name, values in ((name, [getattr(row, name) for row in found]) for name in Row.__dataclass_fields__):
        if name == "side":
            continue
        shown = [f"{v[0]} [{v[1]}, {v[2]}]" if isinstance(v, tuple) else str(v) for v in values]
        lines.append((name, *shown))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    if found[0].users_failed:
        text.append(f"the package failed on {found[0].users_failed} users: their times are those until it did")
    for row in found[1:]:
        reached = "reached" if row.time_share <= BAR else "NOT reached"
        text.append(f"bar: fit in at most {BAR:.0%} of the package's time; {row.side}: {row.time_share:.1%}, {reached}")
    return "\n".join(text)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and keep the rows as JSON where asked to."""
    parser = argparse.ArgumentParser(description="The authors' package and ours, same users, same model.")
    parser.add_argument("--model", default=SCRIPTED, help="scripted, or embedded/<name of the catalogue>")
    parser.add_argument("--latency", type=float, default=0.3, help="seconds before each answer of the scripted model")
    parser.add_argument("--data", default=str(BUNDLED), help=f"a JSON-lines file of votes, or {', '.join(REAL)}")
    parser.add_argument("--users", type=int, default=None, help="as many of its users (default: all)")
    parser.add_argument("--fit-pairs", type=int, default=None, help="fit on a user's first ones (default: all)")
    parser.add_argument("--candidates", type=int, default=10, help="random candidates of each search")
    parser.add_argument("--max-tokens", type=int, default=128, help="of the package's answers by an embedded model")
    parser.add_argument("--json", type=Path, default=None, help="write the rows here, too")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        votes = votes_file(given.data, Path(folder))
        users = load_users(votes, given.users, given.fit_pairs, marked=given.model == SCRIPTED)
    print(f"{given.model}, {len(users)} users of {votes.name}, {given.candidates} random candidates; the persona")
    print("program of the package is without the authors' demonstrations; fit_s: all users, one after another")
    found = measure(given.model, given.latency, users, given.candidates, given.max_tokens)
    print(report(found))
    if given.json is not None:
        atomic_write_text(given.json, json.dumps([asdict(row) for row in found], indent=1) + "\n")


if __name__ == "__main__":
    main()
