from __future__ import annotations

import heapq
import itertools
import math
import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from dbt_osmosis_llm.llm.exceptions import (
    LLMAPIError,
    LLMCancelledError,
    LLMError,
    LLMRateLimitError,
    LLMResponseError,
)
from dbt_osmosis_llm.llm.messages import LLMRequest, LLMResponse, Message, RateLimits, Usage
from dbt_osmosis_llm.llm.mock import MockLLMClient
from dbt_osmosis_llm.llm.providers.headers import read_rate_limits
from dbt_osmosis_llm.llm.rate_limit import (
    RateLimitedClient,
    RateLimiter,
    Reservation,
    TokenEstimator,
    estimate_tokens,
)
from tests.limits import SOON_S

REQUESTS = 600
TOKENS = 100_000
REQUEST = LLMRequest((Message("user", "What is in orders?"),), max_output_tokens=95)


class World:
    """Time that passes only when somebody waits, and what is due in it."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def clock(self) -> float:
        return self.now

    def at(self, seconds: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now + seconds, next(self._numbers), happens))

    def wait(self, _condition: threading.Condition, seconds: float | None) -> None:
        until = math.inf if seconds is None else self.now + seconds
        if self._due and self._due[0][0] <= until:
            self.now, _, happens = heapq.heappop(self._due)
            happens()
        else:
            assert self.now < until < math.inf, "nothing will ever happen that ends this wait"
            self.now = until

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def limiter(self, **arguments: Any) -> RateLimiter:
        return RateLimiter(clock=self.clock, wait=self.wait, **arguments)

    def started_after(self, acquire: Callable[[], object]) -> float:
        """Return the seconds that a caller waits for its turn."""
        before = self.now
        acquire()
        return self.now - before


class SlidingMinute:
    """A server that looks at the 60 seconds before each request."""

    def __init__(self) -> None:
        self._accepted: deque[tuple[float, int]] = deque()
        self._tokens = 0

    def accepts(self, now: float, tokens: int) -> bool:
        while self._accepted and self._accepted[0][0] <= now - 60:
            self._tokens -= self._accepted.popleft()[1]
        if len(self._accepted) + 1 > REQUESTS or self._tokens + tokens > TOKENS:
            return False
        self._accepted.append((now, tokens))
        self._tokens += tokens
        return True


class CalendarMinute:
    """A server that starts to count anew each minute of the clock."""

    def __init__(self) -> None:
        self._requests: Counter[float] = Counter()
        self._tokens: Counter[float] = Counter()

    def accepts(self, now: float, tokens: int) -> bool:
        minute = now // 60
        if self._requests[minute] + 1 > REQUESTS or self._tokens[minute] + tokens > TOKENS:
            return False
        self._requests[minute] += 1
        self._tokens[minute] += tokens
        return True


class FullBucket:
    """A server with buckets of one minute's worth."""

    def __init__(self) -> None:
        self._requests, self._tokens = float(REQUESTS), float(TOKENS)
        self._refilled_at = 0.0

    def accepts(self, now: float, tokens: int) -> bool:
        minutes, self._refilled_at = (now - self._refilled_at) / 60, now
        self._requests = min(REQUESTS, self._requests + minutes * REQUESTS)
        self._tokens = min(TOKENS, self._tokens + minutes * TOKENS)
        if self._requests < 1 or self._tokens < tokens:
            return False
        self._requests -= 1
        self._tokens -= tokens
        return True


Server = SlidingMinute | CalendarMinute | FullBucket
SERVERS = [SlidingMinute, CalendarMinute, FullBucket]
HEADERS = {
    "x-ratelimit-limit-requests": str(REQUESTS),
    "x-ratelimit-remaining-requests": str(REQUESTS - 1),
    "x-ratelimit-reset-requests": "100ms",
    "x-ratelimit-limit-tokens": str(TOKENS),
}


