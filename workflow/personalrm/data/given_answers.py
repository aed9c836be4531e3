"""Answers that were generated elsewhere, from files: those released for "Whose Boat Does it Float?" (Balepur et al.,
ACL 2025), rows of a prompt and an answer, or generations of another run; found by the prompt of their pair."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from personalrm.core.errors import DataError
from personalrm.core.generations import Generation
from personalrm.core.persona_pairs import PersonaOutcome, PersonaPair, PersonaSource
from personalrm.data.pair_sets import without_markers
from personalrm.data.sources.fields import Advice, FieldError, Row, SoundRow, Spoken, checked
from personalrm.data.sources.rows import raw_rows

_TEMPLATE = re.compile(
    r"\APrompt: (?P<prompt>.*?)(?:\nPersona: (?P<persona>[^\n]*))?\nResponse:(?P<begun>.*)\Z", re.DOTALL
)
_ADVICE = Advice(
    "give a text", missing=("is missing", "a row has prompt and response (or output); add it, or correct the file")
)
_TAIL = 15
"""Letters at the end of a persona by which it is known where it stands behind a prompt in other words ("I am …")."""


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
    """Answers by their pairs, in the order of the ids; and how many answers fit no pair."""

    generations: list[Generation]
    unmatched: int


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
        without_markers(prompt), persona or "", f"{begun}{said}" if begun else said, row.outcome, row.cut
    )


def matched(
    pairs: Iterable[PersonaPair], answers: Sequence[GivenAnswer], system: str, source: PersonaSource | None = None
) -> Matched:
    """The answers of a system to the prompts of pairs.

    Of equal prompts, the answers stand in the order of the pairs' ids. `source` names the persona of the pair that the
    system was told, which may follow the prompt in the first person, as where a model was trained without personas;
    None: the persona that the file has.
    """
    waiting: dict[str, list[PersonaPair]] = {}
    for one in sorted(pairs, key=lambda pair: pair.pair_id):
        waiting.setdefault(one.prompt, []).append(one)
    longest_first, found = sorted(waiting, key=len, reverse=True), []
    for answer in answers:
        if (pair := _pair_of(answer.prompt, waiting, longest_first, source)) is None:
            continue
        waiting[pair.prompt].remove(pair)
        found.append(
            Generation(
                dataset=pair.dataset,
                pair_id=pair.pair_id,
                system=system,
                prompt=pair.prompt,
                persona=answer.persona if source is None else pair.persona(source),
                response=answer.response,
                outcome=answer.outcome,
                cut=answer.cut,
            )
        )
    return Matched(sorted(found, key=lambda one: one.pair_id), len(answers) - len(found))


def _pair_of(
    asked: str,
    waiting: Mapping[str, Sequence[PersonaPair]],
    longest_first: Sequence[str],
    source: PersonaSource | None,
) -> PersonaPair | None:
    """The first of the pairs whose prompt was asked, alone or with its persona behind it."""
    if asked in waiting or source in (None, "none"):
        return next(iter(waiting.get(asked, ())), None)
    begun = (pair for prompt in longest_first if asked.startswith(prompt) for pair in waiting[prompt])
    return next((pair for pair in begun if (told := pair.persona(source)) and asked.endswith(told[-_TAIL:])), None)
