"""Many questions to one model: in parallel, in the order that they need, failures isolated.

The engine of the synthesis, free of dbt. Builders and handlers run in the calling thread, one
after the other: only waiting for the model is parallel, so they need no locks, and what a request
says depends on nothing but the items that its own item waits for.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.llm.answers import Reader, Schema, ask, reader
from dbt_osmosis_llm.llm.exceptions import LLMCancelledError, LLMError
from dbt_osmosis_llm.llm.graph import longest_paths
from dbt_osmosis_llm.llm.messages import LLMClient, LLMRequest, LLMResponse, Usage, sum_of_costs
from dbt_osmosis_llm.llm.retry import RetryingClient

Item = TypeVar("Item", bound=Hashable)

_TICK_S = 0.2
"""How often progress is told while nothing comes back."""


@dataclass(frozen=True)
class LLMBatchConfig:
    """How a batch is run.

    Raises:
        ValueError: A number is out of bounds.
    """

    max_workers: int = 16
    """Requests at the same time, at least 1."""
    max_retries: int = 0
    """Repetitions of a request beyond those of the client, which has its own when built."""
    fail_fast: bool = False
    """Start nothing new after the first failure."""
    warm_up: bool = False
    """Wait for one good answer before the rest starts, where only then a prompt cache is filled."""

    def __post_init__(self) -> None:
        for name, least in (("max_workers", 1), ("max_retries", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be at least {least}")


@dataclass(frozen=True)
class Parts(Generic[Item]):
    """What a request builder returns for an item that is asked for in several requests."""

    items: Iterable[Item]


@dataclass(frozen=True)
class LLMResult(Generic[Item]):
    """What came of one item's request."""

    item: Item
    request: LLMRequest | None
    """None when it could not be built."""
    extra: Any = None
    """What the request builder handed on."""
    response: LLMResponse | None = None
    parsed: Any = None
    """The answer as the batch's schema, or else the request's, has it; None for plain text."""
    error: LLMError | None = None
    usage: Usage = field(default_factory=Usage)
    """Tokens of every answer to this request, those that could not be used included."""
    cost_usd: float | None = 0.0
    """What these answers cost; None when that is not known."""
    attempts: int = 0
    """Requests made."""
    latency_ms: float = 0.0
    """Wall time from the request to its last answer."""

    @property
    def success(self) -> bool:
        """Tell whether there is an answer that can be used."""
        return self.error is None

    @property
    def text(self) -> str:
        """Return the answer as it came; empty when none can be used."""
        return "" if self.response is None else self.response.text


@dataclass
class LLMBatchStats:
    """What became of a batch; `LLMBatchProcessor.run` returns it, observers see it grow.

    In the end every item is either completed, failed or skipped.
    """

    items: int = 0
    completed: int = 0
    """Items all of whose requests were answered."""
    failed: int = 0
    done: int = 0
    """Items of which nothing is open any more, those that needed no request included."""
    skipped: int = 0
    """Items that needed no request; in the end also those that a stop left open."""
    in_flight: int = 0
    """Requests that are being answered now."""
    abandoned: int = 0
    """Requests that a stop did not wait for: what they used is not known."""
    total_tokens: int = 0
    """Tokens in and out, those of answers that could not be used included."""
    total_cost_usd: float | None = 0.0
    """None as soon as one answer has no known price."""
    elapsed_seconds: float = 0.0
    errors: dict[Any, Exception] = field(default_factory=dict)
    """Failed item to the first error that made it fail."""


Built = LLMRequest | tuple[LLMRequest, Any] | Parts[Item] | None
RequestBuilder = Callable[[Item], Built[Item]]
ResultHandler = Callable[[LLMResult[Item]], Iterable[Item] | None]


