"""Each test of the store runs on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dbt_osmosis_llm.ledger import Ledger
from tests.postgres import postgres as postgres
from tests.postgres import postgres_url as postgres_url


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The place of a ledger that does not exist yet."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return str(tmp_path / "project" / ".dbt-osmosis-llm" / "ledger.db")


@pytest.fixture
def opened(url: str) -> Iterator[Ledger]:
    """An empty ledger, on either database."""
    with Ledger.open(url) as ledger:
        yield ledger
