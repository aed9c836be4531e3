"""The estimate of a run beside what the run then used, on a server that counts tokens as it is asked to."""

from __future__ import annotations

import contextlib
import functools
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from support.in_process import run_stages, run_stages_by
from support.once import Finished, once
from support.projects import ANYWHERE
from support.scripted_judge import Answer, Odds, fraction, judge
from support.scripted_server import ScriptedServer

from personalrm.llm.cache.store import ResponseStore, Totals
from personalrm.llm.types import Message, ModelSpec, Request, Response, Usage
from personalrm.studies.config_load import load_config
from personalrm.studies.estimate.assumptions import Assumptions
from personalrm.studies.estimate.command import estimate
from personalrm.studies.estimate.fake_model import FakeModel
from personalrm.studies.estimate.usage import counter_of, total
from personalrm.studies.synthesizeme.simulate import read_data, simulate_run

from .conftest import Project, quickstart_votes, small_config, write_votes

REASONING = 20
"""Tokens that the scripted judge writes, on average."""


@functools.cache
def encoding() -> Any:  # noqa: ANN401
    from personalrm.llm.backends.litellm_backend import load_litellm

    load_litellm()
    from litellm.litellm_core_utils.default_encoding import encoding as bundled

    return bundled


def counted(body: dict[str, Any], taste: Odds | None = None) -> Answer:
    """The scripted judge, with its tokens counted: four for each message beside its text."""
    # Demonstrations move its verdicts, as all else does that is known of the user.
    turns = [message for message in body["messages"] if message["role"] != "system"]
    last = 2 if turns[-1]["role"] == "assistant" else 1
    known = "\n".join(str(message["content"]) for message in [body["messages"][0], *turns[:-last]])
    # A judge with a taste answers another sample of the same prompt anew, as models do.
    known += f"\nsample {body.get('seed')}" if taste else ""
    answer = judge({**body, "messages": [{"role": "system", "content": known}, *turns[-last:]]}, taste)
    prompt = sum(len(encoding().encode_ordinary(str(message["content"]))) + 4 for message in body["messages"])
    return replace(answer, tokens_in=prompt, tokens_out=len(encoding().encode_ordinary(answer.text or "")))


def asked(url: str, users: int, seed: int = 1) -> dict[str, Any]:
    """Both prompt styles, both variants, a search as large as the paper's, and all that the main table rests on."""
    config = small_config(url, draws=1, k=["all"], variants=["as_published", "corrected"], seed=seed)
    config["learn"] |= {"search": {"stop_at_score": 80}, "rebootstrap": True, "memory": {"max_tokens": 64}}
    config["learn"]["bootstrap"] = {"attempts": 3, "max_tokens": 64}
    config["methods"] = ["random", "default", "memory", "history", "demos", "persona", "both"]
    config["datasets"]["people"] |= {"max_users": users, "shards": 1}
    return config


def make(folder: Path, url: str) -> Project:
    project = Project(folder, asked(url, users=8))
    write_votes(project.folder / "votes.jsonl", quickstart_votes())
    return project


def finish(folder: Path) -> None:
    encoding()
    with ScriptedServer(counted) as server:
        project = make(folder, server.url)
        project.snakemake("results/small/data/calls.parquet")
        Finished(project, list(server.requests), "").keep()


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, Totals]]:
    """A finished run, and what it paid for by model."""
    project = Finished.read(once(tmp_path_factory, "estimated", finish)).project
    with ResponseStore(project.folder / "store" / "responses.sqlite") as store:
        return project, store.paid_totals("small")


def rows_of(config: Path, right: float) -> list[dict[str, Any]]:
    """Rows of the estimate, told how long the scripted judge writes and how often it is right."""
    assume = [f"{name}={REASONING}" for name in ("reasoning", "persona", "memory")]
    return list(json.loads(estimate(config, 2, assume=[*assume, f"right={right}"], as_json=True))["rows"])


