"""What expressions are where a joined relation has no row, and where filters fix their columns.

SQL's three values of logic for the few forms that people write; of anything else nothing is said.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from dbt_osmosis_llm.evidence.facts import MARKER
from dbt_osmosis_llm.evidence.lineage.relation import TAG, Definition, Part, Shape
from dbt_osmosis_llm.evidence.lineage.syntax import conjuncts, core_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dbt_osmosis_llm.evidence.lineage.relation import Entry

    Value = exp.Expr
    """A literal, a boolean or `NULL`; None where nothing is known."""

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
_TOTALS = (exp.Cube, exp.GroupingSets, exp.Rollup)
_OF_NO_VALUES = (exp.Avg, exp.Max, exp.Min, exp.Sum)
"""Aggregates that are null where all values are."""


class _Evaluator:
    """Evaluates expressions of which some columns are known.

    Args:
        known: Returns the value of a column's definition, None where it is not known.
    """

    def __init__(self, known: Callable[[Definition], Value | None]) -> None:
        self._known = known
        self._depth = 0
        self._made: dict[tuple[object, Definition], Value | None] = {}

    def definition(self, definition: Definition) -> Value | None:
        """The value of a column."""
        at: Definition | None = definition
        may_be_null = False  # by a relation that is joined as well, with rows without a partner
        while at is not None:
            if (value := self._known(at)) is not None:
                return value
            may_be_null = may_be_null or (at.entry is not None and at.entry.is_optional)
            definition, at = at, at.base
        value = self.made(definition)
        return None if may_be_null and not _is_null(value) else value

    def made(self, definition: Definition, where: object = None) -> Value | None:
        """The value of a column by the expression that makes it, found once for each place."""
        if definition.shape is Shape.UNION or definition.local is None or definition.too_deep:
            return None
        key = (where, definition)
        if key not in self._made:
            self._made[key] = self.node(definition.local)
        return self._made[key]

    def node(self, node: exp.Expr) -> Value | None:
        """The value of an expression."""
        if self._depth >= _MAX_DEPTH:
            return None
        self._depth += 1
        try:
            return self._value(core_of(node))
        finally:
            self._depth -= 1

    def rejects(self, condition: exp.Expr) -> bool:
        """Whether a condition does not hold."""
        condition = core_of(condition)
        value = self.node(condition)
        if value is None and isinstance(condition, exp.In):  # false or null, by what is in the list
            return _is_null(self.node(condition.this))
        return _is_truth_value(value) and not _holds(value)

    def _value(self, node: exp.Expr) -> Value | None:
        # `x is not null` is a NOT around it to some dialects, and a mark on it to others.
        value = self._positive(node)
        return _not(value) if node.args.get("negate") else value

    def _positive(self, node: exp.Expr) -> Value | None:  # one form each
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
            if not _is_truth_value(condition):
                return None
            branch = node.args.get("true" if _holds(condition) else "false")
            return self.node(branch) if branch is not None else NULL
        if isinstance(node, (exp.EQ, exp.NEQ)):
            value = _equal(self.node(node.this), [self.node(node.expression)])
            return _not(value) if isinstance(node, exp.NEQ) else value
        if isinstance(node, exp.In):
            if not node.expressions:  # of a query or an array, which may be empty
                return None
            others = [self.node(other) for other in node.expressions]
            return _equal(self.node(node.this), others)
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
                one, other = (_number(side) for side in sides if side is not None)
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
        if isinstance(node.expression, exp.Boolean) and _is_truth_value(value):
            is_same = isinstance(value, exp.Boolean) and value.this is node.expression.this
            return _TRUE if is_same else _FALSE
        return None

    def _connected(self, node: exp.Expr) -> Value | None:
        values = [self.node(node.this), self.node(node.expression)]
        deciding = isinstance(node, exp.Or)
        if any(isinstance(value, exp.Boolean) and value.this is deciding for value in values):
            return _TRUE if deciding else _FALSE
        if not all(map(_is_truth_value, values)):
            return None
        return NULL if any(map(_is_null, values)) else (_FALSE if deciding else _TRUE)

    def _case(self, node: exp.Expr) -> Value | None:
        for branch in node.args.get("ifs") or ():
            condition = self.node(branch.this)
            if node.this is not None:
                condition = _equal(self.node(node.this), [condition])
            if not _is_truth_value(condition):
                return None
            if _holds(condition):
                return self.node(branch.args["true"])
        default = node.args.get("default")
        return self.node(default) if default is not None else NULL


def _equal(value: Value | None, others: Sequence[Value | None]) -> Value | None:
    """Whether a value is one of some."""
    if _is_null(value) or (len(others) == 1 and _is_null(others[0])):
        return NULL
    answers = [_is_same(value, other) for other in others]
    if True in answers:
        return _TRUE
    return None if None in answers else _FALSE


def _is_same(one: Value | None, other: Value | None) -> bool | None:
    """Whether two values are the same, whatever the database's collation; None if that decides."""
    if isinstance(one, exp.Boolean) and isinstance(other, exp.Boolean):
        return bool(one.this) is bool(other.this)
    if not (isinstance(one, exp.Literal) and isinstance(other, exp.Literal)):
        return None
    if one.is_string is not other.is_string:
        return None
    if not one.is_string:
        return _number(one) == _number(other)
    texts = str(one.this), str(other.this)
    if any(MARKER in text for text in texts):  # of which nobody knows what it is
        return None
    alike = texts[0].casefold().strip() == texts[1].casefold().strip()
    return True if texts[0] == texts[1] else None if alike else False


