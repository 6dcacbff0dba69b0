"""What expressions are where a joined relation has no row, and where filters fix their columns.

SQL's three values of logic for the few forms that people write; of anything else nothing is said.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from dbt_osmosis_llm.evidence.lineage.relation import TAG, Definition, Part, Shape
from dbt_osmosis_llm.evidence.lineage.syntax import conjuncts, core_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dbt_osmosis_llm.evidence.lineage.relation import Entry

NULL = exp.Null()
_TRUE, _FALSE = exp.Boolean(this=True), exp.Boolean(this=False)
_MAX_ENTRIES = 4
"""Joined relations looked at for one column."""
_MAX_DEPTH = 200

_STRICT = (
    exp.Abs,
    exp.Add,
    exp.Cast,
    exp.Ceil,
    exp.Date,
    exp.DateAdd,
    exp.DateDiff,
    exp.DateSub,
    exp.DateTrunc,
    exp.Div,
    exp.Extract,
    exp.Floor,
    exp.GT,
    exp.GTE,
    exp.LT,
    exp.LTE,
    exp.Like,
    exp.Lower,
    exp.Mod,
    exp.Mul,
    exp.Neg,
    exp.Round,
    exp.Sub,
    exp.Substring,
    exp.TimestampTrunc,
    exp.Trim,
    exp.TryCast,
    exp.Upper,
)
"""Null where one of their arguments is."""
_COMPARED: dict[type[Any], Callable[[float, float], bool]] = {
    exp.GT: operator.gt,
    exp.GTE: operator.ge,
    exp.LT: operator.lt,
    exp.LTE: operator.le,
}
_OF_NO_VALUES = (exp.Avg, exp.Max, exp.Min, exp.Sum)
"""Aggregates that are null where all values are."""

Value = exp.Expr
"""A literal, a boolean or `NULL`; None where nothing is known."""


class _Evaluator:
    """Evaluates expressions of which some columns are known.

    Args:
        known: Returns the value of a column's definition, None where it is not known.
    """

    def __init__(self, known: Callable[[Definition], Value | None]) -> None:
        self._known = known
        self._depth = 0

    def definition(self, definition: Definition) -> Value | None:
        """The value of a column."""
        at: Definition | None = definition
        while at is not None:
            if (value := self._known(at)) is not None:
                return value
            definition, at = at, at.base
        if definition.shape is Shape.UNION or definition.local is None or definition.too_deep:
            return None
        return self.node(definition.local)

    def node(self, node: exp.Expr) -> Value | None:
        """The value of an expression."""
        if self._depth >= _MAX_DEPTH:
            return None
        self._depth += 1
        try:
            return self._value(core_of(node))
        finally:
            self._depth -= 1

    def _value(self, node: exp.Expr) -> Value | None:  # one form each
        if isinstance(node, exp.Column):
            definition = node.meta.get(TAG)
            return self.definition(definition) if definition is not None else None
        if isinstance(node, (exp.Literal, exp.Null, exp.Boolean)):
            return node
        if isinstance(node, exp.Coalesce):
            return self._first([node.this, *node.expressions])
        if isinstance(node, exp.Is):
            return self._is(node)
        if isinstance(node, exp.Not):
            return _not(self.node(node.this))
        if isinstance(node, (exp.And, exp.Or)):
            return self._connected(node)
        if isinstance(node, exp.Case):
            return self._case(node)
        if isinstance(node, exp.If):
            condition = self.node(node.this)
            if condition is None:
                return None
            chosen = _truth(condition)
            branch = node.args.get("true" if chosen else "false")
            return self.node(branch) if branch is not None else NULL
        if isinstance(node, (exp.EQ, exp.NEQ)):
            value = _equal(self.node(node.this), [self.node(node.expression)])
            return _not(value) if isinstance(node, exp.NEQ) else value
        if isinstance(node, exp.In):
            value = self.node(node.this)
            is_list = not (node.args.get("query") or node.args.get("unnest"))
            others = [self.node(other) for other in node.expressions] if is_list else [None]
            return _equal(value, others)
        if isinstance(node, exp.Count):
            is_null = not isinstance(node.this, exp.Star) and _is_null(self.node(node.this))
            return exp.Literal.number(0) if is_null else None
        if isinstance(node, exp.Distinct) and len(node.expressions) == 1:
            return self.node(node.expressions[0])
        if isinstance(node, _OF_NO_VALUES):
            return NULL if _is_null(self.node(node.this)) else None
        if type(node) in _COMPARED:
            sides = [self.node(node.this), self.node(node.expression)]
            if all(isinstance(side, exp.Literal) and not side.is_string for side in sides):
                one, other = (float(str(side.this)) for side in sides if side is not None)
                return _TRUE if _COMPARED[type(node)](one, other) else _FALSE
        if type(node) in _STRICT:
            arguments = [n for n in node.iter_expressions() if not isinstance(n, exp.DataType)]
            return NULL if any(_is_null(self.node(argument)) for argument in arguments) else None
        return None

    def _first(self, nodes: list[exp.Expr]) -> Value | None:
        for node in nodes:
            value = self.node(node)
            if not _is_null(value):
                return value
        return NULL

    def _is(self, node: exp.Expr) -> Value | None:
        value = self.node(node.this)
        if value is None:
            return None
        if isinstance(node.expression, exp.Null):
            return _TRUE if _is_null(value) else _FALSE
        if isinstance(node.expression, exp.Boolean):
            is_same = isinstance(value, exp.Boolean) and value.this is node.expression.this
            return _TRUE if is_same else _FALSE
        return None

    def _connected(self, node: exp.Expr) -> Value | None:
        values = [self.node(node.this), self.node(node.expression)]
        deciding = isinstance(node, exp.Or)
        if any(isinstance(value, exp.Boolean) and value.this is deciding for value in values):
            return _TRUE if deciding else _FALSE
        if None in values:
            return None
        return NULL if any(map(_is_null, values)) else (_FALSE if deciding else _TRUE)

    def _case(self, node: exp.Expr) -> Value | None:
        for branch in node.args.get("ifs") or ():
            condition = self.node(branch.this)
            if node.this is not None:
                condition = _equal(self.node(node.this), [condition])
            if condition is None:
                return None
            if _truth(condition):
                return self.node(branch.args["true"])
        default = node.args.get("default")
        return self.node(default) if default is not None else NULL


def _equal(value: Value | None, others: Sequence[Value | None]) -> Value | None:
    """Whether a value is one of some."""
    if _is_null(value) or (len(others) == 1 and _is_null(others[0])):
        return NULL
    if value is None or any(other is None or _is_null(other) for other in others):
        return None
    return _TRUE if value in others else _FALSE


def _is_null(value: Value | None) -> bool:
    return isinstance(value, exp.Null)


def _not(value: Value | None) -> Value | None:
    if isinstance(value, exp.Boolean):
        return _FALSE if value.this else _TRUE
    return value if _is_null(value) else None


def _truth(value: Value) -> bool:
    """Whether a condition with this value holds: one that is null does not."""
    return isinstance(value, exp.Boolean) and bool(value.this)


def _without(entry: Entry) -> _Evaluator:
    """Evaluates where a joined relation has no row."""
    return _Evaluator(lambda definition: NULL if definition.entry is entry else None)


def settle(part: Part) -> None:
    """Take those joins of a query for inner ones that its filters make so."""
    for entry in part.entries:
        if not entry.is_optional:
            continue
        conditions = list(part.filters)
        for join in part.joins:
            if join.condition is not None and join.kind in ("inner", "join"):
                conditions += conjuncts(join.condition)
        evaluator = _without(entry)
        values = map(evaluator.node, conditions)
        entry.is_optional = not any(
            isinstance(value, (exp.Null, exp.Boolean)) and not _truth(value) for value in values
        )


def absences(definition: Definition) -> Iterator[tuple[Entry, Value]]:
    """What a column is where a joined relation has no row, for each of which that is known."""
    for entry in _optional_entries(definition):
        value = _without(entry).definition(definition)
        if value is not None:
            yield entry, value


def _optional_entries(definition: Definition) -> list[Entry]:
    found: dict[Entry, None] = {}
    seen: set[Definition] = set()
    stack = [definition]
    while stack and len(found) < _MAX_ENTRIES:
        at = stack.pop()
        if at in seen:
            continue
        seen.add(at)
        if at.entry is not None and at.entry.is_optional:
            found[at.entry] = None
        if at.base is not None:
            stack.append(at.base)
        elif at.local is not None and not at.too_deep:
            columns = at.local.find_all(exp.Column)
            stack += [column.meta[TAG] for column in columns if TAG in column.meta]
    return list(found)


def fixed(definition: Definition, values: Mapping[Definition, Value]) -> Value | None:
    """The value of a column where filters fix the columns that it is made of.

    Args:
        definition: Of the column.
        values: By the origin of each fixed column.
    """
    return _Evaluator(lambda at: values.get(at) if at.base is None else None).definition(definition)
