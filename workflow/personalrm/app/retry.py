"""`personalrm retry`: remove what depends on lost calls, so that the next run of Snakemake makes these calls again.

Snakemake makes a missing file again only if a target is missing, too: a file with lost answers is removed together with
all files that were made from it, up to the tables. Nothing is removed from the store but failures that an earlier
version stored as answers, so that the next run makes the lost calls and what follows from them, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from personalrm.app.snakefile_support import STATE, clear_stale_lock
from personalrm.core.errors import DataError
from personalrm.core.records import read_records
from personalrm.llm.cache.store import ResponseStore
from personalrm.studies.config_load import load_config, read_resolved
from personalrm.studies.study import plan_of
from personalrm.studies.study_config import StudyConfig

_KEY = re.compile(r'"([0-9a-f]{64})"')
OF_DATA = ("benchmark", "funnel", "filter_sensitivity")
"""Tables and figures that depend on no answer of learning or judging."""


@dataclass(frozen=True)
class Retry:
    """Files to remove: `rest` maps files whose rows depend on lost calls to the number of these calls; `follow` lists
    the files that were made from them, inputs first."""

    rest: Mapping[Path, int]
    follow: tuple[Path, ...]

    def remove(self) -> None:
        """Remove all of them. What was made last goes first: cut short, the same command finds the rest again."""
        for path in (*reversed(self.follow), *reversed(list(self.rest))):
            path.unlink(missing_ok=True)


def plan_retry(config: StudyConfig, dropped: Collection[str] = ()) -> Retry:
    """The files that rest on lost calls, or on answers whose keys are `dropped`, and what was made from them.

    Raises DataError for a broken file.
    """
    plan = plan_of(config)
    makers, run = plan.makers(), Path(plan.run)
    rest: dict[Path, int] = {}
    follow: dict[Path, None] = {}
    for path, inputs in ((Path(path), set(map(Path, files))) for path, files in plan.lineage().items()):
        stage, count = makers[str(path)][0], 0
        if path.is_file() and stage.record and stage.lost:
            count = sum(map(stage.lost, read_records(path, stage.record)))
        if dropped and path.is_file() and path.suffix in (".json", ".jsonl"):
            count += len({*_KEY.findall(path.read_text(encoding="utf-8"))} & {*dropped})
        if count:
            rest[path] = count
        elif inputs & (rest.keys() | follow.keys()):
            follow[path] = None
    if not rest:
        return Retry({}, ())
    # Scores, tables, figures and pages cost no call. Those `OF_DATA` stay where the data do.
    data = any((run / "data") in path.parents for path in (*rest, *follow))
    made = [path for pattern in ("data/*.parquet", "tables/*", "figures/*") for path in run.glob(pattern)]
    made += [run / name for name in ("manifest.json", "report.html", "transcripts.html")]
    results = sorted(path for path in made if path.is_file() and (data or path.stem not in OF_DATA))
    return Retry(rest, (*(path for path in follow if path.is_file()), *results))


def retry(target: Path, *, dry_run: bool = False) -> str:
    """Remove what depends on lost calls in a run, given its folder or config file; returns a report as text.

    Raises DataError where the run is not known here, or Snakemake is at work on it.
    """
    config, configfile = _config_of(target)
    clear_stale_lock()
    if not dry_run and list(Path(".snakemake/locks").glob("*.lock")):
        raise DataError("Snakemake is at work in this folder; wait for its end, and give the command again")
    broken: list[str] = []
    if config.store.is_file():
        with ResponseStore(config.store, config.store_journal) as store:
            broken = store.broken_off()
    found = plan_retry(config, broken)
    if not found.rest and not broken:
        return f"{config.results / config.run}: nothing rests on lost calls; there is nothing to ask again.\n"
    if not dry_run:
        # Files first: cut short, the same command finds the answers again, and with them the files.
        found.remove()
        if broken:
            with ResponseStore(config.store, config.store_journal) as store:
                for key in broken:
                    store.forget(key)
    would = "would be removed" if dry_run else "removed"
    lines = [
        f"{sum(found.rest.values())} calls were lost to provider errors. Files that rest on them, {would}:",
        *(f"  {path}: {count}" for path, count in found.rest.items()),
        f"{len(found.follow)} files that were made from these, {would}:",
        *(f"  {path}" for path in found.follow),
        "No other stored answer is touched. This asks for the lost calls and what follows from them:",
        f"  snakemake --cores all --configfile {configfile}",
    ]
    if broken:
        lines.insert(
            0,
            f"{len(broken)} stored answers are failures that an earlier version took for answers (broken off, or empty "
            f"without an end); they {'would be' if dry_run else 'are'} dropped from {config.store}.",
        )
    return "\n".join((*lines, ""))


def _config_of(target: Path) -> tuple[StudyConfig, Path]:
    """The config of a run, and its file: that which is given, or the one that the folder's last run wrote."""
    if target.is_file():
        return load_config(target), target
    known = STATE / f"{target.name}.json"
    config = read_resolved(known) if known.is_file() else None
    if config is None or (config.results / config.run).resolve() != target.resolve():
        raise DataError(
            f"{target}: no run of this name was planned here; give its config file, and work in the folder in which "
            "Snakemake was started"
        )
    return config, known
