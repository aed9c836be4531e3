"""The registry of results: what is declared is known to the study, is read, and makes the files of the run."""

from __future__ import annotations

import ast
import inspect
import json
import os
import subprocess
import sys
import textwrap
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.generated_verdicts import quickstart_cells, write_cells
from support.projects import ROOT
from support.result_cases import RESULTS, write_result
from support.warm import run_warm

from personalrm.core.errors import ConfigError
from personalrm.results.scores import collect_calls, collect_verdicts, write_frame
from personalrm.results.spec import Result, TableResult, declared
from personalrm.studies import run_results
from personalrm.studies.config_load import load_config
from personalrm.studies.run_results import RunResults
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.run_results import ResultSettings, conditions, result_files

EVERY = pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)


def plan(folder: Path, **changes: object) -> Plan:
    (folder / "votes.jsonl").write_text("")
    config: dict[str, Any] = {
        "run": "r",
        "results": f"{folder}/results",
        "datasets": {"people": {"path": str(folder / "votes.jsonl"), "shards": 1}},
        "models": {name: {"backend": "openai", "model": name, "api_base": "http://127.0.0.1:1"} for name in "ab"},
        "methods": ["longer", "default", "both"],
        "learn": {"models": ["a"]},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(config | changes), encoding="utf-8")
    return Plan(load_config(folder / "run.yaml"))


@EVERY
def test_every_parameter_of_a_result_is_read_by_it(result: Result) -> None:
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(result.build))).body
    assert isinstance(function, ast.FunctionDef)
    read = {node.id for statement in function.body for node in ast.walk(statement) if isinstance(node, ast.Name)}
    assert {*result.inputs, *result.settings} <= read


@EVERY
def test_every_parameter_is_known_to_the_study_with_its_type(result: Result, tmp_path: Path) -> None:
    files = result_files(plan(tmp_path))
    types: dict[str, object] = {field.name: field.type for field in fields(ResultSettings)}
    for name, parameter in inspect.signature(result.build).parameters.items():
        if name in result.settings:
            assert parameter.annotation == types[name], name
        elif name.startswith("table_"):
            assert isinstance(RESULTS[name], TableResult)
            assert parameter.annotation == ("Path" if name in result.needed else "Path | None")
        else:
            assert parameter.annotation == ("Path" if isinstance(files[name], str) else "list[Path]"), name
    assert result.when in conditions(plan(tmp_path))


def test_no_setting_file_or_condition_is_left_over(tmp_path: Path) -> None:
    run = plan(tmp_path)
    assert {field.name for field in fields(ResultSettings)} == {n for r in RESULTS.values() for n in r.settings}
    assert result_files(run).keys() == {n for r in RESULTS.values() for n in r.inputs if n not in RESULTS}
    assert conditions(run).keys() == {result.when for result in RESULTS.values()}


def test_a_table_stands_before_the_figure_of_its_name() -> None:
    rules = list(RESULTS)
    assert rules[:2] == ["table_main", "figure_main"]
    for place, rule in enumerate(rules):
        table = rule.replace("figure_", "table_")
        if table in RESULTS and table != rule:
            assert rules[place - 1] == table


def test_results_exist_only_where_the_config_has_them(tmp_path: Path) -> None:
    few = {result.rule for result in RunResults(plan(tmp_path, transfer={})).results}
    more = {result.rule for result in RunResults(plan(tmp_path, transfer={"pairs": [["a", "b"]]})).results}
    assert more - few == {"table_transfer", "figure_transfer"}
    # A table that another one reads where it is there is no condition of that one.
    reported = RESULTS["table_reported"]
    assert "table_fidelity" not in RunResults(plan(tmp_path)).inputs(reported)
    analysed = RunResults(plan(tmp_path, analysis={"fidelity": {}}))
    assert analysed.inputs(reported)["table_fidelity"] == f"{analysed.run}/tables/fidelity.csv"
    absent = {"fidelity", "recovery", "axes", "filter_sensitivity", "taste_on", "tastes", "training", "train_users"}
    # No data set of the run answers to one of the paper.
    absent_rules = {rule for rule in RESULTS if rule.partition("_")[2] in absent} | {"figure_reported"}
    assert RESULTS.keys() - more == absent_rules


