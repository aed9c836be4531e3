"""What every judge of the library can do: predict a preference and be evaluated. `PersonalRM` is the published name."""

from __future__ import annotations

import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Literal, NoReturn, Self

from personalrm.app.library.asking import TrackedModel, check_lm, opened
from personalrm.app.library.data import Answer, Context, Item, one_pair, usable_pairs
from personalrm.app.library.evaluation import Evaluation, evaluated
from personalrm.app.library.loop import run_blocking
from personalrm.app.library.settings import Settings
from personalrm.core.errors import DataError, ModelCallError, PersonalRMError, Refused
from personalrm.core.records import PreferencePair, Verdict
from personalrm.judge.judge import Judge, JudgeContext, fitted
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.types import LanguageModel
from personalrm.methods.registry import parse_method
from personalrm.studies.synthesizeme.stages.runner import refuse_outage

Preference = Literal[1, 0, -1]
STORE_FILE = "responses.sqlite"


class PersonalRM(ABC):
    """A judge of pairs, of one model. Objects share nothing: any number of them, of any models, live side by side.

    Sync methods may be called anywhere, also where an event loop runs (a notebook); the async ones (`a…`) run in the
    caller's loop. Between calls nothing is open but the store of answers, which ends with the object, or lies in
    `output_dir`: what was asked once is not paid for again.
    """

    def __init__(self, settings: Settings, lm: LanguageModel | None, output_dir: Path | str | None) -> None:
        check_lm(lm)
        self.settings = settings
        self.lm = lm
        self.user_id: str | None = None
        self.output_dir = None if output_dir is None else Path(output_dir)
        self._stores: list[ResponseStore] = []
        self._guard = threading.Lock()
        self._finalizer = weakref.finalize(self, _close_all, self._stores)

    @property
    def model_id(self) -> str:
        """The model, as it was named; of an `lm` the name that it has."""
        return self.lm.spec.name if self.lm is not None else self.settings.model_id

    @abstractmethod
    def fit(self, data: Sequence[Item], val_data: Sequence[Item] | None = None) -> Self:
        """Learn from a user's preferences."""

    @abstractmethod
    def save(self, path: Path | str | None = None) -> Path | None:
        """Write what was learned to a file."""

    @abstractmethod
    def load(self, path: Path | str | None = None) -> Self:
        """Take over what another object learned and saved."""

    @abstractmethod
    def _shown(self) -> JudgeContext:
        """What the judge is told about the user. Raises NotFittedError before `fit` or `load`."""

    def predict(self, context: Context, completion: Answer) -> NoReturn:
        """Not there, as in the published package: a judge of pairs has no score for one answer."""
        raise NotImplementedError("this judge compares two answers: use predict_pairwise(context, option1, option2)")

    def predict_pairwise(self, context: Context, option1: Answer, option2: Answer) -> Preference:
        """Which answer the user would prefer: 1 for `option1`, -1 for `option2`, 0 for neither.

        Both orders are asked, and count alike, so that exchanging the options exchanges the answer (published: one
        order). 0 stands for a tie, for two orders that contradict each other, and for an answer that states no
        verdict. Contexts and options may be dicts or strings.

        Raises:
            NotFittedError: before `fit` or `load`.
            DataError: a context or an option is no conversation or answer.
            ModelCallError: the model gave no answer; its subclasses say why.
        """
        return run_blocking(lambda: self.apredict_pairwise(context, option1, option2))

    async def apredict_pairwise(self, context: Context, option1: Answer, option2: Answer) -> Preference:
        """As `predict_pairwise`, in the caller's event loop."""
        shown = self._shown()
        pair = one_pair(context, option1, option2, self.user_id)
        async with self._opened(self.settings.num_workers) as model:
            verdicts = await self._judged(model, [pair], shown)
        for verdict in verdicts:
            _refuse_failure(verdict, model)
        return _preference(verdicts)

    def evaluate(self, test_data: Sequence[Item]) -> Evaluation:
        """Accuracy on pairs whose choice is known, each judged in both orders; see `Evaluation`.

        Raises what `predict_pairwise` raises; ModelCallError only where more than `max_failed_share` of the verdicts
        failed at the provider (fewer are counted as such). Answers so far are kept: try again later.
        """
        return run_blocking(lambda: self.aevaluate(test_data))

    async def aevaluate(self, test_data: Sequence[Item]) -> Evaluation:
        """As `evaluate`, in the caller's event loop."""
        shown = self._shown()
        pairs, events = usable_pairs(test_data, "test_data", ties=True)
        if not pairs:
            raise DataError("test_data: holds no pair with two different answers; give at least one")
        async with self._opened(self.settings.num_workers) as model:
            verdicts = await self._judged(model, pairs, shown)
        lost = (verdict.outcome == "provider_error" for verdict in verdicts)
        reason = model.failures.get("provider_error")
        refuse_outage(lost, "verdicts", self.settings.max_failed_share, str(reason) if reason else None)
        return evaluated(pairs, verdicts, self.settings.seed, events)

    def get_judge_prompt(
        self, context: Context | None = None, option1: Answer | None = None, option2: Answer | None = None
    ) -> str:
        """The prompt of one judgement as text, message by message; without arguments, marks stand for the pair."""
        messages = self.get_judge_messages(context, option1, option2)
        return "\n\n".join(f"[{message['role']}]\n{message['content']}" for message in messages)

    def get_llm_judge_prompt(
        self, context: Context | None = None, option1: Answer | None = None, option2: Answer | None = None
    ) -> str:
        """The published name of `get_judge_prompt`."""
        return self.get_judge_prompt(context, option1, option2)

    def get_judge_messages(
        self, context: Context | None = None, option1: Answer | None = None, option2: Answer | None = None
    ) -> list[dict[str, str]]:
        """The messages of one judgement, with `option1` first, as chat models take them; of the method `criteria` those
        of its first call, which sees the conversation alone."""
        pair = one_pair(
            "<conversation>" if context is None else context,
            "<first response>" if option1 is None else option1,
            "<second response>" if option2 is None else option2,
            self.user_id,
        )
        messages = self._judge.messages(pair, False, self._shown(), self.settings.judge)
        return [{"role": message.role, "content": message.content} for message in messages]

    def close(self) -> None:
        """Close the store of answers; one in memory is gone then. Safe to call twice, and the object stays usable."""
        _close_all(self._stores)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _judge(self) -> Judge:
        return parse_method(self.settings.method).method.asked

    async def _judged(
        self, model: TrackedModel, pairs: Sequence[PreferencePair], shown: JudgeContext
    ) -> tuple[Verdict, ...]:
        settings, judge = self.settings.judge, self._judge
        fitting = fitted(shown, pairs, settings, model.spec, judge.messages)
        return await judge.pairs(model, pairs, fitting, settings)

    def _opened(
        self, workers: int, on_answer: Callable[[], None] | None = None
    ) -> AbstractAsyncContextManager[TrackedModel]:
        style = self.settings.judge.style
        return opened(self.lm, lambda: self.settings.spec(workers), self._store, workers, style, on_answer)

    def _store(self) -> ResponseStore:
        """The object's store, opened at the first call."""
        with self._guard:
            if not self._stores:
                path: Path | str = ":memory:" if self.output_dir is None else self.output_dir / STORE_FILE
                self._stores.append(ResponseStore(path, run="library"))
            return self._stores[0]


def _close_all(stores: list[ResponseStore]) -> None:
    while stores:
        stores.pop().close()


def _refuse_failure(verdict: Verdict, model: TrackedModel) -> None:
    """Raise the error behind a verdict that was not had."""
    if verdict.outcome not in ("provider_error", "context_overflow", "refused"):
        return
    error: PersonalRMError = model.failures.get(verdict.outcome) or ModelCallError(verdict.outcome)
    if verdict.outcome == "refused" and verdict.outcome not in model.failures:
        error = Refused(f"model {model.spec.name}: refused to judge this pair; another model may not")
    raise error


def _preference(verdicts: Sequence[Verdict]) -> Preference:
    """One answer from one or two verdicts on a pair whose chosen answer is `option1`."""
    points = sum({"correct": 1, "wrong": -1}.get(verdict.outcome, 0) for verdict in verdicts)
    return 0 if points == 0 else 1 if points > 0 else -1
