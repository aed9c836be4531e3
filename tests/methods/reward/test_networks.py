"""VPL, PAL-A and GPO: what their networks keep the same, and where they are Bradley-Terry."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any, Literal

import pytest

torch = pytest.importorskip("torch", reason="needs the extra train: pip install 'personalrm[train]'")

import numpy as np

from personalrm.core.errors import ConfigError
from personalrm.methods.reward import gpo, pal_a, vpl
from personalrm.methods.reward.base import Scale, TrainingData, canonical, mean_accuracy
from personalrm.methods.reward.gpo import GPO, GPO_PAIRS, Points
from personalrm.methods.reward.hyper import GPOHyper, GPOPairsHyper, PALAHyper, VPLHyper
from personalrm.methods.reward.networks import Episodes, Sides, one_user
from personalrm.methods.reward.pal_a import PAL_A
from personalrm.methods.reward.vpl import VPL
from personalrm.train.checkpoint import Fitted
from personalrm.train.features import Pairs
from personalrm.train.trainer import Run, generator_of

from .conftest import QUICK, learned, world


def odds_of_all(method: Any, fitted: Fitted, *, turn: int = 0) -> np.ndarray:  # noqa: ANN401
    """Log-odds of all test users' targets, each with the context of the user `turn` places on."""
    users = world().test
    found = [method.predict(fitted, users[n - turn].context, one.target) for n, one in enumerate(users)]
    return np.concatenate(found)


# VPL


def test_z_in_use_is_the_mean_of_z_in_training() -> None:
    generator = torch.Generator().manual_seed(0)
    assert torch.allclose(vpl.on_sphere(torch.randn(5, 16, generator=generator)).norm(dim=1), torch.tensor(4.0))
    for size in (0.05, 0.5, 1.0):
        mean = size * torch.randn(1, 48, generator=generator).clamp(-1, 1)
        log_variance = torch.randn(1, 48, generator=generator).clamp(-1, 1)
        drawn = vpl.on_sphere(mean + (0.5 * log_variance).exp() * torch.randn(100_000, 48, generator=generator))
        assert torch.allclose(vpl.mean_on_sphere(mean, log_variance)[0], drawn.mean(dim=0), atol=0.02)
        # Without spread the mean is on the sphere itself.
        exact = vpl.mean_on_sphere(mean, torch.full_like(mean, -60.0))
        assert torch.allclose(exact, vpl.on_sphere(mean), rtol=1e-5)
    # A method adapts with it.
    fitted, user = learned("vpl"), world().test[0]
    network, scale = vpl._network(fitted), Scale.in_weights(fitted)
    with torch.inference_mode():
        known = vpl.mean_on_sphere(*network.posterior(one_user(canonical(user.context), scale)))[0]
    assert VPL.adapt(fitted, user.context).tolist() == known.tolist()
    assert 1.0 < known.norm() < 4.0
    assert not VPL.adapt(fitted, user.context.select([])).any()


def test_the_divergence_is_that_of_torch() -> None:
    mean, log_variance = torch.randn(3, 8), torch.randn(3, 8)
    own = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    known = torch.distributions.kl_divergence(own, torch.distributions.Normal(0.0, 1.0)).sum(dim=1)
    assert torch.allclose(vpl.divergence(mean, log_variance), known, atol=1e-5)


def test_a_large_beta_makes_vpl_a_model_of_all_users_and_the_card_says_so() -> None:
    fitted = VPL.fit(world().data, VPLHyper(**{**QUICK["vpl"], "beta": 1e3}), 0, Run())
    assert fitted.card["active_units"] == 0
    assert learned("vpl").card["active_units"] > 0
    own, other = odds_of_all(VPL, fitted), odds_of_all(VPL, fitted, turn=1)
    personal, strange = odds_of_all(VPL, learned("vpl")), odds_of_all(VPL, learned("vpl"), turn=1)
    assert ((own > 0) == (other > 0)).all()
    assert np.abs(own - other).max() < 0.01 * np.abs(own).mean()
    assert np.corrcoef(personal, strange)[0, 1] < 0.3
    assert mean_accuracy([own]) < mean_accuracy([personal]) - 0.05


# PAL-A


