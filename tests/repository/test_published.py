"""Results in the documentation: copied by a command, from a run of this tree's config, prompts and code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from personalrm.app.cli import main
from personalrm.studies.config_load import config_hash, load_config
from personalrm.studies.manifest import fingerprint_of_code, prompts_in_use
from personalrm.studies.publish import REPORT, differences, pages_of
from personalrm.studies.synthesizeme.plan import Plan

ROOT = Path(__file__).parents[2]
CONFIG = """\
run: r
datasets: {people: {path: votes.jsonl, shards: 1}}
models: {m: {backend: openai, api_base: "http://127.0.0.1:9/v1", model: m}}
learn: {models: [m]}
methods: [default, persona]
"""
MOST_BYTES = 3 * 2**20
"""Of what the repository holds of the quickstart, and of the two pages of the showcase."""
QUICKSTART = ROOT / "config" / "quickstart.yaml"


def test_the_documented_quickstart_is_of_this_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    folder = ROOT / "docs" / "quickstart"
    assert (folder / "manifest.json").is_file(), "run: make docs-quickstart"
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert differences(manifest, load_config(QUICKSTART)) == [], "run: make docs-quickstart"
    results = {"main.csv", "main.md", "main.png", "main.txt", "manifest.json"}
    pages = set(pages_of(folder)) if (folder / REPORT).is_file() else set()
    copies = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.relative_to(folder).as_posix() for path in copies} == results | pages
    assert sum(path.stat().st_size for path in copies) <= MOST_BYTES


def test_the_pages_of_the_showcase_are_published_whole_and_small() -> None:
    folder = ROOT / "docs" / "showcase"
    pages = pages_of(folder)
    assert {REPORT, "transcripts.html"} <= set(pages)
    assert sum((folder / page).stat().st_size for page in pages) <= MOST_BYTES


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a finished run's files; its config is `run.yaml`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "votes.jsonl").touch()
    (tmp_path / "run.yaml").write_text(CONFIG, encoding="utf-8")
    run = tmp_path / "results" / "r"
    for name in ("tables/main.csv", "tables/main.md", "tables/main.html", "figures/main.png", "figures/main.txt"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(f"new {name}", encoding="utf-8")
    (run / "tables" / "users.csv").write_text("users", encoding="utf-8")
    manifest = {
        "config_sha256": config_hash(load_config(tmp_path / "run.yaml")),
        "prompts": prompts_in_use(Plan(load_config(tmp_path / "run.yaml"))),
        "code": fingerprint_of_code(),
    }
    (run / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return tmp_path


def test_a_finished_run_is_copied_with_its_manifest(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (finished / "docs").mkdir()
    (finished / "docs" / "main.md").write_text("old", encoding="utf-8")
    assert main(["publish", "run.yaml", "docs", "main", "users"]) == 0
    names = ["main.csv", "main.md", "users.csv", "main.png", "main.txt", "manifest.json"]
    assert capsys.readouterr().out.splitlines() == [f"docs/{name}" for name in names]
    assert sorted(path.name for path in (finished / "docs").iterdir()) == sorted(names)
    assert (finished / "docs" / "main.md").read_text(encoding="utf-8") == "new tables/main.md"


def write_pages(run: Path) -> None:
    pages = {
        "report.html": """<a href="#top"></a> <a href="transcripts.html#user=people/ann">ann</a>
            <a href="tables/all%20users.html?x">users</a>
            <a href="https://x.org/a.html">x</a> <a href="../s/o.html">o</a>
            <img src="data:image/png;base64,AA=="><script>'<a href="none.html">'</script>""",
        "transcripts.html": '<a href="report.html">back</a>',
        "tables/all users.html": '<img src="../figures/main.svg">',
        "figures/main.svg": "<svg/>",
    }
    for name, text in pages.items():
        (run / name).write_text(text, encoding="utf-8")


def test_pages_are_copied_with_all_that_they_link_to(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pages(finished / "results" / "r")
    assert main(["publish", "run.yaml", "docs", "main", "--pages"]) == 0
    names = ["main.csv", "main.md", "main.png", "main.txt", "manifest.json"]
    pages = ["report.html", "transcripts.html", "tables/all users.html", "figures/main.svg"]
    assert capsys.readouterr().out.splitlines() == [f"docs/{name}" for name in (*names, *pages)]
    for name in pages:
        assert (finished / "docs" / name).read_bytes() == (finished / "results" / "r" / name).read_bytes()
    # The copy is as whole as the run.
    assert pages_of(finished / "docs") == pages


@pytest.mark.parametrize("name", ["report.html", "transcripts.html", "figures/main.svg"])
def test_a_page_that_links_to_nothing_is_not_published(
    finished: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    write_pages(finished / "results" / "r")
    (finished / "results" / "r" / name).unlink()
    assert main(["publish", "run.yaml", "docs", "main", "--pages"]) == 1
    assert f"no {name}; run the workflow first" in capsys.readouterr().err
    assert not (finished / "docs").exists()


def other_prompt(manifest: dict[str, Any]) -> None:
    manifest["prompts"]["persona_standard"]["sha256"] = "0"


def other_config(manifest: dict[str, Any]) -> None:
    manifest["config_sha256"] = "0"


def other_stage(manifest: dict[str, Any]) -> None:
    manifest["code"]["stages"] -= 1


def of_before(manifest: dict[str, Any]) -> None:
    """Manifests did not name the code once."""
    del manifest["code"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_prompt, "other prompts: persona_standard"),
        (other_config, "the config is another one"),
        (other_stage, "the code of paid stages"),
        (of_before, "the code of paid stages"),
    ],
)
def test_a_run_of_another_tree_is_not_published(
    finished: Path, capsys: pytest.CaptureFixture[str], change: Callable[[dict[str, Any]], None], said: str
) -> None:
    path = finished / "results" / "r" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")
    assert main(["publish", "run.yaml", "docs", "main"]) == 1
    assert said in capsys.readouterr().err
    assert not (finished / "docs").exists()


@pytest.mark.parametrize("name", ["manifest.json", "tables/main.csv"])
def test_an_unfinished_run_is_not_published(finished: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (finished / "results" / "r" / name).unlink()
    assert main(["publish", "run.yaml", "docs", "main"]) == 1
    assert f"no {name}; run the workflow first" in capsys.readouterr().err


def test_a_result_that_is_a_figure_alone_is_published(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", "run.yaml", "docs", "train_users"]) == 1
    assert "no figures/train_users.png; run the workflow first" in capsys.readouterr().err
    for kind in ("png", "txt"):
        shutil.copy(finished / f"results/r/figures/main.{kind}", finished / f"results/r/figures/train_users.{kind}")
    assert main(["publish", "run.yaml", "docs", "train_users"]) == 0
    names = {path.name for path in (finished / "docs").iterdir()}
    assert names == {"train_users.png", "train_users.txt", "manifest.json"}


def test_a_manifest_names_the_prompts_that_the_stages_of_its_run_read(finished: Path) -> None:
    manifest = json.loads((finished / "results" / "r" / "manifest.json").read_text(encoding="utf-8"))
    assert sorted(manifest["prompts"]) == ["judge_standard", "persona_standard"]
    # One that no stage reads may be changed or removed: the results are the same.
    manifest["prompts"]["axes_compact"] = {"version": 1, "sha256": "0"}
    assert differences(manifest, load_config(finished / "run.yaml")) == []
