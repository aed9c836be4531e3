"""A study: a paper's config, stages and results on the shared machinery. Each is a package of this folder whose module
`study` declares it as `STUDY`; the key `study` of a config names it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from personalrm.core.errors import ConfigError
from personalrm.run.stage import Files
from personalrm.studies.report.judgments import Shown
from personalrm.studies.report.shown import Headline, People
from personalrm.studies.study_config import StudyConfig

DEFAULT = "synthesizeme"
STUDIES = (DEFAULT, "tailoring", "fspo")


@dataclass
class Needs:
    """Names of the data sets to be read, of the models to be called, and of the stages that a run does; and whether its
    jobs run on this machine, so that their connections can be tried here."""

    datasets: set[str] = field(default_factory=set)
    models: set[str] = field(default_factory=set)
    stages: set[str] = field(default_factory=set)
    here: bool = True


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a study adds to the shared machinery. Configs and plans are those of the study.

    Attributes:
        config: type of its config.
        plan: a run's files.
        problems: what is wrong with a config that no single key shows, each with the path of the key.
        missing: what a run needs and does not find, in addition to what all studies need.
        results: packages that declare its tables and figures.
        files: input files of tables and figures, by the names of their parameters.
        settings: an object with what tables and figures read of the config, by the names of their parameters.
        conditions: what a result may be declared to need (`Result.when`), and whether the run has it.
        facts: what its manifests have in addition.
        made_of: files that the manifest is made from, by name.
        reported_from: files that the report is made from in addition to manifest, tables and figures, by name.
        headline: sentence and numbers of the report's first screen; None where nothing was compared.
        people: users of the report; None where the study has none.
        summary: the report's sentences, by heading, from the plan and the manifest.
        not_run: what a run does not have and why, from the config and the names of its results.
        shown: text that `personalrm run` prints at the end, from the folder of the run.
        simulated: calls and tokens of a run (`studies/estimate/command.py`).
        training: notes of the estimate on trainings, from the config and whether they are timed.
        title: of the report.
        judgments: what `transcripts.html` shows, from the plan and the most judgments; None: there is no such page.
        transcribed_from: files that the page is made from, by name.
        removed: keys of earlier versions, with what to do instead; `*` stands for any name.
    """

    config: type[StudyConfig]
    plan: Callable[[Any], Any]
    problems: Callable[[Any], Iterable[str]]
    missing: Callable[[Any, Needs], list[str]]
    results: Sequence[str]
    files: Callable[[Any], Mapping[str, str | list[str]]]
    settings: Callable[[Any], object]
    conditions: Callable[[Any], Mapping[str, bool]]
    facts: Callable[[Any], Mapping[str, Any]]
    made_of: Callable[[Any], Files]
    reported_from: Callable[[Any], Files]
    summary: Callable[[Any, Mapping[str, Any]], Sequence[tuple[str, Sequence[str]]]]
    not_run: Callable[[Any, Collection[str]], Sequence[tuple[str, str]]]
    shown: Callable[[Path], str]
    simulated: Callable[..., Any]
    title: str
    headline: Callable[[Any], Headline | None] = lambda _plan: None
    people: Callable[[Any], People | None] = lambda _plan: None
    training: Callable[[Any, bool], list[str]] = lambda _config, _timed: []
    judgments: Callable[[Any, int], Shown] | None = None
    transcribed_from: Callable[[Any], Files] = lambda _plan: {}
    removed: Mapping[str, str] = field(default_factory=dict)

    @property
    def transcripts(self) -> bool:
        """Whether `transcripts.html` is made."""
        return self.judgments is not None


def later(module: str, name: str) -> Callable[..., Any]:
    """A function that is imported when it is called: reading a config must stay fast."""

    def call(*given: Any) -> Any:  # noqa: ANN401 - as the function has them
        return getattr(importlib.import_module(module), name)(*given)

    return call


def study_of(name: object) -> Study:
    """The study of a name. Raises ConfigError for any other value."""
    if name not in STUDIES:
        raise ConfigError(f"study: must be one of {', '.join(STUDIES)} (given: {name!r:.80})")
    found: Study = importlib.import_module(f"{__package__}.{name}.study").STUDY
    return found


def plan_of(config: StudyConfig) -> Any:  # noqa: ANN401 - the plan of the study
    """The plan of a run."""
    return study_of(config.study).plan(config)
