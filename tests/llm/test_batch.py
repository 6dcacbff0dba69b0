"""Batches: order, parallelism, isolated failures, stops and sums; threads, but no sleeping."""

from __future__ import annotations

import logging
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from dbt_osmosis_llm.llm.batch import (
    Built,
    LLMBatchConfig,
    LLMBatchProcessor,
    LLMBatchStats,
    LLMResult,
    Parts,
)
from dbt_osmosis_llm.llm.exceptions import (
    LLMAPIError,
    LLMConfigError,
    LLMError,
    LLMRefusalError,
    LLMResponseError,
    LLMTruncatedError,
)
from dbt_osmosis_llm.llm.messages import FinishReason, LLMRequest, LLMResponse, Message, Usage
from dbt_osmosis_llm.llm.mock import MockLLMClient
from dbt_osmosis_llm.llm.rate_limit import RateLimitedClient, RateLimiter
from tests.limits import SOON_S, cpu_limit
from tests.properties import examples

WORKERS = pytest.mark.parametrize("max_workers", [1, 4, 16])
LONG_S = SOON_S
"""How long a test waits for another thread before it fails."""


def request_for(item: object) -> LLMRequest:
    return LLMRequest((Message("user", str(item)),), custom_id=str(item))


def asked(request: LLMRequest) -> str:
    return request.messages[0].content


def sums(stats: LLMBatchStats) -> tuple[int, int, int, int]:
    assert stats.completed + stats.failed + stats.skipped == stats.items
    assert stats.in_flight == 0
    return stats.completed, stats.failed, stats.skipped, stats.done


class Kept:
    """A result handler that keeps everything."""

    def __init__(self) -> None:
        self.results: dict[Any, LLMResult[Any]] = {}

    def __call__(self, result: LLMResult[Any]) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.results[result.item] = result

    @property
    def texts(self) -> dict[Any, str]:
        return {item: result.text for item, result in self.results.items() if result.success}

    @property
    def errors(self) -> dict[Any, LLMError]:
        return {item: r.error for item, r in self.results.items() if r.error is not None}


class Shuffler:
    """A client that answers what is in flight in random order; it is the batch's observer, too."""

    provider = model = "shuffler"

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._changed = threading.Condition()
        self._waiting: list[str] = []
        self._released: set[str] = set()
        self.most_in_flight = 0
        self.sent = 0

    def complete(self, request: LLMRequest) -> LLMResponse:
        with self._changed:
            self._waiting.append(request.custom_id)
            self.most_in_flight = max(self.most_in_flight, len(self._waiting))
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: request.custom_id in self._released, LONG_S)
        return LLMResponse(f"<{asked(request)}>", usage=Usage(2, 0, 1), cost_usd=0.5)

    def __call__(self, stats: LLMBatchStats) -> None:
        """Let all that was sent arrive, then answer one of it."""
        with self._changed:
            open_ = self.sent - len(self._released)
            assert self._changed.wait_for(lambda: len(self._waiting) == open_, LONG_S)
            if self._waiting:
                self._waiting.sort()
                chosen = self._random.randrange(len(self._waiting))
                self._released.add(self._waiting.pop(chosen))
                self._changed.notify_all()


@st.composite
def graphs(draw: st.DrawFn) -> dict[int, set[int]]:
    """Return items in random order, each with the items that it waits for."""
    size = draw(st.integers(1, 14))
    order = draw(st.permutations(range(size)))
    parents = [
        draw(st.sets(st.sampled_from(order[:place]), max_size=3)) if place else set()
        for place in range(size)
    ]
    return {item: parents[order.index(item)] for item in range(size)}


def remaining_path(graph: dict[int, set[int]], item: int) -> int:
    below = [child for child, parents in graph.items() if item in parents]
    return 1 + max((remaining_path(graph, child) for child in below), default=0)


