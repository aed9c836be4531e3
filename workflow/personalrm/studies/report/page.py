"""The report of a run as one page that opens offline: sentences, tables, figures, what is absent, the manifest."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from markupsafe import Markup

from personalrm.core.errors import DataError
from personalrm.data.cross_validation import Pools
from personalrm.results.pooling import without_folds, without_pools
from personalrm.results.tables.profiles_table import what_profiles_show
from personalrm.studies.report.page_parts import asset, render
from personalrm.studies.report.summary import (
    what_came_out,
    what_failed,
    what_servers_did,
    what_was_not_run,
    what_was_run,
)
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.manifest import without_secrets

if TYPE_CHECKING:
    import pandas as pd

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


@dataclass(frozen=True)
class Scores:
    """What the sentences are made from: the main table, the paired differences, and all verdicts made flat; which data
    sets were asked for in folds; and the table of profiles, if there is one."""

    main: pd.DataFrame
    differences: pd.DataFrame
    verdicts: pd.DataFrame
    pools: Pools = field(default_factory=dict)
    profiles: pd.DataFrame | None = None

    @property
    def judged(self) -> pd.DataFrame:
        """The main table without pools, whose judgments are those of their folds again."""
        return without_pools(self.main, self.pools)

    @property
    def compared(self) -> pd.DataFrame:
        """The main table with pools in the place of their folds, as the differences have them."""
        return without_folds(self.main, self.pools)

    @property
    def of_profiles(self) -> list[str]:
        """What the table of profiles says."""
        return [] if self.profiles is None else what_profiles_show(self.profiles)


def report_page(
    manifest: dict[str, Any],
    scores: Scores,
    tables: Iterable[Path],
    figures: Iterable[Path],
    captions: Mapping[str, str],
) -> str:
    """The page.

    Args:
        manifest: manifest.json; logins and keys in its addresses are left out.
        scores: of the same run.
        tables: html files that `table_formats.write_table` wrote.
        figures: svg files, each with its caption in a `.txt` file; one of a table's name is shown with the table.
        captions: of all that the workflow can make, by rule (`table_<name>`, `figure_<name>`), in the order of listing.

    Raises DataError for a table that `write_table` did not write.
    """
    results = _results(tables, figures, captions)
    known = dict.fromkeys(rule.partition("_")[2] for rule in sorted(captions))
    config = Config.model_validate(manifest["config"])
    shown = without_secrets(manifest)
    return render(
        "report.html.jinja",
        run=manifest["run"],
        style=asset("report.css"),
        summary=[
            ("What was run", what_was_run(manifest, scores.judged)),
            ("What came out", [*what_came_out(scores.compared, scores.differences), *scores.of_profiles]),
            (
                "What failed or is missing",
                [*what_failed(scores.judged, scores.differences, scores.verdicts), *what_servers_did(manifest)],
            ),
        ],
        results=results,
        absent=what_was_not_run(config, [result.name for result in results], list(known)),
        manifest={name: facts for name, facts in shown.items() if name != "config"},
        config=yaml.safe_dump(shown["config"], sort_keys=True, allow_unicode=True, width=100),
    )


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
        # As an image, the drawing can run nothing, and its ids cannot equal others.
        result.image = "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
        result.caption = path.with_suffix(".txt").read_text(encoding="utf-8").strip()
    places = {rule.partition("_")[2]: -place for place, rule in enumerate(reversed(list(captions)), start=1)}
    return sorted(results.values(), key=lambda result: places.get(result.name, 0))