class Saturation:
    """Always another request to send, many at a time, on one thread and in virtual time.

    What a request really takes is 0.5 to 1.2 times its estimate, and the server counts the truth
    as soon as the request arrives, 10 to 250 ms after it was let go.
    """

    def __init__(
        self,
        server: Server,
        *,
        estimates: tuple[int, int],
        latency_s: tuple[float, float],
        headers: Mapping[str, str] | None = None,
        seed: int = 0,
        **limits: float,
    ) -> None:
        self._random = random.Random(seed)
        self._world = World(1000 + 60 * self._random.random())
        self._server = server
        self._estimates = estimates
        self._latency_s = latency_s
        self._headers = headers
        self._limiter = self._world.limiter(max_in_flight=64, **limits)
        self._estimator = TokenEstimator()
        self._sent: list[float] = []
        self._accepted: list[int] = []
        self._refusals = 0

    def run(self, requests: int) -> Saturation:
        for _ in range(requests):
            estimate = self._random.randint(*self._estimates)
            reservation = self._limiter.acquire(self._estimator.fit(estimate))
            self._sent.append(self._world.now)
            used = round(estimate * self._random.uniform(0.5, 1.2))
            travel_s = self._random.uniform(0.01, 0.25)
            self._world.at(travel_s, partial(self._arrive, reservation, estimate, used))
        return self

    def _arrive(self, reservation: Reservation, estimate: int, used: int) -> None:
        if self._server.accepts(self._world.now, used):
            self._accepted.append(used)
            latency_s = self._random.uniform(*self._latency_s)
            self._world.at(latency_s, partial(self._answered, reservation, estimate, used))
        else:
            self._refusals += 1
            self._world.at(0.05, partial(self._refused, reservation))

    def _answered(self, reservation: Reservation, estimate: int, used: int) -> None:
        self._limiter.settle(reservation, used)
        self._limiter.speed_up(reservation)
        self._estimator.learn(estimate, used)
        limits = read_rate_limits(self._headers or {})
        if limits is not None:
            self._limiter.learn(limits)

    def _refused(self, reservation: Reservation) -> None:
        self._limiter.pause(1.0)
        self._limiter.slow_down(reservation)
        self._limiter.settle(reservation)

    @property
    def refused(self) -> float:
        """Part of the requests that met a 429."""
        return self._refusals / len(self._sent)

    @property
    def used(self) -> float:
        """Part of the allowed rate that was used, of requests or tokens, whichever is more."""
        minutes = (self._sent[-1] - self._sent[0]) / 60
        return max(len(self._accepted) / REQUESTS / minutes, sum(self._accepted) / TOKENS / minutes)


BOTTLENECKS: dict[str, dict[str, Any]] = {
    "requests": {"estimates": (40, 180), "latency_s": (0.2, 3.0)},
    "tokens": {"estimates": (200, 3000), "latency_s": (0.5, 8.0)},
    "both": {"estimates": (40, 350), "latency_s": (0.2, 3.0)},
    "tokens, slow answers": {"estimates": (200, 3000), "latency_s": (5.0, 30.0)},
}
STARTS: dict[str, dict[str, Any]] = {
    "configured": {"requests_per_minute": REQUESTS, "tokens_per_minute": TOKENS},
    "learned from 60": {"requests_per_minute": 60, "headers": HEADERS},
    "learned from nothing": {"headers": HEADERS},
}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("bottleneck", BOTTLENECKS)
@pytest.mark.parametrize("server", SERVERS)
def test_a_server_refuses_next_to_nothing_and_its_rate_is_used(
    server: type[Server], bottleneck: str, start: str
) -> None:
    run = Saturation(server(), **BOTTLENECKS[bottleneck], **STARTS[start]).run(3000)
    assert run.refused <= 0.005
    assert run.used >= 0.9


@pytest.mark.parametrize("bottleneck", ["requests", "tokens"])
@pytest.mark.parametrize("server", SERVERS)
def test_the_servers_of_these_tests_refuse_what_is_too_fast(
    server: type[Server], bottleneck: str
) -> None:
    faster = {"requests_per_minute": REQUESTS * 1.5, "tokens_per_minute": TOKENS * 1.5}
    run = Saturation(server(), **{**BOTTLENECKS[bottleneck], **faster}).run(6000)
    assert run.refused > 0.005


