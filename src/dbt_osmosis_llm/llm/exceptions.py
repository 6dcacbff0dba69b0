"""The errors of this package.

    LLMError
    ├── LLMConfigError        the user must change a setting
    ├── LLMAPIError           the provider answered with an error, or not at all
    │   ├── LLMRateLimitError 429
    │   └── LLMTimeoutError   no whole answer in time
    ├── LLMResponseError      an answer that cannot be used
    │   ├── LLMRefusalError   the model or a filter refused to answer
    │   └── LLMTruncatedError cut off at the bound on output before anything was whole
    ├── LLMBudgetError        the next request would pass the budget
    ├── LLMLedgerError        the ledger is required and failed
    └── LLMCancelledError     the run was stopped before the request was sent

Where dbt-osmosis is at hand, `host.compat.share_errors` makes them its own errors as well, so that
code that catches those keeps working.
"""

from __future__ import annotations

# With 5xx, what the SDKs of OpenAI and Anthropic repeat by themselves.
_TRANSIENT = (408, 409, 429)


class _Error(Exception):
    """Gives `LLMError` the layout of a class made in Python, so that it can get other bases."""


class LLMError(_Error):
    """Any failure of a call to a language model."""

    ends_run: bool = False
    """True when no other request of the run can succeed either."""
    attempts: int = 1
    """Requests made before this error was given up on."""
    repeated_for: tuple[str, ...] = ()
    """Classes of the errors before it that were worth a repetition."""
    call_id: str | None = None
    """The failed call on record; None without a ledger."""

    @property
    def is_transient(self) -> bool:
        """Tell whether the same request may succeed a moment later."""
        return False


class LLMConfigError(LLMError):
    """A setting is missing or wrong; the message says which one and what to do."""

    ends_run = True


class LLMAPIError(LLMError):
    """The provider answered with an error status, or the connection failed."""

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        code: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
        unreachable: bool = False,
        ends_run: bool = False,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        """HTTP status; None when no answer came."""
        self.code = code
        """The provider's own error code, e.g. ``model_not_found``."""
        self.param = param
        """The request's parameter that the provider rejects, where it names one."""
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        """What the server asked to wait, in seconds."""
        self.unreachable = unreachable
        """True when no connection could be made or it broke."""
        self.ends_run = ends_run

    @property
    def is_transient(self) -> bool:
        """Tell whether the same request may succeed a moment later; the status decides."""
        if self.ends_run:
            return False
        status = self.status_code
        return self.unreachable or (status is not None and (status in _TRANSIENT or status >= 500))

    @property
    def is_overload(self) -> bool:
        """Tell whether the server asks for fewer requests: 429, 503 or Anthropic's 529."""
        return not self.ends_run and self.status_code in (429, 503, 529)


class LLMRateLimitError(LLMAPIError):
    """The provider refuses more requests for now (429)."""


class LLMTimeoutError(LLMAPIError):
    """No whole answer came within the time allowed."""

    @property
    def is_transient(self) -> bool:
        """Tell whether the same request may succeed a moment later."""
        return not self.ends_run


class LLMResponseError(LLMError):
    """An answer came and cannot be used: refused, cut, empty or not the JSON asked for."""


class LLMRefusalError(LLMResponseError):
    """The model refused, or a content filter withheld its answer: asking again does not help."""


class LLMTruncatedError(LLMResponseError):
    """The answer was cut off at the bound on output tokens before anything in it was whole."""


class LLMBudgetError(LLMError):
    """The next request would pass the budget; no request was made."""

    ends_run = True
    attempts = 0


class LLMLedgerError(LLMError):
    """The ledger is required and failed; no request was made."""

    ends_run = True
    attempts = 0


class LLMCancelledError(LLMError):
    """The run was stopped before the request was sent."""

    attempts = 0