@pytest.mark.parametrize("kind", ["dist", "angle"])
def test_one_prototype_is_one_reward_for_all(kind: Literal["dist", "angle"]) -> None:
    hyper = PALAHyper(**{**QUICK["pal_a"], "k": 1, "kind": kind, "steps": 40})
    fitted = PAL_A.fit(world().data, hyper, 0, Run())
    assert (odds_of_all(PAL_A, fitted) == odds_of_all(PAL_A, fitted, turn=1)).all()
    # The weights of users have no gradient, and the loss is that of the network's rewards.
    network = pal_a.Network(3, 24, 1, 8)
    sides = torch.randn(2, 3, 24)
    rated = network.rate(network.place(sides), network.ideal(network.mixtures)[None], kind)
    loss = pal_a.loss_of(rated[0] - rated[1], kind)
    (gradient,) = torch.autograd.grad(loss, [network.mixtures])
    assert not gradient.any()
    margins = (rated[0] - rated[1]).detach().numpy()
    known = np.maximum(0, 1 - margins) if kind == "dist" else np.logaddexp(0, -margins)
    assert loss.item() == pytest.approx(known.mean(), rel=1e-5)


@pytest.mark.parametrize("kind", ["dist", "angle"])
def test_prototypes_have_no_order_and_a_new_user_starts_from_equal_weights(kind: Literal["dist", "angle"]) -> None:
    fitted = learned("pal_a")
    fitted = Fitted(fitted.tensors, {**fitted.card, "hyper": {**fitted.card["hyper"], "kind": kind}})
    turned = Fitted(
        {**fitted.tensors, "network.prototypes": fitted.tensors["network.prototypes"][[2, 0, 3, 1]]}, fitted.card
    )
    user = world().test[0]
    own, other = (PAL_A.adapt(one, user.context) for one in (fitted, turned))
    assert np.allclose(own[[2, 0, 3, 1]], other, atol=1e-3)
    assert np.abs(own).max() > 0.1
    assert np.allclose(
        PAL_A.log_odds(fitted, own, user.target), PAL_A.log_odds(turned, other, user.target), rtol=1e-2, atol=1e-2
    )
    assert PAL_A.adapt(fitted, user.context.select([])).tolist() == [0.0] * 4


def test_a_hinge_and_a_cosine_both_find_planted_tastes() -> None:
    control = mean_accuracy([odds_of_all(PAL_A, learned("pal_a"), turn=1)])
    angle = PAL_A.fit(world().data, PALAHyper(**{**QUICK["pal_a"], "kind": "angle"}), 0, Run())
    assert mean_accuracy([odds_of_all(PAL_A, angle)]) > control + 0.1


# GPO


@cache
def untrained(points: Literal["items", "pairs"]) -> gpo.Network:
    torch.manual_seed(3)
    kind = GPOHyper if points == "items" else GPOPairsHyper
    return gpo.Network(24, kind(**QUICK["gpo"])).eval()


def compared(points: Literal["items", "pairs"], context: Points, targets: Sides) -> torch.Tensor:
    with torch.inference_mode():
        return gpo.compare(untrained(points), context, targets, points)[0][0]


@pytest.mark.parametrize("points", ["items", "pairs"])
def test_points_and_targets_have_no_order_and_padding_is_not_read(points: Literal["items", "pairs"]) -> None:
    scale, user = Scale.of(world().data.pairs), world().test[0]
    signs = torch.tensor([[1.0, -1.0] * 5])
    context = gpo.points_of(one_user(user.context, scale), points, signs)
    targets = one_user(user.target, scale)
    odds = compared(points, context, targets)
    assert odds.shape == (6,)
    mixed = torch.randperm(context.x.shape[1], generator=torch.Generator().manual_seed(0))
    turned = Points(context.x[:, mixed], context.y[:, mixed], context.real[:, mixed])
    assert torch.allclose(compared(points, turned, targets), odds, atol=1e-5)
    some = Sides(targets.chosen[:, [4, 1]], targets.rejected[:, [4, 1]], targets.real[:, [4, 1]])
    assert torch.allclose(compared(points, context, some), odds[[4, 1]], atol=1e-5)
    # Padding with any content, in the place of what an all-zero check would take for padding.
    more = [torch.cat([part, torch.full_like(part[:, :3], 7)], dim=1) for part in (context.x, context.y)]
    padded = Points(more[0], more[1], torch.cat([context.real, torch.zeros(1, 3, dtype=torch.bool)], dim=1))
    assert torch.allclose(compared(points, padded, targets), odds, atol=1e-5)
    zero = Points(
        torch.cat([context.x, 0 * context.x[:, :1]], dim=1),
        torch.cat([context.y, 0 * context.y[:, :1]], 1),
        torch.cat([context.real, context.real[:, :1]], dim=1),
    )
    assert not torch.allclose(compared(points, zero, targets), odds, atol=1e-4)
    empty = Points(context.x[:, :0], context.y[:, :0], context.real[:, :0])
    none = compared(points, empty, targets)
    assert torch.isfinite(none).all()
    assert not torch.allclose(none, odds, atol=1e-4)