@pytest.mark.parametrize("max_workers", [1, 4, 16])
@examples(40)
@given(graph=graphs(), seed=st.integers(0, 9), failing=st.sets(st.integers(0, 13), max_size=3))
def test_dependencies_come_first_and_of_the_ready_the_longest_path(
    max_workers: int, graph: dict[int, set[int]], seed: int, failing: set[int]
) -> None:
    client = Shuffler(seed)
    path = {item: remaining_path(graph, item) for item in graph}
    started: set[int] = set()
    done: list[int] = []
    wrong: list[str] = []

    def build(item: int) -> LLMRequest:
        ready = {i for i, waits in graph.items() if waits <= set(done)} - started
        if item not in ready:
            wrong.append(f"{item} built before {graph[item] - set(done)} or twice")
        elif path[item] < max(path[i] for i in ready):
            wrong.append(f"{item} built before a longer path")
        started.add(item)
        if item in failing:
            raise ValueError(item)
        client.sent += 1
        return request_for(item)

    stats = LLMBatchProcessor[int](
        client,
        build,
        config=LLMBatchConfig(max_workers),
        on_done=done.append,
        observer=client,
    ).run(graph, graph)
    assert wrong == []
    assert sorted(done) == sorted(graph)
    failed = len(failing & graph.keys())
    assert sums(stats) == (len(graph) - failed, failed, 0, len(graph))
    assert client.most_in_flight <= max_workers


@examples(15)
@given(graph=graphs(), seed=st.integers(0, 9))
def test_texts_do_not_depend_on_how_many_are_asked_at_once(
    graph: dict[int, set[int]], seed: int
) -> None:
    outcomes = []
    for max_workers in (1, 4, 16):
        client, kept = Shuffler(seed), Kept()

        def build(
            item: int, kept: Kept = kept, client: Shuffler = client
        ) -> tuple[LLMRequest, list[int]]:
            client.sent += 1
            texts = "".join(kept.texts[parent] for parent in sorted(graph[item]))
            return request_for(f"{item}{texts}"), sorted(graph[item])

        stats = LLMBatchProcessor[int](
            client, build, kept, config=LLMBatchConfig(max_workers), observer=client
        ).run(graph, graph)
        extras = {item: result.extra for item, result in kept.results.items()}
        outcomes.append((kept.texts, extras, sums(stats), stats.total_tokens, stats.total_cost_usd))
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert outcomes[0][3:] == (3 * len(graph), 0.5 * len(graph))


@WORKERS
def test_as_many_are_in_flight_as_may_be_and_never_more(max_workers: int) -> None:
    together = threading.Barrier(max_workers, timeout=LONG_S)
    lock = threading.Lock()
    in_flight = Counter[str]()

    class Client:
        provider = model = "barrier"

        def complete(self, request: LLMRequest) -> LLMResponse:
            with lock:
                in_flight["now"] += 1
                in_flight["most"] = max(in_flight["most"], in_flight["now"])
            together.wait()  # breaks unless so many are here at the same time
            with lock:
                in_flight["now"] -= 1
            return LLMResponse("x")

    seen: set[int] = set()
    stats = LLMBatchProcessor[int](
        Client(),
        request_for,
        config=LLMBatchConfig(max_workers),
        observer=lambda stats: seen.add(stats.in_flight),
    ).run(range(3 * max_workers))
    assert stats.completed == 3 * max_workers
    assert in_flight["most"] == max_workers
    assert max(seen) == max_workers


def test_without_dependencies_items_keep_their_order_and_come_once() -> None:
    client = MockLLMClient()
    stats = LLMBatchProcessor[str](client, request_for, config=LLMBatchConfig(1)).run("cabbage")
    assert [asked(call) for call in client.calls] == ["c", "a", "b", "g", "e"]
    assert stats.items == 5


def test_no_items() -> None:
    told: list[int] = []
    stats = LLMBatchProcessor[str](
        MockLLMClient(), request_for, observer=lambda stats: told.append(stats.items)
    ).run([])
    assert sums(stats) == (0, 0, 0, 0)
    assert (stats.total_cost_usd, told) == (0.0, [0])


