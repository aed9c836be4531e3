"""Which kind of failure a provider's status code and error text mean; and nothing secret in its message.

Shared by all backends, so that the same answer of a provider means the same failure through any of them.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from personalrm.core.errors import (
    ContextOverflow,
    ModelCallError,
    PermanentError,
    RateLimited,
    Refused,
    TransientError,
)

MAX_DETAIL = 400
"""Characters of a provider's own words that an error message keeps."""

_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)$", re.IGNORECASE)
_BEARER = re.compile(r"(?i)\bbearer\s+[^\s\"',}]+")
_MIN_SECRET = 6

_OVERFLOW = re.compile(
    r"context_length_exceeded|exceed_context_size|context_window_exceeded"
    r"|exceeds? the (available |maximum |model'?s? )?context|maximum context length"
    r"|context (length|window) (of|is|exceed)"
    r"|prompt is too long|input (is too long|token count)|too many (input )?tokens in (the )?prompt"
    r"|string_above_max_length|reduce the length of the (messages|prompt|input)",
    re.IGNORECASE,
)
_FILTERED = re.compile(
    r"content_filter|content_policy|content management policy|content policy violation|moderation|flagged",
    re.IGNORECASE,
)
_NO_SUCH_MODEL = re.compile(
    r"model_not_found|unknown model|invalid model|model .{0,80}(does not exist|not found|is not available)"
    r"|LLM Provider NOT provided",
    re.IGNORECASE,
)
_NO_MONEY = re.compile(r"insufficient_quota|billing_hard_limit|exceeded your current quota", re.IGNORECASE)

_RETRIED_STATUS = frozenset({408, 409, 425})
_CLOSED_STATUS = frozenset({401, 402, 403, 404})
_BODY_STATUS = frozenset({400, 413, 422})


class ModelUnavailable(PermanentError):
    """401, 402, 403, unknown model, no credit: every further call of this model would fail the same way."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What a provider said when it did not answer. `status` 0 means that no HTTP status is known."""

    status: int
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)


def to_error(failure: Failure, where: str, key_env: str | None = None) -> ModelCallError:
    """The error that `failure` stands for; `where` names model and endpoint, `key_env` the key's variable.

    The wording is looked at before the status, because providers send overflow and refusal as 400, 403,
    413, 422 or even 500.
    """
    status, text = failure.status, failure.text
    detail = f"{where}: HTTP {status}: {scrub(text, key_env)}" if status else f"{where}: {scrub(text, key_env)}"
    if status == 429:
        if _NO_MONEY.search(text):
            return ModelUnavailable(f"{detail}. The account has no credit left; nothing was retried.")
        return RateLimited(detail, retry_after=retry_after_seconds(failure.headers))
    if _OVERFLOW.search(text) and (status in _BODY_STATUS or status >= 500 or status == 0):
        return ContextOverflow(f"{detail}. The prompt is longer than the model's context window.")
    if _FILTERED.search(text) and (status in _BODY_STATUS or status == 403):
        return Refused(detail)
    unknown = status in {404, *_BODY_STATUS} and _NO_SUCH_MODEL.search(text) is not None
    if unknown or status in _CLOSED_STATUS:
        return ModelUnavailable(f"{detail}. {_advice(status, key_env)}")
    if status in _RETRIED_STATUS or status >= 500 or status < 400:
        return TransientError(detail, retry_after=retry_after_seconds(failure.headers))
    return PermanentError(f"{detail}. The request itself was rejected.")


def _advice(status: int, key_env: str | None) -> str:
    """What to do about a closed door."""
    if status in (401, 403):
        return f"Check the key in the environment variable {key_env or 'of this provider'} and its rights."
    if status == 402:
        return "The account has no credit left."
    return "Check the model's id and api_base in the config."


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
