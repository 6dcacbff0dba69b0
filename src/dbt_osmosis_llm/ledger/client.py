"""A client that keeps every call and answers what was answered before.

An answer is on record before anything is done with it. The ledger is a help, not a condition:
when it fails, one warning says so and the run goes on without it, unless it is required.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.ledger.claims import Claims
from dbt_osmosis_llm.ledger.database import CorruptLedgerError, LedgerError
from dbt_osmosis_llm.ledger.records import Call, Hit, cache_key, new_id, now, request_body
from dbt_osmosis_llm.ledger.store import Ledger
from dbt_osmosis_llm.llm.answers import reader
from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.exceptions import (
    LLMBudgetError,
    LLMCancelledError,
    LLMError,
    LLMLedgerError,
)
from dbt_osmosis_llm.llm.messages import FinishReason, LLMClient, LLMRequest, LLMResponse, Usage
from dbt_osmosis_llm.llm.redaction import mask_keys, redact_secrets
from dbt_osmosis_llm.llm.usage import LLMUsageStats, get_usage_stats

_POLL_S = 0.2
"""How often to look whether another process has the answer."""


@dataclass
class _Flight:
    """A question that this process is asking; others that want the same answer wait for it."""

    done: threading.Event = field(default_factory=threading.Event)
    call: Call | None = None
    """Its answer, None when there is none that can be used."""


class LedgerClient:
    """Keeps what the client it has is asked and answers.

    Args:
        inner: Whom to ask.
        ledger: Where calls are kept.
        run_id: The run that they belong to, on record already; None puts nothing on record.
        config: What the requests are sent with.
        use_answers: False asks again what was answered before.
        max_age_days: How old an answer may be.
        required: Whether a ledger that fails ends the run.
        stats: Where hits are counted; the process's statistics when None.
        observer: Gets each call that was put on record.
        before: Called before each request; what it raises ends the run.
    """

    def __init__(
        self,
        inner: LLMClient,
        ledger: Ledger,
        run_id: str | None,
        config: LLMConfig,
        *,
        use_answers: bool = True,
        max_age_days: float | None = None,
        required: bool = False,
        stats: LLMUsageStats | None = None,
        observer: Callable[[Call], None] | None = None,
        before: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._ledger: Ledger | None = ledger
        self._run_id = run_id
        self._config = config
        self._use_answers = use_answers
        self._max_age_days = max_age_days
        self._required = required
        self._stats = stats or get_usage_stats()
        self._observer = observer
        self._before = before
        self._clock = clock
        self._claims = Claims(ledger)
        self._flights: dict[str, _Flight] = {}
        self._lock = threading.Lock()
        self._failure: LedgerError | None = None
        self.provider = inner.provider
        self.model = inner.model

    def complete(self, request: LLMRequest) -> LLMResponse:
        """Return the answer on record, or ask and put on record what comes of it.

        Raises:
            LLMLedgerError: The ledger is required and failed.
            LLMError: As the inner client does.
        """
        self._raise_if_required()
        body = _body(request, self._config)
        key = cache_key(self.provider, self.model, body)
        if self._run_id is None:
            return self._look(request, key)
        if not self._use_answers:
            return self._ask(request, key, body, self._run_id)
        while True:
            with self._lock:
                flight = self._flights.get(key)
                is_first = flight is None
                if flight is None:
                    flight = self._flights[key] = _Flight()
            if is_first:
                try:
                    return self._lead(flight, request, key, body, self._run_id)
                finally:
                    with self._lock:
                        # Before the others wake, or they would find this flight again.
                        del self._flights[key]
                    flight.done.set()
            while not flight.done.wait(_POLL_S):
                _raise_if_cancelled(request)
            # Else the leader got nothing that can be used: the next one asks in its place.
            if flight.call is not None:
                return self._follow(flight.call, request, self._run_id)

    def _look(self, request: LLMRequest, key: str) -> LLMResponse:
        age = self._max_age_days
        call = self._try(lambda ledger: ledger.lookup(key, max_age_days=age))
        if call is None or not self._use_answers:
            return self._inner.complete(request)
        return self._answered(call, request)

    def _lead(
        self,
        flight: _Flight,
        request: LLMRequest,
        key: str,
        body: Mapping[str, Any],
        run_id: str,
    ) -> LLMResponse:
        call = self._found_or_claimed(key, _hit_of(request, run_id), request)
        if call is not None:
            flight.call = call
            return self._answered(call, request)
        try:
            return self._ask(request, key, body, run_id, flight)
        finally:
            self._claims.forget(key)
            # An answer on record has ended its claim in the same transaction.
            if flight.call is None:
                self._try(lambda ledger: self._claims.release(key))

    def _follow(self, call: Call, request: LLMRequest, run_id: str) -> LLMResponse:
        hit = replace(_hit_of(request, run_id), call_id=call.call_id)
        self._try(lambda ledger: ledger.record_hit(hit))
        return self._answered(call, request)

    def _found_or_claimed(self, key: str, hit: Hit, request: LLMRequest) -> Call | None:
        """Return the answer on record; None when it is for this process to ask."""
        while True:
            outcome = self._try(
                lambda ledger: self._claims.take(key, hit, max_age_days=self._max_age_days)
            )
            if isinstance(outcome, Call):
                return outcome
            if outcome is not False:  # ours, or the ledger has failed
                return None
            while self._try(lambda ledger: self._claims.is_taken(key)):
                _wait(request)

    def _answered(self, call: Call, request: LLMRequest) -> LLMResponse:
        """Return the answer of a call on record, and count it."""
        self._stats.record_hit(self.provider, self.model, _usage_of(call), call.cost_usd)
        logger.debug("%s: answered before, call %s", request.custom_id, call.call_id)
        return LLMResponse(
            call.response or "",
            finish_reason=FinishReason(call.finish_reason or FinishReason.STOP.value),
            provider=self.provider,
            model=call.answered_by or call.model,
            request_id=call.request_id,
            # Paid for when it was asked: no usage, no cost, no request.
            cost_usd=0.0,
            attempts=0,
            call_id=call.call_id,
        )

    def _ask(
        self,
        request: LLMRequest,
        key: str,
        body: Mapping[str, Any],
        run_id: str,
        flight: _Flight | None = None,
    ) -> LLMResponse:
        call = Call(
            run_id=run_id,
            call_id=new_id(),
            parent_call_id=request.parent_call_id,
            provider=self.provider,
            model=self.model,
            status="answered",
            custom_id=request.custom_id,
            part=request.part,
            description=request.description,
            key=key,
            request=body,
        )
        # The ledger may have failed while this waited for somebody else's answer.
        self._raise_if_required()
        if self._before is not None:
            self._before()
        started, started_at = self._clock(), now()
        try:
            response = self._inner.complete(request)
        except (LLMBudgetError, LLMCancelledError):
            raise  # nothing was sent
        except Exception as error:
            if isinstance(error, LLMError):
                error.call_id = call.call_id
            self._record(_with_error(call, error, self._config), started, started_at)
            raise
        call = _with_answer(call, response, self._config)
        complaint = _complaint(request, response)
        if complaint is not None:
            call = replace(_with_error(call, complaint, self._config), status="unusable")
        self._record(replace(call, attempts=response.attempts), started, started_at)
        if complaint is None and flight is not None:
            flight.call = call
        return replace(response, call_id=call.call_id)

    def _record(self, call: Call, started: float, started_at: datetime) -> None:
        call = replace(call, started_at=started_at, latency_ms=(self._clock() - started) * 1000)
        stored = self._try(lambda ledger: ledger.record(call))
        if self._observer is not None:
            self._observer(stored or call.as_stored())

    def _try(self, use: Callable[[Ledger], Any]) -> Any:
        """Use the ledger while it works; None when it does not."""
        ledger = self._ledger
        if ledger is None:
            return None
        try:
            return use(ledger)
        except LedgerError as error:
            self._give_up(ledger, error)
            return None

    def _raise_if_required(self) -> None:
        if self._failure is not None and self._required:
            raise LLMLedgerError(f"the ledger failed: {self._failure}")

    def _give_up(self, ledger: Ledger, error: LedgerError) -> None:
        with self._lock:
            if self._ledger is None:
                return
            self._ledger = None
            self._failure = error
        self._claims.stop()
        if self._required:
            return  # the next request says it
        logger.warning("The ledger failed, the run goes on without it: %s", error)
        if isinstance(error, CorruptLedgerError):
            with suppress(LedgerError):
                ledger.set_aside()

    @property
    def required_failure(self) -> LedgerError | None:
        """Return why a ledger that is required failed, None while all is well."""
        return self._failure if self._required else None

    def close(self) -> None:
        """Give back the questions that are still claimed."""
        self._try(lambda ledger: self._claims.close())


def _hit_of(request: LLMRequest, run_id: str) -> Hit:
    return Hit(run_id, call_id="", custom_id=request.custom_id, part=request.part)


def _body(request: LLMRequest, config: LLMConfig) -> dict[str, Any]:
    """Return what is asked as it may be stored: keys that stand in it are masked."""
    temperature = config.temperature if request.temperature is None else request.temperature
    bound = config.max_output_tokens
    parameters = {
        "temperature": temperature,
        "max_output_tokens": request.max_output_tokens if bound is None else bound,
        **config.provider_kwargs,
    }
    return request_body(
        [(m.role, _masked(m.content, config.secrets)) for m in request.messages],
        _masked_values(request.schema, mask_keys, config),
        # What a caller sends along may be a header, which holds whatever it likes.
        _masked_values(parameters, redact_secrets, config),
    )


@lru_cache(maxsize=64)
def _masked(text: str, secrets: tuple[str, ...]) -> str:
    """Mask a text; most requests begin with the same one, and each takes a millisecond."""
    return mask_keys(text, secrets)


def _masked_values(
    values: Mapping[str, Any] | None,
    mask: Callable[[str, tuple[str, ...]], str],
    config: LLMConfig,
) -> Any:
    text = json.dumps(values, default=str)
    masked = mask(text, config.secrets)
    if masked == text:
        return values
    try:
        return json.loads(masked)
    except ValueError:  # a number was a secret
        return {"masked": masked}


def _with_answer(call: Call, response: LLMResponse, config: LLMConfig) -> Call:
    usage = response.usage
    return replace(
        call,
        response=mask_keys(response.text, config.secrets),
        answered_by=response.model or None,
        input_tokens=usage.input_tokens,
        cached_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost_usd=response.cost_usd,
        finish_reason=response.finish_reason.value,
        request_id=response.request_id,
    )


def _with_error(call: Call, error: Exception, config: LLMConfig) -> Call:
    return replace(
        call,
        status="failed",
        error_class=type(error).__name__,
        error=redact_secrets(str(error), config.secrets),
        attempts=getattr(error, "attempts", 1),
        request_id=call.request_id or getattr(error, "request_id", None),
    )


def _complaint(request: LLMRequest, response: LLMResponse) -> Exception | None:
    """Return why an answer cannot be used, None when it can."""
    check = request.check or reader(None)
    try:
        check(response)
    except Exception as error:  # noqa: BLE001  # whatever fails: the answer is put on record first
        return error
    return None


def _usage_of(call: Call) -> Usage:
    return Usage(
        input_tokens=call.input_tokens,
        cached_tokens=call.cached_tokens,
        output_tokens=call.output_tokens,
        reasoning_tokens=call.reasoning_tokens,
        cache_write_tokens=call.cache_write_tokens,
    )


def _wait(request: LLMRequest) -> None:
    """Wait until it is time to look again.

    Raises:
        LLMCancelledError: Nobody wants the answer any more.
    """
    (request.cancelled or threading.Event()).wait(_POLL_S)
    _raise_if_cancelled(request)


def _raise_if_cancelled(request: LLMRequest) -> None:
    if request.cancelled is not None and request.cancelled.is_set():
        raise LLMCancelledError("the run was stopped")
