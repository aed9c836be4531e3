"""MT-bench-like votes: invented rows in the release's columns, with votes computed by hand; and the shared file."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.mtbench_rows import Row, entry, jsonl, judgment, parquet, read, said, without

from personalrm.core.errors import DataError
from personalrm.core.records import UserData, read_records
from personalrm.data.hub import fetch_files
from personalrm.data.prepare import prepare_dataset
from personalrm.data.settings import MtBenchDataset
from personalrm.data.sources.open import read_source, read_votes
from personalrm.data.sources.reading import ReadReport
from personalrm.data.sources.votes import Vote
from personalrm.studies.synthesizeme.config import Config

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("PERSONALRM_SHARED_DATA", ROOT.parent / "shared" / "data"))


def test_a_vote_on_the_first_turn_is_about_the_first_answers(tmp_path: Path) -> None:
    parquet(tmp_path / "human-00000-of-00001-0a1b.parquet", [judgment(winner="model_b")])
    vote = read(tmp_path)[0]
    assert vote.pair_id is not None
    assert len(vote.pair_id) == 16
    assert replace(vote, pair_id=None) == Vote(
        user_id="expert_1",
        context=(("user", "Name a tree."),),
        chosen="Rowan.",
        rejected="Larch.",
        conversation_id="81",
        turn=1,
        line=1,
    )


def test_a_vote_on_the_second_turn_is_about_all_that_differs(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", [judgment(turn=2)])
    vote = read(tmp_path)[0]
    assert (vote.context, vote.turn) == ((("user", "Name a tree."),), 2)
    assert vote.chosen == "[assistant]: Larch.\n\n[user]: Why that?\n\n[assistant]: It is soft."
    assert vote.rejected == "[assistant]: Rowan.\n\n[user]: Why that?\n\n[assistant]: It is red."


def test_equal_first_answers_are_context(tmp_path: Path) -> None:
    other = said("Name a tree.", "Larch.", "Why that?", "It is tall.")
    parquet(tmp_path / "a.parquet", [judgment(turn=2, conversation_b=other)])
    vote = read(tmp_path)[0]
    assert vote.context == (("user", "Name a tree."), ("assistant", "Larch."), ("user", "Why that?"))
    assert (vote.chosen, vote.rejected) == ("It is soft.", "It is tall.")


@pytest.mark.parametrize("turn", [1, 2])
def test_a_release_that_is_cut_already_gives_the_same_votes(tmp_path: Path, turn: int) -> None:
    whole = judgment(turn=turn)
    cut = judgment(turn=turn)
    for name in ("conversation_a", "conversation_b"):
        cut[name] = judgment()[name][: 2 * turn]  # type: ignore[index]
    assert read(jsonl(tmp_path / "whole.jsonl", [whole])) == read(jsonl(tmp_path / "cut.jsonl", [cut]))


@pytest.mark.parametrize("winner", ["tie", "tie (inconsistent)"])
def test_ties_are_votes(tmp_path: Path, winner: str) -> None:
    vote = read(jsonl(tmp_path / "a.jsonl", [judgment(winner=winner)]))[0]
    assert (vote.tie, vote.chosen, vote.rejected) == (True, "Larch.", "Rowan.")


@pytest.mark.parametrize(
    ("changes", "user"),
    [
        ({"judge": "author_2"}, "author_2"),
        ({"judge": ["gpt-4", "pair-v2"]}, "gpt-4"),
        ({"judge": "ignored", "user_id": "ann"}, "ann"),
        ({"judge": "author_2", "user_id": None}, "author_2"),
        ({"user_id": 17}, "17"),
    ],
)
def test_who_the_user_is(tmp_path: Path, changes: Row, user: str) -> None:
    assert read(jsonl(tmp_path / "a.jsonl", [judgment(**changes)]))[0].user_id == user


def test_user_id_may_stand_alone_and_judgment_id_needs_no_models(tmp_path: Path) -> None:
    row = without(judgment(user_id="ann", judgment_id="j1"), "judge", "model_a", "model_b")
    vote = read(jsonl(tmp_path / "a.jsonl", [row]))[0]
    assert (vote.user_id, vote.pair_id) == ("ann", "j1")


def test_model_judges_are_said(tmp_path: Path) -> None:
    rows = [judgment(), judgment(judge=["gpt-4", "pair-v2"]), judgment(judge="gpt4_pair", winner="tie (inconsistent)")]
    report = ReadReport()
    assert len(read(jsonl(tmp_path / "a.jsonl", rows), report)) == 3
    assert len(report.notes) == 1
    assert report.notes[0].endswith("2 judges: gpt-4, gpt4_pair.")
    people = ReadReport()
    read(jsonl(tmp_path / "a.jsonl", rows[:1]), people)
    assert people.notes == []


DIFFERENT: list[Row] = [
    {},
    {"judge": "expert_2"},
    {"question_id": 82},
    {"turn": 2},
    {"model_a": "yew-1b"},
    {"model_b": "yew-1b"},
    # The same judge again, who now says otherwise: a contradiction is kept, and so needs an id of its own.
    {"winner": "model_b"},
    {"winner": "tie"},
    {"conversation_a": said("Name a tree.", "Yew.")},
]


def test_made_up_ids_tell_all_votes_apart_in_any_sequence(tmp_path: Path) -> None:
    rows = [judgment(**changes) for changes in DIFFERENT]
    ids = [vote.pair_id for vote in read(jsonl(tmp_path / "a.jsonl", rows))]
    assert len(set(ids)) == len(rows)
    assert [vote.pair_id for vote in read(jsonl(tmp_path / "b.jsonl", rows[::-1]))] == ids[::-1]
    # The part that was not judged is no part of the vote.
    later = judgment(conversation_a=said("Name a tree.", "Larch.", "Where?", "Here."))
    assert [vote.pair_id for vote in read(jsonl(tmp_path / "c.jsonl", [later]))] == ids[:1]


def test_a_folder_or_one_file(tmp_path: Path) -> None:
    rows = [judgment(question_id=n) for n in (1, 2, 3)]
    folder = tmp_path / "raw"
    file = parquet(folder / "deep/c.parquet", rows[:1])
    jsonl(folder / "a.jsonl", rows[1:2])
    jsonl(folder / "b.jsonl.gz", rows[2:])
    (folder / "notes.txt").write_text("no votes")
    assert [vote.conversation_id for vote in read(folder)] == ["2", "3", "1"]
    assert [vote.conversation_id for vote in read(file)] == ["1"]
    assert entry(tmp_path / "absent.jsonl.gz").source_files() == [tmp_path / "absent.jsonl.gz"]
    assert entry(tmp_path / "absent").source_files() == []
    with pytest.raises(DataError, match=r"no file of the release.*correct datasets\.mtbench\.path"):
        read(tmp_path / "absent")


def test_files_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files put there by hand need no network; the one that is not listed is not read."""
    monkeypatch.chdir(tmp_path)
    hub = {"repo": "someone/votes", "revision": "abc", "files": ["data/human.parquet"]}
    made = entry(Path("x")).model_copy(update={"path": None})
    wanted = MtBenchDataset.model_validate(made.model_dump() | {"hub": hub, "filters": None})
    assert wanted.hub is not None
    parquet(wanted.hub.folder / "data/human.parquet", [judgment()])
    parquet(wanted.hub.folder / "data/gpt4_pair.parquet", [judgment(judge="gpt4_pair")])
    fetch_files("mtbench", wanted.hub, lambda line: None)
    assert [vote.user_id for vote in read_source(wanted, ReadReport())] == ["expert_1"]
    parquet(wanted.hub.folder / "data/human.parquet", [judgment(winner="tie")])
    with pytest.raises(DataError, match="was changed"):
        list(read_source(wanted, ReadReport()))


