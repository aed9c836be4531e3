"""Every rule of a run, as Snakemake reads it: its message, log and benchmark, what it asks for, the stage it runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from reference.runs import scripted_config
from support.hub_server import COMMIT
from support.once import once
from support.projects import ROOT, Project

from personalrm.studies.config_load import parse_config
from personalrm.studies.synthesizeme.plan import Plan

RULES = """
import json, sys
from pathlib import Path
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, ResourceSettings

settings = {"resource_settings": ResourceSettings(cores=1), "snakefile": Path("Snakefile")}
with SnakemakeApi() as api:
    opened = api.workflow(config_settings=ConfigSettings(configfiles=[Path("run.yaml")]), **settings)
    # Snakemake prints the names of rules alone; the rules themselves are behind this attribute.
    rules = list(opened._workflow.rules)
said = [
    {
        "name": rule.name,
        "message": rule.message,
        "log": [str(path) for path in rule.log],
        "benchmark": str(rule.benchmark or ""),
        "conda": str(rule.conda_env or ""),
        "resources": {name: value.is_evaluable() for name, value in rule.resources.items()},
        "command": rule.shellcmd,
    }
    for rule in rules
]
Path("rules.json").write_text(json.dumps(said), encoding="utf-8")
"""


def every_stage() -> dict[str, Any]:
    """A config whose run has every stage."""
    config = scripted_config("http://127.0.0.1:9/v1")
    released = {"apply": False, "personalizable": {"model": "released"}, "disagreement": {"models": ["released"]}}
    config["datasets"] |= {
        "processed": {"source": "personalrewardbench", "path": "export", "shards": 1, "filters": released},
        "raw": {
            "source": "prism",
            "shards": 1,
            "hub": {"repo": "some/set", "revision": COMMIT, "files": ["conversations.jsonl", "survey.jsonl"]},
        },
    }
    return config


def read(folder: Path) -> None:
    project = Project(folder, every_stage())
    project.write_config()
    environment = project.environment()
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "workflow"), environment.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", RULES], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Of a run with every stage; those that make no file (`all`) are left out."""
    found = json.loads((once(tmp_path_factory, "rules", read) / "rules.json").read_text(encoding="utf-8"))
    return [rule for rule in found if rule["command"]]


def test_every_rule_says_what_it_does_and_has_log_benchmark_environment_memory_and_time(
    rules: list[dict[str, Any]],
) -> None:
    assert len(rules) > 30
    for rule in rules:
        assert rule["message"], rule["name"]
        assert rule["log"], rule["name"]
        assert rule["benchmark"], rule["name"]
        assert rule["conda"].endswith("personalrm.yml"), rule["name"]
        # Functions of the attempt: an attempt that failed for want of them is repeated with more.
        assert rule["resources"]["mem_mb"], rule["name"]
        assert rule["resources"]["runtime"], rule["name"]


def test_every_stage_has_its_rule_with_the_log_and_benchmark_of_the_stage(rules: list[dict[str, Any]]) -> None:
    plan = Plan(parse_config(every_stage()))
    of: dict[str, list[dict[str, Any]]] = {}
    for rule in rules:
        for stage in re.findall(r"personalrm stage (\w+) ", rule["command"]):
            of.setdefault(stage, []).append(rule)
    assert of.keys() == plan.stages.keys()
    logs = [path for rule in rules for path in rule["log"]]
    benchmarks = [rule["benchmark"] for rule in rules]
    assert len(set(logs)) == len(logs)
    assert len(set(benchmarks)) == len(benchmarks)
