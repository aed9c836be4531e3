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
from typing import NamedTuple
from urllib.parse import quote

from personalrm.core.addresses import without_credentials
from personalrm.core.credentials import clean_key
from personalrm.core.errors import (
    ContextOverflow,
    FieldRefused,
    ModelCallError,
    OutOfTokens,
    PermanentError,
    RateLimited,
    Refused,
    RequestRejected,
    TransientError,
)
from personalrm.llm.limits.refused_fields import remedy_for

MAX_DETAIL = 400
"""Characters of a provider's own words that an error message keeps."""

_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)$", re.IGNORECASE)
_BEARER = re.compile(r"(?i)\bbearer\s+[^\s\"',}]+")
_MIN_SECRET = 6


class ModelUnavailable(PermanentError):
    """401, 402, 403, unknown model, no credit: every further call of this model would fail the same way."""


_CHECK_KEY = "Check the key in the environment variable {key} and its rights."
_CHECK_MODEL = "Check the model's id and api_base in the config."
_CHECK_REDIRECT = (
    "The endpoint redirects to {where}, which is not followed, so that neither texts nor the key go elsewhere. If that "
    "is right, set api_base to it."
)
_CHECK_FIELD = (
    "The server refuses a field of every request: set {remedy}, at the model's entry in the config (docs/models.md)."
)
_BODY_STATUS = frozenset({400, 413, 422})
_BY_STATUS: dict[int, tuple[type[ModelCallError], str]] = {
    **dict.fromkeys((401, 403), (ModelUnavailable, _CHECK_KEY)),
    402: (ModelUnavailable, "The account has no credit left."),
    **dict.fromkeys((301, 302, 303, 307, 308), (ModelUnavailable, _CHECK_REDIRECT)),
    404: (ModelUnavailable, _CHECK_MODEL),
    **dict.fromkeys((408, 409, 424, 425, 499), (TransientError, "")),
    **dict.fromkeys((429, 498), (RateLimited, "")),
    **dict.fromkeys(_BODY_STATUS, (RequestRejected, "The request itself was rejected.")),
    451: (Refused, ""),
}
"""Error and advice where neither codes nor words say more; other statuses of 4xx are permanent, all others transient.
"""


class _Rule(NamedTuple):
    """One kind of failure: its error, the statuses that it comes with, the codes and types that mean it, the words,
    which decide where no code does, and advice. `narrow` words decide before any code: providers give them the code of
    another kind. An error in a body of status 200, or without any, may be of each kind."""

    error: type[ModelCallError]
    statuses: frozenset[int]
    codes: str
    words: str
    advice: str = ""
    narrow: bool = False


