"""Typed records that pass between the stages, one JSON object per line.

Each carries `schema_version`; a reader refuses other versions. Text of users and models is
not altered. All records are frozen, so that equal inputs give equal bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from personalrm.core.conditions import RecordedK
from personalrm.core.errors import DataError
from personalrm.core.files import atomic_write_lines

Split = Literal["context", "validation", "test"]
UserPart = Literal["train", "validation", "test"]
Label = Literal["first", "second"]
Outcome = Literal["correct", "wrong", "tie", "unparsed", "refused", "context_overflow", "provider_error"]
Status = Literal["ok", "empty", "not_applicable", "failed"]
"""Of a row about one user: `empty` where the user has too little (no test pairs), `not_applicable` where the method has
no sense for the user, the data set or the judge (no survey, no level A, no text verdict), `failed` where a call did."""
PersonaFlaw = Literal["empty", "echo", "contradiction", "copy"]
"""Why a persona is of no use (`persona_quality.py`)."""
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
READABLE: tuple[Outcome, ...] = ("correct", "wrong", "tie")
"""Outcomes of an answer that could be read."""


class Record(BaseModel):
    """Base of all records: frozen, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
    schema_version: Literal[1] = 1


class Turn(BaseModel):
    """One turn of a conversation. `role` is one of chat models."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    role: Literal["system", "user", "assistant"]
    content: str


class PreferencePair(Record):
    """One vote: in `context`, the user preferred `chosen` to `rejected`.

    `pair_id` is unique within a data set. `order` is the rank in the user's history (0 = oldest);
    `timestamp` is in Unix seconds where known, `conversation_type` the source's own word. `split` is the level-B
    split within the user. For a `tie` the user liked both alike: `chosen` is the first answer in the source's order and
    `rejected` the second. Only a tie's row has the field, so that files without ties are what they were before it.
    `flip` is a coin that the source stores (the authors' column): true where the chosen answer is shown first
    when the pair is shown in one order. Only rows with a stored coin have the field.
    """

    user_id: str
    pair_id: str
    context: tuple[Turn, ...]
    chosen: str
    rejected: str
    conversation_id: str | None = None
    turn: int | None = None
    timestamp: float | None = None
    conversation_type: str | None = None
    order: int = 0
    split: Split | None = None
    tie: bool = Field(default=False, exclude_if=lambda tie: not tie)
    flip: bool | None = Field(default=None, exclude_if=lambda flip: flip is None)


class UserData(Record):
    """All that is known of one user of one data set.

    `user_split` is the user's part where users are split for what is trained on other users; `excluded` holds
    the reason of a filter, if any.
    """

    dataset: str
    user_id: str
    pairs: tuple[PreferencePair, ...] = ()
    user_split: UserPart | None = None
    survey: dict[str, str] = Field(default_factory=dict)
    planted_taste: str | None = None
    excluded: str | None = None

    def part(self, split: Split) -> tuple[PreferencePair, ...]:
        """Pairs of one level-B split, oldest first. Only `test` has ties, which are judged.

        All code that learns from a user reads its pairs here, so that nothing is learned from a tie.
        """
        return tuple(p for p in self.pairs if p.split == split and (split == "test" or not p.tie))


class NoResult(NamedTuple):
    """Why a user has no result: the status of the row that says so, and the reason."""

    status: Status
    reason: str | None


class CallRef(Record):
    """A stored response that a result rests on: its key in the store, and what it would cost at list price.

    `estimated` says that the provider gave no token counts that make sense; only a row with such counts has the field.
    """

    key: str
    stage: str
    tokens_in: int
    tokens_out: int
    cost_usd: float | None = None
    estimated: bool = Field(default=False, exclude_if=lambda estimated: not estimated)


class Trace(Record):
    """One attempt of the unpersonalised judge at a context pair (paper, stage 1: bootstrap reasoning).

    `swapped` is True where the rejected answer was shown first. `log_odds` is log P(chosen) - log P(rejected)
    where the judge reads log-probabilities; `calls` are the keys of the responses it rests on. A trace is verified
    when `outcome` is `correct`.
    """

    pair_id: str
    swapped: bool
    reasoning: str
    outcome: Outcome
    attempt: int = 0
    log_odds: float | None = None
    calls: tuple[str, ...] = ()


class UserTraces(Record):
    """All attempts for one user by one model."""

    dataset: str
    user_id: str
    model: str
    variant: str
    status: Literal["ok", "empty", "failed"]
    reason: str | None = None
    traces: tuple[Trace, ...] = ()
    calls: tuple[CallRef, ...] = ()
    prompts: dict[str, str] = Field(default_factory=dict)

    def lost(self, pair_ids: Collection[str]) -> int:
        """Attempts at these pairs that the provider failed."""
        return sum(trace.outcome == "provider_error" for trace in self.traces if trace.pair_id in pair_ids)


class Demonstration(Record):
    """A labelled pair as it is shown in a prompt; `reasoning` is None for a label-only demonstration."""

    pair: PreferencePair
    swapped: bool
    reasoning: str | None = None


class Candidate(Record):
    """One candidate of a demonstration search: its seed, the pairs that it shows the judge, with reasoning those of
    `n_reasoned`, and its validation score in percent over `n_scored` verdicts."""

    seed: int
    pair_ids: tuple[str, ...]
    score: float | None
    mean_log_odds: float | None = None
    n_scored: int = 0
    n_reasoned: int = 0


class Profile(Record):
    """What was learned about one user: persona and demonstrations, and where they came from.

    `persona_pairs` names the pairs of the judgements R* that the persona was induced from, `demonstrations` is the set
    shown to the judge, `plain_demonstrations` the set that is shown without a persona. `memory` are facts about the
    user, for the baseline of that name. `persona_flaw` is set where the persona says nothing, and only such a row has
    the field. `events` lists what a reader should know (shortened inputs, fallbacks,
    ties). `calls` are all stored responses it rests on. `lost` counts the calls that the provider failed, by stage;
    only a row with such calls has the field. With them answered the profile may be another.
    """

    dataset: str
    user_id: str
    model: str
    variant: str
    k: RecordedK
    draw: int
    status: Status
    reason: str | None = None
    persona: str | None = None
    persona_flaw: PersonaFlaw | None = Field(default=None, exclude_if=lambda flaw: flaw is None)
    memory: tuple[str, ...] = ()
    persona_pairs: tuple[str, ...] = ()
    demonstrations: tuple[Demonstration, ...] = ()
    plain_demonstrations: tuple[Demonstration, ...] = ()
    search: dict[str, tuple[Candidate, ...]] = Field(default_factory=dict)
    winners: dict[str, int] = Field(default_factory=dict)
    events: tuple[str, ...] = ()
    lost: dict[str, int] = Field(default_factory=dict, exclude_if=lambda lost: not lost)
    calls: tuple[CallRef, ...] = ()
    prompts: dict[str, str] = Field(default_factory=dict)


class PairScores(Record):
    """By how much one answer of a pair has more of named attributes than the other, as a model says in one order.

    `scores` are those of the answer that was shown first over the second: log-odds of the two labels, or -2 to 2 in
    words. An attribute that could not be scored is not in it. `swapped` is True where the rejected answer was shown
    first. `reason` says why nothing could be scored; `shortened` that the pair was cut to fit the model's window.
    """

    pair_id: str
    swapped: bool
    scores: dict[str, float] = Field(default_factory=dict)
    reason: Outcome | None = None
    shortened: bool = Field(default=False, exclude_if=lambda shortened: not shortened)
    calls: tuple[str, ...] = ()

    @property
    def of_chosen(self) -> dict[str, float]:
        """The same for the chosen answer over the rejected one, position bias included."""
        return {name: -score if self.swapped else score for name, score in self.scores.items()}


class QuestionKinds(Record):
    """Kinds of question of a user's pairs: `names` by pair id, without pairs that have none.

    `reason` says why a model named none; `calls` are the keys of its response.
    """

    names: dict[str, str] = Field(default_factory=dict)
    reason: Outcome | None = None
    calls: tuple[str, ...] = ()


class UserScores(Record):
    """The scores of all pairs of one user by one model: one entry for each pair and order that was asked.

    `lost` counts the calls that the provider failed. Rows have `kinds` only where the config asks for them.
    """

    dataset: str
    user_id: str
    model: str
    pairs: tuple[PairScores, ...] = ()
    kinds: QuestionKinds | None = Field(default=None, exclude_if=lambda kinds: kinds is None)
    lost: int = 0
    calls: tuple[CallRef, ...] = ()
    prompts: dict[str, str] = Field(default_factory=dict)


class Weights(Record):
    """A taste as weights of named features of a pair, for a logistic model without intercept.

    A feature of a pair is that of one answer minus that of the other, divided by `scale`; the weights are `mean`, all
    in the order of `names`.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]


