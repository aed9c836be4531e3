"""The workflow as a module of another one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SNAKEFILE = """\
configfile: "people.yaml"

module personalrm:
    snakefile: "{root}/Snakefile"
    config: config

use rule * from personalrm as judge_*

rule best:
    default_target: True
    input: "results/mine/tables/main.csv"
    output: "best.txt"
    shell: "cut -d, -f5 {{input}} | sort -u > {{output}}"
"""
CONFIG = """\
run: mine
datasets:
  people: {path: votes.jsonl, shards: 1, licence: MIT}
models: {}
methods: [longer]
"""


def test_another_workflow_uses_the_rules_and_their_results(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(root=ROOT), encoding="utf-8")
    (tmp_path / "people.yaml").write_text(CONFIG, encoding="utf-8")
    shutil.copy(ROOT / "resources" / "quickstart" / "votes.jsonl", tmp_path)
    command = [sys.executable, "-m", "snakemake", "--cores", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "best.txt").read_text(encoding="utf-8").split() == ["longer", "method"]