class LLMBatchProcessor(Generic[Item]):
    """Asks a model about many items; serves for one run.

    An exception in a builder, a handler or ``on_done`` makes its item fail and no other.

    Args:
        client: Whom to ask.
        request_builder: Makes an item's request when its turn has come: a request, ``(request,
            extra)`` to hand something on to the handler, `Parts`, or None to skip the item.
        result_handler: Gets every result, errors included, but not what a stop took back. What it
            returns is asked next, as part of the same item, which then has not failed.
        schema: What answers must be: a pydantic model or the JSON schema of an object; None takes
            any text. Requests without a schema of their own get this one.
        config: How to run.
        on_done: Gets an item when nothing of it is open any more, before those that wait for it.
        observer: Gets the statistics whenever something changed, and several times a second.
        clock: Seconds that never go back.

    Raises:
        ValueError: ``schema`` is no JSON schema.
    """

    def __init__(
        self,
        client: LLMClient,
        request_builder: RequestBuilder[Item],
        result_handler: ResultHandler[Item] | None = None,
        schema: Schema | None = None,
        config: LLMBatchConfig | None = None,
        *,
        on_done: Callable[[Item], None] | None = None,
        observer: Callable[[LLMBatchStats], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config or LLMBatchConfig()
        self._cancelled = threading.Event()
        # Below the repetitions, and asked by repairs too: after a stop none of them is sent.
        self._client: LLMClient = _Gate(client)
        if self._config.max_retries:
            self._client = RetryingClient(
                self._client, max_retries=self._config.max_retries, retry_delay_s=1.0
            )
        self._build = request_builder
        self._handle = result_handler
        self._schema = schema.model_json_schema() if isinstance(schema, type) else schema
        self._read = None if schema is None else reader(schema)
        self._on_done = on_done
        self._observer = observer
        self._clock = clock
        self._finished: queue.SimpleQueue[tuple[_Task[Item], LLMResult[Item]] | None] = (
            queue.SimpleQueue()
        )
        self._has_run = False
        self._stopped = False
        self._give_up_at: float | None = None

    def stop(self, grace_s: float | None = None) -> None:
        """Start nothing new; may be called at any time, from any thread or signal handler.

        Args:
            grace_s: How long to wait for answers in flight; None waits for all of them.
        """
        if grace_s is not None:
            give_up_at = self._clock() + grace_s
            earlier = self._give_up_at
            self._give_up_at = give_up_at if earlier is None else min(earlier, give_up_at)
        self._stopped = True
        # The run sets the event: in a signal handler its lock may be held by what is interrupted.
        # A simple queue's put may be interrupted by itself.
        self._finished.put(None)

    @property
    def is_stopped(self) -> bool:
        """Tell whether the batch was stopped, by its caller or by an error that ends it."""
        return self._stopped

    def run(
        self,
        items: Iterable[Item],
        depends_on: Mapping[Item, Iterable[Item]] | None = None,
    ) -> LLMBatchStats:
        """Ask about all items, each after those that it depends on.

        Args:
            items: What to ask about; without dependencies asked in this order.
            depends_on: Item to the items that must be done before its request is built. A failed
                item counts as done. What is not among the items is ignored.

        Raises:
            ValueError: Items wait for each other in a circle.
            RuntimeError: This processor has run before.
        """
        if self._has_run:
            raise RuntimeError("a batch processor runs once; make another for the next run")
        self._has_run = True
        run = _Run(self, list(dict.fromkeys(items)), depends_on or {})
        try:
            return run.until_done()
        finally:
            self._cancelled.set()  # whatever still waits for its turn must not be sent


@dataclass
class _Task(Generic[Item]):
    """An item to ask about, and the given item that it is, or is a part of."""

    item: Item
    root: Item
    request: LLMRequest | None = None
    extra: Any = None


@dataclass
class _Root:
    """A given item on its way."""

    waits_for: int
    open_parts: int = 1
    """The item itself is the first."""
    asked: bool = False
    error: Exception | None = None


class _Run(Generic[Item]):
    """The state of one run of a batch; everything but `_ask` stays in the calling thread."""

    def __init__(
        self,
        processor: LLMBatchProcessor[Item],
        items: list[Item],
        depends_on: Mapping[Item, Iterable[Item]],
    ) -> None:
        self._batch = processor
        given = set(items)
        waits = {item: set(depends_on.get(item, ())) & given - {item} for item in items}
        self._roots = {item: _Root(len(waits[item])) for item in items}
        self._dependents: dict[Item, list[Item]] = {item: [] for item in items}
        for item in items:
            for other in waits[item]:
                self._dependents[other].append(item)
        self._path = longest_paths(items, self._dependents, waits)
        self._order = {item: index for index, item in enumerate(items)}
        self._ready: list[tuple[bool, int, int, _Task[Item]]] = []
        self._parts = itertools.count()
        self._in_flight = 0
        self._is_warm = not processor._config.warm_up
        self._observer = processor._observer
        self._started_at = processor._clock()
        self.stats = LLMBatchStats(items=len(items))
        for item in items:
            if not waits[item]:
                self._push_root(item)

    def _push_root(self, item: Item) -> None:
        # The longest chain first: its end is the end of the run.
        rank = (True, -self._path[item], self._order[item])
        heapq.heappush(self._ready, (*rank, _Task(item, item)))

    def _push_part(self, item: Item, root: Item) -> None:
        # Before anything new: it sets its item, and what waits for it, free.
        rank = (False, -self._path[root], next(self._parts))
        heapq.heappush(self._ready, (*rank, _Task(item, root)))

    def until_done(self) -> LLMBatchStats:
        while self._step():
            self._tell()
        stats = self.stats
        stats.abandoned, self._in_flight = self._in_flight, 0
        for item, root in self._roots.items():
            if root.open_parts and root.error is not None:  # a stop left only the rest of it open
                self._count_failure(item, root.error)
        stats.skipped = stats.items - stats.completed - stats.failed
        self._tell()
        return stats

    def _step(self) -> bool:
        """Take one answer and start one request, or wait; return whether the run goes on."""
        batch = self._batch
        if batch.is_stopped:
            batch._cancelled.set()
        # One of each in turn: neither slow handlers nor slow builders keep the other waiting.
        has_taken = self._take_next(0)
        if self._start_next() or has_taken:
            return True
        if not self._in_flight:
            return False
        wait_s = _TICK_S
        if batch._give_up_at is not None:
            wait_s = min(wait_s, batch._give_up_at - batch._clock())
            if wait_s <= 0:
                return False
        self._take_next(wait_s)
        return True

    def _take_next(self, wait_s: float) -> bool:
        try:
            taken = self._batch._finished.get(block=wait_s > 0, timeout=wait_s)
        except queue.Empty:
            return False
        if taken is not None:
            task, result = taken
            self._in_flight -= 1
            self._is_warm = self._is_warm or result.success
            self._count_cost(result)
            self._settle(task, result)
        return True

    def _start_next(self) -> bool:
        limit = self._batch._config.max_workers if self._is_warm else 1
        if not self._ready or self._batch.is_stopped or self._in_flight >= limit:
            return False
        *_, task = heapq.heappop(self._ready)
        try:
            built = self._batch._build(task.item)
            if isinstance(built, Parts):
                self._add_parts(task.root, list(built.items))
            elif built is not None:
                self._send(task, built)
                return True
        except Exception as error:  # noqa: BLE001  # one item's failure is its own
            logger.debug("%s: no request", task.item, exc_info=True)
            failure = error if isinstance(error, LLMError) else _unexpected(error)
            self._settle(task, LLMResult(task.item, task.request, task.extra, error=failure))
        else:
            self._close_part(task.root)
        return True

    def _send(self, task: _Task[Item], built: LLMRequest | tuple[LLMRequest, Any]) -> None:
        batch = self._batch
        request, task.extra = built if isinstance(built, tuple) else (built, None)
        if request.schema is None:
            request = replace(request, schema=batch._schema)
        read = batch._read or reader(request.schema)
        task.request = replace(request, cancelled=batch._cancelled)
        # Not a pool: its threads would be waited for at the interpreter's exit, answer or not.
        threading.Thread(
            target=self._ask, args=(task, task.request, read), name="llm batch", daemon=True
        ).start()
        self._in_flight += 1
        self._roots[task.root].asked = True

    def _ask(self, task: _Task[Item], request: LLMRequest, read: Reader) -> None:
        """Run in a thread of its own: ask, and put what came of it where the run looks."""
        call = _Call(self._batch._client, self._batch._clock)
        result: LLMResult[Item] = LLMResult(task.item, request, task.extra)
        try:
            parsed, response = ask(call, request, read)
            result = replace(result, parsed=parsed, response=response)
        except LLMError as error:
            result = replace(result, error=error)
        except BaseException as error:  # noqa: BLE001  # a lost thread would hang the run
            logger.debug("%s: no answer", task.item, exc_info=True)
            result = replace(result, error=_unexpected(error))
        result = replace(
            result,
            usage=call.usage,
            cost_usd=call.cost_usd,
            attempts=call.attempts,
            latency_ms=call.seconds * 1000,
        )
        self._batch._finished.put((task, result))

    def _settle(self, task: _Task[Item], result: LLMResult[Item]) -> None:
        batch, root = self._batch, self._roots[task.root]
        if isinstance(result.error, LLMCancelledError) and batch.is_stopped:
            return  # its item stays open: nobody may take it for done
        next_items: list[Item] = []
        try:
            next_items = self._handled(result)
        except Exception as error:  # noqa: BLE001  # one item's failure is its own
            self._fail(task.root, error, "its result could not be handled")
        if result.error is not None:
            # Parts are asked instead of what failed, e.g. halves of a prompt that was too long.
            if not next_items:
                root.error = root.error or result.error
            if result.error.ends_run:
                batch.stop()
        if root.error is not None and batch._config.fail_fast:
            batch.stop()
        # In this order: an item without an open part is done.
        self._add_parts(task.root, next_items)
        self._close_part(task.root)

    def _handled(self, result: LLMResult[Item]) -> list[Item]:
        if self._batch._handle is None:
            return []
        next_items = self._batch._handle(result)
        if isinstance(next_items, (str, bytes)):
            raise TypeError("a result handler returns items to ask next, or None; it returned text")
        return [] if next_items is None else list(next_items)

    def _fail(self, item: Item, error: Exception, what: str) -> None:
        logger.warning("%s: %s: %s: %s", item, what, type(error).__name__, error)
        logger.debug("%s", item, exc_info=error)
        root = self._roots[item]
        root.error = root.error or error

    def _add_parts(self, item: Item, parts: Sequence[Item]) -> None:
        self._roots[item].open_parts += len(parts)
        for part in parts:
            self._push_part(part, item)

    def _close_part(self, item: Item) -> None:
        """Count one part of an item as done, and with the last one the item."""
        batch, root, stats = self._batch, self._roots[item], self.stats
        root.open_parts -= 1
        if root.open_parts:
            return
        # Before anything is counted: a failure here is the item's failure as well.
        if batch._on_done is not None:
            try:
                batch._on_done(item)
            except Exception as error:  # noqa: BLE001  # one item's failure is its own
                self._fail(item, error, "it could not be finished")
                if batch._config.fail_fast:
                    batch.stop()
        stats.done += 1
        if root.error is not None:
            self._count_failure(item, root.error)
        elif root.asked:
            stats.completed += 1
        else:
            stats.skipped += 1
        for dependent in self._dependents[item]:
            self._roots[dependent].waits_for -= 1
            if not self._roots[dependent].waits_for:
                self._push_root(dependent)

    def _count_failure(self, item: Item, error: Exception) -> None:
        self.stats.failed += 1
        self.stats.errors[item] = error

    def _count_cost(self, result: LLMResult[Item]) -> None:
        stats = self.stats
        stats.total_tokens += result.usage.input_tokens + result.usage.output_tokens
        stats.total_cost_usd = sum_of_costs(stats.total_cost_usd, result.cost_usd)

    def _tell(self) -> None:
        self.stats.in_flight = self._in_flight
        self.stats.elapsed_seconds = self._batch._clock() - self._started_at
        if self._observer is None:
            return
        try:
            self._observer(self.stats)
        except Exception as error:  # noqa: BLE001  # a broken display loses no answer
            logger.warning("Progress is not shown any more: %s: %s", type(error).__name__, error)
            self._observer = None


class _Gate:
    """A client that lets no request through whose answer nobody wants any more."""

    def __init__(self, inner: LLMClient) -> None:
        self._inner = inner
        self.provider = inner.provider
        self.model = inner.model

    def complete(self, request: LLMRequest) -> LLMResponse:
        """Pass the request on unless it is cancelled."""
        if request.cancelled is not None and request.cancelled.is_set():
            raise LLMCancelledError("the run was stopped")
        return self._inner.complete(request)


class _Call:
    """A client for one result: adds up what its answers take, whether they can be used or not."""

    def __init__(self, inner: LLMClient, clock: Callable[[], float]) -> None:
        self._inner = inner
        self._clock = clock
        self.provider = inner.provider
        self.model = inner.model
        self.usage = Usage()
        self.cost_usd: float | None = 0.0
        self.attempts = 0
        self.seconds = 0.0

    def complete(self, request: LLMRequest) -> LLMResponse:
        """Pass the request on."""
        started = self._clock()
        try:
            response = self._inner.complete(request)
        except Exception as error:
            self.attempts += getattr(error, "attempts", 1)
            raise
        finally:
            self.seconds += self._clock() - started
        self.attempts += response.attempts
        self.usage += response.usage
        self.cost_usd = sum_of_costs(self.cost_usd, response.cost_usd)
        return response


def _unexpected(error: BaseException) -> LLMError:
    failure = LLMError(f"unexpected {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure
