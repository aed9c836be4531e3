"""The example converters, on rows of ours and on the real files beside the repository."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType

import pytest

from personalrm.core.records import UserData, read_records
from personalrm.data.prepare import prepare_dataset
from personalrm.data.settings import LocalDataset
from personalrm.data.sources.open import read_votes
from personalrm.data.sources.rows import read_rows

ROOT = Path(__file__).resolve().parents[2]


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shared(relative: str) -> Path:
    """A file of the shared data, which stay outside the repository."""
    folder = Path(os.environ.get("PERSONALRM_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / relative).is_file():
        pytest.skip(f"{relative} is not in {folder} (set PERSONALRM_SHARED_DATA)")
    return folder / relative


def said(*texts: str) -> list[dict[str, str]]:
    return [{"role": "user" if n % 2 == 0 else "assistant", "content": text} for n, text in enumerate(texts)]


def judgment(a: list[dict[str, str]], b: list[dict[str, str]], winner: str = "model_b") -> dict[str, object]:
    return {
        "user_id": "expert_1", "judgment_id": "j1", "question_id": 81, "turn": len(a) // 2,
        "conversation_a": a, "conversation_b": b, "winner": winner, "category": "writing",
    }  # fmt: skip


def test_first_turn_votes_compare_the_first_answers() -> None:
    made = example("convert_mtbench").convert_row(judgment(said("q1", "a1"), said("q1", "b1")))
    assert made == {
        "user_id": "expert_1", "pair_id": "j1", "conversation_id": "81", "turn": 1, "context": said("q1"),
        "response_a": "a1", "response_b": "b1", "winner": "b",
    }  # fmt: skip


def test_second_turn_votes_show_all_that_differs() -> None:
    made = example("convert_mtbench").convert_row(
        judgment(said("q1", "a1", "q2", "a2"), said("q1", "b1", "q2", "b2"), "tie")
    )
    assert made["context"] == said("q1")
    assert made["response_a"] == "[assistant]: a1\n\n[user]: q2\n\n[assistant]: a2"
    assert made["response_b"] == "[assistant]: b1\n\n[user]: q2\n\n[assistant]: b2"
    assert made["winner"] == "tie"


def test_equal_first_answers_belong_to_the_context() -> None:
    convert_row = example("convert_mtbench").convert_row
    made = convert_row(judgment(said("q1", "s", "q2", "a2"), said("q1", "s", "q2", "b2")))
    assert made["context"] == said("q1", "s", "q2")
    assert (made["response_a"], made["response_b"]) == ("a2", "b2")
    same = convert_row(judgment(said("q1", "s", "q2", "s2"), said("q1", "s", "q2", "s2")))
    assert (same["response_a"], same["response_b"]) == ("s2", "s2")


def test_a_judged_answer_without_text_is_left_out() -> None:
    convert_row = example("convert_mtbench").convert_row
    assert convert_row(judgment(said("q1", "a1", "q2", " "), said("q1", "b1", "q2", "b2"))) is None
    assert convert_row(judgment(said("q1", ""), said("q1", "b1"))) is None
    assert convert_row(judgment(said("q1", "", "q2", "a2"), said("q1", "b1", "q2", "b2"))) is not None


def test_prism_slice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = shared("prism_slice/pairs.jsonl.gz")
    assert example("convert_prism_slice").main([str(source), str(tmp_path / "votes.jsonl")]) == 0
    assert capsys.readouterr().out.startswith("156 votes of 6 participants: {'user0': 5, 'user2': 33,")
    rows = list(read_rows(source))
    votes = list(read_votes(tmp_path / "votes.jsonl"))
    for raw, vote in zip(rows, votes, strict=True):
        # Raw text unaltered, survey kept.
        assert [{"role": role, "content": text} for role, text in vote.context] == raw["context"]
        assert (vote.chosen, vote.rejected, vote.survey) == (raw["chosen"], raw["rejected"], raw["survey"])
    settings = LocalDataset(name="prism_slice", path=tmp_path / "votes.jsonl", shards=1)
    funnel = prepare_dataset(settings, tmp_path / "out")
    users = list(read_records(tmp_path / "out" / "s00.jsonl", UserData))
    assert {user.user_id: len(user.pairs) for user in users} == {
        "user0": 5, "user2": 33, "user3": 29, "user4": 25, "user5": 25, "user9": 39,
    }  # fmt: skip
    assert all(
        "gender" in user.survey and all(user.part(s) for s in ("context", "validation", "test")) for user in users
    )
    # user0 has one conversation only, and so is split by turns.
    assert funnel.split_grain == {"conversation": 5, "turn": 1}


def test_mtbench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = shared("mtbench_judges/judgments.jsonl.gz")
    assert example("convert_mtbench").main([str(source), str(tmp_path / "votes.jsonl")]) == 0
    assert capsys.readouterr().out.startswith("1033 votes of 37 judges, 3 left out (no text)")
    settings = LocalDataset(name="mtbench", path=tmp_path / "votes.jsonl", shards=2)
    funnel = prepare_dataset(settings, tmp_path / "out")
    assert (funnel.users_written, funnel.users_excluded, funnel.dropped["tie"]) == (35, 2, 245)
    users = [u for n in (0, 1) for u in read_records(tmp_path / "out" / f"s0{n}.jsonl", UserData)]
    for user in users:
        parts: dict[str | None, set[str | None]] = {}
        for pair in user.pairs:
            parts.setdefault(pair.conversation_id, set()).add(pair.split)
        assert all(len(found) == 1 for found in parts.values())
    assert json.loads((tmp_path / "out" / "funnel.json").read_text(encoding="utf-8"))["split_grain"] == {
        "conversation": 35
    }


def test_mtbench_turns_can_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = shared("mtbench_judges/judgments.jsonl.gz")
    counts = []
    for turns in ("1", "2"):
        example("convert_mtbench").main([str(source), str(tmp_path / "v.jsonl"), "--turns", turns])
        counts.append(sum(1 for _ in read_votes(tmp_path / "v.jsonl")))
    capsys.readouterr()
    assert sum(counts) == 1033
    assert min(counts) > 500
