"""How few-shot preference optimisation (FSPO) and its baselines are trained: hyper-parameters and recipes; needs no
torch.

Defaults are those of Singh et al. (2025), from the paper's table of hyper-parameters or from the authors' code, unless
"ours" is said. Published numbers are for a full fine-tune of Llama 3.2 3B on hundreds of thousands of pairs: a run on
few users sets its own, as does one with adapters, which is a deviation by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from personalrm.train.policy_settings import ChoiceHyper, Count, CountOrNone, Rate, TextHyper, Tuning


@dataclass(frozen=True)
class WindowHyper:
    """What a window holds, and which weights are tuned.

    Attributes:
        shots: most votes in a prompt of the training (the paper sweeps 4 and 8; 8 was best).
        mixed: draw the number of shots of each window from 0 to `shots`; else each window has `shots`, as published.
            Ours: a model that has seen one number alone is judged at others, and without votes, where it was never
            trained.
        windows: per user; 0 for so many as the authors' code makes (`shots.windows`).
        tuning: `full`, all weights (published); `lora`, low-rank adapters.
        rank, alpha: of the adapters. Ours.
        layers: with adapters: `all` linear ones, or PEFT's `default` for the architecture. Ours.
    """

    shots: Count = 8
    mixed: bool = True
    windows: CountOrNone = 0
    tuning: Literal["full", "lora"] = "full"
    rank: Count = 16
    alpha: Count = 32
    layers: Literal["all", "default"] = "all"

    @property
    def weights(self) -> Tuning:
        """Which weights are tuned."""
        return Tuning(self.tuning, self.rank, self.alpha, 0.0, self.layers)


@dataclass(frozen=True)
class PrefFTHyper(WindowHyper, TextHyper):
    """Of the first stage: likelihood of preferred answers. Fields of updates: `train.policy_settings.FitHyper`.

    Attributes:
        lr: the paper's best of 1e-5, 1e-6 and 1e-7.
        loss_on: the preferred answer (the paper's text; the authors' code learns both answers of a pair).
    """

    lr: Rate = 1e-7
    batch: Count = 4
    epochs: Rate = 1
    schedule: Literal["linear", "cosine", "constant"] = "constant"
    warmup: CountOrNone = 150
    optimiser: Literal["adamw", "rmsprop"] = "rmsprop"
    clip: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0
    evaluate_every: CountOrNone | Literal["epoch"] = 0
    keep: Literal["last", "best"] = "last"
    loss_on: Literal["completion", "text"] = "completion"


@dataclass(frozen=True)
class FSPOHyper(WindowHyper, ChoiceHyper):
    """Of the second stage: preferences, from where the first stage ended. Fields of updates:
    `train.policy_settings.FitHyper`.

    Attributes:
        lr: the paper's best of 1e-5, 1e-6 and 1e-7.
        loss: `ipo`; `dpo` is the alternative.
        beta: 0.01 is that of the authors' command (README); in the paper's table 0.005 is the best of 0.1 to 0.001. As
            losses are on sums, IPO aims at h = 1 / (2 beta): 50 nats, or 100.
    """

    lr: Rate = 1e-6
    loss: Literal["dpo", "ipo"] = "ipo"
    beta: Rate = 0.01
    batch: Count = 4
    epochs: Rate = 1
    schedule: Literal["linear", "cosine", "constant"] = "constant"
    warmup: CountOrNone = 150
    optimiser: Literal["adamw", "rmsprop"] = "rmsprop"
    clip: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0
    evaluate_every: CountOrNone | Literal["epoch"] = 0
    keep: Literal["last", "best"] = "last"


class Recipe(NamedTuple):
    """How a few-shot method comes by its weights, and what its prompts show.

    Attributes:
        weights: name of the method with whose weights it judges; itself where it is trained. Empty: it is not.
        start: name of the method where its training begins, whose training comes first; empty for the base.
        shots: whether prompts show votes.
        describes: whether the model describes the user, from the votes, before it answers. In training it is shown the
            planted taste instead of its own words (teacher forcing).
    """

    weights: str
    start: str = ""
    shots: bool = True
    describes: bool = False


RECIPES: dict[str, Recipe] = {
    "few_shot_prompt": Recipe(""),
    "pref_ft_no_user": Recipe("pref_ft_no_user", shots=False),
    "pref_ft": Recipe("pref_ft"),
    "pref_ft_description": Recipe("pref_ft_description", describes=True),
    "ipo": Recipe("ipo", "pref_ft_no_user", shots=False),
    "fspo": Recipe("fspo", "pref_ft"),
    "fspo_no_shots": Recipe("fspo"),
    "fspo_other_user": Recipe("fspo"),
    "fspo_description": Recipe("fspo_description", "pref_ft_description", describes=True),
    "fspo_oracle": Recipe("fspo_description", describes=True),
}
"""All few-shot methods by name. A method of two stages begins with one of a single stage."""
FEW_SHOT: dict[str, type[Any]] = {
    name: FSPOHyper if RECIPES[recipe.weights or name].start else PrefFTHyper for name, recipe in RECIPES.items()
}
"""The class of the hyper-parameters of each."""


def trainings_of(method: str) -> tuple[str, ...]:
    """The trainings that a few-shot method rests on, in the order in which they follow each other.

    >>> trainings_of("fspo_no_shots"), trainings_of("few_shot_prompt")
    (('pref_ft', 'fspo'), ())
    """
    name = RECIPES[method].weights
    if not name:
        return ()
    start = RECIPES[name].start
    return (*(trainings_of(start) if start else ()), name)
