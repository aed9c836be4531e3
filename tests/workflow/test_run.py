"""The real workflow, end to end, against a real local server."""

from __future__ import annotations

import csv
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from support.once import Finished
from support.scripted_judge import judge
from support.scripted_server import Fault, ScriptedServer

from .conftest import Project, quickstart_votes, small_config, write_votes

COLUMNS = [
    "dataset",
    "variant",
    "profile_model",
    "judge_model",
    "method",
    "k",
    "n_users",
    "n_pairs",
    "n_judgments",
    "accuracy",
    "ci_low",
    "ci_high",
    "ci_low_independent",
    "ci_high_independent",
    "accuracy_user_mean",
    "accuracy_readable",
    "tie",
    "unparsed",
    "refused",
    "context_overflow",
    "provider_error",
    "lossy_profiles",
    "share_first",
    "flip_rate",
    "n_draws",
    "draw_sd",
    "calls",
    "tokens_in",
    "tokens_out",
    "cost_usd_list",
    "status",
]


def rows(project: Project) -> list[dict[str, str]]:
    with (project.run / "tables" / "main.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def find(table: list[dict[str, str]], **wanted: str) -> dict[str, str]:
    (row,) = [row for row in table if all(row[key] == value for key, value in wanted.items())]
    return row


def distinct(finished: Finished) -> int:
    """Requests that differ."""
    return len({json.dumps(body, sort_keys=True) for body in finished.requests})


def test_whole_run_then_nothing_to_do_then_one_figure_without_a_call(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "work")
    table = rows(project)
    assert list(table[0]) == COLUMNS

    longer = find(table, method="longer")
    votes = {(v["user_id"], v["chosen"]["content"]) for v in quickstart_votes()}
    assert votes
    # Three users with 14 pairs each have 4 test pairs each; every order is a judgment.
    assert (longer["n_users"], longer["n_pairs"], longer["n_judgments"]) == ("3", "12", "24")
    assert find(table, method="default", judge_model="big")["n_judgments"] == "24"
    assert find(table, method="default.logprob_both", judge_model="tiny")["n_judgments"] == "12"
    assert find(table, method="demos", profile_model="big", k="2")["n_draws"] == "2"
    assert find(table, method="demos", profile_model="big", k="all")["n_draws"] == "1"
    # The scripted judge does not look at positions.
    assert find(table, method="default", judge_model="big")["share_first"].startswith("50")
    transfer = find(table, profile_model="tiny", judge_model="big")
    assert (transfer["method"], transfer["k"]) == ("both", "all")

    manifest = json.loads((project.run / "manifest.json").read_text(encoding="utf-8"))
    # No row rests on the probe of the label model.
    assert manifest["usage"]["calls"] == distinct(finished) - 1
    assert manifest["data"]["people"]["funnel"]["users_written"] == 3
    assert {"judge_standard", "judge_compact"} <= set(manifest["prompts"])

    # The server is gone: a call would fail.
    assert "Nothing to be done" in project.snakemake()
    (project.run / "figures" / "main.pdf").unlink()
    before = project.tables()
    # As a user types it: no config file, for the run is known here.
    output = project.snakemake("results/small/figures/main.pdf", cores=1, configfile=False)
    assert "figure_main" in output
    assert {k: v for k, v in project.tables().items() if k in before} == before


def test_criteria_judge_where_it_is_opted_for(project: Project, server: ScriptedServer) -> None:
    project.config["models"] = {"big": project.config["models"]["big"] | {"verdicts": ["text", "logprob"]}}
    project.config["datasets"]["people"]["max_users"] = 1
    project.config["learn"] |= {"models": ["big"], "search": {"num_search_candidates": 3}}
    project.config |= {"transfer": {}, "k": ["all"], "draws": 1, "methods": ["both", "criteria"]}
    project.snakemake("results/small/tables/main.csv")
    table = rows(project)
    judged = find(table, method="criteria")
    assert (judged["n_users"], judged["n_pairs"], judged["n_judgments"]) == ("1", "4", "8")
    # The scripted scores do not look at positions.
    assert judged["unparsed"] == "0"
    assert judged["share_first"].startswith("50")
    assert int(judged["calls"]) == int(find(table, method="both")["calls"]) + 4
    derived = [body for body in server.requests if "Weight <1-5>:" in body["messages"][0]["content"]]
    assert len(derived) == 4
    # Where verdicts are log-probabilities the row stays, and says that the method does not apply.
    without = find(table, method="criteria.logprob")
    assert (without["n_users"], without["accuracy"], without["status"]) == ("0", "", "not applicable")
    (row,) = [
        row
        for path in (project.run / "verdicts").rglob("*.jsonl")
        for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())
        if row["method"] == "criteria.logprob"
    ]
    assert (row["status"], row["reason"]) == (
        "not_applicable",
        "criteria reads no log-probabilities (verdicts: text)",
    )
    (profile,) = [json.loads(path.read_text(encoding="utf-8")) for path in (project.run / "profiles").rglob("*.jsonl")]
    counts = [candidate["n_scored"] for candidate in profile["search"]["with_persona"]]
    assert min(counts) < max(counts)


