"""Recovery of planted tastes: which facts of a user's rubric does a persona state?

The bundled users' votes were made from a taste; `resources/quickstart/rubric.json` says in two or three facts a user
what of it a persona could have learned. A model reads one persona and the facts, never votes or texts, and says of each
whether the persona states it (criteria: `prompts/recovery_*.jinja`); no strings are compared. Other users' personas are
read with the same facts: what they are said to state is chance. Our choice throughout; the paper has no planted users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from personalrm.core.errors import DataError
from personalrm.judge.call_recorder import Listener
from personalrm.judge.prompting import Prompt, load_prompt
from personalrm.personas.tags import ListQuestion, answers

ANSWERS = {"yes": "yes", "no": "no"}
Fact = Annotated[str, Field(pattern=r"\S")]
Rubric = dict[str, Annotated[tuple[Fact, ...], Field(min_length=1)]]
"""Facts by user id."""


@dataclass(frozen=True)
class RecoveryQuestion(ListQuestion):
    """How facts are asked for; `others`: how many others' personas are read, too."""

    max_tokens: int = 256
    others: int = 3
    seed: int = 0

    @property
    def prompt(self) -> Prompt:
        """The prompt file of the style."""
        return load_prompt(f"recovery_{self.style}")


def read_rubric(path: Path) -> Rubric:
    """Facts of a JSON file {user: [fact, …]}. Raises DataError for anything else."""
    try:
        return TypeAdapter(Rubric).validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}); analysis.recovery.rubric names it") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise DataError(f"{path}: {where}: {first['msg']}; write {{user: [fact, …]}}, at least one per user") from error


async def stated_facts(
    model: Listener, persona: str, facts: Sequence[str], question: RecoveryQuestion
) -> tuple[bool | None, ...]:
    """Whether the persona states each fact; None where the answer cannot be read."""
    said = await answers(model, question.prompt, question, ANSWERS, ("fact", "facts"), facts, persona=persona)
    return tuple(None if word is None else word == "yes" for word in said)
