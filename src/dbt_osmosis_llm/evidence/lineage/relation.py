"""The vocabulary of lineage: what a column is made of, and the rows of a relation.

`Definition`, `Part` and `Rows` are compared by identity: each stands for one place in the SQL, and
what passes a column on passes its very definition on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum
from typing import NamedTuple

from sqlglot import exp

from dbt_osmosis_llm.evidence.facts import Leaf
from dbt_osmosis_llm.evidence.names import folded

TAG = "dbt_osmosis_llm"
"""Key in a column node's `meta` (copies of the node keep it): the column's `Definition`."""


class Shape(Enum):
    """How a definition relates to its leaves, before aggregates and windows are looked at."""

    COLUMN = "column"
    CAST = "cast"
    CONSTANT = "constant"
    OTHER = "other"
    UNION = "union"
    UNKNOWN = "unknown"


@dataclass(eq=False)
class Definition:
    """What a column is made of; shared, not copied, by every query that passes it on."""

    shape: Shape
    leaves: tuple[Leaf, ...] = ()
    aggregate: bool = False
    window: bool = False
    local: exp.Expr | None = None
    """The defining sqlglot node; its column nodes are tagged with their own definitions."""
    branches: tuple[Definition, ...] = ()
    operator: str = ""
    too_deep: bool = False
    """Nested so deep that to print it could exhaust the stack."""
    inline: bool = True
    """Whether the expression can stand inside another one."""
    is_plain: bool = False
    """Whether it is upstream columns, one or the other of them, unchanged or only cast."""
    over: tuple[Part, ...] = ()
    """The queries over whose rows its aggregates and windows are taken."""
    entry: Entry | None = None
    """The joined relation through which a query has it, of which `base` is a column."""
    base: Definition | None = None

    @property
    def entries(self) -> Iterator[Entry]:
        """The joined relations through which it came, the outermost first."""
        at: Definition | None = self
        while at is not None:
            if at.entry is not None:
                yield at.entry
            at = at.base

    @property
    def origin(self) -> Definition:
        """The definition itself, whatever it came through."""
        at = self
        while at.base is not None:
            at = at.base
        return at

    def __deepcopy__(self, memo: object) -> Definition:
        return self


UNRESOLVED = Definition(Shape.UNKNOWN)


class Presence(IntEnum):
    """How sure it is that a relation has a column of a name."""

    NO = 0
    STALE = 1
    """The schema lists the table's columns and this is not one: right only by elimination."""
    MAYBE = 2
    YES = 3


Found = tuple[Presence, Definition]
_ABSENT: Found = (Presence.NO, UNRESOLVED)


@dataclass(eq=False)
class Table:
    """A real table; `columns` is empty when the schema does not know it."""

    relation: str
    columns: tuple[str, ...]
    known: dict[str, Definition] = field(default_factory=dict)
    case_sensitive: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        first: dict[str, str] = {}
        for name in self.columns:
            other = first.setdefault(folded(name), name)
            if other != name:
                self.case_sensitive |= {other, name}

    def leaf(self, name: str) -> Definition:
        """The one definition of a column of this table, spelled as it was met first."""
        key = name if name in self.case_sensitive else folded(name)
        if key not in self.known:
            leaves = (Leaf(self.relation, name),)
            self.known[key] = Definition(Shape.COLUMN, leaves, is_plain=True)
        return self.known[key]