class VirtualProvider:
    """A provider on a server with limits; a call takes virtual time and true tokens."""

    provider = "virtual"
    model = "virtual"

    def __init__(self, world: World, server: Server) -> None:
        self._world = world
        self._server = server
        self._random = random.Random(1)
        self.calls = 0
        self.refused = 0
        self.tokens = 0

    def complete(self, request: LLMRequest) -> LLMResponse:
        self.calls += 1
        self._world.sleep(self._random.uniform(0.01, 0.06))
        used = round(estimate_tokens(request) * self._random.uniform(0.5, 1.2))
        if not self._server.accepts(self._world.now, used):
            self.refused += 1
            raise LLMRateLimitError("slow down", status_code=429, retry_after_s=1.0)
        self._world.sleep(self._random.uniform(0.0, 0.04))
        self.tokens += used
        usage = Usage(input_tokens=used // 2, output_tokens=used - used // 2)
        return LLMResponse("{}", usage=usage, rate_limits=read_rate_limits(HEADERS))


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(("output_tokens", "count"), [((20, 130), 4000), ((100, 2500), 1500)])
def test_the_client_keeps_to_the_limits_of_the_server(
    server: type[Server], output_tokens: tuple[int, int], count: int
) -> None:
    world = World()
    provider = VirtualProvider(world, server())
    client = RateLimitedClient(provider, world.limiter(requests_per_minute=60))
    sizes = random.Random(2)
    for _ in range(count):
        with suppress(LLMRateLimitError):
            client.complete(replace(REQUEST, max_output_tokens=sizes.randint(*output_tokens)))
    minutes = (world.now - 1000) / 60
    assert provider.refused <= 0.005 * provider.calls
    assert (
        max(
            (provider.calls - provider.refused) / REQUESTS / minutes,
            provider.tokens / TOKENS / minutes,
        )
        >= 0.9
    )


def test_no_more_than_a_second_s_worth_starts_at_once() -> None:
    world = World()
    limiter = world.limiter(requests_per_minute=REQUESTS, max_in_flight=100)
    world.sleep(3600)
    for _ in range(9):
        assert world.started_after(lambda: limiter.acquire(0)) == 0
    assert world.started_after(lambda: limiter.acquire(0)) > 0


def test_what_started_before_a_limit_was_known_counts_towards_its_minute() -> None:
    world = World()
    limiter = world.limiter(max_in_flight=1000)
    for _ in range(500):
        limiter.acquire(100)
    limiter.learn(RateLimits(REQUESTS, TOKENS))
    started = [limiter.acquire(100).granted_at - 1000 for _ in range(101)]
    assert started[99] < 15
    assert started[100] > 60


def test_a_wait_is_long_enough_to_move_a_clock_that_is_far_on() -> None:
    world = World(1e9)
    limiter = world.limiter(tokens_per_minute=6e6, max_in_flight=500)
    sizes = random.Random(0)
    for _ in range(500):
        limiter.acquire(sizes.randrange(50_000))


def test_one_request_a_minute_is_one_a_minute() -> None:
    world = World()
    limiter = world.limiter(requests_per_minute=1)
    started = [limiter.acquire(0).granted_at - 1000 for _ in range(4)]
    assert started == pytest.approx([0, 61.2, 122.4, 183.6], abs=0.01)


def test_a_need_beyond_the_bucket_starts_when_it_is_full_and_leaves_debt() -> None:
    world = World()
    limiter = world.limiter(tokens_per_minute=612)  # 10 a second
    assert world.started_after(lambda: limiter.acquire(100)) == 0
    assert world.started_after(lambda: limiter.acquire(5)) == pytest.approx(9.5)
    assert world.started_after(lambda: limiter.acquire(100)) == pytest.approx(1)


def test_a_need_beyond_the_minute_starts_alone() -> None:
    world = World()
    limiter = world.limiter(tokens_per_minute=612)
    limiter.acquire(1)
    assert world.started_after(lambda: limiter.acquire(10**6)) == pytest.approx(61.2)
    assert world.started_after(lambda: limiter.acquire(1)) == pytest.approx(100_000, abs=5)


def test_unused_tokens_are_given_back_and_excess_is_charged() -> None:
    def next_starts_after(used: int | None) -> float:
        world = World()
        limiter = world.limiter(tokens_per_minute=6120)  # 100 a second
        limiter.settle(limiter.acquire(500), used)
        return world.started_after(lambda: limiter.acquire(100))

    assert next_starts_after(None) == next_starts_after(500) == pytest.approx(5.0)
    assert next_starts_after(200) == pytest.approx(2.0)
    assert next_starts_after(0) == 0
    assert next_starts_after(800) == pytest.approx(8.0)


@pytest.mark.parametrize(("estimate", "used"), [(600, 100), (100, 600)])
def test_the_minute_holds_what_was_used_not_what_was_estimated(estimate: int, used: int) -> None:
    world = World()
    limiter = world.limiter()
    for reservation in [limiter.acquire(estimate) for _ in range(10)]:
        limiter.settle(reservation, used)
    limiter.learn(RateLimits(tokens_per_minute=6120))
    started = [limiter.acquire(100).granted_at - 1000 for _ in range(10)]
    assert started[0] == pytest.approx(0 if used == 100 else 61.2)
    assert started[9] - started[0] < 10


def test_more_requests_than_one_are_charged_when_settled() -> None:
    world = World()
    limiter = world.limiter(requests_per_minute=61.2)
    limiter.settle(limiter.acquire(0), requests=4)
    assert world.started_after(lambda: limiter.acquire(0)) == pytest.approx(4.0)


def test_settling_twice_does_nothing() -> None:
    limiter = World().limiter(tokens_per_minute=6120, max_in_flight=4)
    other, twice = limiter.acquire(10), limiter.acquire(10)
    limiter.settle(twice, 10)
    limiter.settle(twice, 10_000, requests=5)
    assert limiter.in_flight == 1
    assert (twice.tokens, twice.requests) == (10, 1)
    limiter.settle(other)
    assert limiter.in_flight == 0


@pytest.mark.parametrize("settled_after_s", [1, 100])
def test_what_is_a_minute_old_no_longer_counts(settled_after_s: float) -> None:
    world = World()
    limiter = world.limiter()
    old = limiter.acquire(100)
    world.sleep(settled_after_s)
    limiter.settle(limiter.acquire(0), 0)
    limiter.settle(old, 10_000, requests=1000)
    world.sleep(62)
    for _ in range(10):
        limiter.settle(limiter.acquire(600), 600)
    limiter.learn(RateLimits(612, 6120))
    assert world.started_after(lambda: limiter.acquire(0)) == 0


def test_a_refund_fills_the_bucket_and_no_more() -> None:
    world = World()
    limiter = world.limiter(tokens_per_minute=6120)  # 100 a second
    big = limiter.acquire(5000)
    world.sleep(100)
    limiter.settle(big, 0)
    assert world.started_after(lambda: limiter.acquire(100)) == 0
    assert world.started_after(lambda: limiter.acquire(100)) == pytest.approx(1)


@pytest.mark.parametrize(("settled_before", "waits_s"), [(0, 61.2), (200, 0)])
def test_room_is_kept_for_estimates_that_may_be_wrong(settled_before: int, waits_s: float) -> None:
    world = World()
    limiter = world.limiter()
    for _ in range(settled_before):
        limiter.settle(limiter.acquire(10), 10)
    world.sleep(62)
    limiter.acquire(0)
    for _ in range(5):
        limiter.settle(limiter.acquire(1000), 1000 if settled_before else None)
    limiter.learn(RateLimits(tokens_per_minute=6120))
    assert world.started_after(lambda: limiter.acquire(1000)) == pytest.approx(waits_s)


def test_the_room_kept_does_not_halve_a_small_limit() -> None:
    world = World()
    limiter = world.limiter(tokens_per_minute=1000)
    limiter.settle(limiter.acquire(400))
    assert world.started_after(lambda: limiter.acquire(400)) < 30


def test_a_pause_holds_everyone_and_the_longest_counts() -> None:
    world = World()
    limiter = world.limiter()
    limiter.pause(30)
    limiter.pause(10)
    limiter.pause(-5)
    limiter.pause(math.nan)
    assert world.started_after(lambda: limiter.acquire(0)) == 30
    assert world.started_after(lambda: limiter.acquire(0)) == 0


def test_a_pause_reaches_those_who_wait_already() -> None:
    world = World()
    limiter = world.limiter(requests_per_minute=60)
    limiter.acquire(0)
    world.at(0.5, lambda: limiter.pause(20))
    assert world.started_after(lambda: limiter.acquire(0)) == pytest.approx(20.5)


def test_a_learned_limit_ends_the_wait_of_those_who_wait_already() -> None:
    world = World()
    limiter = world.limiter(requests_per_minute=1)
    limiter.acquire(0)
    world.at(0.5, lambda: limiter.learn(RateLimits(requests_per_minute=6120)))
    assert world.started_after(lambda: limiter.acquire(0)) < 0.6


def test_a_learned_limit_is_worth_something_from_then_on() -> None:
    world = World()
    limiter = world.limiter(requests_per_minute=6.12)  # one in 10 seconds
    limiter.acquire(0)
    world.sleep(5)
    limiter.learn(RateLimits(requests_per_minute=612))
    assert world.started_after(lambda: limiter.acquire(0)) == pytest.approx(0.14)
    unlimited = world.limiter()
    unlimited.learn(RateLimits(requests_per_minute=612))
    waits = [world.started_after(lambda: unlimited.acquire(0)) for _ in range(11)]
    assert waits == pytest.approx([0.0] * 10 + [0.1])


def test_headers_raise_and_lower_the_limits_but_never_above_the_user_s() -> None:
    limiter = World().limiter(
        requests_per_minute=60, max_requests_per_minute=500, max_tokens_per_minute=50_000
    )
    assert (limiter.requests_per_minute, limiter.tokens_per_minute) == (60, 50_000)
    limiter.learn(RateLimits(400, 40_000))
    assert (limiter.requests_per_minute, limiter.tokens_per_minute) == (400, 40_000)
    limiter.learn(RateLimits(5000, 2_000_000))
    assert (limiter.requests_per_minute, limiter.tokens_per_minute) == (500, 50_000)
    limiter.learn(RateLimits(requests_per_minute=30))
    assert (limiter.requests_per_minute, limiter.tokens_per_minute) == (30, 50_000)
    limiter.learn(RateLimits(0, -1))
    assert (limiter.requests_per_minute, limiter.tokens_per_minute) == (30, 50_000)


def test_a_start_above_the_user_s_bound_is_the_bound() -> None:
    world = World()
    limiter = world.limiter(requests_per_minute=600, max_requests_per_minute=6.12)
    assert world.started_after(lambda: limiter.acquire(0)) == 0
    assert world.started_after(lambda: limiter.acquire(0)) == pytest.approx(10)


@pytest.mark.parametrize(
    "wrong",
    [
        {"requests_per_minute": 0},
        {"tokens_per_minute": -1},
        {"max_requests_per_minute": math.nan},
        {"max_in_flight": 0},
    ],
)
def test_limits_that_let_nothing_through_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        RateLimiter(**wrong)


def test_a_burst_of_refusals_halves_once_and_successes_grow_it_back() -> None:
    limiter = World().limiter(max_in_flight=16)
    burst = [limiter.acquire(0) for _ in range(16)]
    for reservation in burst:
        limiter.slow_down(reservation)
        limiter.settle(reservation)
    assert limiter.allowance == 8

    later = limiter.acquire(0)
    limiter.slow_down(later)
    limiter.settle(later)
    assert limiter.allowance == 4
    for before in burst:
        limiter.speed_up(before)
    assert limiter.allowance == 4

    def succeed(times: int) -> int:
        for _ in range(times):
            reservation = limiter.acquire(0)
            limiter.settle(reservation, 1)
            limiter.speed_up(reservation)
        return limiter.allowance

    assert [succeed(3), succeed(1), succeed(4), succeed(1)] == [4, 5, 5, 6]
    succeed(5)
    last = limiter.acquire(0)
    limiter.slow_down(last)
    limiter.settle(last)
    assert [succeed(2), succeed(1)] == [3, 4]
    assert succeed(1000) == 16

    for _ in range(10):
        reservation = limiter.acquire(0)
        limiter.slow_down(reservation)
        limiter.settle(reservation)
    assert limiter.allowance == 1


def test_a_smaller_allowance_is_waited_for() -> None:
    world = World()
    limiter = world.limiter(max_in_flight=4)
    first, *others = [limiter.acquire(0) for _ in range(4)]
    limiter.slow_down(first)
    for after_s, reservation in enumerate([first, *others], start=1):
        world.at(after_s, partial(limiter.settle, reservation))
    assert world.started_after(lambda: limiter.acquire(0)) == 3


class Crowd:
    """Threads at one limiter without time: each waits for what another thread does."""

    def __init__(self, **limits: Any) -> None:
        self.now = 0.0
        self.interrupted: set[str] = set()
        self.begins_to_wait = threading.Semaphore(0)
        self.started: list[str] = []
        self.reservations: list[Reservation] = []
        self.has_started = threading.Semaphore(0)
        self.limiter = RateLimiter(clock=lambda: self.now, wait=self._wait, **limits)
        self._threads: list[threading.Thread] = []

    def _wait(self, condition: threading.Condition, _seconds: float | None) -> None:
        self.begins_to_wait.release()
        assert condition.wait(SOON_S)
        if threading.current_thread().name in self.interrupted:
            raise KeyboardInterrupt

    def enter(self, name: str, tokens: int = 0) -> None:
        def run() -> None:
            try:
                reservation = self.limiter.acquire(tokens)
            except KeyboardInterrupt:
                return
            self.started.append(name)
            self.reservations.append(reservation)
            self.has_started.release()

        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def enter_and_wait(self, name: str, tokens: int = 0) -> None:
        self.enter(name, tokens)
        assert self.begins_to_wait.acquire(timeout=SOON_S)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(SOON_S)
            assert not thread.is_alive()


def test_first_come_first_served() -> None:
    crowd = Crowd(max_in_flight=1)
    held = crowd.limiter.acquire(0)
    names = [f"{number:02}" for number in range(12)]
    for name in names:
        crowd.enter_and_wait(name)
    crowd.limiter.settle(held)
    for number in range(len(names)):
        assert crowd.has_started.acquire(timeout=SOON_S)
        assert crowd.started == names[: number + 1]
        crowd.limiter.settle(crowd.reservations[number])
    crowd.join()


def test_small_requests_do_not_overtake_a_big_one() -> None:
    crowd = Crowd(tokens_per_minute=612)
    held = [crowd.limiter.acquire(10), crowd.limiter.acquire(0), crowd.limiter.acquire(0)]
    crowd.enter_and_wait("big", 300)
    crowd.enter_and_wait("small", 0)
    crowd.now = 0.5
    crowd.limiter.settle(held.pop())
    assert crowd.begins_to_wait.acquire(timeout=SOON_S)
    assert crowd.started == []
    crowd.now = 1.0
    crowd.limiter.settle(held.pop())
    assert crowd.has_started.acquire(timeout=SOON_S)
    assert crowd.started == ["big"]
    # The debt of the big one does not hold up who needs no tokens longer than it takes to be paid.
    assert crowd.begins_to_wait.acquire(timeout=SOON_S)
    crowd.now = 31.0
    crowd.limiter.settle(held.pop())
    crowd.join()
    assert crowd.started == ["big", "small"]


def test_whatever_makes_room_wakes_who_waits_for_it() -> None:
    crowd = Crowd(max_in_flight=2, requests_per_minute=612)
    refused = crowd.limiter.acquire(0)
    crowd.limiter.slow_down(refused)
    crowd.limiter.settle(refused)
    succeeds = crowd.limiter.acquire(0)
    crowd.enter_and_wait("more in flight")
    crowd.limiter.speed_up(succeeds)
    assert crowd.has_started.acquire(timeout=SOON_S)
    crowd.limiter.settle(succeeds)

    crowd.limiter.learn(RateLimits(requests_per_minute=1))
    crowd.enter_and_wait("a higher limit")
    crowd.limiter.learn(RateLimits(requests_per_minute=612))
    assert crowd.begins_to_wait.acquire(timeout=SOON_S)
    crowd.now = 1.0
    crowd.limiter.learn(RateLimits(requests_per_minute=612))
    crowd.join()


def test_no_more_threads_than_allowed_are_in_flight() -> None:
    crowd = Crowd(max_in_flight=5)
    for number in range(16):
        crowd.enter(str(number))
    for _ in range(5):
        assert crowd.has_started.acquire(timeout=SOON_S)
    for _ in range(11):
        assert crowd.begins_to_wait.acquire(timeout=SOON_S)
    assert crowd.limiter.in_flight == len(crowd.started) == 5
    for number in range(16):
        if number >= 5:
            assert crowd.has_started.acquire(timeout=SOON_S)
        crowd.limiter.settle(crowd.reservations[number])
    crowd.join()
    assert crowd.limiter.in_flight == 0


def test_sixteen_threads_keep_the_books_straight() -> None:
    limiter = RateLimiter(max_in_flight=6, clock=lambda: 0.0)
    lock = threading.Lock()
    inside = 0
    most = 0
    numbers: list[int] = []

    def work(seed: int) -> None:
        nonlocal inside, most
        rng = random.Random(seed)
        for _ in range(200):
            reservation = limiter.acquire(rng.randrange(1000))
            with lock:
                inside += 1
                most = max(most, inside)
                numbers.append(reservation.number)
            if rng.random() < 0.05:
                limiter.slow_down(reservation)
            with lock:
                inside -= 1
            limiter.settle(reservation, rng.randrange(1000))
            limiter.speed_up(reservation)

    threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON_S)
    assert sorted(numbers) == list(range(1, 16 * 200 + 1))
    assert most <= 6
    assert limiter.in_flight == 0


