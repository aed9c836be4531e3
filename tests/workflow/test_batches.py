"""A run whose stages that do not adapt send batches: the same results, at half the price, and no request twice."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.batch_server import BatchServer
from support.batches import records

from personalrm.llm.cache.store import ResponseStore

from .conftest import Project, quickstart_votes, small_config, write_votes

TABLE = "results/small/tables/main.csv"
QUICK = {"gather_s": 0.5, "poll_s": 0.05, "max_poll_s": 0.2, "settle_s": 0.5}


def make(folder: Path, url: str, batch: dict[str, Any] | None) -> Project:
    """Filters, baselines, Memory, History and transfer, for two users and one learner."""
    config = small_config(url, draws=1, k=[2], methods=["default", "history", "memory", "persona", "criteria"])
    config["datasets"]["people"] |= {
        "max_users": 2,
        "max_pairs": 8,
        "filters": {
            "apply": False,
            "sample": 2,
            "personalizable": {"model": "big"},
            "disagreement": {"models": ["big"]},
        },
    }
    config["learn"]["models"] = ["tiny"]
    config["transfer"] = {"pairs": [["tiny", "big"]], "methods": ["memory", "persona", "criteria"]}
    for model in config["models"].values():
        model |= {"price_in": 1.0, "price_out": 2.0, **({"batch": batch} if batch else {})}
    project = Project(folder, config)
    write_votes(project.folder / "votes.jsonl", quickstart_votes())
    return project


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    with BatchServer() as server:
        project = make(tmp_path_factory.mktemp("plain") / "work", server.url, None)
        project.snakemake(TABLE)
        assert server.batches == {}
        return project.tables()


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_kill_9_while_batches_run_then_the_same_command_again(tmp_path: Path, plain: dict[str, bytes]) -> None:
    with BatchServer(held=True) as server:
        project = make(tmp_path / "work", server.url, QUICK)
        process = project.start(TABLE)
        wait_for(lambda: any(batch.looks for batch in server.batches.values()))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        server.held = False
        project.snakemake(TABLE, "results/small/manifest.json")
        assert {name: text for name, text in project.tables().items() if name in plain} == plain
        assert set(server.submitted.values()) == {1}
        # One batch a job and round: rate, panel, baselines of both, Memory, both judge jobs, and the second round of
        # the criteria, which only the transfer's judge can be asked for.
        assert Counter(batch.lines[0]["body"]["model"] for batch in server.batches.values()) == {"big": 5, "tiny": 3}
        # What adapts is asked call by call, and only the learner adapts.
        assert {body["model"] for body in server.requests} == {"tiny"}
        assert not {str(body) for body in server.requests} & {str(body) for body in server.bodies}
        with ResponseStore(next((project.folder / "store").glob("*.sqlite"))) as store:
            assert records(store) == []
        paid_by = json.loads((project.run / "manifest.json").read_text(encoding="utf-8"))["paid"]
        (paid,) = (sums for identity, sums in paid_by.items() if identity.startswith("big@"))
        list_price = (1.0 * paid["tokens_in"] + 2.0 * paid["tokens_out"]) / 1e6
        assert paid["cost_usd"] == pytest.approx(0.5 * list_price)