@dataclass(frozen=True)
class Rest:
    """Columns behind a star that cannot be listed: a table's, or derived from one value."""

    table: Table | None = None
    value: Definition | None = None
    excluded: frozenset[str] = frozenset()
    renamed: tuple[tuple[str, str], ...] = ()
    """(new name, name in the table)."""

    may_repeat: bool = False
    """Whether `k_1` may be a second column `k` that the database has numbered."""
    entries: tuple[Entry, ...] = field(default=(), compare=False)
    """The joined relations through which they came, inner ones first."""

    @property
    def closed(self) -> bool:
        """Whether every column it stands for is listed elsewhere, if the schema is right."""
        return self.table is not None and bool(self.table.columns)

    def find(self, name: str) -> Found:
        """Looks a column up by name."""
        presence, definition = self._find(name)
        for entry in self.entries:
            definition = entry.passed(definition)
        return presence, definition

    def _find(self, name: str) -> Found:
        key = folded(name)
        for new, old in self.renamed:
            if folded(new) == key:
                name, key = old, folded(old)
                break
        else:
            if key in self.excluded:
                return _ABSENT
        if self.may_repeat and key.rpartition("_")[2].isdecimal():
            return Presence.MAYBE, UNRESOLVED
        if self.table is not None:
            return (Presence.STALE if self.closed else Presence.MAYBE), self.table.leaf(name)
        if self.value is not None:
            return Presence.MAYBE, member(self.value, [name])
        return Presence.MAYBE, UNRESOLVED

    def restricted(self, excluded: Iterable[str], renamed: Iterable[tuple[str, str]]) -> Rest:
        """The same columns after a further `* exclude (...) rename (...)`."""
        excluded, renamed = set(excluded), list(renamed)
        earlier = {folded(new): old for new, old in self.renamed}
        moved = [
            (new, earlier.get(folded(old), old))
            for new, old in renamed
            if folded(old) in earlier or folded(old) not in self.excluded
        ]
        gone = excluded | {folded(old) for _, old in renamed}
        kept = [pair for pair in self.renamed if folded(pair[0]) not in gone]
        return replace(self, excluded=self.excluded | gone, renamed=(*kept, *moved))


class Joined(NamedTuple):
    """One joined relation of a query."""

    kind: str
    rows: Rows
    name: str
    condition: exp.Expr | None
    using: str
    """The clause that stands in place of a condition, else empty."""
    alias: str = ""
    """Of a table or CTE."""


@dataclass(eq=False)
class Part:
    """What one SELECT or set operation reads and does, apart from its columns."""

    relations: list[str] = field(default_factory=list)
    children: list[Part] = field(default_factory=list)
    filters: list[exp.Expr] = field(default_factory=list)
    joins: list[Joined] = field(default_factory=list)
    has_outer_join: bool = False
    operators: list[str] = field(default_factory=list)
    nested: list[Part] = field(default_factory=list)
    """Queries inside expressions: only the relations they read count."""
    select: exp.Select | None = None
    projections: list[Definition] = field(default_factory=list)
    name: str = ""
    """Of the CTE or subquery that it is, as the query calls it."""
    entries: list[Entry] = field(default_factory=list)
    """What stands in its FROM clause, where that is more than one relation."""
    multiplies: bool = False
    """Whether its SELECT list may make several rows of one."""

    @property
    def group(self) -> exp.Expr | None:
        """Its GROUP BY."""
        return self.select.args.get("group") if self.select is not None else None

    def position(self, node: exp.Expr) -> int | None:
        """Where in its SELECT list an entry of GROUP BY points, None for one that is no number."""
        if self.select is None or not (isinstance(node, exp.Literal) and node.is_int):
            return None
        position = int(node.this) - 1
        is_there = len(self.projections) == len(self.select.expressions) > position >= 0
        return position if is_there else None


@dataclass(eq=False)
class Entry:
    """One of several relations in a FROM clause."""

    name: str
    """As columns are qualified with it, empty where nothing names it."""
    rows: Rows
    """Its columns as they are without the join."""
    has_alias: bool = False
    joined: Joined | None = None
    """None for the one that stands first."""
    is_optional: bool = False
    """Whether rows without a partner in it stay, with nulls in its columns."""
    optional_since: int = 0
    """The place of the last join that made it so among those of its query."""
    is_visible: bool = True
    is_repeated: bool = False
    """Whether its query joins the same relation under another name, too."""
    _passed: dict[Definition, Definition] = field(default_factory=dict)

    def passed(self, definition: Definition) -> Definition:
        """One of its columns, as the query with the join has it: always the same for the same."""
        if definition is UNRESOLVED or definition.shape is Shape.UNKNOWN:
            return definition
        if definition not in self._passed:
            self._passed[definition] = replace(definition, entry=self, base=definition)
        return self._passed[definition]

    def all_passed(self) -> Rows:
        """Its rows, as the query with the join has them."""
        rows = self.rows
        return Rows(
            rows.names,
            [self.passed(definition) for definition in rows.definitions],
            [replace(rest, entries=(*rest.entries, self)) for rest in rows.rests],
            rows.ordered,
            rows.value,
            rows.may_be_struct,
            rows.part,
            rows.table,
        )