def test_circle_is_named_before_anything_is_asked() -> None:
    client = MockLLMClient()
    waits = {"b": ["a"], "c": ["b", "e"], "d": ["c"], "e": ["d"]}
    circle = "c -> d -> e -> c"
    with pytest.raises(ValueError, match=f"in a circle: {circle}$"):
        LLMBatchProcessor[str](client, request_for).run("abcde", waits)
    assert client.calls == []


def test_unknown_dependencies_and_an_item_itself_are_not_waited_for() -> None:
    stats = LLMBatchProcessor[str](MockLLMClient(), request_for).run("ab", {"a": ["x", "a"]})
    assert stats.completed == 2


def test_skipped_items_free_those_that_wait_for_them() -> None:
    kept, done = Kept(), list[str]()
    stats = LLMBatchProcessor[str](
        MockLLMClient(),
        lambda item: None if item in "ab" else request_for(item),
        kept,
        on_done=done.append,
    ).run("abc", {"b": "a", "c": "b"})
    assert sums(stats) == (1, 0, 2, 3)
    assert (list(kept.results), done) == (["c"], ["a", "b", "c"])


@WORKERS
def test_parts_and_what_a_handler_adds_come_before_new_items_and_end_theirs(
    max_workers: int,
) -> None:
    built: list[str] = []
    log: list[str] = []

    def build(item: str) -> Built[str]:
        built.append(item)
        if item == "wide":
            return Parts(["wide1", "wide2", "wide3"])
        return request_for(item)

    def handle(result: LLMResult[str]) -> list[str]:
        log.append(f"answer {result.item}")
        return ["wide2a", "wide2b"] if result.item == "wide2" else []

    stats = LLMBatchProcessor[str](
        MockLLMClient(),
        build,
        handle,
        config=LLMBatchConfig(max_workers),
        on_done=lambda item: log.append(f"done {item}"),
    ).run(["wide", "child", "other"], {"child": ["wide"]})
    assert sums(stats) == (3, 0, 0, 3)
    parts = ["wide1", "wide2", "wide3", "wide2a", "wide2b"]
    end = log.index("done wide")
    assert {f"answer {part}" for part in parts} <= set(log[:end])
    assert end < log.index("answer child")
    assert built[:4] == ["wide", "wide1", "wide2", "wide3"]
    assert built.index("child") > max(built.index(part) for part in parts)
    if max_workers == 1:
        assert built == ["wide", *parts, "child", "other"]


def test_equal_parts_of_several_items_are_asked_each_for_its_own() -> None:
    done: list[int] = []
    all_four = threading.Barrier(4, timeout=LONG_S)

    class Client:
        provider = model = "barrier"

        def complete(self, request: LLMRequest) -> LLMResponse:
            all_four.wait()
            return LLMResponse("x")

    stats = LLMBatchProcessor[int](
        Client(),
        lambda item: Parts([7, 7]) if item < 3 else request_for(item),
        on_done=done.append,
    ).run([1, 2])
    assert sums(stats) == (2, 0, 0, 2)
    assert sorted(done) == [1, 2]


def test_handler_may_ask_for_the_same_item_again() -> None:
    client, tries, done = MockLLMClient(), Counter[str](), list[str]()

    def handle(result: LLMResult[str]) -> list[str]:
        tries[result.item] += 1
        return [result.item] if result.item == "a" and tries["a"] < 3 else []

    stats = LLMBatchProcessor[str](client, request_for, handle, on_done=done.append).run(
        "ab", {"b": "a"}
    )
    assert sums(stats) == (2, 0, 0, 2)
    assert [asked(call) for call in client.calls] == ["a", "a", "a", "b"]
    assert done == ["a", "b"]


def test_no_parts_are_no_request() -> None:
    stats = LLMBatchProcessor[str](MockLLMClient(), lambda _: Parts([])).run("ab", {"b": "a"})
    assert sums(stats) == (0, 0, 2, 2)


def test_an_error_that_the_handler_answers_with_parts_is_no_failure() -> None:
    too_long = LLMAPIError("too long", status_code=400)
    client = MockLLMClient(lambda request: too_long if asked(request) == "all" else "x")
    stats = LLMBatchProcessor[str](
        client, request_for, lambda result: [] if result.success else ["half1", "half2"]
    ).run(["all"])
    assert sums(stats) == (1, 0, 0, 1)
    assert stats.errors == {}


