"""Requests and tokens per minute, and requests in flight, for one provider and key.

Two guards stand behind one lock. A bucket of one second's worth spreads requests evenly, because
vendors enforce a minute's limit in parts of a second; the sum over the last minute holds the limit
itself, because a bucket forgets what a corrected estimate or a raised limit let through. No
library does both resources at once, in order of arrival, with refunds and a pause for everyone.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.llm.exceptions import LLMAPIError, LLMCancelledError, LLMError
from dbt_osmosis_llm.llm.messages import LLMClient, LLMRequest, LLMResponse, RateLimits

MAX_PAUSE_S = 120.0
"""A Retry-After that is longer pauses others no longer than this."""

_WINDOW_S = 61.2
"""A minute and 2 %: requests do not take equally long to reach the server, so two that were granted
a minute apart can arrive closer. Longer time rather than a lower limit, so that 1 stays 1."""
_BURST_S = 1.0
_DOUBT = 3.0
"""Standard deviations of the tokens in flight that are kept free: the server counts the truth
before we know it. Without, a server with a sliding minute refused 0.3 % of a simulation's
requests instead of 0.01 %."""
_MAX_DOUBT = 0.1
"""Of the limit; more would halve a small one."""
_DECAY = 0.95
"""What experience keeps of its weight with each further request."""
_WORTH_TELLING_S = 5.0
_POLL_S = 0.1
"""How often one that waits for its turn looks whether it is still wanted."""
_MIN_WAIT_S = 0.001
"""A shorter one may not move the clock at all."""


class _Meter:
    """One resource: what may be taken now, and what was taken within the window."""

    def __init__(self, limit: float | None, cap: float | None, now: float) -> None:
        self._cap = _or_unlimited(cap)
        self._refilled_at = now
        self.taken = 0
        self.limit = min(_or_unlimited(limit), self._cap)
        self._level = self._capacity

    @property
    def _per_second(self) -> float:
        return self.limit / _WINDOW_S

    @property
    def _capacity(self) -> float:
        return self._per_second * _BURST_S

    def change_limit(self, limit: float, now: float) -> None:
        """Set what a minute allows, as far as the user's cap allows it."""
        # Time that has passed is worth what the limit was while it did.
        self.refill(now)
        self.limit = min(limit, self._cap)
        self._level = min(self._level, self._capacity)

    def refill(self, now: float) -> None:
        """Put into the bucket what the time since the last refill is worth."""
        elapsed, self._refilled_at = now - self._refilled_at, now
        if elapsed > 0:
            self._level = min(self._capacity, self._level + elapsed * self._per_second)

    def take(self, amount: int, *, in_window: bool = True) -> None:
        """Take what was asked for, even beyond what there is; a negative amount gives back."""
        self._level = min(self._capacity, self._level - amount)
        if in_window:
            self.taken += amount

    def delay(self, amount: int) -> float:
        """Return the seconds until the bucket holds the amount, or is full if it never can."""
        missing = min(amount, self._capacity) - self._level
        # The tolerance is for sums of floats: a millionth of a token is no reason to wait.
        return missing / self._per_second if missing > 1e-6 else 0.0

    def is_spent(self, amount: int, doubt: float = 0.0) -> bool:
        """Tell whether the window has no room left for the amount and what is in doubt."""
        return self.taken + amount + min(doubt, _MAX_DOUBT * self.limit) > self.limit


def _or_unlimited(limit: float | None) -> float:
    if limit is None:
        return math.inf
    if not limit > 0:
        raise ValueError(f"a limit per minute is {limit!r}; it must be above 0, or None for none")
    return float(limit)


@dataclass(eq=False)
class Reservation:
    """One request that may be made, until it is settled."""

    number: int
    """1 for the first of its limiter."""
    granted_at: float
    tokens: int
    """What it is charged: the estimate, once settled the truth."""
    requests: int = 1
    is_settled: bool = False
    in_window: bool = True
    """True while the last minute counts it."""


