"""The one door to dbt-osmosis: every name of its that we use, and how we use it.

Of dbt itself, what others of its functions stand in for is here, too.

dbt-osmosis 1.5 has no hooks, so most of these names are private to it and may change with any
version. Nothing else in this package names anything of dbt-osmosis or dbt-core-interface. `check`
looks at all of it before a command is extended: a version that lacks something, or takes other
arguments, keeps its own behaviour, and one warning says so.

Names are looked up at each call: while a run goes on some of them are stood in for.
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.llm.exceptions import LLMConfigError, LLMError, LLMResponseError

_FALSE_CIRCLE = "Circular dependency detected"
FITS = "dbt-osmosis >=1.5,<2"

MAIN = "dbt_osmosis.cli.main"
COMMANDS = ("document", "refactor")
TEST_COMMAND = "test-llm"
TRANSFORM = "synthesize_missing_documentation_with_openai"
"""Where dbt-osmosis's pipeline calls its own synthesis: a function in `MAIN`."""


@dataclass(frozen=True)
class HostName:
    """Something of the host's, looked up in its module at each use."""

    module: str
    name: str
    """With dots for what belongs to a class."""

    @property
    def full_name(self) -> str:
        """Return the name with its module."""
        return f"{self.module}.{self.name}"

    def find(self) -> Any:
        """Return what the name stands for now.

        Raises:
            ImportError, AttributeError: The host does not have it.
        """
        found: Any = sys.modules.get(self.module) or import_module(self.module)
        for part in self.name.split("."):
            # A class without `__call__` would give that of its own class.
            if isinstance(found, type) and not any(part in vars(c) for c in found.__mro__):
                raise AttributeError(part)
            found = getattr(found, part)
        return found

    def fault(self) -> str | None:
        """Return what is wrong with what the host has, None when it is what we know."""
        try:
            found = self.find()
        except Exception:  # noqa: BLE001  # another version may raise whatever it likes
            return f"has no {self.full_name}"
        return self._fault_of(found)

    def _fault_of(self, found: Any) -> str | None:
        return None


@dataclass(frozen=True)
class HostFunction(HostName):
    """A function or class of the host's that we call."""

    arguments: int = 0
    """By position."""
    keywords: tuple[str, ...] = ()

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Call it as it stands now."""
        return self.find()(*arguments, **keywords)

    def _fault_of(self, found: Any) -> str | None:
        try:
            inspect.signature(found).bind(*range(self.arguments), **dict.fromkeys(self.keywords))
        except (TypeError, ValueError):
            return f"takes other arguments in {self.full_name}"
        return None


@dataclass(frozen=True)
class HostHook(HostName):
    """A function of the host's that another one stands in for: it must take what the host gives."""

    parameters: tuple[str, ...] = ()
    """Their names in order, a star before those that are given by name alone."""

    def put(self, function: Callable[..., Any]) -> None:
        """Let another function stand where this one stands."""
        owner: Any = sys.modules.get(self.module) or import_module(self.module)
        *path, last = self.name.split(".")
        for part in path:
            owner = getattr(owner, part)
        setattr(owner, last, function)

    def _fault_of(self, found: Any) -> str | None:
        if _parameters(found) != self.parameters:
            return f"takes other arguments in {self.full_name}"
        return None


@dataclass(frozen=True)
class HostClass(HostName):
    """A class of the host's whose instances we are given."""

    attributes: tuple[str, ...] = ()

    def _fault_of(self, found: Any) -> str | None:
        known = {*dir(found), *getattr(found, "__dataclass_fields__", ())}
        missing = [name for name in self.attributes if name not in known]
        return f"has no {self.full_name}.{missing[0]}" if missing else None


def _parameters(function: Any) -> tuple[str, ...] | None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    stars = {"KEYWORD_ONLY": "*", "VAR_POSITIONAL": "*args:", "VAR_KEYWORD": "**kwargs:"}
    return tuple(stars.get(parameter.kind.name, "") + parameter.name for parameter in parameters)


_NAMES: list[HostName] = []


def _called(module: str, name: str, arguments: int = 0, *keywords: str) -> HostFunction:
    function = HostFunction(f"dbt_osmosis.core.{module}", name, arguments, keywords)
    _NAMES.append(function)
    return function


def _stood_in_for(module: str, name: str, *parameters: str) -> HostHook:
    hook = HostHook(f"dbt_osmosis.core.{module}", name, parameters)
    _NAMES.append(hook)
    return hook


def _given(module: str, name: str, *attributes: str) -> HostClass:
    given = HostClass(module, name, attributes)
    _NAMES.append(given)
    return given


# Opening a project

