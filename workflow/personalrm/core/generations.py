"""Records of generated answers, and of comparisons of these."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from personalrm.core.conditions import VerdictMode
from personalrm.core.persona_pairs import PersonaOutcome
from personalrm.core.records import CallRef, Outcome, Record, Verdict, agreed_outcome

Unasked = Literal["equal", "no_answer", "no_person"]
"""Why a judge is not asked: both answers are the same, or there is none, or nobody to decide for."""


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


class JudgedAnswers(Record):
    """Which of two systems' answers to the prompt of a pair is better under a rubric, as `judge` says.

    `correct` is the answer of `test`, `wrong` that of `base`.

    `words` are lengths of both answers (test, base) in words between blanks, after the clean-up. `stripped` are the
    markers that it removed from each; only a row with any has it. `reason` says why there are no verdicts.
    """

    dataset: str
    pair_id: str
    test: str
    base: str
    rubric: str
    judge: str
    mode: VerdictMode
    verdicts: tuple[Verdict, ...] = ()
    reason: Unasked | None = None
    words: tuple[int, int]
    stripped: tuple[tuple[str, ...], tuple[str, ...]] = Field(default=((), ()), exclude_if=lambda found: not any(found))
    calls: tuple[CallRef, ...] = ()
    prompts: dict[str, str] = Field(default_factory=dict)

    @property
    def winner(self) -> Literal["test", "base", "tie"] | None:
        """The system that is better in every order; a tie where the orders differ, or the answers do not; None where an
        order has no answer that can be read."""
        if self.reason == "equal":
            return "tie"
        agreed = agreed_outcome(self.verdicts)
        sides: dict[Outcome, Literal["test", "base", "tie"]] = {"correct": "test", "wrong": "base", "tie": "tie"}
        return None if agreed is None else sides[agreed]

    @property
    def orders_differ(self) -> bool:
        """Whether the orders name different answers: the place decides, not the answer."""
        flipped = any(verdict.flipped for verdict in self.verdicts)
        return flipped or {"correct", "wrong"} <= {verdict.outcome for verdict in self.verdicts}
