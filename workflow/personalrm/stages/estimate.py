"""How long a run on embedded models will take on this machine: planned work by measured speed.

Calls are counted from the real data and settings; tokens are estimated from bytes (`BYTES_PER_TOKEN`, ours: English in
the bundled data takes 4 to 5); the speed of each model is measured with two short calls. Calls that adapt (second
attempts, candidates that are dropped early) are taken at stated averages, so expect the result to be right within
about a third.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from personalrm.analysis.fidelity import statement_of
from personalrm.benchmark.prepare import read_users
from personalrm.benchmark.reading import ReadReport
from personalrm.config import Config
from personalrm.config_load import load_config
from personalrm.halving import planned_questions
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.store import ResponseStore
from personalrm.llm.types import LanguageModel, Message, Request
from personalrm.methods import parse_method
from personalrm.parts import N_PARTS
from personalrm.records import PreferencePair, UserData
from personalrm.stages.runner import is_evaluated
from personalrm.stages.settings import draws_for, judged_methods

BYTES_PER_TOKEN = 4.3
PAIR_FRAME = 45
"""Tokens of a judgement beside the texts of the pair."""
AXIS_TOKENS, SENTENCE_TOKENS, LINE_TOKENS = 20, 25, 4
"""Tokens of an axis with its ends, of a sentence of a persona, and of a line that tags one."""
MEAN_ATTEMPTS = 1.4
SCORED_SHARE = 0.8
"""Share of validation judgements that the search makes; the rest is spared by its exact bound."""
CRITERIA_TOKENS = 120
"""Tokens of the criteria judge's list of criteria, and of its scores (ours: five lines and a little reasoning)."""


@dataclass
class Work:
    """Prompt tokens that no prefix cache spares, generated tokens, and calls."""

    calls: float = 0.0
    prompt: float = 0.0
    generated: float = 0.0

    def add(self, calls: float, prompt: float, generated: float = 0.0) -> None:
        """Add `calls` of so many tokens each."""
        self.calls += calls
        self.prompt += calls * prompt
        self.generated += calls * generated


@dataclass(frozen=True)
class Speed:
    """Tokens a second, as measured."""

    prompt: float
    generated: float

    def seconds(self, work: Work) -> float:
        """Time for `work`; a call costs about 30 ms beside its tokens (ours, measured on the embedded server)."""
        return work.prompt / self.prompt + work.generated / self.generated + 0.03 * work.calls


def planned_work(config: Config, users: Iterable[UserData]) -> dict[str, Work]:
    """Work by model for all users of one data set."""
    totals = {name: Work() for name in config.models}
    if config.analysis.axes and config.axes_asked:
        totals[config.axes_asked].add(1, 0, config.analysis.axes.max_axes * AXIS_TOKENS)
    for user in users:
        if not is_evaluated(user, config.evaluate_users):
            continue
        for _ in config.variants:
            for model in config.learn.models:
                _learning(config, user, totals[model])
            _fidelity(config, user, totals)
            _axes(config, totals)
            for profile, judge, ks in _combinations(config):
                _judging(config, user, profile, judge, ks, totals[judge])
        for judge in config.judge_models:
            specs = [parse_method(spec) for spec in judged_methods(config, profile=None, judge=judge)]
            # A method on all pairs includes its test pairs, which are then asked for once.
            everything = {use.method.name for use in specs if use.all_pairs}
            for use in specs:
                if use.all_pairs or use.method.name not in everything:
                    _judgements(totals[judge], user.pairs if use.all_pairs else user.part("test"))
    return totals


def _combinations(config: Config) -> list[tuple[str, str, int]]:
    own = sum(len(draws_for(config, k)) for k in config.ks)
    return [(m, m, own) for m in config.learn.models] + [(p, j, 1) for p, j in config.transfer_pairs]


def _tokens(pair: PreferencePair) -> float:
    texts = [turn.content for turn in pair.context] + [pair.chosen, pair.rejected]
    return sum(len(text.encode("utf-8", "replace")) for text in texts) / BYTES_PER_TOKEN + PAIR_FRAME


def _mean(pairs: Iterable[PreferencePair]) -> float:
    sizes = [_tokens(pair) for pair in pairs]
    return sum(sizes) / len(sizes) if sizes else 0.0


def _judgements(work: Work, pairs: Iterable[PreferencePair], share: float = 1.0) -> None:
    for pair in pairs:
        work.add(2 * share, _tokens(pair), 1)


def _learning(config: Config, user: UserData, work: Work) -> None:
    learn = config.learn
    context, size = user.part("context"), _mean(user.part("context"))
    work.add(len(context) * MEAN_ATTEMPTS, size + learn.bootstrap.max_tokens, learn.bootstrap.max_tokens)
    for k in dict.fromkeys([*config.ks, *config.axes_ks]):
        draws, part = draws_for(config, k), k in N_PARTS
        held = len(context) // len(draws) if part else min(len(context), k or len(context))
        shown = min(held, learn.search.max_bootstrapped_demos)
        for _ in draws:
            candidates = len(learn.search.seeds)
            for stage in (candidates - 1, candidates)[: 1 if part else 2]:
                work.add(max(stage, 0), shown * size)
                _judgements(work, user.part("validation"), _times_scored(config, stage, len(user.part("validation"))))
            work.add(1, shown * size, learn.persona.max_tokens)
            if learn.rebootstrap and not part:
                work.add(shown * MEAN_ATTEMPTS, size + learn.bootstrap.max_tokens, learn.bootstrap.max_tokens)


def _times_scored(config: Config, candidates: int, pairs: int) -> float:
    """By how many candidates a validation pair is judged, on average."""
    if config.learn.search.strategy == "exact" or not pairs:
        return candidates * SCORED_SHARE
    return planned_questions(candidates, pairs) / pairs


