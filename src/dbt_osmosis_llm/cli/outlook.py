"""A run over one table and all that lies upstream of it, with a client that asks nobody.

It is the run itself, so that what it tells is what a run does; a second set of rules would differ
from the first one day.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dbt_osmosis_llm.cli.recording import Recording
from dbt_osmosis_llm.cli.session import engine_options, project_options
from dbt_osmosis_llm.config import Settings
from dbt_osmosis_llm.host.project import HostProject
from dbt_osmosis_llm.llm.client import LLMClient, LLMConfig
from dbt_osmosis_llm.llm.messages import LLMRequest, LLMResponse
from dbt_osmosis_llm.llm.prompts import Prompts
from dbt_osmosis_llm.llm.safe_text import clean_text
from dbt_osmosis_llm.synthesis.engine import Engine
from dbt_osmosis_llm.synthesis.plan import Missing, NodeTexts
from dbt_osmosis_llm.synthesis.report import NodeOutcome


@dataclass(frozen=True)
class AskedRequest:
    """A request that a run would make."""

    request: LLMRequest
    call_id: str | None
    """The call on record that has answered it."""

    @property
    def columns(self) -> list[str]:
        """Return the columns that it asks for."""
        return [column["name"] for column in self.request.evidence["columns"]]

    @property
    def is_for_one_column(self) -> bool:
        """Tell whether its answer's description is that of a column."""
        return "columns" not in self._properties and bool(self.columns)

    @property
    def is_for_table(self) -> bool:
        """Tell whether it asks for the table's own text."""
        return "description" in self._properties and not self.is_for_one_column

    @property
    def _properties(self) -> Mapping[str, Any]:
        properties: Mapping[str, Any] = (self.request.schema or {}).get("properties", {})
        return properties


class OutlookProject(HostProject):
    """One table and all that lies upstream of it, as a run over the whole project sees them.

    Texts stay in memory, and the table itself keeps its gaps.

    Args:
        context: Of dbt-osmosis.
        node_id: Of the table.
        options: Of `HostProject`.
    """

    def __init__(self, context: Any, node_id: str, **options: Any) -> None:
        super().__init__(context, **options)
        wanted = {node_id, *self.ancestors(node_id)}
        self._selected = {uid: node for uid, node in self._selected.items() if uid in wanted}
        self._node_id = node_id

    def apply(self, node_id: str, texts: NodeTexts) -> None:
        """Take texts into dbt's nodes alone."""
        if node_id == self._node_id:
            return
        node = self._selected[node_id]
        node.description = texts.description or node.description
        for name, text in texts.columns.items():
            node.columns[name].description = text

    def finish(self, node_id: str) -> None:
        """Write nothing."""


class AheadClient:
    """Answers each question with notes of whose texts would stand there.

    Args:
        config: Whom a run would ask.
    """

    def __init__(self, config: LLMConfig) -> None:
        self.provider = config.provider
        self.model = config.model
        self.notes: dict[str, tuple[str, str]] = {}
        """Note to the table's unique id and the column, empty for the table's own text."""

    def complete(self, request: LLMRequest) -> LLMResponse:
        """Return a note for each text that is asked for."""
        asked = AskedRequest(request, None)
        columns = {c["key"]: self._note(request, c["name"]) for c in request.evidence["columns"]}
        answer: dict[str, Any] = {"columns": columns}
        if asked.is_for_one_column:
            answer = {"description": next(iter(columns.values()))}
        elif asked.is_for_table:
            answer["description"] = self._note(request, "")
        return LLMResponse(json.dumps(answer), provider=self.provider, model=self.model)

    def _note(self, request: LLMRequest, column: str) -> str:
        table = request.evidence["name"]
        name = f"{table}.{column}" if column else f"{table} itself"
        note = clean_text(f"(the text of {name}, which is asked for first)") or ""
        self.notes[note] = (request.custom_id, column)
        return note


class _Witness:
    """Keeps what is asked, and by which call on record it is answered."""

    def __init__(self, inner: LLMClient) -> None:
        self._inner = inner
        self.provider = inner.provider
        self.model = inner.model
        self.asked: list[AskedRequest] = []

    def complete(self, request: LLMRequest) -> LLMResponse:
        """Ask the inner client."""
        response = self._inner.complete(request)
        self.asked.append(AskedRequest(request, response.call_id))
        return response


class Outlook:
    """What a run over the whole project would do with one table.

    Args:
        context: Of dbt-osmosis.
        node_id: Of the table.
        settings: Of the run.
        prompts: The instructions.
        config: Whom the run would ask.
    """

    def __init__(
        self,
        context: Any,
        node_id: str,
        settings: Settings,
        prompts: Prompts,
        config: LLMConfig,
    ) -> None:
        self.node_id = node_id
        self.settings = settings
        self.project = project = OutlookProject(
            context, node_id, **project_options(context, settings, config, prompts)
        )
        before = project.evidence(node_id)
        project.prepare(project.node_ids())
        ahead = AheadClient(config)
        witness = _Witness(self._with_answers(ahead, config, context.project.config.project_dir))
        engine = Engine(
            witness,
            prompts,
            **engine_options(settings, config),
        )
        outcomes = {outcome.node_id: outcome for outcome in engine.run(project).outcomes}
        self.outcome = outcomes.get(node_id, NodeOutcome(node_id))
        about_it = (asked for asked in witness.asked if asked.request.custom_id == node_id)
        # What --llm-strict asks once more depends on the answer.
        self.asked = [asked for asked in about_it if not asked.request.part.endswith("!")]
        self.notes = ahead.notes
        self._texts_before = {column.name: column.description for column in before.columns}

    def _with_answers(self, ahead: AheadClient, config: LLMConfig, project_dir: str) -> LLMClient:
        """Return a client that gives the answers on record; the offline provider uses none."""
        if config.provider == "offline":
            return ahead
        return Recording.look(ahead, self.settings, config, project_dir)

    @cached_property
    def missing(self) -> Missing | None:
        """What is asked for in the end; None where dbt-osmosis does not document the table."""
        is_selected = not self.project.why_not_selected(self.node_id)
        return self.project.missing(self.node_id) if is_selected else None

    @cached_property
    def replaced(self) -> set[str]:
        """The columns whose texts others replace, as the project's settings want it."""
        now = self.project.evidence(self.node_id).columns
        before = self._texts_before
        return {c.name for c in now if before.get(c.name) and before[c.name] != c.description}

    def request_for(self, column: str) -> AskedRequest | None:
        """Return the request that asks for a column."""
        # The last one: an answer on record may have left the column out.
        return next((asked for asked in reversed(self.asked) if column in asked.columns), None)
