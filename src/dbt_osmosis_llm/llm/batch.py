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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import jsonschema
from pydantic import BaseModel

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.llm.answers import ask
from dbt_osmosis_llm.llm.exceptions import LLMCancelledError, LLMError, LLMResponseError
from dbt_osmosis_llm.llm.messages import LLMRequest, LLMResponse
from dbt_osmosis_llm.llm.parsing import parse_answer
from dbt_osmosis_llm.llm.retry import RetryingClient
from dbt_osmosis_llm.llm.usage import Usage

if TYPE_CHECKING:
    from dbt_osmosis_llm.llm.client import LLMClient

Item = TypeVar("Item", bound=Hashable)

_TICK_S = 0.2
"""How often progress is told and a stop is looked for while nothing comes back."""


@dataclass(frozen=True)
class LLMBatchConfig:
    """How a batch is run."""

    max_workers: int = 16
    """Requests at the same time."""
    max_retries: int = 0
    """Repetitions of a request beyond those of the client, which has its own when built."""
    fail_fast: bool = False
    """Start nothing new after the first failure."""
    warm_up: bool = False
    """Wait for one good answer before the rest starts, where only then a prompt cache is filled."""


@dataclass(frozen=True)
class Parts(Generic[Item]):
    """What a request builder returns for an item that is asked for in several requests."""

    items: Sequence[Item]


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
    """The answer as the batch's schema has it; None without a schema."""
    error: LLMError | None = None

    @property
    def success(self) -> bool:
        """Tell whether there is an answer that can be used."""
        return self.error is None

    @property
    def text(self) -> str:
        """Return the answer as it came."""
        return "" if self.response is None else self.response.text

    @property
    def usage(self) -> Usage:
        """Return the tokens of the answer, and of the one before it that could not be used."""
        return Usage() if self.response is None else self.response.usage

    @property
    def cost_usd(self) -> float | None:
        """Return what the answer cost; None when that is not known."""
        return None if self.response is None else self.response.cost_usd

    @property
    def attempts(self) -> int:
        """Return how many requests were made."""
        if self.response is not None:
            return self.response.attempts
        return self.error.attempts if self.error is not None and self.request is not None else 0

    @property
    def latency_ms(self) -> float:
        """Return the wall time of the call."""
        return 0.0 if self.response is None else self.response.latency_ms


@dataclass
class LLMBatchStats:
    """What became of a batch; `LLMBatchProcessor.run` returns it, observers see it grow."""

    items: int = 0
    completed: int = 0
    """Items all of whose requests were answered."""
    failed: int = 0
    done: int = 0
    """Items of which nothing is open any more, those that needed no request included."""
    skipped: int = 0
    """Items that needed no request, and those that were not started before a stop."""
    in_flight: int = 0
    """Requests that are being answered now."""
    total_tokens: int = 0
    total_cost_usd: float | None = 0.0
    """None as soon as one answer has no known price."""
    elapsed_seconds: float = 0.0


Built = LLMRequest | tuple[LLMRequest, Any] | Parts[Item] | None
RequestBuilder = Callable[[Item], Built[Item]]
ResultHandler = Callable[[LLMResult[Item]], Iterable[Item] | None]
Schema = type[BaseModel] | Mapping[str, Any]


@dataclass
class _Task(Generic[Item]):
    """An item, and the given item that it is a part of."""

    item: Item
    root: Item
    extra: Any = None
    request: LLMRequest | None = None


@dataclass
class _Root:
    """A given item on its way."""

    waits_for: int
    open_parts: int = 0
    failed: bool = False
    asked: bool = False


class LLMBatchProcessor(Generic[Item]):
    """Asks a model about many items.

    Args:
        client: Whom to ask.
        request_builder: Makes an item's request when its turn has come: a request, ``(request,
            extra)`` to hand something on to the handler, `Parts`, or None to skip the item.
        result_handler: Gets every result. What it returns is asked next, as part of the same item.
        schema: What answers must be: a pydantic model or a JSON schema; None takes any text.
            Requests without a schema of their own get this one.
        config: How to run.
        on_done: Gets an item when nothing of it is open any more, before those that wait for it.
        observer: Gets the statistics whenever something changed, and several times a second.
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
        self._client = _Tally(client)
        if self._config.max_retries:
            retries = self._config.max_retries
            inner = RetryingClient(client, max_retries=retries, retry_delay_s=1.0)
            self._client = _Tally(inner)
        self._build = request_builder
        self._handle = result_handler
        self._schema = schema
        self._on_done = on_done
        self._observer = observer
        self._clock = clock
        self._finished: queue.SimpleQueue[LLMResult[Item]] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._give_up_at: float | None = None

    def stop(self, grace_s: float | None = None) -> None:
        """Start nothing new; may be called from any thread and from a signal handler.

        Args:
            grace_s: How long to wait for answers in flight; None waits for all of them.
        """
        if grace_s is not None:
            self._give_up_at = self._clock() + grace_s
        self._cancelled.set()

    @property
    def is_stopped(self) -> bool:
        """Tell whether nothing new is started any more."""
        return self._cancelled.is_set()

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
        """
        run = _Run(self, list(dict.fromkeys(items)), depends_on or {})
        try:
            return run.until_done()
        finally:
            self._cancelled.set()  # whatever still waits for its turn must not be sent


