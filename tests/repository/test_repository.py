"""The repository's own promises: pins in step, files of a readable size, nothing private, cheap imports."""

from __future__ import annotations

import ast
import gzip
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from personalrm.studies.config_load import config_schema
from personalrm.studies.run_results import all_results

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "workflow" / "personalrm"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
RUN = ("data", "embedded", "litellm", "workflow", "theta")
_NAME = re.compile(r"[A-Za-z0-9_.-]+(?:\[[a-z,]+\])?")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.sub(r"\[.*\]", "", name)).lower()


def pins(text: str) -> dict[str, str]:
    """Versions by name; of lines as `name==1.0`, whatever follows."""
    return {normal(name): version for name, version in re.findall(r"^([A-Za-z0-9_.\[\],-]+)==([^\s;\\]+)", text, re.M)}


CONSTRAINTS = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))


def direct(*extras: str) -> list[str]:
    """What the project itself requires, as pins."""
    required = [*PROJECT["dependencies"], *(one for extra in extras for one in EXTRAS[extra])]
    names = [found[0] for one in required if (found := _NAME.match(one)) and not one.startswith("personalrm[")]
    return [f"{name}=={CONSTRAINTS[normal(name)]}" for name in dict.fromkeys(names)]


def pip_section(path: Path) -> list[str]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    (section,) = [entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict)]
    return list(section)


def test_environment_yml_has_the_pins_of_what_pyproject_names() -> None:
    assert pip_section(ROOT / "environment.yml") == direct(*RUN, "cluster", "train", "test")
    assert pip_section(ROOT / "workflow" / "envs" / "personalrm.yml") == direct(*RUN)


@pytest.mark.parametrize(
    ("name", "extras"),
    [("requirements.txt", RUN), ("requirements-dev.txt", (*RUN, "test")), ("requirements-docs.txt", ("docs",))],
)
def test_locked_versions_have_hashes_and_are_those_of_the_constraints(name: str, extras: tuple[str, ...]) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    locked = pins(text)
    assert locked.items() <= CONSTRAINTS.items()
    assert pins("\n".join(direct(*extras))).items() <= locked.items()
    for entry in re.split(r"\n(?=\S)", text.strip()):
        assert "--hash=sha256:" in entry, entry
    assert "://" not in text


@pytest.mark.parametrize(("study", "name"), [("synthesizeme", "config"), ("tailoring", "tailoring"), ("fspo", "fspo")])
def test_config_schema_is_in_step(study: str, name: str) -> None:
    kept = (ROOT / "workflow" / "schemas" / f"{name}.json").read_text(encoding="utf-8")
    said = f"run: python -m personalrm schema --study {study} > workflow/schemas/{name}.json"
    assert kept == config_schema(study), said


def test_files_and_functions_stay_readable() -> None:
    for path in (ROOT / "tests").rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path
    for path in sorted(LIBRARY.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 60, f"{path}: {node.name}"


def test_import_is_cheap() -> None:
    code = "import sys, personalrm, personalrm.app.cli, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(json.loads(done.stdout))
    assert not loaded & {"litellm", "pandas", "torch", "datasets", "matplotlib", "snakemake"}


def tracked_files() -> list[Path]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def test_no_machine_path_and_nothing_of_the_shared_data_is_tracked() -> None:
    for path in tracked_files():
        if path.suffix in {".png", ".pdf"}:
            continue
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = content.decode("utf-8")
        assert not re.search(r"/(root|home|work|Users)/[a-z]", text), path
        assert "expert_" + "17" not in text, path


def test_no_file_has_the_marks_of_a_merge_conflict() -> None:
    for path in tracked_files():
        assert not re.search(rb"^(<{7}|>{7}) ", b"" if path.suffix == ".gz" else path.read_bytes(), re.MULTILINE), path


def profile(name: str) -> dict[str, object]:
    text = (ROOT / "workflow" / "profiles" / name / "config.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


def test_the_profile_for_slurm_is_the_default_one_and_more() -> None:
    slurm, default = profile("slurm"), profile("default")
    assert {key for key in default if slurm[key] != default[key]} == {"max-jobs-per-timespan"}


def test_the_profile_for_a_gpu_node_has_more_calls_in_flight_and_is_else_the_default_one() -> None:
    gpu, default = profile("gpu"), profile("default")
    assert gpu == default | {"executor": "local", "resources": ["llm_calls=256"]}


def test_on_slurm_the_rules_of_all_results_travel_together() -> None:
    grouped = dict(str(entry).split("=") for entry in profile("slurm")["groups"])  # type: ignore[attr-defined]
    results = ["collect_scores", "manifest", *(result.rule for result in all_results())]
    assert grouped == dict.fromkeys(("no_model", "weigh", "taste"), "quick") | dict.fromkeys(results, "results")
