"""What reading the SQL of a generated project takes, and whether it is right.

python benchmarks/lineage.py --models 1000
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import sqlglot
from generate import Column, Table, invent, sql_of
from rows import Row, bounded, judged, markdown

from dbt_osmosis_llm.evidence.cache import FactsCache
from dbt_osmosis_llm.evidence.facts import ColumnKind, ColumnLineage, Leaf, QueryFacts

_UNCHANGED = (ColumnKind.PASS, ColumnKind.RENAME)


@dataclass
class Share:
    """How many of some things are as they should be, and the first that are not."""

    right: int = 0
    wrong: list[str] = field(default_factory=list)

    def count(self, name: str, *, is_right: bool) -> None:
        if is_right:
            self.right += 1
        else:
            self.wrong.append(name)

    def row(self, figure: str, at_least: float) -> Row:
        """Return a line of the report."""
        total = self.right + len(self.wrong)
        share = self.right / total if total else 0.0
        measured = f"{share:.2%} of {total:,}"
        if self.wrong:
            measured += f" (not {', '.join(self.wrong[:2])})"
        return judged(figure, measured, f"at least {at_least:.0%}", share >= at_least)


def relation(table: str) -> str:
    """Return a table's name as dbt writes it into SQL, without quotes."""
    return f"generated.{'raw' if table.startswith('raw_') else 'main'}.{table}"


def read_all(tables: Sequence[Table], cache: FactsCache) -> tuple[float, dict[str, QueryFacts]]:
    """Read every model; return the CPU time in seconds, without that of making the SQL."""
    names = {table.name: [column.name for column in table.columns] for table in tables}
    models = [table for table in tables if table.layer]
    queries = [
        (
            sql_of(model, lambda name: ".".join(f'"{p}"' for p in relation(name).split("."))),
            {relation(parent): names[parent] for parent in model.parents},
        )
        for model in models
    ]
    started_s = time.process_time()
    found = [cache.facts(sql, "duckdb", schema) for sql, schema in queries]
    took_s = time.process_time() - started_s
    return took_s, {model.name: facts for model, facts in zip(models, found, strict=True)}


def true_leaves(column: Column) -> set[Leaf]:
    """Return the columns that a column is really made of."""
    return {Leaf(relation(table), name) for table, name in column.origins}


def is_right(column: Column, found: ColumnLineage | None) -> bool:
    """Tell whether a column's kind and all its leaves are as they are in truth."""
    if found is None or set(found.leaves) != true_leaves(column):
        return False
    if column.kind == "derived":
        return not found.is_plain and found.kind not in (*_UNCHANGED, ColumnKind.UNKNOWN)
    return found.is_plain and found.kind.value == column.kind


def measure(models: int = 1000, seed: int = 0) -> list[Row]:
    """Read the SQL of all models twice, the second time out of the cache."""
    tables = invent(models, seed=seed)
    with tempfile.TemporaryDirectory() as scratch:
        times_s = []
        answers = []
        for _ in range(2):
            cache = FactsCache(Path(scratch) / "lineage.db")
            took_s, facts = read_all(tables, cache)
            cache.close()
            times_s.append(took_s)
            answers.append(facts)
    shares: dict[str, Share] = {"derived": Share(), "pass": Share(), "rename": Share()}
    wrong_edges = 0
    for table in tables:
        for column in table.columns if table.layer else ():
            found = answers[0][table.name].column(column.name)
            name = f"{table.name}.{column.name}"
            shares[column.kind].count(name, is_right=is_right(column, found))
            wrong_edges += len(set(found.leaves) - true_leaves(column)) if found else 0
    differing = sum(answers[0][name] != answers[1][name] for name in answers[0])
    cold_s, warm_s = (took_s * 1000 / models for took_s in times_s)
    reader = f"sqlglot {sqlglot.__version__}{', compiled' if is_compiled() else ''}"
    return [
        bounded(f"1,000 models cold, CPU ({reader})", cold_s, 30, "s"),
        bounded("1,000 models warm, CPU", warm_s, 1, "s"),
        judged("warm answers that differ", f"{differing}", "0", not differing),
        shares["derived"].row("derived columns with exactly their leaves", 0.98),
        shares["pass"].row("pass-throughs with their origin", 0.99),
        shares["rename"].row("renames with their origin", 0.99),
        judged("wrong edges", f"{wrong_edges}", "0", not wrong_edges),
    ]


def is_compiled() -> bool:
    """Tell whether sqlglot runs with one of its compiled extras."""
    files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    ours = [name for name in files if "sqlglot" in name]
    return not all(name.endswith(".py") for name in ours)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(markdown(measure(given.models, given.seed)))


if __name__ == "__main__":
    main()
