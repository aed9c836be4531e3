"""What the networks of several methods share: their weights in files, and random episodes of users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn

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
    """Draws train users, and for each at random which pairs are context and which are targets."""

    def __init__(self, data: TrainingData, scale: Scale, device: str) -> None:
        pairs = data.pairs
        self._chosen = torch.from_numpy(scale.answers(pairs.chosen)).to(device)
        self._rejected = torch.from_numpy(scale.answers(pairs.rejected)).to(device)
        self._sizes = torch.tensor([len(user) for user in data.users])
        self._starts = torch.cumsum(self._sizes, 0) - self._sizes

    def draw(self, generator: torch.Generator, users: int, most_context: int, targets: int) -> tuple[Sides, Sides]:
        """Context and targets of `users` users, drawn with replacement.

        The number of context pairs is drawn per call, from 1 to `most_context`. A user with fewer pairs keeps one pair
        as target; one with a single pair has no context.
        """
        who = torch.randint(len(self._sizes), (users,), generator=generator)
        wanted = int(torch.randint(1, most_context + 1, (1,), generator=generator))
        sizes = self._sizes[who]
        order = torch.rand(users, int(sizes.max()), generator=generator)
        order = order.masked_fill(torch.arange(order.shape[1])[None] >= sizes[:, None], 2.0).argsort(dim=1, stable=True)
        context = torch.minimum(sizes - 1, torch.tensor(wanted))
        rest = torch.minimum(sizes - context, torch.tensor(targets))
        return self._part(who, order, torch.zeros_like(context), context), self._part(who, order, context, rest)

    def _part(self, who: torch.Tensor, order: torch.Tensor, first: torch.Tensor, count: torch.Tensor) -> Sides:
        places = torch.arange(int(count.max()))[None].expand(len(who), -1)
        real = places < count[:, None]
        drawn = order.gather(1, (first[:, None] + places).clamp(max=order.shape[1] - 1))
        rows = (self._starts[who][:, None] + drawn).masked_fill(~real, 0).to(self._chosen.device)
        real = real.to(self._chosen.device)
        return Sides(self._chosen[rows] * real[..., None], self._rejected[rows] * real[..., None], real)


def mean_of_real(values: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Mean over the real rows of all users, ()."""
    return (values * real).sum() / real.sum()
