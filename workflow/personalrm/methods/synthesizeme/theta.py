"""Theta: an optimised instruction for the persona step, with demonstrations of that step (paper, stage 2).

The paper found one with MIPROv2 and gives it to other models ("Distill Theta"). A Theta is a file of the form in
which DSPy saves a program with one predictor, so that the authors' own (in an installed `SynthesizeMe`) can be used
as they are. They are theirs, and not shipped here. With a Theta the persona prompt ends in its instruction in place
of ours, and shows its demonstrations as turns before it.

Demonstrations are kept as judgements, not as text: the text of the authors' files is parsed, so that all judgements
of one prompt, those of the demonstrations and the user's own, are rendered in one layout. Two things of theirs are
left out: the reasoning before a persona, for our persona step writes none, and the layout itself (our choices).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from personalrm.core.errors import DataError
from personalrm.core.files import stable_hash
from personalrm.core.records import Demonstration, Label, PreferencePair, Turn

PACKAGE = "SynthesizeMe==0.0.11a1"
_INPUT = "past_judgements"
_JUDGEMENTS = "judgements"
_OUTPUTS = ("synthesized_persona", "persona")
_SEEN = "seen_texts"
Positive = Annotated[int, Field(ge=1)]

CONVERSATION_LETTERS = 100
"""From this length on (letters and digits of a conversation and one answer) an equal text is the same conversation;
of shorter texts, such as a greeting, both answers must be equal (our choice)."""


class ThetaOptimiser(BaseModel):
    """How a Θ is found on train users of the user split: by MIPROv2 (docs/methods.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
    model: str | None = None
    """Model that writes the personas and judges with them; each learning model for itself if none is given; a name: its
    Θ is given to all ("Distill Θ")."""
    proposer: str | None = None
    """Model that writes the instructions; the same if none is given."""
    datasets: list[str] | None = None
    """Data sets whose train users are learned from; all if none are given."""
    max_users: Positive = 40
    """Most users of each data set, by a stable hash."""
    scored_share: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Share of the users that are scored; the others demonstrate."""
    num_candidates: Positive = 10
    """Instructions that are proposed."""
    num_trials: Positive = 30
    """Combinations that are tried."""
    max_demos: Annotated[int, Field(ge=0)] = 4
    """Most demonstrations in the prompt."""
    data_aware: bool = True
    """MIPROv2's setting: the proposer sees a summary of the data."""
    fewshot_aware: bool = True
    """MIPROv2's setting: the proposer sees demonstrations."""


class ThetaSource(BaseModel):
    """An optimised persona prompt: a program file, or how the run finds one."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
    path: Path | None = None
    """A program file, such as the authors' in an installed `SynthesizeMe`."""
    optimise: ThetaOptimiser | None = None
    """In place of `path`: find one by MIPROv2."""

    @model_validator(mode="after")
    def _one_origin(self) -> ThetaSource:
        if (self.path is None) == (self.optimise is None):
            raise ValueError("give either path, a program file, or optimise, how to find one")
        return self


class PersonaDemonstration(NamedTuple):
    """A demonstration of the persona step: the judgements of one user, and the persona that they lead to."""

    judgements: tuple[Demonstration, ...]
    persona: str


@dataclass(frozen=True)
class Theta:
    """`instruction` and `demonstrations`; `name` is the file's. `seen` are keys (`text_keys`) of all pairs that it was
    found on, as far as the file says, in addition to those of the demonstrations."""

    name: str
    instruction: str
    demonstrations: tuple[PersonaDemonstration, ...] = ()
    seen: frozenset[str] = frozenset()

    @property
    def label(self) -> str:
        """What the results record: the first 12 digits of a hash over the content."""
        return stable_hash(self.instruction, *(text for shown in self.demonstrations for text in _texts(shown)))[:12]

    def holds(self, pairs: Iterable[PreferencePair]) -> bool:
        """Whether any of a user's pairs stands in the demonstrations, or among the pairs that it was found on."""
        return not self._keys.isdisjoint(key for pair in pairs for key in text_keys(pair))

    def without(self, pairs: Iterable[PreferencePair]) -> tuple[PersonaDemonstration, ...]:
        """The demonstrations of other users than the one whose pairs these are."""
        own = {key for pair in pairs for key in text_keys(pair)}
        return tuple(shown for shown in self.demonstrations if own.isdisjoint(_keys_of(shown)))

    @cached_property
    def _keys(self) -> frozenset[str]:
        return self.seen.union(*map(_keys_of, self.demonstrations))


def _keys_of(shown: PersonaDemonstration) -> frozenset[str]:
    return frozenset(key for judgement in shown.judgements for key in text_keys(judgement.pair))


def _texts(shown: PersonaDemonstration) -> list[str]:
    """All that a demonstration shows, for its hash."""
    texts = [shown.persona]
    for one in shown.judgements:
        turns = (text for turn in one.pair.context for text in (turn.role, turn.content))
        texts += [*turns, one.pair.chosen, one.pair.rejected, str(one.swapped), one.reasoning or ""]
    return texts


_ROLE_MARK = re.compile(r"\[(?:user|model|assistant|system)\]:", re.IGNORECASE)


def fold(text: str) -> str:
    """Letters and digits of a text, without case: what is left of it whatever its blanks, quotes and marks of turns.

    >>> fold("[user]:  Don’t — *ever*!") == fold("don't ever")
    True
    >>> fold("…!")
    '…!'
    """
    plain = unicodedata.normalize("NFKC", _ROLE_MARK.sub(" ", text)).casefold()
    return "".join(character for character in plain if character.isalnum()) or text.strip()


def text_keys(pair: PreferencePair) -> frozenset[str]:
    """Hashes by which a pair is found again by its text, whoever wrote it down: of its conversation with both answers,
    and, where that is at least `CONVERSATION_LETTERS` long, of its conversation with one answer, for each answer and
    each earlier answer of the conversation (which is an answer of another pair of the same user)."""
    spoken = [turn for turn in pair.context if turn.role != "system"]
    before = [fold("\n".join(turn.content for turn in spoken[:end])) for end in range(len(spoken) + 1)]
    answers = sorted((fold(pair.chosen), fold(pair.rejected)))
    keys = {stable_hash("pair", before[-1], *answers)}
    said = [(before[-1], answer) for answer in answers]
    said += [(before[place], fold(turn.content)) for place, turn in enumerate(spoken) if turn.role == "assistant"]
    long = (texts for texts in said if len(texts[0]) + len(texts[1]) >= CONVERSATION_LETTERS)
    return frozenset(keys | {stable_hash("answer", *texts) for texts in long})


class _SavedJudgement(BaseModel):
    """A judgement as our program files keep it. `preferred` is the position of the chosen answer."""

    model_config = ConfigDict(extra="forbid")
    context: tuple[Turn, ...] = Field(min_length=1)
    first: str
    second: str
    preferred: Label
    reasoning: str | None = None


def saved_judgements(judgements: Sequence[Demonstration]) -> list[dict[str, Any]]:
    """Judgements as a program file of ours keeps them, under `judgements`; `read_theta` reads them."""
    return [
        _SavedJudgement(
            context=pair.context,
            first=pair.rejected if swapped else pair.chosen,
            second=pair.chosen if swapped else pair.rejected,
            preferred="second" if swapped else "first",
            reasoning=reasoning,
        ).model_dump(mode="json")
        for pair, swapped, reasoning in ((one.pair, one.swapped, one.reasoning) for one in judgements)
    ]


def provenance_of_texts(pairs: Iterable[PreferencePair]) -> dict[str, list[str]]:
    """What a program file says of the pairs that it was found on: their keys, by which `Theta.holds` knows them."""
    return {_SEEN: sorted({key for pair in pairs for key in text_keys(pair)})}


def read_theta(path: Path, name: str | None = None) -> Theta:
    """Read a program file; `name` is the file's own by default. Raises DataError that names file, field and remedy."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); give a saved program, a .json file: the authors' are in the "
            f"folder prompts of the installed package (pip install --no-deps {PACKAGE})"
        ) from error
    except ValueError as error:
        raise DataError(f"{path}: is no JSON ({error}); give a program as dspy saves it (program.save)") from error
    predictors = {key: value for key, value in (state.items() if isinstance(state, dict) else ()) if key != "metadata"}
    if len(predictors) != 1:
        raise DataError(f"{path}: holds {len(predictors)} predictors; a persona program has exactly one")
    key, predictor = next(iter(predictors.items()))
    signature = predictor.get("signature") if isinstance(predictor, dict) else None
    instruction = signature.get("instructions") if isinstance(signature, dict) else None
    if not isinstance(instruction, str) or not instruction.strip():
        raise DataError(f"{path}: {key}.signature.instructions: is no text; give a program as dspy saves it")
    demos = predictor.get("demos", [])
    if not isinstance(demos, list):
        raise DataError(f"{path}: {key}.demos: is no list; give a program as dspy saves it")
    shown = tuple(_demonstration(demo, f"{path}: {key}.demos[{place}]") for place, demo in enumerate(demos))
    return Theta(name or path.stem, instruction.strip(), shown, _seen(state.get("metadata")))


def _seen(metadata: object) -> frozenset[str]:
    """Keys of the pairs that a file of ours was found on; other files do not say."""
    provenance = metadata.get("provenance") if isinstance(metadata, dict) else None
    keys = provenance.get(_SEEN) if isinstance(provenance, dict) else None
    return frozenset(map(str, keys)) if isinstance(keys, list) else frozenset()


def _demonstration(demo: Any, where: str) -> PersonaDemonstration:  # noqa: ANN401  (JSON)
    fields: Mapping[str, Any] = demo if isinstance(demo, dict) else {}
    persona = next((fields[name] for name in _OUTPUTS if fields.get(name)), None)
    if not isinstance(fields.get(_INPUT), str) or not isinstance(persona, str):
        raise DataError(f"{where}: needs the texts {_INPUT} and {_OUTPUTS[0]}; remove it, or use another program")
    if _JUDGEMENTS in fields:
        return PersonaDemonstration(_kept_judgements(fields[_JUDGEMENTS], f"{where}.{_JUDGEMENTS}"), persona)
    judgements = parse_judgements(fields[_INPUT])
    if not judgements:
        raise DataError(
            f"{where}.{_INPUT}: is not in the layout of {PACKAGE}, so that it cannot be shown as the user's own "
            f"judgements are, nor its user be left out; give the field {_JUDGEMENTS} (docs/methods.md), or remove it"
        )
    return PersonaDemonstration(judgements, persona)


def _kept_judgements(saved: object, where: str) -> tuple[Demonstration, ...]:
    if not isinstance(saved, list) or not saved:
        raise DataError(f"{where}: is no list of judgements; remove it, or use another program")
    try:
        read = [_SavedJudgement.model_validate(one) for one in saved]
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{where}: {field}: {first['msg']}; remove it, or use another program") from error
    return tuple(
        _judgement(place, one.context, (one.first, one.second), one.preferred, one.reasoning)
        for place, one in enumerate(read)
    )


def _judgement(
    place: int, context: tuple[Turn, ...], answers: tuple[str, str], preferred: Label, reasoning: str | None
) -> Demonstration:
    swapped = preferred == "second"
    chosen, rejected = answers[::-1] if swapped else answers
    pair = PreferencePair(user_id="theta", pair_id=str(place), context=context, chosen=chosen, rejected=rejected)
    return Demonstration(pair=pair, swapped=swapped, reasoning=reasoning)


# The package's layout of one judgement, between two rulers. Answers stand in guillemets, behind the mark of their role.
_RULER = r"={20,}[ \t]*\n"
_BLOCK = re.compile(
    rf"""\s*{_RULER}\*\*Conversation\*\*:\s(?P<conversation>.*?)\n===\n
    \s*\*\*Completion\ One[^*\n]*\*\*:\s«(?P<first>.*?)»\n===\n
    \s*\*\*Completion\ Two[^*\n]*\*\*:\s«(?P<second>.*?)»\n===\n
    (?:\s*\*\*Reasoning\*\*:\s«(?P<reasoning>.*?)»\n===\n)?
    \s*\*\*TRUE\ USER\ PREFERENCE\*\*:\s(?P<preferred>First|Second)[ \t]*\n={{20,}}\s*""",
    re.DOTALL | re.VERBOSE,
)
_TURN = re.compile(r"(?:\A|\n\n)\[(user|model|assistant|system)\]: ")


def parse_judgements(text: str) -> tuple[Demonstration, ...]:
    """The judgements in a demonstration's text in the layout of `SynthesizeMe` 0.0.11a1; none where any part of the
    text is in another one."""
    judgements: list[Demonstration] = []
    end = 0
    while end < len(text):
        block = _BLOCK.match(text, end)
        context = _turns(block["conversation"]) if block else ()
        if block is None or not context:
            return ()
        answers = (_said(block["first"]), _said(block["second"]))
        preferred: Label = "first" if block["preferred"] == "First" else "second"
        judgements.append(_judgement(len(judgements), context, answers, preferred, block["reasoning"]))
        end = block.end()
    return tuple(judgements)


def _turns(conversation: str) -> tuple[Turn, ...]:
    """Turns of a conversation whose paragraphs begin with the mark of their role; none where the first has no mark."""
    parts = _TURN.split(conversation.strip())
    if parts[0]:
        return ()
    roles = ("assistant" if role == "model" else role for role in parts[1::2])
    return tuple(
        Turn.model_validate({"role": role, "content": content})
        for role, content in zip(roles, parts[2::2], strict=True)
    )


def _said(answer: str) -> str:
    """An answer without the mark of its role."""
    return re.sub(r"\A\[(?:model|assistant)\]: ", "", answer)
