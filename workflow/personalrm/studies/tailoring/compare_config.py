"""The section `compare` of the config: whose answers are compared with whose, under which rubrics, and by whom."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from personalrm.core.persona_pairs import PersonaSource
from personalrm.data.filters.filter_settings import once_each
from personalrm.judge.rubrics import CleanUp, Grader, Rubric
from personalrm.personas.tailored import Inference
from personalrm.studies.model_config import Positive
from personalrm.studies.study_config import Name, Section

Systems = Mapping[str, Mapping[str, Inference]]
"""Systems by name: the persona that each was given, by data set that it has answers to."""
ReportedComparison = Literal[
    "PT-DPO retr chosen",
    "PT-DPO gold chosen",
    "PT-DPO retr rejected",
    "PT-DPO gold rejected",
    "few-shot retr",
    "SFT retr",
    "DPO retr",
    "few-shot gold",
    "SFT gold",
    "DPO gold",
]
"""Comparisons of the paper: PT-DPO against DPO that is prompted with the same persona; and each strategy with personas
against the same one without."""


class GivenAnswers(Section):
    """Answers of a system that were generated elsewhere."""

    files: Annotated[dict[Name, Path], Field(min_length=1)]
    """File by data set: a JSON list or JSON lines with `prompt` and `response` (or `output`); as released for the
    paper, or generations of another run."""
    persona: PersonaSource = "none"
    """The persona that the system was given."""


class PrometheusConfig(Section):
    """Judges that get the prompt of Prometheus 2, as the paper's; read from the package `prometheus-eval`."""

    judges: list[str] = []
    """Models that judge so (paper: prometheus-eval/prometheus-7b-v2.0)."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    """Temperature of sampling."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of probability that is sampled from."""
    max_tokens: Positive = 1024
    """Longest answer, in tokens."""
    retries: Annotated[int, Field(ge=0, le=100)] = 10
    """How often an answer without a grade is sampled anew."""

    @property
    def grader(self) -> Grader:
        """The same for `judge.rubrics`."""
        return Grader(self.temperature, self.top_p, self.max_tokens, self.retries)


class Comparison(Section):
    """Two systems whose answers are compared."""

    test: str
    """The system that may win."""
    base: str
    """The one that it is compared with."""
    reported: ReportedComparison | None = None
    """The paper's comparison whose numbers stand next to ours."""


class CompareConfig(Section):
    """Generated answers, compared by judges in both orders."""

    judges: list[str] = []
    """Models that compare answers, by our own prompt."""
    prometheus: PrometheusConfig = PrometheusConfig()
    """Models that compare answers by the prompt of Prometheus 2."""
    rubrics: Annotated[list[Rubric], Field(min_length=1), AfterValidator(once_each)] = ["quality", "personalization"]
    """Criteria. ΔPQ needs both of these; `description` asks which answer the person would prefer."""
    given: dict[Name, GivenAnswers] = {}
    """Systems whose answers were generated elsewhere, by a name of your own."""
    pairs: list[Comparison] = []
    """Comparisons. Each system `test` that was given a persona is compared with the generic one, too."""
    generic: str = ""
    """The system without personas that all others are compared with; needed only where there are several."""
    clean_up: CleanUp = "markers"
    """What is removed from answers before they are judged: markers that tell systems apart (`Response:`, `Assistant:`,
    `Prompt:`, end tokens); `as_published`: `Prompt:` and end tokens; or nothing (`none`)."""

    @property
    def all_judges(self) -> list[str]:
        """Models that judge, by either prompt."""
        return [*self.judges, *self.prometheus.judges]

    def grader(self, judge: str) -> Grader | None:
        """How a judge is sampled, where it gets the prompt of Prometheus 2."""
        return self.prometheus.grader if judge in self.prometheus.judges else None

    @property
    def given_systems(self) -> dict[str, dict[str, Inference]]:
        """The systems whose answers are given, as `Systems` has them."""
        return {name: dict.fromkeys(entry.files, entry.persona) for name, entry in self.given.items()}

    def jobs(self, systems: Systems) -> list[tuple[str, str, str]]:
        """Data set, test system and base system of all comparisons, those with the generic system included."""
        found: dict[tuple[str, str, str], None] = {}
        for pair in self.pairs:
            for dataset in systems[pair.test]:
                if dataset in systems[pair.base]:
                    found[dataset, pair.test, pair.base] = None
        known = {(dataset, frozenset(pair)) for dataset, *pair in found}
        for (dataset, test, _), generic in itertools.product(list(found), self._rivals(systems)):
            told = systems[test].get(dataset) != "none" and dataset in systems[generic]
            if told and (dataset, frozenset((test, generic))) not in known:
                found[dataset, test, generic] = None
        return list(found)

    def _rivals(self, systems: Systems) -> list[str]:
        """The generic system; none where it is not known which one it is."""
        generic = [name for name, told in systems.items() if set(told.values()) == {"none"}]
        if self.generic:
            return [name for name in generic if name == self.generic]
        return generic if len(generic) == 1 else []