class TastePrior(Record):
    """What other users say of the features of a pair: their names, bias and scale, and the prior of a user's weights.

    A feature of a pair is the chosen answer's over the rejected one's. It is `bias` more where the chosen answer was
    shown first, and that much less where it was shown second; the bias is subtracted, and the rest divided by `scale`.
    The weights of a user have the prior N(`mean`, diag(`variance`)). All are in the order of `names`. `n_users` and
    `n_pairs` have scores. `learned` is False where there are too few users for a mean, which is then 0.
    """

    names: tuple[str, ...]
    bias: tuple[float, ...]
    scale: tuple[float, ...]
    mean: tuple[float, ...]
    variance: tuple[float, ...]
    n_users: int
    n_pairs: int
    learned: bool


Artefact = TastePrior | Weights
"""What a method may learn from other users. A method with an artefact of another form adds its type to a union here."""


class Fitted(Record):
    """What one method learned from other users of a data set: a row of the file of stage `fit`.

    `left_out` names the users who may be judged with it, as nothing of them is in it; None: all but the train users of
    the user split, who are all that is in it. `artefact` is None where the other users have no pairs. `model` is the
    model that the method asked; None where it asks none.
    """

    dataset: str
    method: str
    model: str | None
    left_out: tuple[str, ...] | None
    n_users: int
    n_pairs: int
    artefact: Artefact | None


