"""Compiles models as ``dbt compile`` does it, by what a project says and not what is loaded today.

What dbt sets up around its own compiling, and dbt-core-interface does not, is made here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from itertools import chain
from typing import Any

from dbt import flags, selected_resources
from dbt.node_types import EXECUTABLE_NODE_TYPES

from dbt_osmosis_llm.evidence.names import plain_name
from dbt_osmosis_llm.host import compat

_GRAPH = re.compile(r"\bgraph\b")
_COMMAND = "compile"


class Compiler:
    """Compiles the models of one project.

    Args:
        context: Of dbt-osmosis, the project loaded.
    """

    def __init__(self, context: Any) -> None:
        self._context = context

    def compile(self, node: Any) -> str | None:
        """Return a model's compiled SQL, None when dbt gives none.

        As on a full refresh of a table that is not there: what `is_incremental()` adds depends on
        what the warehouse holds today and says how the table is loaded, not what is in it.

        Raises:
            Exception: Whatever macros and adapters raise.
        """
        # Not built where dbt had nothing to parse; `dbt compile` builds it on each start.
        manifest = self._context.project.manifest
        if not manifest.flat_graph and self._uses_graph:
            manifest.build_flat_graph()
        with self._as_dbt_compile(), self._as_not_there(node):
            return compat.compile_node(self._context, node)

    @cached_property
    def _uses_graph(self) -> bool:
        """Tell whether any SQL or macro may look at `graph`, which takes long to build."""
        manifest = self._context.project.manifest
        codes = (getattr(node, "raw_code", "") for node in manifest.nodes.values())
        macros = (macro.macro_sql for macro in manifest.macros.values())
        return any(_GRAPH.search(code or "") for code in chain(codes, macros))

    @cached_property
    def _executable(self) -> list[str]:
        nodes = self._context.project.manifest.nodes.items()
        return [uid for uid, node in nodes if node.resource_type in EXECUTABLE_NODE_TYPES]

    @contextmanager
    def _as_dbt_compile(self) -> Iterator[None]:
        """Let Jinja see the command and the selection of ``dbt compile`` over all of a project."""
        arguments = self._context.project.runtime_cfg.args
        selected = selected_resources.SELECTED_RESOURCES
        with ExitStack() as stack:
            for owner, name in ((flags.GLOBAL_FLAGS, "WHICH"), (arguments, "which")):
                # Both are frozen; dbt sets flags so itself.
                stack.callback(object.__setattr__, owner, name, getattr(owner, name, None))
                object.__setattr__(owner, name, _COMMAND)
            selected_resources.SELECTED_RESOURCES = self._executable
            try:
                yield
            finally:
                selected_resources.SELECTED_RESOURCES = selected

    @contextmanager
    def _as_not_there(self, node: Any) -> Iterator[None]:
        """Let a model's own table be one that is still to be made, without a question."""
        adapter = self._context.project.adapter
        known = adapter.get_relation
        own = _names(node.database, node.schema, node.alias)
        node_config, full_refresh = node.config, node.config.full_refresh

        def get_relation(database: str, schema: str, identifier: str, *more: Any, **kw: Any) -> Any:
            if _names(database, schema, identifier) == own:
                return None
            return known(database, schema, identifier, *more, **kw)

        adapter.get_relation = get_relation
        node_config.full_refresh = True
        try:
            yield
        finally:
            node_config.full_refresh = full_refresh
            del adapter.get_relation


def _names(*parts: str | None) -> list[str]:
    return [plain_name(part or "") for part in parts]
