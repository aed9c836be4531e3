"""`config/README.md`: every key of a config, made from the JSON schema of the config models.

The string under a key of a model describes it. Pydantic can read these strings, too, but does so at each import.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from personalrm.data.settings import DatasetBase
from personalrm.studies.study import DEFAULT, study_of

WIDTH = 99
HEAD = """# Configuration: every key

```bash
snakemake --cores 4 --configfile config/my.yaml     # replaces config/config.yaml
```

One YAML file describes a run. Keys that are not *required* may be left out. Unknown keys, wrong
types and names that do not exist are errors before anything runs, one line each, with the path of
the key.

Which file of this folder to start with: [docs/start.md](../docs/start.md). What the settings mean:
[data](../docs/data.md), [models](../docs/models.md), [methods](../docs/methods.md),
[running](../docs/running.md).

This file is generated from the config models: `python -m personalrm keys > config/README.md`.
"""
HEAD_OF_OTHERS = """# Configuration of the study {study}: every key

A config with `study: {study}` has these keys
([docs/{study}.md](../docs/{study}.md)). Those of SynthesizeMe are in [README.md](README.md).

This file is generated from the config models:
`python -m personalrm keys --study {study} > config/{study}.md`.
"""
Schema = Mapping[str, Any]


class DescribedKeys(GenerateJsonSchema):
    """Generates the JSON schema of a config with the descriptions of its keys."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """The schema of one model."""
        found = super().model_schema(schema)
        for kind in reversed(schema["cls"].__mro__):
            for key, text in _descriptions(kind).items():
                found["properties"][key]["description"] = text
        return found


def _descriptions(kind: type) -> Mapping[str, str]:
    """The strings under the keys of a class of this package."""
    if not kind.__module__.startswith("personalrm."):
        return {}
    (parsed,) = ast.parse(inspect.getsource(kind)).body
    found: dict[str, str] = {}
    for key, below in itertools.pairwise(parsed.body if isinstance(parsed, ast.ClassDef) else []):
        match key, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found


def config_reference(study: str = DEFAULT) -> str:
    """The text of `config/README.md` (of other studies: `config/<study>.md`): a heading per section, an item
    per key with its default and its values."""
    config = study_of(study).config
    schema = config.model_json_schema(schema_generator=DescribedKeys)
    known: Mapping[str, Schema] = schema["$defs"]
    sources = {name: entry["properties"]["source"] for name, entry in known.items() if _is_dataset(entry)}
    source = {
        "default": "local",
        "description": "Format of the votes.",
        "enum": [each["const"] for each in sources.values()],
    }
    sections = [_section("The file", schema, schema["properties"])]
    described: set[str] = set()
    for path, name in _paths(schema, known, ""):
        keys = known[name]["properties"]
        if name in (kind.__name__ for kind in config.dataset_kinds):
            # A data set's name is its key in the file.
            keys = {key: value for key, value in keys.items() if key != "name"}
        if name in sources:
            shared = {key: keys[key] for key in DatasetBase.model_fields if key in keys}
            if not described & sources.keys():
                base = {"description": DatasetBase.__doc__}
                sections.append(_section(f"`{path}`", base, {"source": source, **shared}))
            keys = {key: value for key, value in keys.items() if key not in {*shared, "source"}}
        title = f"`{path}` with `source: {sources[name]['const']}`" if name in sources else f"`{path}`"
        if name not in described:
            sections.append(_section(title, known[name], keys))
        described.add(name)
    head = HEAD if study == DEFAULT else HEAD_OF_OTHERS.format(study=study)
    return "\n".join([head, *sections])


def _is_dataset(entry: Schema) -> bool:
    return "const" in entry.get("properties", {}).get("source", {})


def _paths(schema: Schema, known: Mapping[str, Schema], path: str) -> Iterator[tuple[str, str]]:
    """Paths of the sections below one, each with the name of its schema; a section comes before those in it."""
    for key, entry in schema["properties"].items():
        for name, suffix in _references(entry):
            inside = f"{path}.{key}{suffix}".removeprefix(".")
            yield inside, name
            yield from _paths(known[name], known, inside)


def _references(entry: Schema) -> Iterator[tuple[str, str]]:
    """Names of the sections that an entry may have, each with what follows the key in its path."""
    name = entry.get("$ref", "").rpartition("/")[2]
    if name and name != "JsonValue":
        yield name, ""
    if isinstance(entry.get("additionalProperties"), dict):
        yield from ((found, f".<name>{rest}") for found, rest in _references(entry["additionalProperties"]))
    if isinstance(entry.get("items"), dict):
        yield from ((found, f"[]{rest}") for found, rest in _references(entry["items"]))
    for part in (*entry.get("anyOf", ()), *entry.get("oneOf", ())):
        yield from _references(part)


def _section(title: str, schema: Schema, keys: Mapping[str, Schema]) -> str:
    purpose = [_wrapped(text) for text in str(schema.get("description", "")).split("\n\n")]
    required = schema.get("required", ())
    items = "\n".join(_item(key, entry, key in required) for key, entry in keys.items())
    return "\n\n".join([f"## {title}", *purpose, items]).rstrip() + "\n"


def _item(key: str, entry: Schema, required: bool) -> str:
    """One key: whether it is required or its default, its description, and the values that it may have."""
    values = ", ".join(f"`{value}`" for value in dict.fromkeys(_values(entry)))
    parts = [f"**`{key}`** ({'required' if required else _default(entry)})", entry.get("description", "")]
    return _wrapped(": ".join(filter(None, parts)) + (f" Values: {values}." if values else ""), "- ")


def _wrapped(text: str, bullet: str = "") -> str:
    """Lines of at most `WIDTH` characters; names of documents become links, and code is not broken."""
    linked = re.sub(r"docs/(\w+)\.md", r"[docs/\1.md](../docs/\1.md)", " ".join(text.split()))
    whole = re.sub(r"`[^`]{,60}`", lambda code: code[0].replace(" ", "\0"), linked)
    indent = " " * len(bullet)
    lines = textwrap.fill(whole, WIDTH, initial_indent=bullet, subsequent_indent=indent, break_on_hyphens=False)
    return lines.replace("\0", " ")


def _default(entry: Schema) -> str:
    value = entry.get("default")
    if value is None or value == "":
        return "none"
    if any(_references(entry)) and "anyOf" not in entry:
        return "section"
    return f"`{json.dumps(value, ensure_ascii=False)}`".replace('"', "")


def _values(entry: Schema) -> Iterator[str]:
    """The named values that a key may have, in lists, too."""
    yield from map(str, entry.get("enum", ()))
    if "const" in entry:
        yield str(entry["const"])
    for part in (*entry.get("anyOf", ()), *([entry["items"]] if "items" in entry else ())):
        yield from _values(part)