class Doc(BaseModel):
    description: str


JSON_SCHEMA = {
    "type": "object",
    "properties": {"description": {"type": "string"}},
    "required": ["description"],
}


@pytest.mark.parametrize("schema", [Doc, JSON_SCHEMA], ids=["pydantic", "json"])
def test_schema_is_sent_and_enforced_with_one_repair(schema: Any) -> None:
    answers = {
        "This answer cannot be used": {"description": "Mended."},
        "broken": {"description": ["no", "text"]},
        "hopeless": "no JSON",
        "good": {"description": "Good."},
    }
    answers = dict(sorted(answers.items(), key=lambda pair: pair[0] != "hopeless"))
    client, kept = MockLLMClient(answers), Kept()
    stats = LLMBatchProcessor[str](client, request_for, kept, schema).run(
        ["good", "broken", "hopeless"]
    )
    assert sums(stats) == (2, 1, 0, 3)
    as_dict = {
        item: result.parsed.model_dump() if schema is Doc else result.parsed
        for item, result in kept.results.items()
        if result.success
    }
    assert as_dict == {"good": {"description": "Good."}, "broken": {"description": "Mended."}}
    assert isinstance(kept.errors["hopeless"], LLMResponseError)
    assert {item: result.attempts for item, result in kept.results.items()} == {
        "good": 1,
        "broken": 2,
        "hopeless": 2,
    }
    for call in client.calls:
        assert call.schema is not None
        assert "description" in call.schema["properties"]
    repairs = [call.messages[-1].content for call in client.calls if len(call.messages) > 1]
    assert any("description" in repair and "string" in repair for repair in repairs)


def test_a_requests_own_schema_is_kept_and_used_where_the_batch_has_none() -> None:
    own = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}

    def build(item: str) -> LLMRequest:
        return LLMRequest((Message("user", item),), schema=own)

    client, kept = MockLLMClient(), Kept()
    LLMBatchProcessor[str](client, build, kept).run("a")
    assert kept.results["a"].parsed == {"n": 0}

    client, kept = MockLLMClient([{"description": "x", "n": 1}]), Kept()
    LLMBatchProcessor[str](client, build, kept, Doc).run("a")
    assert client.calls[0].schema == own
    assert kept.results["a"].parsed == Doc(description="x")


def test_schema_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="not a JSON schema"):
        LLMBatchProcessor[str](MockLLMClient(), request_for, schema={"type": "objekt"})


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (LLMResponse("No.", FinishReason.REFUSAL), LLMRefusalError),
        (LLMResponse("", FinishReason.FILTERED), LLMRefusalError),
        (LLMResponse("", FinishReason.LENGTH), LLMTruncatedError),
        (LLMResponse(" "), LLMResponseError),
    ],
)
def test_plain_text_that_is_none_is_an_error(response: LLMResponse, kind: type[LLMError]) -> None:
    kept = Kept()
    stats = LLMBatchProcessor[str](MockLLMClient(lambda _: response), request_for, kept).run("a")
    assert type(kept.errors["a"]) is kind
    assert sums(stats) == (0, 1, 0, 1)


def test_cut_json_is_not_asked_for_again() -> None:
    client = MockLLMClient(lambda _: LLMResponse('{"x": 1, "descr', FinishReason.LENGTH))
    kept = Kept()
    LLMBatchProcessor[str](client, request_for, kept, JSON_SCHEMA).run("a")
    assert isinstance(kept.errors["a"], LLMTruncatedError)
    assert len(client.calls) == 1


def test_a_complaint_quotes_little_of_the_answer() -> None:
    client = MockLLMClient(lambda _: {"description": ["x" * 9000]})
    kept = Kept()
    LLMBatchProcessor[str](client, request_for, kept, JSON_SCHEMA).run("a")
    assert len(str(kept.errors["a"])) < 300
    assert str(kept.errors["a"]).endswith("is not of type 'string'")


def _raise(error: Exception) -> Any:
    raise error


