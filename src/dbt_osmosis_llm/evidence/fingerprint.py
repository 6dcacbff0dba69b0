"""What a text was written from, in a few characters: when that changes, the text may be wrong.

Only what a column or table *is* counts: its definition, the columns it is made of, its tests and
type. What varies between a developer's schema and production, or from one compilation to the
next, does not.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from dbt_osmosis_llm.evidence.build_values import without_build_values
from dbt_osmosis_llm.evidence.cutting import fit
from dbt_osmosis_llm.evidence.facts import CUT_MARK
from dbt_osmosis_llm.evidence.names import folded, unquoted
from dbt_osmosis_llm.evidence.node import NodeEvidence
from dbt_osmosis_llm.evidence.sql_text import tidy_sql

_MAX_EXPRESSION_CHARS = 240
_HASH_CHARS = 10
_VOLATILE = re.compile(
    r"'(?:\d{4}-\d\d-\d\d[ T]\d\d:\d\d[^']*"  # run_started_at
    r"|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})'",  # invocation_id
    re.IGNORECASE,
)

_DATE = re.compile(r"'\d{4}-\d\d-\d\d(?:[ T][\d:.+Z-]*)?'")
"""Where rows begin and end may be another day each time that macros write the SQL."""

Signature = Callable[[str, str], str]
"""Takes a table's unique id and a column, or an empty name; returns what stands for its text."""


@dataclass(frozen=True)
class Fingerprint:
    """What is known of one text's subject."""

    definition: str
    """Hash of the SQL that makes it."""
    upstream: str
    """Hash of what it is made of: the texts of people, the fingerprints of what has none."""
    tests: str
    expression: str = ""
    """The defining SQL, cut where it is long, for people to compare."""
    data_type: str = ""
    """As the project declares it, empty when it does not."""

    @property
    def evidence(self) -> str:
        """Return the three hashes as one word."""
        return f"{self.definition}.{self.upstream}.{self.tests}"


def text_hash(text: str) -> str:
    """Return what stands for a text, however its lines are broken."""
    return hash_of(" ".join(text.split()))


def hash_of(*parts: object) -> str:
    """Return a short hash of some values, a dash for nothing."""
    if not any(parts):
        return "-"
    whole = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return hashlib.sha256(whole).hexdigest()[:_HASH_CHARS]


def column_fingerprint(node: NodeEvidence, name: str, signature: Signature) -> Fingerprint:
    """Return what a column's text was, or would be, written from.

    Args:
        node: What is known, with the columns that the project declares.
        name: Of the column, as the node has it.
        signature: Of the columns that it is made of.
    """
    column = next((column for column in node.columns if column.name == name), None)
    lineage = node.facts.known_column(unquoted(name))
    leaves = []
    if lineage is None:
        definition, expression = _sql_of(node), ""
        leaves += [f"{t.unique_id}:{text_hash(t.text_of(name))}" for t in node.upstream]
    else:
        expression = _named(node, lineage.expression or "")
        # A new name or type is no new meaning.
        definition = "plain" if lineage.is_plain else _normal(expression)
        if expression.endswith(CUT_MARK):
            definition += _sql_of(node)  # the rest of it may be what changed
        definition += _rows(node, lineage.rows)
        for leaf in lineage.leaves:
            table = node.upstream_table(leaf.relation)
            place = table.unique_id if table else folded(leaf.relation.rpartition(".")[2])
            text = signature(place, leaf.column) if table else ""
            leaves.append(f"{place}.{folded(leaf.column)}:{text}")
    return Fingerprint(
        hash_of(definition),
        hash_of(*sorted(leaves)),
        hash_of(*sorted(column.tests if column else ())),
        fit(expression, _MAX_EXPRESSION_CHARS),
        " ".join((column.data_type or "").split()) if column else "",
    )


def table_fingerprint(node: NodeEvidence) -> Fingerprint:
    """Return what a table's text was, or would be, written from.

    A change of one column's expression is none: a table's text says what its rows are.
    """
    facts = node.facts
    upstream = [f"{table.unique_id}:{text_hash(table.description)}" for table in node.upstream]
    if not facts.columns:
        return Fingerprint(
            hash_of(_sql_of(node)), hash_of(*sorted(upstream)), hash_of(*sorted(node.tests))
        )
    return Fingerprint(
        hash_of(_rows(node, facts.rows)),
        hash_of(*sorted(upstream)),
        hash_of(*sorted(node.tests)),
        fit("; ".join(_rows_of(node)), _MAX_EXPRESSION_CHARS),
    )


def _rows(node: NodeEvidence, text: str) -> str:
    return _normal(_DATE.sub("''", _named(node, text))) if text else ""


def _rows_of(node: NodeEvidence) -> list[str]:
    """Return what decides which rows a table has, for people to compare."""
    facts = node.facts
    joins = [f"{j.kind} {node.table_name(j.relation)} {j.condition or ''}" for j in facts.joins]
    return [
        *(_named(node, text) for text in (*joins, *facts.filters, *facts.groupings)),
        *facts.set_operations,
        *(["distinct"] if facts.distinct else ()),
    ]


def _sql_of(node: NodeEvidence) -> str:
    # Without what names the target's database and schema.
    return _normal(_named(node, tidy_sql(node.sql or "")).replace('"', "").replace("`", ""))


def _named(node: NodeEvidence, sql: str) -> str:
    """Return SQL with tables as people call them, wherever and with whatever they are built."""
    for table in node.upstream:
        if "." in table.relation:
            pattern = r'["`]?\.["`]?'.join(map(re.escape, table.relation.split(".")))
            sql = re.sub(rf'["`]?{pattern}["`]?', table.name, sql, flags=re.IGNORECASE)
    sql = without_build_values(" ".join(sql.split()), node.build_values)
    return _VOLATILE.sub("''", sql)


def _normal(sql: str) -> str:
    """Return SQL without what its printer may choose: blanks, and the case of words."""
    parts = re.split(r"('(?:[^']|'')*')", sql)
    return "".join(
        part if index % 2 else re.sub(r"\s+", "", part).lower() for index, part in enumerate(parts)
    )
