"""The stages of a run one after the other in this process: the workflow's own functions, with models that are scripted
behind the real port and store. A run of hundreds of users takes a minute so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personalrm.llm.backends.openai_format import wire_body
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.client import ModelClient
from personalrm.llm.types import Backend, LanguageModel, ModelSpec, Request, Response, TokenLogprobs, Usage
from personalrm.studies.runner import runtime_from_env
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.judging import judge_stage
from personalrm.studies.synthesizeme.stages.learn import bootstrap_stage, profile_stage
from personalrm.studies.synthesizeme.stages.prepare import prepare_stage
from personalrm.studies.synthesizeme.stages.runner import Job
from support.scripted_judge import Answer


@dataclass(frozen=True)
class ScriptedJob(Job):
    """A job whose models are reached by `backend`."""

    backend: Callable[[ModelSpec], Backend]

    @asynccontextmanager
    async def model(self, name: str, *, batches: bool = False) -> AsyncIterator[LanguageModel]:
        del batches
        spec = self.config.models[name].spec(name)
        with ResponseStore(self.config.store, run=self.config.run) as store:
            yield ModelClient(spec, self.backend(spec), store)


@dataclass(frozen=True)
class Answering:
    """A backend that says what the scripted server would. `answer` must count the tokens."""

    spec: ModelSpec
    answer: Callable[[dict[str, Any]], Answer]

    async def call(self, request: Request) -> Response:
        said = self.answer(wire_body(self.spec, request))
        odds = tuple(TokenLogprobs(tuple(token)) for token in said.logprobs)
        usage = Usage(said.tokens_in or 0, said.tokens_out or 0)
        return Response(said.text or "", said.finish_reason, usage, logprobs=odds)

    async def aclose(self) -> None:
        return None


def run_stages(config: Config, answer: Callable[[dict[str, Any]], Answer]) -> None:
    """All that the main table rests on, in the folder of work. Files lie where the workflow has them."""
    run_stages_by(config, lambda spec: Answering(spec, answer))


def run_stages_by(config: Config, backend: Callable[[ModelSpec], Backend]) -> None:
    """The same, asking any backends."""
    job, plan = ScriptedJob(config, runtime_from_env(), backend), Plan(config)
    for dataset in config.datasets:
        prepare_stage(plan, dataset)
        for users in map(Path, plan.shard_paths(dataset)):
            for judge in config.judge_models:
                out = Path(plan.run, "verdicts", dataset, "baseline", judge, users.name)
                asyncio.run(judge_stage(job, users=users, out=out, judge=judge))
            for variant in config.variants:
                for model in config.learn.models:
                    _learn_and_judge(job, plan, dataset, users, variant, model)


def _learn_and_judge(job: ScriptedJob, plan: Plan, dataset: str, users: Path, variant: str, model: str) -> None:
    config, run = job.config, Path(plan.run)
    who: dict[str, Any] = {"users": users, "model": model, "variant": variant}
    traces = run / "traces" / dataset / variant / model / users.name
    asyncio.run(bootstrap_stage(job, out=traces, **who))
    for k in config.ks:
        profiles = run / "profiles" / dataset / variant / model / f"k{k}" / users.name
        asyncio.run(profile_stage(job, traces=traces, out=profiles, k=k, **who))
        others = [judge for profile, judge in config.transfer_pairs if profile == model and k == config.largest_k]
        for judge in (model, *others):
            out = run / "verdicts" / dataset / variant / f"{model}-to-{judge}" / f"k{k}" / users.name
            given: dict[str, Any] = {"profiles": profiles, "model": model, "variant": variant}
            asyncio.run(judge_stage(job, users=users, out=out, judge=judge, **given))
