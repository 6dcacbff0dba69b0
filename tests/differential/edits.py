"""What people do to a project between two runs."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

from tests.differential.files import build, write_table
from tests.differential.projects import Column, Project, Table, quoted


def edit(name: str, project: Project, directory: Path, random: Random) -> None:
    """Do one of them; nothing where the project has no place for it."""
    {
        "delete_text": _delete_text,
        "change_text": _change_text,
        "rename_column": _rename_column,
        "add_column": _add_column,
        "add_test": _add_test,
    }[name](project, directory, random)


def _generated(project: Project, directory: Path) -> list[tuple[Path, int, str, str]]:
    """Return file, line, table and column of the generated texts that stand on one line."""
    subjects = project.tokens.subjects()
    found = []
    for path in sorted(directory.glob("*/*.yml")):
        table = column = ""
        for number, line in enumerate(path.read_text().splitlines()):
            words = re.findall(r"description: Meaning of (tok[a-z]+kot)\.", line)
            if words and words[0] in subjects:
                table, column = subjects[words[0]][1:]
                found.append((path, number, table, column))
    return found


def _lines(path: Path) -> list[str]:
    return path.read_bytes().decode().splitlines(keepends=True)


def _delete_text(project: Project, directory: Path, random: Random) -> None:
    if found := _generated(project, directory):
        path, number, _, _ = random.choice(found)
        lines = _lines(path)
        if "- " not in lines[number].partition("description")[0]:
            del lines[number]
            path.write_bytes("".join(lines).encode())


def _change_text(project: Project, directory: Path, random: Random) -> None:
    if found := _generated(project, directory):
        path, number, table, column = random.choice(found)
        lines = _lines(path)
        word = project.tokens.of("human", "edit", table, column)
        lines[number] = re.sub(r"Meaning of tok[a-z]+kot", f"Said by hand {word}", lines[number])
        path.write_bytes("".join(lines).encode())


def _add_test(project: Project, directory: Path, random: Random) -> None:
    if found := _generated(project, directory):
        path, number, _, column = random.choice(found)
        lines = _lines(path)
        pad, head, _ = lines[number].partition("description")
        if column and head and "-" not in pad:
            end = "\r\n" if lines[number].endswith("\r\n") else "\n"
            lines[number:number] = [f"{pad}data_tests:{end}", f"{pad}  - unique{end}"]
            if "data_tests" not in "".join(lines[max(0, number - 6) : number + 8]).replace(
                "".join(lines[number : number + 2]), ""
            ):
                path.write_bytes("".join(lines).encode())


def _last(project: Project) -> list[Table]:
    """Return the tables that nobody reads: a change of one is a change of no other."""
    read = {name for table in project.tables for name in table.reads}
    return [t for t in project.tables if t.name not in read and not t.versions]


def _add_column(project: Project, directory: Path, random: Random) -> None:
    tables = [t for t in _last(project) if t.kind != "seed"]
    tables = [t for t in tables if re.match(r"select (?!\*)", t.sql) and " union " not in t.sql]
    if tables:
        table = random.choice(tables)
        if "group by" in table.sql:
            table.columns.append(Column("added", "computed"))
            table.sql = table.sql.replace(" from ", ", max(2) as added from ", 1)
        else:
            table.columns.append(Column("added", "computed"))
            table.sql = table.sql.replace("select ", "select 2 as added, ", 1)
        _rebuild(project, table, directory)


def _rename_column(project: Project, directory: Path, random: Random) -> None:
    """Give a column of the last model another name; its YAML stays as it is."""
    tables = [t for t in _last(project) if t.kind == "model" and "* replace" not in t.sql]
    places = [
        (table, column)
        for table in tables
        for column in table.columns
        if table.sql.count(f" as {quoted(column.name)}") == 1
    ]
    if places:
        table, column = random.choice(places)
        table.sql = table.sql.replace(f" as {quoted(column.name)}", ' as "renamed"')
        # What was written for it under its old name is a text of it still.
        project.tokens.also((table.name, column.name), (table.name, "renamed"))
        column.name = "renamed"
        _rebuild(project, table, directory)


def _rebuild(project: Project, table: Table, directory: Path) -> None:
    write_table(table, directory)
    build(project, directory)
