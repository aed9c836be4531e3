"""The loop that trains every reward model on features: deterministic, and resumed after a kill with equal bits.

All that changes from step to step is in the checkpoint or follows from the step's number: weights and the optimiser's
moments are stored; the learning rate is a function of the step; random numbers of a step (batches, contexts, noise)
come from a generator seeded by the run's seed and the step, so that there is no state of a generator, a scheduler or a
position in the data to store. When checkpoints are written changes nothing in the result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from personalrm.core.errors import ConfigError, DataError
from personalrm.core.files import stable_hash
from personalrm.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

Loss = Callable[[int, torch.Generator], torch.Tensor]
"""The loss of a step, (), from the step's number and its generator."""


class Group(NamedTuple):
    """Parameters with a learning rate and weight decay of their own."""

    parameters: Sequence[torch.nn.Parameter]
    lr: float
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Plan:
    """How long to train, and how.

    Attributes:
        steps: updates in all.
        seed: of the random numbers of all steps.
        optimiser: of torch; `adam` adds weight decay to the gradient, `adamw` to the weights.
        schedule: of the learning rates: `constant`, or `cosine` down to 0.
        log_every: steps between points of the curve.
        evaluate_every: steps between measurements on held-out users; 0 for none.
    """

    steps: int
    seed: int
    optimiser: Literal["adam", "adamw"] = "adam"
    schedule: Literal["constant", "cosine"] = "constant"
    log_every: int = 50
    evaluate_every: int = 0


@dataclass(frozen=True)
class Run:
    """Where training runs. Only `threads` and `device` may change a bit of the result.

    Attributes:
        checkpoint: file of the unfinished training; None to keep none.
        every_s: seconds between checkpoints.
        threads: of torch.
        device: as torch names it.
    """

    checkpoint: Path | None = None
    every_s: float = 60.0
    threads: int = 1
    device: str = "cpu"

    def part(self, name: str) -> Run:
        """For one of several trainings of a job: with a checkpoint of its own."""
        if self.checkpoint is None:
            return self
        return replace(self, checkpoint=self.checkpoint.with_name(f"{self.checkpoint.name}.{name}"))


class Point(NamedTuple):
    """One point of the curve: mean loss of the steps since the point before, and accuracy on held-out users."""

    step: int
    loss: float
    held_out: float | None


class Course(NamedTuple):
    """How training went. `best` is the step whose weights were kept."""

    curve: list[Point]
    best: int


def train(
    network: torch.nn.Module,
    loss: Loss,
    groups: Sequence[Group],
    plan: Plan,
    run: Run,
    settings: Mapping[str, Any],
    evaluate: Callable[[], float] | None = None,
) -> Course:
    """Train `network` in place; it ends with the weights of the best measurement, or else with the last ones.

    Args:
        network: trained on `run.device`, where it is.
        loss: of one step.
        groups: all parameters to train.
        plan: how long and how.
        run: where, and where checkpoints go.
        settings: all that decides the result and is not in `plan` (data, hyper-parameters): a checkpoint of another
            training is refused.
        evaluate: accuracy of the network on held-out users, measured each `evaluate_every` steps and at the end.

    Raises:
        ConfigError: the checkpoint is of another training.
        DataError: the loss or a trained weight is not finite.
    """
    kind = torch.optim.Adam if plan.optimiser == "adam" else torch.optim.AdamW
    optimiser = kind([{"params": list(g.parameters), "lr": g.lr, "weight_decay": g.weight_decay} for g in groups])
    decides = {**settings, "plan": asdict(plan), "torch": torch.__version__, "threads": run.threads}
    decides |= {"device": run.device, "lrs": [group.lr for group in groups]}
    state = _State(network, optimiser)
    with deterministic(run.threads):
        stored = load_checkpoint(run.checkpoint, decides) if run.checkpoint else None
        if stored is not None:
            state.restore(stored)
        saved_at = time.monotonic()
        for step in range(state.step, plan.steps):
            for group, given in zip(optimiser.param_groups, groups, strict=True):
                group["lr"] = given.lr * _decay(plan, step)
            optimiser.zero_grad(set_to_none=True)
            value = loss(step, generator_of(plan.seed, step))
            if not torch.isfinite(value):
                raise DataError(f"training: the loss of step {step} is {value.item()}; lower the learning rate")
            value.backward()
            optimiser.step()
            state.note(step + 1, value.item(), plan, evaluate)
            # The last one too: a job of several trainings repeats none that is complete.
            if run.checkpoint and (time.monotonic() - saved_at >= run.every_s or step + 1 == plan.steps):
                save_checkpoint(run.checkpoint, state.checkpoint(), decides)
                saved_at = time.monotonic()
        if state.best is not None:
            network.load_state_dict(state.best)
    # Their log-odds are no numbers, and would count as wrong.
    if not all(torch.isfinite(weights).all() for group in groups for weights in group.parameters):
        raise DataError(f"training: weights after step {plan.steps} are not finite; lower the learning rate")
    return Course(state.curve, state.best_step if state.best is not None else plan.steps)


