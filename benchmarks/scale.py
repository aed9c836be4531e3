"""How a run grows with its users: `python benchmarks/scale.py [--users 1000 10000 100000] [--folder /dev/shm]`.

Generated votes (seeded) go through the workflow's own stages, each in a process of its own: planning, `prepare`, the
filters (on answers that are made up), a pass of `judge` over all users, learning (`bootstrap`, `profile`, `judge`) for
the users of the first shards, the collecting of all verdicts, and the main table. The model is scripted and answers in
the same process, behind the real port and store. Printed: seconds, milliseconds of CPU a user, and the peak memory of
the process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from measure import ROOT, calibration, peak_mb

sys.path.insert(0, str(ROOT / "tests"))
from support.in_process import ScriptedJob

from personalrm.llm.types import Request, Response, Usage
from personalrm.studies.runner import runtime_from_env
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan

PAIRS_A_USER = 5
LEARNED_USERS = 1_000
"""Learning asks some forty questions a user: it is measured on the first shards that hold so many."""
MODEL = "scripted"


def write_votes(path: Path, users: int) -> None:
    """Five votes for each user, about 1.5 KB each, users mixed."""
    rng = random.Random(f"scale {users}")
    words = rng.choices(
        ["plain", "warm", "short", "deep", "table", "source", "joke", "step", "code", "doubt"], k=50_000
    )

    def text(length: int) -> str:
        start = rng.randrange(len(words) - length)
        return " ".join(words[start : start + length])

    order = [user for user in range(users) for _ in range(PAIRS_A_USER)]
    rng.shuffle(order)
    with path.open("w", encoding="utf-8") as file:
        for number, user in enumerate(order):
            context = [{"role": "user", "content": f"{number} {text(30)}"}]
            row = {"user_id": f"u{user}", "context": context, "chosen": text(100), "rejected": text(100)}
            file.write(json.dumps(row | {"timestamp": number}) + "\n")


def config_of(folder: Path) -> dict[str, Any]:
    """The config of the run: one model, all context pairs, what the defaults choose."""
    return {
        "run": "scale",
        "results": str(folder / "results"),
        "store": str(folder / "store.sqlite"),
        "datasets": {"people": {"path": str(folder / "votes.jsonl")}},
        "models": {MODEL: {"backend": "openai", "model": MODEL, "api_base": "http://127.0.0.1:9/v1"}},
        "methods": ["random", "longer", "default", "persona"],
        "learn": {"models": [MODEL]},
    }


class Scripted:
    """A backend that prefers one answer or the other by the length of the prompt."""

    async def call(self, request: Request) -> Response:
        """Answer at once."""
        label = "First" if len(request.messages[-1].content) % 3 else "Second"
        return Response(f"Some reasons.\nPreference: {label}", "stop", Usage(400, 10))

    async def aclose(self) -> None:
        """Nothing to release."""


def scripted(config: Config) -> ScriptedJob:
    """A job with such a model."""
    return ScriptedJob(config, runtime_from_env(), lambda _: Scripted())


def planned(config: Config) -> dict[str, float]:
    """`snakemake -n` of all results, which every command spends before its first job."""
    command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "all", "--cores", "16", "--directory", "."]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--configfile", "run.json"]
    subprocess.run(command, cwd=config.results.parent, check=True, capture_output=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"shards": len(Plan(config).shard_paths("people")), "peak_mb": peak}


def prepared(config: Config) -> dict[str, float]:
    """From votes to users."""
    from personalrm.studies.synthesizeme.stages.prepare import prepare_stage

    prepare_stage(Plan(config), "people")
    return {}


def judged(config: Config) -> dict[str, float]:
    """All users: without a model, and by one that knows nothing of them; one shard after another."""
    from personalrm.studies.synthesizeme.stages.judging import judge_stage
    from personalrm.studies.synthesizeme.stages.weighing import weigh_stage

    job, plan = scripted(config), Plan(config)
    for users in map(Path, plan.shard_paths("people")):
        weigh_stage(job, users=users, out=_verdicts(plan, "", users.name))
        asyncio.run(judge_stage(job, users=users, out=_verdicts(plan, MODEL, users.name), judge=MODEL))
    return {}


def _verdicts(plan: Plan, judge: str, name: str) -> Path:
    return Path(plan.run, "verdicts", "people", "baseline", judge or "none", name)


def learned(config: Config) -> dict[str, float]:
    """The first shards' users: bootstrap, profile, judge."""
    from personalrm.studies.synthesizeme.stages.judging import judge_stage
    from personalrm.studies.synthesizeme.stages.learn import bootstrap_stage, profile_stage
    from personalrm.studies.synthesizeme.stages.runner import read_users

    job = scripted(config)
    users, k = 0, config.ks[0]
    for shard in map(Path, Plan(config).shard_paths("people")):
        if users >= LEARNED_USERS:
            break
        users += len(read_users(shard))
        variant, traces, profiles = config.variants[0], shard.with_suffix(".traces"), shard.with_suffix(".profiles")
        asyncio.run(bootstrap_stage(job, users=shard, out=traces, model=MODEL, variant=variant))
        learning = profile_stage(job, users=shard, traces=traces, out=profiles, model=MODEL, variant=variant, k=k)
        asyncio.run(learning)
        out = shard.with_suffix(".judged")
        judging = judge_stage(job, users=shard, out=out, judge=MODEL, profiles=profiles, model=MODEL, variant=variant)
        asyncio.run(judging)
    return {"users": users}


