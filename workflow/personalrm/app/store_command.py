"""`personalrm store migrate`: convert a response store of an earlier version, and say what became of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from personalrm.llm.cache.migrate import Migration, migrate
from personalrm.studies.preflight import load_environment
from personalrm.studies.synthesizeme.config_load import load_config


def migrate_store(old: Path, configs: Sequence[Path] = (), to: Path | None = None) -> str:
    """Convert `old`; returns what was done, for people. Raises StoreError and ConfigError."""
    load_environment()
    specs = [spec for path in configs for spec in load_config(path).specs.values()]
    return _told(migrate(old, specs, to))


def _told(done: Migration) -> str:
    lines = [f"{done.path}: {done.answers} answers kept; the old file is {done.kept_as}."]
    if done.bad:
        lines.append(f"{done.bad} more failed their checksum: they stay in the old file, and are asked again.")
    lines += [f"  {count} of {identity}" for identity, count in done.claimed.items()]
    for identity, count in done.ambiguous.items():
        lines.append(
            f"  {count} of {identity} may come from more than one entry of `models`, and are given to none of them. If "
            f"all came from one entry, migrate {done.kept_as} again with a config that has this entry alone."
        )
    if done.unclaimed:
        lines.append(
            f"Kept for hosted and embedded models of this id. If a server of your own gave them, migrate "
            f"{done.kept_as} again with --config, the config file that names its endpoint:"
        )
        lines += [f"  {count} of {identity}" for identity, count in done.unclaimed.items()]
    return "\n".join((*lines, ""))
