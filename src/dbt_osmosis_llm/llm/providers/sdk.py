"""One request through a vendor's SDK: encoded, sent within the time allowed, decoded.

What an endpoint rejects is left out or renamed, the request sent once more, and the lesson kept
for as long as the client lives: endpoints that call themselves compatible differ in just this.
"""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.llm.exceptions import LLMAPIError, LLMError
from dbt_osmosis_llm.llm.messages import LLMRequest, LLMResponse
from dbt_osmosis_llm.llm.providers.dialect import Dialect
from dbt_osmosis_llm.llm.providers.errors import not_json_error, timeout_error, unreachable_error
from dbt_osmosis_llm.llm.rate_limit import read_rate_limits

if TYPE_CHECKING:
    from dbt_osmosis_llm.llm.client import LLMConfig
    from dbt_osmosis_llm.llm.providers.registry import ProviderSpec

Result = TypeVar("Result")


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
        attempts = 0
        while True:
            attempts += 1
            dialect = self._dialect
            body = self._encode(request, dialect)
            try:
                answer = self._within_timeout(partial(self._send, body))
                response = self._decoded(answer)
            except LLMAPIError as error:
                if self._learned_from(error, dialect, body):
                    continue
                error.attempts = attempts
                raise
            except LLMError as error:
                error.attempts = attempts
                raise
            return replace(
                response, attempts=attempts, rate_limits=read_rate_limits(answer.headers)
            )

    def _decoded(self, answer: WireAnswer) -> LLMResponse:
        content = answer.content
        try:
            value = json.loads(content.lstrip("\ufeff") if isinstance(content, str) else content)
        except (ValueError, RecursionError):
            raise not_json_error() from None
        request_id = answer.headers.get(self.request_id_header)
        response = self._decode(value if isinstance(value, Mapping) else {}, request_id)
        # A key that a server sends back must not end up in a log, less so in a YAML file.
        return replace(
            response,
            text=self._without_key(response.text),
            model=self._without_key(response.model),
            request_id=response.request_id and self._without_key(response.request_id),
        )

    def _secrets(self) -> tuple[str, ...]:
        """Return what authorizes the requests."""
        return self._config.secrets

    def _without_key(self, text: str) -> str:
        for secret in self._secrets():
            text = text.replace(secret, "***")
        return text

    def _learned_from(self, error: LLMAPIError, dialect: Dialect, body: Mapping[str, Any]) -> bool:
        """Tell whether the request should be sent again in the dialect that the error asks for."""
        if self._dialect != dialect:
            return error.status_code in (400, 422)  # another thread has learned it meanwhile
        simpler = dialect.without_rejected(error, body)
        if simpler is None:
            return False
        logger.debug(
            "%s %s rejects what was sent (%s); from now on: %s",
            self.provider,
            self.model,
            error,
            simpler,
        )
        self._dialect = simpler
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
        if not done.wait(self._config.timeout_s):
            raise self._timeout_error()
        result, error = outcome[0]
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # None only beside an error

    def _timeout_error(self) -> LLMAPIError:
        return timeout_error(self.provider, self._config.timeout_s)

    def _unreachable_error(self, error: BaseException) -> LLMAPIError:
        return unreachable_error(
            self.provider,
            error,
            base_url=self._config.base_url,
            base_url_env=self._spec.base_url_env,
            api_key=self._config.api_key,
        )
