"""Columns whose names differ by case alone, told apart as the dialect does.

Elsewhere names are compared without their case, which YAML, catalogs and SQL each write as they
like. Where two columns would then be one, the case decides, and unquoted names have to be written
as the database folds them first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from dbt_osmosis_llm.evidence.lineage.syntax import NameCase, star_of
from dbt_osmosis_llm.evidence.names import folded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dbt_osmosis_llm.evidence.facts import Schema


def tell_apart(statement: exp.Expr, case: NameCase, schema: Schema) -> None:
    """Writes unquoted names as the database does, if that decides which column is meant."""
    if case not in (NameCase.LOWER, NameCase.UPPER):
        return
    ambiguous = {name for columns in schema.values() for name in _twice(map(str, columns))}
    for query in statement.find_all(exp.Select):
        names = [name for name in map(_output, query.expressions) if name is not None]
        ambiguous |= _twice(case.folded(name) for name in names)
        if any(map(star_of, query.expressions)):  # which may have the usual spelling as well
            ambiguous |= {
                folded(str(name.name))
                for name in names
                if name.args.get("quoted") and case.folded(name) != case.folded(_bare(name))
            }
    if not ambiguous:
        return
    for identifier in statement.find_all(exp.Identifier):
        if folded(str(identifier.name)) in ambiguous:
            identifier.set("this", case.folded(identifier))


def _twice(names: Iterable[str]) -> set[str]:
    """The names, folded, that are there in two spellings."""
    first: dict[str, str] = {}
    return {folded(name) for name in names if first.setdefault(folded(name), name) != name}


def _output(projection: exp.Expr) -> exp.Expr | None:
    """The identifier that names a projection."""
    name = projection.args.get("alias") if isinstance(projection, exp.Alias) else None
    if isinstance(projection, exp.Column):
        name = projection.this
    return name if isinstance(name, exp.Identifier) else None


def _bare(name: exp.Expr) -> exp.Expr:
    return exp.Identifier(this=name.name, quoted=False)