def test_an_interrupted_wait_leaves_no_trace() -> None:
    def interrupted(_condition: threading.Condition, _seconds: float | None) -> None:
        raise KeyboardInterrupt

    limiter = RateLimiter(max_in_flight=1, clock=lambda: 0.0, wait=interrupted)
    held = limiter.acquire(0)
    with pytest.raises(KeyboardInterrupt):
        limiter.acquire(0)
    assert limiter.in_flight == 1
    limiter.settle(held)
    assert limiter.acquire(0).number == 2


@pytest.mark.parametrize("interrupted", ["first", "second"])
def test_whoever_is_behind_an_interrupted_one_takes_its_turn(interrupted: str) -> None:
    crowd = Crowd(max_in_flight=2)
    held = [crowd.limiter.acquire(0), crowd.limiter.acquire(0)]
    crowd.interrupted.add(interrupted)
    for name in ("first", "second", "third"):
        crowd.enter_and_wait(name)
    for reservation in held:
        crowd.limiter.settle(reservation)
    crowd.join()
    assert sorted(crowd.started) == sorted({"first", "second", "third"} - {interrupted})


def client_for(*answers: Any, **limits: Any) -> tuple[RateLimitedClient, RateLimiter, World]:
    world = World()
    limiter = world.limiter(**limits)
    return RateLimitedClient(MockLLMClient(answers), limiter), limiter, world


