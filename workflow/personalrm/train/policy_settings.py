"""How a causal language model is opened, tuned and trained as a policy; needs no torch.

Defaults of training are those of "Whose Boat Does it Float?" (Balepur et al., 2025; their code, persona_tailoring).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]
"""0 for none."""
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Text(NamedTuple):
    """A prompt and how it goes on. The end token follows the completion and is not part of it."""

    prompt: str
    completion: str


class Choice(NamedTuple):
    """A prompt and two completions, one of which is preferred."""

    prompt: str
    chosen: str
    rejected: str


class Generated(NamedTuple):
    """What a policy wrote.

    Attributes:
        text: without special tokens, up to a stop string.
        cut: it ended for its length: neither by the end token nor by a stop string.
    """

    text: str
    cut: bool


@dataclass(frozen=True)
class PolicySettings:
    """Which model, and where it computes.

    Attributes:
        base: id of an embedded model, a folder, or a hub id.
        revision: of a hub id.
        device: as torch names it.
        dtype: of activations, and of weights that are not tuned; log-probabilities are float32.
        max_tokens: most tokens of a text whose log-probability is taken, the end token included; None for what the
            model takes. The prompt loses its start. A completion that alone exceeds the limit loses its end.
        max_prompt_tokens: most tokens of the prompt of such a text; None for no limit of its own.
        batch_tokens: most tokens of a batch outside of training, padding included; a longer text is a batch of its own.
    """

    base: str = "smollm2-135m"
    revision: str | None = None
    device: str = "cpu"
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    max_tokens: Count | None = None
    max_prompt_tokens: Count | None = None
    batch_tokens: Count = 2048


@dataclass(frozen=True)
class Tuning:
    """Which weights training changes.

    Attributes:
        kind: `lora`, low-rank adapters; `full`, all weights.
        rank, alpha, dropout: of the adapters. Preference losses switch dropout off, as TRL does.
        layers: with adapters: all linear ones, or PEFT's `default` for the architecture (Llama: query and value
            projections), as published.
    """

    kind: Literal["lora", "full"] = "lora"
    rank: Count = 16
    alpha: Count = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    layers: Literal["all", "default"] = "default"


@dataclass(frozen=True)
class FitHyper:
    """Of any training.

    Attributes:
        lr: learning rate.
        batch: texts or choices per update.
        at_once: of them in memory at the same time; a batch is gathered of so many.
        epochs: passes over the data; not read where `steps` are given.
        steps: updates; 0 for what the epochs give.
        schedule: of the learning rate, after the warm-up.
        warmup: updates in which the learning rate grows from 0.
        optimiser: `adamw` or `rmsprop`, of torch.
        weight_decay: of the optimiser.
        clip: largest norm of the gradient; 0 for no limit.
        recompute: compute activations twice, to need less memory.
        evaluate_every: updates between measurements on held-out data, or one per `epoch`; 0 for none.
        keep: the `last` weights, or those of the `best` (lowest) held-out loss.
    """

    lr: Rate = 2e-5
    batch: Count = 1
    at_once: Count = 1
    epochs: Rate = 10
    steps: CountOrNone = 0
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: CountOrNone = 0
    optimiser: Literal["adamw", "rmsprop"] = "adamw"
    weight_decay: Weight = 0.0
    clip: Weight = 1.0
    recompute: bool = False
    evaluate_every: CountOrNone | Literal["epoch"] = "epoch"
    keep: Literal["last", "best"] = "best"

    def __post_init__(self) -> None:
        """Raises ValueError where a batch cannot be gathered, and where the best weights are never measured."""
        if self.batch % self.at_once:
            raise ValueError(f"batch: {self.batch} is no multiple of at_once, {self.at_once}")
        if self.keep == "best" and not self.evaluate_every:
            raise ValueError("keep: best needs measurements; set evaluate_every, or keep: last")


@dataclass(frozen=True)
class TextHyper(FitHyper):
    """Supervised fine-tuning.

    Attributes:
        loss_on: the `completion`, or the whole `text`, prompt included (published).
    """

    loss_on: Literal["completion", "text"] = "text"


@dataclass(frozen=True)
class ChoiceHyper(FitHyper):
    """Preference optimisation.

    Attributes:
        loss: `dpo`, -log s(beta h); `ipo`, (h - 1 / (2 beta))^2, on summed log-probabilities (TRL divides them by the
            length). h = log pi(chosen) - log ref(chosen) - (log pi(rejected) - log ref(rejected)).
        beta: see `loss`.
    """

    lr: Rate = 5e-6
    loss: Literal["dpo", "ipo"] = "dpo"
    beta: Rate = 0.1
