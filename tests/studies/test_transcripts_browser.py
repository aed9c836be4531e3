"""The transcripts in a real browser: texts are shown and never run, filters filter, and many judgments open at once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest

from .transcript_cases import data_in, make_run, user_of

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no headless browser (Debian: apt-get install chromium)")
BAR_MS = 3000
EVIL = "<script>document.title='run'</script></script><img src=x onerror=\"document.title='run'\">"


class JudgeContext(HTMLParser):
    """A page as it stands after its scripts: tags, the title, texts by the id of the nearest element that has one."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ready: int | None = None
        self.texts: dict[str, str] = {}
        self._place = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        if tag == "html" and (ready := found.get("data-ready")):
            self.ready = int(ready)
        self._place = found.get("id", "") or ("title" if tag == "title" else self._place)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("title", "main"):
            self._place = ""

    def handle_data(self, data: str) -> None:
        self.texts[self._place] = self.texts.get(self._place, "") + data


def opened(page: Path, view: str = "") -> JudgeContext:
    """The page in a browser of its own, without a network, after its scripts have run."""
    flags = ["--headless", "--disable-gpu", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND"]
    # A browser of root has no sandbox; what it opens here is our own.
    flags += ["--no-sandbox"] if os.geteuid() == 0 else []
    folder = f"--user-data-dir={page.parent / 'browser'}"
    command = [str(BROWSER), *flags, folder, "--dump-dom", f"{page.as_uri()}#{view}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return JudgeContext(done.stdout)


def test_texts_of_users_and_models_are_shown_and_not_run(tmp_path: Path) -> None:
    made = make_run(tmp_path, [user_of(f"ann{EVIL}", text=EVIL), user_of("bob")], answer=EVIL, persona=EVIL)
    data = data_in(made.page())
    rows = [data["rows"][item[0]] for item in data["items"]]
    item = next(
        i for i, row in enumerate(rows) if row["method"] == "both" and data["users"][row["user"]]["user"] != "bob"
    )
    shown = opened(made.config_file.with_name("transcripts.html"), f"unfold=1&user={quote(f'ann{EVIL}')}&item={item}")
    assert shown.texts["title"] == "Transcripts of run made"
    assert shown.tags.count("script") == 2
    assert "img" not in shown.tags
    detail = shown.texts["detail"]
    # The user, both answers, the persona, the prompts with all of them, and the raw answers.
    for text in (f"user ann{EVIL}", f"good 1 {EVIL}", f"bad 1 {EVIL}", f"persona{EVIL}", f"Raw answer{EVIL} "):
        assert text in detail
    assert detail.count("Prompt as sent (4 messages)") == 2
    assert "Prompt as sent (2 messages)" in detail
    # Four rows of ann: default, persona, both, and random without a verdict.
    assert shown.texts["count"].startswith("4 judged pairs")


def test_filters_keep_what_they_name(tmp_path: Path) -> None:
    made = make_run(tmp_path, [user_of("ann", 2), user_of("bob", 3)])
    made.page()
    page = made.config_file.with_name("transcripts.html")
    found = {
        view: re.sub(r" judged.*", "", opened(page, view).texts["count"])
        for view in ("", "user=bob", "outcome=no%20verdict", "outcome=wrong&user=ann&method=Default", "outcome=tie")
    }
    # A judge that always says First is right once and wrong once on each pair.
    assert list(found.values()) == ["17", "10", "2", "2", "0"]


@pytest.mark.full
def test_ten_thousand_judgments_open_within_three_seconds(tmp_path: Path) -> None:
    users = [user_of(f"user {number}", 20, n_context=3, text=f"{number} and more words " * 20) for number in range(84)]
    made = make_run(tmp_path, users, answer="A reason of some length. " * 20)
    page = made.page()
    assert sum(len(verdicts) for _, _, verdicts in data_in(page)["items"]) == 84 * 20 * 2 * 3
    shown = opened(made.config_file.with_name("transcripts.html"))
    assert shown.texts["count"].startswith("5,124 judged pairs")
    assert shown.ready is not None
    assert shown.ready < BAR_MS, f"{shown.ready} ms for {len(page) / 1e6:.1f} MB"
