"""A run's files made up for the tests of the transcripts: real requests, a real store, answers that are scripted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personalrm.core.records import Demonstration, JudgedUser, PreferencePair, Profile, Turn, UserData, write_records
from personalrm.judge.call_recorder import CallRecorder
from personalrm.judge.judge import fitted
from personalrm.llm.cache.key import request_key
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.types import Message, ModelSpec, Request, Response, Usage
from personalrm.methods.base import Known
from personalrm.methods.registry import parse_method
from personalrm.methods.synthesizeme.persona import persona_messages
from personalrm.methods.synthesizeme.search import labelled
from personalrm.studies.config_load import parse_config, write_resolved
from personalrm.studies.report.transcripts import transcripts_stage
from personalrm.studies.settings import judge_settings
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.learn import learned_settings
from personalrm.studies.synthesizeme.stages.settings import constitution_of


def config_of(folder: Path, **changes: object) -> Config:
    model = {"backend": "openai", "model": "m-1", "api_base": "http://127.0.0.1:9/v1", "max_tokens": 64}
    config: dict[str, object] = {
        "run": "made",
        "results": str(folder / "results"),
        "store": str(folder / "store.sqlite"),
        "datasets": {"people": {"path": "votes.jsonl", "shards": 1}},
        "models": {"m": model},
        "methods": ["random", "default", "persona", "both"],
        "learn": {"models": ["m"]},
    }
    return parse_config({**config, **changes})


def user_of(name: str, n_test: int = 1, *, n_context: int = 1, text: str = "") -> UserData:
    """A user with so many context and test pairs; `text` stands in all of their texts."""
    pairs = [
        PreferencePair(
            user_id=name,
            pair_id=f"{name}-{number}",
            context=(Turn(role="user", content=f"question {number} of {name} {text}"),),
            chosen=f"good {number} {text}",
            rejected=f"bad {number} {text}",
            order=number,
            split="context" if number < n_context else "test",
        )
        for number in range(n_context + n_test)
    ]
    return UserData(dataset="people", user_id=name, pairs=tuple(pairs))


@dataclass
class StoringModel:
    """A model in process that notes what it was sent and stores its answers as the port does."""

    spec: ModelSpec
    store: ResponseStore
    answer: str
    sent: dict[str, tuple[Message, ...]]

    async def complete(self, request: Request) -> Response:
        key = request_key(self.spec.identity, request)
        self.sent[key] = request.messages
        answer = Response(f"{self.answer} {key[:6]}\nPreference: First", "stop", Usage(10, 5), key=key)
        self.store.put(key, self.spec.identity, answer)
        return answer


@dataclass
class Made:
    """What was written, and what the model was sent, by key."""

    config: Config
    config_file: Path
    sent: dict[str, tuple[Message, ...]]

    def page(self, max_judgments: int = 100_000) -> str:
        out = self.config_file.with_name("transcripts.html")
        transcripts_stage(self.config_file, out, max_judgments)
        return out.read_text(encoding="utf-8")


def make_run(
    folder: Path,
    users: Sequence[UserData],
    *,
    answer: str = "Because.",
    persona: str = "Likes good.",
    **changes: object,
) -> Made:
    """Write a run with one model that learns and judges, as the stages would."""
    config = config_of(folder, **changes)
    plan, spec = Plan(config), config.models["m"].spec("m")
    sent: dict[str, tuple[Message, ...]] = {}
    with ResponseStore(config.store) as store:
        model = StoringModel(spec, store, answer, sent)
        profiles = [asyncio.run(_profile(model, user, persona, config)) for user in users]
        judged = [
            asyncio.run(_judged(model, user, profile, config, method))
            for method in config.methods
            for user, profile in zip(users, profiles, strict=True)
        ]
    write_records(Path(plan.shard_paths("people")[0]), users)
    for path in plan.profile_paths():
        write_records(Path(path), profiles)
    for path in plan.verdict_paths():
        kind = "nothing" if "/none/" in path else "profile" if "-to-" in path else "judge"
        rows = [row for row in judged if parse_method(row.method).method.needs == kind]
        write_records(Path(path), rows)
    config_file = folder / "config.json"
    write_resolved(config_file, config)
    return Made(config, config_file, sent)


async def _profile(model: StoringModel, user: UserData, persona: str, config: Config) -> Profile:
    """As if the search had won with a reasoned demonstration and, where there are more pairs, with labelled ones."""
    (variant,) = config.variants
    learned, (first, *rest) = learned_settings(config, "m", variant), user.part("context")
    settings, reasoned = learned.persona, Demonstration(pair=first, swapped=True, reasoning=f"so: {persona}")
    judgements = (*(labelled(pair, learned.search.salt) for pair in rest), reasoned)
    shown = judgements if learned.search.repairs.labelled_demos else (reasoned,)
    recorder = CallRecorder(model, "persona")
    messages = persona_messages(judgements, settings)
    await recorder.complete(Request(messages, max_tokens=settings.max_tokens, json_schema=settings.schema))
    return Profile(
        dataset="people",
        user_id=user.user_id,
        model="m",
        variant=variant,
        k="all",
        draw=0,
        status="ok",
        persona=persona,
        persona_pairs=tuple(judgement.pair.pair_id for judgement in judgements),
        demonstrations=shown,
        plain_demonstrations=shown,
        calls=recorder.calls,
    )


async def _judged(model: StoringModel, user: UserData, profile: Profile, config: Config, method: str) -> JudgedUser:
    use = parse_method(method)
    learned = use.method.needs == "profile"
    row = JudgedUser(
        dataset="people",
        user_id=user.user_id,
        variant=profile.variant if learned else "baseline",
        profile_model="m" if learned else None,
        judge_model=None if use.method.needs == "nothing" else "m",
        method=method,
        k="all" if learned or use.method.by_k else None,
        draw=0,
        status="ok",
    )
    if row.judge_model is None:
        return row.model_copy(update={"status": "empty", "reason": "no test pairs"})
    shown = use.method.adapt(Known.of(user, pairs=user.part("context"), profile=profile))
    pairs, judge = user.part("test"), use.method.asked
    settings = judge_settings(config.models["m"], "text", constitution_of(config, guarded=use.method.guarded))
    held = fitted(shown, pairs, settings, model.spec, judge.messages)
    verdicts = await judge.pairs(model, pairs, held, settings)
    return row.model_copy(update={"verdicts": verdicts})


def prompt_of(data: dict[str, Any], call: dict[str, Any]) -> tuple[Message, ...]:
    messages = [data["messages"][place] for place in call["prompt"]]
    return tuple(Message(role, data["texts"][text]) for role, text in messages)
