"""Records of generated answers."""

from __future__ import annotations

from pydantic import Field

from personalrm.core.persona_pairs import PersonaOutcome
from personalrm.core.records import CallRef, Record


class Generation(Record):
    """The answer of `system` to the prompt of a pair. `persona` is what the system was told of the user; "" for none.

    `pair_id` is that of the pair in `dataset`, the same for all systems; `persona` is in the words of the data ("The
    user is …"), however the system was told. An answer whose `outcome` is not `ok` is empty. `cut`: it ended where its
    limit of tokens was reached.
    """

    dataset: str
    pair_id: str
    system: str
    prompt: str
    persona: str = ""
    response: str
    outcome: PersonaOutcome = "ok"
    cut: bool = False
    calls: tuple[CallRef, ...] = ()
    prompts: dict[str, str] = Field(default_factory=dict)
