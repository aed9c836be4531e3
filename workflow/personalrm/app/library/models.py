"""From a model id, as the published package's README writes it, to an entry of `models` in the config.

| `model_id` | without `model_url` | with `model_url` |
|---|---|---|
| `openai/…` | OpenAI (or `OPENAI_BASE_URL`), through LiteLLM; `OPENAI_API_KEY` | that endpoint, without a key |
| `together/…`, `together_ai/…` | Together; `TOGETHERAI_API_KEY` or LiteLLM's other names | the same, there |
| `gemini/…` | Google; `GEMINI_API_KEY` (or `GOOGLE_API_KEY`) | the same, there |
| `azure/…` | Azure; `AZURE_API_KEY`, `AZURE_API_BASE`, `AZURE_API_VERSION` | the same, there |
| `litellm/<id>` | any id that LiteLLM knows, with the key it looks for | the same, there |
| `litellm_proxy/…` | the proxy at `LITELLM_PROXY_API_BASE`, else port 7410 of this machine | that proxy |
| `embedded/<name>` | a model of the catalogue, served on this machine | (an error) |
| any other | port 7410 of this machine, as published | that OpenAI-compatible endpoint |

A key goes to an address of one's own only where `model_options={"api_key_env": …}` names its variable.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, Literal

from personalrm.core.errors import ConfigError
from personalrm.studies.synthesizeme.config_load import laid_over

DEFAULT_MODEL = "litellm_proxy/meta-llama/Llama-3.3-70B-Instruct"
DEFAULT_URL = "http://localhost:7410/v1"
"""The published defaults."""
HOSTED_CONTEXT = 131_072
"""Window in tokens where nothing is said: that of the paper's models. Where a server's is smaller, its own refusal
counts, and the persona's input is shortened."""

StopScore = float | Literal["variant"] | None
"""Percent at which a search ends, None for never; "variant" stands for that of the variant (`config.StopScores`)."""

_KEYS: Mapping[str, tuple[str, ...]] = {
    "openai": ("OPENAI_API_KEY",),
    "together_ai": ("TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY"),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "azure": ("AZURE_API_KEY",),
}
_ALIASES = {"together": "together_ai"}
_PROXY_BASE, _PROXY_KEY = "LITELLM_PROXY_API_BASE", "LITELLM_PROXY_API_KEY"


def model_entry(model_id: str, model_url: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Entry of `models`, `options` laid over it. The environment, `.env` included, must be loaded.

    Raises ConfigError for an id that names no model.
    """
    provider, _, rest = model_id.partition("/")
    provider = _ALIASES.get(provider, provider)
    if not model_id.strip() or (provider in {*_KEYS, "embedded", "litellm", "litellm_proxy"} and not rest.strip()):
        raise ConfigError(f"model_id: {model_id!r} names no model; write it as in 'openai/gpt-4o-mini'")
    if provider == "embedded":
        return _embedded(rest, model_url) | dict(options)
    entry: dict[str, Any] = {"context_length": HOSTED_CONTEXT}
    if provider == "litellm_proxy":
        base = model_url or os.environ.get(_PROXY_BASE) or DEFAULT_URL
        entry |= {"backend": "openai", "model": rest, "api_base": base}
        if model_url is None and os.environ.get(_PROXY_KEY):
            entry["api_key_env"] = _PROXY_KEY
    elif provider == "litellm":
        entry |= {"backend": "litellm", "model": rest, "api_base": model_url}
    elif provider in _KEYS and not (provider == "openai" and model_url):
        entry |= {"backend": "litellm", "model": f"{provider}/{rest}", "api_base": model_url}
        if model_url is None:
            entry["api_key_env"] = _key_variable(provider)
    else:
        entry |= {"backend": "openai", "model": model_id, "api_base": model_url or DEFAULT_URL}
    return entry | dict(options)


def _key_variable(provider: str) -> str | None:
    """The variable that holds the key: the first that is set, else the one to ask for.

    Azure also knows tokens of its directory, which LiteLLM finds; so nothing is asked for there.
    """
    names = _KEYS[provider]
    found = next((name for name in names if os.environ.get(name)), None)
    return found or (None if provider == "azure" else names[0])


def _embedded(name: str, model_url: str | None) -> dict[str, Any]:
    """A small model of the catalogue, judged as the quickstart does: short prompts, labels by log-probability."""
    if model_url is not None:
        raise ConfigError(
            f"model_url: embedded/{name} is served by this library; leave model_url out, or the 'embedded/'"
        )
    return {
        "backend": "embedded",
        "model": name,
        "context_length": 4096,
        "prompts": "compact",
        "verdicts": ["logprob_both"],
    }


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
    `config/showcase.yaml`; others try eight candidates of the search at a time, because they wait for the network (more
    are little faster and ask much more: `benchmarks/search.py`).
    """
    usual: dict[str, Any] = {"search": {"parallel_candidates": 8}}
    if isinstance(model_id, str) and model_id.startswith("embedded/"):
        usual = {"bootstrap": {"attempts": 2, "max_tokens": 40}, "persona": {"max_tokens": 64}}
    search: dict[str, Any] = {
        "num_search_candidates": num_search_candidates,
        "max_bootstrapped_demos": "all" if max_bootstrapped_demos == -1 else max_bootstrapped_demos,
        # More pairs than any user has.
        "max_labeled_demos": sys.maxsize if max_labeled_demos == -1 else max_labeled_demos,
    }
    if stop_at_score != "variant":
        search["stop_at_score"] = stop_at_score
    return laid_over(laid_over(usual, options or {}), {"search": search})
