"""Asks for an answer of a certain form, and once more when the one that came cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.llm.exceptions import LLMRefusalError, LLMResponseError, LLMTruncatedError
from dbt_osmosis_llm.llm.messages import LLMRequest, LLMResponse, Message

if TYPE_CHECKING:
    from dbt_osmosis_llm.llm.client import LLMClient

_MAX_SHOWN_CHARS = 8000
"""Of an unusable answer that the model gets to see again."""

Answer = TypeVar("Answer")


def ask(
    client: LLMClient, request: LLMRequest, read: Callable[[LLMResponse], Answer]
) -> tuple[Answer, LLMResponse]:
    """Return what ``read`` makes of the model's answer, and the response that it was made of.

    Usage, cost, attempts and latency of the response are those of all requests made for it.

    An answer that cannot be read gets one repair request, which shows the model its answer and
    what is wrong with it. Refusals are final, and a cut answer would be cut again.

    Args:
        client: Whom to ask.
        request: What to ask.
        read: Raises LLMResponseError for an answer that cannot be used.

    Raises:
        LLMError: No answer, or none that can be used.
    """
    first: LLMResponse | None = None
    try:
        first = client.complete(request)
        return read(first), first
    except (LLMRefusalError, LLMTruncatedError):
        raise
    except LLMResponseError as error:
        logger.info("%s: %s; asking once more", request.custom_id, error)
        request = repair_request(request, first.text if first else "", error)
    response = client.complete(request)
    answer = read(response)
    return answer, response if first is None else _with_cost_of(response, first)


def _with_cost_of(response: LLMResponse, first: LLMResponse) -> LLMResponse:
    costs = (first.cost_usd, response.cost_usd)
    return replace(
        response,
        usage=first.usage + response.usage,
        cost_usd=None if None in costs else sum(cost for cost in costs if cost),
        attempts=first.attempts + response.attempts,
        latency_ms=first.latency_ms + response.latency_ms,
    )


def repair_request(request: LLMRequest, text: str, error: LLMResponseError) -> LLMRequest:
    """Return the request that asks again after an answer that could not be used.

    Without any text there is nothing to show: the request stays as it was.
    """
    if not text.strip():
        return request
    shown = text if len(text) <= _MAX_SHOWN_CHARS else f"{text[:_MAX_SHOWN_CHARS]} …"
    return replace(
        request,
        messages=(
            *request.messages,
            Message("assistant", shown),
            Message(
                "user",
                f"This answer cannot be used: {error}. Answer the first question again, with the "
                "JSON object that it asks for and nothing else.",
            ),
        ),
        description=f"{request.description} (repair)",
    )
