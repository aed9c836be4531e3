"""TasteModel: one user's taste, measured as weights of named attributes, as a judge that explains itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from personalrm.app.library.base import generation_prompt
from personalrm.app.library.calls import TrackedModel, run_blocking
from personalrm.app.library.data import (
    Answer,
    Context,
    Votes,
    as_rows,
    one_pair,
    refuse_other_users,
    to_item,
    usable_pairs,
    user_data,
)
from personalrm.app.library.measuring import Measured, Measuring, Scored, other_users
from personalrm.app.library.models import DEFAULT_MODEL, object_config, options_of
from personalrm.app.library.progress import Progress
from personalrm.app.library.readout import LeaveOneOut, Reason, Rows, Weight, reasons_of, weights_of
from personalrm.app.library.saving import LearningRM, Saved
from personalrm.core.errors import ConfigError, DataError, ModelCallError, NotFittedError
from personalrm.core.records import PreferencePair, TastePrior, UserData, UserScores, Verdict
from personalrm.core.tastes import TasteStatement, UserTaste
from personalrm.judge.attribute_bank import Bank, Use
from personalrm.judge.attribute_settings import Kinds
from personalrm.judge.attributes import Orders
from personalrm.judge.judge import JudgeContext, on_tie
from personalrm.llm.types import LanguageModel
from personalrm.methods.attributes import TasteState, rows_of, weigh
from personalrm.methods.taste.features import is_scored, why_unscored
from personalrm.studies.runner import refuse_outage
from personalrm.studies.synthesizeme.stages.fit import by_pair
from personalrm.studies.synthesizeme.stages.settings import constitution_of

logger = logging.getLogger("personalrm.app.library")


class SavedTaste(Saved):
    """The file of a fitted `TasteModel`: the votes, their scores, what other users taught, and the taste from these.

    `bank` is the SHA-256 of what was asked about.
    """

    what = "taste"
    kind: Literal["personalrm.TasteModel"] = "personalrm.TasteModel"
    bank: str
    votes: UserData
    scores: UserScores
    prior: TastePrior | None
    taste: UserTaste
    events: tuple[str, ...] = ()

    @property
    def user(self) -> str:
        """Id of the taste's user."""
        return self.taste.user_id


