"""One conversation of PRISM's raw release, and the votes that its ratings stand for.

Rules (paper app. B.1 as reported: all pairs of a turn's rated answers, less those whose ratings differ by less than
10 %; the rest is ours): the answer with the higher rating is chosen; the context is the chosen branch up to and
including the turn's prompt; a pair that makes no vote is counted under exactly one reason (`DROP_REASONS`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple

from personalrm.data.sources.fields import FieldError, shown
from personalrm.data.sources.prism_survey import FETCH_AGAIN
from personalrm.data.sources.votes import Vote

DROP_REASONS: Mapping[str, str] = {
    "no_context": "an earlier turn is absent, has no chosen answer, or an empty prompt or chosen answer",
    "empty_prompt": "the turn's prompt is blank or the release's word for an empty text",
    "empty_answer": "one of the two answers is blank or the release's word for an empty text",
    "unrated": "one of the two ratings is null",
    "equal_rating": "both ratings are the same",
    "rating_gap": "the ratings differ by less than min_rating_gap points, and are not the same",
}
"""Why a pair of answers makes no vote; the first reason that applies is counted."""

EMPTY_TEXT = "EMPTY STRING"
"""What the release (codebook, model_response) writes for an answer or a prompt without text."""


class Answer(NamedTuple):
    """An answer of a model. `score` is the user's rating, 1 to 100, None if there is none."""

    text: str
    score: float | None
    chosen: bool


@dataclass
class Turn:
    """A prompt of the user and the answers to it by `within_turn_id`."""

    prompt: str | None = None
    answers: dict[int, Answer] = field(default_factory=dict)

    @property
    def chosen(self) -> str:
        """Text of the answer with which the conversation went on, "" where none is chosen.

        The release marks every answer whose text equals that of the chosen one (27,437 marks in 27,172 turns), so
        that several may be marked, with one text.
        """
        return next((answer.text for answer in self.answers.values() if answer.chosen), "")


@dataclass
class Conversation:
    """A conversation as it is put together, in any order of its parts. `line` is its (first) row in the file."""

    conversation_id: str
    user_id: str
    kind: str | None
    timestamp: float | None
    line: int
    turns: dict[int, Turn] = field(default_factory=dict)

    def add_prompt(self, number: int, text: str, where: str) -> None:
        """Set the prompt of a turn. Raises FieldError where the turn has another."""
        turn = self.turns.setdefault(number, Turn())
        if turn.prompt not in (None, text):
            raise FieldError(where, f"is not the prompt that {self._turn(number)} has elsewhere", FETCH_AGAIN)
        turn.prompt = text

    def add_answer(self, number: int, within: int, answer: Answer, where: str) -> None:
        """Add an answer. Raises FieldError where it stands twice, or an answer with another text is chosen too."""
        turn = self.turns.setdefault(number, Turn())
        if within in turn.answers:
            raise FieldError(f"{where}within_turn_id", f"{within} stands twice in {self._turn(number)}", FETCH_AGAIN)
        marked = any(other.chosen for other in turn.answers.values())
        if answer.chosen and marked and turn.chosen != answer.text:
            raise FieldError(
                f"{where}if_chosen",
                f"is true, but another answer is chosen in {self._turn(number)}, with another text",
                "which way the conversation went is unknown: " + FETCH_AGAIN,
            )
        turn.answers[within] = answer

    def votes(self, min_rating_gap: float, survey: Mapping[str, str], dropped: Counter[str]) -> Iterator[Vote]:
        """Votes by turn and `within_turn_id`; pairs that make none are counted in `dropped` (`DROP_REASONS`)."""
        context: tuple[tuple[str, str], ...] = ()
        intact = True
        for place, (number, turn) in enumerate(sorted(self.turns.items())):
            prompt = turn.prompt or ""
            intact = intact and number == place
            unusable = "no_context" if not intact else "empty_prompt" if is_empty(prompt) else ""
            asked = (*context, ("user", prompt))
            for (a, first), (b, second) in combinations(sorted(turn.answers.items()), 2):
                reason = unusable or _no_preference(first, second, min_rating_gap)
                if reason:
                    dropped[reason] += 1
                    continue
                chosen, rejected = (first, second) if (first.score or 0) > (second.score or 0) else (second, first)
                yield Vote(
                    user_id=self.user_id,
                    context=asked,
                    chosen=chosen.text,
                    rejected=rejected.text,
                    pair_id=f"{self.conversation_id}-{number}-{a}-{b}",
                    conversation_id=self.conversation_id,
                    turn=number,
                    timestamp=self.timestamp,
                    survey=survey,
                    line=self.line,
                    conversation_type=self.kind,
                )
            intact = intact and not is_empty(prompt) and not is_empty(turn.chosen)
            context = (*asked, ("assistant", turn.chosen))

    def _turn(self, number: int) -> str:
        return f"turn {number} of conversation {shown(self.conversation_id)}"


def _no_preference(first: Answer, second: Answer, min_rating_gap: float) -> str:
    """Why two answers of one turn say nothing about preference, "" where they do."""
    if is_empty(first.text) or is_empty(second.text):
        return "empty_answer"
    if first.score is None or second.score is None:
        return "unrated"
    if first.score == second.score:
        return "equal_rating"
    return "rating_gap" if abs(first.score - second.score) < min_rating_gap else ""


def is_empty(text: str) -> bool:
    """Whether a text of the release stands for no text."""
    return text.strip() in ("", EMPTY_TEXT)
