"""The bank of attributes: named properties by which two answers to one conversation can be compared.

A bank is a YAML file, `resources/attributes.yaml` or one of the user's own:

    version: 1
    attributes:
      - id: warm                                     # letters, digits and _, a letter first
        group: tone                                  # one of `Group`
        comparative: warmer and more encouraging     # completes "Which response is …?"
        more: warm, encouraging answers              # completes "This person prefers …"
        less: matter-of-fact answers without praise  # the same for who prefers less of it
        core: true                                   # optional: in the small set (`use: core`)
        source: Why it is in the bank.               # optional

Models are asked by `comparative` alone; `more` and `less` are for reading weights out.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError

from personalrm.core.errors import DataError
from personalrm.core.files import canonical_json, stable_hash

DEFAULT = "default"
"""Instead of an attribute: which response the unpersonalised judge prefers."""
DEFAULT_BANK = Path(__file__).with_name("attributes.yaml")
"""The bank of the repository. In a checkout it is a link to `resources/attributes.yaml`."""
Group = Literal[
    "tone", "form", "length", "depth", "evidence", "values", "caution", "register", "interaction", "creativity"
]
Use = Literal["all", "core"] | list[str]
"""Which attributes of a bank are asked about: all, those marked `core`, or these ids."""


def _not_default(value: object) -> object:
    if value == DEFAULT:
        raise ValueError(f"{DEFAULT!r} stands for the judge's own preference; give another id")
    return value


def _phrase(longest: int) -> StringConstraints:
    return StringConstraints(strip_whitespace=True, min_length=1, max_length=longest, pattern=r"^[^\n]+$")


_Id = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=40), BeforeValidator(_not_default)]


class Attribute(BaseModel):
    """One attribute. `comparative` completes "Which response is …?"; `more` and `less` say what its poles are like."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: _Id
    group: Group
    comparative: Annotated[str, _phrase(100)]
    more: Annotated[str, _phrase(200)]
    less: Annotated[str, _phrase(200)]
    core: bool = False
    source: str = ""


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    version: Literal[1]
    attributes: list[Attribute]


@dataclass(frozen=True)
class Bank:
    """Attributes in the order of their file; `where` names the file."""

    attributes: tuple[Attribute, ...]
    where: str = ""

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids in order."""
        return tuple(attribute.id for attribute in self.attributes)

    @property
    def asked_sha(self) -> str:
        """SHA-256 of all that models are asked: ids and comparatives in order."""
        return stable_hash(canonical_json([[one.id, one.comparative] for one in self.attributes]))

    def select(self, use: Use) -> Bank:
        """The attributes that `use` names, in the order of the file.

        Raises DataError for an id that is not in the bank, and where no attribute is left.
        """
        if not isinstance(use, str):
            unknown = [name for name in use if name not in self.ids]
            if unknown:
                raise DataError(f"{self.where}: no attribute {unknown[0]!r}; there are {', '.join(self.ids)}")
        kept = tuple(one for one in self.attributes if use == "all" or (one.core if use == "core" else one.id in use))
        if not kept:
            wanted = "is marked core; mark some with core: true" if use == "core" else "is named; name some"
            raise DataError(f"{self.where}: no attribute {wanted}, or use all")
        return Bank(kept, self.where)


def load_bank(path: Path | None = None) -> Bank:
    """The bank in a file; that of the repository if none is given.

    Raises DataError with one line for each problem: file, line, field, and what to do.
    """
    path = path or DEFAULT_BANK
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise DataError(f"{path}: no such file of attributes; correct the path, or leave it out") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; correct the path, or leave it out") from error
    return _read(str(path), text)


@functools.lru_cache(maxsize=8)
def _read(where: str, text: str) -> Bank:
    """The bank in `text`. A plan reads it for each of its jobs."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
        twice = list(_given_twice(node))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise DataError(f"{where}{line}: not valid YAML: {getattr(error, 'problem', None) or error}") from error
    except RecursionError:
        raise DataError(f"{where}: not a bank: nested without end; remove brackets and aliases (*)") from None
    except ValueError as error:
        raise DataError(f"{where}: not valid YAML: {error}; put dates and numbers in quotes") from error
    problems = [(line, f"{key!r} is given twice; remove one of them") for line, key in twice]
    attributes: list[Attribute] = []
    try:
        attributes = _File.model_validate(value).attributes
        if not attributes:
            problems.append((_line(node, ("attributes",)), "attributes: the bank is empty; add attributes"))
    except ValidationError as error:
        problems += [(_line(node, one["loc"]), _said(value, one)) for one in error.errors()]
    problems += [
        (_line(node, ("attributes", place, "id")), f"attribute {one.id!r}: the id is given twice; rename one of them")
        for place, one in enumerate(attributes)
        if one.id in [other.id for other in attributes[:place]]
    ]
    if problems:
        raise DataError("\n".join(f"{where}, line {line}: {problem}" for line, problem in sorted(problems)))
    return Bank(tuple(attributes), where)


_REMEDIES = {
    "missing": "is missing; add it",
    "extra_forbidden": f"no such key; correct its spelling, or remove it (keys: {', '.join(Attribute.model_fields)})",
    "list_type": "must be a list of attributes",
    "bool_parsing": "must be true or false",
    "string_too_long": "is too long (at most {max_length} characters); shorten it",
    "string_too_short": "is empty; fill it in",
    "string_pattern_mismatch": "does not match {pattern}; use small letters, digits and _ in ids, one line in texts",
    "literal_error": "must be {expected}",
    "string_type": "must be a text; put it in quotes",
    "model_type": "must be keys and values: version: 1, and a list of attributes",
}
"""What is wrong and what to do, by pydantic's type of error; its own words for all others."""


def _said(value: object, error: Any) -> str:  # noqa: ANN401 - a dictionary of pydantic's
    """One problem: the attribute by its id, the field, and what to do."""
    what = _REMEDIES.get(error["type"], error["msg"].removeprefix("Value error, ")).format(**error.get("ctx") or {})
    loc = error["loc"]
    if loc[:1] != ("attributes",) or len(loc) < 2:
        return f"{'.'.join(map(str, loc)) or 'the file'}: {what}"
    if error["type"] == "model_type":
        what = "must be keys and values: id, group, comparative, more and less"
    given = value["attributes"][loc[1]] if isinstance(value, dict) else None
    name = given.get("id") if isinstance(given, dict) else None
    which = f"number {loc[1] + 1}" if name is None else repr(name)
    return ": ".join((f"attribute {which}", *map(str, loc[2:]), what))


def _line(node: yaml.Node | None, loc: Sequence[int | str]) -> int:
    """The line of a field, or of the innermost thing around it that is there; the first line is 1."""
    line = node.start_mark.line if node else 0
    for part in loc:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
        elif isinstance(node, yaml.MappingNode) and (found := [v for k, v in node.value if k.value == part]):
            node = found[-1]
        else:
            break
        line = node.start_mark.line
    return line + 1


def _given_twice(node: yaml.Node | None) -> Iterator[tuple[int, str]]:
    """Line and name of each key that a mapping has already; YAML would take the last silently."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.start_mark.line + 1, str(key.value)
            seen.add(str(key.value))
            yield from _given_twice(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _given_twice(value)
