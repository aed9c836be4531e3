"""What every judge of the library can do: predict a preference and be evaluated. `PersonalRM` is the published name."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NoReturn, Self, TypeVar

from anyio.from_thread import start_blocking_portal

from personalrm.app.library.data import Answer, Context, Votes, one_pair, usable_pairs
from personalrm.app.library.evaluation import Evaluation, evaluated
from personalrm.app.library.models import ADDRESS, DEFAULT_MODEL, MODEL, in_parameters, object_config
from personalrm.app.library.reward import Completion, comparisons, margins
from personalrm.core.errors import ConfigError, DataError, ModelCallError, Refused
from personalrm.core.records import READABLE, Outcome, PreferencePair, Verdict
from personalrm.judge.constitution import Constitution
from personalrm.judge.judge import JudgeContext, failure_outcome, fitted, under_constitution
from personalrm.judge.label_probe import Probed, forget_refused
from personalrm.judge.prompting import load_prompt
from personalrm.llm.cache.key import request_key
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.local.fetch import default_cache_dir
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.thinking import without_thinking
from personalrm.llm.types import LanguageModel, ModelSpec, Request, Response
from personalrm.methods.registry import parse_method
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.stages.runner import refuse_outage
from personalrm.studies.synthesizeme.stages.settings import constitution_of, judge_settings

Preference = Literal[1, 0, -1]
logger = logging.getLogger("personalrm.app.library")
STORE_FILE = "responses.sqlite"
T = TypeVar("T")


def run_blocking(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run the coroutine that `make` returns to its end, and return its result or raise its error.

    Where this thread already runs an event loop, as in a notebook, the coroutine runs in a thread of its own. An
    interruption (Ctrl-C, a notebook's stop button) cancels the coroutine and waits for its clean-up.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(make())
    with start_blocking_portal() as portal:
        result: T = portal.call(make)
        return result


class TrackedModel:
    """A language model that remembers the last error of each outcome (`failures`): verdicts keep only its kind.

    `on_answer` is called after each answer. A user's own model (`at_once` given) has no store behind it: its answers
    are kept here, so that no request is sent twice.
    """

    def __init__(self, model: LanguageModel, on_answer: Callable[[], None] | None, at_once: int | None = None) -> None:
        self.failures: dict[Outcome, ModelCallError] = {}
        self._model = model
        self._on_answer = on_answer or (lambda: None)
        self._places = asyncio.Semaphore(at_once) if at_once else None
        self._answers: dict[Request, Response] = {}

    @property
    def spec(self) -> ModelSpec:
        """Which model it is."""
        return self._model.spec

    @property
    def outage(self) -> str | None:
        """Message of the last provider error."""
        return str(self.failures["provider_error"]) if "provider_error" in self.failures else None

    async def complete(self, request: Request) -> Response:
        """Complete; an answer without a key, as a user's own model may give it, gets the key of the request."""
        try:
            response = await self._complete(request)
        except ModelCallError as error:
            error.args = (in_parameters(str(error), self.spec.name),)
            # Raises a permanent error again.
            self.failures[failure_outcome(error)] = error
            raise
        self._on_answer()
        response = without_thinking(response)
        return response if response.key else replace(response, key=request_key(self.spec.identity, request))

    async def _complete(self, request: Request) -> Response:
        if self._places is None:
            return await self._model.complete(request)
        async with self._places:
            if request not in self._answers:
                self._answers[request] = await self._model.complete(request)
            return self._answers[request]


