"""A fault in our own reading of SQL fails the test, here and where this fixture is imported."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dbt_osmosis_llm.evidence import lineage
from dbt_osmosis_llm.evidence.facts import QueryFacts


def _raised(error: Exception) -> QueryFacts:
    raise error


@pytest.fixture(scope="package", autouse=True)
def strict_reading() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lineage, "_failed", _raised)
        yield
