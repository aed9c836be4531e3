"""Theta: an optimised instruction for the persona step, with demonstrations of that step (paper, stage 2; facts
file, 3.2).

The paper found one with MIPROv2 and hands it to other models ("Distill Theta"). A Theta is a file of the form in
which DSPy saves a program with one predictor, so that the authors' own (in an installed `SynthesizeMe`) can be used
as they are. They are theirs, and not shipped here. With a Theta the persona prompt ends in its instruction in place
of ours, and shows its demonstrations as turns before; the reasoning that theirs hold is left out, for our persona
step writes none (our choice).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personalrm.errors import DataError
from personalrm.files import stable_hash

_INPUT = "past_judgements"
_OUTPUTS = ("synthesized_persona", "persona")


@dataclass(frozen=True)
class Theta:
    """`instruction`, and `demonstrations` as (judgements of one user, persona) pairs of text. `name` is the file's."""

    name: str
    instruction: str
    demonstrations: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """What the results record: the first 12 digits of a hash over the content."""
        return stable_hash(self.instruction, *(text for pair in self.demonstrations for text in pair))[:12]


def read_theta(path: Path, name: str | None = None) -> Theta:
    """Read a program file; `name` is the file's own by default. Raises DataError that names file, field and remedy."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a saved program, a .json file") from error
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
    return Theta(name or path.stem, instruction.strip(), shown)


def _demonstration(demo: Any, where: str) -> tuple[str, str]:  # noqa: ANN401  (JSON)
    fields: Mapping[str, Any] = demo if isinstance(demo, dict) else {}
    persona = next((fields[name] for name in _OUTPUTS if fields.get(name)), None)
    if not isinstance(fields.get(_INPUT), str) or not isinstance(persona, str):
        raise DataError(f"{where}: needs the texts {_INPUT} and {_OUTPUTS[0]}; remove it, or use another program")
    return fields[_INPUT], persona
