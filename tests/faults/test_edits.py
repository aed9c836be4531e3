"""Fault 12: what an edit costs. Comments cost no call; a prompt's wording costs the calls that hold it, and on.

A cosmetic edit of the config and touched files: tests/workflow/test_run.py.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from support.projects import MAIN_TABLE, ROOT, paid_project
from support.scripted_judge import judge
from support.scripted_server import ScriptedServer

COMMENTED = (
    "personalrm/studies/synthesizeme/results/main_table.py",
    "personalrm/judge/judge.py",
    "personalrm/studies/synthesizeme/stages/learn.py",
    "rules/verdicts.smk",
)
OLD, NEW = "values in the answers of an assistant.", "values, and avoids, in the answers of an assistant."


def test_comments_cost_no_call_and_a_prompt_those_that_show_it(folder: Path) -> None:
    workflow = folder / "workflow"
    shutil.copytree(ROOT / "workflow", workflow, ignore=shutil.ignore_patterns("__pycache__"))
    with ScriptedServer(judge) as server:
        project = paid_project(folder, server.url, users=1)
        project.snakemake(MAIN_TABLE)
        before, asked = project.tables(), server.count

        for name in COMMENTED:
            with (workflow / name).open("a", encoding="utf-8") as stream:
                stream.write("\n# A remark.\n")
        project.snakemake(MAIN_TABLE)
        assert server.count == asked
        assert project.tables() == before

        prompt = workflow / "personalrm" / "judge" / "prompts" / "persona_standard.jinja"
        text = prompt.read_text(encoding="utf-8")
        assert text.count(OLD) == 1
        prompt.write_text(text.replace(OLD, NEW), encoding="utf-8")
        project.snakemake(MAIN_TABLE)
        new = [json.dumps(body["messages"][0]) for body in server.requests[asked:]]

    # One user; then only what is shown the new personas: no attempt, search or judgment without one.
    assert sum(NEW in system for system in new) == 1
    assert all(NEW in system or "What is known about this user" in system for system in new)
    assert len(new) > 2
    after = project.tables()
    kept = ("data/people", "traces", "verdicts/people/baseline")
    assert {name for name in before if name.startswith(kept) and before[name] != after[name]} == set()
    assert before["tables/main.csv"] != after["tables/main.csv"]
