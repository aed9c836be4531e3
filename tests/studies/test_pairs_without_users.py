"""Pairs that name no users, in the layout of the authors' sets for reward models: which of them may be learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.models import pair

from personalrm.core.errors import ConfigError, DataError
from personalrm.core.records import PreferencePair, Turn, UserData
from personalrm.studies.config_load import parse_config
from personalrm.studies.preflight import missing
from personalrm.studies.study import Needs
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.reward_data import nameless_pairs

Turns = list[dict[str, str]]
ASKED, LATER = "Which tea goes with cake?", "And which one without any sugar?"
"""What a judged user asked: a conversation of two turns, in the test part."""


def said(*texts: str) -> Turns:
    return [{"content": text, "role": ("user", "assistant")[place % 2]} for place, text in enumerate(texts)]


def released(context: Turns, chosen: str, rejected: str) -> dict[str, Any]:
    """A row of the released set: both answers with the whole conversation, and no user."""
    sides = {name: [*context, *said("", text)[1:]] for name, text in (("chosen", chosen), ("rejected", rejected))}
    return {**sides, "chosen_score": 80, "rejected_score": 20}


FREE = [
    released(said("How do I plant a tree?"), "In spring, deep.", "Ask a gardener."),
    released(said("Why is the sky blue?", "Scattering.", "Why red at night?"), "A longer path.", "It is far."),
    released([{"content": "Be brief.", "role": "system"}, *said("Name a river.")], "The Danube.", "Water."),
]
SHOWING = [
    # The pair itself, and with the choice exchanged.
    released(said(ASKED, "Earl Grey.", LATER), "Green tea.", "Black tea."),
    released(said(ASKED, "Earl Grey.", LATER), "Black tea.", "Green tea."),
    # Another vote on the same turn, written a little otherwise, and the turn before.
    released(said("which tea goes with  CAKES"), "Mint.", "Rooibos."),
    # A later turn of the conversation, which goes on from what was chosen.
    released(said(ASKED, "Earl Grey.", LATER, "Green tea.", "Loose or in bags?"), "Loose.", "Bags."),
    # The last turn alone.
    released(said(LATER), "Oolong.", "White tea."),
    # The same answers, told from others though the question is lost.
    released(said("Question of the study, number 12"), "green tea", "Black tea!"),
]


@pytest.fixture
def judged() -> UserData:
    def voted(split: str, asked: Turns, chosen: str, rejected: str) -> PreferencePair:
        context = tuple(Turn.model_validate(turn) for turn in asked)
        return PreferencePair.model_validate(
            {**pair(split).model_dump(), "split": split, "context": context, "chosen": chosen, "rejected": rejected}
        )

    test = voted("test", said(ASKED, "Earl Grey.", LATER), "Green tea.", "Black tea.")
    # What is in another part may be learned.
    learned = voted("context", said("How do I plant a tree?"), "In spring, deep.", "Ask a gardener.")
    return UserData(dataset="d", user_id="u", pairs=(learned, test))


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def test_pairs_that_may_show_a_test_pair_are_left_out(judged: UserData, tmp_path: Path) -> None:
    equal = released(said("Say nothing."), "Nothing.", "Nothing.")
    first = write(tmp_path / "a.jsonl", [*SHOWING[:3], *FREE[:2], equal])
    second = write(tmp_path / "b.jsonl", [*FREE, *SHOWING[3:]])
    found = nameless_pairs([first, second], [judged])
    assert [one.chosen for one in found] == ["In spring, deep.", "A longer path.", "The Danube."]
    assert [turn.content for turn in found[1].context] == ["Why is the sky blue?", "Scattering.", "Why red at night?"]
    assert [turn.role for turn in found[2].context] == ["system", "user"]
    # A test that could not fail: they are left out for this user alone.
    assert len(nameless_pairs([first, second], [])) == len(FREE) + len(SHOWING)
    other = judged.model_copy(update={"pairs": judged.pairs[:1]})
    assert len(nameless_pairs([first, second], [other])) == len(FREE) + len(SHOWING)


@pytest.mark.parametrize("row", SHOWING)
def test_each_of_them_is_found_by_itself(row: dict[str, Any], judged: UserData, tmp_path: Path) -> None:
    assert nameless_pairs([write(tmp_path / "a.jsonl", [row])], [judged]) == ()


def test_parquet_as_released(judged: UserData, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    parquet.write_table(arrow.Table.from_pylist([*FREE, *SHOWING]), tmp_path / "train.parquet")
    found = nameless_pairs([tmp_path / "train.parquet"], [judged])
    assert found == nameless_pairs([write(tmp_path / "a.jsonl", FREE)], [judged])


def test_a_row_that_is_no_pair_is_named(judged: UserData, tmp_path: Path) -> None:
    broken = write(tmp_path / "a.jsonl", [FREE[0], {"chosen": said("w1", "w2")}])
    with pytest.raises(DataError, match=r"a\.jsonl, line 2, field chosen, .*no answers to one question"):
        nameless_pairs([broken], [judged])


def config_of(**entry: Any) -> Config:  # noqa: ANN401
    raw = {"run": "x", "datasets": {"d": {"path": "votes.jsonl", "shards": 2}}, "methods": ["longer"]}
    given = {"methods": ["bt"], "regime": "all-but-test", "train_on": ["rm.jsonl"], **entry}
    return parse_config({**raw, "reward_models": {"rm": given}})


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"regime": "unseen"}, "reward_models.rm.regime: the files of train_on name no users, so that 'unseen' could"),
        ({"methods": ["bt", "frozen_bt"]}, "reward_models.rm.methods: the files of train_on name no users, and teach"),
        ({"methods": ["bt_oracle"]}, "reward_models.rm.methods: the files of train_on name no users, and teach bt"),
        ({"train_on_dataset": "d"}, "reward_models.rm.train_on_dataset: train_on gives files already"),
        ({"train_on": ["{x}.jsonl"]}, "reward_models.rm.train_on: {x}.jsonl: Snakemake reads braces"),
        ({"train_on": []}, "reward_models.rm.train_on"),
        ({"train_on": "some"}, "reward_models.rm.train_on"),
    ],
)
def test_what_is_refused(entry: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config_of(**entry)
    assert any(text.startswith(line) for text in str(refused.value).splitlines()), refused.value


def test_a_run_reads_the_files_and_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("votes.jsonl"), [])
    config = config_of(train_on=["rm.jsonl", "more.jsonl"])
    line = "reward_models.rm.train_on: no file more.jsonl; put it there, or correct it"
    write(Path("rm.jsonl"), FREE)
    assert [one for one in missing(config, Needs(stages={"score"})) if "train_on" in one] == [line]
    plan = Plan(config)
    (job, *_) = plan.jobs("reward_model")
    assert plan.inputs("reward_model", **job._asdict())["unfiltered"] == ["rm.jsonl"]
    entry = config.reward_models["rm"]
    assert entry.judge_name("rm") == "rm (all-but-test, trained on pairs without users)"
    assert entry.model_dump(mode="json")["train_on"] == ["rm.jsonl", "more.jsonl"]
