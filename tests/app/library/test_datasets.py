"""Data sets: from a vote file, the processed sets, raw releases and the hub, to each user's preferences."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from support.hub_server import COMMIT, HubRepo, HubServer
from support.raw_prism import generate_raw_prism
from support.scripted_server import ScriptedServer

from personalrm.core.errors import ConfigError, DataError
from personalrm.datasets import ChatbotArenaDataset, LocalDataset, PrismDataset

from .conftest import Item, item, judge_of, prefers_good

ROOT = Path(__file__).parents[3]
VOTES = ROOT / "resources" / "quickstart" / "votes.jsonl"
SPLITS = ["train", "train", "train", "val", "test", "test"]


def rows(user: str) -> list[Item]:
    """A user's rows in the columns of the authors' sets."""
    return [
        item(number, user_id=user, conversation_id=f"{user}-{number}", split=split, turns=0, type="unguided")
        | {"context": [{"role": "user", "content": f"question {number} of {user}?"}]}
        for number, split in enumerate(SPLITS)
    ]


def parquet(users: list[str]) -> bytes:
    stream = io.BytesIO()
    pd.DataFrame([row for user in users for row in rows(user)]).to_parquet(stream)
    return stream.getvalue()


def processed(people: int) -> dict[str, bytes]:
    """Files of a processed set: a tenth of the users in train and in validation each."""
    names = [f"user{number:03d}" for number in range(people)]
    tenth = people // 10
    parts = {"train": names[:tenth], "validation": names[tenth : 2 * tenth], "test": names[2 * tenth :]}
    return {f"data/{part}-00000-of-00001.parquet": parquet(users) for part, users in parts.items()}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub, and an empty working folder."""
    for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.chdir(tmp_path)
    with HubServer() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def test_a_vote_file() -> None:
    dataset = LocalDataset(VOTES)
    assert dataset.get_user_ids() == sorted(dataset.get_user_ids())
    assert len(dataset.get_user_ids()) == 8
    train, val, test = dataset.get_user_data("amara")
    assert (len(train), len(val), len(test)) == (7, 3, 4)
    assert set(train[0]) >= {"context", "chosen", "rejected", "user_id", "conversation_id"}
    assert dataset.get_all_user_data()["amara"].val == val
    frame = dataset.get_dataframe()
    assert (len(frame), set(frame["split"])) == (112, {"train", "val", "test"})
    with pytest.raises(DataError, match="no user 'nobody'"):
        dataset.get_user_data("nobody")
    with pytest.raises(DataError, match="no user in part 'train'"):
        dataset.get_user_ids("train")


def test_options_are_those_of_the_config(tmp_path: Path) -> None:
    assert LocalDataset(VOTES, users=["chen"]).get_user_ids() == ["chen"]
    with pytest.raises(ConfigError, match=r"^min_pear: "):
        LocalDataset(VOTES, min_pear=3)
    with pytest.raises(ConfigError, match=r"^path: "):
        PrismDataset(tmp_path, repo="a/b")
    with pytest.raises(ConfigError, match=r"^repo: "):
        PrismDataset(repo="no repository")
    with pytest.raises(DataError, match="no user has 99 pairs"):
        LocalDataset(VOTES, min_pairs=99).get_user_ids()


def test_a_folder_of_the_processed_set_has_its_own_splits(tmp_path: Path) -> None:
    for name, content in processed(20).items():
        (tmp_path / Path(name).name).write_bytes(content)
    dataset = PrismDataset(tmp_path)
    assert dataset.get_user_ids("validation") == ["user002", "user003"]
    assert [len(part) for part in dataset.get_user_data("user007")] == [3, 1, 2]
    assert dataset.get_user_data("user007").val[0]["context"][0]["content"] == "question 3 of user007?"


def test_a_folder_of_the_raw_release_is_split_by_us(tmp_path: Path) -> None:
    generate_raw_prism(tmp_path, conversations=60)
    dataset = PrismDataset(tmp_path, min_rating_gap=5)
    train, val, test = dataset.get_user_data(dataset.get_user_ids()[0])
    assert len(train) >= len(val) >= 1
    assert test
    assert {"type", "timestamp"} <= set(train[0])


@pytest.mark.parametrize(
    ("kind", "repo"),
    [
        (PrismDataset, "MichaelR207/prism_personalized_0125"),
        (ChatbotArenaDataset, "MichaelR207/chatbot_arena_personalized_0125"),
    ],
)
def test_without_arguments_the_authors_set_is_fetched_once(
    kind: type[PrismDataset], repo: str, hub: HubServer, tmp_path: Path
) -> None:
    hub.repos[repo] = HubRepo(processed(10))
    kept = kind(cache_dir=tmp_path / "kept")
    assert len(kept.get_user_ids()) == 10
    assert (tmp_path / "kept" / "data" / "hub" / repo.replace("/", "--") / "main" / "checksums.json").is_file()
    asked = len(hub.asked)
    assert kind(cache_dir=tmp_path / "kept").get_user_ids("train") == ["user000"]
    assert len(hub.asked) == asked


