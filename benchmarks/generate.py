"""Makes a dbt project on DuckDB whose lineage is known, of any size, the same for the same seed.

Each model is rendered twice from one description: as Jinja for dbt, and as plain SQL that DuckDB
runs at once, without rows. So the tables exist, every generated query has been run, and a project
of 2,000 models takes seconds where `dbt build` takes minutes.

    python benchmarks/generate.py DIRECTORY --models 60
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import duckdb

Kind = Literal["source", "pass", "rename", "derived"]

NAME = "generated"
_PASSED, _RENAMED = 0.50, 0.15
_NOUNS = ("order", "customer", "payment", "refund", "item", "store", "ticket", "visit", "voucher")
_WORDS = {
    "bigint": ["number", "count", "quantity", "points", "seconds", "visits"],
    "decimal(18,2)": ["amount", "price", "fee", "tax", "discount", "balance"],
    "varchar": ["status", "channel", "region", "name", "code", "category"],
    "timestamp": ["created_at", "paid_at", "shipped_at", "closed_at", "updated_at"],
    "boolean": ["is_open", "is_paid", "is_late", "is_first", "has_note"],
}
_TYPES = tuple(_WORDS)
_NUMBERS = ("bigint", "decimal(18,2)")
_EXPRESSIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "number": (
        ("round({a} * 0.81, 2)", "decimal(18,2)"),
        ("coalesce({a}, 0) - coalesce({b}, 0)", "decimal(18,2)"),
        ("case when {a} >= 100 then 'large' when {a} > 0 then 'small' else 'none' end", "varchar"),
        ("sum({a}) over (partition by {key})", "decimal(18,2)"),
        ("{a} > 3 * nullif({b}, 0)", "boolean"),
    ),
    "varchar": (
        ("lower(trim({a}))", "varchar"),
        ("{a} in ('open', 'paid', 'shipped')", "boolean"),
        ("coalesce(nullif({a}, ''), 'unknown')", "varchar"),
        ("length({a})", "bigint"),
    ),
    "timestamp": (
        ("date_trunc('month', {a})", "timestamp"),
        ("extract(hour from {a})", "bigint"),
        ("row_number() over (partition by {key} order by {a} desc)", "bigint"),
    ),
    "boolean": (
        ("case when {a} then 1 else 0 end", "bigint"),
        ("not coalesce({a}, false)", "boolean"),
    ),
}


@dataclass(frozen=True)
class Column:
    """One column and where it comes from."""

    name: str
    data_type: str
    kind: Kind
    expression: str
    """What defines it in its model's SQL, tables by their aliases; its name for a source's."""
    origins: tuple[tuple[str, str], ...] = ()
    """(table, column) of each column that the expression reads."""


@dataclass(frozen=True)
class Table:
    """A source table (layer 0) or a model."""

    name: str
    layer: int
    columns: tuple[Column, ...]
    parents: tuple[str, ...] = ()
    """First the one that the query starts from; the others are joined to it."""


@dataclass(frozen=True)
class _Available:
    """A column that a model may use, by its table's alias in the query."""

    alias: str
    table: str
    column: Column

    @property
    def reference(self) -> str:
        return f"{self.alias}.{self.column.name}"

    @property
    def origin(self) -> tuple[str, str]:
        return self.table, self.column.name


