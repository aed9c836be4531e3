"""Hyper-parameters of all methods, for configs on machines without torch.

Defaults are published ones, as the authors' code has them; what no publication has is said to be ours. Published steps
are of large sets: a run on few users sets its own. One sequence of settings is one training: a checkpoint of another is
refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from pydantic import Field, GetPydanticSchema, TypeAdapter, ValidationError

from personalrm.core.errors import ConfigError
from personalrm.methods.reward.few_shot_settings import FEW_SHOT, RECIPES, FSPOHyper, PrefFTHyper, trainings_of

PALKind = Literal["dist", "angle"]
GPOPoints = Literal["items", "pairs"]
Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]
"""0 for none."""
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Penalty = Annotated[float, Field(gt=0)]
"""May be infinite."""
Some = Field(min_length=1)


@dataclass(frozen=True)
class FrozenBTHyper:
    """Ours: no publication has this control.

    Attributes:
        hidden: width of the two hidden layers; 0 for a linear reward.
        l2: penalty of the squared weights next to the mean loss, linear reward without validation users.
        l2_grid: penalties from which validation users choose.
        lr, weight_decay, batch, steps: of AdamW, for hidden layers.
        evaluate_every: steps between measurements on validation users, who choose the step, for hidden layers.
    """

    hidden: CountOrNone = 0
    l2: Weight = 0.01
    l2_grid: Annotated[tuple[Rate, ...], Some] = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
    lr: Rate = 3e-4
    weight_decay: Weight = 0.01
    batch: Count = 64
    steps: Count = 2000
    evaluate_every: CountOrNone = 100


Stack = Annotated[bool | FrozenBTHyper, GetPydanticSchema(lambda _kind, schema: schema(bool))]
"""Whether to stack; instead of true, the linear frozen Bradley-Terry to stack with (`studies/reward_config.py`).
Configs give true or false."""


@dataclass(frozen=True)
class UserMAPHyper:
    """Ours.

    Attributes:
        shared: of the Bradley-Terry weights; linear (`hidden` 0). Default with validation users: as given for
            `frozen_bt`. Without them, its penalty counts with fewer than two users whose pairs can be divided.
        penalties: of deviations, from which validation users or folds choose; of equally good ones the largest.
            Infinite stands for Bradley-Terry itself.
        folds: without validation users, train users are held out in so many parts in turn, to choose the penalty of
            deviations and that of the shared weights together.
        l2_grid: penalties of the shared weights from which folds choose. Large ones matter where train users are also
            the users to be adapted: weights that fit each of their pairs leave a deviation nothing to explain.
        penalty: of deviations, with fewer than two users whose pairs can be divided.
    """

    shared: FrozenBTHyper = field(default_factory=FrozenBTHyper)
    penalties: Annotated[tuple[Penalty, ...], Some] = (0.1, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, math.inf)
    folds: Annotated[int, Field(ge=2)] = 5
    l2_grid: Annotated[tuple[Rate, ...], Some] = (0.003, 0.03, 0.3, 3.0, 30.0)
    penalty: Penalty = 10.0

    def __post_init__(self) -> None:
        """Raises ValueError where the shared weights are not linear."""
        if self.shared.hidden:
            raise ValueError("shared.hidden: the shared weights are linear; give 0")


@dataclass(frozen=True)
class LoReHyper:
    """Defaults are those of the authors' code on PRISM, unless "ours" is said.

    Attributes:
        k: shared rewards, without validation users; the authors run 1 and 5 to 50.
        k_grid: numbers from which validation users choose; of equally good ones the smallest.
        lr: of Adam, for w and V, and for a new user's w.
        steps: updates in all, each with all pairs.
        adapt_steps: updates of a new user's w.
        alpha: weight of mean(1 - cos(V_k, reference)), 0 up to a fifth of the steps, and from there growing linearly to
            its full size at four fifths. Authors: 1e4; ours: 0.
        weight_decay: of V; ours.
        evaluate_every: steps between measurements on validation users, who choose the step; ours.
        reference: of the Bradley-Terry weights that `alpha` pulls toward; ours. Default: as given for `frozen_bt`.
    """

    k: Count = 5
    k_grid: Annotated[tuple[Count, ...], Some] = (1, 5, 10)
    lr: Rate = 0.5
    steps: Count = 20_000
    adapt_steps: CountOrNone = 500
    alpha: Weight = 0.0
    weight_decay: Weight = 0.0
    evaluate_every: CountOrNone = 50
    reference: FrozenBTHyper = field(default_factory=FrozenBTHyper)

    def __post_init__(self) -> None:
        """Raises ValueError where the reference is not linear."""
        if self.reference.hidden:
            raise ValueError("reference.hidden: the reference is linear; give 0")


@dataclass(frozen=True)
class VPLHyper:
    """Defaults are those of the authors' code on Pets, unless "ours" is said.

    Attributes:
        latent: length of z.
        hidden: width of encoder and decoder.
        beta: weight of the divergence; UF-P-4: 3e-6.
        cycle: steps of a cosine cycle in which the factor of beta grows from 0.1 to 1.
        lr: of AdamW; UF-P: 1e-4.
        users: per batch (authors: 4 on each of 8 devices).
        context: most context pairs in training; a batch has 1 to so many.
        targets: most target pairs per user in a batch; ours.
        steps: updates; authors: 2 epochs, 10 on "controversial" pairs. Ours.
        evaluate_every: steps between measurements on validation users, who choose the step; ours.
        stack: add frozen Bradley-Terry, in shares that validation users choose (`stack.py`); ours. Off by default: as
            published.
    """

    latent: Count = 512
    hidden: Count = 512
    beta: Weight = 1e-4
    cycle: Count = 10_000
    lr: Rate = 3e-4
    users: Count = 32
    context: Count = 8
    targets: Count = 8
    steps: Count = 2000
    evaluate_every: CountOrNone = 100
    stack: Stack = False


@dataclass(frozen=True)
class PALAHyper:
    """Defaults are those of the authors' code on opt-350m features, unless "ours" is said.

    Attributes:
        k: prototypes; the authors run 1 as a control. SynthesizeMe's authors: 3, 5, 10.
        kind: of the score.
        width: of the space of items and prototypes.
        lr: of AdamW, for the network; `weight_decay` goes with it.
        user_lr: for prototypes, train users' weights, and new users' weights.
        scale_lr: for the cosine's scale.
        batch: pairs.
        steps: updates; authors: 1 epoch. Ours.
        adapt_steps: updates of a new user's weights; 20 epochs of ten pairs in batches of 4.
        evaluate_every: steps between measurements on validation users, who choose the step; ours.
        stack: add frozen Bradley-Terry, in shares that validation users choose (`stack.py`); ours. Off by default: as
            published.
    """

    k: Count = 2
    kind: PALKind = "dist"
    width: Count = 512
    lr: Rate = 1e-4
    weight_decay: Weight = 0.01
    user_lr: Rate = 5e-3
    scale_lr: Rate = 0.1
    batch: Count = 4
    steps: Count = 10_000
    adapt_steps: CountOrNone = 60
    evaluate_every: CountOrNone = 500
    stack: Stack = False


@dataclass(frozen=True)
class GPOHyper:
    """Defaults are those of the authors' code, unless "ours" is said.

    Attributes:
        points: answers as published, or pairs (ours); see `gpo.py`. What makes the method, and so not to be chosen.
        width: of tokens and of the feed-forward layers.
        depth: linear layers of the embedding of points.
        layers: of the transformer.
        heads: of its attention.
        lr: of Adam, on a cosine to 0 over the steps (authors: it ends earlier than the training).
        users: groups per batch.
        context: most context pairs in training; a batch has 1 to so many. Authors: 10 to 100 questions.
        targets: most target pairs per user in a batch. Authors: the rest.
        steps: updates; authors: 200,000 passes of one group, in batches.
        evaluate_every: steps between measurements on validation users, who choose the step; ours.
    """

    points: GPOPoints = "items"
    width: Count = 128
    depth: Count = 4
    layers: Count = 6
    heads: Count = 4
    lr: Rate = 3e-4
    users: Count = 32
    context: Count = 100
    targets: Count = 100
    steps: Count = 6250
    evaluate_every: CountOrNone = 250

    def __post_init__(self) -> None:
        """Raises ValueError where heads cannot share the width, and for the points of the other method."""
        if self.width % self.heads:
            raise ValueError(f"width: {self.width} is no multiple of heads, {self.heads}")
        if self.points != type(self).points:
            raise ValueError(f"points: {type(self).points!r} here; gpo and gpo_pairs are methods of their own")


@dataclass(frozen=True)
class GPOPairsHyper(GPOHyper):
    """The same with pairs as points."""

    points: GPOPoints = "pairs"


PUBLISHED: dict[str, dict[str, Any]] = {
    "rlhflow": {
        **{"tuning": "full", "lr": 2e-6, "batch": 512, "epochs": 1, "schedule": "cosine", "warmup": 0.03},
        **{"weight_decay": 0.001, "max_tokens": 4096},
    },
    "trl": {
        **{"tuning": "full", "lr": 1e-4, "batch": 8, "epochs": 3, "schedule": "linear", "warmup": 0.0},
        **{"weight_decay": 0.0, "max_tokens": 1024},
    },
}
"""Published settings of Bradley-Terry fine-tuning: those of RLHFlow's code (https://github.com/RLHFlow/RLHF-Reward-Modeling)
for Llama-3 8B, and the defaults of TRL 1.16."""


@dataclass(frozen=True)
class BTHyper:
    """Of the fine-tuned models. What is not given has the value of `published`; of the others "ours" is said.

    Attributes:
        published: a name in `PUBLISHED`, whose values stand where none is given.
        tuning: `full`, all weights; `lora`, low-rank adapters of all linear layers, and the head.
        lr: of AdamW.
        batch: pairs per update.
        epochs: passes over the pairs.
        schedule: of the learning rate, after the warm-up.
        warmup: share of the updates, rounded down, in which the learning rate grows from 0.
        weight_decay: of AdamW.
        max_tokens: of a text, or fewer where the base takes fewer; conversations lose their oldest tokens, and no pair
            is left out. (RLHFlow cuts the end of the conversation's side, too; TRL leaves out longer pairs.)
        steps: updates; 0 for what the epochs give. Ours.
        at_once: pairs in memory at the same time; a batch is gathered of so many. Ours.
        rank, alpha: of the adapters. Ours.
        centre: weight of the mean of (r(chosen) + r(rejected))^2, which keeps rewards near 0; TRL recommends 0.01.
        recompute: compute activations twice, to need less memory (TRL: true). Ours.
        evaluate_every: updates between measurements on validation users, for the curve alone: the last weights are
            kept. 0 for none. Ours.
    """

    published: Literal["rlhflow", "trl"] = "rlhflow"
    tuning: Literal["full", "lora"] | None = None
    lr: Rate | None = None
    batch: Count | None = None
    epochs: Rate | None = None
    schedule: Literal["cosine", "linear", "constant"] | None = None
    warmup: Annotated[float, Field(ge=0, lt=1)] | None = None
    weight_decay: Weight | None = None
    max_tokens: Count | None = None
    steps: CountOrNone = 0
    at_once: Count = 4
    rank: Count = 16
    alpha: Count = 32
    centre: Weight = 0.0
    recompute: bool = False
    evaluate_every: CountOrNone = 0

    def __post_init__(self) -> None:
        """Fill in published values. Raises ValueError where a batch cannot be gathered of `at_once` pairs."""
        for name, value in PUBLISHED[self.published].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        if self.batch is not None and self.batch % self.at_once:
            raise ValueError(f"batch: {self.batch} is no multiple of at_once, {self.at_once}")


Hyper = FrozenBTHyper | UserMAPHyper | LoReHyper | VPLHyper | PALAHyper | GPOHyper | BTHyper | PrefFTHyper | FSPOHyper
_BT: tuple[str, ...] = ("bt", "bt_persona", "bt_both", "bt_measured_persona", "bt_oracle", "bt_persona_other_user")
FINE_TUNED: tuple[str, ...] = (*_BT, *FEW_SHOT)
"""Methods that fine-tune the base, or only prompt it, and need no features."""
HYPER: dict[str, type[Hyper]] = {
    "frozen_bt": FrozenBTHyper,
    "user_map": UserMAPHyper,
    "lore": LoReHyper,
    "vpl": VPLHyper,
    "pal_a": PALAHyper,
    "gpo": GPOHyper,
    "gpo_pairs": GPOPairsHyper,
    **dict.fromkeys(_BT, BTHyper),
    **FEW_SHOT,
}
"""All methods by name, with the class of their hyper-parameters."""


def shared_hyper(method: str) -> str:
    """The method whose hyper-parameters in a config are also those of `method`, which may change some.

    >>> shared_hyper("bt_oracle"), shared_hyper("ipo"), shared_hyper("pref_ft_no_user"), shared_hyper("lore")
    ('bt', 'fspo', 'pref_ft', 'lore')
    """
    if method in FEW_SHOT:
        return "fspo" if FEW_SHOT[method] is FSPOHyper else "pref_ft"
    return "bt" if method in _BT else method


def rests_on(method: str) -> tuple[str, ...]:
    """The methods whose trainings a method rests on, in the order in which they follow each other: its own alone, if
    it is neither one of `FEW_SHOT` nor a control that judges with the weights of another.

    >>> rests_on("lore"), rests_on("ipo"), rests_on("bt_persona_other_user")
    (('lore',), ('pref_ft_no_user', 'ipo'), ('bt_persona',))
    """
    return trainings_of(method) if method in RECIPES else (method.removesuffix("_other_user"),)


def read_hyper(method: str, given: Mapping[str, Any]) -> Any:  # noqa: ANN401 - the method's own
    """The hyper-parameters of a method: `given` ones, and defaults for the others.

    Raises ConfigError, with one line per problem, for unknown names, values of another type or out of range, and
    values that do not go together.
    """
    kind = HYPER[method]
    problems = list(_unknown(kind, given, ""))
    if not problems:
        try:
            return TypeAdapter(kind).validate_python(dict(given))
        except ValidationError as error:
            problems = [_told(item["loc"], item["msg"]) for item in error.errors()]
    raise ConfigError("\n".join(problems))


def _told(path: tuple[int | str, ...], message: str) -> str:
    """One line; what does not go together has no path, and its message begins with one."""
    return ": ".join([*([".".join(map(str, path))] if path else []), message.removeprefix("Value error, ")])


def _unknown(kind: type[Any], given: Mapping[str, Any], path: str) -> Iterator[str]:
    known = {one.name: one for one in fields(kind)}
    for name, value in given.items():
        if name not in known:
            yield f"{path}{name}: unknown hyper-parameter; known: {', '.join(known)}"
            continue
        inner = known[name].default_factory
        if isinstance(inner, type) and isinstance(value, Mapping):
            yield from _unknown(inner, value, f"{path}{name}.")
