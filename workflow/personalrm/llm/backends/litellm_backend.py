"""Backend for every provider that litellm knows. litellm is imported at the first call (3 s, 165 MB)."""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import logging
import os
from contextvars import ContextVar
from typing import Any

import httpx

from personalrm.core.addresses import LOCAL_HOSTS
from personalrm.core.concurrency import within
from personalrm.core.errors import (
    ContextOverflow,
    ModelCallError,
    Refused,
    TransientError,
)
from personalrm.core.extras import require_extra
from personalrm.llm.backends.openai_format import parse_body, wire_extras, wire_messages, wire_options
from personalrm.llm.backends.openai_http import api_key
from personalrm.llm.limits.faults import Failure, ModelUnavailable, scrub, to_error
from personalrm.llm.types import MAX_TOKENS, ModelSpec, Request, Response

_NO_KEY = "not-needed"
_OWN_PROTOCOL = frozenset({"gemini", "vertex_ai", "bedrock"})
_TRANSLATED = ("reasoning_effort", "thinking")
_LIMITS = frozenset({MAX_TOKENS, "max_completion_tokens"})
_NO_REPLY_STATUS = 422
_NO_LIMIT_S = 86400.0
"""Seconds. `call` has the timer; without a number, litellm takes one of its own."""
_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "openai", "openai._base_client")

# What litellm lets through unmapped when a provider's body has an unexpected shape.
_ODD_BODY = (ValueError, TypeError, KeyError, AttributeError, IndexError, OSError)


_REPLIES: ContextVar[list[object]] = ContextVar("_REPLIES")
"""Providers' raw replies to the call that is being made, for litellm makes "stop" of a reason that is null."""


