"""What a judge says of answers: which of two is preferred, with which probability, and in which order several are."""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Literal, NamedTuple, NoReturn

from personalrm.app.library.calls import FAILED, TrackedModel, refuse_failed, run_blocking
from personalrm.app.library.data import Answer, Context, answers_of, one_pair
from personalrm.app.library.progress import Hook, Progress
from personalrm.app.library.readout import Rows
from personalrm.app.library.reward import Completion, comparisons, margins
from personalrm.core.errors import ConfigError, DataError
from personalrm.core.records import READABLE, Outcome, PreferencePair, Verdict
from personalrm.judge.judge import JudgeContext
from personalrm.methods.logistic import DIGITS

Preference = Literal[1, 0, -1]
logger = logging.getLogger("personalrm.app.library")


class Prediction(NamedTuple):
    """What a judge says of one of many pairs.

    Attributes:
        preference: as of `predict_pairwise`; None where a call failed.
        probability: as of `predict_proba`; None where a call failed, too.
        outcomes: what came of each verdict on the pair: `correct` is one for `option1`, `wrong` one for `option2`.
    """

    preference: Preference | None
    probability: float | None
    outcomes: tuple[Outcome, ...]


class Ranked(NamedTuple):
    """One of the answers of `rank`.

    Attributes:
        place: its place in the list that was given, from 0.
        score: by how much it is preferred to the others, in the mean; the scores of a list sum to 0.
        answer: as it was given.
    """

    place: int
    score: float
    answer: Answer


