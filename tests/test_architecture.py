"""The layers of ARCHITECTURE.md, enforced on every import in the source."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import dbt_osmosis_llm

PACKAGE = "dbt_osmosis_llm"
SOURCE = Path(dbt_osmosis_llm.__file__).parent

# What each part may import of ours; `config` and `_log` are at the bottom.
ALLOWED = {
    "config": set[str](),
    "_log": set[str](),
    "_version": set[str](),
    "writing": {"evidence"},  # its rule for names
    "llm": {"config", "_log"},
    "evidence": {"config", "_log"},
    "ledger": {"llm", "config", "_log"},
    "synthesis": {"evidence", "ledger", "llm", "config", "_log"},
    "stack": {"synthesis", "llm", "config"},
    "run": {"stack", "synthesis", "ledger", "evidence", "llm", "config", "_log"},
    "inspection": {"run", "synthesis", "evidence", "llm", "config", "_log"},
    "host": {"writing", "synthesis", "evidence", "llm", "config", "_log"},
    "facade": {"stack", "synthesis", "evidence", "llm", "config", "_log", "host"},
    "cli": {
        "host",
        "inspection",
        "run",
        "stack",
        "synthesis",
        "facade",
        "ledger",
        "evidence",
        "llm",
        "config",
        "_log",
        "_version",
    },
    "_autoload": {"cli"},
    "__main__": {"cli", "host", "_autoload"},
    "__init__": {
        "_version",
        "facade",
        "stack",
        "llm",
        "host",
    },  # in functions, or for type checkers
}
HOSTS = {"dbt", "dbt_common", "dbt_core_interface", "dbt_osmosis"}

# What importing a part may not load, of other people's packages.
HEAVY = {"click", "rich", "openai", "anthropic", "google", "azure", "pyarrow", "genai_prices"}
LOADS_NOTHING_OF = {
    "config": {*HOSTS, *HEAVY, "sqlalchemy", "sqlglot", "pydantic", "ruamel", "yaml"},
    "writing": {*HOSTS, *HEAVY, "sqlalchemy", "sqlglot", "pydantic", "dbt_osmosis_llm.config"},
    "llm": {*HOSTS, *HEAVY, "sqlalchemy", "sqlglot"},
    "evidence": {*HOSTS, *HEAVY, "sqlalchemy", "pydantic", "dbt_osmosis_llm.llm"},
    "ledger": {*HOSTS, *HEAVY, "sqlglot"},
    "ledger.records": {*HOSTS, *HEAVY, "sqlalchemy", "sqlglot", "pydantic"},
    "synthesis": {*HOSTS, *HEAVY, "sqlalchemy"},
    "stack": {*HOSTS, *HEAVY, "sqlalchemy", "sqlglot"},
    "run": {*HOSTS, *HEAVY},
    "inspection": {*HOSTS, *HEAVY},
    "facade": {*HOSTS - {"dbt_osmosis"}, *HEAVY, "sqlalchemy"},
    "host.compat": {*HOSTS, *HEAVY, "sqlalchemy", "sqlglot"},
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


MODULES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=[str(p.relative_to(SOURCE)) for p in MODULES])
def test_imports_point_one_way(path: Path) -> None:
    part = part_of(path)
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == PACKAGE and rest:
            other = rest.split(".")[0]
            if other in ALLOWED and other != part:
                assert other in ALLOWED[part], f"{part} imports {name}"
        assert top not in HOSTS or part == "host", f"{part} imports {name}"
        if top in {"click", "rich"}:
            assert part == "cli", f"{part} imports {name}"
        if name in {"os.environ", "os.getenv"}:
            assert part in {"config", "_autoload"}, f"{part} reads the environment"


def module_name(path: Path) -> str:
    name = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
    return name.removesuffix(".__init__")


def test_no_module_imports_itself_through_others() -> None:
    """Look at every import, also those in functions and those for type checkers alone."""
    names = {module_name(path) for path in MODULES}
    graph = {module_name(p): set(imports(p)) & names - {module_name(p)} for p in MODULES}
    # A package stands for what it takes from its modules, and these import no package of theirs.
    for name, others in graph.items():
        graph[name] = {other for other in others if not name.startswith(f"{other}.")}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"these import each other: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("part", LOADS_NOTHING_OF)
def test_a_part_loads_what_it_needs_alone(part: str) -> None:
    """Import all of a part in a fresh interpreter and look at what came along."""
    path = SOURCE.joinpath(*part.split("."))
    modules = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    # Providers' modules are loaded when they are asked, each with its SDK.
    wanted = [module_name(m) for m in modules if m.parent.name not in {"migrations", "versions"}]
    code = f"import sys, {', '.join(wanted)}; print(*sys.modules)"
    done = subprocess.run(
        # -S: our .pth must not have loaded anything before.
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.split()
    for name in LOADS_NOTHING_OF[part]:
        found = [one for one in loaded if one == name or one.startswith(f"{name}.")]
        assert not found, f"{part} loads {found[0]}"


def test_only_config_reads_the_environment() -> None:
    for path in MODULES:
        if part_of(path) not in {"config", "_autoload"}:
            text = path.read_text(encoding="utf-8")
            assert "os.environ" not in text, path
            assert "getenv" not in text, path


def test_every_part_is_in_the_table() -> None:
    assert {part_of(path) for path in MODULES} == set(ALLOWED)


def test_every_public_name_resolves() -> None:
    for name in dbt_osmosis_llm.__all__:
        assert getattr(dbt_osmosis_llm, name) is not None
    assert set(dbt_osmosis_llm.__all__) <= set(dir(dbt_osmosis_llm))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dbt_osmosis_llm.nothing


def test_type_checkers_see_every_public_name() -> None:
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    seen = {
        alias.asname: (node.module or "").removeprefix(f"{PACKAGE}.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    assert seen == dbt_osmosis_llm._EXPORTS


def test_import_loads_nothing_heavy() -> None:
    # -S: site would have read our .pth before the count starts; what it loads itself is free.
    code = (
        f"import os, sys; before = set(sys.modules); import {PACKAGE}, {PACKAGE}._autoload; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": str(SOURCE.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [PACKAGE, f"{PACKAGE}._autoload", f"{PACKAGE}._version"]


def test_no_module_fails_to_import() -> None:
    for path in MODULES:
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        if parts[-1] not in {"__main__", "__init__", "env"}:  # Alembic alone can run its env
            importlib.import_module(".".join(parts))