class _ScrubFilter(logging.Filter):
    """Takes credentials out of a library's own log lines: at debug level litellm logs requests whole."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = scrub(record.getMessage()), ()
        if record.exc_info:
            record.exc_text = scrub(logging.Formatter().formatException(record.exc_info))
        return True


def load_litellm() -> Any:  # noqa: ANN401  (an untyped library, imported late)
    """Import litellm without network, telemetry, retries or cache of its own. Cheap after the first time."""
    require_extra("litellm", "backend litellm")
    # Both are read at import: the price map would else be fetched from the network, and .env be loaded.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    litellm: Any = importlib.import_module("litellm")
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.cache = None
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(known, _ScrubFilter) for known in logger.filters):
            logger.addFilter(_ScrubFilter())
    _follow_no_redirects()
    _use_no_proxy_here()
    # Not `callbacks`: those log in the background, too.
    if not litellm.input_callback:
        litellm.input_callback = [_reply_keeper()]
    return litellm


def _use_no_proxy_here() -> None:
    """Have the connections that litellm opens to this machine use no proxy of the environment."""
    for name in [name for name in ("no_proxy", "NO_PROXY") if name in os.environ] or ["NO_PROXY"]:
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join((*hosts, *sorted(LOCAL_HOSTS - set(hosts))))


def _follow_no_redirects() -> None:
    """Have the connections that litellm opens follow no redirect: what is sent must not go to another host."""
    handlers = importlib.import_module("litellm.llms.custom_httpx.http_handler")
    owners = [
        (handlers.AsyncHTTPHandler, "create_client"),
        (handlers.HTTPHandler, "create_client"),
        (importlib.import_module("litellm.llms.openai.common_utils").BaseOpenAILLM, "_get_async_http_client"),
    ]
    for owner, name in owners:
        made = inspect.getattr_static(owner, name)
        plain = getattr(made, "__func__", made)
        if getattr(plain, "follows", True):
            staying = _staying(plain)
            setattr(owner, name, staticmethod(staying) if isinstance(made, staticmethod) else staying)


def _staying(make: Any) -> Any:  # noqa: ANN401
    """A function that makes an HTTP client, with redirects off."""

    @functools.wraps(make)
    def staying(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        client = make(*args, **kwargs)
        if client is not None:
            client.follow_redirects = False
        return client

    staying.follows = False  # type: ignore[attr-defined]
    return staying


def _reply_keeper() -> Any:  # noqa: ANN401
    """A logger of litellm's that notes raw replies where the call can find them."""
    base: Any = importlib.import_module("litellm.integrations.custom_logger").CustomLogger

    class Keeper(base):  # type: ignore[misc]
        def log_post_api_call(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:  # noqa: ANN401
            del response_obj, start_time, end_time
            _REPLIES.get([]).append(kwargs.get("original_response"))

    return Keeper()


_PREFIXES = {"together/": "together_ai/", "aiohttp_openai/": "openai/"}
"""As the published package writes it; and a name of OpenAI's protocol whose own sessions follow redirects."""


def litellm_model(model: str) -> str:
    """The model's id in litellm's form.

    >>> litellm_model("together/a/b"), litellm_model("aiohttp_openai/c"), litellm_model("openai/d")
    ('together_ai/a/b', 'openai/c', 'openai/d')
    """
    for prefix, meant in _PREFIXES.items():
        if model.startswith(prefix):
            return meant + model.removeprefix(prefix)
    return model


class LiteLLMBackend:
    """`Backend` through `litellm.acompletion`.

    Args:
        spec: `model` in litellm's form, `api_base`, `api_key_env`, `timeout_s` (for the whole call),
            `extra_body`. Without `api_key_env` litellm finds the provider's usual variable by itself, but no
            key is ever sent to an own `api_base` of an `openai/…` model unless `api_key_env` names it.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._model = litellm_model(spec.sent_as or spec.model)

    async def call(self, request: Request) -> Response:
        """Send `request` once. Raises a `ModelCallError` that says which kind of failure it was."""
        options = self._options(request)
        litellm = load_litellm()
        where = f"model {self._spec.name} ({self._model})"
        replies: list[object] = []
        _REPLIES.set(replies)
        body: Any = None
        raised: Exception | None = None
        try:
            async with within(self._spec.timeout_s):
                body = with_own_reason((await litellm.acompletion(**options)).model_dump(), replies)
        except TimeoutError:
            raised = TransientError(f"{where}: no answer within {self._spec.timeout_s:g} s")
        except litellm.exceptions.openai.OpenAIError as error:
            raised = error
        except _ODD_BODY as error:
            raised = TransientError(f"{where}: {type(error).__name__} {scrub(str(error), self._spec.api_key_env)}")
        # Mapped and raised outside the handlers: litellm's own exceptions may quote the key.
        if raised is not None:
            raise raised if isinstance(raised, ModelCallError) else self._map(litellm, raised, where)
        return parse_body(body, request, where, self._spec.api_key_env)

    async def aclose(self) -> None:
        """Nothing to release: litellm shares its connections in the process and closes them at its end."""

    def list_price(self, tokens_in: int, tokens_out: int) -> float | None:
        """List price in US dollars from litellm's local price map; None for a model that it does not know."""
        litellm = load_litellm()
        try:
            price_in, price_out = litellm.cost_per_token(
                model=self._model, prompt_tokens=tokens_in, completion_tokens=tokens_out
            )
        except (litellm.exceptions.ModelNotMappedError, litellm.exceptions.openai.OpenAIError):
            return None
        return float(price_in) + float(price_out)

    def _options(self, request: Request) -> dict[str, Any]:
        options: dict[str, Any] = {
            "model": self._model,
            "messages": wire_messages(request, self._spec.system_role),
            **wire_options(self._spec, request),
            "timeout": _NO_LIMIT_S,
            "num_retries": 0,
            "max_retries": 0,
            "caching": False,
            "drop_params": True,
        }
        if self._spec.api_base:
            options["api_base"] = self._spec.api_base
        key = api_key(self._spec)
        if key is None and self._spec.api_base and self._model.startswith("openai/"):
            key = _NO_KEY
        if key:
            options["api_key"] = key
        extras = wire_extras(self._spec)
        # What litellm translates for providers with a protocol of their own, and what it would send as a field with the
        # name `extra_body` to Anthropic.
        provider = self._model.partition("/")[0]
        named = extras.keys() if provider == "anthropic" else _TRANSLATED if provider in _OWN_PROTOCOL else ()
        options |= {name: extras.pop(name) for name in list(named) if name in extras and name not in options}
        if self._spec.token_limit_key not in _LIMITS:
            extras[self._spec.token_limit_key] = options.pop(self._spec.token_limit_key)
        if extras:
            options["extra_body"] = extras
        return options

    def _map(self, litellm: Any, error: Exception, where: str) -> ModelCallError:  # noqa: ANN401
        """Our error for one of litellm's: by the provider's own reply where there is one, else by litellm's word."""
        reply = _reply(error)
        if reply is not None:
            return to_error(reply, where, self._spec.api_key_env)
        detail = f"{where}: {scrub(str(error), self._spec.api_key_env)}"
        if "codec can't encode character" in detail:
            return ModelUnavailable(
                f"{where}: the provider's key has a character that no header can hold; copy it again"
            )
        if isinstance(error, litellm.ContextWindowExceededError):
            return ContextOverflow(detail)
        if isinstance(error, litellm.ContentPolicyViolationError):
            return Refused(detail)
        if isinstance(error, litellm.Timeout | litellm.APIConnectionError):
            return TransientError(detail)
        status = getattr(error, "status_code", 0)
        # An error object that came with status 200: a name of litellm's stands there, or the provider's own code.
        plain = status != _NO_REPLY_STATUS and str(status or 0).isdecimal()
        failure = Failure(int(status or 0) if plain else 200, str(error))
        return to_error(failure, where, self._spec.api_key_env)


def with_own_reason(body: dict[str, Any], replies: list[object]) -> dict[str, Any]:
    """litellm's `body` with the provider's own `finish_reason`, where that is null or missing."""
    for raw in replies:
        try:
            choices = json.loads(raw).get("choices") if isinstance(raw, str) else None
        except (ValueError, AttributeError):
            continue
        first = choices[0] if isinstance(choices, list) and choices else None
        if isinstance(first, dict) and not first.get("finish_reason") and body.get("choices"):
            body["choices"][0]["finish_reason"] = None
    return body


def _reply(error: BaseException | None) -> Failure | None:
    """The provider's HTTP reply among the causes of `error`.

    litellm's own classes keep neither its body nor the error's code (a content filter becomes a plain 400).
    """
    while error is not None:
        if isinstance(error, httpx.HTTPStatusError) and error.response.is_stream_consumed:
            return Failure(error.response.status_code, error.response.text, error.response.headers)
        error = error.__cause__ or error.__context__
    return None
