"""What the name of a base model names, without torch: an embedded model, a folder, or a hub repository."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from personalrm.core.errors import ConfigError
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