class _Maker:
    """Invents tables; the only user of the random numbers, in one fixed order."""

    def __init__(self, seed: int, columns: tuple[int, int]) -> None:
        self._random = random.Random(seed)
        self._columns = columns
        self._names = 0

    def _column_name(self, data_type: str) -> str:
        # Unique in the project: texts are inherited by name, and each name has one meaning here.
        self._names += 1
        noun = self._random.choice(_NOUNS)
        return f"{noun}_{self._random.choice(_WORDS[data_type])}_{self._names}"

    def source(self, number: int) -> Table:
        types = [self._random.choice(_TYPES) for _ in range(self._width() - 1)]
        names = [(self._column_name(kind), kind) for kind in ("bigint", *types)]
        columns = tuple(Column(name, kind, "source", name) for name, kind in names)
        return Table(f"raw_{self._random.choice(_NOUNS)}_{number:04}", 0, columns)

    def model(self, number: int, layer: int, parents: Sequence[Table]) -> Table:
        """Return a model that reads its parents: half passed on, some renamed, the rest derived."""
        found = [
            _Available(f"t{index}", parent.name, column)
            for index, parent in enumerate(parents)
            for column in parent.columns
        ]
        key, width = found[0], self._width()
        # One column of each joined table at least, so that every parent is really read.
        first = [next(a for a in found if a.table == parent.name) for parent in parents]
        rest = [a for a in found if a not in first]
        self._random.shuffle(rest)
        passed = (first + rest)[: max(len(first), round(width * _PASSED))]
        others = [a for a in rest if a not in passed] or rest
        renamed = others[: round(width * _RENAMED)]
        columns = [
            Column(a.column.name, a.column.data_type, "pass", a.reference, (a.origin,))
            for a in passed
        ]
        columns += [self._renamed(a) for a in renamed]
        columns += [self._derived(found, key) for _ in range(width - len(columns))]
        prefix = "stg" if layer == 1 else "int"
        name = f"{prefix}_{self._random.choice(_NOUNS)}_{number:04}"
        return Table(name, layer, tuple(columns), tuple(parent.name for parent in parents))

    def parents(self, above: Sequence[Sequence[Table]]) -> list[Table]:
        """Return one to three tables, the first of the layer just above."""
        parents = [self._random.choice(above[-1])]
        for _ in range(self._random.choice((0, 1, 1, 2))):
            other = self._random.choice(self._random.choice(above[-2:]))
            # Two of the same name cannot be passed on under it both.
            taken = {column.name for parent in parents for column in parent.columns}
            if not taken & {column.name for column in other.columns}:
                parents.append(other)
        return parents

    def _width(self) -> int:
        return self._random.randint(*self._columns)

    def _renamed(self, origin: _Available) -> Column:
        kind = origin.column.data_type
        name = self._column_name(kind)
        return Column(name, kind, "rename", origin.reference, (origin.origin,))

    def _derived(self, found: Sequence[_Available], key: _Available) -> Column:
        a = self._random.choice(found)
        is_number = a.column.data_type in _NUMBERS
        templates = _EXPRESSIONS["number" if is_number else a.column.data_type]
        template, kind = self._random.choice(templates)
        read = {"a": a, "key": key}
        if "{b}" in template:
            numbers = [other for other in found if other.column.data_type in _NUMBERS]
            read["b"] = self._random.choice(numbers)
        used = {name: one for name, one in read.items() if f"{{{name}}}" in template}
        expression = template.format(**{name: one.reference for name, one in used.items()})
        if kind == "decimal(18,2)":
            expression = f"cast({expression} as decimal(18, 2))"
        origins = tuple(dict.fromkeys(one.origin for one in used.values()))
        return Column(self._column_name(kind), kind, "derived", expression, origins)


