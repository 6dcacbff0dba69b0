"""SQL printed on one line, every column replaced by what it is made of.

What would pass the limit is given up at once, and the expression as written stands for it: with
every CTE the text could double, and half of it would tell nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlglot import exp
from sqlglot.errors import ErrorLevel

from dbt_osmosis_llm.evidence.cutting import fit, fit_sql
from dbt_osmosis_llm.evidence.facts import CUT_MARK
from dbt_osmosis_llm.evidence.lineage.relation import TAG, Definition, Shape
from dbt_osmosis_llm.evidence.lineage.syntax import core_of
from dbt_osmosis_llm.evidence.names import folded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlglot.dialects.dialect import Dialect

    from dbt_osmosis_llm.evidence.facts import Leaf

MAX_EXPRESSION_LENGTH = 600
_MAX_NOTE_LENGTH = 80
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*\Z")


class _TooLongError(Exception):
    """The text of an expression would pass the limit."""


class Writer:
    """Prints expressions with every column replaced by what it is made of.

    Args:
        dialect: Of sqlglot.
        name_of: Returns what a column of a table is called.
        tells_apart: Say of which join's rows a column is, and of which query's an aggregate, where
            that is not to be seen otherwise.
    """

    def __init__(
        self, dialect: Dialect, name_of: Callable[[Leaf], str], *, tells_apart: bool = False
    ) -> None:
        self._dialect = dialect
        self._name_of = name_of
        self._tells_apart = tells_apart
        self._texts: dict[Definition, str | None] = {}

    def text(self, definition: Definition) -> str | None:
        """The resolved text; None if it is too long or too deep."""
        if definition not in self._texts:
            try:
                self._texts[definition] = self._resolved(definition)
            except (_TooLongError, RecursionError):  # a chain of CTEs has no limit, the stack has
                self._texts[definition] = None
        return self._texts[definition]

    def _resolved(self, definition: Definition) -> str:
        if definition.shape is Shape.COLUMN:
            leaf = definition.leaves[0]
            repeated = (entry.name for entry in definition.entries if entry.is_repeated)
            if self._tells_apart and (qualifier := next(repeated, "")):
                return f"{quoted(qualifier, self._dialect)}.{quoted(leaf.column, self._dialect)}"
            return self._name_of(leaf)
        if definition.shape is Shape.UNION:
            texts = [self.text(branch) for branch in definition.branches]
            unique = dict.fromkeys(text for text in texts if text is not None)
            if None in texts:
                raise _TooLongError
            return _limited(_united(definition, unique))
        if definition.local is None or definition.too_deep:
            raise _TooLongError
        return self.resolved(definition.local)

    def resolved(self, node: exp.Expr) -> str:
        """The text of a node, its tagged columns replaced."""
        node = core_of(node)
        if isinstance(node, exp.Column) and TAG in node.meta:
            text = self.text(node.meta[TAG])
            if text is None:
                raise _TooLongError
            return text
        copy = node.copy()
        columns = [column for column in copy.find_all(exp.Column) if TAG in column.meta]
        notes = self._notes([column.meta[TAG] for column in columns])
        for column in columns:
            definition = column.meta[TAG]
            if not definition.inline:
                column.replace(exp.Column(this=column.this))
                continue
            text = self.text(definition)
            if text is None:
                raise _TooLongError
            if _needs_parentheses(definition, column.parent):
                text = f"({text})"
            if note := notes.get(definition):
                text = f"{text} /* {note} */"
            column.replace(exp.Column(this=exp.Var(this=text)))
        return _limited(self._printed(copy))

    def _notes(self, definitions: Sequence[Definition]) -> dict[Definition, str]:
        """What tells definitions apart that print the same and are not."""
        if not self._tells_apart or len(definitions) < 2:
            return {}
        alike: dict[str | None, set[Definition]] = {}
        for definition in definitions:
            if definition.shape is not Shape.COLUMN and definition.inline:
                alike.setdefault(self.text(definition), set()).add(definition)
        return {
            definition: self._rows_of(definition)
            for same in alike.values()
            if len({definition.origin for definition in same}) > 1
            for definition in same
        }

    def _rows_of(self, definition: Definition) -> str:
        """Of which query's rows a definition is."""
        parts = [part for part in definition.over if part.name] or [
            entry.rows.part for entry in definition.entries if entry.rows.part is not None
        ]
        filters = [self.local(node) for part in parts[:1] for node in part.filters]
        where = [f"where {' AND '.join(filters)}"] if filters else []
        return fit_sql(
            " ".join([*(part.name for part in parts[:1]), *where]), _MAX_NOTE_LENGTH, " ..."
        )

    def cut(self, definition: Definition) -> str | None:
        """The resolved text if it is short enough, else as written; None if it is too deep."""
        text = self.text(definition)
        if text is not None or definition.too_deep:
            return text
        if definition.shape is Shape.UNION:
            texts = dict.fromkeys(self.cut(branch) or "..." for branch in definition.branches)
            return _fitted(_united(definition, texts))
        return self.local(definition.local) if definition.local is not None else None

    def local(self, node: exp.Expr) -> str:
        """The text of a node as written, cut to the limit."""
        return _fitted(self._printed(core_of(node).copy()))

    def whole(self, node: exp.Expr) -> str:
        """The resolved text of a node, or as written if that is too long; never cut.

        Empty when the stack does not reach to print it.
        """
        try:
            try:
                return self.resolved(node)
            except _TooLongError:
                return self._printed(core_of(node).copy())
        except RecursionError:
            return ""

    def best(self, node: exp.Expr) -> str | None:
        """The resolved text of a node if it is short enough, else the text as written.

        None when the stack does not reach to print it.
        """
        try:
            try:
                return self.resolved(node)
            except _TooLongError:
                return self.local(node)
        except RecursionError:
            return None

    def _printed(self, node: exp.Expr) -> str:
        for identifier in node.find_all(exp.Identifier):
            if identifier.args.get("quoted") and _PLAIN_NAME.match(str(identifier.this)):
                identifier.set("quoted", False)
        for table in node.find_all(exp.Table):
            table.set("db", None)
            table.set("catalog", None)
        text = node.sql(
            dialect=self._dialect,
            comments=False,
            normalize_functions=False,
            unsupported_level=ErrorLevel.IGNORE,
        )
        return " ".join(str(text).split())


