"""Pages of a run in a real browser without a network: what stands there after their scripts; what axe-core finds."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from personalrm.studies.report.page_parts import script_hash

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no headless browser (Debian: apt-get install chromium)")
AXE = find_spec("axe_core_python")
needs_axe = pytest.mark.skipif(AXE is None, reason="no axe-core (pip install axe-core-python)")
DARK = "--blink-settings=preferredColorScheme=0"
WIDE, NARROW = "--window-size=1400,900", "--window-size=500,844"
_POLICY = re.compile(r"script-src '(sha256-[^']+)'")
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


class Dom(HTMLParser):
    """A page as it stands after its scripts: tags, the title, `data-…` of its root, texts by the id of the nearest
    element that has one."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.root: dict[str, str] = {}
        self.texts: dict[str, str] = {}
        self._place = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        if tag == "html":
            self.root = {name: value or "" for name, value in attrs}
        self._place = found.get("id", "") or ("title" if tag == "title" else self._place)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("title", "main"):
            self._place = ""

    def handle_data(self, data: str) -> None:
        self.texts[self._place] = self.texts.get(self._place, "") + data


def opened(page: Path, view: str = "", *flags: str) -> Dom:
    """The page in a browser of its own, after its scripts have run; wide, unless `flags` say otherwise.

    Waiting costs no time (`--virtual-time-budget`).
    """
    fixed = [WIDE, "--headless", "--disable-gpu", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND"]
    fixed += ["--virtual-time-budget=20000"]
    # A browser of root has no sandbox; what it opens here is our own.
    fixed += ["--no-sandbox"] if os.geteuid() == 0 else []
    folder = f"--user-data-dir={page.parent / 'browser'}"
    command = [str(BROWSER), *fixed, *flags, folder, "--dump-dom", f"{page.as_uri()}#{view}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return Dom(done.stdout)


def after(page: Path, script: str, view: str = "", *flags: str) -> Any:  # noqa: ANN401 - JSON
    """What the body of an asynchronous function returns in the page after its own scripts, as JSON.

    It stands in a copy of the page whose policy names it, too. It waits a second for a page that is not ready.
    """
    text = page.read_text(encoding="utf-8")
    added = (
        "(async () => { for (let wait = 0; wait < 100 && !document.documentElement.dataset.ready; wait += 1)"
        " await new Promise((done) => setTimeout(done, 10));"
        " let said; try { said = { is: await (async () => {\n" + script + "\n})() }; }"
        " catch (error) { said = { error: String(error.stack) }; }"
        " document.documentElement.dataset.said = JSON.stringify(said); })();"
    )
    digest = script_hash(added)
    allowed = _POLICY.sub(rf"script-src '\1' '{digest}'", text, count=1)
    if allowed == text:
        allowed = text.replace("default-src 'none'", f"default-src 'none'; script-src '{digest}'", 1)
    copy = page.with_name(f"scripted-{page.name}")
    copy.write_text(allowed.replace("</body>", f"<script>{added}</script></body>"), encoding="utf-8")
    said = json.loads(opened(copy, view, *flags).root["data-said"])
    assert "error" not in said, said["error"]
    return said["is"]


def of_an_old_browser(page: str) -> str:
    """The page as a browser without DecompressionStream runs it."""
    script = page.rpartition("<script>")[2].partition("</script>")[0]
    old = script.replace("DecompressionStream(", "NotYetKnown(")
    assert old != script
    return page.replace(script, old).replace(script_hash(script), script_hash(old))


def violations(page: Path, view: str = "", *flags: str) -> list[str]:
    """What axe-core finds in the page against WCAG A and AA: rule and element, one line each."""
    found: list[str] = after(page, f"{axe_script()}\nreturn violations();", view, *flags)
    return found


def axe_script() -> str:
    """A script after which `violations()` waits for what axe-core finds, one line each."""
    assert AXE is not None
    assert AXE.origin is not None
    axe = Path(AXE.origin).with_name("axe.min.js").read_text(encoding="utf-8").replace("</script", r"<\/script")
    return f"""
        {axe}
        async function violations() {{
          const found = await axe.run(document, {{runOnly: {json.dumps(_RULES)}, resultTypes: ["violations"]}});
          if (found.passes.length < 10) throw new Error("axe-core checked next to nothing");
          const said = (rule, node) => `${{rule.id}}: ${{node.html.slice(0, 160)}} ${{node.failureSummary}}`;
          return found.violations.flatMap((rule) => rule.nodes.map((node) => said(rule, node)));
        }}
    """
