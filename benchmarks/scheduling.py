"""What Snakemake costs a job beside the job itself: `python benchmarks/scheduling.py [--with OPTION ...]`.

The DAGs of the paper's run and of the one with ten models are planned (`snakemake -n`) and then run by Snakemake's own
scheduler and local executor with the default profile, but a job only makes its files. `--with` adds options of
Snakemake to the run (`--with=--scheduler=ilp`). Printed: seconds of CPU, milliseconds a job, and peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from measure import ROOT, calibration, peak_mb

sys.path.insert(0, str(ROOT / "tests"))
from support.projects import Project

RUNS = {"paper": ["config/config.yaml"], "ten models": ["config/config.yaml", "config/ten_models.yaml"]}
CORES = "16"


def make_files(_rule: object, _input: object, output: Iterable[str], *rest: Any) -> None:  # noqa: ANN401
    """In place of a job: its outputs and its benchmark, empty. Takes what Snakemake's `run_wrapper` takes."""
    benchmark = rest[5]
    for path in map(Path, [*output, *([benchmark] if benchmark else [])]):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def be_snakemake(arguments: Sequence[str]) -> None:
    """Be Snakemake with such jobs, in this process; the last line of stdout says what it took."""
    import snakemake.cli
    import snakemake.executors.local

    snakemake.executors.local.run_wrapper = make_files
    try:
        snakemake.cli.main(list(arguments))
    finally:
        used = resource.getrusage(resource.RUSAGE_SELF)
        sys.stdout.write("\n" + json.dumps({"cpu": used.ru_utime + used.ru_stime, "peak_mb": peak_mb()}) + "\n")


def snakemake_in(folder: Path, configs: Sequence[str], options: Sequence[str]) -> dict[str, float]:
    """Seconds of CPU, peak memory, and the jobs that ran."""
    command = [sys.executable, __file__, "--snakemake", "--cores", CORES, *options, "--configfile", *configs]
    keys = re.findall(r"api_key_env: (\w+)", "".join((ROOT / name).read_text(encoding="utf-8") for name in configs))
    environment = {**os.environ, **dict.fromkeys(keys, "none")}
    done = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)
    jobs = len(list(folder.glob("results/*/benchmarks/**/*.tsv")))
    return {"jobs": jobs, **json.loads(done.stdout.splitlines()[-1])}


def main() -> None:
    """Measure both runs, or be Snakemake."""
    if sys.argv[1:2] == ["--snakemake"]:
        be_snakemake(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--with", action="append", default=[], dest="options", help="an option of Snakemake")
    options = parser.parse_args()
    print(f"import snakemake.cli: {calibration():.2f} s", flush=True)
    print(
        "| run | jobs | CPU of -n | CPU of the run | ms a job more | peak MB |\n|---|---|---|---|---|---|", flush=True
    )
    for name in options.runs:
        with tempfile.TemporaryDirectory() as folder:
            project = Project(Path(folder) / "work")
            arena = project.folder / "data" / "arena"
            arena.parent.mkdir()
            arena.touch()
            planned = snakemake_in(project.folder, RUNS[name], ["--quiet", "all", "-n"])
            ran = snakemake_in(project.folder, RUNS[name], ["--quiet", "all", *options.options])
        more = 1000 * (ran["cpu"] - planned["cpu"]) / ran["jobs"]
        planning, running = (f"{found['cpu']:.1f} s" for found in (planned, ran))
        print(f"| {name} | {ran['jobs']} | {planning} | {running} | {more:.1f} | {ran['peak_mb']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
