"""Every call and answer, kept: cache, resume, statistics."""

from __future__ import annotations

from dbt_osmosis_llm.ledger.database import LedgerError
from dbt_osmosis_llm.ledger.records import Call, Hit, Run, Text
from dbt_osmosis_llm.ledger.store import Ledger

__all__ = ["Call", "Hit", "Ledger", "LedgerError", "Run", "Text"]
