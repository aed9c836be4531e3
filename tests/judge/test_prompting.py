from __future__ import annotations

from pathlib import Path

import pytest

from personalrm.core.errors import PromptError
from personalrm.judge.prompting import PROMPT_DIR, load_prompt


def write(folder: Path, text: str) -> Path:
    (folder / "one.jinja").write_text(text, encoding="utf-8")
    return folder


def test_every_bundled_prompt_loads_with_name_version_and_hash() -> None:
    names = [path.stem for path in PROMPT_DIR.glob("[!_]*.jinja")]
    assert {"judge_standard", "judge_compact", "persona_standard", "persona_compact"} <= set(names)
    for name in names:
        assert load_prompt(name).label.startswith("v")


def test_hash_follows_the_text_and_the_shared_macros(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    base = "{# name: one; version: 1. x #}{% macro system() %}hi{% endmacro %}"
    first = load_prompt("one", write(tmp_path, base)).sha
    second = load_prompt("one", write(tmp_path / "b", base + " ")).sha
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "_shared.jinja").write_text("x", encoding="utf-8")
    third = load_prompt("one", write(tmp_path / "c", base)).sha
    assert len({first, second, third}) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{% macro system() %}x{% endmacro %}", "first line"),
        ("{# name: other; version: 1. x #}", "first line"),
        ("{# name: one; version: 1. x #}\n{% macro system( %}", "line 2"),
    ],
)
def test_malformed_prompts(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        load_prompt("one", write(tmp_path, text))


def test_undefined_names_are_errors(tmp_path: Path) -> None:
    text = "{# name: one; version: 1. x #}{% macro system(a) %}{{ a }}{% endmacro %}"
    prompt = load_prompt("one", write(tmp_path, text))
    with pytest.raises(PromptError, match="'a'"):
        prompt.render("system")
    with pytest.raises(PromptError, match="no macro 'user'"):
        prompt.render("user")


def test_unknown_prompt_names_the_known_ones() -> None:
    with pytest.raises(PromptError, match="judge_compact"):
        load_prompt("nope")
