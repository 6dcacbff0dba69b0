"""Our errors for what can go wrong with a provider: the same sentences for every SDK."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from dbt_osmosis_llm.config import without_credentials
from dbt_osmosis_llm.llm.exceptions import (
    LLMAPIError,
    LLMRateLimitError,
    LLMResponseError,
    LLMTimeoutError,
)
from dbt_osmosis_llm.llm.redaction import redact_secrets

_MAX_MESSAGE_CHARS = 300
"""Characters of a server's own words in a message."""

MAX_RETRY_AFTER_S = 120.0
"""A server that asks for a longer wait has a quota that a run cannot outwait."""


def status_error(
    status_code: int,
    *,
    provider: str,
    model: str,
    said: object = None,
    code: object = None,
    param: object = None,
    key_env: str | None = None,
    request_id: str | None = None,
    secrets: Iterable[str] = (),
    retry_after_s: float | None = None,
    wrong_key: bool = False,
    out_of_quota: bool = False,
    ends_run: bool = False,
) -> LLMAPIError:
    """Return our error for an error status; the status decides, the rest only refines it.

    Args:
        status_code: HTTP status.
        provider: Name of the provider, for the message.
        model: Name of the model, for the message.
        said: What the server says of it.
        code: The provider's own error code.
        param: The request's parameter that the provider rejects.
        key_env: Variable that holds the key, for the remedy.
        request_id: The provider's id of the request.
        secrets: Taken out of all that the server said.
        retry_after_s: What the server asked to wait.
        wrong_key: The key is refused with another status than 401 or 403.
        out_of_quota: The account has no money or requests left: waiting does not help.
        ends_run: No other request can succeed either, for a reason of its own.
    """

    def shown(value: object) -> str | None:
        return None if value is None else redact_secrets(str(value), secrets)

    # Masked before it is cut: a cut key has lost its shape.
    text = shown(_one_line(said)) or ""
    reason = f": {text[:_MAX_MESSAGE_CHARS].rstrip('.!')}" if text else ""
    error_class: type[LLMAPIError] = LLMRateLimitError if status_code == 429 else LLMAPIError
    is_final = True
    if status_code in (401, 403) or wrong_key:
        remedy = f"; check {key_env}" if key_env else ""
        message = f"{provider} refused the key ({status_code}){reason}{remedy}"
    elif status_code == 404:
        remedy = "check --llm-model"
        if code != "model_not_found":
            remedy += " and the base URL"
        message = f"{provider} does not know model {model!r} or the address (404){reason}; {remedy}"
    elif status_code == 402 or out_of_quota:
        message = f"{provider}: the account's quota is used up ({status_code}){reason}"
    elif (retry_after_s or 0) > MAX_RETRY_AFTER_S:
        message = (
            f"{provider} answered {status_code}{reason}; it asks to wait {retry_after_s:.0f} s, "
            "run again after that"
        )
    else:
        is_final = ends_run
        message = f"{provider} answered {status_code}{reason}"
    return error_class(
        message,
        status_code=status_code,
        code=shown(code),
        param=shown(param),
        request_id=shown(request_id),
        retry_after_s=retry_after_s,
        ends_run=is_final,
    )


def _one_line(value: object) -> str:
    if value and isinstance(value, (Mapping, list)):  # FastAPI servers answer with lists of objects
        value = json.dumps(value, ensure_ascii=False, default=str)
    return " ".join(str(value or "").split())


def timeout_error(provider: str, timeout_s: float) -> LLMTimeoutError:
    """Return our error for a request that took too long."""
    return LLMTimeoutError(
        f"{provider} gave no answer within {timeout_s:g} s; "
        "raise --llm-timeout if the model is slow"
    )


def unreachable_error(
    provider: str,
    error: BaseException,
    *,
    base_url: str | None,
    base_url_env: str | None,
    secrets: Iterable[str] = (),
) -> LLMAPIError:
    """Return our error for a connection that could not be made or broke."""
    # The SDKs' own words are "Connection error."; the innermost cause says which.
    while error.__cause__ is not None:
        error = error.__cause__
    cause = " ".join(str(error).split()) or type(error).__name__
    where = without_credentials(base_url) if base_url else "its API"
    return LLMAPIError(
        f"cannot reach {provider} at {where} ({redact_secrets(cause, secrets)}); "
        f"is it running, and is {base_url_env or 'the address'} right?",
        unreachable=True,
    )


def unreadable_error(provider: str, error: BaseException) -> LLMAPIError:
    """Return our error for an answer whose bytes are no text, or that is nested without end."""
    # Like a connection that broke: the next answer may be whole.
    return LLMAPIError(
        f"the answer of {provider} cannot be read ({type(error).__name__})", unreachable=True
    )


def not_json_error() -> LLMResponseError:
    """Return our error for a good status with something else than JSON."""
    return LLMResponseError(
        "the server answered 200 with something that is not JSON; is the base URL right?"
    )
