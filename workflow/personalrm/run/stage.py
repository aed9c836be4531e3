"""A stage of a run, declared once, and the plan of the files of all stages.

The declaration is read by the rules (paths, inputs, resources, what reruns a job), the command line, `retry`, the
estimate, the manifest and the table of cost.
"""

from __future__ import annotations

import graphlib
import inspect
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from personalrm.core.conditions import K_NAMES, K, read_k
from personalrm.core.errors import ConfigError
from personalrm.core.files import canonical_json
from personalrm.core.records import Record

P = TypeVar("P", bound="StagePlan")
Files = Mapping[str, str | list[str]]
"""Input files by the name under which the work of a stage takes them."""


class Wildcards(NamedTuple):
    """Which job of a stage: the values of the fields in its paths. Fields that a stage does not have are empty."""

    dataset: str = ""
    variant: str = ""
    model: str = ""
    judge: str = ""
    k: K = "all"
    shard: str = ""
    theta: str = ""
    method: str = ""
    encoder: str = ""
    reward: str = ""
    seed: str = ""
    system: str = ""
    base: str = ""

    @classmethod
    def of(cls, values: Mapping[str, str | int]) -> Wildcards:
        """From values as paths have them: `k` may be a number, or a name as `all`."""
        given: dict[str, Any] = dict(values)
        if "k" in given:
            given["k"] = read_k(str(given["k"]))
        return cls(**given)

    @classmethod
    def every(cls, **values: Iterable[Any]) -> list[Wildcards]:
        """One per combination of these values; those of the last field vary fastest."""
        return [cls(**dict(zip(values, one, strict=True))) for one in itertools.product(*values.values())]

    def shown(self) -> dict[str, str]:
        """The values as paths have them."""
        return {**self._asdict(), "k": str(self.k)}


def _nothing(_plan: StagePlan, _job: Wildcards) -> Files:
    return {}


@dataclass(frozen=True, kw_only=True)
class Stage(Generic[P]):
    """One step of a run, which many jobs do.

    Attributes:
        name: of the stage on the command line; of its rule, or what the names of its rules begin with.
        output: path of a job's one file below the folder of the run, with fields of `Wildcards`
            (`traces/{dataset}/{variant}/{model}/{shard}.jsonl`); or a function that returns all files of a job.
        combinations: the jobs of a run, without their shards.
        inputs: input files of a job, by name.
        work: does a job. It is given those that its parameters name of: `job` (a coroutine function: access to
            models) or `plan`, the input files as `Path` (lists of them), the output file as `out`, and the wildcards.
        reads: all settings that the output depends on, in addition to the input files. A job whose settings changed is
            run again.
        place: path of log and of benchmark file below their folders, without suffix; that of the output if empty.
        asks: the wildcard that names the model whose calls the job makes, or a function that returns all such models.
        batches: whether the calls may be sent as a batch.
        record: type of the rows of the output, where these may rest on calls that were lost.
        lost: number of calls (or verdicts) of a row that the provider failed.
        counted: number of calls (or verdicts) of a row: too large a share of lost ones fails the job.
        account: name of the stage in the tables of cost and of the estimate; `name` if empty.
    """

    name: str
    output: str | Callable[[P, Wildcards], list[str]]
    combinations: Callable[[P], Iterable[Wildcards]]
    work: Callable[..., Any]
    inputs: Callable[[P, Wildcards], Files] = _nothing
    reads: Callable[[P, Wildcards], Mapping[str, Any]] | None = None
    place: str = ""
    asks: str | Callable[[P, Wildcards], Sequence[str]] = ""
    batches: bool = False
    record: type[Record] | None = None
    lost: Callable[[Any], int] | None = None
    counted: Callable[[Any], int] | None = None
    account: str = ""

    @property
    def where(self) -> str:
        """Path of log and benchmark file, without suffix."""
        if self.place or not isinstance(self.output, str):
            return self.place or f"{self.name}/{{dataset}}"
        return self.output.rpartition(".")[0]

    @property
    def paid(self) -> bool:
        """Whether the stage asks models."""
        return bool(self.asks)


class JobPattern(NamedTuple):
    """How benchmark files of a stage are named.

    `pattern` matches the path below the folder of benchmark files, without suffix; its groups are the fields, and
    `asked` for the field with the model that is asked. Where no field has it, it is `model`.
    """

    stage: str
    pattern: str
    model: str


