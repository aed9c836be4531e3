"""What a new stage touches: its module and its rule. It is planned, run, retried, estimated and accounted for."""

from __future__ import annotations

import filecmp
import json
import shutil
from pathlib import Path

import pandas as pd
from support.projects import ROOT, paid_project
from support.scripted_judge import judge
from support.scripted_server import ScriptedServer

MODULE = '''"""Stage `greeting`: a model greets the users of one shard."""

from __future__ import annotations

from pathlib import Path

from personalrm.core.records import CallRef, Record, UserData, write_records
from personalrm.judge.call_recorder import CallRecorder
from personalrm.llm.types import Message, Request
from personalrm.run.stage import Stage, Wildcards
from personalrm.studies.runner import each_user
from personalrm.studies.synthesizeme.stages.runner import Job, read_users

WORDS = 20


class Greeting(Record):
    dataset: str
    user_id: str
    model: str
    text: str
    failed: int = 0
    calls: tuple[CallRef, ...] = ()


async def greeting_stage(job: Job, *, users: Path, out: Path, model: str) -> None:
    async with job.model(model) as client:

        async def work(user: UserData) -> Greeting:
            recorder = CallRecorder(client, "greeting")
            said = await recorder.complete(Request((Message("user", f"Greet {user.user_id}."),), max_tokens=WORDS))
            names = {"dataset": user.dataset, "user_id": user.user_id, "model": model}
            return Greeting(**names, text=said.text, calls=recorder.calls)

        write_records(out, await each_user(read_users(users), work, "greeting"))


GREETING = Stage(
    name="greeting",
    output="greetings/{dataset}/{model}/{shard}.jsonl",
    combinations=lambda plan: [Wildcards(dataset=d, model=m) for d in plan.config.datasets for m in plan.config.models],
    inputs=lambda plan, job: {"users": plan.users(job)},
    reads=lambda plan, job: {"words": WORDS, "model": plan.config.models[job.model].spec(job.model).identity},
    work=greeting_stage,
    asks="model",
    record=Greeting,
    lost=lambda row: row.failed,
)
'''
RULE = """

rule greeting:
    input:
        unpack(inputs_of("greeting")),
    output:
        PLAN.template("greeting"),
    log:
        PLAN.log("greeting"),
    benchmark:
        PLAN.benchmark("greeting")
    conda:
        "../envs/personalrm.yml"
    threads: threads_of("greeting")
    resources:
        llm_calls=calls_of("greeting"),
        mem_mb=growing(1000),
        runtime=growing(60),
    params:
        reads=reads_of("greeting"),
        config=RUN_CONFIG,
    message:
        "Greeting the users of {wildcards.dataset}: {wildcards.model}"
    shell:
        "python -m personalrm stage greeting --config {params.config:q} --out {output:q} > {log:q} 2>&1"
"""
OUT = "results/small/greetings/people/big/s00.jsonl"


def changed(folder: Path) -> set[str]:
    """Files of the workflow in `folder` that the checkout does not have, or has with another content."""
    files = {
        path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and "__pycache__" not in str(path)
    }
    _, other, added = filecmp.cmpfiles(folder, ROOT / "workflow", map(str, files), shallow=False)
    return {*other, *added}


def test_a_stage_is_one_module_and_one_rule(folder: Path) -> None:
    workflow = folder / "workflow"
    shutil.copytree(ROOT / "workflow", workflow, ignore=shutil.ignore_patterns("__pycache__"))
    module = workflow / "personalrm" / "studies" / "synthesizeme" / "stages" / "greeting.py"
    module.write_text(MODULE, encoding="utf-8")
    with (workflow / "rules" / "personas.smk").open("a", encoding="utf-8") as stream:
        stream.write(RULE)
    assert len(changed(workflow)) == 2
    with ScriptedServer(judge) as server:
        project = paid_project(folder, server.url, users=2)
        project.config["methods"] = ["default"]
        project.snakemake(OUT)
        assert server.count == 2
        rows = [json.loads(line) for line in (folder / OUT).read_text(encoding="utf-8").splitlines()]
        assert [row["model"] for row in rows] == ["big", "big"]
        # Its own settings rerun it, and those of others do not.
        project.config["learn"]["bootstrap"]["attempts"] = 1
        project.snakemake(OUT)
        assert server.count == 2
        module.write_text(MODULE.replace("WORDS = 20", "WORDS = 30"), encoding="utf-8")
        project.snakemake(OUT, "results/small/tables/cost.csv")
        assert sum("Greet " in str(body) for body in server.requests) == 4

    cost = pd.read_csv(project.run / "tables" / "cost.csv")
    assert cost.loc[cost["stage"] == "greeting", ["jobs", "judge_model"]].to_numpy().tolist() == [[1, "big"]]
    estimated = json.loads(project.personalrm("estimate", "--config", "run.yaml", "--json", "--untimed"))["rows"]
    assert {row["model"]: row["calls"] for row in estimated if row["stage"] == "greeting"} == {"big": 2, "tiny": 2}
    rows[0]["failed"] = 1
    (folder / OUT).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert f"{OUT}: 1" in project.personalrm("retry", "results/small", "--dry-run")