@WORKERS
def test_every_kind_of_error_is_its_items_own(
    max_workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    bugs: dict[str, BaseException] = {
        "api": LLMAPIError("openai answered 400", status_code=400),
        "bug": ZeroDivisionError("in a client"),
        "exit": SystemExit("in a thread"),
    }
    client = MockLLMClient(lambda request: bugs.get(asked(request)) or "x")
    kept, done = Kept(), list[str]()

    def build(item: str) -> Any:
        wrong: dict[str, Callable[[], object]] = {
            "raises": lambda: _raise(KeyError("in a builder")),
            "raises ours": lambda: _raise(LLMResponseError("in a builder")),
            "text": lambda: "no request",
            "triple": lambda: (request_for(item), 1, 2),
            "no parts": lambda: Parts(None),  # type: ignore[arg-type]
        }
        return wrong[item]() if item in wrong else request_for(item)

    def handle(result: LLMResult[str]) -> Any:
        kept(result)
        wrong: dict[str, Callable[[], object]] = {
            "handler": lambda: _raise(ValueError("in a handler")),
            "lazy": lambda: (_raise(ValueError("in a generator")) for _ in "x"),
            "string": lambda: "more",
            "number": lambda: 7,
        }
        return wrong.get(result.item, lambda: None)()

    def finish(item: str) -> None:
        done.append(item)
        if item == "finish":
            raise OSError("disk full")

    bad = ["api", "bug", "exit", "raises", "raises ours", "text", "triple", "no parts"]
    bad += ["handler", "lazy", "string", "number", "finish"]
    items = [*bad, *(f"after {item}" for item in bad)]
    with caplog.at_level(logging.WARNING, "dbt-osmosis"):
        stats = LLMBatchProcessor[str](
            client, build, handle, config=LLMBatchConfig(max_workers), on_done=finish
        ).run(items, {f"after {item}": [item] for item in bad})
    assert sums(stats) == (len(bad), len(bad), 0, len(items))
    assert sorted(done) == sorted(items)
    assert set(stats.errors) == set(bad)
    assert kept.errors.keys() == set(bad[:8])
    assert str(kept.errors["bug"]) == "unexpected ZeroDivisionError: in a client"
    assert kept.results["api"].attempts == 1
    assert kept.results["raises"].request is None
    assert kept.results["raises"].attempts == 0
    assert type(kept.errors["raises ours"]) is LLMResponseError
    assert type(stats.errors["finish"]) is OSError
    assert "finish: it could not be finished: OSError: disk full" in caplog.text
    assert "handler: its result could not be handled: ValueError: in a handler" in caplog.text


def test_a_broken_observer_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    told: list[int] = []

    def observer(stats: LLMBatchStats) -> None:
        told.append(stats.done)
        raise BrokenPipeError("no reader")

    stats = LLMBatchProcessor[str](MockLLMClient(), request_for, observer=observer).run("abc")
    assert stats.completed == 3
    assert len(told) == 1
    assert "BrokenPipeError" in caplog.text


@pytest.mark.parametrize("where", ["client", "builder", "handler", "on_done"])
def test_fail_fast_starts_nothing_after_the_first_failure(where: str) -> None:
    built: list[str] = []

    def fail(here: str, item: str) -> None:
        if (here, item) == (where, "b"):
            raise ValueError(here)

    def build(item: str) -> LLMRequest:
        built.append(item)
        fail("builder", item)
        return request_for(item)

    bug = LLMAPIError("x", status_code=400)
    processor = LLMBatchProcessor[str](
        MockLLMClient(lambda r: bug if (where, asked(r)) == ("client", "b") else "x"),
        build,
        lambda result: fail("handler", result.item),
        config=LLMBatchConfig(1, fail_fast=True),
        on_done=lambda item: fail("on_done", item),
    )
    assert sums(processor.run("abcd")) == (1, 1, 2, 2)
    assert built == ["a", "b"]
    assert processor.is_stopped


def test_an_error_that_ends_the_run_ends_it() -> None:
    client = MockLLMClient(["x", LLMConfigError("the key is wrong")])
    kept = Kept()
    processor = LLMBatchProcessor[str](client, request_for, kept, config=LLMBatchConfig(1))
    assert sums(processor.run("abcd", {"d": "b"})) == (1, 1, 2, 2)
    assert (len(client.calls), processor.is_stopped) == (2, True)


def test_what_failed_before_a_stop_left_its_rest_open_has_failed() -> None:
    client = MockLLMClient([LLMConfigError("the key is wrong")])
    stats = LLMBatchProcessor[str](
        client,
        lambda item: Parts(["w1", "w2"]) if item == "w" else request_for(item),
        config=LLMBatchConfig(1),
    ).run("wx")
    assert sums(stats) == (0, 1, 1, 0)
    assert list(stats.errors) == ["w"]


def test_warm_up_waits_for_one_good_answer() -> None:
    built, alone, before = 0, list[int](), (0, 0)
    idle = {"a": threading.Event(), "b": threading.Event()}
    rest = threading.Barrier(3, timeout=LONG_S)
    kept = Kept()

    class Client:
        provider = model = "cache"

        def complete(self, request: LLMRequest) -> LLMResponse:
            item = asked(request)
            if item not in idle:
                rest.wait()
            else:
                assert idle[item].wait(LONG_S)
            if item == "a":
                raise LLMAPIError("x", status_code=400)
            return LLMResponse("x")

    def build(item: str) -> LLMRequest:
        nonlocal built
        built += 1
        if not kept.texts:
            alone.append(built - len(kept.results))
        return request_for(item)

    def observer(_: LLMBatchStats) -> None:
        nonlocal before
        now = (built, len(kept.results))
        if now == before and built:  # it has started all that it wants to
            for item in "ab"[:built]:
                idle[item].set()
        before = now

    stats = LLMBatchProcessor[str](
        Client(), build, kept, config=LLMBatchConfig(8, warm_up=True), observer=observer
    ).run("abcde")
    assert sums(stats) == (4, 1, 0, 5)
    assert alone == [1, 1]


def test_stop_from_the_handler() -> None:
    client = MockLLMClient()
    kept = Kept()

    def handle(result: LLMResult[str]) -> Iterable[str]:
        kept(result)
        processor.stop()
        return ["more"]

    processor = LLMBatchProcessor[str](client, request_for, handle, config=LLMBatchConfig(1))
    assert sums(processor.run("abc")) == (0, 0, 3, 0)
    assert list(kept.results) == ["a"]  # and what it asked for next keeps it open


def test_stop_before_the_run_asks_nothing() -> None:
    client = MockLLMClient()
    processor = LLMBatchProcessor[str](client, request_for)
    processor.stop()
    assert sums(processor.run("abc")) == (0, 0, 3, 0)
    assert client.calls == []


class Held:
    """A client whose answers wait until they are let go."""

    provider = model = "held"

    def __init__(self, *held: str) -> None:
        self.events = {item: threading.Event() for item in held}
        self.threads: dict[str, threading.Thread] = {}
        self.arrived = threading.Semaphore(0)
        self.calls: list[str] = []

    def complete(self, request: LLMRequest) -> LLMResponse:
        self.calls.append(asked(request))
        self.threads[asked(request)] = threading.current_thread()
        self.arrived.release()
        if asked(request) in self.events:
            assert self.events[asked(request)].wait(LONG_S)
        return LLMResponse("x", usage=Usage(1, 0, 1))

    def let_go(self, *items: str) -> None:
        """Answer, and wait until the answers have been handed over."""
        for item in items:
            self.events[item].set()
            self.threads[item].join(LONG_S)
            assert not self.threads[item].is_alive()


@WORKERS
def test_stop_from_another_thread_waits_for_what_is_in_flight(max_workers: int) -> None:
    items = [f"item{number}" for number in range(20)]
    client, kept = Held(*items), Kept()
    processor = LLMBatchProcessor[str](
        client, request_for, kept, config=LLMBatchConfig(max_workers)
    )

    def stop() -> None:
        for _ in range(max_workers):
            assert client.arrived.acquire(timeout=LONG_S)
        processor.stop()
        client.let_go(*items[:max_workers])

    thread = threading.Thread(target=stop)
    thread.start()
    stats = processor.run(items)
    thread.join(LONG_S)
    assert sums(stats) == (max_workers, 0, 20 - max_workers, max_workers)
    assert stats.abandoned == 0
    assert sorted(client.calls) == sorted(items[:max_workers]) == sorted(kept.texts)


def test_grace_ends_with_what_has_come_and_what_hangs_is_left() -> None:
    now = 1000.0
    client, kept = Held("kept", "hangs"), Kept()

    def observer(stats: LLMBatchStats) -> None:
        nonlocal now
        if stats.in_flight == 2 and not processor.is_stopped:
            assert client.arrived.acquire(timeout=LONG_S)
            assert client.arrived.acquire(timeout=LONG_S)
            processor.stop(10)
            processor.stop(3600)  # does not make it longer
            client.let_go("kept")
            now += 11

    processor = LLMBatchProcessor[str](
        client,
        request_for,
        kept,
        config=LLMBatchConfig(2),
        observer=observer,
        clock=lambda: now,
    )
    stats = processor.run(["kept", "hangs", "never"], {"never": ["hangs"]})
    assert sums(stats) == (1, 0, 2, 1)
    assert list(kept.texts) == ["kept"]
    assert stats.elapsed_seconds == 11
    assert (stats.in_flight, stats.abandoned) == (0, 1)
    client.let_go("hangs")  # too late: nobody is told
    assert list(kept.texts) == ["kept"]


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="Windows has no such signals")
def test_stop_from_a_signal_handler_ends_a_run_that_only_waits() -> None:
    client = Held("hangs")
    processor = LLMBatchProcessor[str](client, request_for)
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        assert client.arrived.acquire(timeout=LONG_S)
        signal.pthread_kill(main, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: processor.stop(0))
    thread = threading.Thread(target=interrupt)
    try:
        thread.start()
        assert sums(processor.run(["hangs", "child"], {"child": ["hangs"]})) == (0, 0, 2, 0)
    finally:
        thread.join(LONG_S)
        signal.signal(signal.SIGUSR1, before)
        client.let_go("hangs")


