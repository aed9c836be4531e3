"""The shared trainer: a killed training resumes with equal bits, and another one's checkpoint is refused."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import pytest

torch = pytest.importorskip("torch", reason="needs the extra train: pip install 'personalrm[train]'")

import numpy as np
from support.planted_features import planted

from personalrm.core.errors import ConfigError, DataError
from personalrm.methods.reward.load import reward_method
from personalrm.train.checkpoint import Fitted
from personalrm.train.trainer import Course, Group, Plan, Run, deterministic, generator_of, seeded, train

PLAN = Plan(30, seed=1, schedule="cosine", log_every=4, evaluate_every=7)
ROWS = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))


def trained(
    run: Run, *, plan: Plan = PLAN, settings: dict[str, Any] | None = None, at: Callable[[int], None] = lambda _: None
) -> tuple[dict[str, bytes], Course]:
    """A small network with dropout of its own noise, with weights, moments, best weights and curve to restore."""
    with seeded(plan.seed):
        network = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))

    def loss(step: int, generator: torch.Generator) -> torch.Tensor:
        at(step)
        drawn = torch.randint(50, (8,), generator=generator)
        noise = torch.randn(8, 6, generator=generator)
        return torch.nn.functional.softplus(-network(ROWS[drawn] + 0.1 * noise)).mean()

    def evaluate() -> float:
        # It gets worse after a while, so that the best weights are not the last ones.
        with torch.no_grad():
            return -abs(float(network(ROWS).mean()) - 0.5)

    groups = [Group(list(network[0].parameters()), 0.05), Group(list(network[2].parameters()), 0.01, 0.1)]
    course = train(network, loss, groups, plan, run, settings or {"data": "a"}, evaluate)
    return {name: value.numpy().tobytes() for name, value in network.state_dict().items()}, course


def killed(work: Callable[[], object]) -> None:
    """Run `work` in a process of its own, which has to end by SIGKILL."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(60)
    ended = process.exitcode
    process.kill()
    assert ended == -signal.SIGKILL


def die_at(wanted: int) -> Callable[[int], None]:
    def at(step: int) -> None:
        if step == wanted:
            os.kill(os.getpid(), signal.SIGKILL)

    return at


@pytest.mark.parametrize("steps", [(0,), (1, 13), (29,)])
def test_a_killed_training_resumes_with_equal_bits(steps: tuple[int, ...], tmp_path: Path) -> None:
    whole, course = trained(Run())
    run = Run(checkpoint=tmp_path / "c.safetensors", every_s=0)
    for step in steps:
        killed(lambda step=step: trained(run, at=die_at(step)))  # type: ignore[misc]
        assert (tmp_path / "c.safetensors").exists() == (step > 0)
    seen: list[int] = []
    weights, resumed = trained(run, at=seen.append)
    assert weights == whole
    assert resumed == course
    # It did resume, and did not begin anew.
    assert seen == list(range(steps[-1], 30))
    assert 0 < course.best < 30
    # A training that is complete repeats nothing.
    seen.clear()
    assert trained(run, at=seen.append) == (whole, course)
    assert not seen


def test_a_reward_model_that_was_killed_is_the_same_one(tmp_path: Path) -> None:
    data = planted(train=12, validation=4, test=0, context=4, target=3, dim=6).data
    small: dict[str, dict[str, Any]] = {
        "vpl": {"latent": 4, "hidden": 8, "steps": 12, "evaluate_every": 5},
        "lore": {"steps": 12, "k_grid": (1, 3), "evaluate_every": 5},
    }
    for name, hyper in small.items():
        method = reward_method(name)
        run = Run(tmp_path / name, every_s=0)

        def fit(run: Run, method: Any = method, hyper: Any = hyper) -> Fitted:  # noqa: ANN401
            return method.fit(data, method.hyper(**hyper), 3, run)  # type: ignore[no-any-return]

        whole = fit(Run())
        for saves in (2, 9):
            killed(lambda fit=fit, run=run, saves=saves: _dying_fit(fit, run, saves))  # type: ignore[misc]
        resumed = fit(run)
        assert resumed.card == whole.card
        assert all(resumed.tensors[key].tobytes() == whole.tensors[key].tobytes() for key in whole.tensors)
        with pytest.raises(ConfigError, match=r"made with other settings \(.*seed 3, now 4"):
            method.fit(data, method.hyper(**hyper), 4, run)