class StagePlan:
    """The files of all stages of a run. They are known before any job.

    Args:
        run: folder of the run.
        stages: all of them, in any order.
        names: the values that each field may have, for reading paths.
    """

    def __init__(self, run: str, stages: Iterable[Stage[Any]], names: Mapping[str, Iterable[str]]) -> None:
        self.run = run
        self.stages = {stage.name: stage for stage in stages}
        self.constraints = {field: either(values) for field, values in names.items()}
        self.constraints |= {"shard": "[a-z0-9-]+", "k": "|".join((r"\d+", *K_NAMES))}

    def shards(self, dataset: str) -> Sequence[str]:
        """Names of the files that the users of a data set lie in."""
        raise NotImplementedError

    def template(self, name: str) -> str:
        """Path of the output of a stage, with fields in braces. Raises ConfigError for a stage of several files."""
        output = self.stages[name].output
        if not isinstance(output, str):
            raise ConfigError(f"stage {name} writes several files, which have no one path")
        return f"{self.run}/{output}"

    def path(self, name: str, **wildcards: str | int) -> str:
        """Output of one job of a stage."""
        return self.template(name).format(**Wildcards.of(wildcards).shown())

    def log(self, name: str, **wildcards: str) -> str:
        """Log of a stage: with fields in braces, or of one job."""
        return f"{self.run}/logs/{_filled(self.stages[name].where, wildcards)}.log"

    def benchmark(self, name: str, **wildcards: str) -> str:
        """Benchmark file of a stage: with fields in braces, or of one job."""
        return f"{self.run}/benchmarks/{_filled(self.stages[name].where, wildcards)}.tsv"

    def files(self, name: str, **wildcards: str | int) -> list[str]:
        """All outputs of one job."""
        output = self.stages[name].output
        found = Wildcards.of(wildcards)
        return [self.path(name, **wildcards)] if isinstance(output, str) else output(self, found)

    def inputs(self, name: str, **wildcards: str | int) -> Files:
        """Input files of one job, by name."""
        return self.stages[name].inputs(self, Wildcards.of(wildcards))

    def reads(self, name: str, **wildcards: str | int) -> str:
        """The settings that one job depends on, as canonical JSON: a job with other settings is run again."""
        reads = self.stages[name].reads
        return canonical_json(reads(self, Wildcards.of(wildcards))) if reads else ""

    def models(self, name: str, **wildcards: str | int) -> tuple[str, ...]:
        """Models that one job asks."""
        asks, found = self.stages[name].asks, Wildcards.of(wildcards)
        if isinstance(asks, str):
            return (getattr(found, asks),) if asks else ()
        return tuple(asks(self, found))

    def jobs(self, name: str, **only: str) -> list[Wildcards]:
        """Jobs of a stage in this run; `only` those with these values."""
        stage = self.stages[name]
        found = [job for job in stage.combinations(self) if all(getattr(job, key) == only[key] for key in only)]
        if "{shard}" not in stage.where:
            return found
        return [job._replace(shard=shard) for job in found for shard in self.shards(job.dataset)]

    def paths(self, name: str, **only: str) -> list[str]:
        """Outputs of all jobs of a stage in this run; `only` of those with these values."""
        return [path for job in self.jobs(name, **only) for path in self.files(name, **job._asdict())]

    def sources(self, name: str, key: str) -> list[str]:
        """Files that the jobs of a stage read as input `key`, each once."""
        inputs = (self.inputs(name, **job._asdict())[key] for job in self.jobs(name))
        return list(dict.fromkeys(path for given in inputs for path in ([given] if isinstance(given, str) else given)))

    def parse(self, path: str) -> tuple[Stage[Any], Wildcards] | None:
        """The stage that writes a file, and the job's wildcards; None for other files."""
        for name, stage in self.stages.items():
            found = isinstance(stage.output, str) and re.fullmatch(self._pattern(self.template(name)), path)
            if found:
                return stage, Wildcards.of(found.groupdict())
        return None

    def makers(self) -> dict[str, tuple[Stage[Any], Wildcards]]:
        """Every file that a stage writes in this run, to the stage and the job; inputs stand before outputs."""
        made = {
            path: (stage, job)
            for name, stage in self.stages.items()
            for job in self.jobs(name)
            for path in self.files(name, **job._asdict())
        }
        inputs = {path: self._flat(stage.inputs(self, job)) for path, (stage, job) in made.items()}
        return {path: made[path] for path in graphlib.TopologicalSorter(inputs).static_order() if path in made}

    def lineage(self) -> dict[str, list[str]]:
        """Every file that a stage writes, to the files that it is made from; inputs stand before outputs.

        Scores, tables, figures and pages are not in it: they follow from all of these.
        """
        return {path: self._flat(stage.inputs(self, job)) for path, (stage, job) in self.makers().items()}

    def job_patterns(self) -> list[JobPattern]:
        """How the benchmark files of this run are named."""
        found = []
        for name, stage in self.stages.items():
            account = stage.account or name
            if isinstance(stage.asks, str):
                pattern = self._pattern(stage.where).replace(f"(?P<{stage.asks}>", "(?P<asked>")
                found.append(JobPattern(account, pattern, ""))
                continue
            for job in dict.fromkeys(stage.combinations(self)):
                values = {field: value for field, value in job._asdict().items() if value and field != "k"}
                pattern = self._pattern(stage.where, values)
                found.append(JobPattern(account, pattern, self.models(name, **job._asdict())[0]))
        return found

    def arguments(self, name: str, wildcards: Wildcards, /, **more: object) -> dict[str, Any]:
        """What the work of a stage is called with for one job: what its parameters name of the job's input files, its
        wildcards and `more`."""
        stage = self.stages[name]
        inputs = {
            name: Path(files) if isinstance(files, str) else [Path(path) for path in files]
            for name, files in stage.inputs(self, wildcards).items()
        }
        given = {**wildcards._asdict(), **inputs, "plan": self, **more}
        return {name: given[name] for name in inspect.signature(stage.work).parameters if name in given}

    def _flat(self, inputs: Files) -> list[str]:
        return [path for files in inputs.values() for path in ([files] if isinstance(files, str) else files)]

    def _pattern(self, template: str, values: Mapping[str, str] | None = None) -> str:
        """Regular expression of the paths of a template; fields of `values` have these values."""
        parts = re.split(r"\{(\w+)\}", template)
        known = {field: re.escape(value) for field, value in (values or {}).items()}
        groups = (f"(?P<{field}>{known.get(field, self.constraints[field])})" for field in parts[1::2])
        return "".join(text for pair in zip(map(re.escape, parts[::2]), [*groups, ""], strict=True) for text in pair)


def either(names: Iterable[str]) -> str:
    """Regular expression of exactly these names; one that matches nothing where there are none."""
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True)) or "(?!)"


def _filled(template: str, wildcards: Mapping[str, str]) -> str:
    return template.format(**wildcards) if wildcards else template