_NEVER = "(?!)"
_TOO_LONG = "The prompt is longer than the model's context window, or its limits."
_TABLE = (
    # OpenAI and Groq: one request that is larger than a minute's tokens.
    _Rule(
        ContextOverflow,
        frozenset({413, 429}),
        _NEVER,
        r"request too large\b|requested tokens? exceeds? .{0,40}limit",
        _TOO_LONG,
        narrow=True,
    ),
    # OpenAI: nothing but thinking until the limit, which is an answer that was cut.
    _Rule(OutOfTokens, frozenset({400}), _NEVER, r"max_tokens or model output limit was reached", narrow=True),
    _Rule(
        ModelUnavailable,
        frozenset({400, 402, 403, 429}),
        r"insufficient_(quota|balance|funds|credits?)|billing_(hard_limit.*|not_active)|arrearage|payment_required"
        r"|credit_balance.*|exceeded_current_quota.*|1113",
        r"insufficient[ _](quota|balance|credits?|funds)|credit balance is too low|billing_hard_limit"
        r"|exceeded your current quota|account (is |was |has been )?(suspended|deactivated|disabled|terminated|banned)"
        r"|access (is |was |has been )?terminated|余额不足|欠费|(账号|账户|帐号).{0,20}(封禁|禁用|停用|冻结)",
        "The account has no credit left, or is suspended; nothing was retried.",
    ),
    _Rule(
        ModelUnavailable,
        _BODY_STATUS,
        r"(invalid_)?api_?key(_invalid)?|authentication(_error)?|unauthori[sz]ed",
        r"api[ _]key (is |has )?(not valid|invalid|expired|incorrect)|(incorrect|invalid|wrong|expired) api[ _]key",
        _CHECK_KEY,
    ),
    _Rule(
        RateLimited,
        frozenset({400, 429}),
        r"resource_exhausted|rate_?limit.*|too_?many_?requests.*|throttling.*|requests?_limit.*|tokens?_limit.*"
        r"|[a-z-]*per(minute|day)[a-z-]*|capacity_exceeded",
        # Before the words of a prompt that is too long.
        r"\b(tokens?|requests?)[ -]per[ -](second|minute|hour|day)\b"
        r"|\b(hourly|daily|monthly) (tokens?|requests?) limit",
    ),
    _Rule(
        ContextOverflow,
        _BODY_STATUS,
        r"context_length_exceeded|exceed_context_size(_error)?|context_window_exceeded.*|string_above_max_length"
        r"|request_too_large|input_too_long|max_context_length.*|context_length_error|1261",
        r"context_length_exceeded|exceed_context_size|context_window_exceeded|string_above_max_length"
        r"|exceeds? the (available |maximum |model'?s? )?context|(maximum|model'?s) context (length|window|limit)"
        r"|context (length|window|limit) (of|is|exceed)|exceeds? (the )?context limit"
        r"|maximum (model|prompt|input|sequence) length|max_?(model|seq(uence)?)_?len|prompt is too long"
        r"|inputs? (is|are) too long|input token count|too many (input )?tokens|reduce the length of"
        r"|`?inputs`? (tokens \+|must have less)|max_tokens must be at least 1, got -|range of input length"
        r"|\b(session_len|max_num_tokens)\b|max(imum)? (input|message|prompt) (characters|tokens)|token limit exceeded"
        r"|(prompt|input|total) tokens?\b.{0,40} exceeds? .{0,40}\b(limit|max\w*)\b|超长|过长"
        r"|(prompt|input|request).{0,40} (too long|too large|longer than|exceed(s|ed)?)\b"
        r".{0,60} (model|tokens?|length)\b",
        _TOO_LONG,
    ),
    _Rule(
        Refused,
        frozenset({403, *_BODY_STATUS}),
        r"content_?filter(ed)?|content_?policy.*|data_?inspection_?failed|moderation.*|invalid_prompt|safety"
        r"|prohibited_content|responsible_?ai.*|guardrail.*|(new_)?sensitive.*|censorship.*|1301",
        r"content_filter|content_policy|content (exists )?risk|content management policy|(content|usage|safety) policy"
        r"|content[ -]filter|filtering policy|moderation|flagged|guardrail|inappropriate content"
        r"|sensitive (content|words?|information)|new_sensitive|considered high risk|prohibited[_ ]content"
        r"|(safety|moderation) (system|filter|reasons?)|blocked (due to|for|by) safety|content .{0,60}\bblocked"
        r"|violat\w+ .{0,60}(polic(y|ies)|guidelines|practices)|prohibited by law|敏感|不安全|违规",
    ),
    _Rule(
        ModelUnavailable,
        frozenset({404, 451, *_BODY_STATUS}),
        r"model_not_found|invalid_model|unknown_model|modelnotfound|model_not_supported|model_decommissioned",
        r"model_not_found|unknown model|invalid model|model .{0,80}(does not exist|not found|is not available)"
        r"|decommissioned|LLM Provider NOT provided|(location|country|region|territory) (is )?not (supported|available)"
        r"|(available|supported) in your (location|country|region)|plain HTTP request was sent to HTTPS",
        _CHECK_MODEL,
    ),
)
"""In this order. From status 500 on only these two are looked for, which some servers and proxies report so:"""
_OF_SERVERS = (ContextOverflow, RateLimited)
_CODED = frozenset({"code", "type", "status", "reason", "error_code", "error_type", "__type", "quotaid"})
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = r"(?<![\d.])(\d+(?:\.\d+)?)\s*(ms|h|m|s)(?:ours?|in(?:ute)?s?|ec(?:ond)?s?)?(?![a-z])\s*"
_DURATION = re.compile(_PART, re.IGNORECASE)
_WAIT = re.compile(rf"(?:try again|retry|wait)(?: in| after| for)? ((?:{_PART})+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Failure:
    """What a provider said when it did not answer. `status` 0 means that no HTTP status is known."""

    status: int
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)


