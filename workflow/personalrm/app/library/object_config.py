"""The config of an object: a run of one model with one method and one variant, made of the sections of any run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from personalrm.app.library.models import model_entry
from personalrm.core.errors import ConfigError
from personalrm.methods.registry import parse_method
from personalrm.studies.preflight import load_environment
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.config_load import laid_over, parse_config

MODEL = "model"
"""Name of the one model in the config of an object."""
DATASET = "library"

_PARAMETERS = {
    f"models.{MODEL}.max_concurrency: ": "num_workers: ",
    f"models.{MODEL}.": "model_options: ",
    "learn.search.": "",
    "learn.": "learn_options: ",
    "variants: ": "variant: ",
    "methods: ": "method: ",
}
"""Beginnings of the config's error lines, and the parameter of an object that each is about."""


def object_config(
    model_id: str,
    model_url: str | None,
    num_workers: int,
    model_options: Mapping[str, Any] | None,
    method: str,
    **sections: Any,  # noqa: ANN401  (checked by the config)
) -> Config:
    """The config of a run that does what an object does; `sections` are further keys of a run's config.

    Everything is checked here, before the first call. Raises ConfigError, one line per problem, each of which begins
    with the parameter that is wrong.
    """
    load_environment()
    if not isinstance(model_id, str):
        raise ConfigError(f"model_id: is no string but {type(model_id).__name__}; write 'openai/gpt-4o-mini'")
    parsed = parse_method(method).method
    if parsed.needs not in ("judge", "profile"):
        raise ConfigError(f"method: {method!r} asks no model; use both, demos or persona")
    entry = model_entry(model_id, model_url, {"max_concurrency": num_workers, **(model_options or {})})
    raw = {
        "run": DATASET,
        # Never read: a run has a data set, and an object is given its data.
        "datasets": {DATASET: {"path": "given"}},
        "models": {MODEL: entry},
        "methods": [method],
        **sections,
        "learn": laid_over(sections.get("learn", {}), {"models": [MODEL]}),
    }
    try:
        config = parse_config(raw)
    except ConfigError as error:
        raise ConfigError("\n".join(map(_renamed, str(error).splitlines()))) from error
    if parsed.text_only and config.models[MODEL].verdicts[0] != "text":
        raise ConfigError(f"method: {method!r} reads no log-probabilities; set verdicts: ['text']")
    return config


def _renamed(line: str) -> str:
    found = next((key for key in _PARAMETERS if line.startswith(key)), "")
    return _PARAMETERS.get(found, "") + line.removeprefix(found)