def _judging(config: Config, user: UserData, profile: str, judge: str, times: int, work: Work) -> None:
    shown = config.learn.search.max_bootstrapped_demos * _mean(user.part("context"))
    for spec in judged_methods(config, profile=profile, judge=judge):
        method = parse_method(spec).method
        if method.judge.text_only and "text" not in config.models[judge].verdicts:
            continue
        asks = _by_criteria if method.name == "criteria" else _judgements
        for _ in range(times):
            work.add(1, shown if method.name != "persona" else 0)
            asks(work, user.part("test"))


def _by_criteria(work: Work, pairs: Iterable[PreferencePair]) -> None:
    for pair in pairs:
        query = pair.model_copy(update={"chosen": "", "rejected": ""})
        work.add(1, _tokens(query), CRITERIA_TOKENS)
        work.add(2, _tokens(pair) + CRITERIA_TOKENS, CRITERIA_TOKENS)


def _fidelity(config: Config, user: UserData, totals: Mapping[str, Work]) -> None:
    """Verdicts on one user's persona and others', which are taken as being as long as they may be."""
    persona, stated, settings = config.learn.persona.max_tokens, statement_of(user), config.analysis.fidelity
    if settings is None or stated is None:
        return
    said = len(stated.text.encode("utf-8", "replace")) / BYTES_PER_TOKEN + PAIR_FRAME
    for _, judge in config.fidelity_pairs:
        written = settings.max_tokens if config.models[judge].verdicts[0] == "text" else 1
        totals[judge].add(2 * settings.others, said + 2 * persona, written)
        if settings.matches:
            totals[judge].add(2 * (1 + settings.others), said + persona, written)


def _axes(config: Config, totals: Mapping[str, Work]) -> None:
    """One user's share of naming axes, and the tags of the user's personas."""
    persona, settings, asked = config.learn.persona.max_tokens, config.analysis.axes, config.axes_asked
    if settings is None or asked is None:
        return
    work, models = totals[asked], len(config.axes_models)
    work.prompt += models * persona
    personas = models * sum(len(draws_for(config, k)) for k in config.axes_ks)
    sentences = persona / SENTENCE_TOKENS
    if config.models[asked].prompts == "compact":
        # Axis after axis about one persona, in two orders: the prefix cache has the persona.
        work.prompt += personas * persona
        work.add(personas * 2 * settings.max_axes, AXIS_TOKENS + PAIR_FRAME, 1)
        work.add(personas * 2 * sentences, SENTENCE_TOKENS + 2 * PAIR_FRAME, 1)
    else:
        work.add(personas, persona + settings.max_axes * AXIS_TOKENS, LINE_TOKENS * settings.max_axes)
        work.add(personas, persona + 2 * PAIR_FRAME, LINE_TOKENS * sentences)


async def measure(model: LanguageModel) -> Speed:
    """Speed of a model: the second of two prompts (the first also starts the server), and a short generation."""
    text = "A gardener asked how often to water young trees in a dry summer, and two friends answered. " * 12
    for index in range(2):
        begun = time.monotonic()
        message = Message("user", f"{index} {time.time_ns()} {text}")
        response = await model.complete(Request((message,), max_tokens=1))
    prompt = (response.usage.tokens_in - response.usage.tokens_cached) / (time.monotonic() - begun)
    begun = time.monotonic()
    request = Request((Message("user", f"Tell a story. {time.time_ns()}"),), max_tokens=32)
    response = await model.complete(request)
    return Speed(prompt, max(response.usage.tokens_out, 1) / (time.monotonic() - begun))


def estimate(config_file: Path, cores: int) -> str:
    """Lines for a person: calls, tokens and minutes by embedded model, and in all."""
    config = load_config(config_file)
    totals = {name: Work() for name in config.models}
    for data in config.datasets.values():
        for model, work in planned_work(config, read_users(data, ReadReport()).users).items():
            totals[model].add(1, work.prompt, work.generated)
            totals[model].calls += work.calls - 1
    lines, seconds = [], 0.0
    for model, work in totals.items():
        took, line = _line(config, model, work, cores)
        seconds += took
        lines.append(line)
    stored = _stored(config)
    lines.append(f"In all about {seconds / 60:.0f} minutes on {cores} cores, if nothing else runs on them.")
    if stored:
        lines.append(f"{stored} answers are in the store already and will not be asked for again.")
    return "\n".join(lines) + "\n"


def _line(config: Config, model: str, work: Work, cores: int) -> tuple[float, str]:
    planned = (
        f"{model}: about {work.calls:.0f} calls, {work.prompt:.0f} prompt and {work.generated:.0f} generated tokens"
    )
    if config.models[model].backend != "embedded":
        return 0.0, f"{planned} (not an embedded model: no time is estimated)"
    speed = asyncio.run(_measured(config, model, cores))
    seconds = speed.seconds(work)
    rate = f"{speed.prompt:.0f} and {speed.generated:.0f} tokens a second measured"
    return seconds, f"{planned}; {rate}: {seconds / 60:.0f} minutes"


async def _measured(config: Config, model: str, cores: int) -> Speed:
    runtime = RuntimeSettings(Path(".snakemake/personalrm/servers").absolute(), cores)
    with ResponseStore(":memory:") as store:
        async with open_model(config.models[model].spec(model, dict(os.environ)), store=store, runtime=runtime) as port:
            return await measure(port)


def _stored(config: Config) -> int:
    if not config.store.is_file():
        return 0
    identities = {entry.spec(name, dict(os.environ)).identity for name, entry in config.models.items()}
    with ResponseStore(config.store, config.store_journal) as store:
        return sum(totals.calls for identity, totals in store.usage_totals().items() if identity in identities)