def _dying_fit(fit: Callable[[Run], object], run: Run, saves: int) -> None:
    """Dies in the middle of a write of the checkpoint, after some that were whole."""
    left = [saves]
    rename = os.replace

    def replace_or_die(source: Any, target: Any) -> None:  # noqa: ANN401
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)

    os.replace = replace_or_die  # type: ignore[assignment]
    fit(run)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"plan": replace(PLAN, steps=31)}, r'plan .*"steps": 30.*, now .*"steps": 31'),
        ({"settings": {"data": "b"}}, r'data "a", now "b"'),
        ({"settings": {"data": "a", "more": 1}}, r"more null, now 1"),
        ({"threads": 2}, r"threads 1, now 2"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(change: dict[str, Any], why: str, tmp_path: Path) -> None:
    run = Run(checkpoint=tmp_path / "c", every_s=0)
    trained(run)
    threads = change.pop("threads", 1)
    with pytest.raises(ConfigError, match=why):
        trained(replace(run, threads=threads), **change)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    run = Run(checkpoint=tmp_path / "c", every_s=0)
    trained(run)
    (tmp_path / "c").write_bytes((tmp_path / "c").read_bytes()[:-5])
    with pytest.raises(DataError, match=r"checkpoint .*c: damaged .* delete it"):
        trained(run)


def test_when_checkpoints_are_written_changes_nothing(tmp_path: Path) -> None:
    assert trained(Run(tmp_path / "a", every_s=0)) == trained(Run(tmp_path / "b", every_s=1e9)) == trained(Run())
    assert trained(Run(), plan=replace(PLAN, seed=2)) != trained(Run())


def test_the_curve_has_means_and_the_best_step_is_kept() -> None:
    losses: list[float] = []
    weights, course = trained(Run())
    assert [point.step for point in course.curve] == [4, 7, 8, 12, 14, 16, 20, 21, 24, 28, 30]
    held_out = {point.step: point.held_out for point in course.curve if point.held_out is not None}
    assert sorted(held_out) == [7, 14, 21, 28, 30]
    assert held_out[course.best] == max(held_out.values())
    again, until_best = trained(Run(), plan=replace(PLAN, evaluate_every=0))
    assert until_best.best == 30
    assert again != weights
    assert not losses


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_learning_rate_is_a_function_of_the_step(schedule: Literal["constant", "cosine"]) -> None:
    network = torch.nn.Linear(1, 1)
    places: list[float] = []

    def loss(_step: int, _generator: torch.Generator) -> torch.Tensor:
        places.append(network.bias.item())
        return network.bias.sum()

    train(network, loss, [Group([network.bias], 0.1)], Plan(8, 0, schedule=schedule), Run(), {})
    places.append(network.bias.item())
    # Under a gradient that never changes, a step of Adam is the learning rate.
    wanted = [0.1 if schedule == "constant" else 0.05 * (1 + np.cos(np.pi * step / 8)) for step in range(8)]
    assert -np.diff(places) == pytest.approx(wanted, rel=1e-3)


def test_a_loss_that_is_not_finite_stops_the_training() -> None:
    network = torch.nn.Linear(1, 1)
    with pytest.raises(DataError, match="the loss of step 0 is nan; lower the learning rate"):
        train(
            network,
            lambda _step, _generator: network.weight.sum() * torch.nan,
            [Group(list(network.parameters()), 0.1)],
            Plan(3, 0),
            Run(),
            {},
        )


def test_weights_that_are_not_finite_are_no_result() -> None:
    """The last step's loss is finite, and its update is not."""
    network = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(network.bias, -3.3e38)
    with pytest.raises(DataError, match="weights after step 1 are not finite; lower the learning rate"):
        train(network, lambda _step, _: network.bias.sum(), [Group([network.bias], 3e37)], Plan(1, 0), Run(), {})


def test_the_callers_random_numbers_and_threads_are_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    threads = torch.get_num_threads()
    trained(Run(threads=1))
    with deterministic(2):
        assert torch.are_deterministic_algorithms_enabled()
    assert (torch.random.get_rng_state() == before).all()
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
    first, second = (torch.rand(3, generator=generator_of(0, step)) for step in (0, 1))
    assert not np.allclose(first, second)
    assert asdict(PLAN)["seed"] == 1
