"""Settings that several stages share. A stage reads only those settings of the config that its `reads` names, so that
an edit elsewhere in the config reruns nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from personalrm.core.conditions import K, VerdictMode
from personalrm.judge.constitution import AUTO, DEFAULT, OFF, Constitution, read_constitution
from personalrm.judge.judge import JudgeSettings
from personalrm.judge.prompting import Prompt
from personalrm.methods.synthesizeme.context_subsets import N_PARTS
from personalrm.studies.model_config import ModelConfig
from personalrm.studies.synthesizeme.config import Config

STAGE_VERSION = 2
"""Raised when the code of a paid stage changes what it would write."""


def constitution_of(config: Config, *, guarded: bool) -> Constitution | None:
    """The rules above what prompts show of a user; `guarded` decides where the config leaves it open, as for methods
    (`Method.guarded`).

    Raises ConfigError as `read_constitution` does.
    """
    named = config.constitution
    return read_constitution((DEFAULT if guarded else OFF) if named == AUTO else named)


def judge_settings(model: ModelConfig, mode: VerdictMode, constitution: Constitution | None = None) -> JudgeSettings:
    """How `model` judges with verdicts of `mode`."""
    return JudgeSettings(style=model.prompts, mode=mode, max_tokens=model.max_tokens, constitution=constitution)


def draws_for(config: Config, k: K) -> range:
    """Draws of context pairs at k; all pairs can be drawn in one way only, and disjoint parts are a draw each."""
    return range(1 if k == "all" else N_PARTS.get(k, config.draws))


def common_reads(config: Config) -> dict[str, Any]:
    """Settings that all stages of learning and judging depend on."""
    return {"version": STAGE_VERSION, "seed": config.seed, "users": config.evaluate_users}


def asked_reads(config: Config, model: str, settings: Any, prompts: Iterable[Prompt]) -> dict[str, Any]:  # noqa: ANN401
    """What the answers of a model to requests with these settings (a dataclass, or a list of them) depend on.

    The window of the model is among them, because what is shown is cut to fit.
    """
    entry = config.models[model]
    return common_reads(config) | {
        "model": entry.spec(model).identity,
        "window": [entry.context_length, str(entry.tokenizer or "")],
        "settings": [asdict(one) for one in settings] if isinstance(settings, list) else asdict(settings),
        "prompts": sorted({prompt.id for prompt in prompts}),
    }
