"""The estimate of a run beside what the run then used, on a server that counts tokens as it is asked to."""

from __future__ import annotations

import contextlib
import functools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.scripted_judge import Answer, judge
from support.scripted_server import ScriptedServer

from personalrm.llm.store import ResponseStore, Totals
from personalrm.stages.estimate import estimate

from .conftest import Project, quickstart_votes, small_config, write_votes

REASONING = 20
"""Tokens that the scripted judge writes, on average."""


@functools.cache
def encoding() -> Any:  # noqa: ANN401
    from personalrm.llm.litellm_backend import load_litellm

    load_litellm()
    from litellm.litellm_core_utils.default_encoding import encoding as bundled

    return bundled


def counted(body: dict[str, Any]) -> Answer:
    """The scripted judge, with its tokens counted: four for each message beside its text."""
    # Demonstrations move its verdicts, as all else does that is known of the user.
    turns = [message for message in body["messages"] if message["role"] != "system"]
    last = 2 if turns[-1]["role"] == "assistant" else 1
    known = "\n".join(str(message["content"]) for message in [body["messages"][0], *turns[:-last]])
    answer = judge({**body, "messages": [{"role": "system", "content": known}, *turns[-last:]]})
    prompt = sum(len(encoding().encode_ordinary(str(message["content"]))) + 4 for message in body["messages"])
    return replace(answer, tokens_in=prompt, tokens_out=len(encoding().encode_ordinary(answer.text or "")))


def make(folder: Path, url: str) -> Project:
    """Both prompt styles, both variants, a search as large as the paper's, and all that the main table rests on."""
    config = small_config(url, draws=1, k=["all"], variants=["as_published", "corrected"])
    config["learn"] |= {"search": {"stop_at_score": 80}, "rebootstrap": True, "memory": {"max_tokens": 64}}
    config["learn"]["bootstrap"] = {"attempts": 3, "max_tokens": 64}
    config["methods"] = ["random", "default", "memory", "history", "demos", "persona", "both"]
    config["datasets"]["people"] |= {"max_users": 8, "shards": 1}
    project = Project(folder, config)
    write_votes(project.folder / "votes.jsonl", quickstart_votes())
    return project


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, Totals]]:
    """A finished run, and what it paid for by model."""
    encoding()
    with ScriptedServer(counted) as server:
        project = make(tmp_path_factory.mktemp("used") / "work", server.url)
        project.snakemake("results/small/tables/main.csv")
    with ResponseStore(project.folder / "store" / "responses.sqlite") as store:
        return project, store.paid_totals("small")


@pytest.fixture(scope="module")
def estimated(used: tuple[Project, dict[str, Totals]]) -> list[dict[str, Any]]:
    """Rows of the estimate, told how the scripted judge writes and judges."""
    assume = [f"{name}={REASONING}" for name in ("reasoning", "persona", "memory")]
    with contextlib.chdir(used[0].folder):
        made = json.loads(estimate(Path("run.yaml"), 2, assume=[*assume, "right=0.5"], as_json=True))
    return list(made["rows"])


def test_calls_and_tokens_are_within_a_tenth_of_what_a_run_used(
    used: tuple[Project, dict[str, Totals]], estimated: list[dict[str, Any]]
) -> None:
    rows = {row["model"]: row for row in estimated if row["stage"] == "all"}
    assert used[1].keys() == {"big@", "tiny@"}
    for identity, totals in used[1].items():
        row = rows[identity.removesuffix("@")]
        assert row["calls"] == pytest.approx(totals.calls, rel=0.1)
        assert row["prompt_tokens"] == pytest.approx(totals.tokens_in, rel=0.1)
        assert row["generated_tokens"] == pytest.approx(totals.tokens_out, rel=0.1)
        assert row["calls_least"] < totals.calls < row["calls_most"]


def test_stages_that_do_not_adapt_are_counted_to_the_call(
    used: tuple[Project, dict[str, Totals]], estimated: list[dict[str, Any]]
) -> None:
    import pandas as pd

    calls = pd.read_parquet(used[0].run / "data" / "calls.parquet")
    baseline = calls[calls["method"].str.startswith(("default", "history"))].drop_duplicates("key")
    memory = calls[calls["stage"] == "memory"].drop_duplicates("key")
    for stage, asked in (("baseline", baseline), ("memory", memory)):
        rows = [row for row in estimated if row["stage"] == stage]
        assert sum(row["calls"] for row in rows) == len(asked)
        assert sum(row["prompt_tokens"] for row in rows) == pytest.approx(asked["tokens_in"].sum(), rel=0.001)