def _united(definition: Definition, branches: Iterable[str]) -> str:
    return f" {definition.operator.upper()} ".join(branches)


def _limited(text: str) -> str:
    if len(text) > MAX_EXPRESSION_LENGTH:
        raise _TooLongError
    return text


def _fitted(text: str) -> str:
    return fit(text, MAX_EXPRESSION_LENGTH, CUT_MARK)


def _needs_parentheses(definition: Definition, above: exp.Expr | None) -> bool:
    """Whether operators around it would tear a definition's text apart."""
    if definition.shape is Shape.COLUMN or definition.local is None:
        return False
    inner = core_of(definition.local)
    operators = (exp.Binary, exp.Unary, exp.Between, exp.In, exp.Interval, exp.AtTimeZone)
    if not isinstance(inner, operators) or isinstance(inner, (exp.Paren, exp.Dot)):
        return False
    if isinstance(above, exp.Func) and not isinstance(above, (exp.Binary, exp.Connector)):
        # Date arithmetic is a function to sqlglot that some dialects write with an operator.
        return any(word in type(above).__name__ for word in ("Add", "Sub", "Diff"))
    closed = (exp.Paren, exp.Alias, exp.Tuple, exp.Ordered, exp.Distinct, exp.If, exp.Case)
    return not isinstance(above, (*closed, exp.Window, exp.Kwarg))


def leaf_name(relations: Sequence[str], dialect: Dialect) -> Callable[[Leaf], str]:
    """Return a function that names columns, with their tables where there are several."""
    bare = [folded(relation.rpartition(".")[2]) for relation in relations]

    def name_of(leaf: Leaf) -> str:
        column = quoted(leaf.column, dialect)
        if len(relations) < 2:
            return column
        table = leaf.relation.rpartition(".")[2]
        if bare.count(folded(table)) > 1:
            return f"{leaf.relation}.{column}"
        return f"{quoted(table, dialect)}.{column}"

    return name_of


def quoted(name: str, dialect: Dialect) -> str:
    """Return a name as SQL has it: in quotes where it needs them."""
    if _PLAIN_NAME.match(name):
        return name
    return str(exp.to_identifier(name, quoted=True).sql(dialect=dialect))
