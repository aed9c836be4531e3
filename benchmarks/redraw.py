"""Redrawing the paper's run from verdicts that are there: `python benchmarks/redraw.py`.

The size is the paper's: 854 users in two data sets, 3 models and all their transfers, 8 values of k, both variants.
Votes and verdicts are generated; the workflow makes the rest, on 2 cores. No model can be asked: none has an address.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "results")]

from generated_verdicts import Cell, judged, noisy  # noqa: E402
from support.projects import Project  # noqa: E402

from personalrm.core.conditions import MethodId, VerdictMode, read_k  # noqa: E402
from personalrm.core.records import BASELINE, JudgedUser, UserData, Verdict, read_records, write_records  # noqa: E402
from personalrm.studies.config_load import parse_config  # noqa: E402
from personalrm.studies.synthesizeme.plan import Plan  # noqa: E402
from personalrm.studies.synthesizeme.stages.judging import judged_methods  # noqa: E402

USERS = {"prism": 723, "arena": 131}
FEWEST_PAIRS, MOST_PAIRS = 12, 36
"""Of a user; 3 in 10 are judged."""
MODE: VerdictMode = "text"
FIGURES = ("main", "scaling", "scaling_labels", "transfer", "demographics", "reported", "cost", "funnel")
TABLES = (
    *("main", "differences", "scaling", "transfer", "users", "outcomes", "position_bias", "power", "families"),
    *("ablation", "demographics", "reported", "cost", "benchmark", "funnel"),
)


def config() -> dict[str, object]:
    """The run of the paper, its data sets as local files and its models at an address that leads nowhere."""
    models = ("llama-3b", "llama-8b", "llama-70b")
    return {
        "run": "redraw",
        "datasets": {
            name: {"path": f"{name}.jsonl", "shards": 8 if users > 500 else 2} for name, users in USERS.items()
        },
        "models": {name: {"backend": "openai", "model": name, "api_base": "http://127.0.0.1:9/v1"} for name in models},
        "k": [1, 2, 3, 5, 7, 10, 15, "all"],
        "variants": ["as_published", "corrected"],
        "methods": ["random", "longer", "default", "demographics", "memory", "history", "demos", "persona", "both"],
        "learn": {"models": list(models)},
        "transfer": {"pairs": "all"},
    }


def write_votes(folder: Path, users: dict[str, int]) -> None:
    """Votes of so many users of each data set, with a survey's answers for one of them."""
    for name, count in users.items():
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for user in range(count):
                survey = {"age": f"{20 + user % 6 * 10} years", "gender": "abc"[user % 3]} if name == "prism" else {}
                for number in range(FEWEST_PAIRS + 7 * user % (1 + MOST_PAIRS - FEWEST_PAIRS)):
                    asked = {"role": "user", "content": f"question {number} of {user}"}
                    vote = {"user_id": f"u{user}", "context": [asked], "chosen": f"good {number}", "survey": survey}
                    file.write(json.dumps({**vote, "rejected": f"poor {number}"}) + "\n")


def rows_of(path: Path, plan: Plan, users: list[UserData], chance: np.random.Generator) -> Iterator[JudgedUser]:
    """Rows of one file of verdicts, as its path says which models, variant and k it has."""
    variant, models, *rest = path.parts[path.parts.index("verdicts") + 2 : -1]
    profile, _, judge = models.rpartition("-to-")
    asked = None if judge == "none" else judge
    k = read_k(rest[0][1:]) if rest else None
    for method in judged_methods(plan.config, profile=profile or None, judge=asked):
        name = str(MethodId.parse(method)._replace(verdict=MODE))
        variant_of = variant if profile else BASELINE
        cell = Cell(name, 0.55, asked, profile or None, k, variant_of, path.parts[path.parts.index("verdicts") + 1])
        for user in users:
            verdicts = [
                Verdict(pair_id=pair.pair_id, swapped=swapped, outcome=outcome, said=said)
                for pair in user.part("test")
                for swapped in (False, True)
                for outcome, said in [noisy(chance, cell.accuracy, swapped)]
            ]
            yield judged(cell, user.user_id, verdicts)


def make(project: Project) -> int:
    """Data by the workflow, all other files of the paid stages made up; returns the number of judgments."""
    plan = Plan(parse_config(project.config))
    project.snakemake(*(path for name in USERS for path in plan.shard_paths(name)), "--quiet", "all")
    learned = [project.folder / path for path in plan.profile_paths()]
    for path in [*(traces_of(path) for path in learned), *learned]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    chance, judgments = np.random.default_rng(1), 0
    shards = {
        (name, Path(path).name): list(read_records(project.folder / path, UserData))
        for name in USERS
        for path in plan.shard_paths(name)
    }
    for path in (project.folder / name for name in plan.verdict_paths()):
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset = path.relative_to(project.run).parts[1]
        rows = list(rows_of(path, plan, shards[dataset, path.name], chance))
        judgments += sum(len(row.verdicts) for row in rows)
        write_records(path, rows)
    return judgments


def traces_of(profile: Path) -> Path:
    """The file of traces that a file of profiles is learned from."""
    *_, dataset, variant, model, _, shard = profile.parts
    return profile.parents[5] / "traces" / dataset / variant / model / shard


def timed(project: Project, *targets: str) -> tuple[float, float]:
    """Seconds of the workflow on 2 cores, and of CPU."""
    begun, spent = time.perf_counter(), _cpu()
    command = project.command(*targets, "--quiet", "all", "--retries", "0")
    subprocess.run(command, cwd=project.folder, env=project.environment(), check=True, capture_output=True)
    return time.perf_counter() - begun, _cpu() - spent


def _cpu() -> float:
    """Seconds of CPU of all processes that ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def redraw(share: float = 1.0) -> tuple[float, str]:
    """Seconds of all figures from their tables; in words those of tables and figures, and what took the most of a core.

    `share` takes a part of the users, to find out what is slow on a machine that other work shares.
    """
    users = {name: int(share * count) for name, count in USERS.items()}
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder) / "work", config())
        write_votes(project.folder, users)
        judgments = make(project)
        plan = Plan(parse_config(project.config))
        figures = [f"{plan.run}/figures/{name}.pdf" for name in FIGURES]
        tables = [f"{plan.run}/tables/{name}.csv" for name in TABLES]
        everything, everything_cpu = timed(project, *tables, *figures)
        jobs = sorted(((_job_seconds(path), path.stem) for path in project.run.glob("benchmarks/*.tsv")), reverse=True)
        shutil.rmtree(project.run / "figures")
        figures_alone, figures_cpu = timed(project, *figures)
    each = ", ".join(f"{name} {seconds:.0f}" for seconds, name in jobs)
    said = (
        f"s ({figures_cpu:.0f} of CPU), bar 60; tables, too: {everything:.0f} s ({everything_cpu:.0f} of CPU)"
        f" for {judgments:,} judgments; CPU of its jobs: {each} s"
    )
    return figures_alone, said


def _job_seconds(path: Path) -> float:
    """Seconds of a core that a job took, from its benchmark file."""
    head, values = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[:2])
    return float(dict(zip(head, values, strict=True))["cpu_time"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the users")
    seconds, unit = redraw(parser.parse_args().share)
    print(f"redraw {seconds:.1f} {unit}")
