"""What a measured taste says, as records with words: its weights, and why one answer is preferred to another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from personalrm.core.extras import require_extra
from personalrm.core.lazy import Array
from personalrm.core.tastes import Taste, TasteWeights
from personalrm.judge.attribute_bank import DEFAULT, Bank
from personalrm.methods.taste import weights
from personalrm.methods.taste.statements import SURFACE_POLES

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
DEFAULT_POLES = ("what the model itself calls the better answer", "what the model itself calls the worse answer")


class Rows(tuple[T, ...]):
    """Records of one kind, in order."""

    __slots__ = ()

    def to_frame(self) -> pd.DataFrame:
        """The records as a data frame, one row for each."""
        require_extra("data", "to_frame", "pandas")
        import pandas as pd

        return pd.DataFrame(list(self))


class Weight(NamedTuple):
    """The weight of an attribute: what it adds to the log-odds of an answer that has more of it than the other.

    The unit is a typical difference in this attribute between two answers, which other attributes share. `sd` is its
    posterior standard deviation and `low` to `high` the 95 % interval, not symmetric where own weights are averaged
    with those of others; `more` and `less` describe both poles. `kind` is
    the kind of question that it holds for; None for all others.
    """

    attribute: str
    weight: float
    sd: float
    low: float
    high: float
    more: str
    less: str
    kind: str | None = None


class Reason(NamedTuple):
    """What an attribute says of two answers.

    Attributes:
        attribute: its id.
        option: the answer that it speaks for: 1 for `option1`, -1 for `option2`.
        log_odds: by how much, positive for `option1`.
        difference: by how much `option1` has more of it, in typical differences.
        text: the pole that the user prefers, which that answer is nearer to.
        kind: the kind of question that the weight is of; None for the one that all kinds share.
    """

    attribute: str
    option: int
    log_odds: float
    difference: float
    text: str
    kind: str | None = None

    def __str__(self) -> str:
        asked = f", when asked about {self.kind}" if self.kind else ""
        return f"{abs(self.log_odds):.2f} for option{1 if self.option == 1 else 2}: {self.text}{asked}"


class LeaveOneOut(NamedTuple):
    """How well the votes are predicted, each from all other conversations.

    Attributes:
        n_votes: that were learned from.
        n_right: that were predicted with the right sign.
        log_loss: in nats per vote.
        null_log_loss: the same without a taste of the user's own.
        own: whether the difference is evidence of a taste of the user's own.
    """

    n_votes: int
    n_right: int
    log_loss: float
    null_log_loss: float
    own: bool

    @property
    def accuracy(self) -> float:
        """Share of votes that were predicted with the right sign."""
        return self.n_right / self.n_votes


def poles(bank: Bank) -> Mapping[str, tuple[str, str]]:
    """Words for more and for less of each feature."""
    return {**SURFACE_POLES, DEFAULT: DEFAULT_POLES, **{one.id: (one.more, one.less) for one in bank.attributes}}


def weights_of(taste: Taste, bank: Bank) -> Rows[Weight]:
    """The weights that predictions are made with, the largest first: the shared ones, and those of each kind."""
    words = poles(bank)
    rows = (
        Weight(name, mean, sd, low, high, *words[name], kind)
        for kind, part in [(None, taste.weights), *taste.kinds.items()]
        for name, mean, sd, low, high in zip(taste.names, part.mean, *_ends(part, taste.own_probability), strict=True)
    )
    return Rows(sorted(rows, key=lambda one: (-abs(one.weight), one.attribute, one.kind or "")))


def _ends(part: TasteWeights, own_probability: float | None) -> Iterator[list[float]]:
    """Standard deviations and both ends of the intervals, as lists."""
    return (each.tolist() for each in weights.spread(part, own_probability))


def reasons_of(taste: Taste, bank: Bank, features: Array, kind: str | None = None) -> Rows[Reason]:
    """Which features, (d,), speak for which answer to a question of this kind, the strongest first, without those that
    speak for none."""
    words, known = poles(bank), dict(zip(taste.names, features.tolist(), strict=True))
    parts = weights.explain(taste, features.tolist(), kind)
    own = kind if kind in taste.kinds else None

    def reason(name: str, part: float) -> Reason:
        text = words[name][0 if part * known[name] > 0 else 1]
        return Reason(name, 1 if part > 0 else -1, part, round(known[name], 6), text, own)

    return Rows(reason(name, part) for name, part in parts.items() if part)
