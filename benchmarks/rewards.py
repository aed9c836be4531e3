"""Reward models on planted users: `python benchmarks/rewards.py [--out docs/rewards] [--base all-minilm-l6-v2]`.

Invented users (`personalrm synthesise --scripted`) vote by planted tastes on axes that a general list of attributes
would not name. Their answers are texts; a small encoder reads them, and reward models are trained on the features of
train users' votes. They are judged on held-out votes of test users whom they have never seen, who are known by their
first k votes alone; and in settings whose answer is known: another user's votes, users without a taste of their own,
methods that cannot adapt, test labels that are exchanged.

Writes `rewards.csv` (long form) and `rewards.png`, and the tables between the marks of `README.md` in the folder. Needs
the extra `train`. `MARGINS` were fixed before the first run at full size.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from reward_users import CONTEXT, HELD_OUT, Floats, Model, Sizes, World, features_of, right

from personalrm.methods.reward.hyper import FrozenBTHyper
from personalrm.results.stats.statistics import paired_cluster_difference, share_interval
from personalrm.train.encoders import EncoderSettings

BT = "frozen_bt"
KS = (1, 2, 4, 7, CONTEXT)
"""Votes to adapt with."""
MARGINS = {"user_map": 0.0, "lore": 8.0, "vpl": 5.0, "pal_a": 2.0}
"""Points over `frozen_bt` with all context votes, fixed before the run. GPO has none: its steps are too few."""
L2 = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Penalties of `frozen_bt`: the best one is larger here than any of its defaults."""
HYPER: dict[str, dict[str, Any]] = {
    BT: {"l2_grid": L2},
    "user_map": {"shared": FrozenBTHyper(l2_grid=L2)},
    "lore": {"k_grid": (1, 4, 8), "lr": 1.0, "steps": 300, "adapt_steps": 200},
    "vpl": {
        **{"latent": 32, "hidden": 128, "beta": 1e-3, "lr": 1e-3, "context": 10, "targets": 16},
        **{"steps": 1500, "evaluate_every": 50},
    },
    "pal_a": {
        **{"k": 4, "width": 64, "lr": 1e-3, "user_lr": 5e-2, "batch": 64},
        **{"steps": 800, "evaluate_every": 100},
    },
    "gpo": {"width": 64, "depth": 2, "layers": 2, "lr": 1e-3, "steps": 600, "context": 10, "targets": 6},
    "gpo_pairs": {"width": 64, "depth": 2, "layers": 2, "lr": 1e-3, "steps": 600, "context": 10, "targets": 6},
}
"""Published settings are of other sizes; these are ours, for this one."""
SWITCHED_OFF: dict[str, tuple[str, dict[str, Any]]] = {
    "penalty infinite": ("user_map", {"penalties": (float("inf"),)}),
    "K = 1": ("lore", {"k_grid": (1,)}),
    "K = 1, PAL-A": ("pal_a", {"k": 1}),
    "beta 10": ("vpl", {"beta": 10.0}),
}
"""Settings with which a method cannot adapt."""
STACKED = ("vpl", "pal_a")
"""Methods that can be stacked with frozen Bradley-Terry."""


class Row(NamedTuple):
    """One number: percent or points with its 95 % interval (users as clusters), or a count. `sd_seeds` is the standard
    deviation over training seeds."""

    control: str
    condition: str
    method: str
    k: int
    measure: str
    seeds: int
    n_users: int
    n_judgments: int
    estimate: float
    low: float = float("nan")
    high: float = float("nan")
    sd_seeds: float = float("nan")


