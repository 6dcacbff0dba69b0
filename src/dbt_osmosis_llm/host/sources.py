"""What the SQL and macros of a project say of the literals that a model is compiled to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from dbt.adapters.factory import get_adapter_package_names

from dbt_osmosis_llm.evidence.build_values import Source, joined, read_source
from dbt_osmosis_llm.host.nodes import Nodes, is_ephemeral

_CALL = re.compile(r"\b(\w+)\s*\(")


class Sources:
    """Reads each file and macro once.

    Args:
        context: Of dbt-osmosis, the project loaded.
        nodes: Its tables.
    """

    def __init__(self, context: Any, nodes: Nodes) -> None:
        self._context = context
        self._nodes = nodes
        self._macros: dict[str, tuple[Source, list[str]]] = {}

    def of(self, node: Any) -> Source:
        """Return all text that a model is compiled from: its own, its macros', ephemeral models'.

        dbt notes no macro that a model calls under ``{% if execute %}`` alone, and of dispatched
        ones not each: what is called by name counts, too.
        """
        ephemeral = filter(is_ephemeral, self._nodes.tables_read(node).values())
        found: list[Source] = []
        waiting: list[str] = []
        for model in (node, *ephemeral):
            code = getattr(model, "raw_code", None) or ""
            # Its name is the project's own, wherever it is built.
            found.append(read_source(f"{model.name}\n{code}"))
            waiting += self._called(model, code)
        seen: set[str] = set()
        while waiting:
            uid = waiting.pop()
            if uid not in seen and uid in self._context.project.manifest.macros:
                source, called = self._macro(uid)
                found.append(source)
                waiting += called
            seen.add(uid)
        return joined(found)

    def _macro(self, uid: str) -> tuple[Source, list[str]]:
        if uid not in self._macros:
            macro = self._context.project.manifest.macros[uid]
            is_hosts = macro.package_name in self._packages_of_host
            source = read_source(macro.macro_sql, is_hosts=is_hosts)
            self._macros[uid] = source, list(self._called(macro, macro.macro_sql))
        return self._macros[uid]

    def _called(self, owner: Any, code: str) -> Iterator[str]:
        yield from getattr(getattr(owner, "depends_on", None), "macros", None) or ()
        for name in set(_CALL.findall(code)):
            yield from self._by_name.get(name, ())

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        """The macros by their names without the adapter before it: ``default__star`` is `star`."""
        names: dict[str, list[str]] = {}
        for uid, macro in self._context.project.manifest.macros.items():
            names.setdefault(macro.name.rpartition("__")[2] or macro.name, []).append(uid)
        return names

    @cached_property
    def _packages_of_host(self) -> frozenset[str]:
        credentials = self._context.project.runtime_cfg.credentials
        return frozenset(get_adapter_package_names(credentials.type))
