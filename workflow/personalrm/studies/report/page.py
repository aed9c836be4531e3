"""The report of a run as one page that opens offline: sentences, tables, figures, what is absent, the manifest."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from personalrm.core.errors import DataError
from personalrm.core.files import atomic_write_text
from personalrm.results.spec import NOTHING
from personalrm.studies.config_load import read_resolved
from personalrm.studies.manifest import without_secrets
from personalrm.studies.report.page_parts import asset, render
from personalrm.studies.run_results import RunResults, all_results
from personalrm.studies.study import study_of

_PAGE = re.compile(r"<body><h1>(?P<title>.*?)</h1>(?P<tables>.*)</body>", re.DOTALL)
_STYLE = re.compile(r"<style>.*?</style>", re.DOTALL)


@dataclass
class Result:
    """A table, a figure, or both of one name."""

    name: str
    title: str
    lead: str = ""
    table: str = ""
    image: str = ""
    caption: str = ""


def report_page(
    manifest: dict[str, Any],
    *,
    title: str,
    summary: Sequence[tuple[str, Sequence[str]]],
    absent: Sequence[tuple[str, str]],
    transcripts: bool,
    tables: Iterable[Path],
    figures: Iterable[Path],
    captions: Mapping[str, str],
) -> str:
    """The page.

    Args:
        manifest: manifest.json; logins and keys in its addresses are left out.
        title: its heading.
        summary: sentences by heading.
        absent: what the run does not have, and why.
        transcripts: whether there is a page of transcripts.
        tables: html files that `table_formats.write_table` wrote.
        figures: svg files, each with its caption in a `.txt` file; one of a table's name is shown with the table.
        captions: of all that the workflow can make, by rule (`table_<name>`, `figure_<name>`), in the order of listing.

    Raises DataError for a table that `write_table` did not write.
    """
    shown = without_secrets(manifest)
    return render(
        "report.html.jinja",
        run=manifest["run"],
        title=title,
        transcripts=transcripts,
        style=asset("report.css"),
        summary=summary,
        results=_results(tables, figures, captions),
        absent=absent,
        manifest={name: facts for name, facts in shown.items() if name != "config"},
        config=yaml.safe_dump(shown["config"], sort_keys=True, allow_unicode=True, width=100),
    )


def report_stage(config_file: Path, out: Path) -> None:
    """Write the report of the run: one page that opens offline."""
    config = read_resolved(config_file)
    study = study_of(config.study)
    plan = study.plan(config)
    results = RunResults(plan)
    made = [Path(path) for path in results.outputs()]
    manifest = json.loads((Path(plan.run) / "manifest.json").read_text(encoding="utf-8"))
    page = report_page(
        manifest,
        title=study.title,
        summary=study.summary(plan, manifest),
        absent=study.not_run(config, [result.name for result in results.results]),
        transcripts=study.transcripts,
        tables=[path for path in made if path.suffix == ".html"],
        figures=[path for path in made if path.suffix == ".svg"],
        captions={result.rule: result.caption for result in all_results(config.study)},
    )
    atomic_write_text(out, page)


def _results(tables: Iterable[Path], figures: Iterable[Path], captions: Mapping[str, str]) -> list[Result]:
    results: dict[str, Result] = {}
    for path in tables:
        page = _PAGE.search(path.read_text(encoding="utf-8"))
        if page is None:
            raise DataError(f"{path}: not a table that this package wrote; delete it and run again")
        title, name = html.unescape(page["title"]), path.stem
        # The page has one style for all tables; the texts in them are escaped where they were written.
        body = Markup(_STYLE.sub("", page["tables"]))
        if "<script" in body:
            # A table that is drawn a part at a time (`results/sortable_page.py`) stays a page of its own.
            body = Markup('<p><a href="tables/{0}">{0}</a> has all rows, to sort and to filter.</p>').format(path.name)
        results[name] = Result(name, title, captions.get(f"table_{name}", ""), body)
    for path in figures:
        name = path.stem
        # A figure without a table has the beginning of its declared caption for a heading.
        heading = re.split(r"[:.](?:\s|$)", captions.get(f"figure_{name}", name))[0]
        result = results.setdefault(name, Result(name, heading))
        result.caption = path.with_suffix(".txt").read_text(encoding="utf-8").strip()
        if not result.caption.startswith(NOTHING):
            # As an image, the drawing can run nothing, and its ids cannot equal others.
            result.image = "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
    places = {rule.partition("_")[2]: -place for place, rule in enumerate(reversed(list(captions)), start=1)}
    return sorted(results.values(), key=lambda result: places.get(result.name, 0))
