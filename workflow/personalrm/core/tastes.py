"""The taste of one user as a record: weights, how sure they are, and what they say in words."""

from __future__ import annotations

from pydantic import Field

from personalrm.core.conditions import RecordedK
from personalrm.core.records import CallRef, Record, Status


class TasteWeights(Record):
    """Weights of a user, in the order of the names of the `Taste` that holds them: mean and standard deviation.

    The weights are correlated: their covariance is the diagonal of sd² + sum(t²) minus the sum of the outer products of
    the rows t of `taught`, what the votes have taught. Where the weights are an average (`Taste.own_probability`), it
    is the mean of the covariances of both hypotheses, and `apart` is by how much the mean of the user's own weights is
    greater than the weights of others: each hypothesis can be found again.

    A weight is what a feature adds while all others stay. `effect` is by how much the log-odds of the user's votes grow
    with a feature alone, while the others change with it as they do in these votes. Weights of correlated features are
    never sure, though their effects may be. Effects are those of the user's own weights alone; there are none without.
    """

    mean: tuple[float, ...]
    sd: tuple[float, ...]
    taught: tuple[tuple[float, ...], ...] = ()
    apart: tuple[float, ...] = Field(default=(), exclude_if=lambda value: not value)
    effect: tuple[float, ...] = ()
    effect_sd: tuple[float, ...] = ()


class Taste(Record):
    """The taste of one user as weights of named features of a pair; verdicts and statements are made from it alone.

    Features are made from a pair as `TastePrior` says, and are positive where the chosen answer has more. `weights` are
    shared by all pairs; `kinds` has those for pairs of a named kind of question where the user's votes differ by kind.

    Attributes:
        own: whether the user's votes are evidence of a taste of the user's own.
        own_probability: of a taste of the user's own, given the votes: `weights` are the user's own with this
            probability, else those of other users or, where these taught no prior, of the judge without a user. Absent
            where there is neither: `weights` are then the user's own.
        reason: why not.
        n_votes: that were learned from; `n_unscored` more have no scores.
        missing: number of these votes in which a feature could not be scored, for features of which that is so.
        log_loss: of these votes, each predicted from other conversations with own weights (nats, mean).
        null_log_loss: the same without a taste of the user's own.
        n_right: number of these votes that were predicted so with the right sign.
    """

    names: tuple[str, ...]
    bias: tuple[float, ...]
    scale: tuple[float, ...]
    weights: TasteWeights
    kinds: dict[str, TasteWeights] = Field(default_factory=dict)
    own: bool
    own_probability: float | None = Field(default=None, exclude_if=lambda value: value is None)
    reason: str | None = None
    n_votes: int
    n_unscored: int = 0
    missing: dict[str, int] = Field(default_factory=dict)
    log_loss: float | None = None
    null_log_loss: float | None = None
    n_right: int = 0


class TasteStatement(Record):
    """One thing that a user's weights say.

    Attributes:
        feature: its name.
        text: what the user prefers: the words of one pole of the feature.
        strength: the word for it: strongly, clearly or somewhat.
        log_odds: what the feature adds to the log-odds of a typical pair.
        posterior: probability of the weight's sign.
        kind: the kind of question that it is about; None for all questions.
        votes: ids of the pairs that support it most.
    """

    feature: str
    text: str
    strength: str
    log_odds: float
    posterior: float
    kind: str | None = None
    votes: tuple[str, ...] = ()


class UserTaste(Record):
    """The taste of one user at one k and draw, by the scores of one model, and what it says in words.

    `persona` is the measured persona: the statements as a text; None where nothing is sure. `calls` are the stored
    responses of the scores of the votes that it was learned from.

    A train user is judged with no taste, as the prior rests on the user. `training_persona` is for reward models that
    learn from this user: measured with a prior from other train users; empty where nothing is sure.
    """

    dataset: str
    user_id: str
    model: str
    k: RecordedK
    draw: int
    status: Status
    reason: str | None = None
    taste: Taste | None = None
    statements: tuple[TasteStatement, ...] = ()
    persona: str | None = None
    calls: tuple[CallRef, ...] = ()
    prompts: dict[str, str] = Field(default_factory=dict)
    training_persona: str | None = Field(default=None, exclude_if=lambda value: value is None)

    @property
    def for_training(self) -> UserTaste:
        """What a reward model may read that learns from the user."""
        if self.training_persona is None:
            return self
        return self.model_copy(update={"status": "ok", "reason": None, "persona": self.training_persona or None})