def test_what_waits_for_its_turn_at_the_limiter_is_not_sent_after_a_stop() -> None:
    inner, kept = Held("a"), Kept()
    client = RateLimitedClient(inner, RateLimiter(max_in_flight=1))
    all_started = threading.Event()

    def observer(stats: LLMBatchStats) -> None:
        if stats.in_flight == 3:
            all_started.set()

    processor = LLMBatchProcessor[str](
        client, request_for, kept, config=LLMBatchConfig(3), observer=observer
    )

    def stop() -> None:
        assert inner.arrived.acquire(timeout=LONG_S)
        assert all_started.wait(LONG_S)
        processor.stop()
        assert processor._cancelled.wait(LONG_S)
        inner.let_go("a")

    thread = threading.Thread(target=stop)
    thread.start()
    stats = processor.run("abc")
    thread.join(LONG_S)
    assert sums(stats) == (1, 0, 2, 1)
    assert (inner.calls, list(kept.results), stats.errors) == (["a"], ["a"], {})


def test_no_repair_after_a_stop() -> None:
    def answer(_: LLMRequest) -> str:
        processor.stop()
        assert processor._cancelled.wait(LONG_S)
        return "no JSON, but paid for"

    client, kept = MockLLMClient(answer), Kept()
    processor = LLMBatchProcessor[str](client, request_for, kept, Doc)
    stats = processor.run("a")
    assert sums(stats) == (0, 0, 1, 0)
    assert (len(client.calls), kept.results) == (1, {})
    assert stats.total_tokens == len("no JSON, but paid for") // 4


