"""Hub data in the workflow: the stage through the command line, and the rule that Snakemake makes of it."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.hub_server import COMMIT, HubRepo, HubServer
from support.raw_prism import generate_raw_prism
from support.warm import run_warm

from personalrm.core.errors import ConfigError
from personalrm.studies.config_load import parse_config, write_resolved
from personalrm.studies.preflight import missing
from personalrm.studies.study import Needs
from personalrm.studies.synthesizeme.plan import Plan

from .conftest import ROOT, Project, small_config

FILES = {"conversations.jsonl": b'{"a": 1}\n' * 30_000, "survey.jsonl": b"{}\n"}
FOLDER = f"data/hub/some--set/{COMMIT}"
TOKEN = "hf_verySecretToken"


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer(repos={"some/set": HubRepo(dict(FILES), lfs={"conversations.jsonl"})}, tokens={TOKEN}) as running:
        yield running


def hub_config(*files: str, **changes: object) -> dict[str, Any]:
    source = {"repo": "some/set", "revision": COMMIT, "files": list(files or FILES)}
    entry: dict[str, Any] = {"source": "prism", "shards": 1, "hub": source | changes}
    return small_config("http://127.0.0.1:9/v1", datasets={"people": entry})


def environment(hub: HubServer, folder: Path, **extra: str) -> dict[str, str]:
    """Only what the hub needs; no login, cache or proxy of the machine's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "TRANSF"))}
    own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hf"), "NO_PROXY": "127.0.0.1,localhost"}
    return {**kept, **own, **extra}


class Stage:
    """`stage fetch` in a folder of its own."""

    def __init__(self, hub: HubServer, folder: Path, config: dict[str, Any]) -> None:
        self.hub, self.folder = hub, folder
        write_resolved(folder / "run.json", parse_config(config))
        self.command = ["personalrm", "stage", "fetch", "--config", "run.json", "--dataset", "people"]

    def start(self, before: Callable[[], None] | None = None) -> subprocess.Popen[str]:
        """In a process that imports for itself; `before` is called in it first."""
        return subprocess.Popen(
            [sys.executable, "-m", *self.command],
            cwd=self.folder,
            env=environment(self.hub, self.folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=before,  # noqa: PLW1509 (only a limit is set)
        )

    def run(self, **extra: str) -> tuple[int, str]:
        variables = environment(self.hub, self.folder, **extra)
        return run_warm(self.command, self.folder, variables, ROOT / "workflow", timeout_s=120)


def test_the_stage_fetches_quietly_and_tells_the_hub_nothing_of_the_machine(hub: HubServer, tmp_path: Path) -> None:
    code, output = Stage(hub, tmp_path, hub_config()).run(HF_TOKEN=TOKEN, AI_AGENT="somebody")
    assert code == 0, output
    assert {path.name for path in (tmp_path / FOLDER).iterdir()} == {*FILES, "checksums.json"}
    # A line a file: no bars, no address that may be signed.
    assert len(output.splitlines()) == len(FILES), output
    assert "signature" not in output
    for asked in hub.asked:
        assert asked.path.startswith(("/datasets/some/set/", "/network/")), asked.path
        assert "somebody" not in asked.headers["User-Agent"]


def test_a_refusal_is_one_line_without_the_token(hub: HubServer, tmp_path: Path) -> None:
    hub.repos["some/set"].gated = True
    stage = Stage(hub, tmp_path, hub_config())
    for token in (TOKEN, "hf_expiredSecret"):
        code, output = stage.run(HF_TOKEN=token)
        assert code == 1
        (line,) = output.splitlines()
        assert line.startswith("personalrm: datasets.people.hub: some/set, revision ")
        assert token not in output


def test_the_token_may_stand_in_the_env_file(hub: HubServer, tmp_path: Path) -> None:
    hub.repos["some/set"].gated, hub.members = True, {TOKEN}
    (tmp_path / ".env").write_text(f"HF_TOKEN={TOKEN}\n", encoding="utf-8")
    code, output = Stage(hub, tmp_path, hub_config()).run()
    assert code == 0, output


def test_two_fetches_at_once_download_once(hub: HubServer, tmp_path: Path) -> None:
    stage = Stage(hub, tmp_path, hub_config())
    hub.head_faults["conversations.jsonl"] = [503]
    running = [stage.start() for _ in range(3)]
    outputs = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], outputs
    assert sum(each.method == "GET" and each.path.startswith("/network/") for each in hub.asked) == 1
    assert (tmp_path / FOLDER / "conversations.jsonl").read_bytes() == FILES["conversations.jsonl"]