def answer(used_tokens: int, **fields: Any) -> LLMResponse:
    usage = Usage(input_tokens=used_tokens - 1, cached_tokens=used_tokens - 2, output_tokens=1)
    return LLMResponse("{}", usage=usage, **fields)


def test_a_cancelled_wait_ends_whatever_it_waits_for() -> None:
    limiter = RateLimiter(requests_per_minute=1, max_in_flight=1)
    granted, cancelled = limiter.acquire(10), threading.Event()
    ended: list[LLMError] = []

    def wait() -> None:
        try:
            limiter.acquire(10, cancelled)
        except LLMCancelledError as error:
            ended.append(error)

    # The first waits for a minute to pass, the others for their turn behind it.
    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    cancelled.set()
    for thread in threads:
        thread.join(SOON_S)
    assert len(ended) == 3
    limiter.settle(granted)
    assert limiter.in_flight == 0


def test_the_client_answers_as_the_one_it_has() -> None:
    response = answer(50)
    client, limiter, _ = client_for(response)
    assert (client.provider, client.model) == ("mock", "mock")
    assert client.complete(REQUEST) is response
    assert limiter.in_flight == 0


def test_the_client_charges_all_input_and_output() -> None:
    client, limiter, world = client_for(answer(500), tokens_per_minute=6120)  # 100 a second
    client.complete(REQUEST)
    assert world.started_after(lambda: limiter.acquire(100)) == pytest.approx(5)