class Report(NamedTuple):
    """Makes rows of one condition from log-odds, (seeds, users, held-out) each."""

    control: str
    condition: str
    resamples: int = 1999

    def _row(self, method: str, k: int, measure: str, odds: Floats, values: Sequence[float], each: Floats) -> Row:
        spread = float(each.std(ddof=1)) if len(each) > 1 else float("nan")
        shown = [round(100 * value, 3) + 0.0 for value in (*values[:3], spread)]
        return Row(self.control, self.condition, method, k, measure, *odds.shape[:2], odds[0].size, *shown)

    def accuracy(self, method: str, k: int, odds: Floats) -> Row:
        """Share of held-out votes that are predicted, over users and seeds."""
        hits, counts = right(odds).sum(axis=2), np.full(odds.shape[1], odds[:, 0].size, dtype=np.float64)
        found = share_interval(hits.sum(axis=0), counts, seed=0, n_resamples=self.resamples)
        return self._row(method, k, "accuracy", odds, found, hits.sum(axis=1) / odds[0].size)

    def over(self, method: str, k: int, odds: Floats, than: Floats) -> Row:
        """The paired difference to `frozen_bt` on the same votes."""
        first, second = (right(one).sum(axis=2) for one in (odds, np.broadcast_to(than, odds.shape)))
        counts = np.full(odds.shape[1], odds[:, 0].size, dtype=np.float64)
        found = paired_cluster_difference(
            first.sum(axis=0), second.sum(axis=0), counts, seed=0, n_resamples=self.resamples
        )
        return self._row(method, k, f"over {BT}", odds, found, (first - second).sum(axis=1) / odds[0].size)

    def value(self, method: str, measure: str, odds: Floats, value: float) -> Row:
        """A number without an interval."""
        return Row(self.control, self.condition, method, CONTEXT, measure, *odds.shape[:2], odds[0].size, value)


class Study:
    """All models of one world, and the controls."""

    def __init__(self, world: Callable[..., World], *, seeds: int = 3, threads: int = 2, resamples: int = 1999) -> None:
        self.world_of, self.threads, self.resamples = world, threads, resamples
        self.seeds = range(seeds)

    @cached_property
    def world(self) -> World:
        """Users with tastes of their own."""
        return self.world_of()

    @cached_property
    def models(self) -> dict[str, list[Model]]:
        """Each method trained with all seeds (`frozen_bt` is the same for all)."""
        return {name: self._trained(name, HYPER[name], self.seeds) for name in HYPER}

    def _trained(
        self, name: str, hyper: Mapping[str, Any], seeds: Sequence[int], world: World | None = None
    ) -> list[Model]:
        begun = time.process_time()
        found = [
            Model.trained(name, (world or self.world).data, hyper, seed, self.threads)
            for seed in (seeds[:1] if name in (BT, "user_map") else seeds)
        ]
        print(f"{name} {dict(hyper)}: {time.process_time() - begun:.0f} s of CPU", flush=True)
        return found

    def _odds(self, models: Sequence[Model], **more: Any) -> Floats:  # noqa: ANN401
        return np.stack([model.odds(more.pop("world", self.world), **more) for model in models])

    @cached_property
    def control(self) -> Floats:
        """Log-odds of `frozen_bt`."""
        return self._odds(self.models[BT])

    def curve(self) -> Iterator[Row]:
        """Accuracy by number of votes."""
        report = Report("curve", "own votes", self.resamples)
        yield report.accuracy(BT, CONTEXT, self.control)
        yield report.value("true weights", "accuracy", self.control, round(100 * self.world.ceiling, 3))
        for name, models in self.models.items():
            for k in KS if name != BT else ():
                odds = self._odds(models, k=k)
                yield report.accuracy(name, k, odds)
                yield report.over(name, k, odds, self.control)
        for name in STACKED:
            both = [model.stacked(self.world.data, self.threads) for model in self.models[name]]
            odds, report = self._odds(both), report._replace(control="stack")
            yield report.accuracy(name, CONTEXT, odds)
            yield report.over(name, CONTEXT, odds, self.control)
        for model in self.models["vpl"][:1]:
            units = model.fitted.card["active_units"]
            yield Report("curve", "own votes").value("vpl", "active units", self.control, units)

    def foreign(self) -> Iterator[Row]:
        """Each user judged with the votes of the next one."""
        teachers = [*self.world.test[1:], *self.world.test[:1]]
        report = Report("foreign", "another user's votes", self.resamples)
        for name, models in self.models.items():
            if name != BT:
                odds = self._odds(models, teachers=teachers)
                yield report.accuracy(name, CONTEXT, odds)
                yield report.over(name, CONTEXT, odds, self.control)

    def without_taste(self) -> Iterator[Row]:
        """Users without a taste of their own, in training and test: one seed."""
        world = self.world_of(null=1.0)
        report = Report("null", "no own taste", self.resamples)
        (control,) = self._trained(BT, HYPER[BT], [0], world)
        than = control.odds(world)[None]
        yield report.accuracy(BT, CONTEXT, than)
        for name, hyper in HYPER.items():
            if name != BT:
                (model,) = self._trained(name, hyper, [0], world)
                odds = model.odds(world)[None]
                yield report.accuracy(name, CONTEXT, odds)
                yield report.over(name, CONTEXT, odds, than)
                if name in STACKED:
                    both = report._replace(control="stack")
                    odds = model.stacked(world.data, self.threads).odds(world)[None]
                    yield both.accuracy(name, CONTEXT, odds)
                    yield both.over(name, CONTEXT, odds, than)

    def switched_off(self) -> Iterator[Row]:
        """Methods with nothing to adapt, one seed; and the share of verdicts that another user's votes change."""
        teachers = [*self.world.test[1:], *self.world.test[:1]]
        for condition, (name, changed) in SWITCHED_OFF.items():
            (model,) = self._trained(name, {**HYPER[name], **changed}, [0])
            report = Report("off", condition, self.resamples)
            odds, other = model.odds(self.world)[None], model.odds(self.world, teachers=teachers)[None]
            yield report.accuracy(name, CONTEXT, odds)
            yield report.over(name, CONTEXT, odds, self.control)
            yield report.value(
                name, "verdicts changed", odds, round(100 * float((right(odds) != right(other)).mean()), 3)
            )
            if name == "vpl":
                yield report.value(name, "active units", odds, model.fitted.card["active_units"])

    def flipped(self) -> Iterator[Row]:
        """Chosen and rejected answers of all held-out votes exchanged: the same numbers with the other sign."""
        turned = self.world._replace(
            test=[one._replace(target=one.target.exchanged()) for one in self.world.test], odds=-self.world.odds
        )
        report = Report("flipped", "test labels exchanged", self.resamples)
        for name, models in self.models.items():
            odds, other = models[0].odds(self.world), models[0].odds(turned)
            apart = float(np.abs(odds + other).max())
            yield report.value(name, "largest difference", odds[None], float(f"{apart:.2g}"))

    def rows(self) -> Iterator[Row]:
        """The rows of all controls."""
        for part in (self.curve, self.foreign, self.without_taste, self.switched_off, self.flipped):
            begun = time.process_time()
            yield from part()
            print(f"{part.__name__}: {time.process_time() - begun:.0f} s of CPU", flush=True)


