"""The command line: help, exit codes, and errors without tracebacks."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import personalrm
from personalrm.app import cli as cli_module
from personalrm.app import jobs
from personalrm.app.cli import EXIT_BUDGET, main, synthesise
from personalrm.core.errors import BudgetExceeded, ConfigError, DataError
from personalrm.data.scripted.settings import ScriptedSettings
from personalrm.data.settings import LocalDataset
from personalrm.studies.config_load import load_config, read_resolved


def test_help_has_a_line_for_each_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    people, _, rules = capsys.readouterr().out.partition("Commands:")[2].partition("Commands of the workflow's rules:")
    lines = [*people.splitlines(), *rules.splitlines()]
    named = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines if line.strip()}
    assert "  run " in people
    assert "  stage " in rules
    assert {"run", "estimate", "stage", "result", "models", "store"} <= named.keys()
    assert all(text.endswith(".") and not text.endswith("...") for text in named.values())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stage", "judge", "--config", "c.json"], "give one of --out and --dataset"),
        (["stage", "judge", "--config", "c.json", "--out", "a", "--dataset", "b"], "give one of --out and --dataset"),
        (["stage", "judge", "--out", "a"], "--config"),
        (["models", "fetch", "smollm2-135m", "--source", "moon"], "moon"),
        (["synthesise", "out"], "give --scripted"),
        (["moon"], "moon"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (ConfigError("run: missing"), 1, ["personalrm: run: missing"]),
        (ExceptionGroup("", [ConfigError("a"), ExceptionGroup("", [DataError("b"), DataError("a")])]), 1, ["a", "b"]),
        (ExceptionGroup("", [DataError("a"), ExceptionGroup("", [BudgetExceeded("b")])]), EXIT_BUDGET, ["a", "b"]),
    ],
)
def test_each_expected_error_is_told_once(
    error: Exception,
    code: int,
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(jobs, "run_job", fails)
    assert main(["stage", "judge", "--config", "c.json", "--out", "a"]) == code
    told = capsys.readouterr().err.splitlines()
    assert [line.removeprefix("personalrm: ") for line in told] == [line.removeprefix("personalrm: ") for line in lines]


def test_an_unexpected_error_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ExceptionGroup("", [ConfigError("a"), KeyError("b")])

    monkeypatch.setattr(jobs, "run_job", fails)
    with pytest.raises(ExceptionGroup) as caught:
        main(["stage", "judge", "--config", "c.json", "--out", "a"])
    assert [type(error) for error in caught.value.exceptions] == [KeyError]


def test_a_file_that_is_no_config_is_one_line_and_a_yaml_config_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd, config = tmp_path / "odd.json", Path("config/quickstart.yaml")
    odd.write_text('{"run": 3}')
    assert main(["result", "table_main", "--config", str(odd)]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"personalrm: {odd}: not a resolved config of this version; give the run's YAML config")
    assert read_resolved(config) == load_config(config)


def test_arguments_after_two_dashes_are_snakemakes_and_its_exit_code_is_returned(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    from snakemake.cli import get_argument_parser

    from personalrm.app import progress

    given: list[list[str]] = []

    def runs(arguments: list[str], *_: object) -> int:
        given.append(arguments)
        return 7

    monkeypatch.setattr(progress, "run_snakemake", runs)
    config = "config/quickstart.yaml"
    assert main(["run", config, "--cores", "2", "--", "results/one.pdf", "-n", "--quiet", "rules"]) == 7
    (arguments,) = given
    read = get_argument_parser().parse_args(arguments)
    assert (read.cores, read.configfile, read.targets) == (2, [Path(config)], ["results/one.pdf"])
    assert read.dryrun


def test_a_run_in_a_folder_without_a_workflow_takes_that_of_the_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    votes = Path("resources/quickstart/votes.jsonl").resolve()
    monkeypatch.chdir(tmp_path)
    raw = {"run": "r", "datasets": {"d": {"path": str(votes)}}, "methods": ["longer"], "k": ["all"]}
    Path("run.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    assert main(["run", "run.yaml", "--cores", "1", "--", "-n"]) == 0
    assert "This was a dry-run" in Path("results/r/logs/run.log").read_text(encoding="utf-8")
    # As installed from a wheel.
    monkeypatch.setattr(cli_module, "__file__", str(tmp_path / "lib/python3/site-packages/personalrm/app/cli.py"))
    assert main(["run", "run.yaml"]) == 1
    assert "no Snakefile in this folder" in capsys.readouterr().err


def test_help_imports_neither_rich_nor_the_stages() -> None:
    code = (
        "import sys\nfrom personalrm.app.cli import main\nmain(['--help'])\n"
        "print(*{'rich', 'pydantic', 'pandas', 'scipy'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.strip() == ""


def test_invented_users_are_written_once_and_the_printed_entry_of_a_config_reads_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "users"
    command = ["synthesise", "--scripted", str(out), "--users", "4", "--axes", "tone, interest", "--tastes", "2"]
    assert main([*command, "--user-split", "0.5", "0.25", "0.25"]) == 0
    table, _, entry = capsys.readouterr().out.partition("\ndatasets:\n")
    assert re.search(r"(?m)^all +4 +60 ", table)
    (settings,) = yaml.safe_load(f"datasets:\n{entry}")["datasets"].values()
    dataset = LocalDataset(name="scripted", **settings)
    assert (dataset.path, dataset.user_split.fractions) == (out / "votes.jsonl", (0.5, 0.25, 0.25))
    stated = json.loads((out / "card.json").read_text(encoding="utf-8"))["options"]
    assert stated["axes"] == ["tone", "thrift", "outdoors", "company"]
    assert (stated["users"], stated["pairs"], stated["user_split"]) == (4, 15, [0.5, 0.25, 0.25])
    assert main(command) == 1
    assert "is not empty" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0


def test_the_command_for_invented_users_has_the_defaults_of_its_settings() -> None:
    shown = {name: each.default for name, each in inspect.signature(synthesise).parameters.items()}
    lists = ("axes", "kinds")
    stated = {field.name: field.default for field in dataclasses.fields(ScriptedSettings) if field.name not in lists}
    assert {name: shown[name] for name in stated} == stated


@pytest.mark.parametrize(
    ("missing", "arguments", "said"),
    [
        ("snakemake", ["run", "absent.yaml"], "personalrm run: needs snakemake, {}'personalrm[workflow]'"),
        ("pyarrow", ["result"], "this command needs pyarrow, {}'personalrm[data]'"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    missing: str, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def needing() -> None:
        importlib.import_module("pyarrow.parquet")

    # None in sys.modules is a module that is not there.
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    if arguments == ["result"]:
        monkeypatch.setattr("personalrm.app.cli.cli", lambda **_given: needing())
    assert main(arguments) == 1
    assert capsys.readouterr().err == f"personalrm: {said.format('not installed here; pip install ')}\n"


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"personalrm {personalrm.__version__}\n"
