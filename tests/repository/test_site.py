"""The site that `make docs` builds from the documents."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SETTINGS: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
REFERENCE = sorted((ROOT / "docs" / "reference").glob("*.md"))
builds = pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None, reason="mkdocs is not installed (make docs installs it)"
)


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(config), "-d", str(site)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def in_navigation(entry: object) -> list[str]:
    """Paths of all pages of an entry of `nav`."""
    if isinstance(entry, str):
        return [entry]
    inner = entry.values() if isinstance(entry, dict) else entry
    assert isinstance(inner, Iterable)
    return [path for one in inner for path in in_navigation(one)]


def test_the_navigation_has_every_document_once() -> None:
    pages = in_navigation(SETTINGS["nav"])
    assert [path for path in pages if not (ROOT / path).is_file()] == []
    assert len(pages) == len(set(pages))
    documents = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")} - {"docs/README.md"}
    assert documents <= set(pages)


@pytest.mark.parametrize("page", REFERENCE, ids=lambda path: path.stem)
def test_what_a_page_of_the_reference_names_exists(page: Path) -> None:
    named = re.findall(r"(?m)^::: (\S+)$", page.read_text(encoding="utf-8"))
    assert named
    for name in named:
        resolve_name(name)


@builds
def test_the_site_is_built_and_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = build(ROOT / "mkdocs.yml", tmp_path)
    assert done.returncode == 0, done.stderr
    pages = {
        path.relative_to(tmp_path).as_posix(): path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html")
    }
    assert {"index.html", "docs/start.html", "config/index.html", "ARCHITECTURE.html"} <= pages.keys()
    assert (tmp_path / "docs" / "quickstart" / "main.png").is_file()
    judges = pages["docs/reference/judges.html"]
    assert 'id="personalrm.PersonalRM.predict_proba"' in judges
    assert 'id="personalrm.SynthesizeMe.from_saved"' in judges
    assert "<blockquote" not in pages["docs/reference/datasets.html"], "an example is shown as a quotation"
    fetched = re.compile(r"""<(?:script|img|link)\b[^>]*(?:src|href)=["']?(?:https?:)?//[^>]*>""")
    assert [found for text in pages.values() for found in fetched.findall(text)] == []


@builds
@pytest.mark.parametrize(
    ("link", "complaint"),
    [
        ("../config/README.md#keys", None),
        ("../config/README.md#locks", "does not contain an anchor '#locks'"),
        ("../config/none.md", "is not found among documentation files"),
    ],
)
def test_a_link_out_of_the_folder_is_followed_and_a_dead_one_is_an_error(
    tmp_path: Path, link: str, complaint: str | None
) -> None:
    texts = {
        "README.md": "# Home\n[page](docs/page.md)\n",
        "docs/page.md": f"# Page\n[link]({link})\n",
        "config/README.md": "# Config\n## Keys\n[back](../docs/page.md)\n",
        "docs/hooks.py": (ROOT / "docs" / "hooks.py").read_text(encoding="utf-8"),
        "mkdocs.yml": yaml.safe_dump({**SETTINGS, "nav": None, "plugins": []}),
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert (done.returncode == 0) is (complaint is None), done.stderr
    if complaint:
        assert complaint in done.stderr
    else:
        assert 'href="../config/index.html#keys"' in (tmp_path / "site" / "docs" / "page.html").read_text(
            encoding="utf-8"
        )
