"""The columns of one SELECT list, stars included.

What follows a star may be of any number: where a source's columns are not known, `Rows.rests` says
whose they are, so that a name that is looked up later is still found there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlglot import exp

from dbt_osmosis_llm.evidence.lineage.relation import Definition, Rest, Rows
from dbt_osmosis_llm.evidence.lineage.scope import Clause, Scope
from dbt_osmosis_llm.evidence.lineage.syntax import argument, star_of
from dbt_osmosis_llm.evidence.names import folded

if TYPE_CHECKING:
    from dbt_osmosis_llm.evidence.lineage.expressions import Expressions

_UNALIASED_CAST_KEEPS_NAME = frozenset(["materialize", "postgres", "redshift", "risingwave"])


def numbered(rows: Rows) -> Rows:
    """The columns as DuckDB calls them: a second `k` is `k_1`, a third `k_2`."""
    unlisted = [rest for rest in rows.rests if not rest.closed]
    if len(unlisted) > 1:  # `k_1` may be a `k` of either
        rows.rests = [replace(rest, may_repeat=True) for rest in rows.rests]
    elif unlisted:
        seconds = {f"{folded(name)}_1" for name in rows.names}
        rows.rests = [rest.restricted(seconds, ()) for rest in rows.rests]
    if unlisted:
        return rows
    taken: set[str] = set()
    for position, name in enumerate(rows.names):
        number, own = 0, name
        while name and folded(own) in taken:
            number += 1
            own = f"{name}_{number}"
        taken.add(folded(own))
        rows.names[position] = own
    return rows


class Projections:
    """Reads SELECT lists.

    Args:
        dialect: Of sqlglot, by name.
        expressions: Defines the expressions of the list.
    """

    def __init__(self, dialect: str, expressions: Expressions) -> None:
        self._dialect = dialect
        self._expressions = expressions

    def read(self, query: exp.Select, scope: Scope) -> Rows:
        """The columns of a SELECT list; `scope` learns their aliases."""
        rows = Rows(part=scope.part)
        if query.args.get("kind") == "VALUE":
            rows.rests.append(Rest())
        for projection in query.expressions:
            star = star_of(projection)
            if star is not None:
                self._expand(star, projection, scope, rows)
                continue
            if isinstance(projection, exp.Alias):
                scope.later_aliases.pop(folded(projection.alias), None)
            definition = scope.read_ahead.get(id(projection))
            if definition is None:
                definition = self._define(projection, scope)
            scope.part.projections.append(definition)
            if isinstance(projection, exp.Aliases):
                names = list(map(str, projection.aliases))
                rows.names += names
                rows.definitions += [definition] * len(names)
                continue
            name = self._output_name(projection)
            rows.names.append(name)
            rows.definitions.append(definition)
            if isinstance(projection, exp.Alias):
                scope.aliases[folded(name)] = definition
            elif isinstance(projection, (exp.Unnest, exp.Explode, exp.Inline)):
                rows.ordered = False
        excluded = {folded(column.name) for column in query.args.get("exclude") or ()}
        if excluded:
            kept = [at for at, name in enumerate(rows.names) if folded(name) not in excluded]
            rows.names = [rows.names[at] for at in kept]
            rows.definitions = [rows.definitions[at] for at in kept]
            rows.rests = [rest.restricted(excluded, ()) for rest in rows.rests]
        return rows

    def _define(self, projection: exp.Expr, scope: Scope) -> Definition:
        if isinstance(projection, exp.Alias):
            scope.open_aliases.append(folded(projection.alias))
        definition = self._expressions.define(projection, scope, Clause.PROJECTION)
        if isinstance(projection, exp.Alias):
            scope.open_aliases.pop()
        return definition

    def _output_name(self, projection: exp.Expr) -> str:
        if isinstance(projection, (exp.Alias, exp.Column)):
            return str(projection.alias_or_name)
        if isinstance(projection, exp.Dot):
            return str(projection.expression.name)
        if isinstance(projection, exp.Paren):
            return self._output_name(projection.this)
        if type(projection) is exp.Cast and self._dialect in _UNALIASED_CAST_KEEPS_NAME:
            return self._output_name(projection.this)
        return ""

    def _expand(self, star: exp.Expr, projection: exp.Expr, scope: Scope, rows: Rows) -> None:
        """Adds the columns behind a star, and `Rest`s for those that cannot be listed."""
        path: tuple[str, ...] = ()
        if isinstance(projection, exp.Column):
            path = tuple(folded(str(part.name)) for part in projection.parts[:-1])
        sources = [source for source in scope.sources if source.visible]
        if path:
            sources = [source for source in scope.sources if source.answers_to(path)][:2]
        renames = star.args.get("rename") or ()
        plain = (
            isinstance(projection, (exp.Star, exp.Column))
            and not star.args.get("ilike")
            # `rename f(a as b)` parses as well; nobody knows what it means.
            and all(isinstance(rename, exp.Alias) for rename in renames)
        )
        if not plain or (path and len(sources) != 1):
            rows.rests.append(Rest())
            return
        excluded = {folded(column.name) for column in argument(star, "except") or ()}
        renamed = [(str(rename.alias), str(rename.this.name)) for rename in renames]
        new_names = {folded(old): new for new, old in renamed}
        replaced = {
            folded(str(new.alias)): self._expressions.define(new, scope, Clause.PROJECTION)
            for new in star.args.get("replace") or ()
        }

        def add(name: str, definition: Definition) -> None:
            key = folded(name)
            if key not in excluded:
                rows.names.append(new_names.get(key, name))
                rows.definitions.append(replaced.pop(key, definition))

        merged = {} if path else scope.merged
        for name, definition in merged.values():
            add(name, definition)
        if merged and list(merged) != [
            folded(name) for name in sources[0].rows.names[: len(merged)]
        ]:
            rows.ordered = False  # databases differ in where they put the columns of USING
        for source in sources:
            listed = set(merged)
            known = zip(source.rows.names, source.rows.definitions, strict=True)
            if source.rows.may_be_struct:  # then the star gives its fields, and not itself
                next(known)
            for name, definition in known:
                if folded(name) not in merged:
                    add(name, definition)
                listed.add(folded(name))
            rows.rests += [
                rest.restricted(excluded | set(merged) | set(replaced), renamed)
                for rest in source.rows.rests
            ]
            rows.ordered = rows.ordered and source.rows.ordered
        for key, definition in replaced.items():  # of columns that no schema lists
            rows.names.append(key)
            rows.definitions.append(definition)
