"""What a run would ask and cost: the run itself, with a client that asks nobody.

Children see placeholders where their parents' new texts would stand, so that prompts have about
the length that they will have.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.evidence.fitting import PLACEHOLDER
from dbt_osmosis_llm.llm.messages import (
    LLMRequest,
    LLMResponse,
    Usage,
    estimated_tokens,
    sum_of_costs,
)
from dbt_osmosis_llm.llm.usage import Price


@dataclass
class NodeEstimate:
    """What would be asked about one node."""

    requests: int = 0
    usage: Usage = field(default_factory=Usage)
    cost_usd: float | None = 0.0
    """None when the model's price is not known."""


class EstimatingClient:
    """Answers every request with placeholders and keeps count of what it would have taken."""

    def __init__(self, provider: str, model: str, price: Price) -> None:
        self.provider = provider
        self.model = model
        self._price = price
        self.by_node: dict[str, NodeEstimate] = {}

    def complete(self, request: LLMRequest) -> LLMResponse:
        """Return placeholders in the form that the request's schema asks for."""
        prompt = "\n".join(message.content for message in request.messages)
        logger.debug("The prompt for %s:\n%s", request.custom_id, prompt)
        text = json.dumps(_placeholders(request.schema or {}, request.custom_id))
        usage = Usage(
            input_tokens=request.expected_usage.input_tokens,
            # Not what the request expects: that is the longest answer that may come.
            output_tokens=estimated_tokens(text),
        )
        node = self.by_node.setdefault(request.custom_id, NodeEstimate())
        node.requests += 1
        node.usage += usage
        node.cost_usd = sum_of_costs(node.cost_usd, self._price.of(usage))
        return LLMResponse(text, usage=usage, provider=self.provider, model=self.model)

    def total(self) -> NodeEstimate:
        """Return the sum over all nodes."""
        total = NodeEstimate()
        for node in self.by_node.values():
            total.requests += node.requests
            total.usage += node.usage
            total.cost_usd = sum_of_costs(total.cost_usd, node.cost_usd)
        return total


def _placeholders(schema: Mapping[str, Any], place: str) -> Any:
    """Return what the schema asks for, no text twice: equal ones would be copied."""
    if "properties" in schema:
        return {
            key: _placeholders(value, f"{place}.{key}")
            for key, value in schema["properties"].items()
        }
    return PLACEHOLDER.format(f"{zlib.crc32(place.encode()):08x}")
