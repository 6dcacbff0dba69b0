"""Draws the house in ARCHITECTURE.md from the code: its rooms, what each holds, whom it knows.

A room is a package or a module of its own; its line is the first one of its docstring, and whom it
imports is read from its source. `make reference` draws it anew, `--check` ends with exit code 1
when the page is not what the code says.
"""

from __future__ import annotations

import argparse
import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "ARCHITECTURE.md"
SOURCE = ROOT / "src" / "dbt_osmosis_llm"
_BEGIN, _END = "<!-- The house, drawn by `make reference`. -->\n", "<!-- End of the house. -->"
_LEFT_OUT = {"__init__", "_version", "versions", "migrations"}
"""Nothing that a reader looks for."""


def rooms() -> dict[str, Path]:
    """Return name and path of each room."""
    found = {p.stem if p.is_file() else p.name: p for p in sorted(SOURCE.iterdir())}
    return {
        name: path
        for name, path in found.items()
        if name not in _LEFT_OUT and (path.suffix == ".py" or (path / "__init__.py").exists())
    }


def known_rooms(name: str, path: Path, names: set[str]) -> set[str]:
    """Return the rooms that one imports."""
    known = set()
    for module in path.rglob("*.py") if path.is_dir() else [path]:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            parts = node.module.split(".")
            if parts[0] == SOURCE.name:
                # `from dbt_osmosis_llm import stack` names the room behind the import.
                known |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
    return known & names - {name}


def _line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].rstrip(".")


def house() -> str:
    """Return the rooms, those at the top that import the others."""
    found = rooms()
    known = {name: known_rooms(name, path, set(found)) for name, path in found.items()}
    lines = ["```"]
    # In lists: the order of sets differs between two runs of Python.
    graph = {name: sorted(others) for name, others in known.items()}
    for name in reversed(list(TopologicalSorter(graph).static_order())):
        path = found[name]
        others = ", ".join(sorted(known[name], key=list(found).index))
        first = path / "__init__.py" if path.is_dir() else path
        lines.append(f"{name:<12} {_line(first)}{f'  → {others}' if others else ''}")
        if path.is_dir():
            lines += _modules(path, 2)
    return "\n".join([*lines, "```\n"])


def _modules(folder: Path, indent: int) -> list[str]:
    lines = []
    for path in sorted(folder.iterdir()):
        name = path.stem
        if name in _LEFT_OUT or not (path.suffix == ".py" or (path / "__init__.py").exists()):
            continue
        first = path / "__init__.py" if path.is_dir() else path
        lines.append(f"{' ' * indent}{name:<{18 - indent}} {_line(first)}")
        if path.is_dir():
            lines += _modules(path, indent + 2)
    return lines


def page() -> str:
    """Return ARCHITECTURE.md with the house as the code is now."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}{house()}{_END}{after}"


def main() -> None:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    wanted = page()
    if not parser.parse_args().check:
        PAGE.write_text(wanted, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != wanted:
        sys.exit("ARCHITECTURE.md is not what the code says; run `make reference`.")


if __name__ == "__main__":
    main()
