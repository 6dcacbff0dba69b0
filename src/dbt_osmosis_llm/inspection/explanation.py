"""What is known of a table and its columns, what a run would do with them, and why.

What happens to a text comes from `Outlook`; only the reasons are worked out here, from the same
evidence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from dbt_osmosis_llm.evidence.facts import ColumnKind, ColumnLineage
from dbt_osmosis_llm.evidence.fitting import joined_name
from dbt_osmosis_llm.evidence.names import plain_name
from dbt_osmosis_llm.evidence.node import ColumnEvidence, NodeEvidence
from dbt_osmosis_llm.inspection.outlook import AskedRequest, Outlook
from dbt_osmosis_llm.synthesis.copying import misfits
from dbt_osmosis_llm.synthesis.ports import TextPlace

_COMPUTED = {
    ColumnKind.AGGREGATE: "aggregated from",
    ColumnKind.WINDOW: "a window over",
    ColumnKind.UNION: "a union of",
}

_UNKNOWN = "not asked: the model could not tell it from the same evidence (--llm-no-cache asks)"


class Explanation:
    """What is known of one table, as JSON-like data.

    Args:
        outlook: What a run would do with it.
        prompt: Include the messages of each request.
    """

    def __init__(self, outlook: Outlook, *, prompt: bool = False) -> None:
        self._outlook = outlook
        self._project = outlook.project
        self._inspection = outlook.inspection
        self._prompt = prompt
        self._evidence_by_id: dict[str, NodeEvidence] = {}

    @property
    def _node(self) -> NodeEvidence:
        return self._evidence(self._outlook.node_id)

    def _evidence(self, node_id: str) -> NodeEvidence:
        """Return what is known of a table at the end of the run."""
        if node_id not in self._evidence_by_id:
            self._evidence_by_id[node_id] = self._project.evidence(node_id)
        return self._evidence_by_id[node_id]

    @cached_property
    def _columns(self) -> dict[str, ColumnEvidence]:
        """The columns that dbt-osmosis has, and then those that only the SQL shows."""
        columns = {column.name: column for column in self._node.columns}
        names = {plain_name(name) for name in columns}
        lineages = self._node.facts.columns
        return columns | {n: ColumnEvidence(n) for n in lineages if plain_name(n) not in names}

    @property
    def columns(self) -> list[str]:
        """Return the names of the table's columns."""
        return list(self._columns)

    def table(self) -> dict[str, Any]:
        """Return what is known of the table and, in short, of each column.

        Returns:
            ``node``, ``name``, ``resource_type``, ``materialization``, ``yaml_file``, ``text``,
            its ``verdict`` and ``why``, ``sql``, ``grain``, ``joins``, ``filters``,
            ``set_operations``, ``reads``, ``tests``, ``columns``, ``requests`` and
            ``asked_first``: texts in the prompts that have to be asked for first.
        """
        node, facts = self._node, self._node.facts
        return {
            "node": node.unique_id,
            "name": node.name,
            "resource_type": node.resource_type,
            "materialization": node.materialization,
            "yaml_file": self._inspection.yaml_file(node.unique_id) or None,
            "text": node.description or None,
            **self._table_verdict(),
            "sql": self._sql(),
            "grain": list(self._grain()),
            "joins": [
                {"kind": j.kind, "table": node.table_name(j.relation), "condition": j.condition}
                for j in facts.joins
            ],
            "filters": list(facts.filters),
            "set_operations": list(facts.set_operations),
            "reads": [
                {
                    "node": table.unique_id,
                    "name": table.name,
                    "text": table.description or None,
                    **_place(self._inspection.text_place(table.unique_id)),
                }
                for table in node.upstream
            ],
            "tests": list(node.tests),
            "columns": [self._short(column) for column in self._columns.values()],
            "requests": [self._request(asked) for asked in self._outlook.asked],
            "asked_first": self._asked_first(self._outlook.asked),
        }

    def column(self, name: str) -> dict[str, Any]:
        """Return all that is known of a column.

        Args:
            name: As dbt-osmosis has it.

        Returns:
            ``node``, ``table``, ``column``, ``type``, ``kind``, its ``verdict`` and ``why``,
            ``expression``, ``sql``, ``text``, ``text_from``, ``made_of``, ``tests``, ``tags``,
            ``meta``, ``without_partner`` (its value where a joined table has no row), ``used_as``
            (``expression`` is null where it is the column unchanged, with the same text unless
            ``text`` has one), ``request`` and ``asked_first``.
        """
        column, lineage = self._columns[name], self._node.facts.column(name)
        asked = self._outlook.request_for(name)
        return {
            "node": self._node.unique_id,
            "table": self._node.name,
            **self._short(column),
            "expression": lineage.expression if lineage else None,
            "sql": self._sql(),
            "text": column.description or None,
            "text_from": self._chain(self._node.unique_id, name) if column.description else [],
            "made_of": list(self._made_of(lineage)),
            "tests": list(column.tests),
            "tags": list(column.tags),
            "meta": dict(column.meta),
            "without_partner": [
                {"table": joined_name(self._node, passage), "value": value}
                for passage, value in (lineage.absences if lineage else ())
            ],
            "used_as": [
                {
                    "table": use.table,
                    "column": use.column or None,
                    "text": use.description or None,
                    "expression": use.expression or None,
                }
                for use in self._inspection.uses(self._node.unique_id, name)
            ],
            "request": self._request(asked) if asked else None,
            "asked_first": self._asked_first([asked] if asked else []),
        }

    def _short(self, column: ColumnEvidence) -> dict[str, Any]:
        lineage = self._node.facts.column(column.name)
        kind = lineage.kind if lineage else ColumnKind.UNKNOWN
        return {
            "column": column.name,
            "type": column.data_type,
            "kind": kind.value if self._node.sql is not None else None,
            **self._verdict(column),
        }

    def _sql(self) -> dict[str, Any]:
        node, error = self._node, self._inspection.compile_error(self._node.unique_id)
        state = "raw" if error else "compiled" if node.sql else None
        return {"state": state, "compile_error": error or None, "lineage": bool(node.facts.columns)}

    def _grain(self) -> Iterator[dict[str, Any]]:
        facts = self._node.facts
        yield from ({"columns": list(key), "why": "tested unique"} for key in self._node.keys)
        if facts.group_by:
            yield {"columns": list(facts.group_by), "why": "GROUP BY"}
        if facts.row_number_partition:
            yield {"columns": list(facts.row_number_partition), "why": "row_number"}
        if facts.distinct:
            yield {"columns": [], "why": "DISTINCT"}

    def _request(self, asked: AskedRequest) -> dict[str, Any]:
        request = asked.request
        messages = [{"role": m.role, "content": m.content} for m in request.messages]
        return {
            "part": request.part,
            "table_text": asked.is_for_table,
            "columns": list(asked.columns),
            "prompt_tokens": request.expected_usage.input_tokens,
            "answered_by_call": asked.call_id,
            **({"messages": messages} if self._prompt else {}),
        }

    # What happens to a text

    def _table_verdict(self) -> dict[str, Any]:
        missing = self._outlook.missing
        if not (missing.description if missing is not None else not self._node.description):
            if not self._node.description and (why := self._why_left_out("")):
                return _verdict_of("not_asked", why)
            place = _place(self._inspection.text_place(self._node.unique_id))
            return _verdict_of("has_text", f"has a text{_in(place)}", **place)
        for asked in self._outlook.asked:
            if asked.is_for_table:
                return _verdict_of("asked", f"asked: it has no text{_on_record(asked)}")
        return _verdict_of("not_asked", f"not asked: {self._why_not_asked()}")

    def _verdict(self, column: ColumnEvidence) -> dict[str, Any]:
        outlook, name = self._outlook, column.name
        # Not by its text: that may be there and be one that cannot be read.
        missing = outlook.missing
        if missing is not None and column not in self._node.columns:
            return _verdict_of(
                "not_asked", "not asked: dbt-osmosis finds it in no YAML and no warehouse"
            )
        if name in missing.columns if missing is not None else not column.description:
            if asked := outlook.request_for(name):
                return _verdict_of("asked", f"asked: {self._why_asked(column)}{_on_record(asked)}")
            return _verdict_of("not_asked", f"not asked: {self._why_not_asked()}")
        if name in outlook.outcome.copied:
            origin = self._by_lineage(self._node, name) or self._by_twin(column)
            return self._taken(column, "copied", origin)
        if name in outlook.outcome.inherited or name in outlook.replaced:
            return self._taken(column, "inherited", self._by_name(self._node, name))
        if not column.description and (why := self._why_left_out(name)):
            return _verdict_of("not_asked", why)
        place = _place(self._inspection.text_place(self._node.unique_id, name))
        return _verdict_of("has_text", f"has a text{_in(place)}", **place)

    def _why_left_out(self, column: str) -> str:
        """Return why a text that is missing is not asked for; an empty name is the table's own."""
        if self._inspection.is_unknown(self._node.unique_id, column):
            return _UNKNOWN
        reason = self._inspection.why_left_out(self._node.unique_id, column)
        return reason and f"not asked: {reason}"

    def _taken(
        self, column: ColumnEvidence, how: str, origin: tuple[str, str, str] | None
    ) -> dict[str, Any]:
        words = "copied" if how == "copied" else "inherited by dbt-osmosis"
        taken_from = None
        if origin:
            node_id, name, kind = origin
            table = self._evidence(node_id).name
            taken_from = {"node": node_id, "table": table, "column": name}
            words += f" from {table}.{name}" + (f" ({kind})" if how == "copied" else "")
        if column.name in self._outlook.replaced:
            words += ", in place of its own text (force-inherit-descriptions)"
        more = {"from": taken_from}
        if column.description in self._outlook.notes:
            return _verdict_of("waits", f"waits: {words}, once that has a text", then=how, **more)
        return _verdict_of(how, words, **more)

    def _why_not_asked(self) -> str:
        why = self._inspection.why_not_selected(self._node.unique_id)
        return why or str(self._outlook.outcome.error or "the run would stop before")

    def _why_asked(self, column: ColumnEvidence) -> str:
        node, lineage = self._node, self._node.facts.column(column.name)
        if node.sql is None:
            return f"nothing is upstream of a {node.resource_type}"
        if self._inspection.compile_error(node.unique_id):
            return "the model does not compile, which hides where it comes from"
        if lineage is None or lineage.kind is ColumnKind.UNKNOWN:
            return "the SQL does not show for certain where it comes from"
        names = ", ".join(f"{table}.{leaf}" for table, leaf, _ in node.leaves(lineage))
        if lineage.is_plain and names:
            return f"{lineage.kind.value} of {names}{self._why_not_copied(column.name, lineage)}"
        if lineage.kind is ColumnKind.LITERAL:
            return f"a constant, {lineage.expression}"
        how = _COMPUTED.get(lineage.kind, "derived from")
        return f"{how} {names}" if names else "computed from no column"

    def _why_not_copied(self, name: str, lineage: ColumnLineage) -> str:
        if self._outlook.settings.no_copy:
            return "; no text is taken over (--llm-no-copy)"
        leaves = self._node.origins(lineage)
        texts = [table.text_of(leaf) if table else "" for table, leaf in leaves]
        if not any(texts):
            return f", which {'has' if len(texts) == 1 else 'have'} no text"
        if not all(texts) or len({" ".join(text.split()) for text in texts}) > 1:
            return ", which do not have one and the same text"
        # Nothing but the project's settings can be against it.
        if reason := misfits(self._node, [name]).get(name):
            return f", whose text does not fit as it is: {reason}"
        # Nothing but the project's settings can be against it.
        return "; no text is taken over (skip-inherit-descriptions)"

    def _asked_first(self, requests: list[AskedRequest]) -> list[dict[str, Any]]:
        """Return the columns and tables whose texts a prompt lacks because they are asked first."""
        prompts = "\n".join(m.content for asked in requests for m in asked.request.messages)
        asked_first = []
        for note, (node_id, column) in self._outlook.notes.items():
            # A note stands in a prompt where the text will.
            if node_id != self._node.unique_id and note in prompts:
                table = self._evidence(node_id).name
                asked_first.append({"node": node_id, "table": table, "column": column or None})
        return asked_first

    # Where a text comes from

    def _made_of(self, lineage: ColumnLineage | None) -> Iterator[dict[str, Any]]:
        for leaf in lineage.leaves if lineage else ():
            table = self._node.upstream_table(leaf.relation)
            text = table.text_of(leaf.column) if table else ""
            yield {
                "node": table.unique_id if table else None,
                "table": self._node.table_name(leaf.relation),
                "column": leaf.column,
                "text": text or None,
                "text_from": self._chain(table.unique_id, leaf.column) if table and text else [],
            }

    def _chain(self, node_id: str, column: str) -> list[dict[str, Any]]:
        """Return where a text is, and where it was before that, back to its first origin."""
        steps: list[dict[str, Any]] = []
        seen: set[tuple[str, str]] = set()
        how = None
        while (node_id, plain_name(column)) not in seen:
            seen.add((node_id, plain_name(column)))
            node = self._evidence(node_id)
            is_asked = self._is_asked(node, column)
            place = _place(self._inspection.text_place(node_id, column))
            step = {"node": node_id, "table": node.name, "column": column, "how": how}
            steps.append({**step, **place, "asked_first": is_asked})
            before = None if is_asked else self._step_back(node, column)
            if before is None:
                break
            node_id, column, how = before
        return steps

    def _is_asked(self, node: NodeEvidence, column: str) -> bool:
        asked_about = self._outlook.notes.get(_text(node, column))
        return asked_about is not None and asked_about[0] == node.unique_id

    def _step_back(self, node: NodeEvidence, column: str) -> tuple[str, str, str] | None:
        origin = self._by_lineage(node, column)
        # A text that stands in a file is inherited from nowhere any more.
        if origin is None and self._inspection.text_place(node.unique_id, column) is None:
            origin = self._by_name(node, column)
        return origin

    def _by_lineage(self, node: NodeEvidence, column: str) -> tuple[str, str, str] | None:
        """Return the table, the column and the kind of what a column is, where the text is one."""
        lineage, text = node.facts.column(plain_name(column)), _text(node, column).split()
        if lineage is None or not lineage.is_plain or not text:
            return None
        for table, leaf in node.origins(lineage):
            if table and table.text_of(leaf).split() == text:
                return table.unique_id, leaf, lineage.kind.value
        return None

    def _by_twin(self, column: ColumnEvidence) -> tuple[str, str, str] | None:
        """Return the column of another table that is asked for in place of this one."""
        asked = self._outlook.notes.get(column.description)
        if asked is None or asked[0] == self._node.unique_id:
            return None
        return (*asked, "one and the same")

    def _by_name(self, node: NodeEvidence, column: str) -> tuple[str, str, str] | None:
        """Return the nearest table upstream that has a column of this name with this text."""
        text, name = _text(node, column).split(), plain_name(column)
        tables, seen = deque(node.upstream), set()
        while tables and text:
            table = tables.popleft()
            if table.unique_id not in seen:
                seen.add(table.unique_id)
                if table.text_of(name).split() == text:
                    return table.unique_id, name, "same name"
                tables.extend(self._evidence(table.unique_id).upstream)
        return None


def _text(node: NodeEvidence, column: str) -> str:
    wanted = plain_name(column)
    return next((c.description for c in node.columns if plain_name(c.name) == wanted), "")


def _verdict_of(verdict: str, why: str, **more: Any) -> dict[str, Any]:
    return {"verdict": verdict, "why": why, **more}


def _place(place: TextPlace | None) -> dict[str, Any]:
    return {"file": place.file if place else None, "doc": (place.doc or None) if place else None}


def _in(place: Mapping[str, Any]) -> str:
    places = ", ".join(filter(None, (place["file"], place["doc"] and f"doc block {place['doc']}")))
    return f" (in {places})" if places else ""


def _on_record(asked: AskedRequest) -> str:
    return f"; answered before, call {asked.call_id}" if asked.call_id else ""
