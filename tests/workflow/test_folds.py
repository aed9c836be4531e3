"""Leave-out folds through the whole workflow: every pair is tested once, and the tables have the pool."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml
from support.scripted_judge import judge
from support.scripted_server import ScriptedServer

from .conftest import ROOT, Project, quickstart_votes, small_config, write_votes

pytestmark = pytest.mark.full

USERS = ("ada", "ben")
FOLDS = {"people-fold1", "people-fold2"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two bundled users in two folds, and the results that know of pools."""
    votes = quickstart_votes()
    users = sorted({vote["user_id"] for vote in votes})[: len(USERS)]
    people = {"path": "votes.jsonl", "shards": 1, "users": users, "split": {"folds": 2}}
    with ScriptedServer(judge) as server:
        config = small_config(server.url, k=["all"], draws=1, transfer={}, datasets={"people": people})
        config["learn"]["models"] = ["big"]
        config["methods"] = ["longer", "default", "default@all", "both"]
        project = Project(tmp_path_factory.mktemp("folds") / "work", config)
        write_votes(project.folder / "votes.jsonl", votes)
        tables = [f"tables/{name}.csv" for name in ("main", "differences", "power", "cost")]
        project.snakemake(*(f"results/small/{path}" for path in (*tables, "figures/main.txt")))
    return project


def rows(project: Project, name: str) -> list[dict[str, str]]:
    with (project.run / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def of(table: list[dict[str, str]], **values: str) -> dict[str, str]:
    (row,) = [row for row in table if all(row[name] == value for name, value in values.items())]
    return row


def test_the_pool_has_every_pair_of_every_user_once(made: Project) -> None:
    table = rows(made, "main")
    users = set(made.config["datasets"]["people"]["users"])
    votes = [vote for vote in quickstart_votes() if vote["user_id"] in users]
    longer = [len(vote["chosen"]["content"]) > len(vote["rejected"]["content"]) for vote in votes]
    assert all(len(vote["chosen"]["content"]) != len(vote["rejected"]["content"]) for vote in votes)
    row = of(table, dataset="people", method="longer")
    assert (row["n_users"], row["n_pairs"], row["n_judgments"]) == ("2", "28", "56")
    assert float(row["accuracy"]) == round(100 * sum(longer) / len(longer), 4)
    # Judged on all pairs in both folds, by the same calls: once in the pool, and as Default on its test pairs.
    everything, default = (
        of(table, dataset="people", method="default@all"),
        of(table, dataset="people", method="default"),
    )
    assert everything["n_judgments"] == default["n_judgments"] == "56"
    assert (everything["accuracy"], everything["calls"]) == (default["accuracy"], default["calls"])


def test_a_pooled_cell_is_what_the_verdicts_of_its_folds_add_up_to(made: Project) -> None:
    right, total, users = 0, 0, set()
    for path in sorted((made.run / "verdicts").glob("people-fold*/corrected/big-to-big/kall/*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["method"] == "both":
                right += sum(verdict["outcome"] == "correct" for verdict in row["verdicts"])
                total += len(row["verdicts"])
                users.add((row["dataset"], row["user_id"]))
    assert (total, len(users)) == (56, 4)
    main = of(rows(made, "main"), dataset="people", method="both")
    assert float(main["accuracy"]) == round(100 * right / total, 4)
    differences = rows(made, "differences")
    assert {row["dataset"] for row in differences} == {"people"}
    found = of(differences, method="both", reference="default")
    default = of(rows(made, "main"), dataset="people", method="default")
    assert float(found["difference"]) == pytest.approx(float(main["accuracy"]) - float(default["accuracy"]), abs=2e-4)
    assert (found["n_users"], found["n_pairs"]) == ("2", "28")
    power = of(rows(made, "power"), dataset="people", method="both")
    assert (power["n_users"], power["n_judgments"]) == ("2", "56")


def test_every_text_says_what_a_pool_is_and_nothing_is_counted_twice(made: Project) -> None:
    said = "people: 2 leave-out folds pooled"
    for name in ("tables/main.md", "tables/differences.md", "tables/power.md", "figures/main.txt"):
        assert said in (made.run / name).read_text(encoding="utf-8"), name
    main = rows(made, "main")
    assert {row["dataset"] for row in main} == {"people", *FOLDS}
    assert {row["dataset"] for row in rows(made, "cost") if row["level"] == "method"} == FOLDS


def test_the_bundled_config_is_planned_as_four_folds(tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "config" / "folds.yaml").read_text(encoding="utf-8"))
    planned = Project(tmp_path / "work", config).snakemake("--dry-run").split("Job stats:")[1]
    counts = {words[0]: words[1] for line in planned.splitlines() if len(words := line.split()) == 2}
    assert [counts.get(f"prepare_quickstart-fold{number}") for number in range(1, 6)] == ["1"] * 4 + [None]
    # Eight users in four folds, a shard each.
    assert (counts["profile"], counts["judge"]) == ("32", "32")
