"""The protocol of reward models on frozen features.

`fit` learns weights from pairs of train users. `adapt` makes the state of one user from the user's context pairs, which
train users or not may have, and changes no weight. `log_odds` gives r(chosen) - r(rejected) per pair, and changes sign
when the two are exchanged. Users have no names here, and neither their order nor that of their pairs matters: both are
sorted by content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np

from personalrm.core.errors import DataError
from personalrm.core.files import stable_hash
from personalrm.core.sharing import first_sharing
from personalrm.train.checkpoint import Fitted
from personalrm.train.features import Array, Pairs, join

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from personalrm.train.trainer import Run


H = TypeVar("H")
S = TypeVar("S")


class HeldOut(NamedTuple):
    """A validation user: adapted with `context`, measured on `target`, which may share no pair."""

    context: Pairs
    target: Pairs


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What training may see; made by `of`.

    Attributes:
        users: all pairs of each train user.
        held_out: validation users, who choose epochs and penalties.
    """

    users: tuple[Pairs, ...]
    held_out: tuple[HeldOut, ...] = ()

    @classmethod
    def of(cls, users: Iterable[Pairs], held_out: Iterable[HeldOut] = ()) -> TrainingData:
        """Users and their pairs, sorted by content. Users without pairs are left out.

        Raises DataError without any train user, for features of different lengths, and where a validation user's
        context and target share a pair.
        """
        kept = sorted((canonical(user) for user in users if len(user)), key=digest)
        others = [HeldOut(canonical(one.context), canonical(one.target)) for one in held_out if len(one.target)]
        if not kept:
            raise DataError("reward model: no train user with pairs; it learns from pairs of other users")
        lengths = {pairs.dim for pairs in (*kept, *(pairs for one in others for pairs in one))}
        if len(lengths) > 1:
            raise DataError(f"reward model: features of the lengths {sorted(lengths)}; one encoder makes all of them")
        for one in others:
            if shared := {*one.context.ids} & {*one.target.ids}:
                raise DataError(f"reward model: pair {min(shared)} of a validation user is both context and target")
        return cls(tuple(kept), tuple(sorted(others, key=lambda one: (digest(one.context), digest(one.target)))))

    @property
    def dim(self) -> int:
        """Length of a feature vector."""
        return self.users[0].dim

    @property
    def pairs(self) -> Pairs:
        """All pairs of train users, one after the other; ids are counted, since users may share a pair."""
        numbered = [
            Pairs(tuple(f"{n} {one}" for one in user.ids), user.chosen, user.rejected)
            for n, user in enumerate(self.users)
        ]
        return join(numbered)

    @property
    def fingerprint(self) -> str:
        """Hash of all features; not of users' or pairs' names."""
        parts = [digest(pairs) for pairs in (*self.users, *(pairs for one in self.held_out for pairs in one))]
        return stable_hash(str(len(self.users)), *parts)


def digest(pairs: Pairs) -> str:
    """SHA-256 (hex) of the features, in their order."""
    return hashlib.sha256(pairs.chosen.tobytes() + pairs.rejected.tobytes()).hexdigest()


def canonical(pairs: Pairs) -> Pairs:
    """The pairs sorted by content, float32."""
    chosen = np.ascontiguousarray(pairs.chosen, dtype=np.float32)
    rejected = np.ascontiguousarray(pairs.rejected, dtype=np.float32)
    keys = [hashlib.sha256(a.tobytes() + b.tobytes()).digest() for a, b in zip(chosen, rejected, strict=True)]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return Pairs(tuple(pairs.ids[n] for n in order), chosen[order], rejected[order])


def shared_answers(pairs: Pairs) -> list[int]:
    """Of each pair the place of the first one that it shares an answer with, directly or through others."""
    return first_sharing(
        [(one.tobytes(), other.tobytes()) for one, other in zip(pairs.chosen, pairs.rejected, strict=True)]
    )


