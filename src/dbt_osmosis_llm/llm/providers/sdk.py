"""One request through a vendor's SDK: encoded, sent within the time allowed, decoded.

What an endpoint rejects is left out or renamed, the request sent once more, and the lesson kept
for as long as the client lives: endpoints that call themselves compatible differ in just this.
"""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, TypeVar

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.exceptions import LLMAPIError, LLMError
from dbt_osmosis_llm.llm.messages import LLMRequest, LLMResponse
from dbt_osmosis_llm.llm.providers.dialect import Dialect
from dbt_osmosis_llm.llm.providers.errors import not_json_error, timeout_error, unreachable_error
from dbt_osmosis_llm.llm.providers.headers import read_rate_limits, read_retry_after
from dbt_osmosis_llm.llm.providers.registry import ProviderSpec
from dbt_osmosis_llm.llm.redaction import mask_values, redact_secrets

Result = TypeVar("Result")
_NOTHING: Any = object()


@dataclass(frozen=True)
class WireAnswer:
    """An answer with a good status, as it came."""

    content: bytes | str
    headers: Mapping[str, str]


class SdkClient(ABC):
    """A provider through its SDK; a subclass knows the wire format."""

    request_id_header: ClassVar[str] = "x-request-id"

    def __init__(self, config: LLMConfig, spec: ProviderSpec) -> None:
        self._config = config
        self._spec = spec
        self._dialect = spec.dialect
        self._lock = threading.Lock()
        self.provider = spec.name
        self.model = config.model

    @property
    def dialect(self) -> Dialect:
        """Return what the endpoint is known to accept by now."""
        return self._dialect

    @abstractmethod
    def _encode(self, request: LLMRequest, dialect: Dialect) -> dict[str, Any]:
        """Return the body to send."""

    @abstractmethod
    def _send(self, body: Mapping[str, Any]) -> WireAnswer:
        """Send a body once.

        Raises:
            LLMAPIError: An error status, or no connection.
        """

    @abstractmethod
    def _decode(self, answer: Mapping[str, Any], request_id: str | None) -> LLMResponse:
        """Return our response for the JSON of an answer."""

    def complete(self, request: LLMRequest) -> LLMResponse:
        """Ask once; once more for each parameter that the endpoint turns out to reject."""
        request = _sendable(request)
        attempts = 0
        while True:
            attempts += 1
            dialect = self._dialect
            body: dict[str, Any] = {}
            try:
                body = self._encode(request, dialect)
                answer = self._within_timeout(partial(self._send, body))
                response = self._decoded(answer)
                limits = read_rate_limits(answer.headers)
                return replace(response, attempts=attempts, rate_limits=limits)
            except LLMError as error:
                failure = error
            except Exception as error:  # noqa: BLE001  # of an SDK, about something it cannot send
                message = redact_secrets(
                    f"unexpected {type(error).__name__}: {error}", self._secrets()
                )
                failure = LLMError(f"{self.provider}: {message}")
            # Raised out here, an error does not carry the SDK's own, which holds the key.
            if isinstance(failure, LLMAPIError) and self._learned_from(failure, dialect, body):
                continue
            failure.attempts = attempts
            raise failure

    def _decoded(self, answer: WireAnswer) -> LLMResponse:
        content = answer.content
        value = _NOTHING
        with suppress(ValueError, RecursionError):
            # A byte order mark is refused in text, not in bytes.
            value = json.loads(content.lstrip("\ufeff") if isinstance(content, str) else content)
        if value is _NOTHING:
            raise not_json_error()
        request_id = answer.headers.get(self.request_id_header)
        response = self._decode(value if isinstance(value, Mapping) else {}, request_id)
        # A key that a server sends back must not end up in a log, less so in a YAML file.
        return replace(
            response,
            text=_well_formed(mask_values(response.text, self._secrets())),
            model=mask_values(response.model, self._secrets()),
            request_id=response.request_id and mask_values(response.request_id, self._secrets()),
        )

    def _secrets(self) -> tuple[str, ...]:
        """Return what authorizes the requests."""
        return self._config.secrets

    def _learned_from(self, error: LLMAPIError, dialect: Dialect, body: Mapping[str, Any]) -> bool:
        """Tell whether the request should be sent again in the dialect that the error asks for."""
        with self._lock:
            if self._dialect != dialect:
                return error.status_code in (400, 422)  # another thread has learned it meanwhile
            simpler = dialect.without_rejected(error, body)
            if simpler is None:
                return False
            self._dialect = simpler
        logger.debug(
            "%s %s rejects what was sent (%s); from now on: %s",
            self.provider,
            self.model,
            error,
            simpler,
        )
        return True

    def _within_timeout(self, call: Callable[[], Result]) -> Result:
        """Return the call's result, or give up on it when the time for a request is over.

        The timeouts of all three SDKs bound each read, so that a body that drips passes them. The
        thread that is given up on ends with its connection and never keeps the process alive.
        """
        outcome: list[tuple[Result | None, BaseException | None]] = []
        done = threading.Event()

        def run() -> None:
            try:
                outcome.append((call(), None))
            except BaseException as error:  # noqa: BLE001  # raised where it was waited for
                outcome.append((None, error))
            finally:
                done.set()

        threading.Thread(target=run, name=f"{self.provider} request", daemon=True).start()
        # A longer wait than that is an OverflowError.
        if not done.wait(min(self._config.timeout_s, threading.TIMEOUT_MAX)):
            raise self._timeout_error()
        result, error = outcome[0]
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # None only beside an error

    def _about(self, headers: Mapping[str, str]) -> dict[str, Any]:
        """Return what an error says of the provider besides the answer itself."""
        return {
            "provider": self.provider,
            "model": self.model,
            "key_env": self._spec.key_env,
            "secrets": self._secrets(),
            "retry_after_s": read_retry_after(headers),
        }

    def _timeout_error(self) -> LLMAPIError:
        return timeout_error(self.provider, self._config.timeout_s)

    def _unreachable_error(self, error: BaseException) -> LLMAPIError:
        return unreachable_error(
            self.provider,
            error,
            base_url=self._config.base_url,
            base_url_env=self._spec.base_url_env,
            secrets=self._secrets(),
        )


