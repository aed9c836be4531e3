"""What the networks of several methods share: their weights in files, and random episodes of users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn

from personalrm.methods.reward.base import shared_answers
from personalrm.train.features import Pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from personalrm.methods.reward.base import Scale, TrainingData
    from personalrm.train.checkpoint import Fitted

N = TypeVar("N", bound=nn.Module)
PREFIX = "network."


def weights_of(network: nn.Module) -> dict[str, NDArray[Any]]:
    """All weights as arrays, for `Fitted`."""
    return {f"{PREFIX}{name}": value.detach().cpu().numpy().copy() for name, value in network.state_dict().items()}


def with_weights(network: N, fitted: Fitted) -> N:
    """The network with the weights of `weights_of`, on the CPU, frozen."""
    stored = {name.removeprefix(PREFIX): x for name, x in fitted.tensors.items() if name.startswith(PREFIX)}
    network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in stored.items()})
    network.eval().requires_grad_(False)
    return network


def decoder(inputs: int, hidden: int) -> nn.Sequential:
    """Two hidden layers and one output (VPL's reward decoder)."""
    middle = (nn.Linear(inputs, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, hidden), nn.LeakyReLU(0.2))
    return nn.Sequential(*middle, nn.Linear(hidden, 1))


class Sides(NamedTuple):
    """Pairs of some users, scaled; rows beyond a user's pairs are 0.

    Attributes:
        chosen: features of the chosen answers, (users, pairs, dim).
        rejected: the same of the rejected answers.
        real: which rows are pairs, (users, pairs).
    """

    chosen: torch.Tensor
    rejected: torch.Tensor
    real: torch.Tensor


def one_user(pairs: Pairs, scale: Scale, device: torch.device | str = "cpu") -> Sides:
    """The pairs of one user."""
    chosen, rejected = (
        torch.from_numpy(scale.answers(side))[None].to(device) for side in (pairs.chosen, pairs.rejected)
    )
    return Sides(chosen, rejected, torch.ones(1, len(pairs), dtype=torch.bool, device=device))


class Episodes:
    """Draws train users, and for each at random which pairs are context and which are targets.

    Pairs that share an answer, as those of one turn may, are drawn together, and never on both sides: a network would
    learn to look for the target's answers in the context, where test pairs have none.
    """

    def __init__(self, data: TrainingData, scale: Scale, device: str) -> None:
        pairs = data.pairs
        self._chosen = torch.from_numpy(scale.answers(pairs.chosen)).to(device)
        self._rejected = torch.from_numpy(scale.answers(pairs.rejected)).to(device)
        self._sizes = torch.tensor([len(user) for user in data.users])
        self._starts = torch.cumsum(self._sizes, 0) - self._sizes
        groups = [torch.tensor(shared_answers(user)) for user in data.users]
        self._groups = nn.utils.rnn.pad_sequence(groups, batch_first=True)

    def draw(self, generator: torch.Generator, users: int, most_context: int, targets: int) -> tuple[Sides, Sides]:
        """Context and targets of `users` users, drawn with replacement.

        The number of context pairs is drawn per call, from 1 to `most_context`. A user with fewer pairs keeps one pair
        as target; one with a single pair, or whose pairs all share answers, has no context.
        """
        who = torch.randint(len(self._sizes), (users,), generator=generator)
        wanted = int(torch.randint(1, most_context + 1, (1,), generator=generator))
        sizes = self._sizes[who]
        order = torch.rand(users, int(sizes.max()), generator=generator)
        groups = self._groups[who, : order.shape[1]]
        order = order.gather(1, groups).masked_fill(torch.arange(order.shape[1])[None] >= sizes[:, None], 2.0)
        order = order.argsort(dim=1, stable=True)
        context = torch.minimum(sizes - 1, torch.tensor(wanted))
        rest = torch.minimum(sizes - context, torch.tensor(targets))
        known, is_known = _drawn(order, torch.zeros_like(context), context)
        asked, is_asked = _drawn(order, context, rest)
        # Of the group that the cut goes through, the context keeps nothing.
        shared = groups.gather(1, known)[..., None] == groups.gather(1, asked)[:, None]
        is_known &= ~(shared & is_asked[:, None]).any(dim=2)
        return self._sides(who, known, is_known), self._sides(who, asked, is_asked)

    def _sides(self, who: torch.Tensor, places: torch.Tensor, real: torch.Tensor) -> Sides:
        rows = (self._starts[who][:, None] + places).masked_fill(~real, 0).to(self._chosen.device)
        real = real.to(self._chosen.device)
        return Sides(self._chosen[rows] * real[..., None], self._rejected[rows] * real[..., None], real)


def _drawn(order: torch.Tensor, first: torch.Tensor, count: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The places of `count` pairs of each user from the `first` on, and which of them are pairs."""
    places = torch.arange(int(count.max()))[None].expand(len(order), -1)
    return order.gather(1, (first[:, None] + places).clamp(max=order.shape[1] - 1)), places < count[:, None]


def mean_of_real(values: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Mean over the real rows of all users, ()."""
    return (values * real).sum() / real.sum()
