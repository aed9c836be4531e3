"""Errors of the library: each says what is wrong, where, and what to do.

No message may hold a credential: callers put names of environment variables into messages,
never their values.
"""

from __future__ import annotations


class PersonalRMError(Exception):
    """Base of every error that this library raises on purpose."""


class ConfigError(PersonalRMError):
    """The configuration is wrong; the message begins with the path of the key."""


class DataError(PersonalRMError):
    """Input data cannot be used; the message names file, line, field and user where known."""


class OutputError(PersonalRMError, OSError):
    """A result cannot be written: no space, no right, or a disk that fails."""


class PromptError(PersonalRMError):
    """A prompt file is missing, malformed, or uses an undefined name."""


class StoreError(PersonalRMError):
    """The response store cannot be read or written."""


class BudgetExceeded(PersonalRMError):
    """The next call could exceed the budget and was not made. All answers before it are stored."""


class EmbeddedModelError(PersonalRMError):
    """A model file or the embedded runtime is not available; the message says what was tried."""


class NotFittedError(PersonalRMError):
    """A personalised judge was used before `fit` or `load`."""


class ModelCallError(PersonalRMError):
    """A call of a model failed. Subclasses say which kind of failure and so what to do next.

    `retry_after` is the wait in seconds that the provider asked for, if it named one.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimited(ModelCallError):
    """The provider rejects the call for now (429)."""


class TransientError(ModelCallError):
    """Time-out, reset connection, 5xx, malformed body: worth another attempt, not before `retry_after` seconds."""


class PermanentError(ModelCallError):
    """401, 403, unknown model: another attempt, and every other request of the model, would fail the same way."""


class ContextOverflow(ModelCallError):
    """The prompt does not fit the model's context window."""


class Refused(ModelCallError):
    """The provider's own filter refused to answer."""


class RequestRejected(ModelCallError):
    """The provider rejected this request (400, 413, 422) with an unrecognised message; other requests may pass."""


class FieldRefused(RequestRejected):
    """The provider refuses a field that all requests of this kind have; the message names the key to set."""


class OutOfTokens(ModelCallError):
    """The model used all its tokens for thinking, which the provider reports as an error: a cut answer."""
