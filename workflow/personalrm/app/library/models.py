"""The config of a library object: a run of one model, one method and one variant.

`model_id` has the forms of the published package's README; docs/library.md, "Models and their ids", lists them with
their keys and addresses.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Collection, Mapping
from typing import Any, Literal

from personalrm.core.errors import ConfigError
from personalrm.llm.backends.litellm_backend import load_litellm
from personalrm.llm.local.catalogue import load_catalogue
from personalrm.methods.base import Needs
from personalrm.methods.registry import parse_method
from personalrm.studies.config_load import laid_over, parse_config
from personalrm.studies.preflight import load_environment
from personalrm.studies.synthesizeme.config import Config

MODEL, DATASET = "model", "library"
"""Names of the one model and the one data set in the config of an object."""
ADDRESS = "model_url"
"""The parameter that is `api_base` in a config."""
DEFAULT_MODEL = "litellm_proxy/meta-llama/Llama-3.3-70B-Instruct"
DEFAULT_URL = "http://localhost:7410/v1"
"""The published defaults."""
HOSTED_CONTEXT = 131_072
"""Context window in tokens where none is given: that of the paper's models. A server with a smaller window refuses, and
the persona's input is then shortened."""

StopScore = float | Literal["variant"] | None
"""Percent at which a search ends, None for never; "variant" stands for that of the variant (`config.StopScores`)."""

_KEYS: Mapping[str, tuple[str, ...]] = {
    "openai": ("OPENAI_API_KEY",),
    "together_ai": ("TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY"),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "azure": ("AZURE_API_KEY",),
}
_OF_OPENAI = "gpt-oss"
"""What models begin with that have `openai/` in their own ids, as servers name them."""
_PARAMETERS = {
    f"models.{MODEL}.max_concurrency: ": "num_workers: ",
    f"models.{MODEL}.api_base: ": f"{ADDRESS}: ",
    f"models.{MODEL}.": "model_options: ",
    "attributes.bank: ": "bank: ",
    "attributes.": "",
    "attributes: ": "bank: ",
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
    *,
    needs: Collection[Needs] = ("judge", "profile"),
    **sections: Any,  # noqa: ANN401  (checked by the config)
) -> Config:
    """The config of a run that does what an object does; `sections` are further keys of a run's config.

    `needs` are those of the methods that the object can be.

    Everything is checked here, before the first call. Raises ConfigError, one line per problem, each of which begins
    with the parameter that is wrong.
    """
    load_environment()
    parsed = parse_method(method).method
    if parsed.needs not in needs:
        raise ConfigError(f"method: {method!r} asks no model; use both, demos or persona")
    entry = model_entry(
        model_id, model_url, {"max_concurrency": num_workers, **options_of(model_options, "model_options")}
    )
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
        config: Config = parse_config(raw)
    except ConfigError as error:
        raise ConfigError("\n".join(map(parameter_of, str(error).splitlines()))) from error
    if parsed.text_only and config.models[MODEL].verdicts[0] != "text":
        raise ConfigError(f"method: {method!r} reads no log-probabilities; set verdicts: ['text']")
    return config


