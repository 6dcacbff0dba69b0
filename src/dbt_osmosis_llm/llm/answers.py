"""Asks for an answer of a certain form, and once more when the one that came cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from jsonschema.exceptions import SchemaError, best_match
from jsonschema.validators import validator_for
from pydantic import BaseModel

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.llm.exceptions import LLMRefusalError, LLMResponseError, LLMTruncatedError
from dbt_osmosis_llm.llm.messages import (
    FinishReason,
    LLMClient,
    LLMRequest,
    LLMResponse,
    Message,
    sum_of_costs,
)
from dbt_osmosis_llm.llm.parsing import parse_answer

_MAX_SHOWN_CHARS = 8000
"""Of an unusable answer that the model gets to see again."""

_MAX_COMPLAINT_CHARS = 200
"""Of a validation, which quotes the answer first and says what is wrong with it last."""

Answer = TypeVar("Answer")
Schema = type[BaseModel] | Mapping[str, Any]
Reader = Callable[[LLMResponse], Any]


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
    # The ledger judges by it: what cannot be read must never be found as an answer.
    request = replace(request, check=read)
    first: LLMResponse | None = None
    try:
        first = client.complete(request)
        return read(first), first
    except (LLMRefusalError, LLMTruncatedError):
        raise
    except LLMResponseError as error:
        logger.info("%s: %s; asking once more", request.custom_id, error)
        # Where the client itself could not read the answer, its error alone knows the call.
        parent_call_id = (first.call_id if first else error.call_id) or request.parent_call_id
        request = repair_request(request, first.text if first else "", error)
        request = replace(request, parent_call_id=parent_call_id)
    response = client.complete(request)
    answer = read(response)
    return answer, response if first is None else _with_cost_of(response, first)


def _with_cost_of(response: LLMResponse, first: LLMResponse) -> LLMResponse:
    return replace(
        response,
        usage=first.usage + response.usage,
        cost_usd=sum_of_costs(first.cost_usd, response.cost_usd),
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


def reader(schema: Schema | None) -> Reader:
    """Return what makes of an answer what the schema wants; it raises LLMResponseError.

    Raises:
        ValueError: Not a JSON schema.
    """
    if schema is None:
        return _read_text
    if isinstance(schema, type):
        return lambda response: parse_answer(response, schema)
    validator_class = validator_for(dict(schema))
    try:
        validator_class.check_schema(dict(schema))
    except SchemaError as error:
        raise ValueError(f"not a JSON schema: {error.message}") from None
    validator = validator_class(dict(schema))
    return lambda response: _read_object(response, validator)


def _read_text(response: LLMResponse) -> None:
    if response.finish_reason in (FinishReason.REFUSAL, FinishReason.FILTERED):
        parse_answer(response)  # raises, and says which of the two
    if not response.text.strip():
        is_cut = response.finish_reason is FinishReason.LENGTH
        raise _truncated() if is_cut else LLMResponseError("the answer is empty")


def _read_object(response: LLMResponse, validator: Any) -> dict[str, Any]:
    answer = parse_answer(response)
    error = best_match(validator.iter_errors(answer))
    if error is None:
        return answer
    # What it lacks was cut off, and would be cut off again after a repair.
    if response.finish_reason is FinishReason.LENGTH:
        raise _truncated()
    place = ".".join(map(str, error.absolute_path)) or "the object"
    complaint = f"{place}: {error.message}"
    if len(complaint) > _MAX_COMPLAINT_CHARS:
        complaint = f"\u2026{complaint[-_MAX_COMPLAINT_CHARS:]}"
    raise LLMResponseError(f"the answer does not fit: {complaint}")


def _truncated() -> LLMTruncatedError:
    return LLMTruncatedError("the answer was cut off at the bound on output tokens")
