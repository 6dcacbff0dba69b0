"""Runs a plan: parents before children, one request per node, one failure never ends the run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.evidence.node import NodeEvidence
from dbt_osmosis_llm.llm.answers import ask
from dbt_osmosis_llm.llm.client import LLMClient
from dbt_osmosis_llm.llm.exceptions import (
    LLMAPIError,
    LLMError,
    LLMResponseError,
    LLMTimeoutError,
    LLMTruncatedError,
)
from dbt_osmosis_llm.llm.messages import FinishReason, LLMResponse
from dbt_osmosis_llm.llm.parsing import parse_answer
from dbt_osmosis_llm.llm.prompts import Prompts
from dbt_osmosis_llm.synthesis.plan import (
    DocumentationAnswer,
    Missing,
    NodeTexts,
    build_request,
    read_texts,
)

_MAX_SILENT_IN_A_ROW = 5
"""Nodes in a row without an answer of the server, after which it counts as down."""


class Project(Protocol):
    """The project as the engine sees it; `dbt_osmosis_llm.host` implements it with dbt."""

    def node_ids(self) -> Sequence[str]:
        """Return the selected nodes, parents before children."""
        ...

    def ancestors(self, node_id: str) -> set[str]:
        """Return all nodes upstream of a node."""
        ...

    def missing(self, node_id: str) -> Missing:
        """Return the texts that a node lacks now."""
        ...

    def inherit(self, node_id: str) -> None:
        """Take texts over from upstream columns, by dbt-osmosis's own rules."""
        ...

    def inherited_columns(self, node_id: str) -> tuple[str, ...]:
        """Return the columns that have a text now and have none in their YAML file."""
        ...

    def evidence(self, node_id: str) -> NodeEvidence:
        """Return all that is known of a node."""
        ...

    def apply(self, node_id: str, texts: NodeTexts) -> None:
        """Take generated texts into the node, to be written with it."""
        ...


@dataclass
class NodeOutcome:
    """What became of one node that lacked texts."""

    node_id: str
    description_written: bool = False
    description_unknown: bool = False
    generated: tuple[str, ...] = ()
    inherited: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    """Left empty: the model answered null."""
    unanswered: tuple[str, ...] = ()
    """Left empty: the answer has no text for them; the next run asks again."""
    waiting: tuple[str, ...] = ()
    """Left empty: they come from a node that failed."""
    asked: int = 0
    """Texts asked for."""
    error: LLMError | None = None

    @property
    def failed(self) -> int:
        """Return how many texts an error left without an answer."""
        if self.error is None:
            return 0
        answered = self.description_written + self.description_unknown
        return self.asked - answered - len(self.generated) - len(self.unknown)


@dataclass
class RunReport:
    """What became of a run."""

    outcomes: list[NodeOutcome] = field(default_factory=list)
    selected: int = 0
    """Nodes looked at."""
    not_written: dict[str, list[str]] = field(default_factory=dict)
    """File that could not be written to the nodes whose texts it should have got."""
    stopped_by: LLMError | None = None
    """Why no further node was asked."""
    not_asked: int = 0
    """Nodes that still lack texts because the run stopped."""
    texts_not_asked: int = 0
    seconds: float = 0.0

    @property
    def node_ids_with_texts(self) -> list[str]:
        """Return the nodes that got generated texts."""
        return [o.node_id for o in self.outcomes if o.description_written or o.generated]

    @property
    def failures(self) -> list[NodeOutcome]:
        """Return the nodes whose request failed."""
        return [outcome for outcome in self.outcomes if outcome.error is not None]

    @property
    def has_failures(self) -> bool:
        """Tell whether a node failed or a file could not be written."""
        return bool(self.failures or self.not_written)