class Predicting:
    """A judge of pairs, as far as its predictions go. `PersonalRM` has the model, the user and the rest."""

    user_id: str | None
    progress_update_hook: Hook | None = None

    @property
    @abstractmethod
    def _calls_of_pair(self) -> int:
        """Number of calls that the verdicts on one pair take at most."""

    @abstractmethod
    def _shown(self) -> JudgeContext:
        """What the judge is shown of the user. Raises NotFittedError where that must be learned first."""

    @abstractmethod
    def _opened(
        self, workers: int | None = None, on_answer: Callable[[], None] | None = None
    ) -> AbstractAsyncContextManager[TrackedModel]:
        """The object's model, with at most `workers` concurrent calls."""

    @abstractmethod
    async def _judged(
        self, model: TrackedModel, pairs: Sequence[PreferencePair], shown: JudgeContext
    ) -> tuple[Verdict, ...]:
        """Verdicts on pairs, one or two for each."""

    @asynccontextmanager
    async def _opened_for(self, pairs: Sequence[PreferencePair]) -> AsyncIterator[TrackedModel]:
        """The object's model, to judge many pairs; progress is shown until they are judged."""
        with Progress(self.progress_update_hook) as progress:
            progress.stage("judgments", len(pairs) * self._calls_of_pair, 0.0, 99.0)
            async with self._opened(on_answer=progress.answered) as model:
                yield model
            progress.report(100.0, "judged")

    def predict(self, context: Context, completion: Answer) -> NoReturn:
        """Not available, as in the published package: a judge of pairs has no score for one answer."""
        raise NotImplementedError("this judge compares two answers: use predict_pairwise(context, option1, option2)")

    def predict_pairwise(self, context: Context, option1: Answer, option2: Answer) -> Preference:
        """Which answer the user would prefer: 1 for `option1`, -1 for `option2`, 0 for neither.

        Both orders are judged, and count alike, so that exchanging the options exchanges the answer (published: one
        order). 0 stands for a tie, for two orders that contradict each other, and for an answer that states no
        verdict.

        Args:
            context: the conversation: a string, or a list of turns {role, content}.
            option1: an answer: a string, or a dict {role, content}.
            option2: the other answer.

        Raises:
            NotFittedError: before `fit` or `load`.
            DataError: a context or an option is no conversation or answer.
            ModelCallError: the model gave no answer; its subclasses say why.

        Example:
            ``rm.predict_pairwise("What shall we do?", "Go for a hike.", "Watch a series.")``
        """
        return run_blocking(lambda: self.apredict_pairwise(context, option1, option2))

    async def apredict_pairwise(self, context: Context, option1: Answer, option2: Answer) -> Preference:
        """As `predict_pairwise`, in the caller's event loop."""
        return _preference(await self._compared(context, option1, option2))

    async def _compared(self, context: Context, option1: Answer, option2: Answer) -> tuple[Verdict, ...]:
        """Verdicts on two answers. Raises ModelCallError where the model gave none."""
        shown = self._shown()
        pair = one_pair(context, option1, option2, self.user_id)
        async with self._opened() as model:
            verdicts = await self._judged(model, [pair], shown)
        for verdict in verdicts:
            refuse_failed(model, verdict.outcome)
        return verdicts

    def predict_proba(
        self, context: Context, option1: Answer, option2: Answer, *, abstain: float = 0.5
    ) -> float | None:
        """The probability that the user prefers `option1` to `option2`.

        Where the judge gives log-odds, it is their logistic function, of the mean over both orders: of `TasteModel` the
        posterior predictive probability, of others where verdicts are read from log-probabilities. A verdict in words
        has no probability: then it is 1 or 0 for an answer that `predict_pairwise` prefers, and 0.5 for neither.
        Exchanging the options gives 1 minus the probability.

        Args:
            context: the conversation.
            option1: the answer whose probability is returned.
            option2: the other answer.
            abstain: from 0.5 to 1; the result is None where the likelier answer has a lower probability.

        Returns:
            The probability, or None: below `abstain`, and where no verdict could be read from the model's answers.

        Raises:
            ConfigError: `abstain` is no number from 0.5 to 1.
            NotFittedError, DataError, ModelCallError: as `predict_pairwise`.

        Example:
            ``rm.predict_proba("What shall we do?", "Go for a hike.", "Watch a series.", abstain=0.7)``
        """
        return run_blocking(lambda: self.apredict_proba(context, option1, option2, abstain=abstain))

    async def apredict_proba(
        self, context: Context, option1: Answer, option2: Answer, *, abstain: float = 0.5
    ) -> float | None:
        """As `predict_proba`, in the caller's event loop."""
        _check(abstain)
        return _probability(await self._compared(context, option1, option2), abstain)

    def predict_many(self, pairs: Iterable[tuple[Context, Answer, Answer]]) -> Rows[Prediction]:
        """Predictions for many pairs, judged concurrently (`num_workers`), in their order.

        A call that fails loses the prediction of its pair alone. Equal pairs are judged once.

        Args:
            pairs: triples (context, option1, option2).

        Returns:
            One `Prediction` for each pair; `.to_frame()` makes a data frame of them.

        Raises:
            NotFittedError: before `fit` or `load`.
            DataError: a pair cannot be read; it is named by its place, and nothing is asked.
            PermanentError: no call of this model can succeed, as with a wrong key or address.

        Example:
            ``rm.predict_many([("Which?", "Tea.", "Coffee."), ("When?", "Now.", "Later.")]).to_frame()``
        """
        return run_blocking(lambda: self.apredict_many(pairs))

    async def apredict_many(self, pairs: Iterable[tuple[Context, Answer, Answer]]) -> Rows[Prediction]:
        """As `predict_many`, in the caller's event loop."""
        shown = self._shown()
        if not isinstance(pairs, Iterable):
            raise DataError("pairs: is no list; give a list of triples (context, option1, option2)")
        asked = [_pair_at(place, row, self.user_id) for place, row in enumerate(pairs)]
        verdicts: dict[str, list[Verdict]] = {pair.pair_id: [] for pair in asked}
        if asked:
            distinct = list({pair.pair_id: pair for pair in asked}.values())
            async with self._opened_for(distinct) as model:
                for verdict in await self._judged(model, distinct, shown):
                    verdicts[verdict.pair_id].append(verdict)
        return Rows(_prediction(verdicts[pair.pair_id]) for pair in asked)

    def rank(self, context: Context, answers: Iterable[Answer]) -> Rows[Ranked]:
        """Answers to one conversation, the preferred one first, with their scores.

        Each answer is compared with each other one: n answers take n (n - 1) / 2 comparisons, of which each asks the
        model in both orders. Scores are those of `reward`: log-odds where the judge gives them, else the share of
        comparisons that are won minus the share that are lost. Of equal scores the answer that was given first is
        first.

        Args:
            context: the conversation.
            answers: answers to it; one alone has the score 0.

        Returns:
            One `Ranked` for each answer; `.to_frame()` makes a data frame of them.

        Raises:
            NotFittedError: before `fit` or `load`.
            DataError: the context or an answer cannot be read.
            ModelCallError: the provider failed. Answers so far are kept.

        Example:
            ``best = rm.rank("What shall we do?", ["Hike.", "Read.", "Cook."])[0].answer``
        """
        return run_blocking(lambda: self.arank(context, answers))

    async def arank(self, context: Context, answers: Iterable[Answer]) -> Rows[Ranked]:
        """As `rank`, in the caller's event loop."""
        answers = answers_of(answers)
        if len(answers) == 1:
            self._shown()
            one_pair(context, answers[0], answers[0], self.user_id)
            scores = [0.0]
        else:
            scores = await self.areward([context] * len(answers), answers)
        ranked = (Ranked(place, score, answers[place]) for place, score in enumerate(scores))
        return Rows(sorted(ranked, key=lambda one: (-one.score, one.place)))

    def reward(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Completion],
        reference: Sequence[Completion] | None = None,
        **columns: Any,  # noqa: ANN401  (of the training data)
    ) -> list[float]:
        """Rewards of completions, in the form of TRL's trainers: `GRPOTrainer(reward_funcs=judge.reward, …)`.

        A judge of pairs has no score for one answer alone. The reward of a completion is by how much it is preferred to
        the answer in the column `reference`; without that, to the other completions of the same prompt, in the mean, so
        that the rewards of each prompt sum to 0. n completions take n (n - 1) / 2 comparisons. Log-odds are the unit
        where the judge gives them, else 1 is a verdict for the completion in both orders, and -1 one against it.
        What a judge cannot say of a comparison counts as 0. `columns` are ignored.

        Raises:
            NotFittedError: before `fit` or `load`.
            DataError: a prompt or completion cannot be read, or a completion has none to be compared with, which
                happens where a process holds less than the `num_generations` completions of a prompt.
            ModelCallError: the provider failed: an outage is no reward. Answers so far are kept.
        """
        return run_blocking(lambda: self.areward(prompts, completions, reference, **columns))

    async def areward(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Completion],
        reference: Sequence[Completion] | None = None,
        **columns: Any,  # noqa: ANN401  (of the training data)
    ) -> list[float]:
        """As `reward`, in the caller's event loop."""
        del columns
        shown = self._shown()
        compared = comparisons(prompts, completions, reference, self.user_id or "user")
        if not compared.pairs:
            return compared.rewards({})
        async with self._opened() as model:
            verdicts = await self._judged(model, compared.pairs, shown)
        for verdict in verdicts:
            if verdict.outcome == "provider_error":
                refuse_failed(model, verdict.outcome)
        if unknown := sum(verdict.outcome not in READABLE for verdict in verdicts):
            logger.warning("reward: %d of %d verdicts could not be had, and count as 0", unknown, len(verdicts))
        return compared.rewards(margins(verdicts))


