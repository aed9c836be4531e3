"""What every judge of the library can do: predict a preference and be evaluated. `PersonalRM` is the published name."""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal, NoReturn, Self

from personalrm.app.library.asking import TrackedModel, check_lm
from personalrm.app.library.data import Answer, Context, Item, one_pair, usable_pairs
from personalrm.app.library.evaluation import Evaluation, evaluated
from personalrm.app.library.loop import run_blocking
from personalrm.app.library.object_config import MODEL
from personalrm.core.errors import DataError, ModelCallError, Refused
from personalrm.core.records import PreferencePair, Verdict
from personalrm.judge.judge import JudgeContext, fitted
from personalrm.judge.label_probe import Probed, forget_refused
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.local.fetch import default_cache_dir
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import LanguageModel
from personalrm.methods.registry import parse_method
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.stages.runner import refuse_outage
from personalrm.studies.synthesizeme.stages.settings import judge_settings

Preference = Literal[1, 0, -1]
STORE_FILE = "responses.sqlite"


class PersonalRM(ABC):
    """A judge of pairs, of one model. Objects share nothing: any number of them, of any models, live side by side.

    Sync methods may be called anywhere, also where an event loop runs (a notebook); the async ones (`a…`) run in the
    caller's loop. Between calls nothing is open but the store of answers, which ends with the object, or lies in
    `output_dir`: what was asked once is not paid for again.

    Attributes:
        model_id: the model, as it was named; of an `lm` the name that it has.
        config: the object's config, in the sections of a run's config.
        user_id: the user, once known.
    """

    def __init__(self, config: Config, model_id: str, lm: LanguageModel | None, output_dir: Path | str | None) -> None:
        check_lm(lm)
        self.config = config
        self.model_id = model_id if lm is None else lm.spec.name
        self.lm = lm
        self.user_id: str | None = None
        self.output_dir = None if output_dir is None else Path(output_dir)
        entry = config.models[MODEL]
        self._method = parse_method(config.methods[0]).method
        self._judging = judge_settings(entry, entry.verdicts[0])
        self._stores: list[ResponseStore] = []
        self._guard = threading.Lock()
        self._finalizer = weakref.finalize(self, _close_all, self._stores)

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
        """Not available, as in the published package: a judge of pairs has no score for one answer."""
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
        async with self._opened() as model:
            verdicts = await self._judged(model, [pair], shown)
        for verdict in verdicts:
            _refuse_failure(verdict, model)
        points = sum({"correct": 1, "wrong": -1}.get(verdict.outcome, 0) for verdict in verdicts)
        return 0 if points == 0 else 1 if points > 0 else -1

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
        async with self._opened() as model:
            verdicts = await self._judged(model, pairs, shown)
        lost = (verdict.outcome == "provider_error" for verdict in verdicts)
        refuse_outage(lost, "verdicts", self.config.max_failed_share, model.reason())
        return evaluated(pairs, verdicts, self.config.seed, events)

    def get_judge_prompt(
        self, context: Context | None = None, option1: Answer | None = None, option2: Answer | None = None
    ) -> str:
        """The prompt of one judgement as text, message by message; without arguments, marks stand for the pair."""
        messages = self.get_judge_messages(context, option1, option2)
        return "\n\n".join(f"[{message['role']}]\n{message['content']}" for message in messages)

    get_llm_judge_prompt = get_judge_prompt
    """The published name."""

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
        messages = self._method.asked.messages(pair, False, self._shown(), self._judging)
        return [{"role": message.role, "content": message.content} for message in messages]

    def close(self) -> None:
        """Close the store of answers; one in memory is gone then. Safe to call twice, and the object stays usable."""
        _close_all(self._stores)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _judged(
        self, model: TrackedModel, pairs: Sequence[PreferencePair], shown: JudgeContext
    ) -> tuple[Verdict, ...]:
        judge = self._method.asked
        fitting = fitted(shown, pairs, self._judging, model.spec, judge.messages)
        return await judge.pairs(model, pairs, fitting, self._judging)

    @asynccontextmanager
    async def _opened(
        self, workers: int | None = None, on_answer: Callable[[], None] | None = None
    ) -> AsyncIterator[TrackedModel]:
        """The object's model, with `workers` calls at once (default: `num_workers`), closed at the end: an object may
        be used from one event loop after another.

        Labels are probed before they are read (`label_probe`); an `lm` has no store that would keep the probe's answer.
        """
        at_once = workers or self.config.models[MODEL].max_concurrency
        if self.lm is not None:
            yield TrackedModel(self.lm, on_answer, at_once)
            return
        store, style = self._store(), self._judging.style
        spec = replace(self.config.models[MODEL].spec(self.model_id), max_concurrency=at_once)
        forget_refused(store, spec, style)
        # Embedded models' servers end with this process; the workflow's variables may say where they are.
        folder = Path(os.environ.get("PERSONALRM_RUNTIME") or default_cache_dir() / "servers")
        runtime = RuntimeSettings(folder, cores=int(os.environ.get("PERSONALRM_CORES", os.cpu_count() or 1)))
        async with open_model(spec, store=store, runtime=runtime, eager=True) as client:
            yield TrackedModel(Probed(client, style), on_answer)

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
    """Raise the error behind a verdict that the model did not give."""
    if verdict.outcome not in ("provider_error", "context_overflow", "refused"):
        return
    if error := model.failures.get(verdict.outcome):
        raise error
    if verdict.outcome == "refused":
        raise Refused(f"model {model.spec.name}: refused to judge this pair; another model may not")
    raise ModelCallError(verdict.outcome)