def test_without_reported_usage_the_estimate_stands() -> None:
    client, limiter, world = client_for(LLMResponse("{}"), tokens_per_minute=6120)
    client.complete(REQUEST)
    waited_s = world.started_after(lambda: limiter.acquire(100))
    assert waited_s == pytest.approx(estimate_tokens(REQUEST) / 100)


def test_the_client_s_estimates_follow_what_requests_took() -> None:
    client, limiter, world = client_for(
        answer(2 * estimate_tokens(REQUEST)), LLMResponseError("?"), tokens_per_minute=6120
    )
    client.complete(REQUEST)
    world.sleep(100)
    with pytest.raises(LLMResponseError):
        client.complete(REQUEST)
    waited_s = world.started_after(lambda: limiter.acquire(100))
    assert waited_s == pytest.approx(2 * estimate_tokens(REQUEST) / 100)


def test_the_client_charges_every_request_of_an_answer_or_error() -> None:
    error = LLMAPIError("no", status_code=400)
    error.attempts = 2
    client, limiter, world = client_for(answer(50, attempts=3), error, requests_per_minute=61.2)
    client.complete(REQUEST)
    assert world.started_after(lambda: limiter.acquire(0)) == pytest.approx(3)
    world.sleep(100)
    with pytest.raises(LLMAPIError):
        client.complete(REQUEST)
    assert world.started_after(lambda: limiter.acquire(0)) == pytest.approx(2)