@dataclass(eq=False)
class Rows:
    """The columns a relation has in a FROM clause, or a query gives."""

    names: list[str] = field(default_factory=list)
    """Empty string where only the database knows how it calls the column."""
    definitions: list[Definition] = field(default_factory=list)
    rests: list[Rest] = field(default_factory=list)
    ordered: bool = True
    value: Definition | None = None
    """What `alias.field` and a bare `alias` mean for an unnested array."""
    may_be_struct: bool = False
    """Whether the first column may be a struct whose fields a star gives instead of it."""
    part: Part | None = None
    table: Table | None = None
    _index: dict[str, list[int]] | None = None

    @property
    def closed(self) -> bool:
        """Whether `names` holds every column, in order."""
        return self.ordered and all(rest.closed for rest in self.rests)

    def find(self, name: str) -> Found:
        """Looks a column up by name, exactly when two differ only in case."""
        if self._index is None:
            self._index = {}
            for position, known in enumerate(self.names):
                self._index.setdefault(folded(known), []).append(position)
        hits = self._index.get(folded(name), []) if name else []
        if len(hits) > 1:
            hits = [hit for hit in hits if self.names[hit] == name] or hits
        if hits:
            first = self.definitions[hits[0]]
            same = all(self.definitions[hit] is first for hit in hits)
            return Presence.YES, first if same else UNRESOLVED
        best = best_of(rest.find(name) for rest in self.rests)
        if best[0] < Presence.MAYBE and "" in self._index:
            return Presence.MAYBE, UNRESOLVED
        return best


def best_of(finds: Iterable[Found]) -> Found:
    """The surest of several finds; unresolved when two are equally sure."""
    surest, best = _ABSENT
    for presence, definition in finds:
        if presence > surest:
            surest, best = presence, definition
        elif presence is surest and presence is not Presence.NO and definition is not best:
            best = UNRESOLVED
    return surest, best


def opaque(part: Part | None = None, names: Sequence[str] = ()) -> Rows:
    """Return rows that may have any column, of which nothing is known."""
    return Rows(list(names), [UNRESOLVED] * len(names), [Rest()], ordered=False, part=part)


def derived(local: exp.Expr | None, sources: Iterable[Definition]) -> Definition:
    """A definition made of others by an expression that is neither a column nor a cast."""
    sources = list(sources)
    if any(source.shape is Shape.UNKNOWN for source in sources):
        return UNRESOLVED
    return Definition(
        Shape.OTHER,
        tuple(dict.fromkeys(leaf for source in sources for leaf in source.leaves)),
        any(source.aggregate for source in sources),
        any(source.window for source in sources),
        local,
        over=tuple(dict.fromkeys(part for source in sources for part in source.over)),
    )


def united(definitions: Sequence[Definition], operator: str) -> Definition:
    """A definition that is one or the other of some, as in a column of a union."""
    if all(definition is definitions[0] for definition in definitions):
        return definitions[0]
    result = derived(None, definitions)
    if result is not UNRESOLVED:
        result.shape = Shape.UNION
        result.branches, result.operator = tuple(definitions), operator
        result.inline = False
        result.is_plain = all(branch.is_plain for branch in definitions)
    return result


def member(value: Definition, names: Sequence[str]) -> Definition:
    """The definition of `value.a.b`: a field of a struct or of an unnested array."""
    if value.shape is Shape.UNKNOWN:
        return UNRESOLVED
    local: exp.Expr = tagged_column(names[0], value)
    for name in names:
        local = exp.Dot(this=local, expression=exp.to_identifier(name))
    return derived(local, [value])


def tagged_column(name: str, definition: Definition) -> exp.Column:
    """Return a column node that carries its definition."""
    column = exp.Column(this=exp.to_identifier(name))
    column.meta[TAG] = definition
    return column