class RateLimiter:
    """Lets requests start in order of arrival, as fast as one provider allows.

    Args:
        requests_per_minute: Where it starts; None: unlimited.
        tokens_per_minute: Where it starts; None: unlimited.
        max_requests_per_minute: The user's bound, which nothing learned ever passes.
        max_tokens_per_minute: The user's bound, which nothing learned ever passes.
        max_in_flight: Most requests at a time.
        clock: Seconds that never go back.
        wait: Waits for a condition whose lock is held, at most so many seconds (None: until
            notified), like ``threading.Condition.wait``.

    Raises:
        ValueError: A limit is not above 0.
    """

    def __init__(
        self,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        max_requests_per_minute: float | None = None,
        max_tokens_per_minute: float | None = None,
        max_in_flight: int = 16,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Condition, float | None], object] = threading.Condition.wait,
    ) -> None:
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight is {max_in_flight!r}; it must be at least 1")
        self._clock = clock
        self._wait = wait
        self._lock = threading.RLock()
        self._waiting: deque[threading.Condition] = deque()
        """Who waits, first come first; one condition each, so that only the first is woken."""
        now = clock()
        self._requests = _Meter(requests_per_minute, max_requests_per_minute, now)
        self._tokens = _Meter(tokens_per_minute, max_tokens_per_minute, now)
        self._window: deque[Reservation] = deque()
        self._squares_in_flight = 0
        """Sum of the squares of the estimates that are not settled."""
        self._error_variance = 0.04
        """Of estimates, relative; 20 % off until some are settled."""
        self._paused_until = -math.inf
        self._granted = 0
        self._in_flight = 0
        self._max_in_flight = max_in_flight
        self._allowance = max_in_flight
        self._slowed_after = 0
        """Number of the last reservation granted before the allowance was last halved."""
        self._successes = 0

    @property
    def requests_per_minute(self) -> float:
        """What holds now; infinite when nothing limits requests."""
        return self._requests.limit

    @property
    def tokens_per_minute(self) -> float:
        """What holds now; infinite when nothing limits tokens."""
        return self._tokens.limit

    @property
    def in_flight(self) -> int:
        """Requests granted and not settled."""
        return self._in_flight

    @property
    def allowance(self) -> int:
        """How many requests may be in flight now, from 1 to ``max_in_flight``."""
        return self._allowance

    def acquire(self, tokens: int, cancelled: threading.Event | None = None) -> Reservation:
        """Wait for this caller's turn, then reserve one request, its tokens and its slot.

        More tokens than the limit allows at once wait for all there can be, and are made up for
        by those that come after.

        Args:
            tokens: About how many the request takes.
            cancelled: Set when nobody wants to wait any more.

        Raises:
            LLMCancelledError: It was set.
        """
        turn = threading.Condition(self._lock)
        with self._lock:
            self._waiting.append(turn)
            try:
                is_logged = False
                while (delay := self._delay(turn, tokens)) is None or delay > 0:
                    _raise_if_set(cancelled)
                    if delay is not None and delay >= _WORTH_TELLING_S and not is_logged:
                        is_logged = True
                        logger.info("Waiting %.0f s for the rate limit", delay)
                    wait_s = None if delay is None else max(delay, _MIN_WAIT_S)
                    if cancelled is not None:  # nothing wakes who waits for it
                        wait_s = _POLL_S if wait_s is None else min(wait_s, _POLL_S)
                    self._wait(turn, wait_s)
                _raise_if_set(cancelled)
                return self._grant(tokens)
            finally:
                # However this ends, an interrupt included: the next in line takes over.
                self._waiting.remove(turn)
                self._wake_first()

    def settle(
        self, reservation: Reservation, used_tokens: int | None = None, *, requests: int = 1
    ) -> None:
        """End a request: free its slot and correct what it was charged.

        Args:
            reservation: From ``acquire``; settling it again does nothing.
            used_tokens: What it really took; None: unknown, the estimate stands.
            requests: How many requests were really made.
        """
        with self._lock:
            if reservation.is_settled:
                return
            reservation.is_settled = True
            self._in_flight -= 1
            # First: a request that is a minute old by now is corrected outside of the window.
            self._refill()
            self._squares_in_flight -= reservation.tokens**2
            if used_tokens is not None:
                self._correct(reservation, used_tokens)
            if requests > reservation.requests:
                self._requests.take(
                    requests - reservation.requests, in_window=reservation.in_window
                )
                reservation.requests = requests
            self._wake_first()

    def pause(self, seconds: float) -> None:
        """Let nobody start for so long; the longest pause holds."""
        # Nobody needs to be woken: who comes next looks at this before it starts.
        with self._lock:
            self._paused_until = max(self._paused_until, self._clock() + seconds)

    def slow_down(self, reservation: Reservation) -> None:
        """Halve the requests in flight because the server refused this one.

        Those that were under way when it was last halved say nothing new: a burst counts once.
        """
        with self._lock:
            if reservation.number > self._slowed_after:
                self._slowed_after = self._granted
                self._allowance = max(1, self._allowance // 2)
                self._successes = 0

    def speed_up(self, reservation: Reservation) -> None:
        """Count a success; as many as may be in flight allow one more."""
        with self._lock:
            if reservation.number > self._slowed_after and self._allowance < self._max_in_flight:
                self._successes += 1
                if self._successes >= self._allowance:
                    self._allowance += 1
                    self._successes = 0
                    self._wake_first()

    def learn(self, limits: RateLimits) -> None:
        """Take over what the server says it allows, up to the user's bounds."""
        learned = (
            (self._requests, limits.requests_per_minute),
            (self._tokens, limits.tokens_per_minute),
        )
        with self._lock:
            now = self._clock()
            for meter, limit in learned:
                if limit is not None and limit > 0 and limit != meter.limit:
                    meter.change_limit(limit, now)
            self._wake_first()

    def _delay(self, turn: threading.Condition, tokens: int) -> float | None:
        """Return the seconds until this one may start, 0 for now, None until it is woken."""
        if self._waiting[0] is not turn or self._in_flight >= self._allowance:
            return None
        now = self._refill()
        delay = max(self._paused_until - now, self._requests.delay(1), self._tokens.delay(tokens))
        # Estimates are wrong independently of each other, so it is the variances that add up.
        doubt = _DOUBT * math.sqrt(self._error_variance * (self._squares_in_flight + tokens**2))
        is_spent = self._requests.is_spent(1) or self._tokens.is_spent(tokens, doubt)
        # What would not fit an empty window either must start all the same.
        if is_spent and self._window:
            delay = max(delay, self._window[0].granted_at + _WINDOW_S - now)
        return max(0.0, delay)

    def _grant(self, tokens: int) -> Reservation:
        self._granted += 1
        self._in_flight += 1
        self._squares_in_flight += tokens**2
        self._requests.take(1)
        self._tokens.take(tokens)
        reservation = Reservation(self._granted, self._clock(), tokens)
        self._window.append(reservation)
        return reservation

    def _correct(self, reservation: Reservation, used_tokens: int) -> None:
        excess = used_tokens - reservation.tokens
        self._tokens.take(excess, in_window=reservation.in_window)
        if reservation.tokens:
            error = excess / reservation.tokens
            self._error_variance += (error**2 - self._error_variance) * (1 - _DECAY)
        reservation.tokens = used_tokens

    def _refill(self) -> float:
        """Bring buckets and window to the present, and return it."""
        now = self._clock()
        self._requests.refill(now)
        self._tokens.refill(now)
        while self._window and self._window[0].granted_at + _WINDOW_S <= now:
            expired = self._window.popleft()
            expired.in_window = False
            self._requests.taken -= expired.requests
            self._tokens.taken -= expired.tokens
        return now

    def _wake_first(self) -> None:
        if self._waiting:
            self._waiting[0].notify()


def _raise_if_set(cancelled: threading.Event | None) -> None:
    if cancelled is not None and cancelled.is_set():
        raise LLMCancelledError("the run was stopped")


def estimate_tokens(request: LLMRequest) -> int:
    """Return about how many tokens a request takes, prompt, schema and answer together."""
    expected = request.expected_usage
    return expected.input_tokens + expected.output_tokens


_RATIO_BOUNDS = (0.25, 4.0)


class TokenEstimator:
    """Fits estimates to what earlier requests really took; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._estimated = 0.0
        self._used = 0.0

    @property
    def ratio(self) -> float:
        """True tokens per estimated one over the last few dozen requests, from 0.25 to 4."""
        with self._lock:
            ratio = self._used / self._estimated if self._estimated else 1.0
        low, high = _RATIO_BOUNDS
        return min(max(ratio, low), high)

    def fit(self, estimate: int) -> int:
        """Return the estimate as experience corrects it."""
        return math.ceil(estimate * self.ratio)

    def learn(self, estimate: int, used: int) -> None:
        """Remember what a request took against its estimate before fitting."""
        with self._lock:
            self._estimated = self._estimated * _DECAY + estimate
            self._used = self._used * _DECAY + used


class RateLimitedClient:
    """A client that waits its turn at a limiter before it asks the client it has."""

    def __init__(self, inner: LLMClient, limiter: RateLimiter) -> None:
        self._inner = inner
        self._limiter = limiter
        self._estimator = TokenEstimator()
        self.provider = inner.provider
        self.model = inner.model

    def complete(self, request: LLMRequest) -> LLMResponse:
        """Wait, pass the request on, and tell the limiter what came of it."""
        estimate = estimate_tokens(request)
        reservation = self._limiter.acquire(self._estimator.fit(estimate), request.cancelled)
        used_tokens: int | None = None
        requests = 1
        try:
            response = self._inner.complete(request)
            requests = response.attempts
            # Some vendors do not count cached input; all of it is the safe side. A sum of 0 is that
            # of a server that counts nothing: the estimate stands.
            used_tokens = response.usage.input_tokens + response.usage.output_tokens or None
        except LLMError as error:
            requests = error.attempts
            if isinstance(error, LLMAPIError):
                self._hold_back(reservation, error)
            raise
        finally:
            self._limiter.settle(reservation, used_tokens, requests=requests)
        self._limiter.speed_up(reservation)
        if used_tokens is not None:
            self._estimator.learn(estimate, used_tokens)
        if response.rate_limits is not None:
            self._limiter.learn(response.rate_limits)
        return response

    def _hold_back(self, reservation: Reservation, error: LLMAPIError) -> None:
        # An error that ends the run must not keep those who wait from hearing of it.
        if error.retry_after_s and not error.ends_run:
            self._limiter.pause(min(error.retry_after_s, MAX_PAUSE_S))
        if error.is_overload:
            self._limiter.slow_down(reservation)
            logger.debug(
                "%s asks for fewer requests: at most %d in flight",
                self.provider,
                self._limiter.allowance,
            )