class Verdict(Record):
    """The judge on one test pair: one order of showing (`swapped`), or both together (`swapped` None).

    `said` is the position that the judge named; `log_odds` is positive where the chosen answer is favoured. `reasoned`
    says whether an answer in words that names a position, or a tie, holds more than that; None (and not in the row) for
    all other verdicts. `flipped` says of one verdict on both orders whether the orders alone would have named different
    answers; None (and not in the row) for all others. `cut` says that an answer in words which it rests on ended at its
    limit of tokens; only a row of such an answer has it. `shots` is the number of the user's votes in the prompt of a
    method that shows votes as they are, `shots_dropped` how many of those that k allows are not in it, because they did
    not fit or are on the answers that are judged; None (and not in the row) for all others, and in files of versions
    that did not count them.
    """

    pair_id: str
    swapped: bool | None
    outcome: Outcome
    said: Label | None = None
    log_odds: float | None = None
    calls: tuple[str, ...] = ()
    reasoned: bool | None = Field(default=None, exclude_if=lambda reasoned: reasoned is None)
    flipped: bool | None = Field(default=None, exclude_if=lambda flipped: flipped is None)
    cut: bool = Field(default=False, exclude_if=lambda cut: not cut)
    shots: int | None = Field(default=None, ge=0, exclude_if=lambda shots: shots is None)
    shots_dropped: int | None = Field(default=None, ge=0, exclude_if=lambda dropped: dropped is None)


def agreed_outcome(verdicts: Iterable[Verdict]) -> Outcome | None:
    """The outcome of a pair over all orders: `correct` or `wrong` where each order says so, a `tie` where they differ,
    None where one has no answer that can be read, or there is none."""
    outcomes = {verdict.outcome for verdict in verdicts}
    if not outcomes or not outcomes <= set(READABLE):
        return None
    return outcomes.pop() if len(outcomes) == 1 else "tie"


class JudgedUser(Record):
    """All verdicts of one method on one user's test pairs; a row of a verdicts file.

    `k` is None for methods that do not read context pairs, and `profile_model` for those that use no profile.
    `calls` are all stored responses which the row rests on, those of its profile included. `profile_lost` counts the
    calls that the provider failed in the stages of its profile that the method rests on; only a row with such has it.
    `set_aside` are the method's own verdicts on pairs that are no matter of taste, where those of the unpersonalised
    judge stand in `verdicts` (`taste_on: personalizable`).
    """

    dataset: str
    user_id: str
    variant: str
    profile_model: str | None
    judge_model: str | None
    method: str
    k: RecordedK | None
    draw: int
    status: Status
    reason: str | None = None
    profile_lost: int = Field(default=0, exclude_if=lambda lost: not lost)
    verdicts: tuple[Verdict, ...] = ()
    set_aside: tuple[Verdict, ...] = Field(default=(), exclude_if=lambda verdicts: not verdicts)
    calls: tuple[CallRef, ...] = ()
    prompts: dict[str, str] = Field(default_factory=dict)


R = TypeVar("R", bound=Record)

BASELINE = "baseline"
"""Value of `variant` in rows that no learned profile enters."""


def read_records(path: Path, kind: type[R]) -> Iterator[R]:
    """Yield the records of a JSON-lines file one by one, in constant memory.

    Raises DataError, naming file and line, for a line that is not a `kind` record of a known version.
    """
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield kind.model_validate_json(line)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"]) or "line"
                raise DataError(
                    f"{path}, line {number}: {where}: {first['msg']}. The file was not written by this "
                    f"version of personalrm; delete it and run again."
                ) from error


def read_all(paths: Iterable[Path], kind: type[R]) -> Iterator[R]:
    """Yield the records of several files, one by one. Raises DataError as `read_records` does."""
    return (record for path in paths for record in read_records(path, kind))


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records as JSON lines, whole or not at all (temporary file, fsync, rename)."""
    atomic_write_lines(path, (record.model_dump_json() for record in records))