class StainlessClient(SdkClient):
    """A provider through openai's or anthropic's SDK: one generator made both, errors included."""

    named_parameters: ClassVar[frozenset[str]]
    """What the SDK's method takes by name; anything else goes as ``extra_body``."""

    def __init__(self, config: LLMConfig, spec: ProviderSpec, module: Any) -> None:
        super().__init__(config, spec)
        self._module = module

    @abstractmethod
    def _create(self, **arguments: Any) -> Any:
        """Call the SDK's method and return its raw response."""

    @abstractmethod
    def _classify(self, status_code: int, body: Any, **about: Any) -> LLMAPIError:
        """Return our error for an error status."""

    def _send(self, body: Mapping[str, Any]) -> WireAnswer:
        arguments = {key: body[key] for key in body if key in self.named_parameters}
        extra = {key: body[key] for key in body if key not in self.named_parameters}
        try:
            raw = self._create(**arguments, **({"extra_body": extra} if extra else {}))
        except self._module.APIStatusError as error:
            failure = self._classify(
                error.status_code,
                error.body,
                request_id=error.request_id,
                **self._about(error.response.headers),
            )
        except self._module.APITimeoutError:
            failure = self._timeout_error()
        except self._module.APIConnectionError as error:
            failure = self._unreachable_error(error)
        else:
            # Not `raw.parse()`, which returns HTML as a str and raises for what else is no JSON.
            return WireAnswer(raw.http_response.content, raw.headers)
        raise failure


def _well_formed(text: str) -> str:
    """Return the text without halves of characters, which neither JSON nor YAML can carry."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _sendable(request: LLMRequest) -> LLMRequest:
    messages = tuple(replace(m, content=_well_formed(m.content)) for m in request.messages)
    return replace(request, messages=messages)
