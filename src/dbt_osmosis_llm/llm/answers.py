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

    An answer that cannot be read gets one repair request, which shows the model its answer and
    what is wrong with it. Refusals are final, and a cut answer would be cut again.

    Args:
        client: Whom to ask.
        request: What to ask.
        read: Raises LLMResponseError for an answer that cannot be used.

    Raises:
        LLMError: No answer, or none that can be used.
    """
    text = ""
    try:
        response = client.complete(request)
        text = response.text
        return read(response), response
    except (LLMRefusalError, LLMTruncatedError):
        raise
    except LLMResponseError as error:
        logger.info("%s: %s; asking once more", request.custom_id, error)
        request = repair_request(request, text, error)
    response = client.complete(request)
    return read(response), response


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