def to_error(failure: Failure, where: str, key_env: str | None = None) -> ModelCallError:
    """The error that `failure` stands for; `where` names model and endpoint, `key_env` the key's variable."""
    status = failure.status
    rule = kind_of(failure)
    remedy = remedy_for(failure.text) if rule is None and status in (403, *_BODY_STATUS) else None
    if rule is not None:
        kind, advice = rule.error, rule.advice
    elif remedy is not None:
        kind, advice = FieldRefused, _CHECK_FIELD
    else:
        other = PermanentError if 400 <= status < 500 else TransientError
        kind, advice = _BY_STATUS.get(status, (other, _BY_STATUS[400][1] if other is PermanentError else ""))
    detail = f"{where}: {f'HTTP {status}: ' if status else ''}{scrub(failure.text, key_env)}"
    if advice:
        target = scrub(_target(failure), key_env)
        detail = f"{detail}. {advice.format(key=key_env or 'of this provider', remedy=remedy, where=target)}"
    if issubclass(kind, RateLimited | TransientError):
        return kind(detail, retry_after=retry_after_of(failure))
    return kind(detail)


def _target(failure: Failure) -> str:
    """Where a reply redirects to."""
    target = {name.lower(): value for name, value in failure.headers.items()}.get("location", "")
    return without_credentials(target) if "//" in target else "another path" if target else "an address that it lacks"


def kind_of(failure: Failure) -> _Rule | None:
    """The kind of failure that codes and types, or else words, say; None where they say none that is known."""
    status, text = failure.status, failure.text
    known = [
        rule
        for rule in _TABLE
        if status in rule.statuses or status < 400 or (status >= 500 and rule.error in _OF_SERVERS)
    ]
    if "\\u" in text:
        text = " ".join([text, *(value for _, value in _fields(text) if isinstance(value, str))])
    said = [rule for rule in known if re.search(rule.words, text, re.IGNORECASE)]
    codes = _codes(failure)
    coded = [rule for rule in known if any(re.fullmatch(rule.codes, code) for code in codes)]
    return next(iter([rule for rule in said if rule.narrow] + coded + said), None)


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


def retry_after_of(failure: Failure) -> float | None:
    """Seconds to wait: from Retry-After (seconds or an HTTP date) or retry-after-ms, or else from the body (Google's
    `retryDelay`, OpenAI's words); None if not stated.

    A date counts from the reply's own `Date`: our clock may be wrong, or be set while we wait.
    """
    headers = {name.lower(): value.strip() for name, value in failure.headers.items()}
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after", "")
    seconds, until = _duration(value), _moment(value)
    if seconds is not None:
        return seconds
    if until is not None:
        return max(0.0, until - (_moment(headers.get("date", "")) or time.time()))
    for name, delay in _fields(failure.text):
        if name == "retryDelay" and isinstance(delay, str):
            return _duration(delay)
    found = _WAIT.search(failure.text)
    return _duration(found[1]) if found else None


def _duration(text: str) -> float | None:
    """Seconds of a number, or of a time as `1h2m3.5s`, `20 ms` or `2 minutes`; None for anything else."""
    parts = _DURATION.findall(text)
    if not parts or _DURATION.sub("", text).strip():
        return _number(text)
    return sum(float(number) * _UNITS[unit.lower()] for number, unit in parts)


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
    found = [os.environ.get(name, "") for name in names]
    values = {form for value in found for form in (value.strip(), clean_key(value))}
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