ELSEWHERE = {"TZ": "Pacific/Chatham", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""Another time zone, and a locale in which files and names are ASCII to Python where nobody says otherwise."""


def out_of_order(number: int, body: dict[str, Any]) -> Fault:
    """Answers come in another order than that of the requests."""
    return Fault("stall", seconds=random.Random(number).uniform(0.0, 0.05))


FEW = tuple(f"results/small/{name}" for name in ("tables/main.csv", "figures/main.pdf", "manifest.json"))


@pytest.mark.parametrize("targets", [FEW, pytest.param((), marks=pytest.mark.full)], ids=["few", "all"])
def test_workers_and_row_order_change_no_byte(tmp_path: Path, targets: tuple[str, ...]) -> None:
    """Nor do calls at once, the order of answers, the hash seed, the locale and the time zone."""
    runs = []
    for name, cores, shuffle, faults in (("one", 1, None, ()), ("many", 8, 7, out_of_order)):
        with ScriptedServer(judge, faults=faults) as server:
            project = Project(tmp_path / name, small_config(server.url))
            project.config["datasets"]["people"]["shards"] = 2
            if targets:
                project.config["k"], project.config["learn"]["models"] = [2], ["tiny"]
            for model in project.config["models"].values():
                model["max_concurrency"] = cores
            votes = [{**vote, "user_id": f"{vote['user_id']} Zoë"} for vote in quickstart_votes()]
            write_votes(project.folder / "votes.jsonl", votes, shuffle=shuffle)
            elsewhere = {} if cores == 1 else ELSEWHERE
            project.snakemake(*targets, cores=cores, PYTHONHASHSEED=str(cores), **elsewhere)
            runs.append(project.tables())
    one, many = runs
    assert one.keys() == many.keys()
    # The data card and the funnel hold the hash of the file; all else is equal to the byte.
    different = {name for name in one if one[name] != many[name]}
    assert different <= {"data/people/card.md"}


def test_a_cosmetic_edit_and_a_touched_file_cost_no_call(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "work")
    before = project.tables()
    project.config["models"]["big"]["timeout_s"] = 77
    project.config["datasets"]["people"]["licence"] = "MIT, ours"
    (project.folder / "votes.jsonl").touch()
    shard = next((project.run / "data" / "people" / "shards").iterdir())
    shard.touch()
    # The server is gone: a call would fail.
    project.snakemake("results/small/tables/main.csv", "results/small/manifest.json")
    after = project.tables()
    manifest = json.loads((project.run / "manifest.json").read_text(encoding="utf-8"))
    # No row rests on the probe of the label model.
    assert manifest["usage"]["calls"] == distinct(finished) - 1
    assert {name for name in before if before[name] != after[name]} <= {"data/people/card.md"}


def test_odd_surroundings_are_as_good_as_any(tmp_path: Path) -> None:
    """Blanks, an apostrophe and braces in paths, a run with the name of one of our own files, a formula as an id."""
    formula = '=HYPERLINK("http://x/","y")'
    votes = [vote | {"user_id": formula} for vote in quickstart_votes()[:14]]
    config = small_config("http://127.0.0.1:9/v1", run="owner", learn={}, models={}, transfer={}, methods=["longer"])
    config["datasets"] = {"people": {"path": "my votes' s.jsonl", "licence": "MIT"}}
    made = Project(tmp_path / "it's my checkout", config | {"store": "the {store}/it's.sqlite"})
    write_votes(made.folder / "my votes' s.jsonl", votes)
    made.snakemake("results/owner/tables/users.csv")
    with (made.run / "tables" / "users.csv").open(encoding="utf-8", newline="") as stream:
        cells = [cell for row in csv.reader(stream) for cell in row]
    assert f"'{formula}" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@")) or (cell.startswith("-") and cell != "-")]


def test_a_folder_that_would_be_a_pattern_is_named(tmp_path: Path) -> None:
    made = Project(tmp_path / "my {x}", small_config("http://127.0.0.1:9/v1"))
    write_votes(made.folder / "votes.jsonl", quickstart_votes())
    output = made.snakemake("-n", ok=False)
    assert "Snakemake reads braces in the path of the workflow as wildcards; move it" in output
    assert "Traceback" not in output


def test_hostile_user_ids_become_no_paths(project: Project) -> None:
    names = ["../../x", "a/b", "\U0001f680", "n" * 300, "Aa", "aA"]
    votes = []
    for i, vote in enumerate(quickstart_votes()[: 14 * 6]):
        votes.append({**vote, "user_id": names[i // 14]})
    write_votes(project.folder / "votes.jsonl", votes)
    project.config["datasets"]["people"] = {"path": "votes.jsonl", "shards": "per_user"}
    project.config |= {"learn": {}, "models": {}, "transfer": {}, "methods": ["random", "longer"]}
    project.snakemake("results/small/tables/main.csv")
    assert find(rows(project), method="longer")["n_users"] == "6"
    shards = [path.name for path in (project.run / "data" / "people" / "shards").iterdir()]
    assert len({name.casefold() for name in shards}) == 6
    assert all(len(name) < 60 for name in shards)
    assert not (project.folder.parent / "x").exists()


def test_a_user_whom_the_filter_removed_is_a_row_with_its_reason(project: Project) -> None:
    votes = quickstart_votes()
    other = [vote for vote in votes if vote["user_id"] == votes[-1]["user_id"]]
    write_votes(project.folder / "votes.jsonl", votes[:4] + other)
    project.config["datasets"]["people"] = {"path": "votes.jsonl", "shards": "per_user"}
    project.config |= {"learn": {}, "models": {}, "transfer": {}, "methods": ["longer"]}
    project.snakemake("results/small/tables/main.csv")
    reasons = [
        json.loads(line)["reason"]
        for path in (project.run / "verdicts").rglob("*.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert reasons.count("4 pairs, fewer than 5") == 1


def test_preflight_lists_all_that_is_missing_before_any_job(project: Project, server: ScriptedServer) -> None:
    project.config["models"]["big"]["api_key_env"] = "NOT_SET_A"
    project.config["models"]["tiny"] |= {"backend": "litellm", "model": "openai/x", "api_key_env": "NOT_SET_B"}
    (project.folder / "votes.jsonl").unlink()
    started = time.monotonic()
    output = project.snakemake(ok=False)
    took = time.monotonic() - started
    for wanted in ("votes.jsonl", "NOT_SET_A", "NOT_SET_B", "make quickstart", "3 thing(s) missing"):
        assert wanted in output
    assert not (project.run / "data").exists()
    assert server.count == 0
    assert took < 50  # bar: 10 s on a quiet machine
    # A dry run needs none of it.
    project.snakemake("-n")


def test_preflight_asks_only_for_what_the_target_needs(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "work")
    project.config["models"]["big"]["api_key_env"] = "NOT_SET_A"
    (project.run / "tables" / "main.csv").unlink()
    project.snakemake("results/small/tables/main.csv")


def test_a_dry_run_on_votes_without_a_user_names_what_is_wrong(project: Project) -> None:
    votes = project.folder / "votes.jsonl"
    votes.write_text(votes.read_text(encoding="utf-8").replace('"user_id"', '"annotator"'), encoding="utf-8")
    output = project.snakemake("-n", ok=False)
    assert ".path: no vote in votes.jsonl" in output
    assert "line 1, field user_id, user unknown: is missing" in output
    assert "Traceback" not in output


def test_config_problems_are_lines_with_paths_and_nothing_runs(project: Project) -> None:
    project.config["models"]["big"]["tiemout_s"] = 3
    project.config["metods"] = []
    output = project.snakemake(ok=False)
    assert "models.big.tiemout_s: unknown key; did you mean 'timeout_s'?" in output
    assert "metods: unknown key" in output
    assert "Traceback" not in output
    assert not project.run.exists()


def test_bad_votes_end_the_run_with_file_line_field_and_user(project: Project) -> None:
    votes = quickstart_votes()
    votes[2]["chosen"] = {"role": "assistant", "content": "   "}
    write_votes(project.folder / "votes.jsonl", votes)
    output = project.snakemake(ok=False)
    assert "votes.jsonl, line 3, field chosen.content" in output
    assert votes[2]["user_id"] in output
    assert not list(project.run.glob("data/people/shards/*"))


def test_endpoints_are_called_only_by_the_explicit_check(project: Project) -> None:
    with ScriptedServer(judge, api_key="right") as server:
        for model in project.config["models"].values():
            model |= {"api_base": server.url, "api_key_env": "A_KEY"}
        output = project.snakemake("--config", "check_endpoints=true", ok=False, A_KEY="canary-wrong-key")
        assert server.count == len(project.config["models"])
    assert "models.big: the endpoint did not answer" in output
    assert "models.tiny: the endpoint did not answer" in output
    assert "canary-wrong-key" not in output
    assert not (project.run / "data").exists()
