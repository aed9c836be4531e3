"""What fine-tuning will take: tokens and updates, counted as the training counts them, and time by a measured rate.

What is said of users is learned in the run, and not counted: neither its tokens, nor users of whom nothing is known.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from personalrm.core.extras import require_extra
from personalrm.core.records import PreferencePair, Turn, UserData
from personalrm.methods.registry import METHODS
from personalrm.methods.reward.few_shot_settings import FEW_SHOT, RECIPES, FSPOHyper
from personalrm.methods.reward.hyper import FINE_TUNED, shared_hyper
from personalrm.methods.reward.shots import answer_prompt, description_prompt, windows
from personalrm.studies.estimate.usage import BYTES_A_TOKEN, FRAME_TOKENS
from personalrm.studies.reward_config import RewardModelConfig
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.stages.fine_tuning import lessons_of

UPDATES = 2
"""Updates that are measured, after as many that are not."""


class Tuning(NamedTuple):
    """Trainings of one method over all seeds.

    Attributes:
        rows: pairs, windows or texts of one pass.
        updates: of all seeds.
        tokens: that these read.
    """

    rows: int
    updates: int
    tokens: int


def tunings(config: Config, entry: RewardModelConfig, dataset: str, users: Sequence[UserData]) -> dict[str, Tuning]:
    """What each training of the entry takes on the users of a data set. Raises DataError as `lessons_of`."""
    found = {}
    for method in (name for name in entry.trainings if name in FINE_TUNED):
        hyper, rows = entry.hyper_of(method), list(_rows(config, entry, dataset, method, users))
        updates = updates_of(hyper, len(rows))
        mean = sum(min(tokens, _most(entry, hyper)) for row in rows for tokens in row) / max(len(rows), 1)
        seeds = len(entry.seeds)
        found[method] = Tuning(len(rows), updates * seeds, round(updates * hyper.batch * mean) * seeds)
    return found


def updates_of(hyper: Any, rows: int) -> int:  # noqa: ANN401 - of any method that tunes the base
    """Updates of one training, as `train.fine_tuning.Updates.total` counts them; 0 without rows."""
    return int(hyper.steps or math.ceil(math.ceil(rows / hyper.batch) * hyper.epochs)) if rows else 0


def _most(entry: RewardModelConfig, hyper: Any) -> float:  # noqa: ANN401
    """Longest text in tokens."""
    return min(entry.max_tokens or math.inf, getattr(hyper, "max_tokens", None) or math.inf)


def _rows(
    config: Config, entry: RewardModelConfig, dataset: str, method: str, users: Sequence[UserData]
) -> Iterator[list[float]]:
    """Tokens of the texts of each row, estimated from bytes."""
    learned = lessons_of(config, entry, dataset, METHODS[method], lambda: users)
    for user, pairs in learned.train:
        if method not in FEW_SHOT:
            needs_taste = METHODS[method].shows and not METHODS[method].learns
            said = user.planted_taste or ""
            yield from (_both(entry, pair, said) for pair in pairs if said or not needs_taste)
        else:
            yield from _window_rows(entry, method, pairs, user.planted_taste or "")


def _both(entry: RewardModelConfig, pair: PreferencePair, said: str) -> list[float]:
    turns = [turn.content for turn in pair.context] if entry.text == "chat" else []
    frames = FRAME_TOKENS * (len(turns) + 1) if entry.text == "chat" else 0
    return [_tokens("".join((said, *turns, answer))) + frames for answer in (pair.chosen, pair.rejected)]


def _window_rows(
    entry: RewardModelConfig, method: str, pairs: Sequence[PreferencePair], taste: str
) -> Iterator[list[float]]:
    hyper, recipe = entry.hyper_of(method), RECIPES[method]
    if recipe.describes and not taste:
        return
    for shown, target in windows(pairs, hyper.shots, hyper.windows, entry.seeds[0], mixed=hyper.mixed):
        shots = shown if recipe.shots else ()
        prompt = answer_prompt(shots, target.context, taste if recipe.describes else "")
        if isinstance(hyper, FSPOHyper):
            yield [_tokens(prompt + answer) for answer in (target.chosen, target.rejected)]
            continue
        yield [_tokens(prompt + target.chosen)]
        if recipe.describes and shown:
            yield [_tokens(description_prompt(shown) + taste)]


def _tokens(text: str) -> float:
    return len(text.encode("utf-8", "replace")) / BYTES_A_TOKEN


def seconds_of(entry: RewardModelConfig, found: dict[str, Tuning]) -> float:
    """Seconds of trainings by rates measured on this machine, for each kind of training on invented texts of the mean
    length. Raises ConfigError where the base cannot be used, and EmbeddedModelError where its file is nowhere."""
    require_extra("train", "its time")
    rates: dict[str, float] = {}
    total = 0.0
    for method, work in found.items():
        kind = shared_hyper(method)
        if work.updates and kind not in rates:
            length = work.tokens / (work.updates * entry.hyper_of(method).batch)
            rates[kind] = _seconds_a_row(entry, method, round(length)) / length
        total += work.tokens * rates.get(kind, 0.0)
    return total


def _seconds_a_row(entry: RewardModelConfig, method: str, tokens: int) -> float:
    """Seconds of a row with so many tokens in all its texts: the time of twice as many updates less that of the first
    ones. Where other work on the machine made the first ones the slower, half of the longer time. Raises as
    `seconds_of`."""
    hyper = entry.hyper_of(method)
    brief = replace(hyper, batch=hyper.at_once, evaluate_every=0, **({"keep": "last"} if method in FEW_SHOT else {}))
    words = max(tokens // (1 if method in FEW_SHOT and not isinstance(hyper, FSPOHyper) else 2), 1)
    measured = _few_shot_seconds if method in FEW_SHOT else _tuned_seconds
    first, both = (measured(entry, method, replace(brief, steps=steps), words) for steps in (UPDATES, 2 * UPDATES))
    rows: int = UPDATES * hyper.at_once
    return (both - first if both > first else both / 2) / rows


def _tuned_seconds(entry: RewardModelConfig, _method: str, hyper: Any, words: int) -> float:  # noqa: ANN401
    from personalrm.methods.reward.bt import Example, fit, open_network
    from personalrm.train.encoders import EncoderSettings
    from personalrm.train.trainer import Run

    with open_network(EncoderSettings(**entry.encoder), hyper, 0) as network:
        begun = time.monotonic()
        asked = (Turn(role="user", content="a"),)
        rows = [Example(asked, " a" * words, " b" * words)] * hyper.at_once
        fit(network, rows, [], hyper, 0, Run(threads=entry.threads, device=entry.device))
        return time.monotonic() - begun


def _few_shot_seconds(entry: RewardModelConfig, method: str, hyper: Any, words: int) -> float:  # noqa: ANN401
    from personalrm.methods.reward.fspo import open_new
    from personalrm.train.policy_fit import fit_choices, fit_texts
    from personalrm.train.policy_settings import Choice, PolicySettings, Text
    from personalrm.train.trainer import Run

    kept = {name: entry.encoder[name] for name in ("base", "revision", "dtype", "max_tokens", "batch_tokens", "device")}
    with open_new(PolicySettings(**kept), hyper.weights, 0, method, []) as model:
        run, begun = Run(threads=entry.threads, device=entry.device), time.monotonic()
        # Most of a text is its prompt, which both answers share.
        prompt = "a" + " a" * words
        if isinstance(hyper, FSPOHyper):
            choices = [Choice(prompt, " b", " c")] * hyper.at_once
            fit_choices(model.policy, choices, [], hyper, 0, run)
        else:
            fit_texts(model.policy, [Text(prompt, " b")] * hyper.at_once, [], hyper, 0, run)
        return time.monotonic() - begun