def main() -> None:
    """Make all rows, and write csv, figure and page."""
    from rewards_page import write_page

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/rewards"))
    parser.add_argument("--features", type=Path, default=Path("results/benchmark_features"), help="where they are kept")
    parser.add_argument("--base", default="all-minilm-l6-v2", help="encoder: an embedded model, a folder, or a hub id")
    parser.add_argument("--users", type=int, nargs=3, default=Sizes(), help="train, validation and test users")
    parser.add_argument("--seed", type=int, default=0, help="of the users")
    parser.add_argument("--seeds", type=int, default=3, help="number of training seeds")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    sizes, begun = Sizes(*given.users), time.process_time()
    # Answers alone: what is planted is in them.
    settings = EncoderSettings(base=given.base, text="answer")
    features = features_of(sizes, given.seed, settings, given.features, given.threads)
    print(f"features {features.chosen.shape}: {time.process_time() - begun:.0f} s of CPU", flush=True)
    study = Study(
        lambda **options: World.of(features, sizes, given.seed, **options), seeds=given.seeds, threads=given.threads
    )
    rows = list(study.rows())
    write_page(rows, given.out, about={"base": given.base, "users": sizes, "seed": given.seed, "seeds": given.seeds})
    print(f"in all {time.process_time() - begun:.0f} s of CPU; votes of a user: {CONTEXT} and {HELD_OUT}", flush=True)


if __name__ == "__main__":
    main()