class TasteModel(LearningRM[SavedTaste]):
    """A judge that measures one user's taste: weights of named attributes, fitted to the user's votes.

    A model says of each pair, without knowing the user, which answer is warmer, longer, more cautious …; a Bayesian
    logistic regression finds what the user's votes make of it (docs/methods.md, method `attributes`). The model need
    not be able to judge for a user, and its answers are the same for all users.

    Args:
        model_id: the model that scores pairs (docs/library.md, "Models and their ids"). Embedded models give
            log-odds of labels, one call for each attribute; others a list of ratings, one call for each order, or
            labels with `model_options={"verdicts": ["logprob_both"]}`.
        user_id: the user; by default the one that the votes name, else a name made of their content.
        bank: YAML file of attributes, in the form of `resources/attributes.yaml`, which is used if none is given.
        use: attributes that are asked about: `all` of the bank, its twelve `core` ones, or a list of ids.
        orders: `both` orders of showing two answers, or `one`, chosen by a coin, for half the calls: what the model
            prefers for its position is then removed from the scores of votes by its mean alone.
        kinds: kinds of question on which the weights may depend, at most four, where the votes say so: `model` has the
            model name them from the prompts of the votes in one call, and sort each new prompt among these in another;
            `conversation_type` takes the `type` of the votes, which only `evaluate` has of new ones; `none`.
        output_dir: folder for the answers of the model, which are then never paid for twice, and for the taste.
        model_url: base URL of an OpenAI-compatible endpoint.
        seed: of the interval's resamples; the taste itself has no random choice.
        num_workers: calls at once.
        lm: a `LanguageModel` (`personalrm.llm.types`) of one's own, instead of `model_id`.
        progress_update_hook: called in `fit`, `evaluate` and `predict_many` as hook(percent, message), with a
            percentage that never falls during one of them. None: a bar of tqdm, if that is installed, on a terminal and
            in notebooks.
        model_options: further keys of a model's entry in the config (config/README.md).
        scoring_options: further keys of the config's section `attributes`: `max_tokens`, `json_schema`.
        constitution: rules above the persona in `get_judge_prompt` and `get_generation_prompt`, as for `SynthesizeMe`.
        max_failed_share: share of provider errors above which `fit` and `evaluate` raise.

    Raises:
        ConfigError: for settings that no call could be made with; a bank that cannot be read is named with its line.
    """

    _saved_as = SavedTaste

    def __init__(
        self,
        model_id: str = DEFAULT_MODEL,
        user_id: str | None = None,
        *,
        bank: Path | str | None = None,
        use: Use = "all",
        orders: Orders = "both",
        kinds: Kinds = "none",
        output_dir: Path | str | None = None,
        model_url: str | None = None,
        seed: int = 42,
        num_workers: int = 8,
        lm: LanguageModel | None = None,
        progress_update_hook: Callable[[float, str], object] | None = None,
        model_options: Mapping[str, Any] | None = None,
        scoring_options: Mapping[str, Any] | None = None,
        constitution: Path | str = "auto",
        max_failed_share: float = 0.01,
    ) -> None:
        given = dict(locals())
        self._given = {name: given[name] for name in sorted(self._parameters())}
        self._given["scoring_options"] = options = options_of(scoring_options, "scoring_options")
        attributes: dict[str, Any] = {"bank": bank, "use": use, "orders": orders, "kinds": kinds}
        for name in sorted({*attributes, "models"} & options.keys()):
            raise ConfigError(f"scoring_options: {name}: no key of it; bank, use, orders and kinds are parameters")
        attributes |= options
        asked: dict[str, Any] = {"attributes": attributes, "seed": seed, "max_failed_share": max_failed_share}
        asked["constitution"] = str(constitution)
        # Its prompts are those of the method that shows the measured persona to a judge.
        method = "measured_persona"
        config = object_config(model_id, model_url, num_workers, model_options, method, needs=["taste"], **asked)
        super().__init__(config, model_id, lm, output_dir, user_id)
        self.progress_update_hook = progress_update_hook
        self._measuring = Measuring(config, self.model_id)
        self._learned: Measured | None = None

    def __repr__(self) -> str:
        learned = "not fitted"
        if self._learned is not None:
            taste = self._learned.taste
            own = "" if taste.own else ", which are no evidence of a taste of their own"
            learned = f"{taste.n_votes} votes of user {self.user_id!r}{own}"
        return f"TasteModel({self.model_id!r}, {len(self.bank.ids)} attributes, {learned})"

    @property
    def bank(self) -> Bank:
        """The attributes that the model is asked about."""
        return self._measuring.bank

    @property
    def is_fitted(self) -> bool:
        """Whether there is a taste."""
        return self._learned is not None

    @property
    def learned(self) -> Measured:
        """The taste as a record, the scores and votes that it rests on, the prior; `events` says what a reader should
        know of it. Raises NotFittedError before `fit` or `load`."""
        if self._learned is None:
            raise NotFittedError("nothing was learned yet: call fit(votes), or load(path), first")
        return self._learned

    @property
    def events(self) -> tuple[str, ...]:
        """What a reader should know of the taste: votes left out, no evidence of a taste. Raises NotFittedError."""
        return self.learned.events

    def fit(
        self,
        data: Votes,
        val_data: Votes | None = None,
        *,
        others: Mapping[str, Votes] | None = None,
    ) -> Self:
        """Measure the taste from votes; returns the object. `val_data` are further votes: nothing is selected here.

        `others` are votes of other users by user id, whose pairs are scored, too. The user's own entry is left out: the
        one under the user's id, or whose votes hold all of the user's or are held by them. From `LEAST_USERS` (20) of
        them the prior of the weights has their mean and variances; from fewer only scales and one variance. Without
        them the prior has the mean 0, and the one variance under which the votes are likeliest. Where the votes are no
        evidence of a taste of the user's own, there is no persona, and `events` says so.

        Predictions average the user's own weights, by `learned.taste.own_probability`, with those of the other users
        or, with fewer than `LEAST_USERS`, with what the model prefers without a user. A model that gives log-odds of
        labels says what it prefers; one that writes ratings does not: own weights then predict alone, even where the
        votes are no evidence of a taste, and `own_probability` is None. With `output_dir` the taste is saved there.

        Raises:
            DataError: the votes are empty, wrong (place and field are named), or of several users.
            ModelCallError: the provider failed, more often than `max_failed_share`, or no vote could be scored. The
                object stays as it was, and answers are kept, so that another `fit` asks only for the rest.
        """
        return run_blocking(lambda: self.afit(data, val_data, others=others))

    async def afit(
        self,
        data: Votes,
        val_data: Votes | None = None,
        *,
        others: Mapping[str, Votes] | None = None,
    ) -> Self:
        """As `fit`, in the caller's event loop."""
        user, events = user_data(data, val_data, self._given_user, 1.0)
        people, more = other_users(others or {}, user)
        await self._learn(user, (*events, *more), others=people)
        return self

    def add(self, votes: Votes) -> Self:
        """Measure the taste again with more votes; only they are scored. A prior from other users stays.

        Raises NotFittedError, what `fit` raises, and DataError for votes that name another user, unless the object was
        made with `user_id`.
        """
        return run_blocking(lambda: self.aadd(votes))

    async def aadd(self, votes: Votes) -> Self:
        """As `add`, in the caller's event loop."""
        before = self.learned
        votes = as_rows(votes, "votes")
        usable_pairs(votes, "votes", before.votes.user_id)  # names a wrong row by its place in `votes`
        if self._given_user is None:
            refuse_other_users(votes, "votes", before.votes.user_id)
        user, events = user_data([*map(to_item, before.votes.pairs), *votes], None, before.votes.user_id, 1.0)
        # Of what was lost all is asked again; the store has the rest.
        known = None if before.scores.lost else before.scores
        await self._learn(user, events, known=known, prior=before.prior)
        return self

    async def _learn(
        self,
        user: UserData,
        events: tuple[str, ...],
        *,
        others: Sequence[UserData] = (),
        known: UserScores | None = None,
        prior: TastePrior | None = None,
    ) -> None:
        """Score the pairs that are not `known`, fit, and make the taste the object's own."""
        there = by_pair(known.pairs) if known else {}
        new = [pair for pair in user.pairs if pair.pair_id not in there]
        pairs = [*new, *(pair for one in others for pair in one.pairs)]
        found: list[Scored] = []
        with Progress(self.progress_update_hook) as progress:
            progress.stage(
                "scores", len(pairs) * self._measuring.calls_of_pair + (self._given["kinds"] == "model"), 0.0, 99.0
            )
            if pairs:
                async with self._opened(on_answer=progress.answered) as model:
                    found = await self._measuring.score(model, pairs)
                    kinds = await self._measuring.kinds(model, user)
                    lost = [number < one.lost for one in (*found, kinds) for number in range(one.asked)]
                    refuse_outage(lost, "calls", self.config.max_failed_share, model.outage)
            scores = self._measuring.scores_of(user, [*found[: len(new)], kinds] if pairs else [], known)
            prior = self._measuring.prior_of(others, found[len(new) :]) if others else prior
            self._take(self._measuring.measured(user, scores, prior, events))
            if self.output_dir is not None:
                self.save(self.output_dir)
            progress.report(100.0, "fitted")

    def _take(self, learned: Measured) -> None:
        self._learned, self.user_id = learned, learned.record.user_id
        if learned.taste.reason:
            logger.warning("user %s: %s", self.user_id, learned.taste.reason)

    async def _judged(
        self, model: TrackedModel, pairs: Sequence[PreferencePair], shown: JudgeContext
    ) -> tuple[Verdict, ...]:
        """One verdict for each pair. A pair of which a call was lost has none: an outage must change no verdict. Two
        equal answers are a tie without a call: what the model prefers for its position is all that it could say."""
        del shown
        asked = [pair for pair in pairs if pair.chosen != pair.rejected]
        scored = await self._measuring.score(model, asked, self.learned)
        found = dict(zip((pair.pair_id for pair in asked), scored, strict=True))
        kinds = {name: kind for one in scored if one.kinds for name, kind in one.kinds.names.items()}
        state = TasteState(self.learned.taste, {name: one.pairs for name, one in found.items()}, kinds)
        weighed, verdicts = iter(weigh(state, asked)), []
        for pair in pairs:
            verdict = Verdict(pair_id=pair.pair_id, swapped=None, outcome="tie", log_odds=0.0)
            if pair.chosen != pair.rejected:
                verdict = next(weighed)
                if found[pair.pair_id].lost:
                    verdict = verdict.model_copy(update={"outcome": "provider_error", "log_odds": None})
            verdicts.append(on_tie(verdict) if pair.tie else verdict)
        return tuple(verdicts)

    @property
    def _calls_of_pair(self) -> int:
        return self._measuring.calls_of_pair + int(self._given["kinds"] == "model")

    def _shown(self) -> JudgeContext:
        return JudgeContext(persona=self.learned.record.persona)

    def explain(self, context: Context, option1: Answer, option2: Answer) -> Rows[Reason]:
        """Which attributes speak for which answer, the strongest first. Their sum is the log-odds by the mean weights.
        None speaks for one of two equal answers.

        `predict_proba` is nearer to 0.5 than this sum, by how unsure the weights are. Raises as `predict_pairwise`.
        """
        return run_blocking(lambda: self.aexplain(context, option1, option2))

    async def aexplain(self, context: Context, option1: Answer, option2: Answer) -> Rows[Reason]:
        """As `explain`, in the caller's event loop."""
        taste = self.learned.taste
        pair = one_pair(context, option1, option2, self.user_id)
        if pair.chosen == pair.rejected:
            return Rows(())
        async with self._opened() as model:
            (found,) = await self._measuring.score(model, [pair], self.learned)
        if found.lost or not is_scored(found.pairs):
            why = "provider_error" if found.lost else why_unscored(found.pairs)
            raise model.failures.get(why) or ModelCallError(f"model {self.model_id}: no scores of this pair ({why})")
        kind = found.kinds.names.get(pair.pair_id) if found.kinds else None
        return reasons_of(taste, self.bank, rows_of(taste, [pair], {pair.pair_id: found.pairs})[0], kind)

    def weights(self) -> Rows[Weight]:
        """The weights that predictions are made with, the largest first; where they depend on the kind of question,
        those of each kind, too. Raises NotFittedError.

        They are the average of the user's own, by `learned.taste.own_probability`, and those of the other users or,
        with fewer than `LEAST_USERS`, of the model without a user; where that is not known (`fit`), the user's own.
        Weights of attributes that go together share what the votes say; `statements()` counts such votes for each.
        """
        return weights_of(self.learned.taste, self.bank)

    def statements(self) -> tuple[TasteStatement, ...]:
        """What is sure of the user, the strongest first, each with the votes behind it. Raises NotFittedError."""
        return self.learned.record.statements

    def get_persona(self) -> str | None:
        """The measured persona: the statements as a text; None where nothing is sure. Raises NotFittedError."""
        return self.learned.record.persona

    def get_generation_prompt(self) -> str:
        """A system prompt, with the measured persona, for a model that is to write for this user; it ends with the
        constitution unless that is "off". (`get_judge_prompt` shows the persona to a judge.) Raises NotFittedError."""
        return generation_prompt(self._shown(), constitution_of(self.config, guarded=True))

    def leave_one_out(self) -> LeaveOneOut:
        """How well the votes are predicted, each from other conversations, without calls. Raises NotFittedError."""
        taste = self.learned.taste
        assert taste.log_loss is not None, "of a taste from votes"
        assert taste.null_log_loss is not None, "of a taste from votes"
        return LeaveOneOut(taste.n_votes, taste.n_right, taste.log_loss, taste.null_log_loss, taste.own)

    def _to_save(self, **common: Any) -> SavedTaste:  # noqa: ANN401 - fields of Saved
        learned = self.learned
        return SavedTaste(
            **common,
            bank=self.bank.asked_sha,
            votes=learned.votes,
            scores=learned.scores,
            prior=learned.prior,
            taste=learned.record,
            events=learned.events,
        )

    def _take_saved(self, saved: SavedTaste) -> None:
        """Weights are of the scores of one model, prompt and bank. Raises DataError where these are others."""
        of_kinds = saved.settings.get("kinds", "none")
        differ = {
            f"other attributes than {self.bank.where} with this use": saved.bank != self.bank.asked_sha,
            f"model {saved.model_id!r}, not {self.model_id!r}": saved.model_id != self.model_id,
            f"kinds={of_kinds!r}, not {self._given['kinds']!r}": of_kinds != self._given["kinds"],
            "prompts of another version, or another kind of verdicts": saved.scores.prompts != self._measuring.prompts,
        }
        for what in (text for text, found in differ.items() if found):
            raise DataError(
                f"taste of user {saved.user!r}: was measured with {what}; use from_saved(path) with the same bank and "
                "model, or fit again"
            )
        if saved.taste.taste is None:
            raise DataError(f"taste of user {saved.user!r}: the file has no weights; fit and save again")
        self._take(Measured(saved.votes, saved.scores, saved.prior, saved.taste, saved.taste.taste, saved.events))
