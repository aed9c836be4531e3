"""The file of a fitted object: its parameters and its `Profile`, as JSON with a version. Never a key."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from personalrm.core.errors import DataError
from personalrm.core.files import atomic_write_text
from personalrm.core.records import Profile, Record
from personalrm.data.sharding import shard_name

SUFFIX = ".profile.json"


class SavedProfile(Record):
    """What a file holds: who made it, the parameters that the object was made with, and what was learned.

    `model_id` is the model that learned; `settings` says how to reach it again, unless it was an `lm` (`own_model`).
    """

    kind: Literal["personalrm.SynthesizeMe"] = "personalrm.SynthesizeMe"
    personalrm: str
    model_id: str
    own_model: bool = False
    settings: dict[str, Any]
    profile: Profile


def write_saved(path: Path, saved: SavedProfile) -> Path:
    """Write the file, whole or not at all; returns its path."""
    file = _named(path, saved.profile.user_id)
    try:
        atomic_write_text(file, saved.model_dump_json(indent=1) + "\n")
    except OSError as error:
        raise DataError(f"{file}: cannot be written ({error.strerror or error}); give another path") from error
    return file


def read_saved(path: Path, user_id: str | None) -> SavedProfile:
    """Read the file `path`, or in a folder that of `user_id`, or its only one.

    Raises DataError where there is none, several, another user's, or one that this version does not know.
    """
    file = _find(path, user_id)
    try:
        saved = SavedProfile.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error}); save the fitted object again") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise DataError(
            f"{file}: {where}: {first['msg']}; not a profile that this version of personalrm wrote: fit and save again"
        ) from error
    if user_id is not None and saved.profile.user_id != user_id:
        raise DataError(
            f"{file}: is the profile of user {saved.profile.user_id!r}, not of {user_id!r}; correct path or user_id"
        )
    return saved


def _named(path: Path, user_id: str) -> Path:
    """The file for a user: `path`, where it ends in .json, else one in the folder `path`, named after the user."""
    return path if path.suffix == ".json" else path / f"{shard_name(user_id)}{SUFFIX}"


def _find(path: Path, user_id: str | None) -> Path:
    if path.is_dir() and user_id is None:
        found = sorted(path.glob(f"*{SUFFIX}"))
    else:
        file = path if path.is_file() else _named(path, user_id or "")
        found = [file] if file.is_file() else []
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{path}: holds profiles of {len(found)} users; give user_id, or the file of one")
    whose = "" if user_id is None else f" of user {user_id!r}"
    raise DataError(f"{path}: no saved profile{whose} there; fit and save(path) first, or correct the path")