def test_retries_of_the_batch() -> None:
    passing = LLMAPIError("openai answered 500", status_code=500, retry_after_s=1e-6)
    kept = Kept()
    stats = LLMBatchProcessor[str](
        MockLLMClient([passing, passing, "x", passing, passing, passing]),
        request_for,
        kept,
        config=LLMBatchConfig(1, max_retries=2),
    ).run("ab")
    assert sums(stats) == (1, 1, 0, 2)
    assert (kept.results["a"].attempts, kept.results["b"].attempts) == (3, 3)


def test_a_stop_ends_the_wait_before_a_repetition() -> None:
    def answer(_: LLMRequest) -> LLMError:
        processor.stop()
        return LLMAPIError("openai answered 500", status_code=500, retry_after_s=LONG_S)

    client = MockLLMClient(answer)
    processor = LLMBatchProcessor[str](client, request_for, config=LLMBatchConfig(1, max_retries=2))
    started = time.monotonic()
    assert sums(processor.run("ab")) == (0, 0, 2, 0)
    assert time.monotonic() - started < LONG_S / 2
    assert len(client.calls) == 1


def test_sums_have_the_answers_that_could_not_be_used() -> None:
    def answer(text: str, cost_usd: float | None) -> LLMResponse:
        return LLMResponse(text, usage=Usage(10, 5, 3, 1), cost_usd=cost_usd, attempts=2)

    good = '{"description": "x"}'
    answers = [answer("bad", 0.25), answer(good, 0.5), answer("bad", 0.25), answer("bad", 0.25)]
    kept = Kept()
    stats = LLMBatchProcessor[str](
        MockLLMClient(answers), request_for, kept, Doc, LLMBatchConfig(1)
    ).run("ab")
    assert sums(stats) == (1, 1, 0, 2)
    assert (stats.total_tokens, stats.total_cost_usd) == (4 * 13, 1.25)
    assert (kept.results["a"].attempts, kept.results["b"].attempts) == (4, 4)
    assert (kept.results["a"].cost_usd, kept.results["b"].cost_usd) == (0.75, 0.5)
    assert kept.results["b"].usage == Usage(20, 10, 6, 2)


