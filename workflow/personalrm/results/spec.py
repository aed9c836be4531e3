"""How a table or a figure is declared, and how its files are made from the declaration.

A module of a package of results declares one result as `RESULT`; nothing else has to be edited: the workflow makes a
rule of each (`rules/results.smk`), `all` and the report ask for it. The parameters of its `build` function say what it
is made from: parameters before the star are input files, those after it are settings of the run. Both are known by
name to the study (`studies/synthesizeme/run_results.py`), where a new kind of input is added; `table_<name>` is the csv
file of that table. A table that not every run has is a parameter with the default None.

    def build(verdicts: Path, *, seed: int, n_resamples: int) -> Table: ...

    RESULT = TableResult(name="differences", build=build, ...)
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from personalrm.core.errors import ConfigError
from personalrm.core.files import atomic_write_text
from personalrm.results.figure_style import save_figure, sentence
from personalrm.results.lazy import Figure, pd
from personalrm.results.table_formats import Block, write_table

VERSION = 3
"""Raised when results have other columns or pages: those of a finished run are then made again, without a call."""


class Table(NamedTuple):
    """What a table's `build` returns: the frame of the csv, the blocks that people read (all columns when None), notes
    below them, and the html page where it is not made of the blocks."""

    frame: pd.DataFrame
    blocks: Sequence[Block] | None = None
    notes: Sequence[str] = ()
    page: str | None = None


class Drawing(NamedTuple):
    """What a figure's `build` returns: the figure and its caption, which says what exactly this run shows; no figure
    where the run has nothing of it, which the config did not tell, and why as the caption."""

    figure: Figure | None
    caption: str


NOTHING = "Nothing to draw: "
"""Before the caption of a figure that a run has nothing of. The report shows the caption alone."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """A table or a figure of a run.

    - name: of its files; a figure may share the name of the table that it is drawn from.
    - order: place in the report, ascending; a table comes before the figure of the same order.
    - caption: what the result shows, for the report and for `snakemake --report`.
    - build: makes the result; its parameters name what it is made from (see the module).
    - when: name of a condition of the study, for a result that only some configs have. A result that reads the table
      of another needs no condition of its own.
    - mem_mb, runtime: megabytes and minutes that its job asks for; more on a further attempt.
    """

    name: str
    order: int
    caption: str
    build: Callable[..., Any]
    when: str = ""
    mem_mb: int
    runtime: int

    kind: ClassVar[str]
    verb: ClassVar[str]
    category: ClassVar[str]
    folder: ClassVar[str]
    files: ClassVar[Mapping[str, str]]
    """Names of the rule's outputs and their suffixes."""
    shown: ClassVar[str]
    """The output that `snakemake --report` shows."""

    @property
    def rule(self) -> str:
        """Name of the rule, as `table_main`."""
        return f"{self.kind}_{self.name}"

    @property
    def message(self) -> str:
        """Message of its job, as `Making the table main`."""
        return f"{self.verb} the {self.kind} {self.name}"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the input files."""
        return self._parameters(inspect.Parameter.POSITIONAL_OR_KEYWORD)

    @property
    def settings(self) -> tuple[str, ...]:
        """Names of the settings."""
        return self._parameters(inspect.Parameter.KEYWORD_ONLY)

    @property
    def needed(self) -> tuple[str, ...]:
        """Names of the inputs without which it cannot be made: those without a default."""
        parameters = inspect.signature(self.build).parameters
        return tuple(name for name in self.inputs if parameters[name].default is inspect.Parameter.empty)

    def _parameters(self, kind: object) -> tuple[str, ...]:
        parameters = inspect.signature(self.build).parameters.values()
        return tuple(parameter.name for parameter in parameters if parameter.kind is kind)

    def outputs(self, run: str) -> dict[str, str]:
        """Paths of the files below the folder of the run, by the name of the rule's output."""
        return {output: f"{run}/{self.folder}/{self.name}{suffix}" for output, suffix in self.files.items()}

    def write(self, stem: Path, inputs: Mapping[str, Path | list[Path]], settings: Mapping[str, object]) -> None:
        """Make the result and write its files, all named `stem` with a suffix."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class TableResult(Result):
    """A table; `build` returns a `Table`. `title` is the heading of its files."""

    title: str
    mem_mb: int = 4000
    runtime: int = 60

    kind: ClassVar[str] = "table"
    verb: ClassVar[str] = "Making"
    category: ClassVar[str] = "Tables"
    folder: ClassVar[str] = "tables"
    files: ClassVar[Mapping[str, str]] = {"csv": ".csv", "md": ".md", "tex": ".tex", "html": ".html"}
    shown: ClassVar[str] = "html"

    def write(self, stem: Path, inputs: Mapping[str, Path | list[Path]], settings: Mapping[str, object]) -> None:
        """Write the csv, md, tex and html files."""
        made: Table = self.build(**inputs, **settings)
        write_table(made.frame, stem, caption=self.title, notes=made.notes, blocks=made.blocks, page=made.page)


@dataclass(frozen=True, kw_only=True)
class FigureResult(Result):
    """A figure; `build` returns a `Drawing`."""

    mem_mb: int = 1000
    runtime: int = 30

    kind: ClassVar[str] = "figure"
    verb: ClassVar[str] = "Drawing"
    category: ClassVar[str] = "Figures"
    folder: ClassVar[str] = "figures"
    files: ClassVar[Mapping[str, str]] = {"pdf": ".pdf", "svg": ".svg", "png": ".png", "caption": ".txt"}
    shown: ClassVar[str] = "svg"

    def write(self, stem: Path, inputs: Mapping[str, Path | list[Path]], settings: Mapping[str, object]) -> None:
        """Write the pdf, svg and png files, and the caption as text."""
        made: Drawing = self.build(**inputs, **settings)
        caption = made.caption if made.figure else NOTHING + made.caption
        save_figure(made.figure or sentence(caption), stem)
        atomic_write_text(stem.with_name(f"{stem.name}.txt"), caption + "\n")


def declared(packages: Iterable[str]) -> list[Result]:
    """The results that the modules of these packages declare, in the order of the report.

    Raises:
        ConfigError: if two of them would write the same files.
    """
    found: dict[str, Result] = {}
    for package in packages:
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
            result = getattr(importlib.import_module(module.name), "RESULT", None)
            if not isinstance(result, Result):
                continue
            if result.rule in found:
                raise ConfigError(f"{module.name}: there is another {result.kind} {result.name!r}; rename one of them")
            found[result.rule] = result
    return sorted(found.values(), key=lambda result: (result.order, result.kind != TableResult.kind, result.name))
