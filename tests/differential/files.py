"""Puts a generated project on disk, and its tables into DuckDB."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import duckdb

from tests.differential.projects import Entry, File, Listed, Project, Table, quoted

NAME = "proj"
_PROFILE = f"""\
{NAME}:
  target: dev
  outputs:
    dev: {{type: duckdb, path: {NAME}.duckdb, threads: 1}}
"""
_RELATION = re.compile(r"\{\{ (?:ref\('([^']+)'\)|source\('raw', '([^']+)'\)) \}\}")


def write_project(project: Project, directory: Path) -> None:
    """Write a project into a folder of its own, and build what it describes."""
    shutil.rmtree(directory, ignore_errors=True)
    for name in ("models", "seeds"):
        (directory / name).mkdir(parents=True)
    write_profile(directory)
    (directory / "dbt_project.yml").write_text(project_file(project))
    for table in project.tables:
        write_table(table, directory)
    for path, text in yaml_files(project).items():
        (directory / path).write_bytes(text.encode())
    if project.docs:
        blocks = (
            f"{{% docs {n} %}}\n{text}\n{{% enddocs %}}\n" for n, text in project.docs.items()
        )
        (directory / "models/blocks.md").write_text("".join(blocks))
    build(project, directory)


def write_profile(directory: Path) -> None:
    (directory / "profiles.yml").write_text(_PROFILE)


def write_table(table: Table, directory: Path) -> None:
    """Write the SQL or the CSV of a table."""
    if table.kind == "seed":
        head = ",".join(_csv(c.name) for c in table.columns)
        row = ",".join(_CSV_VALUES[c.type] for c in table.columns)
        (directory / f"seeds/{table.name}.csv").write_text(f"{head}\n{row}\n")
    elif table.kind != "source":
        config = "{{ config(materialized='ephemeral') }}\n" if table.kind == "ephemeral" else ""
        for name, sql in statements(table).items():
            (directory / f"models/{name}.sql").write_text(f"{config}{sql}\n")


def statements(table: Table) -> dict[str, str]:
    """Return the SQL of a table, or of each of its versions, by the name of its relation."""
    if not table.versions:
        return {table.name: table.sql}
    more = f"select *, 2 as extra from ({table.sql}) as first_version"
    return {f"{table.name}_v1": table.sql, f"{table.name}_v2": more}


_CSV_VALUES = {
    "integer": "1",
    "varchar": "x",
    "decimal(12,2)": "1.5",
    "date": "2024-01-01",
    "boolean": "true",
}


def _csv(name: str) -> str:
    return quoted(name) if re.search(r'[",]', name) else name


def build(project: Project, directory: Path) -> None:
    """Make the tables as ``dbt build`` would, in a hundredth of its time."""
    connection = duckdb.connect(str(directory / f"{NAME}.duckdb"))
    try:
        connection.execute("create schema if not exists raw")
        for table in project.tables:
            for name, text in statements(table).items():
                place = _place(project, name)
                sql = _RELATION.sub(lambda found: _place(project, found[1] or found[2]), text)
                connection.execute(f"create or replace table {place} as {sql}")
        for table in project.tables:
            if table.kind == "ephemeral":
                connection.execute(f"drop table {_place(project, table.name)}")
    finally:
        connection.close()


def _place(project: Project, name: str) -> str:
    table = project.table(name)
    schema = "raw" if table is not None and table.kind == "source" else "main"
    return f"{schema}.{quoted(name)}"


def project_file(project: Project) -> str:
    options = {o.name: o.value for o in project.options if o.in_project}
    set_here = f"    +dbt-osmosis-options: {json.dumps(options)}\n" if options else ""
    pattern = json.dumps(project.path_pattern)
    text = f"name: {NAME}\nversion: '1.0'\nprofile: {NAME}\n"
    # A part that is about nothing makes dbt warn.
    for kind, of in (("models", {"model", "ephemeral"}), ("seeds", {"seed"})):
        if any(table.kind in of for table in project.tables):
            table_type = "    +materialized: table\n" if kind == "models" else ""
            text += f"{kind}:\n  {NAME}:\n{table_type}    +dbt-osmosis: {pattern}\n{set_here}"
    return text


# YAML


def yaml_files(project: Project) -> dict[str, str]:
    """Return the text of every YAML file of the project."""
    return {path: _file_text(project, file) for path, file in project.files.items()}


def _file_text(project: Project, file: File) -> str:
    tables = [t for t in project.tables if t.file == file.path and t.entry is not None]
    lines = ["---"] if file.document_mark else []
    lines += file.comment.splitlines()
    if file.version:
        lines.append("version: 2")
    if any(c.merges for t in tables if t.entry for c in t.entry.columns):
        lines += ["anchors:", "  - &common", "    config:", "      tags: [shared]  # by all"]
    for key in ("sources", "models", "seeds"):
        kinds = {"sources": ["source"], "seeds": ["seed"]}.get(key, ["model", "ephemeral"])
        items = [_table_lines(t, file) for t in tables if t.kind in kinds]
        if not items:
            continue
        if file.blank_lines:
            lines.append("")
        lines.append(f"{key}:")
        if key == "sources":
            inner = ["name: raw", "tables:", *_sequence(items, file)]
            lines += _sequence([inner], file)
        else:
            lines += _sequence(items, file)
    if file.trailing_blanks:
        lines = [f"{line} " if line.endswith(":") else line for line in lines]
    end = "\r\n" if file.crlf else "\n"
    if not lines:
        return ""
    return end.join(lines) + (end if file.final_newline else "")


def _sequence(items: list[list[str]], file: File) -> list[str]:
    pad = "  " if file.indented else ""
    lines = []
    for item in items:
        while item[0].startswith("#"):
            lines.append(pad + item[0])
            item = item[1:]
        head, *rest = item
        lines.append(f"{pad}- {head}")
        lines += [f"{pad}  {line}" if line else "" for line in rest]
    return lines


def _table_lines(table: Table, file: File) -> list[str]:
    entry = table.entry or Entry()
    lines = [entry.comment] if entry.comment else []
    lines.append(f"name: {table.name}")
    if entry.text is not None:
        lines += _text_lines(entry.text, entry.style)
    for extra in entry.extras:
        lines += extra.splitlines()
    if entry.alias:
        lines.append(f"columns: *{entry.alias}")
    elif entry.columns:
        lines.append(f"columns: &{entry.anchor}" if entry.anchor else "columns:")
        lines += _sequence([_column_lines(c) for c in entry.columns], file)
    if table.versions:
        second = {
            "bare": ["v: 2"],
            "include": ["v: 2", "columns:", *_sequence([["include: all"]], file)],
            "listed": [
                "v: 2",
                "columns:",
                *_sequence([["include: all"], ["name: extra", "data_tests: [not_null]"]], file),
            ],
        }[table.versions]
        lines += ["latest_version: 2", "versions:", *_sequence([["v: 1"], second], file)]
    return lines


def _column_lines(column: Listed) -> list[str]:
    name = f"name: {yaml_name(column.name)}"
    comment = [column.comment] if column.comment else []
    if column.flow:
        text = "" if column.text is None else f", {_text_lines(column.text, 'double')[0]}"
        return [*comment, f"{{{name}{text}}}"]
    text_lines = [] if column.text is None else _text_lines(column.text, column.style)
    extras = [line for extra in column.extras for line in extra.splitlines()]
    merges = ["<<: *common"] if column.merges else []
    if column.order == "text_before_name":
        return [*comment, *text_lines, name, *merges, *extras]
    rest = text_lines + extras if column.order == "text" else extras + text_lines
    return [*comment, name, *merges, *rest]


def yaml_name(name: str) -> str:
    """Return a name as a person has to write it."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z_.]*", name) and name.lower() not in _WORDS:
        return name
    return json.dumps(name, ensure_ascii=False)


_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


def _text_lines(text: str, style: str) -> list[str]:
    middle = text.find(" ", len(text) // 2)
    if style == "single":
        return [f"description: '{text.replace(chr(39), chr(39) * 2)}'"]
    if style == "double":
        return [f"description: {json.dumps(text, ensure_ascii=False)}"]
    if style == "lines" and middle > 0:
        return [f"description: {text[:middle]}", f"  {text[middle + 1 :]}"]
    if style in ("folded", "folded_keep") and middle > 0:
        mark = ">-" if style == "folded" else ">"
        return [f"description: {mark}", f"  {text[:middle]}", f"  {text[middle + 1 :]}"]
    if style == "literal":
        return ["description: |", f"  {text}", "  A second line: with more."]
    return [f"description: {text}"]