def options_of(given: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
    """Options that were given as parameter `name`. Raises ConfigError where they are no dict."""
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(f"{name}: is {type(given).__name__}; give a dict")
    return dict(given or {})


def parameter_of(line: str) -> str:
    """A line that begins with a key of the config, with the object's parameter in its place."""
    found = next((key for key in _PARAMETERS if line.startswith(key)), "")
    return _PARAMETERS.get(found, "") + line.removeprefix(found)


def in_parameters(message: str, model_id: str) -> str:
    """An error message of the model client, with parameters of an object instead of keys of a config.

    >>> in_parameters("models.a/b.api_base: … Check the model's id and api_base in the config.", "a/b")
    'model_url: … Check model_id and model_url.'
    """
    words = {
        f"models.{model_id}.api_base": ADDRESS,
        f"models.{model_id}.": "model_options: ",
        "the model's id and api_base in the config": "model_id and model_url",
        "Check api_base and": "Check model_url and",
        "the model's entry in the config": "model_options",
    }
    for key, parameter in words.items():
        message = message.replace(key, parameter)
    return message


def model_entry(model_id: str, model_url: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Entry of `models`, `options` laid over it. The environment, `.env` included, must be loaded.

    Raises ConfigError for an id that names no model.
    """
    if not isinstance(model_id, str):
        raise ConfigError(f"model_id: is no string but {type(model_id).__name__}; write 'openai/gpt-4o-mini'")
    provider, _, rest = model_id.partition("/")
    provider = "together_ai" if provider == "together" else provider
    if not model_id.strip() or (provider in {*_KEYS, "embedded", "litellm", "litellm_proxy"} and not rest.strip()):
        raise ConfigError(f"model_id: {model_id!r} names no model; write it as in 'openai/gpt-4o-mini'")
    entry: dict[str, Any] = {"context_length": HOSTED_CONTEXT, "api_base": model_url}
    if provider == "embedded":
        if model_url is not None:
            raise ConfigError(
                f"model_url: {model_id} is served by this library; leave model_url out, or the 'embedded/'"
            )
        # As the quickstart judges with small models: short prompts, labels by log-probability.
        entry = {"context_length": 4096, "prompts": "compact", "verdicts": ["logprob_both"]}
        entry |= {"backend": "embedded", "model": rest}
    elif provider == "litellm_proxy":
        base = model_url or os.environ.get("LITELLM_PROXY_API_BASE") or DEFAULT_URL
        entry |= {"backend": "openai", "model": rest, "api_base": base}
        if model_url is None and os.environ.get("LITELLM_PROXY_API_KEY"):
            entry["api_key_env"] = "LITELLM_PROXY_API_KEY"
    elif provider == "litellm":
        entry |= {"backend": "litellm", "model": rest}
    elif provider in _KEYS and not (provider == "openai" and model_url):
        entry |= {"backend": "litellm", "model": f"{provider}/{rest}"}
        if model_url is None:
            # The first that is set, else the usual one; none for Azure, where LiteLLM also finds directory tokens.
            found = [name for name in _KEYS[provider] if os.environ.get(name)]
            entry["api_key_env"] = found[0] if found else None if provider == "azure" else _KEYS[provider][0]
    else:
        if model_url is None and (meant := _meant(model_id)):
            ids = " or ".join(map(repr, meant))
            raise ConfigError(f"model_id: {model_id!r} needs a model_url; did you mean {ids}?")
        entry |= {"backend": "openai", "model": model_id, "api_base": model_url or DEFAULT_URL}
        if provider == "openai" and not rest.startswith(_OF_OPENAI):
            # LiteLLM's way to name any OpenAI-compatible server.
            entry["sent_as"] = rest
    return entry | dict(options)


def _meant(model_id: str) -> list[str]:
    """Ids of an embedded model, or of providers' that a bare id names, which no server on this machine has: at most
    three of many, those whose provider and model have one name first.
    """
    if any(entry.id == model_id for entry in load_catalogue()):
        return [f"embedded/{model_id}"]
    if importlib.util.find_spec("litellm") is None:
        return []
    litellm = load_litellm()
    known = litellm.model_cost.get(model_id)
    if known is None:
        # Many providers' models are listed with the provider's name alone, as mistral/mistral-large-latest.
        listed = (name for name in litellm.model_cost if name.partition("/")[2] == model_id)
        chat = [name for name in listed if litellm.model_cost[name].get("mode") == "chat"]
        chat.sort(key=lambda name: not model_id.startswith(name.partition("/")[0]))
        return [name if name.partition("/")[0] in _KEYS else f"litellm/{name}" for name in chat[:3]]
    if known.get("mode") != "chat":
        return []
    provider = str(known["litellm_provider"])
    # Gemini is listed under Google's cloud, too, whose names are those of price lists.
    provider = "gemini" if f"gemini/{model_id}" in litellm.model_cost else provider
    if provider in _KEYS:
        return [f"{provider}/{model_id}"]
    named = "/" in model_id or provider not in litellm.provider_list
    return [f"litellm/{model_id}" if named else f"litellm/{provider}/{model_id}"]


def learn_section(
    model_id: str,
    max_bootstrapped_demos: int,
    max_labeled_demos: int,
    num_search_candidates: int,
    stop_at_score: StopScore,
    options: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Section `learn` of the config, from the parameters of `SynthesizeMe`.

    Without `options`, embedded models learn with two attempts, short texts and few tokens, as in
    `config/showcase.yaml`; others score eight candidates of the search at a time, because they wait for the network
    (more are little faster and need many more calls: `benchmarks/search.py`).
    """
    usual: dict[str, Any] = {"search": {"parallel_candidates": 8}}
    if str(model_id).startswith("embedded/"):
        usual = {"bootstrap": {"attempts": 2, "max_tokens": 40}, "persona": {"max_tokens": 64}}
    search: dict[str, Any] = {
        "num_search_candidates": num_search_candidates,
        "max_bootstrapped_demos": "all" if max_bootstrapped_demos == -1 else max_bootstrapped_demos,
        # More pairs than any user has.
        "max_labeled_demos": sys.maxsize if max_labeled_demos == -1 else max_labeled_demos,
    }
    search |= {} if stop_at_score == "variant" else {"stop_at_score": stop_at_score}
    return laid_over(laid_over(usual, options_of(options, "learn_options")), {"search": search})
