"""Which rows a query gives: what it joins, keeps, groups by and makes unique.

Its parts are walked with a stack and by identity: a CTE that is read twice is one part, and a chain
of CTEs may be longer than Python's own stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from dbt_osmosis_llm.evidence.facts import Join
from dbt_osmosis_llm.evidence.lineage.relation import TAG
from dbt_osmosis_llm.evidence.lineage.syntax import conjuncts, core_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dbt_osmosis_llm.evidence.lineage.printing import Writer
    from dbt_osmosis_llm.evidence.lineage.relation import Part, Rows


def unique(texts: Iterable[str | None]) -> tuple[str, ...]:
    """The texts that say something, each once, in order."""
    return tuple(dict.fromkeys(text for text in texts if text))


def reached(part: Part | None) -> Iterator[Part]:
    """The query's parts, each after those it reads, in the order they are first met."""
    seen: set[Part] = set()
    stack = [(part, False)] if part else []
    while stack:
        current, children_done = stack.pop()
        if children_done:
            yield current
        elif current not in seen:
            seen.add(current)
            stack.append((current, True))
            stack += [(child, False) for child in reversed(current.children)]


def with_nested(parts: Iterable[Part]) -> set[Part]:
    """The parts and those of queries inside their expressions."""
    seen: set[Part] = set()
    stack = list(parts)
    while stack:
        part = stack.pop()
        if part not in seen:
            seen.add(part)
            stack += [*part.nested, *part.children]
    return seen


def joins(parts: Iterable[Part], writer: Writer) -> Iterator[Join]:
    """What is joined in some queries."""
    for part in parts:
        for join in part.joins:
            conditions = conjuncts(join.condition) if join.condition else []
            texts = [*map(writer.best, conditions), join.using]
            condition = " AND ".join(filter(None, texts))
            yield Join(join.kind, _joined_name(join.rows, join.name, writer), condition or None)


def _joined_name(rows: Rows, name: str, writer: Writer) -> str:
    """The real table behind an import CTE, else the name the query uses."""
    if rows.table is not None:
        return rows.table.relation
    part = rows.part
    while part is not None and _is_wrapper(part):
        if part.relations:
            return part.relations[0]
        part = part.children[0] if part.children else None
    if rows.value is not None:
        return writer.text(rows.value) or name
    return name


def _is_wrapper(part: Part) -> bool:
    """Whether a query gives the rows of its only source, one for one or fewer."""
    return (
        part.select is not None
        and len(part.relations) + len(part.children) == 1
        and not part.joins
        and not any(part.select.args.get(key) for key in ("group", "distinct", "laterals"))
    )


def _chain(part: Part | None) -> Iterator[Part]:
    """The outermost query and, while they alone decide its rows, the queries it reads."""
    while part is not None:
        yield part
        if not _is_wrapper(part) or not part.children:
            return
        if any(projection.aggregate for projection in part.projections):
            return
        part = part.children[0]


def rows_text(queries: Iterable[Part], writer: Writer) -> str:
    """What decides which rows some queries give, their columns aside."""
    parts = dict.fromkeys(part for query in queries for part in reached(query))
    return "; ".join(text for part in parts for text in _deciding(part, writer))


def _deciding(part: Part, writer: Writer) -> Iterator[str]:
    yield from sorted(part.relations)
    for join in part.joins:
        conditions = conjuncts(join.condition) if join.condition else []
        texts = list(map(writer.whole, conditions)) or [join.using]
        yield f"{join.kind} join on {' and '.join(texts)}"
    yield from (f"where {writer.whole(node)}" for node in part.filters)
    if keys := group_keys(part, writer):
        yield f"group by {', '.join(keys)}"
    yield from part.operators
    for clause in ("distinct", "limit", "offset"):
        if part.select is not None and (node := part.select.args.get(clause)):
            yield writer.whole(node)


def group_by(part: Part | None, writer: Writer) -> tuple[str, ...]:
    """The GROUP BY list that decides the rows of a query."""
    grouped = (keys for query in _chain(part) if (keys := group_keys(query, writer)))
    return next(grouped, ())


def group_keys(part: Part, writer: Writer) -> tuple[str, ...]:
    """The GROUP BY list of one query, empty when it has none."""
    group = part.select.args.get("group") if part.select is not None else None
    if group is None:
        return ()
    if group.args.get("all"):
        keys = [column for column in part.projections if not column.aggregate and not column.window]
        return unique(map(writer.text, keys))
    nodes = list(group.expressions)
    for key in ("rollup", "cube", "grouping_sets"):
        value = group.args.get(key)
        if isinstance(value, list):  # `True` stands for MySQL's `with rollup`
            nodes += [node for node in value if isinstance(node, exp.Expression)]  # pyright: ignore[reportPrivateImportUsage]
    return unique(_group_key(node, part, writer) for node in nodes)


def _group_key(node: exp.Expr, part: Part, writer: Writer) -> str | None:
    """The text of one entry of a GROUP BY list, which may be a position in the SELECT list."""
    if part.select is not None and isinstance(node, exp.Literal) and node.is_int:
        columns = part.select.expressions
        position = int(node.this) - 1
        if len(part.projections) == len(columns) and 0 <= position < len(columns):
            return writer.text(part.projections[position]) or writer.local(columns[position])
    return writer.best(node)


def distinct(part: Part | None) -> bool:
    """Whether a query gives no row twice because it, or one behind stars alone, says DISTINCT."""
    for query in _chain(part):
        if query.select is None:
            return False
        if query.select.args.get("distinct"):
            return True
        if not all(isinstance(column, exp.Star) for column in query.select.expressions):
            return False
    return False


def row_number_partition(part: Part | None, writer: Writer) -> tuple[str, ...]:
    """What `row_number() = 1` leaves one row of."""
    for query in _chain(part):
        # A function over a window is no aggregate: it keeps the rows.
        if any(column.aggregate and not column.window for column in query.projections):
            return ()
        for condition in query.filters:
            window = _first_of_window(condition, query)
            if window is not None:
                return unique(map(writer.best, window.args.get("partition_by") or ()))
    return ()


def _first_of_window(condition: exp.Expr, query: Part) -> exp.Window | None:
    """The window of `row_number() over (...) = 1`, however the number is named.

    None if what stands beside the numbered rows in the query may give one of them several times.
    """
    if not isinstance(condition, (exp.EQ, exp.LTE, exp.LT)):
        return None
    limit = "2" if isinstance(condition, exp.LT) else "1"
    sides = [core_of(condition.this), core_of(condition.expression)]
    if isinstance(condition, exp.EQ) and isinstance(sides[0], exp.Literal):
        sides.reverse()
    number, value = sides
    if not isinstance(value, exp.Literal) or value.this != limit:
        return None
    if isinstance(number, exp.Column) and TAG in number.meta:
        definition = number.meta[TAG]
        if definition not in query.projections and not _is_wrapper(query):
            return None
        number = core_of(definition.local)
    if isinstance(number, exp.Window) and isinstance(number.this, exp.RowNumber):
        return number
    return None