def invent(
    models: int, *, depth: int = 8, seed: int = 0, columns: tuple[int, int] = (12, 40)
) -> list[Table]:
    """Return source tables and models, parents before children, layers as equal as they can be."""
    maker = _Maker(seed, columns)
    layers = [[maker.source(number) for number in range(max(2, models // 20))]]
    number = 0
    for layer in range(1, depth + 1):
        count = (models - number) // (depth + 1 - layer)
        above = layers if layer <= 2 else layers[1:]  # only the first models read sources
        above = layers[:1] if layer == 1 else above
        made = [maker.model(number + i, layer, maker.parents(above)) for i in range(count)]
        number += count
        layers.append(made)
    return [table for layer in layers for table in layer]


def sql_of(table: Table, relation: Callable[[str], str]) -> str:
    """Return a model's query, as people write them for dbt: imports, logic, final."""
    imports = [
        f"{'with ' if not index else ''}source_{index} as (\n\n"
        f"    select * from {relation(parent)}\n\n)"
        for index, parent in enumerate(table.parents)
    ]
    selected = ",\n".join(
        f"        {column.expression}"
        + ("" if column.expression.endswith(f".{column.name}") else f" as {column.name}")
        for column in table.columns
    )
    keys = {
        c.expression.split(".")[0]: c.expression
        for c in reversed(table.columns)
        if c.kind == "pass"
    }
    joins = "".join(
        f"\n    left join source_{index} as t{index} on t0.{keys['t0'].split('.')[1]}"
        f" = {keys[f't{index}']}"
        for index in range(1, len(table.parents))
    )
    logic = f"final as (\n\n    select\n{selected}\n    from source_0 as t0{joins}\n\n)"
    return ",\n\n".join([*imports, logic]) + "\n\nselect * from final\n"


def generate(
    directory: Path,
    models: int,
    *,
    depth: int = 8,
    seed: int = 0,
    columns: tuple[int, int] = (12, 40),
    models_per_file: int = 10,
) -> list[Table]:
    """Write the project, its DuckDB file and ``lineage.json``, and return its tables.

    Sources have all their texts, models none.

    Args:
        directory: Made; what is in it is overwritten.
        models: How many; the source tables, one for twenty models, come on top.
        depth: Longest chain of models.
        seed: The same seed makes the same project.
        columns: Fewest and most columns of a table.
        models_per_file: Models of one folder, whose texts are in one YAML file.
    """
    tables = invent(models, depth=depth, seed=seed, columns=columns)
    directory.mkdir(parents=True, exist_ok=True)
    files = {"dbt_project.yml": _PROJECT, "profiles.yml": _PROFILES}
    files["models/_sources.yml"] = _sources_yaml([t for t in tables if not t.layer])
    files["lineage.json"] = json.dumps([asdict(table) for table in tables], indent=1)
    for layer in range(1, depth + 1):
        made = [table for table in tables if table.layer == layer]
        for start in range(0, len(made), models_per_file):
            group = made[start : start + models_per_file]
            folder = f"area_{layer}_{start // models_per_file:03}"
            path = f"models/layer_{layer}/{folder}"
            files[f"{path}/_{folder}.yml"] = _models_yaml(group)
            for table in group:
                files[f"{path}/{table.name}.sql"] = sql_of(table, _jinja)
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    _fill_database(directory / f"{NAME}.duckdb", tables)
    return tables


def _jinja(name: str) -> str:
    return (
        f"{{{{ source('raw', '{name}') }}}}" if name[:4] == "raw_" else f"{{{{ ref('{name}') }}}}"
    )


def _plain(name: str) -> str:
    return f"raw.{name}" if name[:4] == "raw_" else f"main.{name}"


def _fill_database(path: Path, tables: Sequence[Table]) -> None:
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as database:
        database.execute("create schema raw; begin")
        for table in tables:
            columns = ", ".join(f"{column.name} {column.data_type}" for column in table.columns)
            if not table.layer:
                database.execute(f"create table {_plain(table.name)} ({columns})")
                continue
            query = sql_of(table, _plain)
            database.execute(f"create table {_plain(table.name)} as ({query}) with no data")
        database.execute("commit")


def _text(table: Table, column: Column | None = None) -> str:
    if column is None:
        return f"One row per {table.name.split('_')[1]} of the shop."
    words, number = column.name.rsplit("_", 1)
    return f"{words.replace('_', ' ').capitalize()} as the shop counts it, kept as {number}."


def _entry(table: Table, *, described: bool, indent: str) -> str:
    lines = [f"- name: {table.name}"]
    lines += [f"  description: {_text(table)}"] if described else []
    lines.append("  columns:")
    for column in table.columns:
        lines.append(f"    - name: {column.name}")
        if described:
            lines.append(f"      description: {_text(table, column)}")
    return "".join(f"{indent}{line}\n" for line in lines)


def _models_yaml(tables: Sequence[Table]) -> str:
    entries = [_entry(table, described=False, indent="  ") for table in tables]
    return "version: 2\n\nmodels:\n" + "\n".join(entries)


def _sources_yaml(tables: Sequence[Table]) -> str:
    entries = [_entry(table, described=True, indent="      ") for table in tables]
    head = "version: 2\n\nsources:\n  - name: raw\n    schema: raw\n    tables:\n"
    return head + "\n".join(entries)


_PROJECT = f"""\
name: {NAME}
version: "1.0.0"
config-version: 2
profile: {NAME}

model-paths: [models]

flags:
  send_anonymous_usage_stats: false

models:
  {NAME}:
    +materialized: table
    +dbt-osmosis: "_{{parent}}.yml"

vars:
  dbt-osmosis:
    sources:
      raw: _sources.yml
"""

_PROFILES = f"""\
{NAME}:
  target: dev
  outputs:
    dev:
      type: duckdb
      path: {NAME}.duckdb
      threads: 4
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--models", type=int, default=60)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models-per-file", type=int, default=10)
    given = vars(parser.parse_args())
    tables = generate(given.pop("directory"), given.pop("models"), **given)
    columns = [column for table in tables if table.layer for column in table.columns]
    kinds = {kind: sum(c.kind == kind for c in columns) for kind in ("pass", "rename", "derived")}
    shares = ", ".join(f"{count / len(columns):.0%} {kind}" for kind, count in kinds.items())
    print(f"{sum(bool(t.layer) for t in tables)} models, {len(columns):,} columns: {shares}")


if __name__ == "__main__":
    main()