class _Run(Generic[Item]):
    """The state of one run of a batch."""

    def __init__(
        self,
        processor: LLMBatchProcessor[Item],
        items: list[Item],
        depends_on: Mapping[Item, Iterable[Item]],
    ) -> None:
        self._batch = processor
        known = set(items)
        waits = {item: set(depends_on.get(item, ())) & known - {item} for item in items}
        self._roots = {item: _Root(len(waits[item])) for item in items}
        self._dependents: dict[Item, list[Item]] = {item: [] for item in items}
        for item in items:
            for other in waits[item]:
                self._dependents[other].append(item)
        self._path = _longest_paths(items, self._dependents, waits)
        self._order = {item: index for index, item in enumerate(items)}
        self._ready: list[tuple[int, int, int, _Task[Item]]] = []
        self._sequence = itertools.count()
        self._running: dict[Item, _Task[Item]] = {}
        self._warm = not processor._config.warm_up
        self.stats = LLMBatchStats(items=len(items))
        for item in items:
            if not waits[item]:
                self._push(_Task(item, item))

    def _push(self, task: _Task[Item]) -> None:
        # Parts of what has begun go first: they set their item, and what waits for it, free.
        begun = 0 if task.item is not task.root else 1
        rank = -self._path[task.root]
        place = next(self._sequence) if not begun else self._order[task.root]
        heapq.heappush(self._ready, (begun, rank, place, task))

    def until_done(self) -> LLMBatchStats:
        batch, started = self._batch, self._batch._clock()
        while True:
            self._start_what_is_ready()
            self.stats.elapsed_seconds = batch._clock() - started
            self._tell()
            if not self._running:
                break
            try:
                result = batch._finished.get(timeout=_TICK_S)
            except queue.Empty:
                if batch._give_up_at is not None and batch._clock() >= batch._give_up_at:
                    break
                continue
            self._take(result)
        stats = self.stats
        stats.in_flight = 0
        stats.skipped = stats.items - stats.completed - stats.failed
        return stats

    def _start_what_is_ready(self) -> None:
        batch = self._batch
        while self._ready and not batch.is_stopped:
            limit = batch._config.max_workers if self._warm else 1
            if len(self._running) >= limit:
                return
            *_, task = heapq.heappop(self._ready)
            self._start(task)

    def _start(self, task: _Task[Item]) -> None:
        root = self._roots[task.root]
        if task.item is task.root:
            root.open_parts = 1
        try:
            built = self._batch._build(task.item)
        except Exception as error:  # noqa: BLE001  # one item's failure is its own
            logger.debug("%s", task.item, exc_info=True)
            self._settle(LLMResult(task.item, None, error=_unexpected(error)), task)
            return
        if isinstance(built, Parts):
            self._add_parts(task, built.items)
            self._close_part(task)
            return
        if built is None:
            self._close_part(task)
            return
        request, task.extra = built if isinstance(built, tuple) else (built, None)
        task.request = self._prepared(request)
        root.asked = True
        self._running[task.item] = task
        threading.Thread(target=self._ask, args=(task,), name="llm batch", daemon=True).start()

    def _prepared(self, request: LLMRequest) -> LLMRequest:
        schema = self._batch._schema
        if request.schema is None and schema is not None:
            own = schema.model_json_schema() if isinstance(schema, type) else schema
            request = replace(request, schema=own)
        return replace(request, cancelled=self._batch._cancelled)

    def _ask(self, task: _Task[Item]) -> None:
        """Run in a thread of its own: ask, and put what came of it where the run looks."""
        request = task.request
        assert request is not None  # noqa: S101  # set where the thread is started
        result: LLMResult[Item] = LLMResult(task.item, request, task.extra)
        try:
            parsed, response = ask(self._batch._client, request, self._read)
            result = replace(result, parsed=parsed, response=response)
        except LLMError as error:
            result = replace(result, error=error)
        except BaseException as error:  # noqa: BLE001  # a lost thread would hang the run
            result = replace(result, error=_unexpected(error))
        self._batch._finished.put(result)

    def _read(self, response: LLMResponse) -> Any:
        schema = self._batch._schema
        if schema is None:
            return None
        if isinstance(schema, type):
            return parse_answer(response, schema)
        answer = parse_answer(response)
        try:
            jsonschema.validate(answer, dict(schema))
        except jsonschema.ValidationError as error:
            where = ".".join(map(str, error.absolute_path)) or "the object"
            raise LLMResponseError(f"the answer does not fit: {where}: {error.message}") from None
        return answer

    def _take(self, result: LLMResult[Item]) -> None:
        task = self._running.pop(result.item)
        self._warm = self._warm or result.success
        self._settle(result, task)

    def _settle(self, result: LLMResult[Item], task: _Task[Item]) -> None:
        root = self._roots[task.root]
        more: Iterable[Item] = ()
        is_lost = isinstance(result.error, LLMCancelledError)
        if not is_lost and self._batch._handle is not None:
            try:
                more = self._batch._handle(result) or ()
            except Exception as error:  # noqa: BLE001  # one item's failure is its own
                logger.warning("%s: what came back could not be used: %s", task.item, error)
                logger.debug("%s", task.item, exc_info=True)
                root.failed = True
        more = list(more)
        if result.error is not None and not more:
            root.failed = root.failed or not is_lost
            if result.error.ends_run or (self._batch._config.fail_fast and not is_lost):
                self._batch.stop()
        if is_lost:
            return  # its item stays open: nobody may take it for done
        self._add_parts(task, more)
        self._close_part(task)

    def _add_parts(self, task: _Task[Item], items: Iterable[Item]) -> None:
        for item in items:
            self._roots[task.root].open_parts += 1
            self._push(_Task(item, task.root))

    def _close_part(self, task: _Task[Item]) -> None:
        root = self._roots[task.root]
        root.open_parts -= 1
        if root.open_parts:
            return
        self.stats.done += 1
        if root.failed:
            self.stats.failed += 1
        elif root.asked:
            self.stats.completed += 1
        if self._batch._on_done is not None:
            self._batch._on_done(task.root)
        for item in self._dependents[task.root]:
            self._roots[item].waits_for -= 1
            if not self._roots[item].waits_for:
                self._push(_Task(item, item))

    def _tell(self) -> None:
        self.stats.in_flight = len(self._running)
        self.stats.total_tokens, self.stats.total_cost_usd = self._batch._client.totals()
        if self._batch._observer is not None:
            self._batch._observer(self.stats)


