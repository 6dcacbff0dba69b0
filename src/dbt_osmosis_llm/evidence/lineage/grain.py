"""Which rows a query gives: what it joins, keeps, groups by and makes unique.

Its parts are walked with a stack and by identity: a CTE that is read twice is one part, and a chain
of CTEs may be longer than Python's own stack.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sqlglot import exp

from dbt_osmosis_llm.evidence.facts import Join
from dbt_osmosis_llm.evidence.lineage.relation import TAG
from dbt_osmosis_llm.evidence.lineage.syntax import conjuncts, core_of
from dbt_osmosis_llm.evidence.names import folded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dbt_osmosis_llm.evidence.lineage.printing import Writer
    from dbt_osmosis_llm.evidence.lineage.relation import Definition, Entry, Part, Rows


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
            condition = writer.local(join.condition) if join.condition else join.using
            name = _joined_name(join.rows, join.name, writer)
            yield Join(join.kind, name, condition or None, join.alias)


def table_behind(rows: Rows) -> str:
    """The real table whose rows, or some of them, a relation gives one for one; else empty."""
    if rows.table is not None:
        return rows.table.relation
    part = rows.part
    while part is not None and is_wrapper(part):
        if part.relations:
            return part.relations[0]
        part = part.children[0] if part.children else None
    return ""


def mark_repeated(part: Part) -> None:
    """Mark what a query joins that is the same relation as something else that it joins."""
    same: dict[object, list[Entry]] = {}
    for entry in part.entries:
        what = table_behind(entry.rows) or entry.rows.part
        if what is not None:
            same.setdefault(what, []).append(entry)
    for entries in same.values():
        for entry in entries:
            entry.is_repeated = len(entries) > 1


def _joined_name(rows: Rows, name: str, writer: Writer) -> str:
    """The real table behind an import CTE, else the name the query uses."""
    if table := table_behind(rows):
        return table
    if rows.value is not None:
        return writer.text(rows.value) or name
    return name


def is_wrapper(part: Part) -> bool:
    """Whether a query gives the rows of its only source, one for one or fewer."""
    return (
        part.select is not None
        and len(part.relations) + len(part.children) == 1
        and not part.joins
        and not part.multiplies
        and not any(part.select.args.get(key) for key in ("group", "distinct", "laterals"))
    )


def _chain(part: Part | None) -> Iterator[Part]:
    """The outermost query and, while they alone decide its rows, the queries it reads."""
    return (query for query, _ in _chain_with_entries(part))


def _chain_with_entries(part: Part | None) -> Iterator[tuple[Part, tuple[Entry, ...]]]:
    """The same, each with the relations through which what it gives has come out of it."""
    through: tuple[Entry, ...] = ()
    while part is not None and not part.multiplies:
        yield part, through
        if any(map(partial(_aggregates_here, part), part.projections)):
            return
        if is_wrapper(part) and part.children:
            part = part.children[0]
        elif part.entries and _keeps_rows(part):
            through = (*through, part.entries[0])
            part = part.entries[0].rows.part
        else:
            return


def keeps_rows(part: Part | None) -> bool:
    """Whether a query gives each row of the table that it begins with at most once."""
    parts = list(_chain(part))
    if not parts or any(query.group or aggregates(query) for query in parts):
        return False
    last = parts[-1]
    if last.entries:
        return _keeps_rows(last) and last.entries[0].rows.table is not None
    return is_wrapper(last) and bool(last.relations)


def aggregates(part: Part) -> bool:
    """Whether a query itself makes one row of several by its SELECT list.

    A function over a window is no aggregate: it keeps the rows.
    """
    return any(not c.window and _aggregates_here(part, c) for c in part.projections)


def _aggregates_here(part: Part, column: Definition) -> bool:
    # What could not be read is taken over no rows, and may be anything.
    return column.aggregate and (part in column.over or not column.over)


def _keeps_rows(part: Part) -> bool:
    """Whether joins find at most one partner for each row of what stands first."""
    if part.select is None or part.multiplies:
        return False
    if any(part.select.args.get(key) for key in ("group", "distinct")):
        return False
    first, *others = part.entries
    return not first.is_optional and all(
        not entry.is_visible or _is_one_for_each(entry) for entry in others
    )


def _is_one_for_each(entry: Entry) -> bool:
    """Whether a join names all that its relation has one row of."""
    keys = _own_keys(entry.rows.part)
    return bool(keys) and {entry.passed(key) for key in keys} <= _named_by_join(entry)


def _named_by_join(entry: Entry) -> set[Definition]:
    """The columns of a joined relation that have one value for each partner."""
    if entry.joined is None:
        return set()
    condition, using = entry.joined.condition, entry.joined.using
    named: set[Definition] = set()
    for node in conjuncts(condition) if condition is not None else ():
        if isinstance(node, exp.EQ):
            sides = [core_of(node.this), core_of(node.expression)]
            for side, other in (sides, reversed(sides)):
                if TAG in side.meta and not _is_of(other, entry):
                    named.add(side.meta[TAG])
    if using:
        names = using.partition("(")[2].rstrip(")").split(", ")
        named |= {entry.passed(entry.rows.find(name)[1]) for name in names}
    return named


def _is_of(node: exp.Expr, entry: Entry) -> bool:
    """Whether an expression may have another value for each row of a joined relation."""
    tags = (column.meta.get(TAG) for column in node.find_all(exp.Column))
    return node.find(exp.Query) is not None or any(d is None or d.entry is entry for d in tags)


def _own_keys(part: Part | None) -> list[Definition]:
    """The columns of which a query gives one row each, empty where that is not known."""
    for query in _chain(part):
        if query.select is None:
            return []
        if (group := query.group) is not None:
            keys = [_definition_of(node, query) for node in group.expressions]
            plain = not any(group.args.get(key) for key in ("all", "rollup", "cube"))
            is_known = plain and not group.args.get("grouping_sets") and None not in keys
            return [key for key in keys if key is not None] if is_known else []
        for condition in query.filters:
            if (window := _first_of_window(condition, query)) is not None:
                nodes = window.args.get("partition_by") or ()
                keys = [core_of(node).meta.get(TAG) for node in nodes]
                return [key for key in keys if key is not None] if None not in keys else []
    return []


def _definition_of(node: exp.Expr, part: Part) -> Definition | None:
    """What an entry of a GROUP BY list is: a column, or one of the SELECT list by its place."""
    if (position := part.position(node)) is not None:
        return part.projections[position]
    definition: Definition | None = core_of(node).meta.get(TAG)
    return definition


def first_of_each(entry: Entry) -> exp.Expr | None:
    """The ORDER BY by which a joined relation has one row of several for each partner."""
    condition = entry.joined.condition if entry.joined is not None else None
    named = _named_by_join(entry)

    def is_named(keys: Iterable[exp.Expr]) -> bool:
        definitions = [core_of(key).meta.get(TAG) for key in keys]
        return all(key is not None and entry.passed(key) in named for key in definitions)

    for node in conjuncts(condition) if condition is not None else ():
        window = _first_of_window(node, entry.rows.part, entry)
        if window is not None and is_named(window.args.get("partition_by") or ()):
            return window.args.get("order") or exp.Null()
    for query in _chain(entry.rows.part):
        for node in query.filters:
            window = _first_of_window(node, query)
            if window is not None and is_named(window.args.get("partition_by") or ()):
                return window.args.get("order") or exp.Null()
        select = query.select
        if select is None:
            break
        limit = select.args.get("limit")
        is_one = limit is not None and str(getattr(limit.expression, "name", "")) == "1"
        on = select.args["distinct"].args.get("on") if select.args.get("distinct") else None
        if (is_one and not select.args.get("offset")) or (on and is_named(on.expressions)):
            return select.args.get("order") or exp.Null()
    return None


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


def group_by(rows: Rows, writer: Writer) -> tuple[str, ...]:
    """The GROUP BY list that decides the rows of a query, in its own names."""
    for query, through in _chain_with_entries(rows.part):
        if keys := group_keys(query, writer):
            return _own_names(keys, through, rows, writer)
    return ()


def _own_names(
    texts: Sequence[str], through: Sequence[Entry], rows: Rows, writer: Writer
) -> tuple[str, ...]:
    """What a query's own columns are called that are the same as some expressions.

    Empty where one would be taken for another column that has its name.
    """
    names: dict[str | None, str] = {}
    for name, own in zip(rows.names, rows.definitions, strict=True):
        definition: Definition | None = own
        for entry in through:
            is_through = definition is not None and definition.entry is entry
            definition = definition.base if definition is not None and is_through else None
        if name and definition is not None:
            names.setdefault(writer.text(definition), name)
    known = {folded(name) for name in rows.names}
    if any(text not in names and folded(text) in known for text in texts):
        return ()
    return unique(names.get(text, text) for text in texts)


def group_keys(part: Part, writer: Writer) -> tuple[str, ...]:
    """The GROUP BY list of one query, empty when it has none."""
    group = part.group
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
    if part.select is not None and (position := part.position(node)) is not None:
        text = writer.text(part.projections[position])
        return text or writer.local(part.select.expressions[position])
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


def row_number_partition(rows: Rows, writer: Writer) -> tuple[str, ...]:
    """What `row_number() = 1` leaves one row of, in the query's own names."""
    for query, through in _chain_with_entries(rows.part):
        if aggregates(query):
            return ()
        for condition in query.filters:
            window = _first_of_window(condition, query)
            if window is not None:
                keys = unique(map(writer.best, window.args.get("partition_by") or ()))
                return _own_names(keys, through, rows, writer)
    return ()


def _first_of_window(
    condition: exp.Expr, query: Part | None, entry: Entry | None = None
) -> exp.Window | None:
    """The window of `row_number() over (...) = 1`, however the number is named.

    None if what stands between the numbered rows and the query's may give one of them several
    times: a join, a union. The condition is the query's own or, with `entry`, that of a join.
    """
    window = _window_is_one(condition)
    if window is None:
        return None
    columns = (core_of(side) for side in (condition.this, condition.expression))
    for definition in [column.meta[TAG] for column in columns if TAG in column.meta]:
        if definition.entry is not entry or not definition.over:
            return None
        while query is not definition.over[-1]:
            if query is None or not is_wrapper(query) or not query.children:
                return None
            query = query.children[0]
        return window
    return window if entry is None else None


def _window_is_one(condition: exp.Expr) -> exp.Window | None:
    """The window of `row_number() over (...) = 1`, however the number is named."""
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
        local = number.meta[TAG].local
        number = core_of(local) if local is not None else number
    if isinstance(number, exp.Window) and isinstance(number.this, exp.RowNumber):
        return number
    return None