def _check(abstain: float) -> None:
    if not isinstance(abstain, int | float) or not 0.5 <= abstain <= 1:
        raise ConfigError(f"abstain: must be a probability from 0.5 to 1, not {abstain!r}")


def _pair_at(place: int, row: tuple[Context, Answer, Answer], user_id: str | None) -> PreferencePair:
    """The pair of a triple. Raises DataError that names its place."""
    if isinstance(row, str | Mapping) or not isinstance(row, Sequence) or len(row) != 3:
        raise DataError(f"pairs[{place}]: is no triple; give (context, option1, option2)")
    try:
        return one_pair(*row, user_id)
    except DataError as error:
        raise DataError(str(error).replace("predict_pairwise", f"pairs[{place}]", 1)) from error


def _preference(verdicts: Sequence[Verdict]) -> Preference:
    """Which answer the verdicts on one pair prefer; both orders count alike."""
    outcomes = [verdict.outcome for verdict in verdicts]
    points = outcomes.count("correct") - outcomes.count("wrong")
    return 0 if points == 0 else 1 if points > 0 else -1


def _probability(verdicts: Sequence[Verdict], abstain: float = 0.5) -> float | None:
    """The probability of the first answer; None where it is below `abstain`, and without a readable verdict."""
    odds = [verdict.log_odds for verdict in verdicts if verdict.log_odds is not None]
    if odds:
        probability = round((1 + math.tanh(sum(odds) / len(odds) / 2)) / 2, DIGITS)
    elif any(verdict.outcome in READABLE for verdict in verdicts):
        probability = (1 + _preference(verdicts)) / 2
    else:
        return None
    return None if max(probability, 1 - probability) < abstain else probability


def _prediction(verdicts: Sequence[Verdict]) -> Prediction:
    outcomes = tuple(verdict.outcome for verdict in verdicts)
    if not outcomes or any(outcome in FAILED for outcome in outcomes):
        return Prediction(None, None, outcomes)
    return Prediction(_preference(verdicts), _probability(verdicts), outcomes)
