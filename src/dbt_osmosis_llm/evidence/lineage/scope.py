"""The names that one query can use, and where each of them comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol

from sqlglot import exp

from dbt_osmosis_llm.evidence.lineage.relation import (
    UNRESOLVED,
    Definition,
    Entry,
    Found,
    Part,
    Presence,
    Rows,
    best_of,
    opaque,
)
from dbt_osmosis_llm.evidence.names import folded


class Clause(Enum):
    """Where in its SELECT an expression stands: it decides what aliases mean."""

    FROM = "from"
    PROJECTION = "projection"
    FILTER = "filter"


Gathered = list[tuple[Clause, Definition]]
"""All that a query refers to, each with where."""


class Environment(NamedTuple):
    """The names WITH clauses define for the queries below them."""

    tables: Mapping[str, Rows]
    scalars: Mapping[str, tuple[Definition, Part]]
    """Single values, as ClickHouse's `with max(x) as m` defines them."""


class Source(NamedTuple):
    """One entry of a FROM clause."""

    name: str
    path: tuple[str, ...]
    """Folded parts of an unaliased real table's name, else empty."""
    rows: Rows
    visible: bool
    entry: Entry | None = None
    """Itself, where it is joined."""

    def answers_to(self, path: tuple[str, ...]) -> bool:
        """Tell whether `path.column` may mean a column of it; the path is folded."""
        if len(path) == 1:
            return self.name == path[0]
        return self.path[-len(path) :] == path


@dataclass(eq=False)
class Scope:
    """The names one SELECT can use."""

    environment: Environment
    outer: Scope | None
    nested: bool
    """Inside an expression: its own columns stay as written in the expression's text."""
    gathered: Gathered | None = None
    """Where an enclosing expression collects all that this query refers to."""
    part: Part = field(default_factory=Part)
    is_joined: bool = False
    """Whether its FROM clause has more than one relation."""
    sources: list[Source] = field(default_factory=list)
    merged: dict[str, tuple[str, Definition]] = field(default_factory=dict)
    """Columns joined by USING, by folded name."""
    aliases: dict[str, Definition] = field(default_factory=dict)
    later_aliases: dict[str, exp.Expr | None] = field(default_factory=dict)
    """Those whose turn has not come, each with what it names; None where that is not one thing."""
    open_aliases: list[str] = field(default_factory=list)
    """Those whose expressions are being read, inner ones last."""
    read_ahead: dict[int, Definition] = field(default_factory=dict)
    """What aliases mean that were used before their turn, by the node of their projection."""
    read_names: set[str] = field(default_factory=set)
    """Names taken from a source of unknown columns: so that source does have them."""

    def candidates(self, name: str, sources: Sequence[Source] | None = None) -> Found:
        """Looks an unqualified column up in the FROM clause alone."""
        key = folded(name)
        if key in self.merged:
            return Presence.YES, self.merged[key][1]
        sources = [source for source in sources or self.sources if source.visible]
        presence, definition = best_of(source.rows.find(name) for source in sources)
        if presence is not Presence.YES:
            for source in sources:
                if source.name == key:  # the whole row, as in to_json(orders)
                    return Presence.YES, source.rows.value or UNRESOLVED
        return presence, definition

    def may_lack(self, name: str) -> bool:
        """Whether it could as well be a table's column that the schema does not list yet."""
        return any(source.rows.find(name)[0] is Presence.STALE for source in self.sources)

    def hide_columns(self) -> None:
        """Forget which columns the sources have."""
        self.sources = [known._replace(rows=opaque(known.rows.part)) for known in self.sources]


class ReadQuery(Protocol):
    """Reads a query inside another one."""

    def __call__(
        self,
        query: exp.Expr,
        environment: Environment,
        outer: Scope | None = None,
        gathered: Gathered | None = None,
        *,
        nested: bool = False,
    ) -> Rows:
        """Return the columns it gives; `gathered` collects all it refers to."""
        ...