def filtered(config: Config) -> dict[str, float]:
    """The filters, on ratings and a panel's votes that are made up before the clock starts."""
    from personalrm.data.filters.filter_settings import FilterSettings
    from personalrm.studies.synthesizeme.stages.filtering import filter_stage

    asked = {"personalizable": {"model": MODEL}, "disagreement": {"models": [MODEL]}}
    people = config.datasets["people"].model_copy(update={"filters": FilterSettings.model_validate(asked)})
    folder = Path(Plan(config).run, "data", "people")
    config = config.model_copy(update={"run": "filtered", "datasets": {"people": people}})
    plan = Plan(config)
    Path(plan.prepared_folder("people")).parent.mkdir(parents=True)
    Path(plan.prepared_folder("people")).symlink_to(folder / "shards")
    (folder / "shards" / "funnel.json").symlink_to(folder / "funnel.json")
    _say(plan)
    begun, cpu = time.perf_counter(), _cpu()
    filter_stage(plan, "people")
    return {"seconds": time.perf_counter() - begun, "cpu": _cpu() - cpu}


def _say(plan: Plan) -> None:
    """Write a rating of each pair, and both votes of a panel of one."""
    from personalrm.core.records import write_records
    from personalrm.data.filters.ratings import PairRating, PanelVote, UserPanel, UserRatings
    from personalrm.studies.synthesizeme.stages.runner import read_users

    paths = (plan.prepared_paths("people"), plan.rating_paths("people"), plan.panel_paths("people"))
    for users, ratings, panel in zip(*paths, strict=True):
        rated, voted = [], []
        for user in read_users(Path(users)):
            who: dict[str, Any] = {"dataset": "people", "user_id": user.user_id, "model": MODEL}
            said = [
                PairRating(pair_id=p.pair_id, query=4, responses=4, query_reasoning="why " * 20) for p in user.pairs
            ]
            votes = [
                PanelVote(pair_id=p.pair_id, swapped=swapped, favours=favours, outcome="correct", reasoning="so " * 20)
                for p in user.pairs
                for swapped, favours in ((False, "chosen"), (True, "rejected"))
            ]
            rated.append(UserRatings(**who, ratings=tuple(said)))
            voted.append(UserPanel(**who, votes=tuple(votes)))
        write_records(Path(ratings), rated)
        write_records(Path(panel), voted)


def collected(config: Config) -> dict[str, float]:
    """Verdict files of all shards as the two frames of the results."""
    from personalrm.results.scores import collect_calls, collect_verdicts, write_frame

    # No plan: it reads the votes for the users' ids, which the workflow does before its jobs.
    run = config.results / config.run
    paths, data = sorted(run.glob("verdicts/people/baseline/*/*.jsonl")), run / "data"
    verdicts = collect_verdicts(paths)
    write_frame(verdicts, data / "verdicts.parquet")
    write_frame(collect_calls(paths), data / "calls.parquet")
    return {"rows": len(verdicts)}


def tabled(config: Config) -> dict[str, float]:
    """The main table from both frames: intervals are resampled from all users."""
    from personalrm.results.scores import read_frame
    from personalrm.results.tables.main_table import CALLS_READ, main_table

    data = config.results / config.run / "data"
    verdicts, calls = read_frame(data / "verdicts.parquet"), read_frame(data / "calls.parquet", CALLS_READ)
    table = main_table(verdicts, calls, seed=0, n_resamples=9_999)
    return {"rows": len(table)}


STEPS: dict[str, Callable[[Config], dict[str, float]]] = {
    "plan": planned,
    "prepare": prepared,
    "filter": filtered,
    "judge": judged,
    "learn": learned,
    "collect": collected,
    "table": tabled,
}


def one_step(folder: Path, name: str) -> None:
    """Do one step and print what it took (the mark of a process of its own: see `peak_mb`)."""
    from personalrm.studies.config_load import read_resolved

    config = read_resolved(folder / "run.json")
    begun, cpu = time.perf_counter(), _cpu()
    found = STEPS[name](config)
    found = {"seconds": time.perf_counter() - begun, "cpu": _cpu() - cpu, "peak_mb": peak_mb()} | found
    sys.stdout.write(json.dumps(found) + "\n")


def _cpu() -> float:
    """Seconds of CPU of this process and of those that it waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def steps_of(folder: Path, users: int, names: list[str]) -> Iterator[tuple[str, dict[str, float]]]:
    """Generate, and do the named steps in order."""
    from personalrm.studies.config_load import parse_config, write_resolved

    write_votes(folder / "votes.jsonl", users)
    write_resolved(folder / "run.json", parse_config(config_of(folder)))
    for name in names:
        command = [sys.executable, __file__, "--folder", str(folder), "--step", name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        yield name, json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure each number of users, or be one of the steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--folder", type=Path, help="where data, results and store lie for a while")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        one_step(options.folder, options.step)
        return
    print(f"import snakemake.cli: {calibration():.2f} s", flush=True)
    print("| users | step | seconds | CPU ms a user | peak MB | |\n|---|---|---|---|---|---|", flush=True)
    for users in options.users:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            for name, found in steps_of(Path(folder), users, options.steps):
                seconds, cpu, peak = (found.pop(key) for key in ("seconds", "cpu", "peak_mb"))
                each = 1000 * cpu / found.get("users", users)
                more = ", ".join(f"{value:.0f} {key}" for key, value in found.items())
                print(f"| {users} | {name} | {seconds:.1f} | {each:.2f} | {peak:.0f} | {more} |", flush=True)


if __name__ == "__main__":
    main()
