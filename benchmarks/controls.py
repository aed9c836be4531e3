"""Controls of taste weights on planted users: `python benchmarks/controls.py [--out docs/controls] [--users 300]`.

Invented users (`personalrm synthesise --scripted`) vote by planted weights on axes. A scripted scorer says of each pair
by how much the one answer has more of each attribute, as a model of stated quality would; no model is run. `attributes`
learns from the votes of train users and from a test user's own, and is judged on held-out votes, in settings whose
answer is known: another user's votes, users without a taste of their own, users who want the opposite of all others,
more votes, attributes that are missing, wrong labels, other priors, random votes.

Writes `controls.csv` (long form) and `controls.png`, and the tables between the marks of `README.md` in the folder.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from planted_users import (
    ALONE,
    AXES,
    HELD_OUT,
    MOST_VOTES,
    OWN,
    POPULATION,
    RANKED,
    SURFACE_USER,
    UNNAMED,
    WORDS,
    Artefacts,
    Floats,
    Judged,
    K,
    Person,
    Scorer,
    by_default,
    ceiling,
    fitted,
    in_turns,
    judged,
    on_axes_alone,
    people,
    prior_in,
    scored,
    turned,
)

from personalrm.core.records import UserPart
from personalrm.core.tastes import Taste, TasteStatement
from personalrm.methods.taste.features import SURFACE
from personalrm.methods.taste.prior import LEAST_USERS
from personalrm.results.stats.statistics import paired_cluster_difference, share_interval
from personalrm.results.tables.calibration_table import EDGES

SHOWN = (OWN, ALONE, POPULATION, WORDS, SURFACE_USER)
FROM_SCORES = SHOWN[:3]
KS, GATE_VOTES = (2, 4, 8, 10), (5, 8, 11, 16)
"""Votes to learn from on the curve, and where the evidence gate is counted."""
COMMON, APART, LITTLE = "much in common", "little in common", 0.3
"""Users whose common taste has a weight of 1 (the generator's default), in all other controls, too, or of `LITTLE`."""
CONTRARIANS = 0.3
"""Share of contrarians among train users, where there are any."""
PROBABILITY = "own probability"
"""Measure: by how much own weights count against those of others."""
NOISES = (0.1, 0.2, 0.3)
DEFAULT_VOTES = (5, K)
"""Votes to learn from, where own weights are averaged with the preference of the model and not with other users'."""
NO_TRAIN = "no train users"
VOTERS: dict[str, dict[str, float]] = {
    "own tastes": {},
    "contrarians": {"contrarian": 1.0},
    "no own taste": {"null": 1.0},
    "random votes": {"null": 1.0, "population": 0.0},
}
"""Options of the generator (`ScriptedSettings`) by kind of test users."""
TRAIN_USERS = (LEAST_USERS - 1, LEAST_USERS, 50)
"""Numbers of train users of whom a prior is learned, in addition to all and none."""


class Row(NamedTuple):
    """One number: a share or difference of shares in percent with its 95 % interval (users as clusters), or nats."""

    control: str
    condition: str
    method: str
    k: int
    measure: str
    n_users: int
    n_judgments: int
    estimate: float
    low: float = float("nan")
    high: float = float("nan")
    p_value: float = float("nan")


class Report(NamedTuple):
    """Makes rows of one condition. `resamples` of the intervals."""

    control: str
    condition: str
    k: int = K
    resamples: int = 1999

    def row(self, method: str, measure: str, users: int, count: int, values: Sequence[float]) -> Row:
        """A row in percent. `values`: estimate, low, high, p-value, as many as there are."""
        shares = [round(100 * value, 3) + 0.0 for value in values[:3]]
        return Row(self.control, self.condition, method, self.k, measure, users, count, *shares, *values[3:])

    def share(self, method: str, measure: str, right: Floats, counts: Floats) -> Row:
        """A share of judgments: sums by user, (users,)."""
        found = share_interval(right, counts, seed=0, n_resamples=self.resamples)
        return self.row(method, measure, int((counts > 0).sum()), int(counts.sum()), found)

    def over(self, method: str, other: str, found: Judged, than: Judged) -> Row:
        """The paired difference of `found` by a method to what is called `other`, on the same pairs."""
        (users, each), total = found.right.shape, found.right.size
        first, second = found.right.sum(axis=1), than.right.sum(axis=1)
        counts = np.full(users, each, dtype=np.float64)
        difference = paired_cluster_difference(first, second, counts, seed=0, n_resamples=self.resamples)
        return self.row(method, f"over {other}", users, total, difference)

    def compared(self, found: Mapping[str, Judged], best: float) -> Iterator[Row]:
        """Accuracy of each method, its difference to the population's weights, by how much own weights count, the gate,
        and the ceiling."""
        for name, one in found.items():
            counts = np.full(len(one.right), one.right.shape[1], dtype=np.float64)
            yield self.share(name, "accuracy", one.right.sum(axis=1), counts)
        others = [name for name in found if name != POPULATION]
        yield from (self.over(name, POPULATION, found[name], found[POPULATION]) for name in others)
        if WORDS in found:
            yield from (self.over(name, WORDS, found[name], found[WORDS]) for name in (OWN, ALONE))
        yield self.gate(found[OWN])
        shares = [1.0 if taste.own_probability is None else taste.own_probability for taste in found[OWN].tastes]
        yield self.share(OWN, PROBABILITY, np.array(shares), np.ones(len(shares)))
        size = found[OWN].right.shape
        yield self.row("ceiling", "accuracy", size[0], size[0] * size[1], [best])

    def gate(self, found: Judged, method: str = OWN) -> Row:
        """Share of the users whose votes are evidence of a taste of their own."""
        own = np.array([float(taste.own) for taste in found.tastes])
        return self.share(method, "own taste", own, np.ones(len(own)))

    def gate_evidence(self, found: Mapping[str, Judged]) -> Iterator[Row]:
        """What the gate reads of a user's votes (the log-loss that own weights save on votes that are left out, in nats
        per vote), what own weights save on held-out votes, and the correlation of both over users."""
        seen = np.array([(taste.null_log_loss or 0) - (taste.log_loss or 0) for taste in found[OWN].tastes])
        losses = [np.logaddexp(0, -found[name].odds).mean(axis=1) for name in (POPULATION, ALONE)]
        saved = losses[0] - losses[1]
        counts = (len(seen), found[OWN].right.size)
        values = {"saved, left out": seen.mean(), "saved, held out": saved.mean()}
        values["correlation"] = np.corrcoef(seen, saved)[0, 1]
        for measure, value in values.items():
            yield Row(self.control, self.condition, OWN, self.k, measure, *counts, round(float(value), 4))

    def signs(self, found: Mapping[str, Judged], persons: Sequence[Person]) -> Iterator[Row]:
        """Signs of the weights of axes, in percent of: planted weights; a persona's statements on axes with a planted
        weight; all its statements on attributes (those on surface features are not counted)."""
        for name in (OWN, ALONE):
            each = zip(found[name].tastes, found[name].said, persons, strict=True)
            sums = np.array([_signs(taste, said, one.planted.weights) for taste, said, one in each], dtype=np.float64)
            right, planted, stated_right, stated, all_stated = sums.T
            yield self.share(name, "planted signs right", right, planted)
            yield self.share(name, "planted signs stated", stated, planted)
            yield self.share(name, "stated signs right", stated_right, stated)
            yield self.share(name, "statements of nothing planted", all_stated - stated, all_stated)

    def calibration(self, found: Mapping[str, Judged]) -> Iterator[Row]:
        """Log-loss (nats) and expected calibration error of the probability of the favoured answer."""
        for name, one in found.items():
            size, odds = one.right.shape, one.odds.ravel()
            loss = round(float(np.logaddexp(0, -odds).mean()), 4)
            counts = (size[0], size[0] * size[1])
            yield Row(self.control, self.condition, name, self.k, "log loss", *counts, loss)
            yield self.row(name, "calibration error", *counts, [calibration_error(odds)])


def _signs(taste: Taste, said: Sequence[TasteStatement], planted: Sequence[float]) -> tuple[int, int, int, int, int]:
    """Right signs and number of planted weights; right and all statements on them; statements on any attribute."""
    places = {name: place for place, name in enumerate(taste.names)}
    wanted = {name: weight for name, weight in zip(AXES, planted, strict=True) if weight and name in places}
    right = sum(taste.weights.mean[places[name]] * weight > 0 for name, weight in wanted.items())
    stated = [one.log_odds * wanted[one.feature] > 0 for one in said if one.feature in wanted]
    of_attributes = sum(one.feature not in SURFACE for one in said)
    return right, len(wanted), sum(stated), len(stated), of_attributes


def calibration_error(odds: Floats) -> float:
    """Mean distance of accuracy and confidence over the bins of the table of calibration, weighted by judgments."""
    sure = 1 / (1 + np.exp(-np.abs(odds)))
    right = (np.sign(odds) + 1) / 2
    bins = np.clip(np.searchsorted(EDGES, sure, side="right"), 1, len(EDGES) - 1)
    apart = [abs((right - sure)[bins == place].sum()) for place in np.unique(bins)]
    return float(sum(apart) / len(odds))


class Study:
    """All controls with one seed and so many train and test users."""

    def __init__(self, users: int = 300, seed: int = 0, resamples: int = 1999) -> None:
        self.users, self.seed, self.scorer = users, seed, Scorer()
        self.report = partial(Report, resamples=resamples)
        self.train = self.of("train")
        self.test = self.of("test")
        self.prior = fitted(self.train, self.scorer)

    def of(self, part: UserPart, **options: Any) -> list[Person]:  # noqa: ANN401
        """Train users, or test users."""
        votes, held_out = (K, 0) if part == "train" else (MOST_VOTES, HELD_OUT)
        return people(part, self.users, votes, held_out, seed=self.seed, **options)

    def all(self, persons: Sequence[Person], **more: Any) -> dict[str, Judged]:  # noqa: ANN401
        """All methods on persons, with the prior and the scorer of the study; `more` as in `judged`."""
        scores = scored(persons, self.scorer)
        return {name: judged(name, persons, self.prior, scores, **more) for name in SHOWN}

    def curve(self) -> Iterator[Row]:
        """Accuracy by number of votes (d), calibration, and the signs that are recovered, where users have much in
        common and where they have little."""
        train, test = (self.of(part, population=LITTLE) for part in ("train", "test"))
        worlds = {COMMON: (self.test, self.prior), APART: (test, fitted(train, self.scorer))}
        for world, (persons, prior) in worlds.items():
            scores = scored(persons, self.scorer)
            by_k = {k: {name: judged(name, persons, prior, scores, k=k) for name in SHOWN} for k in KS}
            for k, found in by_k.items():
                yield from self.report("d", world, k).compared(found, ceiling(persons))
                yield from self.report("calibration", world, k).calibration(found)
                yield from self.report("signs", f"{world}, {k} votes", k).signs(found, persons)
            report = self.report("d", world, KS[-1])
            for name, last in by_k[KS[-1]].items():
                yield report.over(name, f"{KS[0]} votes", last, by_k[KS[0]][name])

    def foreign(self) -> Iterator[Row]:
        """Each user judged by what the next user's votes taught (a)."""
        others = [*self.test[1:], *self.test[:1]]
        for condition, teachers in (("own votes", self.test), ("another user's votes", others)):
            found = self.all(self.test, teachers=teachers)
            yield from self.report("a", condition).compared(found, ceiling(self.test))

    def planted_kinds(self) -> Iterator[Row]:
        """Users without a taste of their own (b), and users who want the opposite of all others (c), of whom there are
        none among the train users, or some."""
        for control, kind in (("b", "null"), ("c", "contrarian")):
            persons = self.of("test", **{kind: 1.0})
            found = self.all(persons)
            name = {"null": "no own taste", "contrarian": "contrarians"}[kind]
            yield from self.report(control, name).compared(found, ceiling(persons))
            yield from self.report("signs", name).signs(found, persons)
        prior, scores = fitted(self.of("train", contrarian=CONTRARIANS), self.scorer), scored(persons, self.scorer)
        found = {name: judged(name, persons, prior, scores) for name in SHOWN}
        name = "contrarians, known"
        yield from self.report("c", name).compared(found, ceiling(persons))
        yield from self.report("signs", name).signs(found, persons)

    def left_out(self) -> Iterator[Row]:
        """Attributes that name axes left out, for tastes on all axes and on those that no general list names (e)."""
        unnamed = {"axes": UNNAMED}
        groups = {"any tastes": (self.train, self.test)}
        groups["unnamed tastes"] = (self.of("train", **unnamed), self.of("test", **unnamed))
        for tastes, (train, test) in groups.items():
            alike = {name: judged(name, test, fitted(train, self.scorer)) for name in (WORDS, SURFACE_USER)}
            cases: dict[str, tuple[str, ...]] = {"all attributes": (), f"{len(UNNAMED)} left out": UNNAMED}
            if tastes == "any tastes":
                cases["all axes left out"] = AXES
            for case, without in cases.items():
                scorer = self.scorer._replace(without=without)
                prior, scores = fitted(train, scorer), scored(test, scorer)
                found = {name: judged(name, test, prior, scores) for name in FROM_SCORES} | alike
                yield from self.report("e", f"{tastes}, {case}").compared(found, ceiling(test))

    def label_noise(self) -> Iterator[Row]:
        """Votes of train and test users turned round (f)."""
        for noise in NOISES:
            train, test = (self.of(part, label_noise=noise) for part in ("train", "test"))
            prior, scores = fitted(train, self.scorer), scored(test, self.scorer)
            found = {name: judged(name, test, prior, scores) for name in SHOWN}
            yield from self.report("f", f"{100 * noise:.0f} % wrong").compared(found, ceiling(test, noise=noise))
            clean = {name: turned(one, test) for name, one in found.items()}
            yield from self.report("f", f"{100 * noise:.0f} % wrong, judged on clean").compared(clean, ceiling(test))

    def noise_of_scores(self) -> Iterator[Row]:
        """Scorers of other quality."""
        better = self.scorer._replace(noise=0.0)
        cases = {
            "no noise, no unrelated": better._replace(unrelated=0),
            "no noise": better,
            f"noise {self.scorer.noise:g}": self.scorer,
            "twice the noise": self.scorer._replace(noise=2 * self.scorer.noise),
        }
        for case, scorer in cases.items():
            prior, scores = fitted(self.train, scorer), scored(self.test, scorer)
            found = {name: judged(name, self.test, prior, scores) for name in FROM_SCORES}
            yield from self.report("scorer", case).compared(found, ceiling(self.test))

    def priors(self) -> Iterator[Row]:
        """Priors of fewer train users, of none, and one that knows which attributes matter. Each is compared with the
        weights of its own train users or, where these are too few, of all."""
        sizes = [*(size for size in TRAIN_USERS if size < self.users), self.users]
        scores = scored(self.test, self.scorer)
        learned: dict[str, Artefacts] = {NO_TRAIN: {}}
        learned |= {f"{size} train users": fitted(self.train[:size], self.scorer) for size in sizes}
        learned["variance on axes alone"] = {OWN: on_axes_alone(prior_in(self.prior))}
        for k in (KS[0], K):
            for condition, prior in learned.items():
                report = self.report("prior", condition, k)
                found = {name: judged(name, self.test, prior, scores, k=k) for name in (OWN, ALONE)}
                taught = prior if prior and prior_in(prior).learned else self.prior
                found[POPULATION] = judged(POPULATION, self.test, taught, scores)
                yield from report.compared(found, ceiling(self.test))

    def default(self) -> Iterator[Row]:
        """No train users, and a model that itself prefers what all users share, or whose preference is noise (the
        strength 0). Its preference takes the place of the others' weights."""
        people = {
            COMMON: self.test,
            APART: self.of("test", population=LITTLE),
            "no own taste": self.of("test", null=1.0),
        }
        for strength, says in ((2.0, "Default is right of them"), (0.0, "Default is noise")):
            scorer = self.scorer._replace(default=strength)
            for kind, persons in people.items():
                scores = scored(persons, scorer)
                for k in DEFAULT_VOTES:
                    found = {OWN: judged(OWN, persons, {}, scores, k=k), POPULATION: by_default(persons, scores)}
                    yield from self.report("default", f"{kind}, {says}", k).compared(found, ceiling(persons))

    def turns(self) -> Iterator[Row]:
        """Train and test users who rank the answers of a turn, of which all pairs are votes (as in PRISM)."""
        train, taught = in_turns(self.train, self.scorer)
        prior = fitted(train, self.scorer, taught)
        for kind in ("own tastes", "no own taste", "random votes"):
            persons, scores = in_turns(self.of("test", **VOTERS[kind]), self.scorer)
            found = {name: judged(name, persons, prior, scores, k=RANKED) for name in FROM_SCORES}
            yield from self.report("turns", kind, RANKED).compared(found, ceiling(persons))
            found[OWN] = judged(OWN, persons, {}, scores, k=RANKED)
            both = {name: found[name] for name in (OWN, POPULATION)}
            yield from self.report("turns", f"{kind}, {NO_TRAIN}", RANKED).compared(both, ceiling(persons))

    def gates(self) -> Iterator[Row]:
        """Share of users who pass the evidence gate, by kind of votes and their number (0 would be right but for own
        tastes and contrarians)."""
        prior = prior_in(self.prior)
        centred = prior.model_copy(update={"mean": (0.0,) * len(prior.names)})
        for kind, options in VOTERS.items():
            persons = self.of("test", **options)
            scores = scored(persons, self.scorer)
            for k in GATE_VOTES:
                priors = {"learned prior": self.prior}
                if kind in ("own tastes", "random votes"):
                    priors |= {"prior of mean 0": {OWN: centred}, NO_TRAIN: {}}
                found = {name: judged(name, persons, self.prior, scores, k=k) for name in FROM_SCORES}
                yield from self.report("evidence", kind, k).gate_evidence(found)
                for name, artefacts in priors.items():
                    report = self.report("gate", f"{kind}, {name}", k)
                    yield report.gate(judged(OWN, persons, artefacts, scores, k=k))

    def rows(self) -> Iterator[Row]:
        """The rows of all controls."""
        parts = (self.curve, self.foreign, self.planted_kinds, self.left_out, self.label_noise)
        for part in (*parts, self.noise_of_scores, self.priors, self.default, self.turns, self.gates):
            begun = time.process_time()
            yield from part()
            print(f"{part.__name__}: {time.process_time() - begun:.0f} s of CPU", flush=True)


def main() -> None:
    """Make all rows, and write csv, figure and page."""
    from controls_page import write_page

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/controls"))
    parser.add_argument("--users", type=int, default=300, help="train users, and as many test users")
    parser.add_argument("--seed", type=int, default=0, help="of users, tastes, texts and votes")
    args = parser.parse_args()
    study = Study(args.users, args.seed)
    write_page(list(study.rows()), args.out, users=args.users, seed=args.seed)


if __name__ == "__main__":
    main()
