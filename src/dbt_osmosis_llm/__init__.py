"""dbt model and column documentation from SQL and upstream lineage, inside dbt-osmosis.

Lazy on purpose: dbt imports every top-level module named ``dbt_*`` on each command that loads a
project, so this module imports nothing until a name is used, and cannot fail.
"""

from dbt_osmosis_llm._version import __version__

TYPE_CHECKING = False
"""Type checkers take it for typing's, which nobody has to import at interpreter start."""
if TYPE_CHECKING:
    from dbt_osmosis_llm.facade import generate_column_doc as generate_column_doc
    from dbt_osmosis_llm.facade import generate_model_spec_as_json as generate_model_spec_as_json
    from dbt_osmosis_llm.facade import generate_table_doc as generate_table_doc
    from dbt_osmosis_llm.facade import get_llm_client as get_llm_client
    from dbt_osmosis_llm.llm.batch import LLMBatchConfig as LLMBatchConfig
    from dbt_osmosis_llm.llm.batch import LLMBatchProcessor as LLMBatchProcessor
    from dbt_osmosis_llm.llm.batch import LLMBatchStats as LLMBatchStats
    from dbt_osmosis_llm.llm.batch import LLMResult as LLMResult
    from dbt_osmosis_llm.llm.configuration import LLMConfig as LLMConfig
    from dbt_osmosis_llm.llm.exceptions import LLMAPIError as LLMAPIError
    from dbt_osmosis_llm.llm.exceptions import LLMBudgetError as LLMBudgetError
    from dbt_osmosis_llm.llm.exceptions import LLMConfigError as LLMConfigError
    from dbt_osmosis_llm.llm.exceptions import LLMError as LLMError
    from dbt_osmosis_llm.llm.exceptions import LLMRateLimitError as LLMRateLimitError
    from dbt_osmosis_llm.llm.exceptions import LLMRefusalError as LLMRefusalError
    from dbt_osmosis_llm.llm.exceptions import LLMResponseError as LLMResponseError
    from dbt_osmosis_llm.llm.exceptions import LLMTimeoutError as LLMTimeoutError
    from dbt_osmosis_llm.llm.exceptions import LLMTruncatedError as LLMTruncatedError
    from dbt_osmosis_llm.llm.messages import FinishReason as FinishReason
    from dbt_osmosis_llm.llm.messages import LLMClient as LLMClient
    from dbt_osmosis_llm.llm.messages import LLMRequest as LLMRequest
    from dbt_osmosis_llm.llm.messages import LLMResponse as LLMResponse
    from dbt_osmosis_llm.llm.messages import Message as Message
    from dbt_osmosis_llm.llm.messages import Usage as Usage
    from dbt_osmosis_llm.llm.mock import MockLLMClient as MockLLMClient
    from dbt_osmosis_llm.llm.providers.registry import (
        get_available_providers as get_available_providers,
    )
    from dbt_osmosis_llm.llm.retry import retry_with_backoff as retry_with_backoff
    from dbt_osmosis_llm.llm.usage import LLMUsageStats as LLMUsageStats
    from dbt_osmosis_llm.llm.usage import get_usage_stats as get_usage_stats
    from dbt_osmosis_llm.stack import build_client as build_client
    from dbt_osmosis_llm.stack import create_provider as create_provider

_EXPORTS = {
    "build_client": "stack",
    "create_provider": "stack",
    "FinishReason": "llm.messages",
    "generate_column_doc": "facade",
    "generate_model_spec_as_json": "facade",
    "generate_table_doc": "facade",
    "get_available_providers": "llm.providers.registry",
    "get_llm_client": "facade",
    "get_usage_stats": "llm.usage",
    "LLMAPIError": "llm.exceptions",
    "LLMBatchConfig": "llm.batch",
    "LLMBatchProcessor": "llm.batch",
    "LLMBatchStats": "llm.batch",
    "LLMBudgetError": "llm.exceptions",
    "LLMClient": "llm.messages",
    "LLMConfig": "llm.configuration",
    "LLMConfigError": "llm.exceptions",
    "LLMError": "llm.exceptions",
    "LLMRateLimitError": "llm.exceptions",
    "LLMRefusalError": "llm.exceptions",
    "LLMRequest": "llm.messages",
    "LLMResponse": "llm.messages",
    "LLMResponseError": "llm.exceptions",
    "LLMResult": "llm.batch",
    "LLMTimeoutError": "llm.exceptions",
    "LLMTruncatedError": "llm.exceptions",
    "LLMUsageStats": "llm.usage",
    "Message": "llm.messages",
    "MockLLMClient": "llm.mock",
    "retry_with_backoff": "llm.retry",
    "Usage": "llm.messages",
}

__all__ = ["__version__", *sorted(_EXPORTS)]


def __getattr__(name: str) -> object:
    """Return a public name, importing its module on first use (PEP 562)."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    import_module(f"{__name__}.host.compat").share_errors()
    value = getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names without importing them."""
    return sorted(__all__)
