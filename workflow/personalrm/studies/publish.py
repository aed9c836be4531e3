"""Copy results of a run into the documentation, if the present config, prompts and code would give them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from personalrm.core.errors import DataError
from personalrm.studies.config_load import config_hash, load_config
from personalrm.studies.manifest import fingerprint_of_code, prompts_in_use
from personalrm.studies.run_results import all_results
from personalrm.studies.study import plan_of
from personalrm.studies.study_config import StudyConfig

MANIFEST = "manifest.json"
_KINDS = (("tables", ("csv", "md")), ("figures", ("png", "txt")))


REPORT = "report.html"


def publish(config_file: Path, folder: Path, names: Sequence[str], *, pages: bool = False) -> list[Path]:
    """Copy the tables (csv, md) and figures (png, txt) of these names and the manifest to `folder`; returns the copies.

    Of a result that is a table or a figure alone, this is copied. With `pages`, report.html and all files of the run
    that it links to are copied, too (transcripts.html, tables with pages of their own), in the folders of the run. What
    the folder has of other results stays. Raises DataError if the run is not finished, or was made with another config,
    other prompts or other code than there are now, or if a page links to a file that is not there.
    """
    config = load_config(config_file)
    run = Path(config.results) / config.run
    found = [
        path
        for place, kinds in _KINDS
        for name in names
        for path in (run / place / f"{name}.{kind}" for kind in kinds)
        if path.is_file()
    ]
    kinds_of = {name: {one.kind for one in all_results(config.study) if one.name == name} for name in names}
    drawn = [name for name, kinds in kinds_of.items() if kinds == {"figure"}]
    wanted = [f"figures/{name}.png" if name in drawn else f"tables/{name}.csv" for name in names]
    linked = pages_of(run) if pages else []
    missing = [name for name in (*wanted, MANIFEST, *linked) if not (run / name).is_file()]
    if missing:
        raise DataError(f"{run}: no {', '.join(missing)}; run the workflow first")
    problems = differences(json.loads((run / MANIFEST).read_text(encoding="utf-8")), config)
    if problems:
        raise DataError(f"{run} is not what the tree gives: {'; '.join(problems)}. Run the workflow again.")
    copies = {path: folder / path.name for path in (*found, run / MANIFEST)}
    copies |= {run / name: folder / name for name in linked}
    for path, copy in copies.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return list(copies.values())


def pages_of(run: Path) -> list[str]:
    """The report and the files that it links to, directly or by its pages, as paths below the folder of the run.

    Files that do not exist are among them. Links that leave the folder are not followed.
    """
    found, left = [REPORT], [REPORT]
    while left:
        page = left.pop()
        if not page.endswith(".html") or not (run / page).is_file():
            continue
        for link in _links((run / page).read_text(encoding="utf-8")):
            place = (run / page).parent.joinpath(link).resolve()
            if not place.is_relative_to(run.resolve()):
                continue
            name = place.relative_to(run.resolve()).as_posix()
            if name not in found:
                found.append(name)
                left.append(name)
    return found


def _links(page: str) -> Iterator[str]:
    """Relative paths that a page links to."""
    parser = _Links()
    parser.feed(page)
    parser.close()
    for address in parser.addresses:
        parts = urlsplit(address)
        if parts.path and not parts.scheme and not parts.netloc:
            yield unquote(parts.path)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value for name, value in attrs if name in ("href", "src") and value]


def differences(manifest: Mapping[str, Any], config: StudyConfig) -> list[str]:
    """Differences between the run of `manifest` and a run of `config` with today's prompts and code; empty if none.

    The code of tables and figures is not compared.
    """
    found = []
    if manifest["config_sha256"] != config_hash(config):
        found.append("the config is another one")
    then, now = manifest["prompts"], prompts_in_use(plan_of(config))
    changed = sorted(name for name in now if then.get(name) != now[name])
    if changed:
        found.append(f"other prompts: {', '.join(changed)}")
    if manifest.get("code") != fingerprint_of_code():
        found.append("the code of paid stages, or what serves embedded models, is another one")
    return found
