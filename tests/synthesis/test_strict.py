"""Texts with a fault: reported, and with `strict` asked for once more."""

from __future__ import annotations

import pytest

from dbt_osmosis_llm.llm.exceptions import LLMAPIError
from dbt_osmosis_llm.llm.messages import LLMRequest
from dbt_osmosis_llm.llm.mock import MockLLMClient
from dbt_osmosis_llm.synthesis.engine import Engine
from dbt_osmosis_llm.synthesis.prompts import Prompts
from tests.synthesis.test_engine import MemoryProject

FIRST = {
    "description": "Orders of the shop.",
    "columns": {"day": "Day of the order.", "paid": "The paid column is useful for analysis."},
}


def asked_about(*answers: object) -> tuple[MemoryProject, MockLLMClient]:
    made = MemoryProject({}, {"orders": {"day": "", "paid": ""}})
    made.sql["orders"] = "select cast(placed_at as date) as day, sum(cents) as paid from o"
    return made, MockLLMClient(answers)  # type: ignore[arg-type]


def test_a_fault_is_reported() -> None:
    project, client = asked_about(FIRST)
    report = Engine(client, Prompts()).run(project)
    (complaint,) = report.outcomes[0].complaints
    assert (complaint.column, len(client.calls)) == ("paid", 1)
    assert project.columns["orders"]["paid"] == "The paid column is useful for analysis."


@pytest.mark.parametrize(
    ("second", "text", "complaints"),
    [
        ({"description": "Amount paid, in cents."}, "Amount paid, in cents.", 0),
        ({"description": "This column may be paid."}, FIRST["columns"]["paid"], 1),  # type: ignore[index]
        ({"description": None}, FIRST["columns"]["paid"], 1),  # type: ignore[index]
        (LLMAPIError("odd", status_code=400), FIRST["columns"]["paid"], 1),  # type: ignore[index]
    ],
    ids=["better", "as bad", "null", "failed"],
)
def test_strict_asks_once_more(second: object, text: str, complaints: int) -> None:
    project, client = asked_about(FIRST, second)
    report = Engine(client, Prompts(), strict=True).run(project)
    assert project.columns["orders"] == {"day": "Day of the order.", "paid": text}
    assert len(report.outcomes[0].complaints) == complaints
    assert report.failures == []
    correction: LLMRequest = client.calls[1]
    assert len(client.calls) == 2
    assert "- paid: 'The paid column is useful for analysis.' " in correction.messages[-1].content
    assert "day" not in correction.messages[-1].content
    assert correction.part == "!"
