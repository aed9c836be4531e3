"""From votes to a taste, by the functions of the workflow's stages `score_attributes`, `fit` and `taste`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from personalrm.app.library.data import Votes, usable_pairs
from personalrm.app.library.models import DATASET, MODEL
from personalrm.core.errors import DataError, ModelCallError
from personalrm.core.records import (
    CallRef,
    Fitted,
    PairScores,
    PreferencePair,
    QuestionKinds,
    TastePrior,
    UserData,
    UserScores,
)
from personalrm.core.tastes import Taste, UserTaste
from personalrm.judge.attribute_bank import Bank
from personalrm.judge.attributes import ScoreSettings, each, score_pair
from personalrm.judge.call_recorder import CallRecorder
from personalrm.judge.question_kinds import kind_of
from personalrm.llm.types import LanguageModel
from personalrm.methods.attributes import ATTRIBUTES
from personalrm.methods.base import Training
from personalrm.methods.taste.features import why_unscored
from personalrm.methods.taste.prior import LEAST_USERS, fit_prior
from personalrm.methods.taste.weights import LEAST_OF_KIND
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.stages.fit import by_pair
from personalrm.studies.synthesizeme.stages.scoring import (
    kinds_prompts,
    question_kinds,
    score_settings,
    scoring_of,
)
from personalrm.studies.synthesizeme.stages.tasting import user_taste


class Scored(NamedTuple):
    """The scores of one pair, the calls behind them, and how many calls were made and lost; `kinds` of question, of
    the pair or of all of the user's pairs, where they are asked for."""

    pairs: tuple[PairScores, ...]
    calls: tuple[CallRef, ...]
    asked: int
    lost: int
    kinds: QuestionKinds | None = None


class People(NamedTuple):
    """Other users who have pairs to learn from, and what a reader should know of those who have none."""

    users: list[UserData]
    events: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """A taste, and all that it rests on: the votes, their scores, and the prior that other users taught, if any."""

    votes: UserData
    scores: UserScores
    prior: TastePrior | None
    record: UserTaste
    taste: Taste
    events: tuple[str, ...]


