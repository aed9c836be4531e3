"""Request and response of a language model, and the identity of a model.

Plain dataclasses: this module is imported by nearly everything and must stay cheap.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol
from urllib.parse import urlsplit

Role = Literal["system", "user", "assistant"]
BackendName = Literal["embedded", "openai", "litellm"]
SystemRole = Literal["system", "user"]

MAX_TOKENS = "max_tokens"
OPENAI_PREFIX = "openai/"
_AT = " at "
_OPENAI = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Request:
    """Everything about a call except the model that may change its answer.

    `messages` may end with an `assistant` message: the model then continues it (prefill), and the
    response's text and log-probabilities hold the continuation only.
    `sample_index` tells repeated samples of one prompt apart; it is a named part of the store's key.
    `top_logprobs` > 0 asks for that many alternatives at each generated token.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    sample_index: int = 0
    top_logprobs: int = 0
    stop: tuple[str, ...] = ()
    json_schema: str | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Alternatives at one generated token: (token text, natural log-probability), best first."""

    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, as the provider counted them, or `estimated`. `tokens_cached` is a part of `tokens_in`."""

    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    """A model's answer, raw. Parsing is done elsewhere and never changes what is stored.

    `key` is the store's key of the request that led to it. `reasoning` is the provider's separate
    thinking text, if any. `cost_usd` is the list price of the call without any cache discount;
    None where no price is known. `model` is the model that the reply names, empty where it names none.
    """

    text: str
    finish_reason: str
    usage: Usage
    key: str = ""
    logprobs: tuple[TokenLogprobs, ...] = ()
    reasoning: str = ""
    refusal: str = ""
    cost_usd: float | None = None
    model: str = ""

    @property
    def cut(self) -> bool:
        """The answer ends where its limit of tokens was reached, by the names that providers give this."""
        return self.finish_reason.lower() in ("length", "max_tokens", "model_length")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """How to reach one model, and what identifies it.

    `name` is the config's name; `model` the provider's id (`openai/gpt-4o-mini`,
    `together_ai/meta-llama/…`, or the catalogue id of an embedded model); `snapshot` a dated version or
    the SHA-256 of the weights; `same_weights` says that every server of this id and snapshot has the same weights.
    Only `identity` enters the store's key; all else may change freely. `sent_as` (the id that requests name, `model` if
    empty), `omit` (fields that are not sent), `system_role` (whose message an instruction is) and `token_limit_key`
    (the field of the longest answer) say how requests are written.
    `tokenizer` is the file of its tokenizer (`tokenizer.json`). Prices are US dollars per million tokens.
    """

    name: str
    backend: BackendName
    model: str
    snapshot: str = ""
    same_weights: bool = False
    api_base: str | None = None
    api_key_env: str | None = None
    path: str | None = None
    context_length: int = 8192
    tokenizer: str | None = None
    max_concurrency: int = 8
    timeout_s: float = 120.0
    deadline_s: float = 900.0
    max_attempts: int = 6
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    price_in: float | None = None
    price_out: float | None = None
    extra_body: tuple[tuple[str, str], ...] = field(default=())
    sent_as: str = ""
    omit: tuple[str, ...] = ()
    system_role: SystemRole = "system"
    token_limit_key: str = MAX_TOKENS

    @property
    def identity(self) -> str:
        """The model as part of the store's key: `bare_identity`, and the endpoint of a server of one's own.

        An id says little about what such a server has loaded, so two servers are two models.
        """
        where = self._endpoint
        return f"{self.bare_identity}{_AT}{where}" if where else self.bare_identity

    @property
    def bare_identity(self) -> str:
        """Id, snapshot, extra body and how requests are written, which identify a provider's or an embedded model.

        What is not set adds nothing, so that a new setting leaves the keys of stored answers as they are.
        """
        extra = "".join(f"&{k}={v}" for k, v in sorted(self.extra_body))
        # No value of `extra_body`, which is JSON, is written so. Without its prefix an id was always sent.
        named = [f"as:{self.sent_as}"] if self.sent_as not in ("", self.model.removeprefix(OPENAI_PREFIX)) else []
        named += [f"omit:{name}" for name in sorted(set(self.omit))]
        named += [f"system:{self.system_role}"] if self.system_role != "system" else []
        named += [f"limit:{self.token_limit_key}"] if self.token_limit_key != MAX_TOKENS else []
        return f"{self.model}@{self.snapshot}{extra}{''.join(f'&{each}' for each in named)}"

    @property
    def wire_id(self) -> str:
        """The id that requests name: `sent_as`, or else `model` as it stands; at OpenAI's own address without a leading
        `openai/`, which is how LiteLLM writes ids there."""
        if self.sent_as:
            return self.sent_as
        own = self.api_base and normalised(self.api_base) != _OPENAI
        return self.model if own else self.model.removeprefix(OPENAI_PREFIX)

    @property
    def _endpoint(self) -> str:
        """The normalised address that is part of the identity; empty where none is."""
        if self.backend == "embedded" or not self.api_base or (self.snapshot and self.same_weights):
            return ""
        where = normalised(self.api_base)
        return "" if where == _OPENAI else where


def normalised(base: str) -> str:
    """An endpoint's address in one spelling, without credentials and query.

    >>> normalised("HTTP://me:secret@LocalHost:80/v1/?key=x")
    'http://127.0.0.1/v1'
    """
    try:
        parts = urlsplit(base.strip())
    except ValueError:  # brackets that are no IPv6 address: the checks before a run say so
        return "://"
    try:
        port = None if parts.port == {"http": 80, "https": 443}.get(parts.scheme) else parts.port
    except ValueError:  # no number: the first call fails, and says so
        port = None
    host = (parts.hostname or "").rstrip(".")
    host = "127.0.0.1" if host in ("localhost", "::1") else f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def split_identity(identity: str) -> tuple[str, str]:
    """The bare identity and the endpoint (empty if it has none) of a `ModelSpec.identity`."""
    bare, at, where = identity.rpartition(_AT)
    return (bare, where) if at and "://" in where and " " not in where else (identity, "")


class Backend(Protocol):
    """One way to reach a model. Raises only subclasses of `ModelCallError` (or `EmbeddedModelError`)."""

    async def call(self, request: Request) -> Response:
        """Send `request` once, without retry, and return the raw answer (`key` left empty)."""
        ...

    async def aclose(self) -> None:
        """Release connections. Safe to call twice."""
        ...


class LanguageModel(Protocol):
    """A client of one model, as the rest of the library sees it."""

    @property
    def spec(self) -> ModelSpec:
        """The model's id, endpoint and settings."""
        ...

    async def complete(self, request: Request) -> Response:
        """Answer from the store, or ask the model, store the answer and return it."""
        ...
