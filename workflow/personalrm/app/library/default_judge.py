"""The judge that knows nothing of the user: what personalisation has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from personalrm.app.library.base import PersonalRM
from personalrm.app.library.data import Item
from personalrm.app.library.models import DEFAULT_MODEL
from personalrm.app.library.object_config import object_config
from personalrm.judge.judge import JudgeContext
from personalrm.llm.types import LanguageModel


class DefaultJudge(PersonalRM):
    """The workflow's method `default`. There is nothing to fit, save or load; as published, the methods are there.

    The parameters are those of `SynthesizeMe` that have a meaning without a user. Raises ConfigError for settings that
    no call could be made with.
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
        config = object_config(
            model_id, model_url, num_workers, model_options, "default", seed=seed, max_failed_share=max_failed_share
        )
        super().__init__(config, model_id, lm, output_dir)

    def fit(self, data: Sequence[Item], val_data: Sequence[Item] | None = None) -> Self:
        """Nothing to learn."""
        del data, val_data
        return self

    def save(self, path: Path | str | None = None) -> None:
        """Nothing to save."""

    def load(self, path: Path | str | None = None) -> Self:
        """Nothing to load."""
        del path
        return self

    def _shown(self) -> JudgeContext:
        return JudgeContext()