@pytest.mark.parametrize(
    ("changes", "absent"),
    [
        ({}, set()),
        ({"methods": ["default", "history"]}, {"figure_search"}),
        ({"methods": ["longer", "default"]}, {"figure_search", "figure_dumbbells"}),
        ({"methods": ["both", "memory"]}, {"figure_dumbbells", "figure_orders"}),
        ({"verdicts": ["logprob_both"]}, {"figure_orders"}),
        ({"verdicts": ["logprob_both", "logprob"]}, set()),
    ],
)
def test_figures_are_made_only_of_runs_that_have_what_they_show(
    tmp_path: Path, changes: dict[str, Any], absent: set[str]
) -> None:
    verdicts = changes.pop("verdicts", ["text"])
    model = {"backend": "openai", "model": "a", "api_base": "http://127.0.0.1:1", "verdicts": verdicts}
    made = {result.rule for result in RunResults(plan(tmp_path, models={"a": model}, **changes)).results}
    assert {"figure_search", "figure_dumbbells", "figure_orders"} - made == absent


def test_other_columns_or_pages_make_all_results_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = RunResults(plan(tmp_path))
    before = [results.fingerprint(result) for result in results.results]
    monkeypatch.setattr(run_results, "VERSION", run_results.VERSION + 1)
    assert not set(before) & {results.fingerprint(result) for result in results.results}


def test_settings_of_a_result_change_its_fingerprint_alone(tmp_path: Path) -> None:
    before = RunResults(plan(tmp_path))
    after = RunResults(plan(tmp_path, statistics={"seed": 5}))
    changed = {r.rule for r in before.results if before.fingerprint(r) != after.fingerprint(r)}
    assert changed == {rule for rule, result in RESULTS.items() if "seed" in result.settings} & {
        result.rule for result in before.results
    }
    assert "table_users" not in changed


@pytest.mark.parametrize(
    ("evaluated", "note"),
    [("test", "Users: those of the level-A part test; of data sets without level A, all."), ("all", "Users: all of")],
)
def test_the_main_table_says_which_users_are_evaluated(tmp_path: Path, evaluated: str, note: str) -> None:
    run = plan(tmp_path, evaluate_users=evaluated, statistics={"resamples": 99})
    paths = write_cells(tmp_path / "cells", quickstart_cells()[:3], [2, 2])
    write_frame(collect_verdicts(paths), Path(run.run) / "data" / "verdicts.parquet")
    write_frame(collect_calls(paths), Path(run.run) / "data" / "calls.parquet")
    RunResults(run).make("table_main")
    assert note in (Path(run.run) / "tables" / "main.md").read_text(encoding="utf-8")


def test_the_command_makes_a_result_from_the_files_of_the_run(tmp_path: Path) -> None:
    run = plan(tmp_path, statistics={"resamples": 99, "seed": 1})
    (tmp_path / "resolved.json").write_text(run.config.model_dump_json(), encoding="utf-8")
    paths = write_cells(tmp_path / "cells", quickstart_cells(), [2, 3])
    files = {name: Path(run.run) / "data" / f"{name}.parquet" for name in ("verdicts", "calls")}
    write_frame(collect_verdicts(paths), files["verdicts"])
    write_frame(collect_calls(paths), files["calls"])
    for rule in ("table_main", "figure_main", "table_none"):
        command = ["personalrm", "result", rule, "--config", str(tmp_path / "resolved.json")]
        code, said = run_warm(command, ROOT, dict(os.environ), ROOT / "workflow", timeout_s=120)
        assert (code == 0) == (rule in RESULTS), said
    assert said.startswith("personalrm: table_none: the run has no such result; it has table_main, figure_main")
    # The same bytes as in this process.
    stem = write_result("table_main", tmp_path, **files, n_resamples=99, model_order=["a", "b"], evaluated="all")
    again = write_result("figure_main", tmp_path, table_main=stem.with_suffix(".csv"), title_note="run r")
    for rule, made in (("table_main", stem), ("figure_main", again)):
        for output, path in RESULTS[rule].outputs(run.run).items():
            suffix = RESULTS[rule].files[output]
            assert Path(path).read_bytes() == made.with_name(made.name + suffix).read_bytes(), path


def test_two_results_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "from personalrm.results.tables.users_table import RESULT  # noqa: F401\n"
    folder = tmp_path / "twice_declared"
    folder.mkdir()
    for name in ("__init__", "one", "two"):
        (folder / f"{name}.py").write_text("" if name == "__init__" else module)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"twice_declared.two: there is another table 'users'; rename one of them"):
        declared(["twice_declared"])


def test_looking_for_results_is_cheap() -> None:
    code = (
        "import json, sys; from personalrm.app.snakefile_support import captions; captions();"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not set(json.loads(done.stdout)) & {"pandas", "scipy", "matplotlib", "seaborn", "litellm"}
