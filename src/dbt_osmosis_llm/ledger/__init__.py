"""Every call and answer, kept: cache, resume, statistics.

Lazy: records alone, which all of the synthesis uses, must not load SQLAlchemy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dbt_osmosis_llm.ledger.database import LedgerError
    from dbt_osmosis_llm.ledger.records import Call, Hit, Run, Text
    from dbt_osmosis_llm.ledger.store import Ledger

_MODULES = {
    "Call": "records",
    "Hit": "records",
    "Ledger": "store",
    "LedgerError": "database",
    "Run": "records",
    "Text": "records",
}

__all__ = ["Call", "Hit", "Ledger", "LedgerError", "Run", "Text"]


def __getattr__(name: str) -> object:
    """Return a public name, importing its module on first use (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