class Engine:
    """Writes the missing texts of a project with one client."""

    def __init__(
        self,
        client: LLMClient,
        prompts: Prompts,
        *,
        max_sql_chars: int | None = None,
        redact_pii: bool = False,
    ) -> None:
        self._client = client
        self._prompts = prompts
        self._max_sql_chars = max_sql_chars
        self._redact_pii = redact_pii

    def run(self, project: Project) -> RunReport:
        """Ask for what each node lacks and take the texts into the project."""
        started = time.monotonic()
        report = RunReport()
        self._answered = False
        self._silent_in_a_row = 0
        missing_after_failure: dict[str, set[str]] = {}
        node_ids = project.node_ids()
        report.selected = len(node_ids)
        for node_id in node_ids:
            outcome = self._run_node(project, node_id, report, missing_after_failure)
            if outcome is None:
                continue
            report.outcomes.append(outcome)
            if outcome.error is not None:
                lost = {name.lower() for name in project.missing(node_id).columns}
                missing_after_failure[node_id] = lost
                self._stop_if_hopeless(report, outcome.error)
        report.seconds = time.monotonic() - started
        return report

    def _run_node(
        self,
        project: Project,
        node_id: str,
        report: RunReport,
        missing_after_failure: dict[str, set[str]],
    ) -> NodeOutcome | None:
        if project.missing(node_id).columns:
            project.inherit(node_id)
        outcome = NodeOutcome(node_id, inherited=project.inherited_columns(node_id))
        missing = project.missing(node_id)
        if missing and missing_after_failure:
            missing, outcome.waiting = _without_waiting(
                missing, project.ancestors(node_id), missing_after_failure
            )
        if not missing:
            return outcome if outcome.inherited or outcome.waiting else None
        if report.stopped_by is not None:
            report.not_asked += 1
            report.texts_not_asked += len(missing)
            return outcome if outcome.inherited else None
        outcome.asked = len(missing)
        texts = NodeTexts()
        try:
            self._ask(project.evidence(node_id), missing, texts)
        except LLMError as error:
            outcome.error = error
        except Exception as error:  # noqa: BLE001  # one node never takes paid answers with it
            logger.debug("%s", node_id, exc_info=True)
            outcome.error = LLMError(f"unexpected {type(error).__name__}: {error}")
        # What came before an error is paid for, and kept.
        project.apply(node_id, texts)
        outcome.description_written = texts.description is not None
        outcome.description_unknown = texts.description_answered and texts.description is None
        outcome.generated = tuple(texts.columns)
        outcome.unknown = tuple(texts.unknown)
        if outcome.error is None:
            self._answered, self._silent_in_a_row = True, 0
            outcome.unanswered = tuple(texts.unanswered)
        return outcome

    def _ask(self, node: NodeEvidence, missing: Missing, texts: NodeTexts) -> None:
        """Collect the texts of a node: what an answer leaves out is asked for once more, alone."""
        rest = self._ask_in_parts(node, missing, texts)
        if rest:
            with suppress(LLMResponseError):  # the first answer is as good as it was
                self._ask_in_parts(node, rest, texts)
        if texts.invented:
            logger.warning(
                "%s: the answer names columns that do not exist; ignored: %s",
                node.unique_id,
                ", ".join(sorted(set(texts.invented))),
            )
        if texts.unanswered:
            logger.warning(
                "%s: the answer leaves out: %s", node.unique_id, ", ".join(texts.unanswered)
            )

    def _ask_in_parts(
        self, node: NodeEvidence, missing: Missing, texts: NodeTexts, *, is_half: bool = False
    ) -> Missing:
        """Ask once, and for what a cut answer lacks in two halves.

        Returns:
            What whole answers left out.

        Raises:
            LLMTruncatedError: A single text or a half was cut before anything in it was whole:
                still smaller requests would meet the same bound.
        """
        request = build_request(
            node,
            missing,
            self._prompts,
            max_sql_chars=self._max_sql_chars,
            redact_pii=self._redact_pii,
        )
        logger.info("Asking %s for %s", self._client.model, request.description)
        try:
            found, response = ask(self._client, request, partial(_read, missing=missing))
            is_cut = response.finish_reason is FinishReason.LENGTH
        except LLMTruncatedError:
            if is_half or len(missing) == 1:
                raise
            found, is_cut = NodeTexts(unanswered=list(missing.columns)), True
        texts.take(found)
        rest = missing.without(found)
        if not is_cut or not rest:
            return rest
        left_out: list[Missing] = []
        failure: LLMResponseError | None = None
        for half in rest.halves():
            try:
                left_out.append(self._ask_in_parts(node, half, texts, is_half=True))
            except LLMResponseError as error:  # noqa: PERF203  # the other half may fare better
                failure = failure or error
        if failure is not None:
            raise failure
        return Missing(
            any(part.description for part in left_out),
            tuple(name for part in left_out for name in part.columns),
        )

    def _stop_if_hopeless(self, report: RunReport, error: LLMError) -> None:
        silent = isinstance(error, LLMTimeoutError) or (
            isinstance(error, LLMAPIError)
            and (error.unreachable or (error.status_code or 0) >= 500)
        )
        self._silent_in_a_row = self._silent_in_a_row + 1 if silent else 0
        self._answered |= not silent
        # A server that has never answered is down, not flaky: do not wait for it at each node.
        down = isinstance(error, LLMAPIError) and error.unreachable and not self._answered
        if error.ends_run or down or self._silent_in_a_row >= _MAX_SILENT_IN_A_ROW:
            report.stopped_by = error


def _read(response: LLMResponse, missing: Missing) -> NodeTexts:
    texts = read_texts(parse_answer(response, DocumentationAnswer), missing)
    if not texts.answers_something:
        kind = (
            LLMTruncatedError if response.finish_reason is FinishReason.LENGTH else LLMResponseError
        )
        raise kind("the answer is JSON with none of the keys asked for")
    return texts


def _without_waiting(
    missing: Missing, ancestors: set[str], missing_after_failure: dict[str, set[str]]
) -> tuple[Missing, tuple[str, ...]]:
    """Take out the columns that the next run inherits once their failed node has its texts."""
    lost: set[str] = set()
    for node_id in ancestors & missing_after_failure.keys():
        lost |= missing_after_failure[node_id]
    waiting = tuple(name for name in missing.columns if name.lower() in lost)
    kept = tuple(name for name in missing.columns if name.lower() not in lost)
    return Missing(missing.description, kept), waiting
