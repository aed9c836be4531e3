"""Language models that are shown a user's votes, as methods: few-shot preference optimisation (FSPO) and what it is
compared with. How they are trained: `methods/reward/few_shot_settings.py`.

A verdict is the implicit reward: by how much more than its reference the model prefers the chosen answer. Prompts show
the context pairs that k allows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from personalrm.core.records import PreferencePair, Verdict
from personalrm.methods.base import Known, LogOdds, Mark, Method, NoPairs, NotApplicable
from personalrm.methods.trained import compare, for_all, for_user

PROMPTS = ("few_shot_preferences",)


class Shown(NamedTuple):
    """The log-odds of a pair, how many votes its prompt shows, and how many of those that were given it does not."""

    log_odds: float
    shots: int
    dropped: int


@dataclass(frozen=True)
class VotesShown:
    """The reward of a user whose votes are shown (`methods.base.LogOdds`); `read` also counts the votes."""

    read: Callable[[Sequence[PreferencePair]], Sequence[Shown]]

    def __call__(self, pairs: Sequence[PreferencePair]) -> Sequence[float]:
        """The log-odds of pairs."""
        return [one.log_odds for one in self.read(pairs)]


def compare_shown(reward: LogOdds, pairs: Sequence[PreferencePair]) -> tuple[Verdict, ...]:
    """One verdict per pair, as `trained.compare`, with the number of votes that its prompt shows."""
    if not isinstance(reward, VotesShown):
        return compare(reward, pairs)
    found = reward.read(pairs)
    verdicts = compare(lambda _: [one.log_odds for one in found], pairs)
    return tuple(
        verdict.model_copy(update={"shots": one.shots, "shots_dropped": one.dropped})
        for verdict, one in zip(verdicts, found, strict=True)
    )


def _told(known: Known) -> LogOdds | NoPairs | NotApplicable:
    """The reward of a user whose votes are shown, and whose planted taste is shown as the description."""
    if not known.user.planted_taste:
        return NotApplicable("fspo_oracle has nothing to show of this user")
    if known.reward is None or not known.pairs:
        return for_user(known)
    return known.reward.adapt(known.pairs, known.user.planted_taste)


def _shown(name: str, label: str, mark: Mark, *references: str, **more: Any) -> Method[Any]:  # noqa: ANN401
    """A method whose prompts show the user's votes."""
    given = {"adapt": for_user, **more}
    return Method(
        name,
        "reward",
        judge=compare_shown,
        learns=True,
        by_k=True,
        prompts=PROMPTS,
        references=references,
        label=label,
        mark=mark,
        **given,
    )


def _for_all(name: str, label: str, mark: Mark, *references: str) -> Method[Any]:
    """A method whose prompts show no votes."""
    return Method(
        name, "reward", for_all, judge=compare, prompts=PROMPTS, references=references, label=label, mark=mark
    )


FEW_SHOT_PROMPT = _shown("few_shot_prompt", "Few-shot prompting, untrained", Mark("#626200", "$q$"))
PREF_FT_NO_USER = _for_all("pref_ft_no_user", "Pref-FT, no user", Mark("#56b4e9", "$s$"))
PREF_FT = _shown("pref_ft", "Few-shot Pref-FT", Mark("#0173b2", "$S$"), "pref_ft_no_user")
PREF_FT_DESCRIPTION = _shown(
    "pref_ft_description", "Few-shot Pref-FT + description", Mark("#029e73", "$y$"), "pref_ft_no_user"
)
IPO = _for_all("ipo", "IPO, no user", Mark("#00788a", "$I$"))
FSPO = _shown(
    "fspo", "FSPO", Mark("#d55e00", "$F$"), "ipo", "pref_ft", "few_shot_prompt", without_pairs="fspo_no_shots"
)
FSPO_NO_SHOTS = _for_all("fspo_no_shots", "FSPO, shown no votes (k = 0)", Mark("#cc78bc", "$N$"), "ipo")
FSPO_OTHER_USER = _shown(
    "fspo_other_user", "FSPO, shown another user's votes", Mark("#a6692f", "$X$"), "ipo", "fspo", other_user=True
)
FSPO_DESCRIPTION = _shown("fspo_description", "FSPO + own description", Mark("#de8f05", "$D$"), "ipo", "fspo")
FSPO_ORACLE = _shown(
    "fspo_oracle", "FSPO + planted taste", Mark("#4b3a9e", "$O$"), "fspo_description", adapt=_told, told=True
)