def test_a_full_disk_is_named(hub: HubServer, tmp_path: Path) -> None:
    """No file may grow above 64 KiB: for the process, the same as a disk or quota that is full."""
    limit = 1 << 16
    stage = Stage(hub, tmp_path, hub_config())
    process = stage.start(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert output.splitlines()[-1].startswith("personalrm: datasets.people.hub")
    assert f"no room below {FOLDER}/.incoming: conversations.jsonl did not fit" in output
    assert not (tmp_path / FOLDER / "conversations.jsonl").exists()


def test_a_data_set_that_is_not_in_the_config(hub: HubServer, tmp_path: Path) -> None:
    stage = Stage(hub, tmp_path, hub_config())
    stage.command[-1] = "nobody"
    code, output = stage.run()
    assert (code, output) == (1, "personalrm: datasets.nobody: no such data set; the config has people\n")


def test_a_dry_run_plans_one_fetch_for_data_sets_of_the_same_files(tmp_path: Path) -> None:
    config = hub_config()
    config["datasets"]["twins"] = config["datasets"]["people"] | {"min_rating_gap": 5}
    project = Project(tmp_path / "work", config)
    output = project.snakemake("-n", "results/small/data/people/funnel.json", "results/small/data/twins/funnel.json")
    planned = dict(re.findall(r"^((?:fetch|prepare)_\w+) +(\d+)$", output, flags=re.MULTILINE))
    assert planned == {"fetch_people": "1", "prepare_people": "1", "prepare_twins": "1"}


def test_a_wrong_hub_entry_is_a_problem_of_the_config() -> None:
    with pytest.raises(ConfigError, match=r"datasets\.people\.\S*hub: .*sha256\.x: no such file"):
        Plan(parse_config(hub_config(sha256={"x": "0" * 64})))


def test_the_rule_fetches_once_for_all_runs_and_a_failure_takes_nothing_away(hub: HubServer, tmp_path: Path) -> None:
    project = Project(tmp_path / "work", hub_config("survey.jsonl"))
    env = environment(hub, tmp_path)
    survey, large = (project.folder / FOLDER / name for name in ("survey.jsonl", "conversations.jsonl"))
    project.snakemake(f"{FOLDER}/survey.jsonl", **env)
    # Another run wants more of the same revision, and the first attempt of the job fails.
    project.config = hub_config() | {"run": "other"}
    hub.head_faults["conversations.jsonl"] = [404]
    output = project.snakemake(f"{FOLDER}/conversations.jsonl", **env)
    assert "answers HTTP 404" in output
    assert large.read_bytes() == FILES["conversations.jsonl"]
    assert survey.read_bytes() == FILES["survey.jsonl"]
    assert hub.count("GET", "survey.jsonl") == 1
    assert set(json.loads((large.parent / "checksums.json").read_text(encoding="utf-8"))["files"]) == set(FILES)
    project.config = hub_config("survey.jsonl")
    assert "Nothing to be done" in project.snakemake(f"{FOLDER}/survey.jsonl", **env)


def test_the_rule_takes_files_put_there_by_hand_without_a_network(hub: HubServer, tmp_path: Path) -> None:
    project = Project(tmp_path / "work", hub_config())
    (project.folder / FOLDER).mkdir(parents=True)
    for name, content in FILES.items():
        (project.folder / FOLDER / name).write_bytes(content)
    project.snakemake(f"{FOLDER}/checksums.json", **environment(hub, tmp_path, HF_HUB_OFFLINE="1"))
    for name, content in FILES.items():
        assert (project.folder / FOLDER / name).read_bytes() == content
    assert hub.asked == []


def test_the_preflight_names_only_what_no_rule_can_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    needs = Needs(datasets={"people"})
    assert missing(parse_config(hub_config()), needs) == []
    (problem,) = missing(parse_config(hub_config("conversations.jsonl")), needs)
    assert problem.startswith("datasets.people.hub.files: lacks survey.jsonl, which source prism reads")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    Path(FOLDER).mkdir(parents=True)
    (Path(FOLDER) / "survey.jsonl").write_bytes(b"{}")
    (problem,) = missing(parse_config(hub_config()), needs)
    assert f"HF_HUB_OFFLINE is set, and {FOLDER} lacks conversations.jsonl; unset it, or put" in problem


def test_from_the_hub_to_users_and_a_file_that_changed_here_stops_the_next_run(hub: HubServer, tmp_path: Path) -> None:
    made = generate_raw_prism(tmp_path / "raw", conversations=40)
    files = {name: (tmp_path / "raw" / name).read_bytes() for name in ("conversations.jsonl", "survey.jsonl")}
    hub.repos["some/set"] = HubRepo(files, lfs={"conversations.jsonl"})
    project = Project(tmp_path / "work", hub_config())
    extra = environment(hub, tmp_path)
    funnel = project.run / "data" / "people" / "funnel.json"
    project.snakemake("results/small/data/people/funnel.json", **extra)
    assert json.loads(funnel.read_text(encoding="utf-8"))["steps"][0]["users"] == made.users
    # Read as they came: no second copy lies there.
    assert {path.name for path in (project.folder / FOLDER).iterdir()} == {*files, "checksums.json"}
    card = funnel.with_name("card.md").read_text(encoding="utf-8")
    assert f"commit `{COMMIT}`" in card
    asked = len(hub.asked)
    assert "Nothing to be done" in project.snakemake("results/small/data/people/funnel.json", **extra)
    # Another run shares the files and asks for nothing.
    project.config["run"] = "other"
    project.snakemake("results/other/data/people/funnel.json", **extra)
    assert len(hub.asked) == asked
    with (project.folder / FOLDER / "survey.jsonl").open("ab") as stream:
        stream.write(b"\n")
    project.config["run"] = "third"
    said = project.snakemake("results/third/data/people/funnel.json", ok=False, **extra)
    assert "was changed: its SHA-256 is" in said
