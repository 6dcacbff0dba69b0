"""dbt model and column documentation from SQL and upstream lineage, inside dbt-osmosis.

Lazy on purpose: dbt imports every top-level module named ``dbt_*`` on each command that loads a
project, so this module imports nothing until a name is used, and cannot fail.
"""

from dbt_osmosis_llm._version import __version__

_EXPORTS = {
    "FinishReason": "llm.messages",
    "LLMAPIError": "llm.exceptions",
    "LLMBudgetError": "llm.exceptions",
    "LLMClient": "llm.client",
    "LLMConfig": "llm.client",
    "LLMConfigError": "llm.exceptions",
    "LLMError": "llm.exceptions",
    "LLMRateLimitError": "llm.exceptions",
    "LLMRequest": "llm.messages",
    "LLMResponse": "llm.messages",
    "LLMResponseError": "llm.exceptions",
    "LLMTimeoutError": "llm.exceptions",
    "LLMUsageStats": "llm.usage",
    "Message": "llm.messages",
    "MockLLMClient": "llm.mock",
    "Usage": "llm.usage",
    "build_client": "llm.client",
    "generate_column_doc": "facade",
    "generate_model_spec_as_json": "facade",
    "generate_table_doc": "facade",
    "get_llm_client": "facade",
    "get_usage_stats": "llm.usage",
}

__all__ = ["__version__", *sorted(_EXPORTS)]


def __getattr__(name: str) -> object:
    """Return a public name, importing its module on first use (PEP 562)."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names without importing them."""
    return sorted(__all__)