def test_the_raw_repository_is_known_as_raw(hub: HubServer, tmp_path: Path) -> None:
    generate_raw_prism(tmp_path / "raw", conversations=40)
    files = {name: (tmp_path / "raw" / name).read_bytes() for name in ("conversations.jsonl", "survey.jsonl")}
    hub.repos["HannahRoseKirk/prism-alignment"] = HubRepo(files)
    assert PrismDataset(repo="HannahRoseKirk/prism-alignment", revision=COMMIT).get_user_ids()
    with pytest.raises(DataError):
        PrismDataset(repo="nobody/nothing").get_user_ids()


def test_what_a_data_set_gives_can_be_fitted(server: ScriptedServer) -> None:
    with ScriptedServer() as running:
        train, val, test = LocalDataset(VOTES).get_user_data("chen")
        rm = judge_of(running).fit(train + val)
        assert rm.user_id == "chen"
        assert len(rm.evaluate(test).verdicts) == 2 * len(test)


EXAMPLE = """
from personalrm import SynthesizeMe
from personalrm.datasets import PrismDataset

prism = PrismDataset()
train, val, test = prism.get_user_data(prism.get_user_ids()[67])
rm = SynthesizeMe(model_id='openai/gpt-4o-mini-2024-07-18')
rm.fit(train + val)
print(rm.get_persona())
context = [{"role": "user", "content": "Where shall we go on Sunday?"}]
option1 = {"role": "assistant", "content": "GOOD: to the lake."}
option2 = {"role": "assistant", "content": "BAD: to the office."}
print(rm.predict_pairwise(context, option1, option2))
evaluation_results = rm.evaluate(test)
print(evaluation_results["mean"], evaluation_results)
"""
TOGETHER = """
import os
from personalrm import DefaultJudge

judge = DefaultJudge('together/meta/m', model_url=os.environ['OPENAI_BASE_URL'])
print(judge.predict_pairwise(context, "BAD", option1))
"""


def test_the_published_readmes_steps_with_only_the_imports_changed(hub: HubServer, tmp_path: Path) -> None:
    """In a process of its own: its `.env` is read, LiteLLM is imported, and each key found."""
    hub.repos["MichaelR207/prism_personalized_0125"] = HubRepo(processed(70))
    with ScriptedServer(prefers_good, api_key="sk-from-dotenv") as server:
        keys = 'OPENAI_API_KEY="sk-from-dotenv"\nTOGETHERAI_API_KEY="sk-from-dotenv"\n'
        (tmp_path / ".env").write_text(f'{keys}OPENAI_BASE_URL="{server.url}"\n')
        own = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "TOGETHER"))}
        done = subprocess.run(
            [sys.executable, "-c", EXAMPLE + TOGETHER],
            cwd=tmp_path,
            env={**own, "PYTHONPATH": str(ROOT / "workflow"), "HF_HOME": str(tmp_path / "hf")},
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
        assert {body["model"] for body in server.requests} == {"gpt-4o-mini-2024-07-18", "meta/m"}
    assert done.stdout == "Likes what is good.\n1\n1.0 1.000 [0.214, 1.000] (4 correct)\n-1\n"


def test_the_example_runs(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        done = subprocess.run(
            [sys.executable, str(ROOT / "examples" / "library.py"), "--model", "m", "--url", server.url, "--quick"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT / "workflow")},
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
    assert done.returncode == 0, done.stderr
    assert "amara: 7 pairs to learn from" in done.stdout
    assert "Accuracy without any profile:" in done.stdout


def test_imports_are_cheap_and_hugging_faces_datasets_stays_itself() -> None:
    code = """
import sys, time, json
start = time.perf_counter()
import personalrm
took = time.perf_counter() - start
heavy = {"litellm", "pandas", "torch", "datasets", "scipy", "matplotlib", "dspy"}
first = sorted(heavy & set(sys.modules))
from personalrm import SynthesizeMe, DefaultJudge
assert len(personalrm.datasets.bundled().get_user_ids()) == 8
second = sorted(heavy & set(sys.modules))
import importlib.util
found = importlib.util.find_spec("datasets").origin
try:
    personalrm.nothing
except AttributeError as error:
    said = str(error)
print(json.dumps([took, first, second, found, said, sorted(set(personalrm.__all__) - set(dir(personalrm)))]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    took, first, second, found, said, hidden = json.loads(done.stdout)
    assert took < 0.5
    assert first == second == hidden == []
    assert not Path(found).is_relative_to(ROOT / "workflow")
    assert "nothing" in said