def _number(literal: exp.Expr) -> float:
    try:
        return float(str(literal.this))
    except ValueError:  # of a dialect's own spelling
        return math.nan


def _is_null(value: Value | None) -> bool:
    return isinstance(value, exp.Null)


def _not(value: Value | None) -> Value | None:
    if isinstance(value, exp.Boolean):
        return _FALSE if value.this else _TRUE
    return value if _is_null(value) else None


def _is_truth_value(value: Value | None) -> bool:
    """Whether a condition's value is known: some databases take numbers for conditions."""
    return isinstance(value, (exp.Boolean, exp.Null))


def _holds(value: Value | None) -> bool:
    """Whether a condition with this value holds: one that is null does not."""
    return isinstance(value, exp.Boolean) and bool(value.this)


def _without(entry: Entry) -> _Evaluator:
    """Evaluates where a joined relation has no row."""
    return _Evaluator(lambda definition: NULL if definition.entry is entry else None)


class Fixing(_Evaluator):
    """Evaluates columns of a query by the values that filters leave to some.

    A column is the same one only as far as no join stands between: a table that is read twice has
    one filter for its rows here and none for those there.

    Args:
        part: The query.
        fixing: Gives the columns that a filter leaves one value, and that value.
    """

    def __init__(
        self, part: Part | None, fixing: Callable[[exp.Expr], Iterable[tuple[Definition, Value]]]
    ) -> None:
        super().__init__(lambda _: None)
        self._at = part
        self._fixing = fixing
        self._seen: dict[Part, tuple[dict[Definition, Value], list[Entry]]] = {}

    def definition(self, definition: Definition) -> Value | None:
        """The value of a column."""
        before = self._at
        try:
            while self._at is not None:
                values, entries = self._here(self._at)
                if (value := values.get(definition)) is not None:
                    return value
                if definition.base is None or definition.entry is None:
                    return self.made(definition, self._at)
                if definition.entry.is_optional or definition.entry not in entries:
                    return None
                self._at, definition = definition.entry.rows.part, definition.base
            return None
        finally:
            self._at = before

    def _here(self, part: Part) -> tuple[dict[Definition, Value], list[Entry]]:
        if part not in self._seen:
            parts = unjoined(part)
            values = {
                definition: value
                for at in reversed(parts)
                for node in at.filters
                for definition, value in self._fixing(node)
            }
            self._seen[part] = (values, parts[-1].entries) if parts else ({}, [])
        return self._seen[part]


def unjoined(part: Part) -> list[Part]:
    """A query and those whose rows it reads up to the first that joins, each the only source.

    Empty where one gives rows of totals, whose columns are null whatever the filters.
    """
    parts = [part]
    while not parts[-1].entries and len(parts[-1].children) == 1 and not parts[-1].operators:
        parts.append(parts[-1].children[0])
    if parts[-1].operators:
        parts.pop()
    return [] if any(map(_has_totals, parts)) else parts


def _has_totals(part: Part) -> bool:
    group = part.group
    if group is None:
        return False
    by_version = any(isinstance(node, _TOTALS) for node in group.expressions)
    return by_version or any(map(group.args.get, ("rollup", "cube", "grouping_sets", "totals")))


def settled_above(part: Part | None) -> set[Entry]:
    """The joined relations whose rows without a partner are filtered out by a later query."""
    parts = unjoined(part) if part is not None else []
    conditions = [node for at in parts[:-1] for node in at.filters]
    optional = [entry for entry in parts[-1].entries if entry.is_optional] if conditions else []
    return {entry for entry in optional if any(map(_without(entry).rejects, conditions))}


def settle(part: Part) -> None:
    """Take those joins of a query for inner ones that its filters make so."""
    for entry in part.entries:
        if not entry.is_optional:
            continue
        conditions = list(part.filters)
        for join in part.joins[entry.optional_since + 1 :]:  # those before may have lost their rows
            if join.condition is not None and join.kind in ("inner", "join"):
                conditions += conjuncts(join.condition)
        evaluator = _without(entry)
        entry.is_optional = not any(map(evaluator.rejects, conditions))


def absences(definition: Definition) -> Iterator[tuple[Entry, Value]]:
    """What a column is where a joined relation has no row, for each of which that is known."""
    for entry in _optional_entries(definition):
        value = _without(entry).definition(definition)
        if value is not None:
            yield entry, value


def _optional_entries(definition: Definition) -> list[Entry]:
    """The optional relations behind a column, but for what it reads on two ways.

    A query that is joined twice has a row without a partner here, and another one there.
    """
    found: dict[Entry, None] = {}
    twice: set[Entry] = set()
    ways: dict[Definition, tuple[Entry, ...] | None] = {}
    stack: list[tuple[Definition, tuple[Entry, ...] | None]] = [(definition, ())]
    while stack and len(found) < _MAX_ENTRIES:
        at, way = stack.pop()
        if at in ways:
            if ways[at] == way or ways[at] is None:
                continue
            way = None
        ways[at] = way
        if at.entry is not None and at.entry.is_optional:
            found[at.entry] = None
            if way is None:
                twice.add(at.entry)
        if at.base is not None and at.entry is not None:
            stack.append((at.base, None if way is None else (*way, at.entry)))
        elif at.local is not None and not at.too_deep:
            columns = at.local.find_all(exp.Column)
            stack += [(column.meta[TAG], way) for column in columns if TAG in column.meta]
    return [entry for entry in found if entry not in twice]
