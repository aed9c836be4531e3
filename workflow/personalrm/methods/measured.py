"""The measured persona: the statements that a user's weights make (`taste.statements`), shown as a persona is.

SynthesizeMe's persona is written by a model from the user's pairs. This one is read off weights that were fitted to the
user's votes: it says what is sure, and any judge can read it. Ours.
"""

from __future__ import annotations

from personalrm.core.tastes import UserTaste
from personalrm.judge.judge import JudgeContext
from personalrm.methods.base import Known, Mark, Method

PROMPTS = ("measured_persona",)


def _taste(known: Known) -> UserTaste:
    """The user's taste. Raises ValueError where none was given: the caller has to measure one first."""
    if known.taste is None:
        raise ValueError(f"user {known.user.user_id}: no taste was given to a method that needs one")
    return known.taste


def persona(known: Known) -> JudgeContext:
    """The measured persona; nothing where nothing is sure, so that the judge knows no more than Default."""
    return JudgeContext(persona=_taste(known).persona)


def persona_with_demonstrations(known: Known) -> JudgeContext:
    """The measured persona with the demonstrations that SynthesizeMe shows without a persona.

    Raises ValueError without a profile or a taste.
    """
    if known.profile is None:
        raise ValueError(f"user {known.user.user_id}: no profile was given to a method that needs one")
    return JudgeContext(_taste(known).persona, known.profile.plain_demonstrations)


MEASURED_PERSONA = Method(
    "measured_persona",
    "taste",
    persona,
    prompts=PROMPTS,
    learns=True,
    by_k=True,
    validation=True,
    guarded=True,
    references=("attributes",),
    label="Measured persona",
    mark=Mark("#cc78bc", "$m$"),
)
MEASURED_PERSONA_DEMOS = Method(
    "measured_persona_demos",
    "profile",
    persona_with_demonstrations,
    ("bootstrap", "search"),
    prompts=PROMPTS,
    tastes=True,
    validation=True,
    guarded=True,
    references=("measured_persona", "demos"),
    label="Measured + demonstrations",
    mark=Mark("#8c1d40", "$M$"),
)
