"""How a column stands in its table: through which joins it came, when it is empty, what fixes it.

And the steps by which a query makes its rows, each in its own names: what a reader would look up in
the SQL to know whose a column is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from dbt_osmosis_llm.evidence.cutting import fit_sql
from dbt_osmosis_llm.evidence.facts import (
    CUT_MARK,
    Absence,
    Equality,
    Join,
    Passage,
    Restriction,
    Step,
)
from dbt_osmosis_llm.evidence.lineage.absence import Fixing, absences, settled_above
from dbt_osmosis_llm.evidence.lineage.grain import (
    aggregates,
    first_of_each,
    group_keys,
    is_wrapper,
    reached,
    unique,
)
from dbt_osmosis_llm.evidence.lineage.relation import TAG, Definition, Shape
from dbt_osmosis_llm.evidence.lineage.syntax import conjuncts, core_of
from dbt_osmosis_llm.evidence.sql_text import as_people_write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dbt_osmosis_llm.evidence.lineage.absence import Value
    from dbt_osmosis_llm.evidence.lineage.printing import Writer
    from dbt_osmosis_llm.evidence.lineage.relation import Entry, Part, Rows

_MAX_CONDITION_LENGTH = 240
_CASTS = (exp.Cast, exp.TryCast, exp.CastToStrType)


class Standing:
    """Says how the columns of one query stand in it.

    Args:
        part: The query.
        writer: Prints expressions.
    """

    def __init__(self, part: Part | None, writer: Writer) -> None:
        self._part = part
        self._writer = writer
        self._passages: dict[Entry, Passage] = {}
        self._filters = list(own_filters(part))
        self._fixed = Fixing(part, _fixing)
        self._settled = settled_above(part)
        self._own = {part, *_passing_on(part)}
        parts = list(reached(part))
        filters = (node for at in parts for node in at.filters)
        self._has_fixed = any(pair for node in filters for pair in _fixing(node))
        self._has_optional = any(entry.is_optional for at in parts for entry in at.entries)
        texts = ((node, writer.best(node)) for node in self._filters)
        self._texts = [(node, as_people_write(text)) for node, text in texts if text]

    def passages(self, definition: Definition) -> tuple[Passage, ...]:
        """The joined relations through which a column comes."""
        found = [
            self._passage(entry)
            for entry in definition.entries
            if entry.joined is not None or entry.is_optional
        ]
        branches = list(_branches(definition.origin))
        if len(branches) > 1:  # rows of the others do not come through the joins of one
            first, *others = map(self.passages, branches)
            found += [passage for passage in first if all(passage in other for other in others)]
        return tuple(dict.fromkeys(found))

    def absences(self, definition: Definition) -> tuple[Absence, ...]:
        """What a column is where a joined relation has no row."""
        if not self._has_optional:
            return ()
        return tuple(
            Absence(self._passage(entry), self._writer.local(value))
            for entry, value in absences(definition)
            if entry not in self._settled
        )

    def casts(self, definition: Definition) -> tuple[str, ...]:
        """The types that a column is cast to, inner ones first."""
        types: list[tuple[str, ...]] = []
        for branch in _branches(definition.origin):
            at: Definition | None = branch
            of_branch: list[str] = []
            while at is not None and at.shape is Shape.CAST and at.local is not None:
                node = core_of(at.local)
                while type(node) in _CASTS:
                    if isinstance(target := node.args.get("to"), exp.DataType):
                        of_branch.append(self._writer.local(target))
                    node = core_of(node.this)
                at = node.meta.get(TAG)
            types.append(tuple(reversed(of_branch)))
        return types[0] if all(one == types[0] for one in types) else ()

    def fixed(self, definition: Definition) -> str:
        """The literal that a column always is, by the filters of its query."""
        if not self._has_fixed or definition.shape is Shape.CONSTANT:
            return ""
        value = self._fixed.definition(definition)
        return self._writer.local(value) if value is not None else ""

    def over(self, definition: Definition) -> tuple[str, ...]:
        """The names of the queries over whose rows aggregates are taken, but for the outermost."""
        names = (part.name for part in definition.over if part not in self._own)
        return tuple(dict.fromkeys(filter(None, names)))

    def restrictions(self) -> Iterator[Restriction]:
        """The filters on single columns that all rows have passed."""
        for node, text in self._texts:
            yield from self._restriction(node, text)

    def _restriction(self, node: exp.Expr, text: str) -> Iterator[Restriction]:
        definitions = {c.meta[TAG] for c in node.find_all(exp.Column) if TAG in c.meta}
        if len(definitions) == 1 and (leaves := definitions.pop().leaves):
            values = (str(literal.this) for literal in node.find_all(exp.Literal))
            yield Restriction(text, leaves, tuple(dict.fromkeys(values)))

    def filters(self) -> tuple[str, ...]:
        """The filters that all rows have passed."""
        return unique(text for _, text in self._texts)

    def inner_restrictions(self) -> Iterator[Restriction]:
        """The filters on single columns of tables that not all rows have passed."""
        own = set(self._filters)
        for part in reached(self._part):
            for node in part.filters:
                if node not in own and (text := self._writer.best(node)):
                    yield from self._restriction(node, as_people_write(text))

    def equalities(self) -> Iterator[Equality]:
        """The columns of tables that are joined with each other."""
        for part in reached(self._part):
            for join in part.joins:
                for node in conjuncts(join.condition) if join.condition is not None else ():
                    if not isinstance(node, exp.EQ):
                        continue
                    sides = (core_of(node.this), core_of(node.expression))
                    found = [side.meta[TAG] for side in sides if TAG in side.meta]
                    if len(found) == 2 and all(d.is_plain and len(d.leaves) == 1 for d in found):
                        aliases = (
                            next((e.name for e in d.entries if e.has_alias), "") for d in found
                        )
                        (one,), (other,) = (definition.leaves for definition in found)
                        yield Equality(one, other, *aliases)

    def steps(self) -> Iterator[Step]:
        """The queries that do more than passing rows on."""
        for part in reached(self._part):
            if _passes_on(part) or not (part.children or part.relations):
                continue
            others = list(dict.fromkeys(part.operators))
            for clause in ("distinct", "limit"):
                node = part.select.args.get(clause) if part.select is not None else None
                others += [self._writer.local(node)] if node else []
            yield Step(
                part.name,
                tuple(self._sources(part)),
                unique(map(self._short, part.filters)),
                tuple(self._keys(part)),
                tuple(others),
            )

    def _keys(self, part: Part) -> list[str]:
        """What a query groups by, as it calls it."""
        known = {self._writer.text(d): name for d, name in _named(part) if name}
        return [known.get(text, text) for text in group_keys(part, self._writer)]

    def _sources(self, part: Part) -> Iterator[Join]:
        if part.entries:
            for entry in part.entries:
                passage = self._passage(entry)
                alias = entry.name if entry.name.lower() != _last(passage.relation) else ""
                yield Join(passage.kind, passage.relation, passage.condition or None, alias)
            return
        for child in part.children:
            if label := _label(child):  # else it is a step without a name
                yield Join("", label, None)
        for relation in part.relations:
            yield Join("", relation, None)

    def _passage(self, entry: Entry) -> Passage:
        if entry not in self._passages:
            joined = entry.joined
            condition = ""
            if joined is not None:
                condition = self._short(joined.condition) if joined.condition else joined.using
            self._passages[entry] = Passage(
                entry.name,
                _relation(entry.rows) or entry.name,
                joined.kind if joined else "",
                condition,
                entry.is_optional and entry not in self._settled,
                entry.has_alias,
                entry.is_repeated,
                self._picks(entry),
            )
        return self._passages[entry]

    def _picks(self, entry: Entry) -> str:
        order = first_of_each(entry)
        if order is None:
            return ""
        text = self._writer.local(order)
        return text.partition("ORDER BY ")[2] or "any"

    def _short(self, node: exp.Expr) -> str:
        return fit_sql(as_people_write(self._writer.local(node)), _MAX_CONDITION_LENGTH, CUT_MARK)


def _branches(definition: Definition) -> Iterator[Definition]:
    """The columns of which a plain one is one or the other."""
    stack = [definition]
    while stack:
        at = stack.pop()
        if at.shape is Shape.UNION:
            stack += reversed(at.branches)
        else:
            yield at


def own_filters(part: Part | None) -> Iterator[exp.Expr]:
    """The filters that each row of a query, or each row that it groups, has passed.

    Not those of what may be without a partner, of one branch of a union, or from before rows were
    grouped twice; nor those of a table that is read elsewhere, too, without them.
    """
    seen: set[Part] = set()
    stack: list[tuple[Part, bool, tuple[Entry, ...]]] = [(part, False, ())] if part else []
    while stack:
        at, is_grouped, beside = stack.pop()
        groups = bool(at.group) or aggregates(at)
        if at in seen or at.operators or (groups and is_grouped):
            continue
        seen.add(at)
        elsewhere = {table for entry in beside for table in _tables(entry.rows, at)}
        for node in at.filters:
            definitions = [c.meta[TAG] for c in node.find_all(exp.Column) if TAG in c.meta]
            if elsewhere.isdisjoint(leaf.relation for d in definitions for leaf in d.leaves):
                yield node
        children = [(child, beside) for child in at.children]
        if at.entries:
            visible = [entry for entry in at.entries if entry.is_visible]
            children = [
                (entry.rows.part, (*beside, *(other for other in visible if other is not entry)))
                for entry in visible
                if entry.rows.part is not None and not entry.is_optional
            ]
        stack += [(child, is_grouped or groups, more) for child, more in reversed(children)]


def _tables(rows: Rows, part: Part) -> set[str]:
    """The real tables that a relation reads otherwise than through one query."""
    if rows.part is None:
        return {rows.table.relation} if rows.table is not None else set()
    seen = {part}
    stack, tables = [rows.part], set()
    while stack:
        at = stack.pop()
        if at not in seen:
            seen.add(at)
            tables |= set(at.relations)
            stack += at.children
    return tables


def _fixing(node: exp.Expr) -> Iterator[tuple[Definition, Value]]:
    """The column that a filter leaves one value, and that value."""
    node = core_of(node)
    pair: tuple[exp.Expr, exp.Expr]
    if node.args.get("negate"):  # `is not null`, as some dialects have it
        return
    if isinstance(node, exp.Column):
        pair = node, exp.Boolean(this=True)
    elif isinstance(node, exp.Not):
        pair = core_of(node.this), exp.Boolean(this=False)
    elif isinstance(node, (exp.EQ, exp.Is)):
        pair = core_of(node.this), core_of(node.expression)
    elif isinstance(node, exp.In) and len(node.expressions) == 1:
        pair = core_of(node.this), core_of(node.expressions[0])
    else:
        return
    column, value = pair if TAG in pair[0].meta else reversed(pair)
    if TAG in column.meta and isinstance(value, (exp.Literal, exp.Boolean, exp.Null)):
        yield column.meta[TAG], value


def _passes_on(part: Part) -> bool:
    """Whether a query only passes the rows of its one source on."""
    limited = part.select is not None and part.select.args.get("limit")
    return is_wrapper(part) and not part.filters and not limited and not aggregates(part)


def _passing_on(part: Part | None) -> Iterator[Part]:
    """What a query passes the rows of on."""
    while part is not None and _passes_on(part) and part.children:
        part = part.children[0]
        yield part


def _relation(rows: Rows) -> str:
    """The real table that a relation is, or the name of the query that makes it."""
    if rows.table is not None:
        return rows.table.relation
    return _label(rows.part) if rows.part is not None else ""


def _label(part: Part) -> str:
    *_, last = (part, *_passing_on(part))
    if _passes_on(last) and last.relations:
        return last.relations[0]
    return last.name or part.name


def _named(part: Part) -> Iterator[tuple[Definition, str]]:
    """The entries of a SELECT list that have names."""
    if part.select is not None and len(part.projections) == len(part.select.expressions):
        for definition, node in zip(part.projections, part.select.expressions, strict=True):
            yield definition, str(node.alias_or_name)


def _last(relation: str) -> str:
    return relation.rpartition(".")[2].lower()