configuration = _called(
    "config",
    "DbtConfiguration",
    0,
    *("project_dir", "profiles_dir", "profile", "target", "vars", "disable_introspection"),
)
open_project = _called("config", "create_dbt_project_context", 1)
discover_profiles_dir = _called("config", "discover_profiles_dir", 1)
refactor_settings = _called(
    "settings", "YamlRefactorSettings", 0, "dry_run", "catalog_path", "models", "fqn"
)
refactor_context = _called("settings", "YamlRefactorContext", 0, "project", "settings")
set_log_level = _called("logger", "set_log_level", 1)

# What its objects have

_given(
    "dbt_osmosis.core.settings",
    "YamlRefactorContext",
    *("project", "settings", "pool", "placeholders", "written_files"),
)
_given(
    "dbt_osmosis.core.settings",
    "YamlRefactorSettings",
    *("dry_run", "add_progenitor_to_meta", "force_inherit_descriptions"),
    *("skip_inherit_descriptions", "use_unrendered_descriptions"),
    *("skip_add_columns", "skip_add_source_columns"),
    *("output_to_lower", "output_to_upper", "models", "fqn"),
)
_given(
    "dbt_osmosis.core.config",
    "DbtProjectContext",
    *("config", "runtime_cfg", "manifest", "adapter", "_project"),
)
_given("dbt_osmosis.core.config", "DbtConfiguration", "project_dir", "disable_introspection")
_compile_node = HostFunction(
    "dbt_core_interface.project", "DbtProject.compile_node", 2, ("update_depends_on",)
)
_NAMES.append(_compile_node)
_host_error = _given("dbt_osmosis.core.exceptions", "OsmosisError")
_host_llm_errors = {
    LLMError: _given("dbt_osmosis.core.exceptions", "LLMError"),
    LLMConfigError: _given("dbt_osmosis.core.exceptions", "LLMConfigurationError"),
    LLMResponseError: _given("dbt_osmosis.core.exceptions", "LLMResponseError"),
}

# Nodes, columns, settings

selected_nodes = _called("node_filters", "_iter_candidate_nodes", 1)
matches_path = _called("node_filters", "_is_file_match", 3)
matches_fqn = _called("node_filters", "_is_fqn_match", 2)
_normalize_column_name = _called("introspection", "normalize_column_name", 2)
resolve_setting = _called("introspection", "resolve_setting", 2, "node", "col", "fallback")
node_yaml = _called("node_yaml", "_get_node_yaml", 2)
column_to_dict = _called("inheritance", "_column_to_dict", 1)
column_variants = _called("inheritance", "_collect_column_variants", 2)
unrendered = _called("inheritance", "_get_unrendered", 5)
is_ignored_column = _called("introspection", "_column_matches_ignore_pattern", 2)
relation_of_columns = _called("introspection", "_relation_for_column_collection", 2)
rendered_relation_name = _called("introspection", "_rendered_relation_name", 1)
catalog_columns = _called("introspection", "_catalog_columns_for_relation", 3)
warehouse_columns = _called("introspection", "_cached_warehouse_columns", 3)

# Its passes over a node

inject_missing_columns = _called("transforms", "inject_missing_columns", 2)
inherit_columns = _called("transforms", "inherit_upstream_column_knowledge", 2)
sort_columns = _called("transforms", "sort_columns_as_configured", 2)

# Its writer

yaml_paths = _called("sync_operations", "_resolve_sync_yaml_paths", 2)
yaml_document = _called("sync_operations", "_prepare_yaml_document", 3)
source_by_table = _called(
    "sync_operations",
    "_find_source_by_table",
    1,
    *("table_name", "table_identifier", "schema_name", "database_name"),
)
resource_type_key = _called("sync_operations", "_get_resource_type_key", 1)
write_node = _called("sync_operations", "sync_node_to_yaml", 2, "commit")
write_node_group = _called("sync_operations", "_sync_node_group_to_yaml", 2, "commit")
mark_yaml_caches_dirty = _called("schema.reader", "_mark_yaml_caches_dirty", 1)
strip_eof_blank_lines = _called("schema.writer", "_strip_eof_blank_lines", 1)

