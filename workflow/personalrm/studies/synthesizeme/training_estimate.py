"""What the training of reward models will take: tokens of features, steps, and time by rates measured on this machine.

Features cost one pass of the base over each distinct text. Tokens are counted, and the rate of the base measured, on a
sample of the texts. A step of each method is measured on random features of the same number, length and users.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

from personalrm.core.errors import ConfigError, PersonalRMError
from personalrm.core.extras import require_extra
from personalrm.core.lazy import np
from personalrm.core.records import PreferencePair, UserData
from personalrm.studies.estimate.usage import BYTES_A_TOKEN, FRAME_TOKENS
from personalrm.studies.reward_config import RewardModelConfig
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.stages.reward_data import TrainingPairs, hidden_pairs, training_pairs
from personalrm.studies.synthesizeme.tuning_estimate import Tuning, seconds_of, tunings

SAMPLE = 24
"""Pairs whose texts are read to count tokens and to measure the rate."""
STEPS = 8
"""Steps of each method that are measured, after as many that are not."""

T = TypeVar("T")


class Work(NamedTuple):
    """Tokens of features, and steps by method; `seconds` of both where they were measured."""

    texts: int
    tokens: int
    steps: Mapping[str, int]
    rate: float | None = None
    seconds: float | None = None


def training_notes(config: Config, data: Mapping[str, Sequence[UserData]], *, timed: bool) -> list[str]:
    """One line for features and what is trained on them, and one for what tunes the base, of each entry of
    `reward_models` and data set. Features that entries share are counted with the first.

    Without the extra `train`, and where the base cannot be loaded, tokens are estimated from bytes and nothing is
    measured: the line says why.
    """
    lines, counted = [], set[tuple[str, str]]()
    for dataset, users in data.items():
        trained = config.trained_on(dataset)
        for name, entry in {**trained, **config.rewards_on(dataset)}.items():
            if entry.on_features:
                key = (dataset, entry.encoder_id)
                pairs = [] if key in counted else [pair for user in users for pair in user.pairs if pair.split]
                counted.add(key)
                work = _work(entry, users, pairs, trains=name in trained)
                work, why = _timed(partial(_measured, entry, users, pairs, work), work, timed=timed)
                lines.append(_line(name, dataset, entry, work, why))
            if name in trained and (tuned := tunings(config, entry, dataset, users)):
                seconds, why = _timed(partial(seconds_of, entry, tuned), None, timed=timed)
                lines.append(_tuned_line(name, dataset, tuned, seconds, why))
    return lines


def _timed(measure: Callable[[], T], otherwise: T, *, timed: bool) -> tuple[T, str]:
    """What is measured, or otherwise why it is not."""
    if not timed:
        return otherwise, "not timed"
    try:
        return measure(), ""
    except PersonalRMError as error:
        return otherwise, str(error)


def steps_of(entry: RewardModelConfig, method: str, *, held_out: bool) -> int:
    """Steps of the trainings of a method, over seeds and, with validation users, the numbers K that are tried; 0 for
    methods that are solved without steps."""
    hyper = entry.hyper_of(method)
    steps = 0 if getattr(hyper, "hidden", None) == 0 and method == "frozen_bt" else getattr(hyper, "steps", 0)
    tried = len(hyper.k_grid) if held_out and hasattr(hyper, "k_grid") else 1
    return int(steps) * tried * len(entry.seeds)


def _work(
    entry: RewardModelConfig, users: Sequence[UserData], pairs: Sequence[PreferencePair], *, trains: bool
) -> Work:
    """Tokens estimated from bytes, and steps where the users are trained on."""
    held_out = bool(_seen(entry, users).held_out)
    steps = {name: steps_of(entry, name, held_out=held_out) for name in entry.on_features if trains}
    tokens = sum(_estimated_tokens(entry, pair, answer) for pair, answer in _texts(pairs))
    return Work(2 * len(pairs), round(tokens), steps)


def _seen(entry: RewardModelConfig, users: Sequence[UserData]) -> TrainingPairs:
    return training_pairs(users, entry.regime, hidden_pairs(users, entry.regime))


def _texts(pairs: Sequence[PreferencePair]) -> Iterator[tuple[PreferencePair, str]]:
    return ((pair, answer) for pair in pairs for answer in (pair.chosen, pair.rejected))


def _estimated_tokens(entry: RewardModelConfig, pair: PreferencePair, answer: str) -> float:
    turns = [turn.content for turn in pair.context] if entry.text == "chat" else []
    frames = FRAME_TOKENS * (len(turns) + 1) if entry.text == "chat" else 0
    return sum(len(text.encode("utf-8", "replace")) for text in (*turns, answer)) / BYTES_A_TOKEN + frames


def _measured(entry: RewardModelConfig, users: Sequence[UserData], pairs: Sequence[PreferencePair], work: Work) -> Work:
    """The same with tokens by the base's own tokenizer, and seconds. Raises ConfigError where the base cannot be used,
    and EmbeddedModelError where its file is nowhere."""
    require_extra("train", "its time")
    from personalrm.train.encoders import EncoderSettings, open_encoder

    with open_encoder(EncoderSettings(**entry.encoder), threads=entry.threads) as encoder:
        sample = pairs[:: max(1, len(pairs) // SAMPLE)][:SAMPLE]
        texts = [(pair.context, answer) for pair, answer in _texts(sample)]
        rate, tokens = None, work.tokens
        if texts:
            encoder.encode(texts[:2])
            begun = time.monotonic()
            read = encoder.encode(texts).tokens
            rate = read / (time.monotonic() - begun)
            tokens = round(sum(len(encoder.tokenise(*text).ids) for text in texts) / len(texts) * work.texts)
        seconds = tokens / rate if rate else 0.0
        seconds += sum(
            steps * _step_seconds(entry, name, users, encoder.dim) for name, steps in work.steps.items() if steps
        )
    return work._replace(tokens=tokens, rate=rate, seconds=seconds)


def _step_seconds(entry: RewardModelConfig, method: str, users: Sequence[UserData], dim: int) -> float:
    """Seconds of a step of training: the time of twice as many steps less that of the first ones."""
    from personalrm.methods.reward.base import TrainingData
    from personalrm.methods.reward.load import reward_method
    from personalrm.train.features import Pairs
    from personalrm.train.trainer import Run

    rng = np.random.default_rng(0)

    def drawn(count: int) -> Pairs:
        sides = rng.standard_normal((2, count, dim), dtype=np.float32)
        return Pairs(tuple(map(str, range(count))), *sides)

    counts = [len(pairs) for pairs in _seen(entry, users).users if pairs]
    if not counts:
        raise ConfigError("no train user, so that nothing is trained")
    data = TrainingData.of(drawn(count) for count in counts)
    hyper, taken = entry.hyper_of(method), []
    shorter = {one.name for one in fields(hyper)} & {"adapt_steps"}
    for steps in (STEPS, 2 * STEPS):
        brief: Any = replace(hyper, steps=steps, evaluate_every=0, **dict.fromkeys(shorter, 0))
        begun = time.monotonic()
        reward_method(method).fit(data, brief, 0, Run(threads=entry.threads, device=entry.device))
        taken.append(time.monotonic() - begun)
    return max(taken[1] - taken[0], 0.0) / STEPS


def _line(name: str, dataset: str, entry: RewardModelConfig, work: Work, why: str) -> str:
    said = f"features of {work.texts:,} texts ({work.tokens:,} tokens)" if work.texts else "features as above"
    if work.steps:
        said += f", {len(work.steps) * len(entry.seeds)} trainings with {sum(work.steps.values()):,} steps in all"
    said = f"Reward models {name} on {dataset}: {said}"
    if work.seconds is None:
        return f"{said}; time not measured: {why}."
    rate = f", {work.rate:,.0f} tokens a second" if work.rate else ""
    return f"{said}: {_duration(work.seconds)} as measured here{rate}, without validation and adaptation."


def _tuned_line(name: str, dataset: str, found: Mapping[str, Tuning], seconds: float | None, why: str) -> str:
    parts = [f"{method} {work.updates:,} updates on {work.tokens:,} tokens" for method, work in found.items()]
    said = f"Reward models {name} on {dataset}, fine-tuned: {', '.join(parts)}"
    if seconds is None:
        return f"{said}; time not measured: {why}."
    return f"{said}: {_duration(seconds)} as measured here, without validation and judging."


def _duration(seconds: float) -> str:
    """In hours from two on.

    >>> _duration(90 * 60), _duration(150 * 60)
    ('90 minutes', '2.5 hours')
    """
    return f"{seconds / 60:.0f} minutes" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} hours"
