"""Preference sets with personas added, and personas of users on the same pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from support.persona_judge import answer, pair
from support.scripted_server import ScriptedServer

from personalrm.app.cli import main
from personalrm.core.errors import ConfigError, DataError
from personalrm.core.records import PreferencePair, Turn, UserData
from personalrm.data.export import export_processed
from personalrm.data.pair_sets import PairSet, read_pairs
from personalrm.studies.config_load import parse_config
from personalrm.studies.preflight import missing
from personalrm.studies.study import Needs
from personalrm.studies.tailoring.export import export_personas
from studies.tailoring.cases import raw, run, table


def test_a_set_with_personas_can_be_loaded_and_is_a_data_set_again(tmp_path: Path) -> None:
    rows = [pair(0) | {"split": "dev", "user_id": "u"}, pair(1) | {"split": "test"}]
    with ScriptedServer(answer) as server:
        plan = run(tmp_path, rows, server.url)
    assert main(["export", plan.run, "d", str(tmp_path / "out"), "--personas", "m", "--licence", "MIT"]) == 0
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert list(loaded["dev"]["chosen_persona_gold"]) == ["The user wants the better answer 0,"]
    assert list(loaded["dev"]["rejected_persona_gold"]) == ["The user wants the worse answer 0,"]
    again = read_pairs(PairSet(name="d", path=tmp_path / "out"))
    assert [(one.pair_id, one.user_id, one.prompt) for one in again] == [
        ("dev-p0", "u", "Question 0 ?"),
        ("test-p1", None, "Question 1 ?"),
    ]
    assert main(["export", plan.run, "d", str(tmp_path / "other"), "--personas", "x"]) == 1
    assert main(["export", plan.run, "d", str(tmp_path / "other")]) == 2


def test_files_of_another_number_of_shards_are_in_no_export(tmp_path: Path) -> None:
    rows = [pair(number) for number in range(4)]
    with ScriptedServer(answer) as server:
        run(tmp_path, rows, server.url)
        entry = raw(tmp_path, server.url)["datasets"]["d"] | {"shards": 1}
        changed = [row | {"chosen": f"a better answer {row['id']},"} for row in rows]
        plan = run(tmp_path, changed, server.url, datasets={"d": entry})
    assert export_personas(Path(plan.run), "d", tmp_path / "out", "m") == {"pairs": 4}
    again = read_pairs(PairSet(name="d", path=tmp_path / "out"))
    assert [pair.gold["chosen"] for pair in again] == [f"The user wants a better answer p{n}," for n in range(4)]


def users() -> list[UserData]:
    """Two users with one test pair each, as a benchmark has them."""
    found = []
    for number, name in enumerate(("ann", "bob")):
        row = pair(number)
        turns = (Turn(role="user", content=row["prompt"]),)
        texts = {"context": turns, "chosen": row["chosen"], "rejected": row["rejected"]}
        one = PreferencePair(user_id=name, pair_id=f"{name}-1", split="test", **texts)
        found.append(UserData(dataset="people", user_id=name, pairs=(one,)))
    return found


def given(folder: Path, *rows: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    (folder / "s00.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_personas_of_users_are_judged_on_their_pairs_beside_those_of_the_pairs(tmp_path: Path) -> None:
    export_processed(users(), tmp_path / "benchmark")
    row = {"user_id": "ann", "draw": 0, "k": "all", "persona": "wants the better answer 0,"}
    few, other = (row | {"k": 3, "persona": "not this one"}), (row | {"draw": 1, "persona": "x"})
    profiles = given(tmp_path / "profiles", few, row, few, other)
    with ScriptedServer(answer) as server:
        plan = run(
            tmp_path,
            [],
            server.url,
            datasets={"d": {"path": str(tmp_path / "benchmark"), "splits": ["test"]}},
            infer={"models": ["m"], "given": {"learned": str(profiles)}},
        )
    rows = table(plan, "persona_accuracy").set_index(["model", "side"])
    assert rows.loc[("m", "all"), "n_verdicts"] == 8
    # Of two users, one has a persona, which says nothing of the rejected response.
    assert rows.loc[("learned", "chosen"), ["n_verdicts", "no_persona", "accuracy"]].tolist() == [2, 1, 100.0]
    assert rows.loc[("learned", "rejected"), "n_verdicts"] == 0
    text = (Path(plan.run) / "tables" / "persona_accuracy.md").read_text(encoding="utf-8")
    assert "learned: personas of users, meant to be learned from other pairs of theirs" in text
    # Preferences compare the two personas of a pair, which users do not have.
    assert set(table(plan, "persona_preferences")["model"]) == {"m"}


def test_personas_that_are_not_there_are_missed_before_a_run(tmp_path: Path) -> None:
    values = raw(tmp_path, "http://x/v1", infer={"models": ["m"], "given": {"learned": str(tmp_path / "none")}})
    (problem,) = missing(parse_config(values), Needs())
    assert problem.startswith("infer.given.learned: no files *.jsonl in ")
    # Without the check before it, a job does not judge personas of the data in their place.
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"infer\.given: no files \*\.jsonl"):
        run(tmp_path, [pair(0) | {"chosen_persona_gold": "x"}], "http://x/v1", infer=values["infer"] | {"models": []})
    values["infer"]["given"] = {"m": "x"}
    with pytest.raises(ConfigError, match=r"infer\.given\.m: is the name of a model"):
        parse_config(values)
