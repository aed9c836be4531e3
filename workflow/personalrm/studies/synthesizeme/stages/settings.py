"""Settings that several stages share. A stage reads nothing of the config but what its `reads` names, so that an edit
elsewhere in the config reruns nothing."""

from __future__ import annotations

from typing import Any

from personalrm.core.conditions import K, VerdictMode
from personalrm.judge.judge import JudgeSettings
from personalrm.methods.synthesizeme.context_subsets import N_PARTS
from personalrm.studies.synthesizeme.config import Config, ModelConfig

STAGE_VERSION = 2
"""Raised when the code of a paid stage changes what it would write."""


def judge_settings(model: ModelConfig, mode: VerdictMode) -> JudgeSettings:
    """How `model` judges with verdicts of `mode`."""
    return JudgeSettings(style=model.prompts, mode=mode, max_tokens=model.max_tokens)


def draws_for(config: Config, k: K) -> range:
    """Draws of context pairs at k; all pairs can be drawn in one way only, and disjoint parts are a draw each."""
    return range(1 if k == "all" else N_PARTS.get(k, config.draws))


def common_reads(config: Config) -> dict[str, Any]:
    """Settings that all stages of learning and judging depend on."""
    return {"version": STAGE_VERSION, "seed": config.seed, "users": config.evaluate_users}


def model_reads(config: Config, model: str) -> dict[str, Any]:
    """What the answers of a model depend on; its window, too: what is shown is cut to fit."""
    entry = config.models[model]
    window = [entry.context_length, str(entry.tokenizer or "")]
    return {"model": entry.spec(model).identity, "window": window}
