"""Which kind of failure a provider's status code and error text mean; and nothing secret in its message.

Shared by all backends, so that the same answer of a provider means the same failure through any of them.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple
from urllib.parse import quote

from personalrm.core.errors import (
    ContextOverflow,
    ModelCallError,
    OutOfTokens,
    PermanentError,
    RateLimited,
    Refused,
    RequestRejected,
    TransientError,
)

FIRST_REJECTED, REJECTED, REJECTED_SHARE = 5, 20, 0.2
"""Rejected requests (400, 413, 422 in unknown words) that end a job: the first of it, or so many and this share of all.
Fewer are failures of their own (our choice)."""
MAX_DETAIL = 400
"""Characters of a provider's own words that an error message keeps."""

_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)$", re.IGNORECASE)
_BEARER = re.compile(r"(?i)\bbearer\s+[^\s\"',}]+")
_MIN_SECRET = 6

_RETRIED_STATUS = frozenset({408, 409, 425})
_CLOSED_STATUS = frozenset({401, 402, 403, 404})
_BODY_STATUS = frozenset({400, 413, 422})

Kind = Literal["limited", "no credit", "overflow", "refused", "out of tokens", "no model"]


class _Rule(NamedTuple):
    """One kind of failure: the statuses that it comes with, the codes and types that mean it, and the words, which
    decide where no code does. `narrow` words decide before any code: providers give them the code of another kind. An
    error in a body of status 200, or without any, may be of each kind."""

    kind: Kind
    statuses: frozenset[int]
    codes: str
    words: str
    narrow: bool = False


_NEVER = "(?!)"
_TABLE = (
    # OpenAI and Groq: one request that is larger than a minute's tokens.
    _Rule(
        "overflow", frozenset({413, 429}), _NEVER, r"request too large\b|requested tokens? exceeds? .{0,40}limit", True
    ),
    # OpenAI: nothing but thinking until the limit, which is an answer that was cut.
    _Rule("out of tokens", frozenset({400}), _NEVER, r"max_tokens or model output limit was reached", True),
    _Rule(
        "no credit",
        frozenset({400, 402, 403, 429}),
        r"insufficient_(quota|balance|funds|credits?)|billing_(hard_limit.*|not_active)|arrearage|payment_required"
        r"|credit_balance.*",
        r"insufficient[ _](quota|balance|credits?|funds)|credit balance is too low|billing_hard_limit"
        r"|exceeded your current quota",
    ),
    _Rule(
        "limited",
        frozenset({400, 429}),
        r"resource_exhausted|rate_?limit.*|too_?many_?requests.*|throttling.*|requests?_limit.*|tokens?_limit.*"
        r"|[a-z-]*per(minute|day)[a-z-]*",
        _NEVER,
    ),
    _Rule(
        "overflow",
        _BODY_STATUS,
        r"context_length_exceeded|exceed_context_size(_error)?|context_window_exceeded.*|string_above_max_length"
        r"|request_too_large|input_too_long|max_context_length.*|context_length_error",
        r"context_length_exceeded|exceed_context_size|context_window_exceeded|string_above_max_length"
        r"|exceeds? the (available |maximum |model'?s? )?context|(maximum|model'?s) context (length|window|limit)"
        r"|context (length|window|limit) (of|is|exceed)|exceeds? (the )?context limit"
        r"|maximum (model|prompt|input|sequence) length|max_?(model|seq(uence)?)_?len|prompt is too long"
        r"|inputs? (is|are) too long|input token count|too many (input )?tokens|reduce the length of"
        r"|`?inputs`? (tokens \+|must have less)|max_tokens must be at least 1, got -|range of input length"
        r"|(prompt|input|request).{0,40} (too long|too large|longer than|exceed(s|ed)?)\b"
        r".{0,60} (model|tokens?|length)\b",
    ),
    _Rule(
        "refused",
        frozenset({403, *_BODY_STATUS}),
        r"content_?filter(ed)?|content_?policy.*|data_?inspection_?failed|moderation.*|invalid_prompt|safety"
        r"|prohibited_content|responsible_?ai.*|guardrail.*|(new_)?sensitive.*|1301",
        r"content_filter|content_policy|content (exists )?risk|content management policy|(content|usage|safety) policy"
        r"|content[ -]filter|filtering policy|moderation|flagged|guardrail|inappropriate content"
        r"|sensitive (content|words?|information)|new_sensitive|considered high risk|prohibited[_ ]content"
        r"|(safety|moderation) (system|filter|reasons?)|blocked (due to|for|by) safety|content .{0,60}\bblocked"
        r"|violat\w+ .{0,60}polic(y|ies)",
    ),
    _Rule(
        "no model",
        frozenset({404, *_BODY_STATUS}),
        r"model_not_found|invalid_model|unknown_model|modelnotfound|model_not_supported",
        r"model_not_found|unknown model|invalid model|model .{0,80}(does not exist|not found|is not available)"
        r"|LLM Provider NOT provided",
    ),
)
"""In this order. From 500 on only `overflow` and `limited` are looked for, which some servers and proxies give so; what
else a failing server says means nothing."""
_CODED = frozenset({"code", "type", "status", "reason", "error_code", "error_type", "__type", "quotaid"})
_WAIT = re.compile(r"(?:try again|retry) in (?:(\d+)m(?!s))?\s*(?:([\d.]+)\s*(ms|s))?", re.IGNORECASE)