def test_the_client_learns_limits_from_answers() -> None:
    client, limiter, _ = client_for(
        answer(50, rate_limits=RateLimits(600, 100_000)), requests_per_minute=60
    )
    client.complete(REQUEST)
    assert (limiter.requests_per_minute, limiter.tokens_per_minute) == (600, 100_000)


@pytest.mark.parametrize(
    ("fields", "pause_s", "allowance"),
    [
        ({"status_code": 429}, 0, 8),
        ({"status_code": 429, "retry_after_s": 7.0}, 7, 8),
        ({"status_code": 429, "retry_after_s": 3600.0}, 120, 8),
        ({"status_code": 429, "retry_after_s": 3600.0, "ends_run": True}, 0, 16),
        ({"status_code": 503}, 0, 8),
        ({"status_code": 529, "retry_after_s": 2.0}, 2, 8),
        ({"status_code": 500, "retry_after_s": 2.0}, 2, 16),
        ({"status_code": 400}, 0, 16),
        ({"unreachable": True}, 0, 16),
    ],
)
def test_an_error_holds_everyone_back_as_it_asks(
    fields: dict[str, Any], pause_s: float, allowance: int
) -> None:
    client, limiter, world = client_for(LLMAPIError("no", **fields))
    with pytest.raises(LLMAPIError):
        client.complete(REQUEST)
    assert limiter.allowance == allowance
    assert world.started_after(lambda: limiter.acquire(0)) == pause_s


def test_successes_of_the_client_allow_more_in_flight_again() -> None:
    client, limiter, _ = client_for(LLMAPIError("no", status_code=529), answer(9), max_in_flight=2)
    with pytest.raises(LLMAPIError):
        client.complete(REQUEST)
    assert limiter.allowance == 1
    client.complete(REQUEST)
    assert limiter.allowance == 2


@pytest.mark.parametrize(
    "error", [LLMAPIError("no"), LLMResponseError("?"), ZeroDivisionError(), KeyboardInterrupt()]
)
def test_any_end_of_a_call_frees_its_slot(error: BaseException) -> None:
    in_flight: list[int] = []
    limiter = World().limiter()

    def fail(_: LLMRequest) -> BaseException:
        in_flight.append(limiter.in_flight)
        return error

    with pytest.raises(type(error)):
        RateLimitedClient(MockLLMClient(fail), limiter).complete(REQUEST)
    assert in_flight == [1]
    assert limiter.in_flight == 0