def compare_problems(config: CompareConfig, systems: Systems, datasets: Mapping[str, object]) -> Iterator[str]:
    """What is wrong with the names in the section. Each problem begins with its key."""
    known = ", ".join(systems) or "none"
    wrong = {name for pair in config.pairs for name in (pair.test, pair.base)} - set(systems)
    for name in sorted(wrong):
        yield f"compare.pairs: no system {name!r} (there are: {known}); add it under compare.given or tailor.systems"
    for name, entry in config.given.items():
        for dataset in entry.files:
            if dataset not in datasets:
                yield f"compare.given.{name}.files: no data set {dataset!r} (there are: {', '.join(datasets)})"
    for both, count in Counter((pair.test, pair.base) for pair in config.pairs).items():
        if count > 1:
            yield f"compare.pairs: {both[0]!r} is compared with {both[1]!r} twice"
        if both[0] == both[1]:
            yield f"compare.pairs: {both[0]!r} is compared with itself; name another base"
    if config.pairs and not config.all_judges:
        yield "compare.judges: no model judges; name one, or one under compare.prometheus.judges"
    for name, count in Counter(config.all_judges).items():
        if count > 1:
            yield f"compare.judges: {name!r} is given twice; for both prompts, give the model two names"
    if not wrong:
        yield from _rival_problems(config, systems)


def _rival_problems(config: CompareConfig, systems: Systems) -> Iterator[str]:
    """Comparisons without a generic rival, and such as have no answers or no files of their own."""
    jobs = config.jobs(systems)
    for pair in config.pairs:
        if pair.test != pair.base and not set(systems[pair.test]) & set(systems[pair.base]):
            yield f"compare.pairs: {pair.test!r} and {pair.base!r} have answers to no common data set"
    if config.generic and not config._rivals(systems):
        yield f"compare.generic: {config.generic!r} is no system without personas; name one with persona: none"
    for dataset, test in dict.fromkeys((dataset, test) for dataset, test, _ in jobs):
        rivals = [name for name, told in systems.items() if told.get(dataset) == "none"]
        compared = {name for job in jobs for name in job[1:] if job[0] == dataset and test in job[1:]}
        if systems[test][dataset] != "none" and not compared & set(rivals):
            todo = "name one of them as compare.generic" if rivals else "add one, with persona: none"
            yield (
                f"compare.pairs: {test!r} is compared with no generic answer to {dataset}, the rival that matters; "
                f"systems without personas there: {', '.join(rivals) or 'none'}; {todo}"
            )
    for dataset, found in itertools.groupby(sorted(jobs), key=lambda job: job[0]):
        files = Counter(f"{test}-vs-{base}-by-{judge}" for _, test, base in found for judge in config.all_judges)
        for name, count in files.items():
            if count > 1:
                yield f"compare.given: two comparisons on {dataset} would share the file {name!r}; rename a system"