@pytest.fixture(scope="module")
def estimated(used: tuple[Project, dict[str, Totals]]) -> list[dict[str, Any]]:
    """Rows of the estimate, told how the scripted judge writes and judges."""
    with contextlib.chdir(used[0].folder):
        return rows_of(Path("run.yaml"), right=0.5)


def close(rows: list[dict[str, Any]], paid: dict[str, Totals], within: float) -> None:
    """Whether the estimate is near what was paid, for each model."""
    by_model = {row["model"]: row for row in rows if row["stage"] == "all"}
    models = {identity.partition("@")[0]: totals for identity, totals in paid.items()}
    assert models.keys() == {"big", "tiny"}
    for model, totals in models.items():
        row = by_model[model]
        assert row["calls"] == pytest.approx(totals.calls, rel=within)
        assert row["prompt_tokens"] == pytest.approx(totals.tokens_in, rel=within)
        assert row["generated_tokens"] == pytest.approx(totals.tokens_out, rel=within)
        assert row["calls_least"] < totals.calls < row["calls_most"]


@dataclass(frozen=True)
class Said:
    """A model of a run that answers as the simulation's fake model; its tokens are counted here."""

    stand_in: FakeModel

    async def call(self, request: Request) -> Response:
        said = await self.stand_in.complete(request)
        written = 1 if said.logprobs else length_of(said.text)
        return replace(said, usage=Usage(prompt_length(request.messages), written))

    async def aclose(self) -> None:
        return None


def length_of(text: str) -> int:
    return len(encoding().encode_ordinary(text))


def prompt_length(messages: Sequence[Message]) -> int:
    return sum(length_of(message.content) + 4 for message in messages)


def test_a_run_with_the_verdicts_of_its_simulation_uses_what_was_counted_to_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it adapts: attempts, searches, personas. How verdicts fall is left out, which is luck in few users."""
    monkeypatch.chdir(tmp_path)
    write_votes(Path("votes.jsonl"), quickstart_votes())
    Path("run.yaml").write_text(json.dumps(asked("http://127.0.0.1:9/v1", users=8)), encoding="utf-8")
    config = load_config(Path("run.yaml"))
    data, counters = read_data(config), {name: counter_of(spec) for name, spec in config.specs.items()}
    assumed = Assumptions(right=0.5, reasoning=REASONING, persona=REASONING, memory=REASONING)
    tally, _ = simulate_run(config, data, counters, assumed, users=8, times=1, bound="expected")
    first, *others = data["people"]
    everybody = first.model_copy(update={"pairs": sum((user.pairs for user in others), first.pairs)})

    def saying(spec: ModelSpec) -> Said:
        # The first run of a simulation has this salt.
        stand_in = FakeModel(spec, config.models[spec.name].prompts, counters[spec.name], assumed, salt="0")
        stand_in.set_user(everybody)
        return Said(stand_in)

    run_stages_by(config, saying)
    with ResponseStore(config.store) as store:
        paid = store.paid_totals("small")
    assert paid.keys() == {f"{name}@{ANYWHERE['snapshot']}" for name in ("big", "tiny")}
    for identity, totals in paid.items():
        counted = total(work for (_, model), work in tally.items() if model == identity.partition("@")[0])
        used = (totals.calls, totals.tokens_in, totals.tokens_out)
        assert used == (counted.calls, counted.prompt, counted.generated)


def calls_of(project: Project) -> Any:  # noqa: ANN401 - a table
    """The calls that a run's rows rest on, once for each of these, with the `model` that was asked."""
    import pandas as pd

    calls = pd.read_parquet(project.run / "data" / "calls.parquet")
    stage, judge, learner = (calls[name].astype(str) for name in ("stage", "judge_model", "profile_model"))
    return calls.assign(model=judge.where(stage == "judge", learner))