@dataclass(frozen=True)
class RewardMethod(Generic[H, S]):
    """One method, for callers that do not know which.

    Attributes:
        name: how the config spells it.
        label: its name in tables and figures.
        hyper: a dataclass of hyper-parameters; defaults are the published ones, where there are any.
        fit: weights from (data, hyper-parameters, seed, where to run).
        adapt: the state of one user, from weights and context pairs (possibly none).
        log_odds: from weights, state and pairs: (pairs,), float64.
        rewards: from weights, state and features of answers, (answers, dim): (answers,), float64. None where the method
            compares two answers without rating one.
        adapts: whether the context changes anything.
    """

    name: str
    label: str
    hyper: type[H]
    fit: Callable[[TrainingData, H, int, Run], Fitted]
    adapt: Callable[[Fitted, Pairs], S]
    log_odds: Callable[[Fitted, S, Pairs], NDArray[np.float64]]
    rewards: Callable[[Fitted, S, Array], NDArray[np.float64]] | None
    adapts: bool = True

    def predict(self, fitted: Fitted, context: Pairs, targets: Pairs) -> NDArray[np.float64]:
        """Log-odds of the target pairs for the user of the context, (pairs,)."""
        return self.log_odds(fitted, self.adapt(fitted, context), targets)

    def check(self, fitted: Fitted) -> None:
        """Raises DataError where the weights are not of this method, or not those that their card describes: one pair
        is rated with them."""
        try:
            shape = (1, int(fitted.card["dim"]))
            pair = Pairs(("",), np.ones(shape, np.float32), np.zeros(shape, np.float32))
            found = self.predict(fitted, pair, pair)
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise DataError(
                f"weights and card do not belong together as {self.name!r} ({type(error).__name__}: "
                f"{str(error)[:300]}); train again"
            ) from error
        if found.shape != (1,):
            raise DataError(f"weights and card do not belong together as {self.name!r}; train again")

    def held_out_accuracy(self, fitted: Fitted, data: TrainingData) -> float:
        """Mean over validation users of the share of target pairs that are right; equal rewards count one half."""
        return mean_accuracy(self.predict(fitted, one.context, one.target) for one in data.held_out)


def mean_accuracy(log_odds: Iterable[NDArray[np.float64]]) -> float:
    """Mean over users of the share of positive log-odds; zeros count one half.

    Rounded far below what one pair counts, so that equal accuracies are equal numbers.
    """
    return round(float(np.mean([np.mean((found > 0) + 0.5 * (found == 0)) for found in log_odds])), 12)


class Scale(NamedTuple):
    """Features to typical size 1: x to (x - mean) / size, so that one learning rate fits all encoders.

    `size` is that of differences within pairs, divided by the square root of 2: where answers of a pair are as far
    apart as any two, it is the standard deviation. What differs between questions alone does not count.
    """

    mean: Array
    size: Array

    @classmethod
    def of(cls, pairs: Pairs) -> Scale:
        """The scale of these pairs. A feature that never differs keeps its size."""
        both = np.concatenate([pairs.chosen, pairs.rejected]).astype(np.float64)
        size = np.sqrt((pairs.difference.astype(np.float64) ** 2).mean(axis=0) / 2)
        size = np.where(size > 1e-6 * max(float(size.max(initial=0.0)), 1e-30), size, 1.0)
        return cls(both.mean(axis=0).astype(np.float32), size.astype(np.float32))

    @classmethod
    def in_weights(cls, fitted: Fitted) -> Scale:
        """The scale that `tensors` saved."""
        return cls(fitted.tensors["scale.mean"], fitted.tensors["scale.size"])

    @property
    def tensors(self) -> dict[str, Any]:
        """For the saved weights."""
        return {"scale.mean": self.mean, "scale.size": self.size}

    def answers(self, features: Array) -> Array:
        """Features of answers, scaled."""
        found: Array = (features - self.mean) / self.size
        return found

    def differences(self, pairs: Pairs) -> Array:
        """Chosen minus rejected, scaled."""
        found: Array = pairs.difference / self.size
        return found


def card_of(name: str, hyper: Any, seed: int, data: TrainingData, **facts: Any) -> dict[str, Any]:  # noqa: ANN401
    """What a saved model says of its training."""
    return {
        "method": name,
        "hyper": asdict(hyper),
        "seed": seed,
        "dim": data.dim,
        "train_users": len(data.users),
        "train_pairs": sum(len(user) for user in data.users),
        "validation_users": len(data.held_out),
        "data": data.fingerprint,
        **facts,
    }
