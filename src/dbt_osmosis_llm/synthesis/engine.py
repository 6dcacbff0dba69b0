"""Runs a plan: parents before children, in parallel, one failure never ends the run."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.evidence.names import plain_name
from dbt_osmosis_llm.evidence.node import NodeEvidence
from dbt_osmosis_llm.evidence.sql_text import tidy_sql
from dbt_osmosis_llm.ledger.records import Text
from dbt_osmosis_llm.llm.batch import (
    LLMBatchConfig,
    LLMBatchProcessor,
    LLMBatchStats,
    LLMResult,
    Parts,
)
from dbt_osmosis_llm.llm.exceptions import (
    LLMAPIError,
    LLMError,
    LLMResponseError,
    LLMTimeoutError,
    LLMTruncatedError,
)
from dbt_osmosis_llm.llm.messages import FinishReason, LLMClient, LLMRequest
from dbt_osmosis_llm.synthesis.checks import Complaint, ComplaintKind, check_texts
from dbt_osmosis_llm.synthesis.checks.safety import refusals
from dbt_osmosis_llm.synthesis.copying import copies, decided_by_lineage, waits_for_failed
from dbt_osmosis_llm.synthesis.plan import (
    DocumentationAnswer,
    Missing,
    NodeTexts,
    build_request,
    correction_request,
    in_parts,
    read_texts,
)
from dbt_osmosis_llm.synthesis.ports import Project
from dbt_osmosis_llm.synthesis.prompts import Prompts
from dbt_osmosis_llm.synthesis.report import NodeOutcome, RunReport
from dbt_osmosis_llm.synthesis.waits import Ties, waits_for

_MAX_SILENT_IN_A_ROW = 5
"""Requests in a row without an answer of the server, after which it counts as down; without a
usable answer from the start, after which the model counts as unfit."""

_MIN_SQL_CHARS = 2000
"""Of a request that passes the context window: less tells a model too little."""

_TOO_LONG = re.compile(
    r"context.{0,20}(length|window|size)|prompt is too long|too many (input )?tokens"
    r"|maximum number of tokens",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Part:
    """One request about a node; with nothing named it stands for the node itself."""

    node_id: str
    missing: Missing = field(default_factory=Missing)
    stage: Literal["node", "first", "half", "again", "strict"] = "node"
    complaints: tuple[Complaint, ...] = ()
    """What was wrong with the texts that are asked for once more."""
    max_sql_chars: int | None = None
    """Where to cut the SQL."""
    label: str = ""
    """Tells it from the other requests about the node; empty for the first of one."""
    parent_call_id: str | None = field(default=None, compare=False)
    """The call on record that left something to ask for."""


@dataclass
class _Node:
    """A node that is being asked about."""

    outcome: NodeOutcome
    texts: NodeTexts = field(default_factory=NodeTexts)
    on_record: list[Text] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    """All that the model was told."""


class Engine:
    """Writes the missing texts of a project with one client.

    Args:
        client: Whom to ask.
        prompts: The instructions.
        concurrency: Requests at the same time; the texts do not depend on it.
        strict: Ask once more for texts that a check finds fault with.
        copies: Let columns take over the texts of those that they are, by lineage.
        max_sql_chars: Where to cut SQL.
        max_prompt_tokens: About how many tokens a prompt may take.
        redact_pii: Mask personal data.
        context_window: Returns how many tokens the model takes, prompt and answer together; None
            when that is not known. Called when there is something to ask.
        observer: Gets the report and the batch's statistics as they grow.
        recorder: Gets the texts of a node with the calls on record that they come from.
    """

    def __init__(
        self,
        client: LLMClient,
        prompts: Prompts,
        *,
        concurrency: int = 1,
        copies: bool = True,
        strict: bool = False,
        max_sql_chars: int | None = None,
        max_prompt_tokens: int | None = None,
        redact_pii: bool = False,
        context_window: Callable[[], int | None] = lambda: None,
        observer: Callable[[RunReport, LLMBatchStats], None] | None = None,
        recorder: Callable[[list[Text]], None] | None = None,
    ) -> None:
        self._client = client
        self._prompts = prompts
        # One answer before the rest: a wrong key, what the endpoint rejects and its limits are
        # learned from one request instead of many, and a shared prompt is in the provider's cache.
        self._config = LLMBatchConfig(max_workers=concurrency, warm_up=True)
        self._copies = copies
        self._strict = strict
        self._max_sql_chars = max_sql_chars
        self._max_prompt_tokens = max_prompt_tokens
        self._redact_pii = redact_pii
        self._context_window = context_window
        self._observer = observer
        self._recorder = recorder
        self._batch: LLMBatchProcessor[_Part] | None = None
        self._interrupted = False
        self._grace_s: float | None = None

    def interrupt(self, grace_s: float) -> None:
        """Ask nothing new; wait so many seconds for the answers in flight."""
        self._interrupted = True
        self._grace_s = grace_s
        if self._batch is not None:
            self._batch.stop(grace_s)

    def run(self, project: Project) -> RunReport:
        """Ask for what each node lacks and take the texts into the project."""
        started = time.monotonic()
        self._project = project
        self._report = report = RunReport()
        self._nodes: dict[str, _Node] = {}
        self._evidence: dict[str, NodeEvidence] = {}
        self._finished: set[str] = set()
        self._missing_after_failure: dict[str, set[str]] = {}
        self._answered = self._succeeded = False
        self._silent_in_a_row = self._failed_in_a_row = 0
        node_ids = project.node_ids()
        self._selected = frozenset(node_ids)
        report.selected = len(node_ids)
        self._batch = LLMBatchProcessor(
            self._client,
            self._build,
            self._take,
            DocumentationAnswer,
            self._config,
            on_done=self._finish,
            observer=self._tell,
        )
        if self._interrupted:  # before there was anything to stop
            self._batch.stop(self._grace_s)
        lacking = self._lacking(node_ids)
        waits = waits_for(_ties(project, n, lacking.get(n)) for n in node_ids)
        stats = self._batch.run(
            [_Part(node_id) for node_id in node_ids if node_id in lacking],
            {_Part(n): [_Part(other) for other in waits[n]] for n in lacking},
        )
        report.abandoned = stats.abandoned
        for part, error in stats.errors.items():
            if not isinstance(error, LLMError):  # of ours: what the model did is known already
                self._fail(part.node_id, error)
        self._finish_what_was_stopped(node_ids)
        report.outcomes = [self._nodes[n].outcome for n in node_ids if n in self._nodes]
        report.seconds = time.monotonic() - started
        return report

    def _lacking(self, node_ids: Sequence[str]) -> dict[str, Missing]:
        """Return what each node lacks that lacks anything, done with all others.

        A fault in looking at one of them is its own: the run goes on to the next.
        """
        lacking: dict[str, Missing] = {}
        for node_id in node_ids:
            with self._own_failure(node_id):
                missing = self._project.missing(node_id)
                if missing or self._project.may_change(node_id):
                    lacking[node_id] = missing
        for node_id in node_ids:
            if node_id not in lacking:  # first: no file has to wait for it
                with self._own_failure(node_id):
                    if node_id not in self._nodes:
                        self._begin(node_id)
                with self._own_failure(node_id):
                    self._finish(_Part(node_id))
        return lacking

    @contextmanager
    def _own_failure(self, node_id: str) -> Iterator[None]:
        """Let an unexpected failure be that of one node."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  # as in a batch: one node never ends the run
            logger.debug("%s: unexpected failure", node_id, exc_info=True)
            self._fail(node_id, error)

    def _fail(self, node_id: str, error: Exception) -> None:
        node = self._nodes.setdefault(node_id, _Node(NodeOutcome(node_id)))
        failure = error
        if not isinstance(failure, LLMError):
            failure = LLMError(f"unexpected {type(error).__name__}: {error}")
        node.outcome.error = node.outcome.error or failure

    def _tell(self, stats: LLMBatchStats) -> None:
        if self._observer is not None:
            self._observer(self._report, stats)

    def _build(self, part: _Part) -> LLMRequest | Parts[_Part] | None:
        if part.stage == "node":
            return self._begin(part.node_id)
        request = build_request(
            self._evidence[part.node_id],
            part.missing,
            self._prompts,
            max_sql_chars=part.max_sql_chars or self._max_sql_chars,
            redact_pii=self._redact_pii,
            max_prompt_tokens=self._max_prompt_tokens,
        )
        request = replace(request, part=part.label, parent_call_id=part.parent_call_id)
        if part.complaints:
            texts = self._nodes[part.node_id].texts.by_name
            request = correction_request(request, texts, part.complaints)
        window, expected = self._context_window(), request.expected_usage
        tokens = expected.input_tokens + expected.output_tokens
        if window is None or tokens <= window:
            logger.info("Request to %s for %s", self._client.model, request.description)
            return request
        if smaller := self._smaller(part):
            return Parts(smaller)
        raise _DoesNotFitError(
            f"one text alone takes about {tokens:,} tokens with its answer, its SQL cut short "
            f"already; the context window is {window:,} tokens. Set OSMOSIS_LLM_CONTEXT_WINDOW "
            "if that is not so."
        )

    def _smaller(self, part: _Part) -> list[_Part]:
        """Return the halves of a request, each with half of the SQL; nothing when it has none.

        The SQL is what is too long most of the time: halves alone would not help.
        """
        sql = tidy_sql(self._evidence[part.node_id].sql or "")
        shown = min(len(sql), part.max_sql_chars or self._max_sql_chars or len(sql))
        if len(part.missing) < 2 and shown <= _MIN_SQL_CHARS:
            return []
        chars = max(min(shown, _MIN_SQL_CHARS), shown // 2) or None
        return [replace(half, max_sql_chars=chars) for half in _halves(part, part.missing)]

    def _begin(self, node_id: str) -> Parts[_Part] | None:
        """See what a node lacks now that its parents are done."""
        outcome = NodeOutcome(node_id)
        missing = self._still_missing(node_id, outcome)
        if not missing:
            self._keep(outcome)
            return None
        outcome.asked = len(missing)
        self._nodes[node_id] = _Node(outcome)
        # Gathered again: the texts that were taken over belong to it.
        evidence = self._evidence[node_id] = self._project.evidence(node_id)
        parts = in_parts(missing, evidence)
        labels = [str(number) for number in range(1, len(parts) + 1)] if len(parts) > 1 else [""]
        return Parts(
            [
                _Part(node_id, missing, "first", label=label)
                for missing, label in zip(parts, labels, strict=True)
            ]
        )

    def _still_missing(self, node_id: str, outcome: NodeOutcome) -> Missing:
        """Take over what needs no model, and return what is still missing and can be asked for."""
        project = self._project
        missing, evidence = project.missing(node_id), None
        if missing.columns and self._copies:
            evidence = project.evidence(node_id)
            # Lineage before names: a column computed anew may have an old name.
            outcome.copied = project.copy(node_id, copies(evidence, missing.columns))
            missing = project.missing(node_id)
        if taken := project.share(node_id):
            outcome.copied += taken
            missing = project.missing(node_id)
        if missing.columns or project.may_change(node_id):
            keep_out: set[str] = set()
            if self._copies:
                evidence = evidence or project.evidence(node_id)
                # Not of what is missing alone: what the model could not tell is empty, too.
                names = [column.name for column in evidence.columns]
                keep_out = decided_by_lineage(evidence, names, self._selected)
            project.inherit(node_id, keep_out)
        taken = project.inherited_columns(node_id)
        outcome.inherited = tuple(name for name in taken if name not in outcome.copied)
        missing = project.missing(node_id)
        if missing.columns and self._missing_after_failure:
            ancestors, lost = project.ancestors(node_id), self._missing_after_failure
            outcome.waiting = tuple(
                name
                for name in missing.columns
                if waits_for_failed(evidence, name, ancestors, lost)
            )
            if outcome.waiting:  # whatever is made of them waits as well
                lost[node_id] = {plain_name(name) for name in outcome.waiting}
                left = (name for name in missing.columns if name not in outcome.waiting)
                missing = Missing(missing.description, tuple(left))
        return missing

    def _keep(self, outcome: NodeOutcome) -> None:
        """Report a node that is not asked about, if anything became of it."""
        if outcome.inherited or outcome.copied or outcome.waiting:
            self._nodes[outcome.node_id] = _Node(outcome)

    def _take(self, result: LLMResult[_Part]) -> Iterable[_Part]:
        """Keep the texts of an answer; return what has to be asked for next."""
        part, error = result.item, result.error
        node = self._nodes.setdefault(part.node_id, _Node(NodeOutcome(part.node_id)))
        if error is not None:
            part = replace(part, parent_call_id=error.call_id or part.parent_call_id)
            if _is_too_long(error) and (smaller := self._smaller(part)):
                # The server has answered, if only that this is too long.
                self._answered, self._silent_in_a_row = True, 0
                return smaller
            # What was never sent says nothing of the server.
            if not isinstance(error, _DoesNotFitError):
                self._stop_if_hopeless(error)
            splits = part.stage in ("first", "again") and len(part.missing) > 1
            if splits and isinstance(error, LLMTruncatedError):
                return [replace(half, stage="half") for half in _halves(part, part.missing)]
            if part.stage == "again" and isinstance(error, LLMResponseError):
                return ()  # the first answer is as good as it was
            if part.stage != "strict":  # else the text that was to be corrected stays as it was
                node.outcome.error = node.outcome.error or error
            return ()
        self._answered = self._succeeded = True
        self._silent_in_a_row = self._failed_in_a_row = 0
        texts = read_texts(result.parsed, part.missing)
        texts.refuse(self._refusals(part.node_id, texts))
        if result.request is not None:
            node.shown += [message.content for message in result.request.messages]
        if part.stage == "strict":
            texts = self._better(part, texts)
            node.texts.correct(texts)
        else:
            node.texts.take(texts)
        if call_id := result.response.call_id if result.response else None:
            node.on_record += _on_record(call_id, part.node_id, texts)
            part = replace(part, parent_call_id=call_id)
        if part.stage == "strict":
            return ()
        faulty = self._faulty(part, texts) if self._strict else []
        rest = part.missing.without(texts)
        if not rest:
            return faulty
        # Asked for as a whole the rest would be cut off again.
        if result.response is not None and result.response.finish_reason is FinishReason.LENGTH:
            return [*faulty, *(replace(half, stage="half") for half in _halves(part, rest))]
        if part.stage == "again":
            return faulty
        return [*faulty, replace(part, missing=rest, stage="again", label=f"{part.label}+")]

    def _refusals(self, node_id: str, texts: NodeTexts) -> dict[str, str]:
        own_words = self._prompts.own_words
        return refusals(
            self._evidence[node_id],
            texts.by_name,
            shown=own_words,
            # Who writes prompts may want any language.
            any_script=bool(own_words),
        )

    def _complaints(self, node_id: str, texts: NodeTexts) -> list[Complaint]:
        shown = self._nodes[node_id].shown
        return check_texts(self._evidence[node_id], texts.by_name, shown=shown)

    def _faulty(self, part: _Part, texts: NodeTexts) -> list[_Part]:
        """Return the one request that corrects what is wrong with the texts of an answer."""
        refused = (Complaint(n, ComplaintKind.UNSAFE, why) for n, why in texts.refused.items())
        complaints = (*self._complaints(part.node_id, texts), *refused)
        names = dict.fromkeys(complaint.column for complaint in complaints)
        if not names:
            return []
        missing = Missing("" in names, tuple(name for name in names if name))
        label = f"{part.label}!"
        return [replace(part, missing=missing, stage="strict", label=label, complaints=complaints)]

    def _better(self, part: _Part, texts: NodeTexts) -> NodeTexts:
        """Return the texts that a check finds less fault with than with those before."""
        before = Counter(complaint.column for complaint in part.complaints)
        after = Counter(complaint.column for complaint in self._complaints(part.node_id, texts))
        better = {name for name in texts.by_name if after[name] < before[name]}
        return NodeTexts(
            description=texts.description if "" in better else None,
            columns={name: text for name, text in texts.columns.items() if name in better},
        )

    def _finish(self, part: _Part) -> None:
        """Take what was answered about a node into the project."""
        node_id = part.node_id
        self._finished.add(node_id)
        try:
            if (node := self._nodes.get(node_id)) is not None:
                self._conclude(node)
        finally:
            # Whatever fails: old texts that were set aside must get back to where they stood.
            self._evidence.pop(node_id, None)
            self._project.finish(node_id)

    def _conclude(self, node: _Node) -> None:
        outcome, texts, project = node.outcome, node.texts, self._project
        # What came before an error is paid for, and kept.
        project.apply(outcome.node_id, texts)
        if self._recorder is not None and node.on_record:
            self._recorder(node.on_record)
        outcome.description_written = texts.description is not None
        has_no_text = texts.description is None and "" not in texts.refused
        outcome.description_unknown = texts.description_answered and has_no_text
        outcome.generated = tuple(texts.columns)
        outcome.unknown = tuple(texts.unknown)
        outcome.refused = dict(texts.refused)
        if outcome.error is not None:
            # What takes these texts over has to wait: a text of its own would differ from theirs.
            lost = {plain_name(name) for name in project.missing(outcome.node_id).columns}
            lost |= self._missing_after_failure.get(outcome.node_id, set())
            self._missing_after_failure[outcome.node_id] = lost
        else:
            # After an error the report counts all that is left as failed.
            outcome.unanswered = tuple(texts.unanswered)
        if texts.invented:
            logger.warning(
                "%s: the answer names columns that do not exist; ignored: %s",
                outcome.node_id,
                ", ".join(sorted(set(texts.invented))),
            )
        if outcome.node_id in self._evidence:
            outcome.complaints = tuple(self._complaints(outcome.node_id, texts))

    def _finish_what_was_stopped(self, node_ids: Sequence[str]) -> None:
        """Keep what was answered about nodes that a stop left open, and count the rest."""
        report = self._report
        for node_id in node_ids:
            if node_id in self._finished:
                continue
            with self._own_failure(node_id):
                left = self._left_by_stop(node_id)
                # A node that failed is in the report as such.
                if left and (node_id not in self._nodes or not self._nodes[node_id].outcome.error):
                    report.not_asked += 1
                    report.texts_not_asked += len(left)

    def _left_by_stop(self, node_id: str) -> Missing:
        """Finish a node that a stop left open; return what it still lacks."""
        if node_id in self._nodes:
            self._finish(_Part(node_id))
            return self._project.missing(node_id)
        try:
            if self._interrupted:  # nobody wants to wait for more than what is done
                return self._project.missing(node_id)
            outcome = NodeOutcome(node_id)
            # A stop ends the asking: what is copied and inherited costs nothing.
            left = self._still_missing(node_id, outcome)
            self._keep(outcome)
            return left
        finally:
            self._project.finish(node_id)

    def _stop_if_hopeless(self, error: LLMError) -> None:
        """Stop asking when no other request can succeed either."""
        silent = isinstance(error, LLMTimeoutError) or (
            isinstance(error, LLMAPIError)
            and (error.unreachable or (error.status_code or 0) >= 500)
        )
        self._silent_in_a_row = self._silent_in_a_row + 1 if silent else 0
        # A refusal, too, shows that the server is there.
        self._answered |= not silent
        self._failed_in_a_row += 1
        # A server that has never answered is down, not flaky: do not wait for it at each node.
        down = isinstance(error, LLMAPIError) and error.unreachable and not self._answered
        # Nor is a model any good whose every answer is unusable.
        useless = not self._succeeded and self._failed_in_a_row >= _MAX_SILENT_IN_A_ROW
        silent_for_long = self._silent_in_a_row >= _MAX_SILENT_IN_A_ROW
        if error.ends_run or down or silent_for_long or useless:
            self._report.stopped_by = self._report.stopped_by or error
            if self._batch is not None:
                self._batch.stop()


def _halves(part: _Part, missing: Missing) -> list[_Part]:
    halves = missing.halves()
    letters = "ab" if len(halves) > 1 else "a"
    return [
        replace(part, missing=half, label=f"{part.label}{letter}")
        for half, letter in zip(halves, letters, strict=True)
    ]


def _on_record(call_id: str, node_id: str, texts: NodeTexts) -> list[Text]:
    return [Text(call_id, node_id, name, text) for name, text in texts.by_name.items()]


class _DoesNotFitError(LLMError):
    """A request that cannot be made small enough for the context window; it was not sent."""


def _ties(project: Project, node_id: str, missing: Missing | None) -> Ties:
    parents = project.parents(node_id)
    if missing is None:
        return Ties(node_id, parents)
    # Without one nothing is inherited.
    has_open_column = bool(missing.columns) or project.may_change(node_id)
    return Ties(
        node_id,
        parents,
        is_open=True,
        reads=[*project.tables_read(node_id), *project.twins(node_id)],
        takes=(lambda: project.inheritable_names(node_id)) if has_open_column else tuple,
        gives=project.unsettled_names(node_id) if has_open_column else (),
    )


def _is_too_long(error: LLMError) -> bool:
    """Tell whether a request would pass the model's context window."""
    if not isinstance(error, LLMAPIError) or error.status_code not in (400, 413, 422):
        return False
    return error.code == "context_length_exceeded" or bool(_TOO_LONG.search(str(error)))