WRITER_HOOKS = (
    _stood_in_for(
        "schema.writer",
        "_write_yaml",
        *("yaml_handler", "yaml_handler_lock", "path", "data", "dry_run", "mutation_tracker"),
        *("strip_eof_blank_lines", "written_file_tracker", "allow_overwrite"),
    ),
    _stood_in_for(
        "schema.writer",
        "_commit_one_yaml",
        *("yaml_handler", "path", "*dry_run", "*mutation_tracker", "*strip_eof_blank_lines"),
        "*written_file_tracker",
    ),
    _stood_in_for(
        "schema.writer", "_render_yaml_bytes", "yaml_handler", "data", "*strip_eof_blank_lines"
    ),
    _stood_in_for("schema.writer", "_replace_atomically", "temp_path", "target_path"),
    _stood_in_for("sync_operations", "_group_sync_nodes", "context"),
    _stood_in_for("sync_operations", "_preflight_sync_group", "context", "nodes"),
    _stood_in_for("sync_operations", "_sync_node_group_to_yaml", "context", "nodes", "*commit"),
    _stood_in_for("sync_operations", "_sync_single_node_to_yaml", "context", "node", "*commit"),
    _stood_in_for("node_yaml", "_read_yaml", "yaml_handler", "yaml_handler_lock", "path"),
)
"""What `host.minimal_writing` stands in for while a run goes on."""

WAREHOUSE_HOOKS = (
    HostHook("dbt.adapters.contracts.connection", "LazyHandle.resolve", ("self", "connection")),
    _stood_in_for(
        "introspection",
        "_cached_warehouse_columns",
        *("context", "relation", "rendered_relation"),
    ),
)
"""Where every adapter of dbt's opens a connection, and where dbt-osmosis looks columns up: what
`host.warehouse` stands in for while a run goes on."""
_NAMES.append(WAREHOUSE_HOOKS[0])

GET_COLUMNS_HOOK = _stood_in_for("introspection", "get_columns", "context", "relation")
"""What the warehouse says of a table's columns: all passes ask it."""

PIPELINE_HOOK = _stood_in_for("transforms", "TransformPipeline.__call__", "self", "context", "node")
"""Runs all passes of a command over a project that is loaded."""

CLIENT_HOOKS = (
    _stood_in_for("llm", "get_llm_client"),
    _stood_in_for("test_suggestions", "get_llm_client"),
)
"""Where dbt-osmosis looks a client up; all its calls of a model begin there."""


@contextmanager
def standing_in(
    hook: HostHook, make: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """Let something stand where a function of the host's stands, as long as this is open.

    Args:
        hook: The function.
        make: Takes it and returns what stands in for it.
    """
    host = hook.find()
    hook.put(make(host))
    try:
        yield
    finally:
        hook.put(host)


def names() -> tuple[HostName, ...]:
    """Return everything of the host's that we use, as it is used."""
    return tuple(_NAMES)


def check(host: ModuleType) -> list[str]:
    """Return what of the host is not as we know it, in the words of the warning.

    Args:
        host: Its loaded module `MAIN`; `cli` looks at its commands.
    """
    transform = getattr(host, TRANSFORM, None)
    found = [name.fault() for name in _NAMES]
    if _parameters(transform) != ("context", "node"):
        found.insert(0, f"has no function {TRANSFORM} of a context and a node")
    # Some names are both called and stood in for.
    return list(dict.fromkeys(filter(None, found)))


def main_module() -> ModuleType:
    """Return the host's command line, loaded."""
    return import_module(MAIN)


def host_error() -> type[Exception]:
    """Return the base of all errors of the host's."""
    error: type[Exception] = _host_error.find()
    return error


def share_errors() -> None:
    """Make our errors the host's too, so that code that catches those catches ours.

    Here and not where they are defined: `llm` knows nothing of dbt-osmosis, and an `except`
    clause asks for real base classes.
    """
    for ours, name in _host_llm_errors.items():
        if name.fault():
            continue  # a version of the host without it has nobody who catches it
        theirs = name.find()
        if not issubclass(ours, theirs):
            ours.__bases__ = (theirs,) if ours is LLMError else (*ours.__bases__, theirs)


@contextmanager
def without_false_circles() -> Iterator[None]:
    """Keep one kind of warning out of the host's log, on the terminal and in its file.

    Its inheritance takes a table that it comes to on a second way for a circle; a diamond is
    enough. dbt loads no project that has one.
    """

    def is_wanted(record: logging.LogRecord) -> bool:
        return _FALSE_CIRCLE not in str(record.msg)

    logger.logger.addFilter(is_wanted)
    try:
        yield
    finally:
        logger.logger.removeFilter(is_wanted)


def normalized_name(context: Any, name: str) -> str:
    """Return a column's name as dbt-osmosis compares it with those of the warehouse."""
    return str(_normalize_column_name(name, context.project.runtime_cfg.credentials.type))


def compile_node(context: Any, node: Any) -> str | None:
    """Return a model's compiled SQL, None when dbt gives none.

    Raises:
        Exception: Whatever macros and adapters raise.
    """
    result = context.project._project.compile_node(node, update_depends_on=False)
    return result.compiled_code or None
