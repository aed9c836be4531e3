"""The bank of attributes: what is read, what is selected, and what is refused with which words."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from support.projects import ROOT

import personalrm
from personalrm.core.errors import DataError
from personalrm.judge.attribute_bank import DEFAULT_BANK, Bank, load_bank

BANK = """\
version: 1
attributes:
  - {id: long, group: length, comparative: longer, more: long answers, less: short answers, core: true}
  - id: warm
    group: tone
    comparative: "  warmer and more encouraging "
    more: warmth
    less: a matter-of-fact tone
    source: everyday speech
"""


def bank_of(folder: Path, text: str) -> Bank:
    (folder / "bank.yaml").write_text(text, encoding="utf-8")
    return load_bank(folder / "bank.yaml")


def test_attributes_are_read_in_the_order_of_the_file(tmp_path: Path) -> None:
    bank = bank_of(tmp_path, BANK)
    assert bank.ids == ("long", "warm")
    assert [(one.group, one.comparative, one.core) for one in bank.attributes] == [
        ("length", "longer", True),
        ("tone", "warmer and more encouraging", False),
    ]
    assert bank.select("core").ids == ("long",)
    assert bank.select(["warm", "long"]).ids == bank.select("all").ids == ("long", "warm")
    assert bank.select(["warm"]).ids == ("warm",)


def test_what_models_are_not_asked_changes_no_hash(tmp_path: Path) -> None:
    sha = bank_of(tmp_path, BANK).asked_sha
    assert bank_of(tmp_path, BANK.replace("everyday speech", "elsewhere")).asked_sha == sha
    assert bank_of(tmp_path, BANK.replace("comparative: longer", "comparative: wordier")).asked_sha != sha
    assert bank_of(tmp_path, BANK).select("core").asked_sha != sha


@pytest.mark.parametrize(
    ("was", "becomes", "problem"),
    [
        ("id: warm", "id: long", "line 4: attribute 'long': the id is given twice; rename one of them"),
        ("id: warm", "id: default", "line 4: attribute 'default': id: 'default' stands for"),
        ("id: warm", "id: Warm", "line 4: attribute 'Warm': id: does not match"),
        ("id: warm", "id: on", "line 4: attribute True: id: must be a text; put it in quotes"),
        ("group: tone", "group: tones", "line 5: attribute 'warm': group: must be 'tone', 'form', 'length'"),
        ("    more: warmth\n", "", "line 4: attribute 'warm': more: is missing; add it"),
        ("source:", "sources:", "line 9: attribute 'warm': sources: no such key; correct its spelling"),
        ("more: warmth", "more: ''", "line 7: attribute 'warm': more: is empty; fill it in"),
        ("warmer and", "so " * 40, "line 6: attribute 'warm': comparative: is too long (at most 100 characters)"),
        ("less: a", "more: a", "line 8: 'more' is given twice; remove one of them"),
        ("core: true", "core: perhaps", "line 3: attribute 'long': core: must be true or false"),
        ("version: 1", "version: 2", "line 1: version: must be 1"),
        ("  - {id: long", "  - 7\n  - {id: long", "line 3: attribute number 1: must be keys and values: id, group,"),
        ("  - {id: long", "  - warm\n  - {id: long", "line 3: attribute number 1: must be keys and values: id, group,"),
        ("attributes:", "attributes: [", "line 3: not valid YAML"),
    ],
)
def test_what_is_wrong_is_named_with_file_line_field_and_what_to_do(
    tmp_path: Path, was: str, becomes: str, problem: str
) -> None:
    with pytest.raises(DataError) as caught:
        bank_of(tmp_path, BANK.replace(was, becomes, 1))
    assert f"{tmp_path / 'bank.yaml'}, {problem}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "line 1: the file: must be keys and values: version: 1, and a list of attributes"),
        ("version: 1\nattributes: []\n", "line 2: attributes: the bank is empty; add attributes"),
        ("version: 1\nattributes: {}\n", "line 2: attributes: must be a list of attributes"),
        ("attributes: []\n", "line 1: version: is missing; add it"),
        ("version: 1\nattributes: &a [*a]\n", "yaml: not a bank: nested without end"),
        ("[" * 3000, "yaml: not a bank: nested without end"),
        ("version: 2024-13-45\nattributes: []\n", "yaml: not valid YAML: month must be in 1..12; put dates"),
        (f"version: {'9' * 5000}\nattributes: []\n", "yaml: not valid YAML: .*; put dates and numbers in quotes"),
    ],
)
def test_a_file_that_is_no_bank(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        bank_of(tmp_path, text)


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        bank_of(tmp_path, BANK.replace("group: tone", "group: x").replace("core: true", "core: maybe"))
    assert [line.split(": ")[0].rpartition(" ")[2] for line in str(caught.value).splitlines()] == ["3", "5"]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file of attributes"):
        load_bank(tmp_path / "absent.yaml")
    for folder in (tmp_path, Path(__file__) / "bank.yaml"):
        with pytest.raises(DataError, match="no such file of attributes"):
            load_bank(folder)
    with pytest.raises(DataError, match="File name too long; correct the path"):
        load_bank(tmp_path / ("x" * 300))
    (tmp_path / "latin.yaml").write_bytes("version: é".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        load_bank(tmp_path / "latin.yaml")


def test_a_selection_that_is_not_there(tmp_path: Path) -> None:
    bank = bank_of(tmp_path, BANK)
    with pytest.raises(DataError, match="no attribute 'cold'; there are long, warm"):
        bank.select(["long", "cold"])
    with pytest.raises(DataError, match="no attribute is marked core"):
        bank_of(tmp_path, BANK.replace("core: true", "core: false")).select("core")
    with pytest.raises(DataError, match="no attribute is named"):
        bank.select([])


def test_the_bank_of_the_repository_has_attributes_and_a_core() -> None:
    bank = load_bank()
    assert 0 < len(bank.select("core").ids) < len(bank.ids)
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
    assert str(DEFAULT_BANK.relative_to(Path(personalrm.__file__).parent)) in packed["personalrm"]
    assert DEFAULT_BANK.resolve().parts[-2:] == ("resources", "attributes.yaml")
