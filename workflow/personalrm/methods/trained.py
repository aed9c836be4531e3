"""Trained reward models as methods: their rows in tables and figures. The models themselves are in `methods/reward`.

An entry of the config's `reward_models` names them; what they are trained on is in the stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from personalrm.core.records import PreferencePair, Verdict
from personalrm.judge.judge import JudgeContext, sign_outcome
from personalrm.judge.prompting import load_prompt
from personalrm.methods.base import Known, LogOdds, Mark, Method, NoPairs, NotApplicable, TrainedReward


def _reward(known: Known) -> TrainedReward:
    """The reward model. Raises ValueError where none was given: the caller has to train one first."""
    if known.reward is None:
        raise ValueError(f"user {known.user.user_id}: no reward model was given to a method that needs one")
    return known.reward


def for_all(known: Known) -> LogOdds:
    """The reward that all users share."""
    return _reward(known).adapt(())


def for_user(known: Known) -> LogOdds | NoPairs:
    """The reward of the user, from the context pairs that k allows."""
    return _reward(known).adapt(known.pairs) if known.pairs else NoPairs()


PROMPT = "reward_system"


def system_turn(shown: JudgeContext) -> str:
    """What a fine-tuned reward model reads of the user before each conversation; empty where nothing is known."""
    return load_prompt(PROMPT).render("system", persona=shown.persona, demonstrations=shown.demonstrations)


def showing(
    shown: Method[Any], label: str, mark: Mark, references: tuple[str, ...], *, other_user: bool = False
) -> Method[LogOdds]:
    """The fine-tuned reward model that reads what the prompt of the method `shown` says of the user, or as a control
    what it says of another user."""

    def adapt(known: Known) -> LogOdds | NotApplicable | NoPairs:
        state = shown.adapt(known)
        return _reward(known).adapt((), system_turn(state)) if isinstance(state, JudgeContext) else state

    learned = shown.learns or shown.needs == "profile"
    return Method(
        f"bt_{shown.name}{'_other_user' if other_user else ''}",
        "reward",
        adapt,
        shown.stages,
        judge=compare,
        learns=learned,
        by_k=learned,
        validation=learned,
        prompts=(PROMPT,),
        tastes=shown.shows_taste,
        shows=shown.name,
        told=shown.told,
        other_user=other_user,
        references=references,
        label=label,
        mark=mark,
    )


def compare(log_odds: LogOdds, pairs: Sequence[PreferencePair]) -> tuple[Verdict, ...]:
    """One verdict per pair: a reward model rates each answer alone, so that no order is shown."""
    odds = zip(pairs, map(float, log_odds(pairs)), strict=True)
    return tuple(
        Verdict(pair_id=pair.pair_id, swapped=None, outcome=sign_outcome(value), log_odds=value) for pair, value in odds
    )


def _personal(name: str, label: str, mark: Mark) -> Method[LogOdds]:
    references = ("frozen_bt",)
    return Method(
        name, "reward", for_user, judge=compare, learns=True, by_k=True, references=references, label=label, mark=mark
    )


FROZEN_BT: Method[Any] = Method(
    "frozen_bt", "reward", for_all, judge=compare, label="Frozen Bradley-Terry", mark=Mark("#222222", "$B$")
)
USER_MAP = _personal("user_map", "User-MAP: own deviation", Mark("#56b4e9", "$U$"))
LORE = _personal("lore", "LoRe: mixture of rewards", Mark("#0173b2", "$L$"))
VPL = _personal("vpl", "VPL: latent user vector", Mark("#029e73", "$V$"))
PAL_A = _personal("pal_a", "PAL-A: mixture of prototypes", Mark("#de8f05", "$A$"))
GPO = _personal("gpo", "GPO: answers as points", Mark("#cc78bc", "$G$"))
GPO_PAIRS = _personal("gpo_pairs", "GPO: pairs as points", Mark("#4b3a9e", "$g$"))
BT: Method[Any] = Method("bt", "reward", for_all, judge=compare, label="Fine-tuned RM", mark=Mark("#00788a", "$T$"))