def test_probabilities_of_both_answers_add_up_to_one() -> None:
    for method in (GPO, GPO_PAIRS):
        user = world().test[0]
        odds = method.predict(learned(method.name), user.context, user.target)
        other = method.predict(learned(method.name), user.context, user.target.exchanged())
        assert 1 / (1 + np.exp(-odds)) + 1 / (1 + np.exp(-other)) == pytest.approx(np.ones(6), abs=1e-5)
    with pytest.raises(ConfigError, match="compares two answers and rates none"):
        gpo.rewards(learned("gpo_pairs"), user.context, user.target.chosen)


def test_exchanged_context_labels_exchange_personal_verdicts() -> None:
    nothing_shared = {"shared": 0.0, "seed": 2, "dim": 6, "types": 2}
    fitted, users = learned("gpo_pairs", **nothing_shared), world(**nothing_shared).test
    odds = np.concatenate([GPO_PAIRS.predict(fitted, one.context, one.target) for one in users])
    flipped = np.concatenate([GPO_PAIRS.predict(fitted, one.context.exchanged(), one.target) for one in users])
    assert mean_accuracy([odds]) > 0.8
    assert np.corrcoef(odds, flipped)[0, 1] < -0.9


def test_the_loss_of_items_is_the_gaussian_one() -> None:
    odds, deviations = torch.tensor([[0.3, -2.0, 1.0]]), torch.tensor([[[0.2, 0.5, 1.0]], [[0.3, 0.4, 0.9]]])
    real = torch.tensor([[True, True, False]])
    shares = torch.softmax(torch.stack([odds[0, :2] / 2, -odds[0, :2] / 2]), dim=0)
    gaussian = torch.distributions.Normal(shares, deviations[:, 0, :2])
    known = -gaussian.log_prob(torch.tensor([[1.0, 1.0], [0.0, 0.0]])).sum(dim=0).mean() - np.log(2 * np.pi)
    assert gpo.loss_of(odds, deviations, real, "items").item() == pytest.approx(known.item(), rel=1e-5)


# Episodes


def test_episodes_are_of_one_user_and_no_pair_is_both_context_and_target() -> None:
    sizes = [1, 2, 5, 40]
    users = []
    for number, size in enumerate(sizes):
        codes = np.arange(size, dtype=np.float32) + 100 * number
        chosen = np.stack([codes, np.ones(size, np.float32)], axis=1)
        users.append(Pairs(tuple(map(str, range(size))), chosen, -chosen))
    data = TrainingData.of(users)
    episodes = Episodes(data, Scale(np.zeros(2, np.float32), np.ones(2, np.float32)), "cpu")
    seen = set()
    for step in range(40):
        context, target = episodes.draw(generator_of(0, step), 16, 6, 3)
        for n in range(16):
            inside = context.chosen[n, context.real[n], 0].tolist()
            asked = target.chosen[n, target.real[n], 0].tolist()
            owners = {int(code // 100) for code in (*inside, *asked)}
            assert len(owners) == 1
            size = sizes[owners.pop()]
            assert len({*inside, *asked}) == len(inside) + len(asked)
            assert 1 <= len(asked) <= 3
            assert len(inside) <= min(6, size - 1)
            seen |= {*inside, *asked}
        assert (context.rejected == -context.chosen).all()
        assert not context.chosen[~context.real].any()
    assert len(seen) == sum(sizes)


def test_no_answer_is_both_in_context_and_in_target() -> None:
    # Users who rank answers 0 to 3, 4 to 7, ...: all pairs of a turn. The last user has one turn alone.
    ranked = [[*itertools.combinations(range(start, start + 4), 2)] for start in range(0, 20, 4)]
    turns = [ranked, ranked[:3], ranked[:1]]
    users = []
    for number, mine in enumerate(turns):
        sides = np.array([pair for turn in mine for pair in turn], dtype=np.float32) + 100 * number
        users.append(Pairs(tuple(map(str, range(len(sides)))), sides[:, :1], sides[:, 1:]))
    data = TrainingData.of(users)
    episodes = Episodes(data, Scale(np.zeros(1, np.float32), np.ones(1, np.float32)), "cpu")
    sizes = set()
    for step in range(40):
        context, target = episodes.draw(generator_of(0, step), 16, 16, 8)
        for n in range(16):
            known, asked = (
                {int(one) for side in (part.chosen, part.rejected) for one in side[n, part.real[n], 0]}
                for part in (context, target)
            )
            assert asked
            assert not known & asked
            sizes.add(len(known))
    assert {0, 4, 8} <= sizes
