"""Documents: short lines, and links that lead somewhere."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from personalrm.studies.config_reference import DescribedKeys, config_reference
from personalrm.studies.study import STUDIES, study_of

ROOT = Path(__file__).parents[2]
MOST_CHARACTERS = 100
KINDS = ("Local", "Prism", "Arena", "MtBench", "Processed")
MADE_BY_RUNS = (
    "docs/quickstart/",
    "docs/showcase/",
    "docs/fspo/",
    "docs/rewards/showcase/",
    "docs/tastes/main",
    "docs/tastes/tastes",
)
"""Copies of tables, whose rows are as long as they are."""
NAMED_BY_THE_FILE = {
    (kind, key) for kind in (*(f"{kind}Dataset" for kind in KINDS), "PairSet", "Domain") for key in ("name", "source")
}
"""A data set's name is its key, and its source stands in the heading."""
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(<?([^)>\s]+)>?\)|!\[[^\]]*\]\(([^)\s]+)\)")


def tracked(pattern: str) -> list[str]:
    done = subprocess.run(["git", "ls-files", pattern], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def documents() -> list[str]:
    return [name for name in tracked("*.md") if not name.startswith(MADE_BY_RUNS)]


def prose(text: str) -> str:
    """The text without blocks of code."""
    return re.sub(r"(?ms)^```.*?^```", "", text)


def anchors(path: Path) -> set[str]:
    """Anchors of a document's headings, as GitHub names them."""
    headings = re.findall(r"(?m)^#+ +(.*)$", prose(path.read_text(encoding="utf-8")))
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("name", documents())
def test_no_line_of_a_document_is_longer_than_100_characters(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    long = [number for number, line in enumerate(lines, start=1) if len(line) > MOST_CHARACTERS]
    assert not long, f"{name}: wrap lines {long}"


def test_modules_that_the_architecture_names_exist() -> None:
    named = set(re.findall(r"`([\w/]+\.py)`", (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")))
    files = tracked("*.py")
    assert len(named) > 50
    assert sorted(name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)) == []


@pytest.mark.parametrize("name", tracked("*.md"))
def test_links_of_a_document_lead_to_files_and_headings_that_exist(name: str) -> None:
    for found in LINK.finditer(prose((ROOT / name).read_text(encoding="utf-8"))):
        target = found[1] or found[2]
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (ROOT / name).parent / path if path else ROOT / name
        assert place.exists(), f"{name}: {target}: no such file"
        if anchor:
            assert place.suffix == ".md", f"{name}: {target}: only documents have headings"
            assert anchor in anchors(place), f"{name}: {target}: no such heading"


def test_every_picture_of_a_document_has_an_alternative_text() -> None:
    bare = re.compile(r"!\[\s*\]\(|<img(?![^>]*alt=\"[^\"])")
    assert [name for name in tracked("*.md") if bare.search((ROOT / name).read_text(encoding="utf-8"))] == []


def test_the_index_lists_every_document_of_the_folder() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    listed = {found[1] for found in LINK.finditer(index)}
    files = {Path(name).relative_to("docs").as_posix() for name in documents() if name.startswith("docs/")}
    assert files - {"README.md"} <= listed


@pytest.mark.parametrize(("study", "name"), [("synthesizeme", "README"), ("tailoring", "tailoring"), ("fspo", "fspo")])
def test_the_key_reference_is_current(study: str, name: str) -> None:
    kept = (ROOT / "config" / f"{name}.md").read_text(encoding="utf-8")
    assert kept == config_reference(study), f"run: python -m personalrm keys --study {study} > config/{name}.md"


def sections(study: str = "synthesizeme") -> Iterator[tuple[str, dict[str, Any]]]:
    schema = study_of(study).config.model_json_schema(schema_generator=DescribedKeys)
    yield "Config", schema
    yield from ((name, entry) for name, entry in schema["$defs"].items() if "properties" in entry)


@pytest.mark.parametrize("study", STUDIES)
def test_every_key_of_the_config_is_described(study: str) -> None:
    bare = [
        f"{name}.{key}"
        for name, section in sections(study)
        for key, entry in section["properties"].items()
        if not entry.get("description") and (name, key) not in NAMED_BY_THE_FILE
    ]
    assert bare == []
    assert [name for name, section in sections(study) if not section.get("description")] == []


def test_the_key_reference_has_every_key_with_its_default_and_values() -> None:
    text = " ".join(config_reference().split())
    keys = {key for _, section in sections() for key in section["properties"]} - {"name"}
    assert [key for key in sorted(keys) if f"**`{key}`**" not in text] == []
    assert "**`source`** (`local`): Format of the votes. Values: `arena`, `local`, `mtbench`" in text
    assert "**`run`** (required): Name of the run" in text
    assert "**`verdicts`** (`[text]`): How verdicts are read" in text
    assert "Values: `text`, `logprob`, `logprob_both`." in text
    assert text.count("**`licence`**") == 1


def test_the_key_reference_keeps_a_value_on_one_line() -> None:
    assert "`PT-DPO retr chosen`, `PT-DPO gold chosen`" in " ".join(config_reference("tailoring").split())


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
