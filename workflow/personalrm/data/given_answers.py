"""Answers that were generated elsewhere, from files: those released for "Whose Boat Does it Float?" (Balepur et al.,
ACL 2025), rows of a prompt and an answer, or generations of another run; found by the prompt of their pair."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from personalrm.core.errors import DataError
from personalrm.core.generations import Generation
from personalrm.core.persona_pairs import PersonaOutcome, PersonaPair, PersonaSource, told_in_prompt
from personalrm.data.pair_sets import without_markers
from personalrm.data.sources.fields import Advice, FieldError, Row, SoundRow, Spoken, checked
from personalrm.data.sources.rows import raw_rows

_TEMPLATE = re.compile(
    r"\APrompt: (?P<prompt>.*?)(?:\nPersona: (?P<persona>[^\n]*))?\nResponse:(?P<begun>.*)\Z", re.DOTALL
)
_ADVICE = Advice(
    "give a text", missing=("is missing", "a row has prompt and response (or output); add it, or correct the file")
)


class _AnswerRow(SoundRow):
    prompt: Spoken
    response: str | None = None
    output: str | None = None
    persona: str | None = None
    outcome: PersonaOutcome = "ok"
    cut: bool = False


class GivenAnswer(NamedTuple):
    """An answer with what its file says of it. `prompt` has no speakers' names around it."""

    prompt: str
    persona: str
    response: str
    outcome: PersonaOutcome = "ok"
    cut: bool = False


class Matched(NamedTuple):
    """Answers by their pairs, in the order of the ids; how many answers fit no pair; and how many of those that fit one
    were told another persona than the one asked for, as their file says."""

    generations: list[Generation]
    unmatched: int
    told_another: int


def read_answers(path: Path) -> list[GivenAnswer]:
    """All answers of a file: a JSON list or JSON lines, as they are or compressed.

    A `prompt` may be the whole input of the released models (lines "Prompt:", "Persona:", "Response:"): it is taken
    apart, and a begun response is joined to its continuation. Raises DataError for a file or row that is broken.
    """
    found = []
    for number, read in raw_rows(path):
        try:
            found.append(_answer(read()))
        except FieldError as error:
            where = f", field {error.field}" if error.field else ""
            raise DataError(f"{path}, row {number}{where}: {error}; {error.advice}") from None
    if not found:
        raise DataError(f"{path}: holds no answers; correct compare.given")
    return found


def _answer(raw: Row) -> GivenAnswer:
    row = checked(_AnswerRow, raw, _ADVICE)
    said = row.output if row.response is None else row.response
    if said is None:
        raise FieldError("response", *_ADVICE.missing)
    taken = _TEMPLATE.match(row.prompt)
    prompt, persona, begun = taken.group("prompt", "persona", "begun") if taken else (row.prompt, row.persona, "")
    begun = begun.strip()
    return GivenAnswer(
        without_markers(prompt), (persona or "").strip(), f"{begun}{said}" if begun else said, row.outcome, row.cut
    )


def matched(
    pairs: Iterable[PersonaPair], answers: Sequence[GivenAnswer], system: str, source: PersonaSource
) -> Matched:
    """The answers of a system to the prompts of pairs.

    `source` names the persona of the pair that the system was told, which may stand at the end of the prompt in the
    first person, as where a model was trained without personas. Of pairs with equal prompts, an answer belongs to the
    first by its id that has the persona of the answer's file, or else to the first.
    """
    waiting: dict[str, list[PersonaPair]] = {}
    for one in sorted(pairs, key=lambda pair: (len(pair.pair_id), pair.pair_id)):
        for text in _asked(one, source):
            waiting.setdefault(text, []).append(one)
    found, told_another = [], 0
    for answer in answers:
        alike = waiting.get(answer.prompt, ())
        same = (one for one in alike if one.persona(source) == answer.persona)
        if (pair := next(same, next(iter(alike), None))) is None:
            continue
        for text in _asked(pair, source):
            waiting[text].remove(pair)
        persona = pair.persona(source)
        told_another += answer.persona not in ("", persona)
        found.append(
            Generation(
                dataset=pair.dataset,
                pair_id=pair.pair_id,
                system=system,
                prompt=pair.prompt,
                persona=persona,
                response=answer.response,
                outcome=answer.outcome,
                cut=answer.cut,
            )
        )
    return Matched(sorted(found, key=lambda one: one.pair_id), len(answers) - len(found), told_another)


def _asked(pair: PersonaPair, source: PersonaSource) -> set[str]:
    """What a system may have been asked for a pair, apart from a persona of its own line."""
    persona = pair.persona(source)
    return {pair.prompt, told_in_prompt(pair.prompt, persona)} if persona else {pair.prompt}
