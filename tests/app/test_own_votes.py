"""`personalrm import` and `init`: what is understood of a file is shown, and a config that reads it is written."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from personalrm.app.cli import main
from personalrm.app.own_votes import config_of, described, understand
from personalrm.core.errors import ConfigError
from personalrm.data.prepare import prepare_dataset, refuse_no_user
from personalrm.data.settings import LocalDataset
from personalrm.studies.config_load import load_config

Row = dict[str, Any]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def votes(names: dict[str, str] | None = None, users: int = 2, pairs: int = 6, **more: object) -> list[Row]:
    """Votes with other names of columns."""
    names = names or {}
    rows = []
    for user in range(users):
        for number in range(pairs):
            row = {"user_id": f"u{user}", "context": f"question {number}", "chosen": f"yes {number}", "rejected": "no"}
            rows.append({names.get(name, name): value for name, value in row.items()} | more)
    return rows


def written(rows: list[Row], name: str = "my votes.jsonl") -> Path:
    path = Path(name)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def test_what_is_understood_is_shown_and_the_config_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    rows = votes({"user_id": "annotator", "context": "question"}, created_at="2025-01-31", score=3)
    rows[0]["created_at"] = None
    path = written([*rows, {"annotator": "u9"}, rows[1] | {"annotator": "u8", "chosen": ""}])
    assert main(["import", str(path)]) == 0
    shown = capsys.readouterr().out
    for line in (
        "my votes.jsonl: JSON lines, 14 rows",
        "user_id           annotator",
        "context           question",
        "timestamp         created_at",
        "votes: 12 (0 ties); rows that are not votes: 2",
        "users: 2, of whom 2 have 5 different pairs or more (pairs of a user: 6 to 6, median 6)",
        "users whose votes have times only in part: 1; their votes without a time count as the oldest "
        "(`untimed` in config/README.md)",
        "vote 1, user 'u0': 1 turns, the last 'question 0'",
        "  'yes 0' is preferred to 'no'",
        "Written: config/my-votes.yaml. Run it: personalrm run config/my-votes.yaml",
    ):
        assert line in shown.splitlines()
    assert shown.count("\nvote ") == 3
    assert "not read: score" in shown
    assert "line 13, field question, user 'u9': is missing" in shown
    config = load_config(Path("config/my-votes.yaml"))
    (entry,) = config.datasets.values()
    assert isinstance(entry, LocalDataset)
    assert (config.run, entry.path, config.models) == ("my-votes", path, {})
    assert entry.columns == {"user_id": "annotator", "context": "question", "timestamp": "created_at"}
    written(rows)
    assert prepare_dataset(entry, Path("out")).users_written == 2
    # The written file is kept.
    assert main(["import", str(path)]) == 1
    assert "config/my-votes.yaml: is there already" in capsys.readouterr().err


GUESSED: list[tuple[dict[str, str], dict[str, str]]] = [
    ({}, {}),
    ({"context": "prompt"}, {}),
    ({"user_id": "User ID"}, {"user_id": "User ID"}),
    ({"user_id": "Rater", "chosen": "preferred", "rejected": "dispreferred"},
     {"user_id": "Rater", "chosen": "preferred", "rejected": "dispreferred"}),
    ({"chosen": "response_1", "rejected": "answer_2"}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("names", "columns"), GUESSED)
def test_columns_are_guessed_from_their_names(names: dict[str, str], columns: dict[str, str]) -> None:
    found = understand(written(votes(names)))
    assert found.columns == columns
    assert sum(found.pairs.values()) == (0 if "response_1" in names.values() else 12)


def test_a_column_that_was_given_is_not_guessed_again() -> None:
    path = written(votes({"context": "query"}, question="q"))
    assert understand(path).columns == {"context": "question"}
    assert understand(path, {"survey": "question"}).columns == {"survey": "question", "context": "query"}


@pytest.mark.parametrize(
    "names", [("answer_1", "answer_2", "better"), ("Option A", "Option B", "Best"), ("reply1", "reply2", "selected")]
)
def test_names_that_people_give_to_two_answers_are_known(names: tuple[str, str, str]) -> None:
    first, second, winner = names
    found = understand(written(votes({"chosen": first, "rejected": second}, **{winner: "1"})))  # type: ignore[arg-type]
    assert found.columns == {"response_a": first, "response_b": second, "winner": winner}
    assert sum(found.pairs.values()) == 12


def test_two_answers_and_a_preference_are_guessed_together() -> None:
    names = {"chosen": "answer_a", "rejected": "answer_b", "context": "instruction"}
    found = understand(written(votes(names, preference="A")))
    assert found.columns == {
        "response_a": "answer_a", "response_b": "answer_b", "winner": "preference", "context": "instruction",
    }  # fmt: skip
    assert found.report.notes == ["The words for the preferred answer in `winner`: A means `response_a`."]


def test_a_column_that_holds_no_times_is_no_timestamp() -> None:
    assert understand(written(votes(date="last week"))).columns == {}
    assert understand(written(votes(date="2025-01-31"))).columns == {"timestamp": "date"}


def test_answers_that_are_whole_conversations_need_no_context() -> None:
    turn, answers = {"role": "user", "content": "hi"}, [{"role": "assistant", "content": text} for text in "ab"]
    rows = [{"user_id": "u", "chosen": [turn, answers[0]], "rejected": [turn, answers[1]], "input": "other"}]
    found = understand(written(rows))
    assert found.columns == {}
    assert found.report.votes == 1


def test_a_file_without_a_user_is_answered_with_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    path = written(votes({"user_id": "who"}))
    assert main(["import", str(path)]) == 1
    assert "no column names the user; give it with --column user_id=COLUMN" in capsys.readouterr().err
    assert not Path("config").exists()
    assert main(["import", str(path), "--column", "user_id=who", "--config", "x.yaml", "--name", "y"]) == 0
    (entry,) = load_config(Path("x.yaml")).datasets.values()
    refuse_no_user(entry)  # type: ignore[arg-type]
    for wrong, said in (
        ("user_id=nobody", "no such column"),
        ("taste=who", "is no field of a vote"),
        ("user_id", "no such"),
    ):
        assert main(["import", str(path), "--column", wrong, "--config", "z.yaml"]) == 1
        assert said in capsys.readouterr().err


def test_a_release_with_a_reader_of_its_own_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    rows = []
    for n in range(3):
        asked = {"role": "user", "content": f"Question {n}"}
        one, other = ([asked, {"role": "assistant", "content": text}] for text in ("Hi", "Yes?"))
        rows.append({"judge": "j", "winner": "model_a", "conversation_a": one, "conversation_b": other})
    path = Path("battles.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["import", str(path)]) == 1
    assert "`source: arena` or `source: mtbench`" in capsys.readouterr().err
    named = ["user_id=judge", "response_a=conversation_a", "response_b=conversation_b"]
    assert main(["import", str(path), *(word for pair in named for word in ("--column", pair))]) == 0


def test_fields_that_no_column_is_read_as_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    path = written(votes({"context": "asked of me", "chosen": "one", "rejected": "other"}))
    assert main(["import", str(path)]) == 1
    assert "no column is read as context or as the answers; name columns with --column" in capsys.readouterr().err
    given = ["--column", "context=asked of me", "--column", "chosen=one"]
    assert main(["import", str(path), *given]) == 1
    assert "no column is read as the answers; name" in capsys.readouterr().err
    assert main(["import", str(path), *given, "--column", "rejected=other"]) == 0
    empty = Path("empty.csv")
    empty.write_text("user_id,context,chosen,rejected\n")
    assert main(["import", str(empty)]) == 1
    assert "empty.csv: no votes in the file" in capsys.readouterr().err
    empty.write_text("user_id,context,chosen,rejected\nu,a,b\n")
    assert main(["import", str(empty)]) == 1
    assert "empty.csv: no row can be read; line 2, user unknown: has 3 cells" in capsys.readouterr().err


def test_a_prompt_next_to_a_context_is_not_read() -> None:
    shown = described(understand(written(votes({"context": "question"}, prompt="Another question?"))))
    assert "context           question" not in shown
    assert "prompt            prompt" in shown
    shown = described(understand(written(votes(prompt="Another question?"))))
    assert "not read: prompt" in shown


def test_users_with_few_pairs_are_read_by_the_written_config_and_with_fewer_than_three_none_is_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["import", str(written(votes(pairs=4)))]) == 0
    assert yaml.safe_load(Path("config/my-votes.yaml").read_text())["datasets"]["my-votes"]["min_pairs"] == 4
    assert main(["import", str(written(votes(pairs=3))), "--config", "three.yaml"]) == 0
    (entry,) = load_config(Path("three.yaml")).datasets.values()
    refuse_no_user(entry)  # type: ignore[arg-type]
    # Ties, equal answers and repeats are no pairs.
    more = [*votes(pairs=2), *votes(pairs=2), *votes({}, pairs=3, tie=True), *votes(pairs=3, chosen="no")]
    assert main(["import", str(written(more)), "--config", "x.yaml"]) == 1
    assert "no user has 3 pairs" in capsys.readouterr().err
    assert main(["import", str(written(votes(pairs=2))), "--config", "x.yaml"]) == 1
    assert "no user has 3 pairs, so that no config was written" in capsys.readouterr().err


def test_init_writes_a_model_into_the_config(capsys: pytest.CaptureFixture[str]) -> None:
    path = written(votes())
    assert main(["init", str(path), "--model", "openai/gpt-4o-mini"]) == 0
    config = load_config(Path("config/my-votes.yaml"))
    judge = config.models["judge"]
    assert (judge.backend, judge.model, judge.api_key_env) == ("litellm", "openai/gpt-4o-mini", "OPENAI_API_KEY")
    assert {"both", "default", "words"} <= set(config.methods)
    assert config.learn is not None
    assert main(["init", str(path), "--model", "m", "--api-base", "http://h:1/v1", "--config", "x.yaml"]) == 0
    judge = load_config(Path("x.yaml")).models["judge"]
    assert (judge.backend, judge.model, judge.api_base) == ("openai", "m", "http://h:1/v1")
    capsys.readouterr()
    assert main(["init", str(path), "--config", "z.yaml"]) == 2
    assert "give --model" in capsys.readouterr().err
    assert not Path("z.yaml").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "smollm2-135m"], "'smollm2-135m' needs a --api-base; did you mean 'embedded/smollm2-135m'?"),
        (["--model", "openai/"], "--model: 'openai/' names no model"),
        (["--model", "embedded/nothere"], "--model: Unknown embedded model 'nothere'. Known ids: smollm2-135m"),
        (["--model", "embedded/smollm2-135m", "--api-base", "http://h:1/v1"], "leave --api-base out"),
    ],
)
def test_what_names_no_model_is_refused_before_a_config_is_written(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", str(written(votes())), *options]) == 1
    error = capsys.readouterr().err
    assert error.startswith("personalrm: --model: ")
    assert said in error
    assert not Path("config").exists()


def test_a_small_model_scores_attributes_and_writes_no_persona() -> None:
    assert main(["init", str(written(votes())), "--model", "embedded/qwen2.5-coder-0.5b", "--config", "x.yaml"]) == 0
    config = load_config(Path("x.yaml"))
    assert {"default", "attributes", "attributes@loo"} <= set(config.methods)
    assert "persona" not in config.methods
    assert config.attributes is not None
    assert config.attributes.models == ["judge"]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_init_asks_on_a_terminal_for_what_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(votes({"user_id": "who"}))
    monkeypatch.setattr("sys.stdin", _Terminal("who\nmy-model\nhttp://h:2/v1\n"))
    assert main(["init", str(path)]) == 0
    config = load_config(Path("config/my-votes.yaml"))
    assert (config.models["judge"].model, config.models["judge"].api_base) == ("my-model", "http://h:2/v1")
    (entry,) = config.datasets.values()
    assert isinstance(entry, LocalDataset)
    assert entry.columns == {"user_id": "who"}


def test_a_name_that_names_no_folder_is_refused() -> None:
    with pytest.raises(ConfigError, match="names a folder"):
        config_of(understand(written(votes())), "a/b")