class ModelUnavailable(PermanentError):
    """401, 402, 403, unknown model, no credit: every further call of this model would fail the same way."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What a provider said when it did not answer. `status` 0 means that no HTTP status is known."""

    status: int
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)


def to_error(failure: Failure, where: str, key_env: str | None = None) -> ModelCallError:
    """The error that `failure` stands for; `where` names model and endpoint, `key_env` the key's variable."""
    status, text = failure.status, failure.text
    detail = f"{where}: HTTP {status}: {scrub(text, key_env)}" if status else f"{where}: {scrub(text, key_env)}"
    match kind_of(failure):
        case "no credit":
            return ModelUnavailable(f"{detail}. The account has no credit left; nothing was retried.")
        case "limited":
            return RateLimited(detail, retry_after=retry_after_of(failure))
        case "overflow":
            return ContextOverflow(f"{detail}. The prompt is longer than the model's context window, or its limits.")
        case "refused":
            return Refused(detail)
        case "out of tokens":
            return OutOfTokens(detail)
        case "no model":
            return ModelUnavailable(f"{detail}. {_advice(404, key_env)}")
    if status == 429:
        return RateLimited(detail, retry_after=retry_after_of(failure))
    if status in _CLOSED_STATUS:
        return ModelUnavailable(f"{detail}. {_advice(status, key_env)}")
    if status in _RETRIED_STATUS or status >= 500 or status < 400:
        return TransientError(detail, retry_after=retry_after_of(failure))
    if status in _BODY_STATUS:
        return RequestRejected(f"{detail}. The request itself was rejected.")
    return PermanentError(f"{detail}. The request itself was rejected.")


def kind_of(failure: Failure) -> Kind | None:
    """The kind of failure that codes and types, or else words, say; None where they say none that is known."""
    status = failure.status
    known = [
        rule
        for rule in _TABLE
        if status in rule.statuses or status < 400 or (status >= 500 and rule.kind in ("overflow", "limited"))
    ]
    codes = _codes(failure)
    for rule in known:
        if rule.narrow and re.search(rule.words, failure.text, re.IGNORECASE):
            return rule.kind
    for rule in known:
        if any(re.fullmatch(rule.codes, code) for code in codes):
            return rule.kind
    for rule in known:
        if re.search(rule.words, failure.text, re.IGNORECASE):
            return rule.kind
    return None