class PersonalRM:
    """A judge of pairs, of one model. Objects share nothing: any number of them, of any models, can be used together.

    The synchronous methods also work where an event loop runs (a notebook); the asynchronous ones (`a…`) run in the
    caller's loop. Between calls nothing is open but the store of answers, which ends with the object, or lies in
    `output_dir`: no call is paid for twice.

    Attributes:
        model_id: the model, as it was named; of an `lm` its own name.
        config: the object's config, in the sections of a run's config.
        user_id: the user, once known.
    """

    def __init__(
        self,
        config: Config,
        model_id: str,
        lm: LanguageModel | None,
        output_dir: Path | str | None,
        user_id: str | None = None,
    ) -> None:
        if lm is not None and not (hasattr(lm, "spec") and asyncio.iscoroutinefunction(getattr(lm, "complete", None))):
            raise ConfigError(
                f"lm: {type(lm).__name__} is no personalrm.llm.types.LanguageModel ('spec', 'async complete(request)');"
                " give model_id and model_url instead"
            )
        self.config = config
        self.model_id = model_id if lm is None else lm.spec.name
        self.lm = lm
        # Rows may have numbers as ids, which become strings.
        self._given_user = None if user_id is None or user_id == "" else str(user_id)
        self.user_id = self._given_user
        self.output_dir = None if output_dir is None else Path(output_dir)
        entry = config.models[MODEL]
        self._method = parse_method(config.methods[0]).method
        self._judging = judge_settings(entry, entry.verdicts[0], constitution_of(config, guarded=self._method.guarded))
        self._stores: list[ResponseStore] = []
        self._guard = threading.Lock()
        self._finalizer = weakref.finalize(self, _close_all, self._stores)

    def fit(self, data: Votes, val_data: Votes | None = None) -> Self:
        """Learn from a user's preferences. A judge that learns nothing returns itself, as published."""
        del data, val_data
        return self

    def save(self, path: Path | str | None = None) -> Path | None:
        """Write what was learned, if anything, to a file; returns the file."""
        del path
        return None

    def load(self, path: Path | str | None = None) -> Self:
        """Take over what another object learned and saved."""
        del path
        return self

    def _shown(self) -> JudgeContext:
        """What the judge is shown of the user. Raises NotFittedError where that must be learned first."""
        return JudgeContext()

    def predict(self, context: Context, completion: Answer) -> NoReturn:
        """Not available, as in the published package: a judge of pairs has no score for one answer."""
        raise NotImplementedError("this judge compares two answers: use predict_pairwise(context, option1, option2)")

    def predict_pairwise(self, context: Context, option1: Answer, option2: Answer) -> Preference:
        """Which answer the user would prefer: 1 for `option1`, -1 for `option2`, 0 for neither.

        Both orders are judged, and count alike, so that exchanging the options exchanges the answer (published: one
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
        outcomes = [verdict.outcome for verdict in await self._compared(context, option1, option2)]
        points = outcomes.count("correct") - outcomes.count("wrong")
        return 0 if points == 0 else 1 if points > 0 else -1

    async def _compared(self, context: Context, option1: Answer, option2: Answer) -> tuple[Verdict, ...]:
        """Verdicts on two answers. Raises ModelCallError where the model gave none."""
        shown = self._shown()
        pair = one_pair(context, option1, option2, self.user_id)
        async with self._opened() as model:
            verdicts = await self._judged(model, [pair], shown)
        for verdict in verdicts:
            _refuse_failed(model, verdict.outcome)
        return verdicts

    def evaluate(self, test_data: Votes) -> Evaluation:
        """Accuracy on pairs whose choice is known, each judged in both orders; see `Evaluation`.

        Raises what `predict_pairwise` raises; ModelCallError only where more than `max_failed_share` of the verdicts
        failed at the provider (fewer are counted as such). Answers so far are kept: try again later.
        """
        return run_blocking(lambda: self.aevaluate(test_data))

    async def aevaluate(self, test_data: Votes) -> Evaluation:
        """As `evaluate`, in the caller's event loop."""
        shown = self._shown()
        pairs, events = usable_pairs(test_data, "test_data", ties=True)
        if not pairs:
            raise DataError("test_data: holds no pair with two different answers; give at least one")
        async with self._opened() as model:
            verdicts = await self._judged(model, pairs, shown)
        lost = (verdict.outcome == "provider_error" for verdict in verdicts)
        refuse_outage(lost, "verdicts", self.config.max_failed_share, model.outage)
        return evaluated(pairs, verdicts, self.config.seed, events)

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
                _refuse_failed(model, verdict.outcome)
        if unknown := sum(verdict.outcome not in READABLE for verdict in verdicts):
            logger.warning("reward: %d of %d verdicts could not be had, and count as 0", unknown, len(verdicts))
        return compared.rewards(margins(verdicts))

    def get_judge_prompt(
        self,
        context: Context = "<conversation>",
        option1: Answer = "<first response>",
        option2: Answer = "<second response>",
    ) -> str:
        """The prompt of one judgement as text, message by message; without arguments, marks stand for the pair."""
        messages = self.get_judge_messages(context, option1, option2)
        return "\n\n".join(f"[{message['role']}]\n{message['content']}" for message in messages)

    get_llm_judge_prompt = get_judge_prompt
    """The published name."""

    def get_judge_messages(
        self,
        context: Context = "<conversation>",
        option1: Answer = "<first response>",
        option2: Answer = "<second response>",
    ) -> list[dict[str, str]]:
        """The messages of one judgement, with `option1` first, as chat models take them; of the method `criteria` those
        of its first call, which sees the conversation alone."""
        pair = one_pair(context, option1, option2, self.user_id)
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
        """The object's model, with at most `workers` concurrent calls (default: `num_workers`). It is closed at the
        end, so that an object can be used from one event loop after another.

        Labels are probed before they are read (`label_probe`); an `lm` has no store to keep the probe's answer.
        """
        entry = self.config.models[MODEL]
        at_once = workers or entry.max_concurrency
        if self.lm is not None:
            yield TrackedModel(self.lm, on_answer, at_once)
            return
        spec = replace(entry.spec(self.model_id), max_concurrency=at_once)
        with self._guard:
            if not self._stores:
                path = ":memory:" if self.output_dir is None else self.output_dir / STORE_FILE
                self._stores.append(ResponseStore(path, run="library"))
            store = self._stores[0]
        forget_refused(store, spec, self._judging.style)
        # Embedded models' servers end with this process; the workflow's variables may say where they are.
        folder = Path(os.environ.get("PERSONALRM_RUNTIME") or default_cache_dir() / "servers")
        runtime = RuntimeSettings(folder, cores=int(os.environ.get("PERSONALRM_CORES", os.cpu_count() or 1)))
        async with open_model(spec, store=store, runtime=runtime, eager=True, address=ADDRESS) as client:
            yield TrackedModel(Probed(client, self._judging.style), on_answer)


