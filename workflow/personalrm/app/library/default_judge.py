"""The judge that knows nothing of the user: what personalisation has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from personalrm.app.library.base import PersonalRM
from personalrm.app.library.data import Item
from personalrm.app.library.models import DEFAULT_MODEL
from personalrm.app.library.settings import DATASET, Settings
from personalrm.core.records import UserData
from personalrm.judge.judge import JudgeContext
from personalrm.llm.types import LanguageModel
from personalrm.methods.base import Known
from personalrm.methods.registry import parse_method


class DefaultJudge(PersonalRM):
    """The workflow's method `default`. There is nothing to fit, save or load; as published, the methods are there.

    Args:
        model_id: see `personalrm.app.library.models`.
        model_url: base URL of an OpenAI-compatible endpoint.
        seed: of the interval's resamples.
        lm: a `LanguageModel` of one's own, instead of `model_id`.
        num_workers: calls at once (published: 1; the results are the same).
        output_dir: folder that keeps the answers of the model (default: they end with the object).
        model_options: further keys of a model's entry in the config (config/README.md), such as `context_length`.
        max_failed_share: share of provider errors above which `evaluate` raises.

    Raises:
        ConfigError: for settings that no call could be made with.
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
        settings = Settings(
            model_id=model_id,
            model_url=model_url,
            seed=seed,
            num_workers=num_workers,
            model_options=dict(model_options or {}),
            max_failed_share=max_failed_share,
        )
        super().__init__(settings, lm, output_dir)

    def fit(self, data: Sequence[Item], val_data: Sequence[Item] | None = None) -> Self:
        """Nothing to learn."""
        del data, val_data
        return self

    def save(self, path: Path | str | None = None) -> None:
        """Nothing to save."""
        del path

    def load(self, path: Path | str | None = None) -> Self:
        """Nothing to load."""
        del path
        return self

    def _shown(self) -> JudgeContext:
        shown = parse_method(self.settings.method).method.adapt(Known(UserData(dataset=DATASET, user_id="")))
        return shown if isinstance(shown, JudgeContext) else JudgeContext()
