"""The tables and figures of a run, in any study: which there are, and how each is made."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from personalrm.core.errors import ConfigError
from personalrm.results.spec import VERSION, Result, declared
from personalrm.studies.plan import StudyPlan
from personalrm.studies.study import DEFAULT, study_of

REPORTED = Path(__file__).resolve().parents[3] / "resources" / "reported"
"""Numbers reported of the papers, in the checkout."""


def all_results(study: str = DEFAULT) -> list[Result]:
    """All tables and figures that the workflow can make of a study, whether or not a run makes them."""
    return declared(study_of(study).results)


def not_made(study: str, made: Collection[str], why: Callable[[Result], str]) -> list[tuple[str, str]]:
    """Results of a study whose names are not among `made`, as the report lists them, and the reason of each."""
    return [
        (f"{result.kind.capitalize()} {result.name.replace('_', ' ')}", why(result))
        for result in all_results(study)
        if result.name not in made
    ]


def tables_and_pages(run: Path, tables: Iterable[str]) -> str:
    """Those of the tables that a run made, as plain text, and where its report and transcripts are."""
    paths = (run / "tables" / f"{name}.md" for name in tables)
    texts = [path.read_text(encoding="utf-8") for path in paths if path.is_file()]
    pages = [str(page) for name in ("report", "transcripts") if (page := run / f"{name}.html").is_file()]
    return "\n".join([*texts, f"Report  {', '.join(pages)}\n"])


class RunResults:
    """The tables and figures that a run makes, in the order of the report."""

    def __init__(self, plan: StudyPlan[Any]) -> None:
        study = study_of(plan.config.study)
        self.run = plan.run
        self._files = dict(study.files(plan))
        self._settings = study.settings(plan)
        known, met = {result.rule: result for result in all_results(plan.config.study)}, study.conditions(plan)
        self.results = [
            result
            for result in known.values()
            if met[result.when] and all(met[known[table].when] for table in result.needed if table in known)
        ]
        self._files |= {
            result.rule: result.outputs(self.run)["csv"] for result in self.results if "csv" in result.files
        }

    def inputs(self, result: Result) -> dict[str, str | list[str]]:
        """Paths of the input files of a result."""
        return {name: self._files[name] for name in result.inputs if name in self._files or name in result.needed}

    def settings(self, result: Result) -> dict[str, object]:
        """Settings of a result."""
        return {name: getattr(self._settings, name) for name in result.settings}

    def fingerprint(self, result: Result) -> str:
        """The settings of a result as text, which Snakemake compares: what changes them makes the result again, and a
        version of this package whose results are others."""
        return json.dumps({"version": VERSION, **self.settings(result)}, default=str, ensure_ascii=False)

    def outputs(self) -> list[str]:
        """Paths of all files of all results."""
        return [path for result in self.results for path in result.outputs(self.run).values()]

    def make(self, rule: str) -> None:
        """Make one result, as `table_main`, from the files of the run.

        Raises ConfigError if the run has no such result.
        """
        results = {result.rule: result for result in self.results}
        if rule not in results:
            raise ConfigError(f"{rule}: the run has no such result; it has {', '.join(results)}")
        result = results[rule]
        inputs = {
            name: Path(paths) if isinstance(paths, str) else [Path(path) for path in paths]
            for name, paths in self.inputs(result).items()
        }
        result.write(Path(self.run) / result.folder / result.name, inputs, self.settings(result))
