"""How models judge and what their answers depend on, in every study."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from personalrm.core.conditions import VerdictMode
from personalrm.judge.constitution import Constitution
from personalrm.judge.judge import JudgeSettings
from personalrm.judge.prompting import Prompt
from personalrm.studies.model_config import ModelConfig
from personalrm.studies.study_config import StudyConfig

STAGE_VERSION = 2
"""Raised when the code of a paid stage changes what it would write."""


def judge_settings(model: ModelConfig, mode: VerdictMode, constitution: Constitution | None = None) -> JudgeSettings:
    """How `model` judges with verdicts of `mode`."""
    return JudgeSettings(style=model.prompts, mode=mode, max_tokens=model.max_tokens, constitution=constitution)


def model_reads(config: StudyConfig, model: str, settings: Any, prompts: Iterable[Prompt]) -> dict[str, Any]:  # noqa: ANN401
    """What the answers of a model to requests with these settings (a dataclass, or a list of them) depend on.

    The window of the model is among them, because what is shown is cut to fit.
    """
    entry = config.models[model]
    return {
        "version": STAGE_VERSION,
        "seed": config.seed,
        "model": entry.spec(model).identity,
        "window": [entry.context_length, str(entry.tokenizer or "")],
        "settings": [asdict(one) for one in settings] if isinstance(settings, list) else asdict(settings),
        "prompts": sorted({prompt.id for prompt in prompts}),
    }
