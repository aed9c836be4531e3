"""Recovery of planted tastes: which facts of a user's rubric does a persona state?

The bundled users' votes were made from a taste; `resources/quickstart/rubric.json` says in two or three facts a user
what of it a persona could have learned. A model reads one persona and the facts, never votes or texts, and says of each
whether the persona states it (criteria: `prompts/recovery_*.jinja`); no strings are compared. Other users' personas are
read with the same facts: what they are said to state is chance. Our choice throughout; the paper has no planted users.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from personalrm.core.errors import DataError
from personalrm.judge.call_recorder import Listener
from personalrm.judge.judge import PromptStyle
from personalrm.judge.prompting import Prompt, load_prompt
from personalrm.personas.tags import choose, listed

ANSWERS = ("yes", "no")
Rubric = dict[str, tuple[str, ...]]
"""Facts by user id."""


@dataclass(frozen=True)
class RecoveryQuestion:
    """How facts are asked for: prompt style, length of a listed answer, how many others' personas are read, too."""

    style: PromptStyle = "standard"
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
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); analysis.recovery.rubric names it") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: is no JSON object; write {{user: [fact, …]}}")
    for user, facts in found.items():
        if not isinstance(facts, list) or not facts or not all(isinstance(f, str) and f.strip() for f in facts):
            raise DataError(f"{path}: user {user!r}: the facts must be a list of texts, at least one")
    return {user: tuple(facts) for user, facts in found.items()}


async def stated_facts(
    model: Listener, persona: str, facts: Sequence[str], question: RecoveryQuestion
) -> tuple[bool | None, ...]:
    """Whether the persona states each fact; None where the answer can not be read.

    `compact` models are asked one fact a call, with the answers under letters in both orders (`tags.choose`).
    """
    if question.style == "compact":
        said = [await choose(model, question.prompt, ANSWERS, persona=persona, fact=fact) for fact in facts]
    else:
        values = {"persona": persona, "facts": facts}
        said = list(await listed(model, question.prompt, len(facts), ANSWERS, question.max_tokens, **values))
    return tuple(None if word is None else word == "yes" for word in said)