def test_the_config_knows_the_source() -> None:
    schema = json.dumps(Config.model_json_schema())
    assert '"const": "mtbench"' in schema
    assert schema.count("MtBenchDataset") > 1


TEXT = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(["a\r\nb", "\r", " x ", "😀\u200d", "\x00"])
SPOKEN = TEXT.filter(lambda text: bool(text.strip()))


@settings(max_examples=30, deadline=None)
@given(SPOKEN, SPOKEN, SPOKEN, st.booleans())
def test_texts_are_never_altered(question: str, first: str, second: str, as_parquet: bool) -> None:
    a, b = (said(question, answer, "then?", "so.") for answer in (first, second))
    row = judgment(conversation_a=a, conversation_b=b)
    with tempfile.TemporaryDirectory() as name:
        write, file = (parquet, "a.parquet") if as_parquet else (jsonl, "a.jsonl")
        vote = read(write(Path(name) / file, [row]))[0]
    assert (vote.context, vote.chosen, vote.rejected) == ((("user", question),), first, second)


@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False))
def test_no_question_straddles_a_split_and_the_sequence_changes_nothing(chance: random.Random) -> None:
    rows = [
        judgment(question_id=question, turn=turn, judge=f"j{question % 2}", model_a=f"m{turn}")
        | {
            name: said(f"q{question}", f"{name}{question}", "and?", "x")
            for name in ("conversation_a", "conversation_b")
        }
        for question in range(16)
        for turn in (1, 2)
    ]
    results = []
    for order in (rows, chance.sample(rows, len(rows))):
        with tempfile.TemporaryDirectory() as name:
            jsonl(Path(name) / "a.jsonl", order)
            prepare_dataset(entry(Path(name) / "a.jsonl", shards=1), Path(name) / "out")
            results.append(list(read_records(Path(name) / "out" / "s00.jsonl", UserData)))
    assert results[0] == results[1]
    assert [len(user.pairs) for user in results[0]] == [16, 16]
    for user in results[0]:
        assert len({(pair.conversation_id, pair.split) for pair in user.pairs}) == 8


def test_the_shared_votes_are_those_of_the_converter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = SHARED / "mtbench_judges" / "judgments.jsonl.gz"
    if not source.is_file():
        pytest.skip(f"{source.name} is not here: set PERSONALRM_SHARED_DATA to a folder that has it")
    spec = importlib.util.spec_from_file_location("convert_mtbench", ROOT / "examples" / "convert_mtbench.py")
    assert spec is not None
    assert spec.loader is not None
    converter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(converter)
    assert converter.main([str(source), str(tmp_path / "votes.jsonl")]) == 0
    assert capsys.readouterr().out.startswith("1033 votes of 37 judges, 3 left out (no text)")
    report = ReadReport()
    ours = [replace(vote, line=0) for vote in read(source, report)]
    # Ids included: the file has judgment ids. Only line numbers differ, the converter having left three rows out.
    assert ours == [replace(vote, line=0) for vote in read_votes(tmp_path / "votes.jsonl")]
    assert (report.dropped, len(report.users), report.notes) == ({"empty_answer": 3}, 37, [])