def test_the_estimate_counts_prompt_schema_and_answer() -> None:
    short = LLMRequest((Message("user", "x" * 400),), max_output_tokens=0)
    assert 80 <= estimate_tokens(short) <= 140
    assert estimate_tokens(replace(short, max_output_tokens=70)) == estimate_tokens(short) + 70
    assert estimate_tokens(replace(short, max_output_tokens=None)) >= estimate_tokens(short) + 500
    schema = {"type": "object", "properties": {"a" * 400: {"type": "string"}}}
    assert estimate_tokens(replace(short, schema=schema)) > estimate_tokens(short) + 100
    more = (*short.messages, Message("assistant", "y" * 400))
    assert estimate_tokens(replace(short, messages=more)) >= estimate_tokens(short) + 80
    wide = (Message("user", "\u6ce8" * 400),)
    assert estimate_tokens(replace(short, messages=wide)) > 2 * estimate_tokens(short)
    estimate_tokens(replace(short, messages=(Message("user", "\ud800"),)))


def test_the_estimator_converges_and_stays_within_bounds() -> None:
    estimator = TokenEstimator()
    assert estimator.fit(100) == 100
    rng = random.Random(0)
    for _ in range(300):
        estimate = rng.randint(50, 5000)
        estimator.learn(estimate, round(estimate * rng.uniform(0.5, 1.2)))
    assert estimator.ratio == pytest.approx(0.85, abs=0.1)
    for _ in range(200):
        estimator.learn(100, 150)
    assert estimator.ratio == pytest.approx(1.5, abs=0.02)
    for used, bound in ((10**9, 4.0), (0, 0.25)):
        for _ in range(1000):
            estimator.learn(100, used)
        assert estimator.ratio == bound


def openai_headers(
    limit: str, remaining: str | None = None, reset: str | None = None
) -> dict[str, str]:
    named = {"limit": limit, "remaining": remaining, "reset": reset}
    return {
        f"x-ratelimit-{name}-requests": value for name, value in named.items() if value is not None
    }


@pytest.mark.parametrize(
    ("headers", "limits"),
    [
        ({}, None),
        ({"content-type": "application/json"}, None),
        (HEADERS, RateLimits(600, 100_000)),
        (openai_headers("60", "59", "1s"), RateLimits(60)),
        (openai_headers("600", "300", "30s"), RateLimits(600)),
        (openai_headers("600", "540", "30s"), RateLimits(600)),
        (openai_headers("600", "600", "30s"), RateLimits(600)),
        (openai_headers("600", "0", "1m0s"), RateLimits(600)),
        (openai_headers("600"), RateLimits(600)),
        (openai_headers("600", "600", "0s"), RateLimits(600)),
        (openai_headers("600", "599", "soon"), RateLimits(600)),
        (openai_headers("600", "?", "6m0s"), RateLimits(600)),
        # A day's limit, as Groq documents it and as OpenAI's free tier sends it.
        (openai_headers("14400", "14370", "2m59.56s"), None),
        (openai_headers("14400", "14399", "6"), None),
        (openai_headers("200", "199", "7m12s"), None),
        (openai_headers("600", "540", "5m0s"), None),
        (openai_headers("600", "540", "1h0m0s"), None),
        (openai_headers("10000", "9000", "2h24m0s"), None),
        (openai_headers("1000", "0", "1d"), None),
        (
            {**openai_headers("14400", "14399", "6000ms"), "x-ratelimit-limit-tokens": "18000"},
            RateLimits(None, 18_000),
        ),
        (
            {
                "anthropic-ratelimit-requests-limit": "50",
                "anthropic-ratelimit-tokens-limit": "40000",
                "anthropic-ratelimit-input-tokens-limit": "30000",
                "anthropic-ratelimit-requests-reset": "2026-11-21T07:00:00Z",
            },
            RateLimits(50, 40_000),
        ),
        ({"anthropic-ratelimit-input-tokens-limit": "30000"}, RateLimits(None, 30_000)),
        *(
            ({"x-ratelimit-limit-requests": text, "x-ratelimit-limit-tokens": text}, None)
            for text in ("-1", "0", "0.5", "unlimited", "nan", "inf", "1e999", "", "600;w=60")
        ),
        (
            {"x-ratelimit-limit-requests": "none", "x-ratelimit-limit-tokens": "9"},
            RateLimits(None, 9),
        ),
    ],
)
def test_limits_are_read_from_headers(headers: dict[str, str], limits: RateLimits | None) -> None:
    assert read_rate_limits(headers) == limits
    assert read_rate_limits(Headers({name.title(): headers[name] for name in headers})) == limits


class Headers(dict[str, str]):
    """A mapping that finds names in any case, as HTTP libraries have them."""

    def get(self, name: str, default: Any = None) -> Any:
        return {key.lower(): value for key, value in self.items()}.get(name.lower(), default)