def test_a_call_writes_within_a_tenth_of_what_a_run_used_and_calls_are_between_the_least_and_the_most(
    used: tuple[Project, dict[str, Totals]], estimated: list[dict[str, Any]]
) -> None:
    # How many calls eight users take, and how much the searches show in them, is luck of the judge's taste: over ten
    # tastes half as many calls or more. What is held here was so with all ten.
    calls = calls_of(used[0]).drop_duplicates("key")
    stages = {row["stage"] for row in estimated if row["stage"] in set(calls["stage"])}
    assert stages == {"bootstrap", "search", "persona", "rebootstrap", "search_persona", "memory", "judge"}
    for stage in stages:
        # A reference's stage `judge` is also what the estimate calls so.
        names = {"judge", "baseline", "transfer"} if stage == "judge" else {stage}
        for model in ("big", "tiny"):
            took = calls[(calls["stage"] == stage) & (calls["model"] == model)]
            rows = [row for row in estimated if row["stage"] in names and row["model"] == model]
            least, expected, most = (sum(row[name] for row in rows) for name in ("calls_least", "calls", "calls_most"))
            assert least <= len(took) <= most
            prompt, written = (sum(row[name] for row in rows) for name in ("prompt_tokens", "generated_tokens"))
            assert written / expected == pytest.approx(took["tokens_out"].mean(), rel=0.1)
            if stage in ("bootstrap", "rebootstrap", "memory"):
                assert prompt / expected == pytest.approx(took["tokens_in"].mean(), rel=0.05)


def made_up(users: int, seed: int) -> list[dict[str, Any]]:
    """Eight to fifteen votes of each user, on texts of any length."""
    rng = random.Random(seed)
    words = ["plain", "warm", "short", "deep", "table", "source", "joke", "step", "code", "river", "letter"]

    def text(most: int) -> str:
        return " ".join(rng.choices(words, k=rng.randrange(most // 8, most)))

    return [
        {
            "user_id": f"p{user}",
            "context": [{"role": "user", "content": f"{user}-{number} {text(40)}"}],
            "chosen": f"{user}-{number} one {text(90)}",
            "rejected": f"{user}-{number} other {text(90)}",
        }
        for user in range(users)
        for number in range(rng.randrange(8, 16))
    ]


def taste_for(votes: list[dict[str, Any]], right: float) -> Odds:
    """The odds of a judge that is right so often, as steady as the estimate assumes: by the pair, else by all shown."""
    chosen = {vote["chosen"] for vote in votes}

    def log_odds(known: str, first: str, second: str) -> float:
        pair, shown = "".join(sorted((first, second))), known + first + second
        luck = fraction(pair if fraction(f"steady {shown}") < Assumptions().steady else shown)
        size = 0.1 + fraction(f"size {shown}")
        return size if (first in chosen) == (luck < right) else -size

    return log_odds


@pytest.mark.full
@pytest.mark.parametrize(("users", "right", "seed"), [(256, 0.8, 101), (256, 0.6, 102)])
def test_many_users_of_another_taste_are_within_three_twentieths(
    users: int, right: float, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Draws that nothing was tuned on: the stages in this process, which ask what the workflow asks."""
    monkeypatch.chdir(tmp_path)
    votes = made_up(users, seed)
    write_votes(Path("votes.jsonl"), votes)
    Path("run.yaml").write_text(json.dumps(asked("http://127.0.0.1:9/v1", users, seed)), encoding="utf-8")
    config = load_config(Path("run.yaml"))
    run_stages(config, functools.partial(counted, taste=taste_for(votes, right)))
    with ResponseStore(config.store) as store:
        paid = store.paid_totals("small")
    close(rows_of(Path("run.yaml"), right), paid, 0.15)


def test_stages_that_do_not_adapt_are_counted_to_the_call(
    used: tuple[Project, dict[str, Totals]], estimated: list[dict[str, Any]]
) -> None:
    calls = calls_of(used[0])
    baseline = calls[calls["method"].str.startswith(("default", "history"))].drop_duplicates("key")
    memory = calls[calls["stage"] == "memory"].drop_duplicates("key")
    for stage, asked in (("baseline", baseline), ("memory", memory)):
        rows = [row for row in estimated if row["stage"] == stage]
        assert sum(row["calls"] for row in rows) == len(asked)
        assert sum(row["prompt_tokens"] for row in rows) == pytest.approx(asked["tokens_in"].sum(), rel=0.001)
