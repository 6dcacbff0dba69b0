"""Repeats what failed in passing: exponential backoff with full jitter, or what the server asks.

The SDKs' own retries are off: one place decides, waits and reports, the same way for every vendor.
Whether an error passes is its own knowledge (`LLMError.is_transient`).
"""

from __future__ import annotations

import functools
import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import ParamSpec, TypeVar

import tenacity

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.llm.exceptions import LLMAPIError, LLMCancelledError, LLMError
from dbt_osmosis_llm.llm.messages import LLMClient, LLMRequest, LLMResponse

_MAX_BACKOFF_S = 60.0
_MAX_SPREAD_S = 1.0
"""Added at random to what a server asks to wait, so that parallel calls do not return at once."""

Params = ParamSpec("Params")
Result = TypeVar("Result")


def retry_with_backoff(
    max_retries: int = 3,
    retry_delay_s: float = 1.0,
    *,
    sleep: Callable[[float], None] = time.sleep,
    label: str = "",
) -> Callable[[Callable[Params, Result]], Callable[Params, Result]]:
    """Return a decorator that repeats a function whose error passes.

    A server's Retry-After is waited for; else the wait before the n-th repetition is a random
    part of ``retry_delay_s * 2 ** (n - 1)`` seconds, at most 60.

    Args:
        max_retries: Repetitions after the first call.
        retry_delay_s: Longest first wait, in seconds.
        sleep: Instead of waiting in real time.
        label: Named in the one warning that each repetition logs.

    Returns:
        The decorator; the function's last error is raised as it is.
    """

    def warn(state: tenacity.RetryCallState) -> None:
        logger.warning(
            "%s; retry %d of %d%s in %.1f s",
            _error(state),
            state.attempt_number,
            max_retries,
            f" of {label}" if label else "",
            state.upcoming_sleep,
        )

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_transient),
        stop=tenacity.stop_after_attempt(max_retries + 1),
        wait=_Wait(retry_delay_s),
        sleep=sleep,
        before_sleep=warn,
        reraise=True,  # without, tenacity raises an error of its own around it
    )

    def decorate(function: Callable[Params, Result]) -> Callable[Params, Result]:
        @functools.wraps(function)
        def repeated(*args: Params.args, **kwargs: Params.kwargs) -> Result:
            return retrying(function, *args, **kwargs)

        return repeated

    return decorate


def is_transient(error: BaseException) -> bool:
    """Tell whether the same call may succeed a moment later."""
    if isinstance(error, LLMError):
        return error.is_transient
    return isinstance(error, (ConnectionError, TimeoutError))


class _Wait(tenacity.wait.wait_base):
    def __init__(self, retry_delay_s: float) -> None:
        self._backoff = tenacity.wait_random_exponential(
            multiplier=retry_delay_s, max=_MAX_BACKOFF_S
        )

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        error = _error(retry_state)
        retry_after_s = error.retry_after_s if isinstance(error, LLMAPIError) else None
        if not retry_after_s:  # nor 0, which a date in the past comes to
            return self._backoff(retry_state)
        return retry_after_s + random.uniform(0, min(retry_after_s / 4, _MAX_SPREAD_S))  # noqa: S311


def _error(state: tenacity.RetryCallState) -> BaseException | None:
    return None if state.outcome is None else state.outcome.exception()


class RetryingClient:
    """A client that repeats the requests of the client it has.

    Args:
        inner: Whom to ask.
        max_retries: Repetitions after the first request.
        retry_delay_s: Longest first wait, in seconds.
        sleep: Instead of waiting in real time, which ends when the request is cancelled.
    """

    def __init__(
        self,
        inner: LLMClient,
        *,
        max_retries: int,
        retry_delay_s: float,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self._inner = inner
        self._max_retries = max_retries
        self._retry_delay_s = retry_delay_s
        self._sleep = sleep
        self.provider = inner.provider
        self.model = inner.model

    def complete(self, request: LLMRequest) -> LLMResponse:
        """Pass the request on until it is answered or its error does not pass.

        The response and the last error say how many requests were made, in ``attempts``.

        Raises:
            LLMCancelledError: Nobody wants the answer any more; a wait ends at once then.
            LLMError: As the inner client does.
        """
        cancelled = request.cancelled or threading.Event()

        def wait(seconds: float) -> None:
            (self._sleep or cancelled.wait)(seconds)
            if cancelled.is_set():
                raise LLMCancelledError("the run was stopped")

        attempts = 0  # requests made by the calls before the one that runs
        errors: list[str] = []

        @retry_with_backoff(
            self._max_retries, self._retry_delay_s, sleep=wait, label=request.custom_id
        )
        def attempt() -> LLMResponse:
            nonlocal attempts
            try:
                response = self._inner.complete(request)
            except LLMError as error:
                attempts += error.attempts
                errors.append(type(error).__name__)
                raise
            return replace(
                response, attempts=attempts + response.attempts, repeated_for=tuple(errors)
            )

        try:
            return attempt()
        except LLMError as error:
            error.attempts = attempts
            error.repeated_for = tuple(errors[:-1])  # the last one is the error itself
            raise