def test_an_unknown_price_makes_the_total_unknown() -> None:
    answers = [LLMResponse("x", cost_usd=cost) for cost in (0.5, None, 0.5)]
    stats = LLMBatchProcessor[str](MockLLMClient(answers), request_for).run("abc")
    assert stats.completed == 3
    assert stats.total_cost_usd is None


def test_latency_is_measured_where_the_client_does_not() -> None:
    now = 0.0

    def answer(_: LLMRequest) -> str:
        nonlocal now
        now += 1.5
        return "x"

    kept = Kept()
    stats = LLMBatchProcessor[str](MockLLMClient(answer), request_for, kept, clock=lambda: now).run(
        "a"
    )
    assert kept.results["a"].latency_ms == 1500
    assert stats.elapsed_seconds == 1.5


def test_a_processor_runs_once() -> None:
    processor = LLMBatchProcessor[str](MockLLMClient(), request_for)
    processor.run("a")
    assert not processor.is_stopped
    with pytest.raises(RuntimeError, match="make another"):
        processor.run("b")


@pytest.mark.parametrize("wrong", [{"max_workers": 0}, {"max_retries": -1}])
def test_config_refuses_what_cannot_work(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        LLMBatchConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [0, 1], ids=["nothing to ask", "all asked"])
def test_5000_items_take_little_time_and_leave_no_thread(share: int) -> None:
    items = range(5000)
    waits = {item: [item // 2, item - 1] for item in items if item % 3}
    with cpu_limit(5):
        stats = LLMBatchProcessor[int](
            MockLLMClient(),
            lambda item: request_for(item) if share else None,
            observer=lambda stats: None,
        ).run(items, waits)
    assert sums(stats) == (5000 * share, 0, 5000 * (1 - share), 5000)
    for thread in threading.enumerate():
        if thread.name == "llm batch":
            thread.join(LONG_S)
            assert not thread.is_alive()


def test_a_chain_of_5000_is_no_deeper_than_one() -> None:
    waits = {item: [item - 1] for item in range(1, 5000)}
    stats = LLMBatchProcessor[int](MockLLMClient(), lambda _: None).run(range(5000), waits)
    assert stats.done == 5000
