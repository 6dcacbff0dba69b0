"""Reads the rows of ``tests/wire/<format>/<table>.json``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dbt_osmosis_llm.llm.messages import LLMRequest, Message
from dbt_osmosis_llm.llm.providers.dialect import Dialect, SchemaSupport
from dbt_osmosis_llm.llm.providers.registry import ProviderSpec

_WIRE = Path(__file__).parent.parent / "wire"


def tables(wire_format: str) -> Callable[[str], pytest.MarkDecorator]:
    """Return what parametrizes a test with the rows of one of a format's tables."""

    def cases(table: str) -> pytest.MarkDecorator:
        loaded = json.loads((_WIRE / wire_format / f"{table}.json").read_text())
        return pytest.mark.parametrize("case", loaded, ids=[case["name"] for case in loaded])

    return cases


def request_of(case: dict[str, Any]) -> LLMRequest:
    fields = dict(case["request"])
    messages = tuple(Message(role, content) for role, content in fields.pop("messages"))
    return LLMRequest(messages, **fields)


def dialect_of(case: dict[str, Any], spec: ProviderSpec) -> Dialect:
    """Return the provider's dialect with what the case says the endpoint has rejected."""
    learned = dict(case.get("dialect", {}))
    if "schema" in learned:
        learned["schema"] = SchemaSupport[learned["schema"]]
    return replace(spec.dialect, **learned)
