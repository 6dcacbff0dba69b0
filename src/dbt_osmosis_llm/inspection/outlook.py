"""A run over one table and all that lies upstream of it, with a client that asks nobody.

It is the run itself, so that what it tells is what a run does; a second set of rules would differ
from the first one day.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dbt_osmosis_llm.config import Settings
from dbt_osmosis_llm.evidence.fitting import NOTE
from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.messages import LLMClient, LLMRequest, LLMResponse
from dbt_osmosis_llm.run.options import engine_options, uses_answers
from dbt_osmosis_llm.run.recording import Recording
from dbt_osmosis_llm.synthesis.engine import Engine
from dbt_osmosis_llm.synthesis.plan import DocumentationRequest, Missing
from dbt_osmosis_llm.synthesis.ports import Inspection, Rehearsal
from dbt_osmosis_llm.synthesis.prompts import Prompts
from dbt_osmosis_llm.synthesis.report import NodeOutcome
from dbt_osmosis_llm.synthesis.safe_text import clean_text


@dataclass(frozen=True)
class AskedRequest:
    """A request that a run would make."""

    request: DocumentationRequest
    call_id: str | None
    """The call on record that has answered it."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that it asks for."""
        return self.request.missing.columns

    @property
    def is_for_table(self) -> bool:
        """Tell whether it asks for the table's own text."""
        return self.request.missing.description


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
        asked = as_documentation(request)
        columns = {key: self._note(asked, name) for name, key in asked.keys.items()}
        answer: dict[str, Any] = {"columns": columns}
        if asked.is_for_one_column:
            answer = {"description": next(iter(columns.values()))}
        elif asked.missing.description:
            answer["description"] = self._note(asked, "")
        return LLMResponse(json.dumps(answer), provider=self.provider, model=self.model)

    def _note(self, request: DocumentationRequest, column: str) -> str:
        table = request.node.name
        name = f"{table}.{column}" if column else f"{table} itself"
        # Cleaned, as the engine will do: the note is found again by its text.
        note = clean_text(NOTE.format(name)) or ""
        self.notes[note] = (request.custom_id, column)
        return note


def as_documentation(request: LLMRequest) -> DocumentationRequest:
    """Return a request of the engine's as what it is.

    Raises:
        TypeError: It is another one.
    """
    if not isinstance(request, DocumentationRequest):
        raise TypeError(f"{request.custom_id}: not a request for documentation")
    return request


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
        self.asked.append(AskedRequest(as_documentation(request), response.call_id))
        return response


class Outlook:
    """What a run over the whole project would do with one table.

    Args:
        project: The table and what is upstream, not prepared yet.
        inspection: Of the same project.
        node_id: Of the table.
        settings: Of the run.
        prompts: Of the run.
        config: Whom it would ask.
        project_dir: Where its ledger lies.
    """

    def __init__(
        self,
        project: Rehearsal,
        inspection: Inspection,
        node_id: str,
        settings: Settings,
        prompts: Prompts,
        config: LLMConfig,
        project_dir: str,
    ) -> None:
        self.project = project
        self.inspection = inspection
        self.node_id = node_id
        self.settings = settings
        # `prepare` inherits, in place of texts of their own where the project forces it.
        before = project.evidence(node_id)
        project.prepare()
        ahead = AheadClient(config)
        recording = Recording.look(settings, project_dir)
        use_answers = uses_answers(settings, config)
        # Around the ledger's client, which answers by itself what is on record.
        witness = _Witness(recording.client(ahead, config, use_answers=use_answers))
        engine = Engine(witness, prompts, **engine_options(settings, config))
        try:
            outcomes = {outcome.node_id: outcome for outcome in engine.run(project).outcomes}
        finally:
            recording.end()
        # A run has nothing to report of a table that lacks nothing.
        self.outcome = outcomes.get(node_id, NodeOutcome(node_id))
        about_it = (asked for asked in witness.asked if asked.request.custom_id == node_id)
        # What --llm-strict asks once more depends on the answer.
        self.asked = [asked for asked in about_it if not asked.request.part.endswith("!")]
        self.notes = ahead.notes
        self._texts_before = {column.name: column.description for column in before.columns}

    @cached_property
    def missing(self) -> Missing | None:
        """What is asked for in the end; None where dbt-osmosis does not document the table."""
        is_selected = not self.inspection.why_not_selected(self.node_id)
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
