"""What every judge of the library can do: predict a preference and be evaluated. `PersonalRM` is the published name."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from personalrm.app.library.calls import TrackedModel, run_blocking
from personalrm.app.library.data import Answer, Context, Votes, one_pair, usable_pairs
from personalrm.app.library.evaluation import Evaluation, evaluated
from personalrm.app.library.models import ADDRESS, DEFAULT_MODEL, MODEL, object_config, parameter_of
from personalrm.app.library.predictions import Predicting
from personalrm.core.errors import ConfigError, DataError
from personalrm.core.records import PreferencePair, Verdict
from personalrm.judge.constitution import Constitution
from personalrm.judge.judge import JudgeContext, fitted, under_constitution
from personalrm.judge.label_probe import Probed, forget_refused
from personalrm.judge.prompting import load_prompt
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.local.fetch import default_cache_dir
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import LanguageModel
from personalrm.methods.registry import parse_method
from personalrm.studies.runner import refuse_outage, told_of_cuts
from personalrm.studies.settings import judge_settings
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.stages.settings import constitution_of

logger = logging.getLogger("personalrm.app.library")
STORE_FILE = "responses.sqlite"


class PersonalRM(Predicting):
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

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model_id!r})"

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

    @property
    def _calls_of_pair(self) -> int:
        return self._method.asked.calls

    def _shown(self) -> JudgeContext:
        """What the judge is shown of the user. Raises NotFittedError where that must be learned first."""
        return JudgeContext()

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
        async with self._opened_for(pairs) as model:
            verdicts = await self._judged(model, pairs, shown)
        lost = (verdict.outcome == "provider_error" for verdict in verdicts)
        refuse_outage(lost, "verdicts", self.config.max_failed_share, model.outage)
        return evaluated(pairs, verdicts, self.config.seed, events)

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
            for line in told_of_cuts(self.config, MODEL, client, parameter_of):
                logger.warning("%s", line)


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