def _codes(failure: Failure) -> list[str]:
    """Codes, types and reasons in an error's JSON, wherever they stand, in lower case."""
    header = {name.lower(): value for name, value in failure.headers.items()}.get("x-amzn-errortype", "")
    found = [header.partition(":")[0]] if header else []
    for name, value in _fields(failure.text):
        if name.lower() in _CODED and isinstance(value, str | int):
            found.append(str(value))
    # Bedrock's types are of the form name#Type.
    return [code.rpartition("#")[2].strip().lower() for code in found]


def _fields(text: str) -> Iterator[tuple[str, object]]:
    """All fields of the JSON object in a text, at any depth."""
    start = text.find("{")
    try:
        body: object = json.JSONDecoder().raw_decode(text, start)[0] if start >= 0 else None
    except (ValueError, RecursionError):
        return
    left = [body]
    while left:
        value = left.pop()
        if isinstance(value, list):
            left += value
        elif isinstance(value, dict):
            yield from value.items()
            left += value.values()


def _advice(status: int, key_env: str | None) -> str:
    """What to do about a closed door."""
    if status in (401, 403):
        return f"Check the key in the environment variable {key_env or 'of this provider'} and its rights."
    if status == 402:
        return "The account has no credit left."
    return "Check the model's id and api_base in the config."


def retry_after_of(failure: Failure) -> float | None:
    """Seconds to wait, from the headers, or else from the body: Google's `retryDelay`, and OpenAI's words."""
    stated = retry_after_seconds(failure.headers)
    if stated is not None:
        return stated
    for name, value in _fields(failure.text):
        if name == "retryDelay" and isinstance(value, str):
            return _number(value.removesuffix("s"))
    found = _WAIT.search(failure.text)
    if found is None or not (found[1] or found[2]):
        return None
    return 60 * float(found[1] or 0) + (_number(found[2] or "0") or 0.0) / (1000 if found[3] == "ms" else 1)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait from Retry-After (seconds or an HTTP date) or retry-after-ms; None if not stated.

    A date counts from the reply's own `Date`: our clock may be wrong, or be set while we wait.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    milliseconds = _number(lower.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    value = lower.get("retry-after", "").strip()
    seconds = _number(value)
    if seconds is not None or not value:
        return seconds
    until = _moment(value)
    return None if until is None else max(0.0, until - (_moment(lower.get("date", "")) or time.time()))


def _moment(date: str) -> float | None:
    """An HTTP date in Unix seconds, or None."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def _number(text: str) -> float | None:
    """`text` as a finite number of at least 0, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def secret_values(key_env: str | None = None) -> list[str]:
    """Values of environment variables that look like credentials, longest first."""
    names = {name for name in os.environ if _SECRET_NAME.search(name)} | ({key_env} if key_env else set())
    values = {os.environ.get(name, "").strip() for name in names}
    # Longest first, so that a key which holds another one goes as a whole.
    return sorted((value for value in values if len(value) >= _MIN_SECRET), key=len, reverse=True)


def scrub(text: str, key_env: str | None = None) -> str:
    """`text` with every credential of the environment replaced by `***`, on one line, shortened.

    Any provider may echo a key in its error; shortening comes last, so that no part of one remains.
    """
    for value in secret_values(key_env):
        for form in (value, quote(value, safe="")):
            text = text.replace(form, "***")
    text = " ".join(_BEARER.sub("Bearer ***", text).split())
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "…"


def is_run(rejected: int, answered: int) -> bool:
    """Whether so many rejected requests speak of the model or its settings rather than of the requests."""
    if not answered:
        return rejected >= FIRST_REJECTED
    return rejected >= REJECTED and rejected >= REJECTED_SHARE * (rejected + answered)


def run_of(error: RequestRejected, rejected: int, answered: int) -> str:
    """What a job ends with after a run of rejected requests: the provider's words, and where to look."""
    return f"{error} So were {rejected} of {rejected + answered} requests: look at the model's entry in the config."
