"""Reading the configuration: strict YAML, one line per problem, each with the path of the key."""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from personalrm.core.errors import ConfigError
from personalrm.core.files import atomic_write_text, canonical_json, stable_hash
from personalrm.studies.study import DEFAULT, study_of
from personalrm.studies.study_config import StudyConfig

_SECRET_HINTS = ("api_key", "apikey", "x_api_key", "authorization", "secret", "password", "token")


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key given twice is an error, not silently the last one."""


_MERGE = "tag:yaml.org,2002:merge"
_READ_AS = {
    f"tag:yaml.org,2002:{tag}": words
    for tag, words in {
        "int": "the number {}",
        "float": "the number {}",
        "bool": "the truth value {}",
        "null": "nothing",
        "timestamp": "a date",
    }.items()
}
"""What YAML makes of a word without quotes that is not text."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[str, int] = {}
    for key_node, _ in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(f"line {line}: a list or a mapping stands where a key is due; a key is one word")
        if key_node.tag == _MERGE:
            continue
        if key_node.tag in _READ_AS:
            raise ConfigError(f"line {line}: the key {_misread(loader, key_node)}")
        key = loader.construct_object(key_node)
        if key in seen:
            raise ConfigError(f"line {line}: {key!r} is given twice (first in line {seen[key]})")
        seen[key] = line
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _number(loader: _StrictLoader, node: yaml.ScalarNode) -> int:
    """A number. Raises ConfigError where YAML 1.1 reads other digits than are written, as in octal numbers and times of
    day; `1_000` and `0x1F` are what they look like."""
    if re.fullmatch(r"[-+]?0[0-9_]+|.*:.*", node.value):
        value = loader.construct_yaml_int(node)
        written = f"{node.value[:40]} is read as the number {value}"
        raise ConfigError(f"line {node.start_mark.line + 1}: {written}; write {value}, or put a name in quotes")
    return loader.construct_yaml_int(node)


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _number)
# YAML gives a single "=" a type of its own; here it is text.
_StrictLoader.add_constructor("tag:yaml.org,2002:value", lambda _, node: str(node.value))


def _misread(loader: _StrictLoader, node: yaml.ScalarNode) -> str:
    """What a word without quotes is read as, and what to do."""
    value = loader.construct_yaml_int(node) if node.tag.endswith(":int") else loader.construct_object(node)
    words = _READ_AS[node.tag].format(str(value).lower()[:40])
    return f"{node.value[:40]} is read as {words}; put it in quotes: {json.dumps(node.value[:40])}"


def _refuse_misread_users(loader: _StrictLoader, root: yaml.Node | None) -> None:
    """Raise ConfigError for user ids that YAML takes for something else than their digits: 007 is the number 7."""
    problems = []
    for user in _nodes(root, ["datasets", "*", "users", "*"]):
        plain_number = user.tag == "tag:yaml.org,2002:int" and re.fullmatch("0|-?[1-9][0-9]*", str(user.value))
        if isinstance(user, yaml.ScalarNode) and user.tag in _READ_AS and not plain_number:
            problems.append(f"line {user.start_mark.line + 1}: in users, {_misread(loader, user)}")
    if problems:
        raise ConfigError("; ".join(problems))


def _nodes(node: yaml.Node | None, pattern: Sequence[str]) -> Iterator[yaml.Node]:
    """Nodes at a path, one part per level; `*` stands for any key, and for the elements of a list."""
    if node is None or not pattern:
        yield from [node] if node else []
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if pattern[0] in ("*", key.value):
                yield from _nodes(value, pattern[1:])
    elif isinstance(node, yaml.SequenceNode) and pattern[0] == "*":
        for value in node.value:
            yield from _nodes(value, pattern[1:])


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML file. Raises ConfigError naming file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such config file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from error
    try:
        loader = _StrictLoader(text.removeprefix("\ufeff"))
        root = loader.get_single_node()
        _refuse_misread_users(loader, root)
        value = None if root is None else loader.construct_document(root)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: is nested too deeply; a config has some five levels") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ConfigError(f"{path}{where}: not valid YAML: {problem}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}; put dates and numbers in quotes") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: must hold keys and values at the top level")
    return value


