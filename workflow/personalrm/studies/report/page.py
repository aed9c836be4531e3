"""The report of a run as one page that opens offline: what came out, people, tables and figures, what is absent, the
manifest."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from personalrm.core.files import atomic_write_text
from personalrm.results.spec import NOTHING
from personalrm.studies.config_load import read_resolved
from personalrm.studies.manifest import without_secrets
from personalrm.studies.report.page_parts import packed, render, script, script_hash, style
from personalrm.studies.report.page_tables import PageTable, read_table_file
from personalrm.studies.report.shown import MARKS, Headline, People
from personalrm.studies.run_results import RunResults, all_results
from personalrm.studies.study import study_of


@dataclass
class Result:
    """A table, a figure, or both of one name. `linked` is the number of rows of a table in a file of its own;
    `image` is a svg file, packed."""

    name: str
    title: str
    lead: str = ""
    tables: Sequence[PageTable] = ()
    notes: Sequence[str] = ()
    linked: int = 0
    image: str = ""
    alt: str = ""
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Said:
    """What the study says of a run.

    Attributes:
        title: heading of the page.
        summary: sentences by heading.
        absent: what the run does not have, and why.
        transcripts: whether there is a page of transcripts.
        headline: of the first screen.
        people: users, some of them.
    """

    title: str
    summary: Sequence[tuple[str, Sequence[str]]]
    absent: Sequence[tuple[str, str]]
    transcripts: bool = False
    headline: Headline | None = None
    people: People | None = field(default=None)


def report_page(
    manifest: dict[str, Any],
    said: Said,
    *,
    tables: Iterable[Path],
    figures: Iterable[Path],
    captions: Mapping[str, str],
) -> str:
    """The page.

    Args:
        manifest: manifest.json; logins and keys in its addresses are left out.
        said: what the study says.
        tables: html files that `table_formats.write_table` wrote.
        figures: svg files, each with its caption in a `.txt` file; one of a table's name is shown with the table.
        captions: of all that the workflow can make, by rule (`table_<name>`, `figure_<name>`), in the order of listing.

    Raises DataError for a table that `write_table` did not write.
    """
    shown = without_secrets(manifest)
    results = _results(tables, figures, captions)
    code = script("report.js")
    return render(
        "report.html.jinja",
        run=manifest["run"],
        said=said,
        style=style("report.css", "tables"),
        script=code,
        script_hash=script_hash(code),
        marks=MARKS,
        main=next((result for result in results if result.image), None),
        results=results,
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
    said = Said(
        title=study.title,
        summary=study.summary(plan, manifest),
        absent=study.not_run(config, [result.name for result in results.results]),
        transcripts=study.transcripts,
        headline=study.headline(plan),
        people=study.people(plan),
    )
    page = report_page(
        manifest,
        said,
        tables=[path for path in made if path.suffix == ".html"],
        figures=[path for path in made if path.suffix == ".svg"],
        captions={result.rule: result.caption for result in all_results(config.study)},
    )
    atomic_write_text(out, page)


def _results(tables: Iterable[Path], figures: Iterable[Path], captions: Mapping[str, str]) -> list[Result]:
    results: dict[str, Result] = {}
    for path in tables:
        held, name = read_table_file(path), path.stem
        filled = [table for table in held.tables if table.rows]
        lead = captions.get(f"table_{name}", "")
        results[name] = Result(name, held.title, lead, filled, held.notes, held.n_rows)
    for path in figures:
        name = path.stem
        # A figure without a table has the beginning of its declared caption for a heading.
        result = results.setdefault(name, Result(name, _beginning(captions.get(f"figure_{name}", name))))
        result.caption = path.with_suffix(".txt").read_text(encoding="utf-8").strip()
        if not result.caption.startswith(NOTHING):
            # As an image, the drawing can run nothing, and its ids cannot equal others.
            result.image = packed(path.read_bytes())
            result.alt = _beginning(result.caption)
    places = {rule.partition("_")[2]: -place for place, rule in enumerate(reversed(list(captions)), start=1)}
    return sorted(results.values(), key=lambda result: places.get(result.name, 0))


def _beginning(caption: str) -> str:
    """A caption up to its first full stop or colon.

    >>> _beginning("Accuracy of 0.5B: the share of judgments. Bands: 95 %.")
    'Accuracy of 0.5B'
    """
    return re.split(r"[:.](?:\s|$)", caption)[0]
