"""What the name of a base model names, without torch: an embedded model, a folder, or a hub repository."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from personalrm.core.errors import ConfigError
from personalrm.core.files import stable_hash
from personalrm.llm.local.catalogue import load_catalogue


def kind_of_base(name: str, revision: str | None = None) -> Literal["embedded", "folder", "hub"]:
    """An id of the catalogue, a folder, or a hub id (`owner/name`), looked up in that order.

    Raises ConfigError for a name of another form, a folder without a model, and the revision of what has none.
    """
    known = [entry.id for entry in load_catalogue()]
    folder = Path(name)
    if name not in known and not folder.is_dir():
        if name.count("/") != 1 or name.startswith((".", "/")):
            raise ConfigError(
                f"base {name!r}: no folder, no embedded model ({', '.join(known)}), and no hub id (owner/name)"
            )
        return "hub"
    if revision is not None:
        raise ConfigError(f"base {name!r}: is not on the hub and has no revision; remove revision: {revision!r}")
    if name in known:
        return "embedded"
    if not (folder / "config.json").is_file():
        raise ConfigError(f"base {name!r}: the folder has no config.json, so that it holds no model")
    return "folder"


def base_identity(name: str, revision: str | None = None) -> str:
    """What the weights of a base are, as far as it is known without reading them: SHA-256 of an embedded model; names,
    sizes and times of change of the files of a folder; id and revision on the hub."""
    entry = next((entry for entry in load_catalogue() if entry.id == name), None)
    if entry is not None:
        return entry.sha256
    folder = Path(name)
    if folder.is_dir():
        stats = {path.relative_to(folder): path.stat() for path in sorted(folder.rglob("*")) if path.is_file()}
        return stable_hash(*(f"{path} {stat.st_size} {stat.st_mtime_ns}" for path, stat in stats.items()))
    return f"{name}@{revision or 'main'}"