def parse_config(raw: Mapping[str, Any]) -> Any:  # noqa: ANN401 - the config of the study that `raw` names
    """Typed config from plain values, of the study that they name. Raises ConfigError with all problems, one per
    line."""
    study = study_of(raw.get("study", DEFAULT))
    problems = [
        f"{path}: holds a credential? Keys belong into the environment or .env; give api_key_env instead"
        for pattern in (["models", "*", "*"], *(["models", "*", "extra_body", *("*" * deep)] for deep in (1, 2, 3)))
        for path in _paths(raw, pattern)
        if path.rpartition(".")[2].lower().replace("-", "_") in _SECRET_HINTS
    ]
    for removed, remedy in study.removed.items():
        problems += [f"{path}: removed in version 0.2.0: {remedy}" for path in _paths(raw, removed.split("."))]
    try:
        config = study.config.model_validate(dict(raw))
    except ValidationError as error:
        raise ConfigError("\n".join(problems + _lines(study.config, error.errors(), problems))) from None
    problems = problems or list(study.problems(config))
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def load_config(*paths: Path, overrides: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401
    """Read config files, later ones over earlier ones key by key, then `overrides`."""
    return parse_config(laid_over(merged_yaml(paths), dict(overrides or {})))


def merged_yaml(paths: Sequence[Path]) -> dict[str, Any]:
    """Config files as written, later ones over earlier ones key by key."""
    return functools.reduce(laid_over, map(read_yaml, paths), {})


def laid_over(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, key by key in nested sections; lists and values are replaced."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = laid_over(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return result


def _paths(raw: object, pattern: Sequence[str]) -> list[str]:
    """Paths of the keys in `raw` that match a pattern, one part per level; `*` matches any name.

    >>> _paths({"models": {"a": {"x": 1}, "b": {}}}, ["models", "*", "x"])
    ['models.a.x']
    """
    first, rest = pattern[0], pattern[1:]
    keys = [key for key in raw if first in ("*", key)] if isinstance(raw, Mapping) else []
    if not rest:
        return [str(key) for key in keys]
    return [f"{key}.{path}" for key in keys for path in _paths(raw[key], rest)]  # type: ignore[index]


def _path(config: type[StudyConfig], loc: tuple[Any, ...]) -> str:
    """Path of a key as a user writes it: without what pydantic adds for unions and for the kind of a data set."""
    plain = loc[:2] + loc[3:] if len(config.dataset_kinds) > 1 and loc[:1] == ("datasets",) else loc
    union = ("literal[", "constrained-", "function-", "list[", "tuple[")
    return ".".join(_shown(part) for part in plain if not str(part).startswith(union))


def _shown(part: object) -> str:
    """A key in a message, on one line: quoted if it is odd, and short."""
    key = str(part)
    return key if key and len(key) <= 80 and key.isprintable() else repr(key if len(key) <= 80 else f"{key[:77]}...")


def _lines(config: type[StudyConfig], errors: Sequence[Any], problems: list[str]) -> list[str]:
    """One line per key; the requirements of the members of a union are joined by 'or'."""
    by_path: dict[str, list[str]] = {}
    for item in errors:
        path = _path(config, item["loc"])
        # What was reported already may hold a value that must not be repeated.
        if not any(problem.startswith(f"{path}:") for problem in problems):
            by_path.setdefault(path, []).append(_problem(config, item))
    return [f"{path}: {'; or '.join(texts)}" for path, texts in by_path.items()]


def _problem(config: type[StudyConfig], item: Mapping[str, Any]) -> str:
    """What is wrong with a key, by an error of pydantic."""
    if item["type"] == "extra_forbidden":
        known = _fields_at(config, item["loc"][:-1])
        close = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}" if known else ""
        return f"unknown key{hint}"
    if item["type"] == "missing":
        return "missing"
    if item["loc"][-1:] in (("api_key_env",), ("api_base_env",)):
        # A key that was written instead of its variable's name is not shown.
        return str(item["msg"]).removeprefix("Value error, ")
    given = item.get("input")
    shown = f" (given: {given!r:.80})" if isinstance(given, str | int | float | bool) or given is None else ""
    return f"{item['msg'].removeprefix('Value error, ')}{shown}"


def _fields_at(config: type[StudyConfig], loc: tuple[Any, ...]) -> list[str]:
    """Keys that the section at `loc` knows; for the entries of `models` and `datasets` those of one entry."""
    section: type[BaseModel] | None = config
    if len(config.dataset_kinds) > 1 and loc[:1] == ("datasets",) and len(loc) > 2:
        section = next(k for k in config.dataset_kinds if loc[2] in get_args(k.model_fields["source"].annotation))
        loc = loc[3:]
    for part in loc:
        if section is None:
            return []
        if field := section.model_fields.get(str(part)):
            section = _section_of(field.annotation)
    return list(section.model_fields) if section else []


def _section_of(annotation: object) -> type[BaseModel] | None:
    """The first section among the members of a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_of, getattr(annotation, "__args__", ()))), None)


def write_resolved(path: Path, config: StudyConfig) -> None:
    """Write the validated config for the jobs of a run; unchanged files are left alone."""
    text = canonical_json(config.model_dump(mode="json"))
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        atomic_write_text(path, text)


def read_resolved(path: Path) -> Any:  # noqa: ANN401
    """Read what `write_resolved` wrote, or a config file in YAML. Raises ConfigError for any other file."""
    if not path.is_file():
        raise ConfigError(f"{path}: no resolved config; stages are run by the workflow (snakemake), which writes it")
    if path.suffix in (".yaml", ".yml"):
        return load_config(path)
    try:
        text = path.read_bytes()
        return study_of(json.loads(text).get("study", DEFAULT)).config.model_validate_json(text)
    except (ValueError, AttributeError, ConfigError) as error:
        raise ConfigError(
            f"{path}: not a resolved config of this version; give the run's YAML config, or "
            ".snakemake/personalrm/<run>.json"
        ) from error


def config_hash(config: StudyConfig) -> str:
    """SHA-256 of the resolved config, but for the budget: it changes no result, and raising it reruns nothing."""
    return stable_hash(canonical_json(config.model_dump(mode="json", exclude={"budget"})))


def config_schema(study: str = DEFAULT) -> str:
    """JSON schema of a study's config file, for editors (`# yaml-language-server: $schema=…`). Generated, never
    edited."""
    from personalrm.studies.config_reference import DescribedKeys

    config = study_of(study).config
    schema = config.model_json_schema(schema_generator=DescribedKeys)
    # A data set's name is its key in the file.
    for kind in config.dataset_kinds:
        entry = schema["$defs"][kind.__name__]
        entry["required"] = [name for name in entry.get("required", ()) if name != "name"]
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"