@dataclass(frozen=True)
class Measuring:
    """How tastes are measured: by the one model of a library object's config."""

    config: Config
    model_id: str

    @cached_property
    def bank(self) -> Bank:
        """The attributes that are asked about."""
        return scoring_of(self.config).selected()

    @cached_property
    def settings(self) -> ScoreSettings:
        """How they are asked about."""
        return score_settings(self.config, MODEL)

    @property
    def prompts(self) -> dict[str, str]:
        """Versions and hashes of the prompts that scores rest on."""
        return {prompt.name: prompt.label for prompt in (*self.settings.prompts, *kinds_prompts(self.config))}

    @property
    def calls_of_pair(self) -> int:
        """Number of calls that the scores of a pair take."""
        orders = 2 if self.settings.orders == "both" else 1
        return orders * (1 if self.settings.mode == "text" else len(self.bank.ids) + 1)

    async def score(
        self, model: LanguageModel, pairs: Sequence[PreferencePair], learned: Measured | None = None
    ) -> list[Scored]:
        """The scores of pairs, in their order; with the kind of each where what was `learned` depends on it."""

        async def one(pair: PreferencePair) -> Scored:
            recorder = CallRecorder(model, "score_attributes")
            entries = await score_pair(recorder, pair, self.bank, self.settings)
            kinds = await self._kind(recorder, pair, learned) if learned and learned.taste.kinds else None
            return Scored(entries, recorder.calls, recorder.asked, recorder.failed, kinds)

        return await each(model, map(one, pairs))

    async def _kind(self, model: LanguageModel, pair: PreferencePair, learned: Measured) -> QuestionKinds:
        """The kind of a pair, as those of the votes were named."""
        scoring, named = scoring_of(self.config), learned.scores.kinds
        kind = pair.conversation_type
        if scoring.kinds == "model":
            names = named.names if named else {}
            kind = await kind_of(model, pair, learned.votes.pairs, names, json_schema=scoring.json_schema)
        return QuestionKinds(names={pair.pair_id: kind} if kind else {})

    async def kinds(self, model: LanguageModel, user: UserData) -> Scored:
        """The kinds of all of a user's pairs, where they are asked for, and the call behind them."""
        recorder = CallRecorder(model, "score_attributes")
        named = await question_kinds(recorder, user, scoring_of(self.config))
        return Scored((), recorder.calls, recorder.asked, recorder.failed, named)

    def scores_of(self, user: UserData, found: Sequence[Scored], known: UserScores | None) -> UserScores:
        """The scores of all pairs of a user: those that were `found`, and those that were `known`; the last kinds."""
        calls = {ref.key: ref for one in found for ref in one.calls}
        calls |= {ref.key: ref for ref in (known.calls if known else ())}
        return UserScores(
            dataset=DATASET,
            user_id=user.user_id,
            model=self.model_id,
            pairs=(*(known.pairs if known else ()), *(entry for one in found for entry in one.pairs)),
            kinds=found[-1].kinds if found else known.kinds if known else None,
            lost=sum(one.lost for one in found),
            calls=tuple(calls[key] for key in sorted(calls)),
            prompts=self.prompts,
        )

    def prior_of(self, others: Sequence[UserData], found: Sequence[Scored]) -> TastePrior | None:
        """What other users teach, from the scores of all their pairs one after the other."""
        scores, place = {}, 0
        for one in others:
            mine = found[place : place + len(one.pairs)]
            scores[one.user_id] = by_pair(entry for scored in mine for entry in scored.pairs)
            place += len(one.pairs)
        return fit_prior(Training(others, self.config.seed, scores))

    def measured(
        self, user: UserData, scores: UserScores, prior: TastePrior | None, events: Sequence[str] = ()
    ) -> Measured:
        """The taste of a user. Raises ModelCallError where none of the votes has scores."""
        fitted = Fitted(
            dataset=DATASET,
            method=ATTRIBUTES.name,
            model=self.model_id,
            left_out=(user.user_id,),
            n_users=prior.n_users if prior else 0,
            n_pairs=prior.n_pairs if prior else 0,
            artefact=prior,
        )
        record = user_taste(self.config, user, scores, {ATTRIBUTES.name: [fitted]}, self.bank, k="all", draw=0)
        if record.taste is None or not record.taste.n_votes:
            why = why_unscored(scores.pairs)
            raise ModelCallError(f"fit: model {self.model_id} scored none of the votes ({why}); use another model")
        known = (*events, *self._events(record.taste, scores, prior))
        return Measured(user, scores, prior, record, record.taste, known)

    def _events(self, taste: Taste, scores: UserScores, prior: TastePrior | None) -> list[str]:
        """What a reader should know of a taste."""
        found = []
        if prior is not None and not prior.learned:
            found.append(f"others: fewer than {LEAST_USERS} with scored votes; the prior has no mean of theirs")
        if scores.lost:
            found.append(f"{scores.lost} calls were lost to provider errors; fit again asks for them")
        if taste.n_unscored:
            found.append(f"{taste.n_unscored} votes left out (the model gave no score)")
        if scoring_of(self.config).kinds != "none":
            found += _no_kinds(scores.kinds)
        if any(entry.shortened for entry in scores.pairs):
            found.append("some pairs were cut to fit the model's window")
        return [*found, taste.reason] if taste.reason else found


def _no_kinds(kinds: QuestionKinds | None) -> list[str]:
    """Why no kinds of question are known, where they were asked for."""
    if kinds is None:
        return [f"kinds of question: none named (fewer than {2 * LEAST_OF_KIND} votes, or one prompt alone)"]
    return [] if kinds.names else [f"kinds of question: none named ({kinds.reason or 'no type of a vote is a text'})"]


def other_users(others: Mapping[str, Votes], user: UserData) -> People:
    """Other users than `user`, from their votes by id. Raises DataError for wrong rows.

    Rows need not name their user, so that the user's own votes are known by their content, too.
    """
    if not isinstance(others, Mapping):
        raise DataError("others: is no dict; give votes by user id: {user: votes}")
    people, events, seen, own = [], [], set(), _said(user.pairs)
    for key in sorted(others, key=str):
        name = str(key)
        if name in seen:
            raise DataError(f"others: holds two entries of user {name!r}; put their votes in one")
        seen.add(name)
        pairs, more = usable_pairs(others[key], f"others[{key!r}]", key)
        said = _said(pairs)
        if name == user.user_id or (said and (own <= said or said <= own)):
            events.append(f"others: user {name!r} left out (the user's own votes)")
        elif pairs:
            events += more
            people.append(UserData(dataset=DATASET, user_id=name, pairs=pairs))
        else:
            events += [*more, f"others: user {name!r} left out (no pair to learn from)"]
    return People(people, tuple(events))


def _said(pairs: Sequence[PreferencePair]) -> set[tuple[object, ...]]:
    """What votes say, whoever's they are."""
    return {(pair.context, pair.chosen, pair.rejected) for pair in pairs}
