"""Marks of models that a provider refused for good: every later job reads them and makes no call.

They lie beside the store, in `<store>.refused`, a JSON file for each model, endpoint and key, named by a salted
fingerprint of these. So with another key or endpoint there is no mark, and the model is asked again; `personalrm models
unblock` lifts a mark by hand.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from personalrm.core.files import atomic_write_text, canonical_json, file_lock
from personalrm.llm.limits.faults import secret_values
from personalrm.llm.types import ModelSpec

DEFAULT_STORE = Path("store/responses.sqlite")
_SALT = "salt"
_SALT_BYTES = 32

log = logging.getLogger("personalrm.llm")


class Refusals:
    """The mark of one model, as reached with the key that the environment holds now.

    The key is known by a keyed hash (HMAC-SHA-256) alone, whose salt lies beside the marks, readable by its owner only.
    A folder that cannot be read or written has no marks: each job then asks for itself, as without them.

    Args:
        store: the response store's file.
        spec: the model. Without `api_key_env` every credential of the environment counts as its key, because litellm
            finds the right one by itself.
    """

    def __init__(self, store: Path, spec: ModelSpec) -> None:
        self._store = store
        self._folder = marks_folder(store)
        self._spec = spec
        self._path: Path | None = None

    def read(self) -> str | None:
        """What the provider said when it refused, or None if there is no mark."""
        try:
            path = self._mark()
            return _message(path) if path is not None else None
        except OSError as error:
            log.warning("model %s: marks of refused models cannot be read (%s)", self._spec.name, error)
            return None

    def write(self, message: str) -> str:
        """Leave a mark; returns `message` (without secrets) with what lifts it, which is what later jobs end with."""
        whole = (
            f"{message} No job asks this model again until its key or api_base in the config changes, or after: "
            f"python -m personalrm models unblock {self._spec.name} --store {self._store}"
        )
        try:
            path = self._mark(make_salt=True)
            if path is not None:
                mark = {"name": self._spec.name, "model": self._spec.model, "message": whole}
                atomic_write_text(path, canonical_json(mark) + "\n")
        except OSError as error:
            log.warning("model %s: no mark of the refusal can be written (%s)", self._spec.name, error)
            return message
        return whole

    def _mark(self, *, make_salt: bool = False) -> Path | None:
        """The mark's file, whether it is there or not; None while no mark was ever written beside this store."""
        if self._path is None:
            salt = self._folder / _SALT
            if make_salt:
                _make_salt(salt)
            if not salt.exists():
                return None
            # All under the salt, not the key alone: an address may hold a password.
            known_by = [self._spec.backend, self._spec.model, self._spec.api_base, *_credentials(self._spec)]
            fingerprint = hmac.new(salt.read_bytes(), canonical_json(known_by).encode(), "sha256").hexdigest()
            self._path = self._folder / f"{fingerprint[:32]}.json"
        return self._path


def marks_folder(store: Path) -> Path:
    """Where the marks beside `store` lie."""
    return store.with_name(f"{store.name}.refused")


def unblock(store: Path, names: Sequence[str] = ()) -> list[str]:
    """Lift the marks of models `names` (of the config, or providers' ids; all if empty); returns whose were lifted."""
    lifted = []
    for path in sorted(marks_folder(store).glob("*.json")):
        mark = _read(path)
        if not names or {mark.get("name"), mark.get("model")} & set(names):
            path.unlink(missing_ok=True)
            lifted.append(str(mark.get("name", path.name)))
    return lifted


def _credentials(spec: ModelSpec) -> list[str]:
    if spec.api_key_env is not None:
        return [os.environ.get(spec.api_key_env, "").strip()]
    # Only litellm looks for a key that the config does not name.
    return sorted(secret_values()) if spec.backend == "litellm" else []


def _make_salt(path: Path) -> None:
    with file_lock(path.with_name(f"{_SALT}.lock")):
        if not path.exists():
            # atomic_write_text makes files that all may read.
            private = path.with_name(f"{_SALT}.new")
            handle = os.open(private, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
            with os.fdopen(handle, "w") as stream:
                stream.write(secrets.token_hex(_SALT_BYTES))
            private.replace(path)


def _message(path: Path) -> str | None:
    return _read(path).get("message") if path.exists() else None


def _read(path: Path) -> dict[str, str]:
    """A mark; empty if it is damaged, so that the model is asked again."""
    try:
        mark = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return {name: str(value) for name, value in mark.items()} if isinstance(mark, dict) else {}
