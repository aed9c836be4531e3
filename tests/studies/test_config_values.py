"""Values that YAML takes for something else than what is written, and keys and nests that are no config."""

from __future__ import annotations

from pathlib import Path

import pytest

from personalrm.core.errors import ConfigError
from personalrm.studies.config_load import load_config, merged_yaml

CONFIG = "run: x\nmethods: [random]\ndatasets:\n  people:\n    path: votes.jsonl\n    users: [{users}]\n"
MISREAD = [
    ("007", "the number 7"), ("-0", "the number 0"), ("010", "the number 8"), ("0x1F", "the number 31"),
    ("0b11", "the number 3"),
    ("1_000", "the number 1000"), ("12:30:45", "the number 45045"), ("+7", "the number 7"), ("1.10", "the number 1.1"),
    ("7.0", "the number 7.0"), ("yes", "the truth value true"), ("Off", "the truth value false"), ("~", "nothing"),
    ("2024-01-31", "a date"),
]  # fmt: skip


def read(tmp_path: Path, text: str) -> list[str] | None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path).datasets["people"].users


@pytest.mark.parametrize(("written", "meaning"), MISREAD)
def test_a_user_id_that_yaml_changes_is_refused(tmp_path: Path, written: str, meaning: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, CONFIG.format(users=f"ann, {written}, 7"))
    expected = f'line 6: in users, {written} is read as {meaning}; put it in quotes: "{written}"'
    assert str(caught.value) == f"{tmp_path / 'config.yaml'}: {expected}"


def test_ids_in_quotes_and_plain_numbers_are_as_written(tmp_path: Path) -> None:
    quoted = ", ".join(f'"{written}"' for written, _ in MISREAD)
    users = read(tmp_path, CONFIG.format(users=f"ann, 7, -3, 0, =, 1e3, '08', {quoted}"))
    assert users == ["ann", "7", "-3", "0", "=", "1e3", "08", *(written for written, _ in MISREAD)]


def test_all_user_ids_that_yaml_changes_are_named_in_lists_of_any_style(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"line 7: in users, 007 .*; line 8: in users, 0x1F "):
        read(
            tmp_path, CONFIG.format(users="").replace("[]", "\n    - 007\n    - 0x1F").replace("users: \n", "users:\n")
        )


def test_numbers_elsewhere_may_have_any_form_of_yaml(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("seed: 1_000\nbudget: {calls: 0x10}\n", encoding="utf-8")
    assert merged_yaml([path]) == {"seed": 1000, "budget": {"calls": 16}}


@pytest.mark.parametrize(("written", "value"), [("010", 8), ("-007", -7), ("12:30", 750)])
def test_numbers_elsewhere_are_the_digits_that_are_written(tmp_path: Path, written: str, value: int) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"run: x\nseed: {written}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        merged_yaml([path])
    expected = f"line 2: {written} is read as the number {value}; write {value}, or put a name in quotes"
    assert str(caught.value) == f"{path}: {expected}"


ODD = {
    "deep list": ("run: " + "[" * 3000, "is nested too deeply"),
    "deep mapping": ("run: " + "{a: " * 3000 + "1" + "}" * 3000, "is nested too deeply"),
    "deep lines": ("".join(" " * depth + "a:\n" for depth in range(2000)), "is nested too deeply"),
    "list as key": ("? [a, b]\n: 1\n", "line 1: a list or a mapping stands where a key is due"),
    "mapping as key": ("run: x\n{a: 1}: 2\n", "line 2: a list or a mapping stands where a key is due"),
    "number as key": ("models: {007: {model: x}}\n", "line 1: the key 007 is read as the number 7; put it in quotes"),
    "truth value as key": ("datasets: {on: {path: x}}\n", "the key on is read as the truth value true; put it"),
    "nothing as key": ("null: x\n", "the key null is read as nothing"),
    "date as key": ("2024-01-01: x\n", "the key 2024-01-01 is read as a date"),
    "alias of itself": ("run: &a [*a]\n", "line 1: not valid YAML"),
    "bad character": ("run: \x01\n", "not valid YAML: unacceptable character"),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
def test_odd_keys_and_deep_nests_are_one_line(tmp_path: Path, case: str) -> None:
    text, said = ODD[case]
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("key", ['"a\\nb"', "''", f"? {'x' * 3000}\n", '"a\\u202eb"'])
def test_an_odd_unknown_key_is_named_on_one_short_line(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, CONFIG.format(users="ann") + f"{key}: 1\n")
    (line,) = str(caught.value).splitlines()
    assert "unknown key" in line
    assert line.isprintable()
    assert len(line.partition("; known")[0]) < 120


def test_one_mapping_may_be_merged_into_another(tmp_path: Path) -> None:
    text = CONFIG.format(users="ann").replace(
        "  people:", "  other: &base {path: v, min_pairs: 9}\n  people:\n    <<: *base"
    )
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    entry = load_config(path).datasets["people"]
    assert (entry.min_pairs, str(entry.path)) == (9, "votes.jsonl")
