"""Prompts as files: Jinja2 templates with a name, a version and a hash.

A prompt file holds macros: `system`, `user`, and optionally `assistant` (the start of the answer, which the model
continues); a macro's arguments name what it shows. Undefined names are errors. Text of users and models enters as
variables only, so nothing in it can be executed or substituted.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from jinja2.runtime import Macro

from personalrm.core.errors import PromptError
from personalrm.core.files import stable_hash
from personalrm.llm.types import Message, Role

PROMPT_DIR = Path(__file__).parent / "prompts"
_HEADER = re.compile(r"\A\{#\s*name:\s*(?P<name>\w+);\s*version:\s*(?P<version>\d+)\.")


@dataclass(frozen=True)
class Prompt:
    """One prompt file: `name`, `version`, and `sha` over its text and that of the shared macros."""

    name: str
    version: int
    sha: str
    template: jinja2.Template

    @property
    def label(self) -> str:
        """What the results record: name, version and the first 12 digits of the hash."""
        return f"v{self.version}-{self.sha[:12]}"

    @property
    def id(self) -> str:
        """Name and label: what the settings of a stage record."""
        return f"{self.name} {self.label}"

    def has(self, part: str) -> bool:
        """Whether the file defines the macro `part`."""
        return isinstance(getattr(self.template.module, part, None), Macro)

    def value(self, name: str) -> Any:  # noqa: ANN401 - what the file sets
        """What the file sets under a name, as worked examples. Raises PromptError where it sets nothing."""
        if not hasattr(self.template.module, name):
            raise PromptError(f"prompt {self.name!r} sets no {name!r}; add it to its .jinja file")
        return getattr(self.template.module, name)

    def render(self, part: str, **values: object) -> str:
        """Text of one part. Values that the part does not ask for are left out.

        Raises PromptError for a missing part or an undefined name.
        """
        macro = getattr(self.template.module, part, None)
        if not isinstance(macro, Macro):
            raise PromptError(f"prompt {self.name!r} has no macro {part!r}; add one to its .jinja file")
        asked = {name: value for name, value in values.items() if name in macro.arguments}
        try:
            return str(macro(**asked)).strip("\n")
        except jinja2.UndefinedError as error:
            raise PromptError(f"prompt {self.name!r}, macro {part!r}: {error.message}") from error

    def messages(self, **values: object) -> tuple[Message, ...]:
        """System and user message; a final assistant message where the file has that macro."""
        roles: tuple[Role, ...] = ("system", "user", "assistant") if self.has("assistant") else ("system", "user")
        return tuple(Message(role, self.render(role, **values)) for role in roles)


@functools.cache
def load_prompt(name: str, folder: Path = PROMPT_DIR) -> Prompt:
    """The prompt file of a name. Raises PromptError if the file is missing, malformed or has no header."""
    path = folder / f"{name}.jinja"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.jinja") if not p.stem.startswith("_")))
        raise PromptError(f"no prompt {name!r} in {folder.name}/; there are: {known}")
    text = path.read_text(encoding="utf-8")
    header = _HEADER.match(text)
    if header is None or header["name"] != name:
        raise PromptError(f"{path.name}: the first line must be a comment '{{# name: {name}; version: <n>. … #}}'")
    shared = [p.read_text(encoding="utf-8") for p in sorted(folder.glob("_*.jinja"))]
    # Not escaped: prompts are plain text for a model, never HTML.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    try:
        template = environment.get_template(path.name)
    except jinja2.TemplateSyntaxError as error:
        raise PromptError(f"{path.name}, line {error.lineno}: {error.message}") from error
    return Prompt(name, int(header["version"]), stable_hash(text, *shared), template)
