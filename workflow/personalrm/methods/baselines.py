"""Baselines: what a judge is shown without a profile (nothing, a survey, raw votes), and two rules without a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from personalrm.core.files import stable_hash
from personalrm.core.records import Demonstration, Outcome, PreferencePair, Verdict
from personalrm.judge.judge import JudgeContext, position_of_chosen, presented_swapped
from personalrm.judge.prompting import load_prompt
from personalrm.methods.base import Known, NoPairs, NotApplicable

DEMOGRAPHIC_QUESTIONS: dict[str, str] = {
    "age": "age",
    "gender": "gender",
    "employment_status": "employment",
    "education": "education",
    "marital_status": "marital status",
    "english_proficiency": "English",
    "religion": "religion",
    "religion.simplified": "religion",
    "ethnicity": "ethnicity",
    "ethnicity.simplified": "ethnicity",
    "location.birth_country": "country of birth",
    "location.reside_country": "country of residence",
}
"""Survey questions (PRISM's names) that describe a person, and how the judge reads them, in this order. What people
said of their preferences or values (`self_description`, `system_string`, `stated_prefs`) is left out: our choice."""


def nothing(known: Known) -> JudgeContext:
    """Nothing is shown of the user."""
    del known
    return JudgeContext()


def planted_taste(known: Known) -> JudgeContext | NotApplicable:
    """The planted taste as a persona: an upper bound, for data that have one."""
    taste = known.user.planted_taste
    return JudgeContext(persona=taste) if taste else NotApplicable("oracle has nothing to show of this user")


def demographics(known: Known) -> JudgeContext | NotApplicable:
    """What the survey says of the person (paper, baselines; which fields is our choice), never of their preferences."""
    answers = {question: text for question, text in known.user.survey.items() if question in DEMOGRAPHIC_QUESTIONS}
    if not answers:
        return NotApplicable("demographics has nothing to show of this user")
    prompt = load_prompt("demographics")
    return JudgeContext(persona=prompt.render("persona", answers=answers, names=DEMOGRAPHIC_QUESTIONS))


def history(known: Known) -> JudgeContext | NoPairs:
    """The raw context pairs with their labels: all of them, whatever k."""
    return labelled_pairs(known.user.part("context"))


def history_validation(known: Known) -> JudgeContext | NoPairs:
    """The same with the validation pairs: the labels that SynthesizeMe learns from and chooses its winner by."""
    return labelled_pairs([*known.user.part("context"), *known.user.part("validation")])


def labelled_pairs(pairs: Sequence[PreferencePair]) -> JudgeContext | NoPairs:
    """Pairs with their labels, most recent last; the oldest are dropped where the window is full."""
    ordered = sorted(pairs, key=lambda pair: pair.order)
    shown = tuple(Demonstration(pair=pair, swapped=presented_swapped(pair, "history")) for pair in ordered)
    return JudgeContext(demonstrations=shown, droppable=True) if shown else NoPairs()


def run_seed(known: Known) -> int:
    """The seed of the run: all that the rules without a model depend on."""
    return known.seed


def toss_coin(seed: int, pairs: Sequence[PreferencePair]) -> tuple[Verdict, ...]:
    """Verdicts of a fair coin, seeded by content, in both orders."""

    def said(pair: PreferencePair, swapped: bool) -> Literal["first", "second"]:
        toss = int(stable_hash("random", str(seed), pair.user_id, pair.pair_id, str(swapped)), 16) % 2
        return "first" if toss else "second"

    return tuple(_verdict(pair, swapped, said(pair, swapped)) for pair in pairs for swapped in (False, True))


def prefer_longer(seed: int, pairs: Sequence[PreferencePair]) -> tuple[Verdict, ...]:
    """Verdicts for the answer of more characters, in both orders; a tie where lengths are equal."""
    del seed

    def said(pair: PreferencePair, swapped: bool) -> Literal["first", "second"] | None:
        lead = len(pair.chosen) - len(pair.rejected)
        return None if lead == 0 else "first" if (lead > 0) != swapped else "second"

    return tuple(_verdict(pair, swapped, said(pair, swapped)) for pair in pairs for swapped in (False, True))


def _verdict(pair: PreferencePair, swapped: bool, said: Literal["first", "second"] | None) -> Verdict:
    outcome: Outcome = "tie" if said is None else "correct" if said == position_of_chosen(swapped) else "wrong"
    return Verdict(pair_id=pair.pair_id, swapped=swapped, outcome=outcome, said=said)