def _decay(plan: Plan, step: int) -> float:
    return 1.0 if plan.schedule == "constant" else 0.5 * (1 + math.cos(math.pi * step / plan.steps))


def generator_of(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step."""
    return torch.Generator().manual_seed(int(stable_hash("step", str(seed), str(step))[:15], 16))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw torch's global random numbers (initial weights) from `seed`, and leave the caller's as they were."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def use_threads(threads: int | None) -> None:
    """Set the number of torch's threads in this process; None leaves it as it is. Raises ConfigError for less
    than one."""
    if threads is not None:
        if threads < 1:
            raise ConfigError(f"threads: is {threads}; give at least 1")
        torch.set_num_threads(threads)


@contextmanager
def deterministic(threads: int) -> Iterator[None]:
    """Fixed threads and deterministic kernels, and afterwards what there was before."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


class _State:
    """All that a checkpoint holds."""

    def __init__(self, network: torch.nn.Module, optimiser: torch.optim.Optimizer) -> None:
        self._network, self._optimiser = network, optimiser
        self.step, self.best_step, self.best_value = 0, 0, -math.inf
        self._losses, self._since = 0.0, 0
        self.curve: list[Point] = []
        self.best: dict[str, torch.Tensor] | None = None

    def note(self, done: int, loss: float, plan: Plan, evaluate: Callable[[], float] | None) -> None:
        """Count a finished step; add a point of the curve and keep the best weights where it is time."""
        self.step = done
        self._losses, self._since = self._losses + loss, self._since + 1
        last = done == plan.steps
        due = evaluate is not None and plan.evaluate_every > 0 and (last or done % plan.evaluate_every == 0)
        if not (due or last or done % plan.log_every == 0):
            return
        found = None
        if due and evaluate is not None:
            found = evaluate()
            if found > self.best_value:
                self.best_value, self.best_step = found, done
                self.best = {name: value.detach().clone() for name, value in self._network.state_dict().items()}
        self.curve.append(Point(done, self._losses / self._since, found))
        self._losses, self._since = 0.0, 0

    def checkpoint(self) -> Checkpoint:
        tensors = {f"network.{name}": _array(value) for name, value in self._network.state_dict().items()}
        tensors |= {f"best.{name}": _array(value) for name, value in (self.best or {}).items()}
        for number, moments in self._optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": _array(value) for name, value in moments.items()}
        best = [self.best_step, self.best_value] if self.best is not None else None
        values = {"step": self.step, "losses": self._losses, "since": self._since, "curve": self.curve, "best": best}
        return Checkpoint(tensors, values)

    def restore(self, stored: Checkpoint) -> None:
        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {
                name.removeprefix(prefix): torch.from_numpy(np.array(value))
                for name, value in stored.tensors.items()
                if name.startswith(prefix)
            }

        self._network.load_state_dict(part("network."))
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in part("optimiser.").items():
            number, key = name.split(".", 1)
            moments.setdefault(int(number), {})[key] = value
        self._optimiser.load_state_dict({**self._optimiser.state_dict(), "state": moments})
        values = stored.values
        self.step, self._losses, self._since = values["step"], values["losses"], values["since"]
        self.curve = [Point(*point) for point in values["curve"]]
        if values["best"] is not None:
            self.best_step, self.best_value = values["best"]
            self.best = part("best.")


def _array(value: torch.Tensor) -> Any:  # noqa: ANN401
    return value.detach().cpu().numpy()