def _refuse_failed(model: TrackedModel, outcome: Outcome) -> None:
    """Raise where a call failed, so that there is no verdict: what the model raised, if it is known."""
    if outcome in ("provider_error", "context_overflow", "refused"):
        kind = Refused if outcome == "refused" else ModelCallError
        said = f"model {model.spec.name}: no verdict on this pair ({outcome}); another model may give one"
        raise model.failures.get(outcome) or kind(said)


def generation_prompt(shown: JudgeContext, constitution: Constitution | None) -> str:
    """A system prompt for a model that is to write for the user of whom this is shown."""
    known = {"persona": shown.persona, "demonstrations": tuple(shown.demonstrations)}
    return under_constitution(load_prompt("generation").render("system", **known), shown, constitution)


def _close_all(stores: list[ResponseStore]) -> None:
    while stores:
        stores.pop().close()


class DefaultJudge(PersonalRM):
    """The workflow's method `default`: the judge that knows nothing of the user, which personalisation has to beat.

    There is nothing to fit, save or load; as published, the methods are there. The parameters are those of
    `SynthesizeMe` that have a meaning without a user. Raises ConfigError for settings that no call could be made with.
    """

    def __init__(
        self,
        model_id: str = DEFAULT_MODEL,
        model_url: str | None = None,
        seed: int = 42,
        lm: LanguageModel | None = None,
        num_workers: int = 8,
        *,
        output_dir: Path | str | None = None,
        model_options: Mapping[str, Any] | None = None,
        max_failed_share: float = 0.01,
    ) -> None:
        sections: dict[str, Any] = {"seed": seed, "max_failed_share": max_failed_share}
        config = object_config(model_id, model_url, num_workers, model_options, "default", **sections)
        super().__init__(config, model_id, lm, output_dir)
