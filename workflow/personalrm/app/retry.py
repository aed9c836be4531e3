"""`personalrm retry`: remove what depends on lost calls, so that the next run of Snakemake makes these calls again.

Snakemake makes a missing file again only if a target is missing, too: a file with lost answers is removed together with
all files that were made from it, up to the tables. Nothing is removed from the store but failures that an earlier
version stored as answers, so that the next run makes the lost calls and what follows from them, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from personalrm.app.snakefile_support import STATE, clear_stale_lock
from personalrm.core.errors import DataError
from personalrm.core.records import Record, read_records
from personalrm.llm.cache.store import ResponseStore
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.config_load import load_config, read_resolved
from personalrm.studies.synthesizeme.plan import Plan

Wanted = Callable[[Record], int]
"""Number of calls behind a row that are to be made again; 0 where the row stays."""

_KEY = re.compile(r'"([0-9a-f]{64})"')
OF_DATA = ("benchmark", "funnel", "filter_sensitivity")
"""Tables and figures that no answer of learning or judging enters."""


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


def plan_retry(config: Config, wanted: Wanted | None = None, dropped: Collection[str] = ()) -> Retry:
    """What is to be removed so that answers are asked for again: those of lost calls (or what `wanted` says), and those
    whose keys are `dropped`.

    Raises DataError for a broken file.
    """
    plan = Plan(config)
    makers = plan.makers()
    rest: dict[str, int] = {}
    follow: dict[str, None] = {}
    for path, inputs in plan.lineage().items():
        stage = makers[path][0]
        if stage.record and stage.lost and Path(path).is_file():
            rows = read_records(Path(path), stage.record)
            count = sum(map(wanted or stage.lost, rows)) + _mentions(Path(path), dropped)
            rest |= {path: count} if count else {}
        elif path.endswith((".json", ".jsonl")) and (count := _mentions(Path(path), dropped)):
            rest[path] = count
        if path not in rest and not (rest.keys() | follow.keys()).isdisjoint(inputs):
            follow[path] = None
    if not rest:
        return Retry({}, ())
    data = any(path.startswith(f"{plan.run}/data/") for path in (*rest, *follow))
    there = [path for path in map(Path, follow) if path.is_file()]
    return Retry({Path(path): count for path, count in rest.items()}, (*there, *_results(Path(plan.run), data=data)))


def _mentions(path: Path, keys: Collection[str]) -> int:
    """Number of `keys` that a file's rows depend on."""
    if not keys or not path.is_file():
        return 0
    return len(set(_KEY.findall(path.read_text(encoding="utf-8"))) & set(keys))


def _results(run: Path, *, data: bool) -> list[Path]:
    """Scores, tables, figures and pages of a run: they cost no call. Those `OF_DATA` stay where the data do."""
    made = [*run.glob("data/*.parquet"), *run.glob("tables/*"), *run.glob("figures/*")]
    pages = [run / name for name in ("manifest.json", "report.html", "transcripts.html")]
    return sorted(path for path in (*made, *pages) if path.is_file() and (data or path.stem not in OF_DATA))


def retry(target: Path, *, dry_run: bool = False) -> str:
    """Remove what depends on lost calls in a run, given its folder or config file; returns a report as text.

    Raises DataError where the run is not known here, or Snakemake is at work on it.
    """
    config, configfile = _config_of(target)
    clear_stale_lock()
    if not dry_run and list(Path(".snakemake/locks").glob("*.lock")):
        raise DataError("Snakemake is at work in this folder; wait for its end, and give the command again")
    broken = _broken_off(config)
    found = plan_retry(config, dropped=broken)
    if not found.rest and not broken:
        return f"{config.results / config.run}: nothing rests on lost calls; there is nothing to ask again.\n"
    if not dry_run:
        # Files first: cut short, the same command finds the answers again, and with them the files.
        found.remove()
        _forget(config, broken)
    would = "would be removed" if dry_run else "removed"
    stored = [
        f"{len(broken)} stored answers are failures that an earlier version took for answers (broken off, or empty "
        f"without an end); they {'would be' if dry_run else 'are'} dropped from {config.store}."
    ]
    return "\n".join(
        [
            *(stored if broken else []),
            f"{sum(found.rest.values())} calls were lost to provider errors. Files that rest on them, {would}:",
            *(f"  {path}: {count}" for path, count in found.rest.items()),
            f"{len(found.follow)} files that were made from these, {would}:",
            *(f"  {path}" for path in found.follow),
            "No other stored answer is touched. This asks for the lost calls and what follows from them:",
            f"  snakemake --cores all --configfile {configfile}",
            "",
        ]
    )


def _broken_off(config: Config) -> list[str]:
    """Keys of stored answers that are failures."""
    if not config.store.is_file():
        return []
    with ResponseStore(config.store, config.store_journal) as store:
        return store.broken_off()


def _forget(config: Config, keys: Collection[str]) -> None:
    if keys:
        with ResponseStore(config.store, config.store_journal) as store:
            for key in keys:
                store.forget(key)


def _config_of(target: Path) -> tuple[Config, Path]:
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
