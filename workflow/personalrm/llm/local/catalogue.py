"""Which embedded models exist: file, size, SHA-256, licence, and where the bytes can be had.

The catalogue itself is `catalogue.json`. The wheels named there are carriers of bytes: they are downloaded
and read as zip files, never installed or imported, and the SHA-256 of the assembled file decides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from personalrm.core.errors import EmbeddedModelError

# Ids and file names become paths, packages and versions arguments of pip: they must be plain names.
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,120}$")]
_Text = Annotated[str, Field(min_length=1)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(strict=True, gt=0)]


@dataclass(frozen=True, config={"extra": "forbid"})
class HubFile:
    """A file of a Hugging Face repository (`owner/name`); `revision` None stands for `main`."""

    repo: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")]
    file: _Text
    revision: _Name | None = None


@dataclass(frozen=True, config={"extra": "forbid"})
class WheelPart:
    """One wheel of the package index that carries a part of a model: `member` is the path inside it, None the whole
    wheel."""

    package: _Name
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9.!+_-]+$")]
    member: _Text | None
    sha256: _Sha256


@dataclass(frozen=True, config={"extra": "forbid"})
class CatalogueEntry:
    """One model: `bytes` and `sha256` are those of the whole file; `wheels` are in order of concatenation.

    `context_length` is in tokens, what the model was trained for. `hub` None or `wheels` empty means that
    the source does not have the model. A `chat` model is a GGUF file; an `encoder` is a zip file with a folder of
    `config.json`, and only makes features of texts.
    """

    id: _Name
    file: _Name
    bytes: _Count
    sha256: _Sha256
    licence: _Text
    context_length: _Count
    hub: HubFile | None = None
    wheels: tuple[WheelPart, ...] = ()
    kind: Literal["chat", "encoder"] = "chat"

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> CatalogueEntry:
        """Read an entry of the JSON catalogue.

        Raises EmbeddedModelError that names the entry and its first field that is missing, unknown or malformed.
        """
        try:
            return TypeAdapter(cls).validate_python(dict(values))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(map(str, first["loc"]))
            raise EmbeddedModelError(
                f"model catalogue, entry {values.get('id', '?')!r}, field {field!r}: {first['msg']}, "
                f"not {str(first['input'])[:150]!r}."
            ) from None


@cache
def load_catalogue() -> tuple[CatalogueEntry, ...]:
    """The models that come with the library, smallest first."""
    text = files("personalrm.llm.local").joinpath("catalogue.json").read_text(encoding="utf-8")
    return tuple(CatalogueEntry.from_mapping(values) for values in json.loads(text))


def get_entry(model_id: str, *, encoders: bool = False) -> CatalogueEntry:
    """The entry named `model_id`, of chat models alone unless `encoders` are allowed too.

    Raises EmbeddedModelError, listing the known ids, for an unknown one.
    """
    known = {entry.id: entry for entry in load_catalogue() if encoders or entry.kind == "chat"}
    if model_id not in known:
        raise EmbeddedModelError(f"Unknown embedded model {model_id!r}. Known ids: {', '.join(known)}.")
    return known[model_id]
