"""Settings that several stages share. A stage reads only those settings of the config that its `reads` names, so that
an edit elsewhere in the config reruns nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from personalrm.core.conditions import K
from personalrm.judge.constitution import AUTO, DEFAULT, OFF, Constitution, read_constitution
from personalrm.judge.prompting import Prompt
from personalrm.methods.synthesizeme.context_subsets import N_PARTS
from personalrm.studies.settings import STAGE_VERSION, model_reads
from personalrm.studies.synthesizeme.config import Config


def constitution_of(config: Config, *, guarded: bool) -> Constitution | None:
    """The rules above what prompts show of a user; `guarded` decides where the config leaves it open, as for methods
    (`Method.guarded`).

    Raises ConfigError as `read_constitution` does.
    """
    named = config.constitution
    return read_constitution((DEFAULT if guarded else OFF) if named == AUTO else named)


def draws_for(config: Config, k: K) -> range:
    """Draws of context pairs at k; all pairs can be drawn in one way only, and disjoint parts are a draw each."""
    return range(1 if k == "all" else N_PARTS.get(k, config.draws))


def common_reads(config: Config) -> dict[str, Any]:
    """Settings that all stages of learning and judging depend on."""
    return {"version": STAGE_VERSION, "seed": config.seed, "users": config.evaluate_users}


def asked_reads(config: Config, model: str, settings: Any, prompts: Iterable[Prompt]) -> dict[str, Any]:  # noqa: ANN401
    """`model_reads`, with the settings that all stages depend on."""
    return common_reads(config) | model_reads(config, model, settings, prompts)