def _unexpected(error: BaseException) -> LLMError:
    return LLMError(f"unexpected {type(error).__name__}: {error}")


def _longest_paths(
    items: Sequence[Item],
    dependents: Mapping[Item, Sequence[Item]],
    waits: Mapping[Item, set[Item]],
) -> dict[Item, int]:
    """Return how many items, one after the other, wait at most for each item and itself."""
    left = {item: len(dependents[item]) for item in items}
    path = dict.fromkeys(items, 1)
    free = [item for item in items if not left[item]]
    for item in free:  # grows while it is walked
        for parent in waits[item]:
            path[parent] = max(path[parent], path[item] + 1)
            left[parent] -= 1
            if not left[parent]:
                free.append(parent)
    if len(free) < len(items):
        circle = [str(item) for item in items if left[item]]
        raise ValueError(f"items wait for each other in a circle: {', '.join(circle[:5])}")
    return path


class _Tally:
    """A client that adds up what its answers took, those included that could not be used."""

    def __init__(self, inner: LLMClient) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self._tokens = 0
        self._cost_usd: float | None = 0.0
        self.provider = inner.provider
        self.model = inner.model

    def complete(self, request: LLMRequest) -> LLMResponse:
        """Pass the request on."""
        response = self._inner.complete(request)
        with self._lock:
            self._tokens += response.usage.input_tokens + response.usage.output_tokens
            known = self._cost_usd is not None and response.cost_usd is not None
            self._cost_usd = (self._cost_usd or 0) + (response.cost_usd or 0) if known else None
        return response

    def totals(self) -> tuple[int, float | None]:
        """Return tokens and US dollars."""
        with self._lock:
            return self._tokens, self._cost_usd
